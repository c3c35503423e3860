"""Random changes of whole batches, on the device they are on.

A slice's changes follow from the seed, the epoch and its index alone: neither workers nor a resume change anything,
nor does the batch it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from acdc_semicycle.data.slice_records import unpacked

ELASTIC_SPACING = 32  # pixels between the points that an elastic change moves
INTENSITIES = slice(8, 12)  # of a slice's draws, those that decide its gain and offset


@dataclass(frozen=True)
class Augment:
    """Flips, rotation, scaling, shifts and elastic changes of image and mask alike; intensity changes of the image.

    Without arguments it changes nothing. Images are sampled bilinearly, masks by the nearest pixel; beyond the edge
    is what is at the edge. Every amount is drawn evenly from minus to plus what is given.

    Args:
        flips: probabilities of turning the order of rows and of columns round.
        rotate: radians.
        scale: of height and width, each by itself; 0.1 is 90 to 110 %.
        shift: pixels down and across.
        elastic: pixels, the standard deviation of the places of a grid of points 32 pixels apart.
        geometry: probability that a slice is rotated, scaled, shifted and bent at all.
        gain: factor on intensities; 0.1 is 90 to 110 %.
        offset: added to intensities, which lie in [-1, 1].
        intensity: probability of a gain, and by itself of an offset.
    """

    flips: Sequence[float | int] = (0.0, 0.0)
    rotate: float | int = 0.0
    scale: float | int = 0.0
    shift: float | int = 0.0
    elastic: float | int = 0.0
    geometry: float | int = 0.8
    gain: float | int = 0.0
    offset: float | int = 0.0
    intensity: float | int = 0.5

    @property
    def changes(self) -> bool:
        """Whether a slice can come out other than it went in."""
        return bool(any(self.flips) or self.moves or self.gain or self.offset)

    @property
    def moves(self) -> bool:
        """Whether pixels are sampled anew."""
        return any((self.rotate, self.scale, self.shift, self.elastic))

    @property
    def geometry_settings(self) -> tuple[Any, ...]:
        """All that decides where a pixel goes."""
        return (*self.flips, self.rotate, self.scale, self.shift, self.elastic, self.geometry)

    def __call__(
        self, rows: Mapping[str, Tensor], indices: Sequence[int], *seed: int, view: int = 0
    ) -> dict[str, Tensor]:
        """``image`` [B, C, H, W] float and, if there is one, ``label`` [B, 1, H, W] uint8, of the slices ``indices``.

        Args:
            rows: the slices' records, as :func:`acdc_semicycle.data.cache.unpacked` takes them.
            view: number of the view. All views of a slice move its pixels alike; each draws intensities of its own.
        """
        if not self.changes:
            return unpacked(rows)
        random = [np.random.default_rng((*seed, index)) for index in indices]
        draws = np.array([generator.random(12) for generator in random])
        if view:
            draws[:, INTENSITIES] = _intensities_of_view(seed, indices, view)
        rows = self._brightened(rows, draws)
        flips = draws[:, :2] < self.flips
        if not self.moves:
            return unpacked(_flipped(rows, flips))
        batch = unpacked(rows)
        return _moved(batch, self._grid(draws, flips, random, batch["image"]))

    def _brightened(self, rows: Mapping[str, Tensor], draws: NDArray) -> dict[str, Tensor]:
        """Records with other scales and offsets: a gain and an offset of the image, without a pass over its pixels."""
        if not (self.gain or self.offset):
            return dict(rows)
        device = rows["image"].device
        gain, offset = torch.as_tensor(self._intensity(draws), dtype=torch.float32).to(device, non_blocking=True)
        return {**rows, "scale": rows["scale"] * gain, "offset": rows["offset"] * gain + offset}

    def _intensity(self, draws: NDArray) -> NDArray:
        """Gain and offset [2, B]."""
        gain = np.where(draws[:, 8] < self.intensity, 1 + self.gain * (2 * draws[:, 9] - 1), 1.0)
        offset = np.where(draws[:, 10] < self.intensity, self.offset * (2 * draws[:, 11] - 1), 0.0)
        return np.stack([gain, offset])

    def _grid(self, draws: NDArray, flips: NDArray, random: Sequence[np.random.Generator], image: Tensor) -> Tensor:
        """Where each pixel is taken from [B, H, W, 2], as ``grid_sample`` has it: across and down, -1 to 1."""
        height, width = image.shape[-2:]
        half = np.array([width / 2, height / 2])
        bent = draws[:, 2] < self.geometry
        angle, *rest = np.where(bent, 2 * draws[:, 3:8].T - 1, 0.0)
        scale = 1 + self.scale * np.stack(rest[:2])
        shift = self.shift * np.stack(rest[2:])
        cos, sin = np.cos(self.rotate * angle), np.sin(self.rotate * angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * scale  # [2, 2, B], of pixels across and down
        turn = turn * np.where(flips[:, ::-1], -1.0, 1.0).T
        turn, shift = turn * half[:, None] / half[:, None, None], shift / half[:, None]
        theta = torch.as_tensor(np.concatenate([turn, shift[:, None]], 1), dtype=image.dtype)
        grid = _affine_grid(theta.to(image.device, non_blocking=True), height, width)
        if not self.elastic:
            return grid
        points = [2, *(ceil(n / ELASTIC_SPACING) + 1 for n in (height, width))]
        pulls = np.stack([each.standard_normal(points) for each in random]) * bent[:, None, None, None]
        pulls *= self.elastic / half[:, None, None]
        coarse = torch.as_tensor(pulls, dtype=image.dtype).to(image.device, non_blocking=True)
        pull = interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
        return grid + pull.movedim(1, -1)


def _intensities_of_view(seed: Sequence[int], indices: Sequence[int], view: int) -> NDArray:
    """The draws [B, 4] that decide the gain and the offset of a view's slices."""
    return np.array([np.random.default_rng((*seed, index, view)).random(4) for index in indices])


def _moved(batch: Mapping[str, Tensor], grid: Tensor) -> dict[str, Tensor]:
    """The images, and the masks if there are any, sampled where ``grid`` says."""
    moved = {"image": _sampled(batch["image"], grid, "bilinear")}
    if "label" in batch:
        moved["label"] = _sampled(batch["label"], grid, "nearest")
    return moved


def _flipped(rows: Mapping[str, Tensor], flips: NDArray) -> dict[str, Tensor]:
    """Records with the rows, the columns or both of some slices turned round; ``flips`` [B, 2] says of which."""
    result, device = dict(rows), rows["image"].device
    for axes, chosen in (((-2,), (True, False)), ((-1,), (False, True)), ((-2, -1), (True, True))):
        indices = np.flatnonzero((flips == chosen).all(1))
        if not len(indices):
            continue
        place = torch.as_tensor(indices).to(device, non_blocking=True)
        for key in {"image", "label"} & set(result):
            turned = result[key].index_select(0, place).flip(axes)
            result[key] = result[key].index_copy(0, place, turned)
    return result


def _affine_grid(theta: Tensor, height: int, width: int) -> Tensor:
    """torch's ``affine_grid(align_corners=False)`` of ``theta`` [2, 3, B], in a fifth of its time on a CPU."""
    across, down = ((torch.arange(n, device=theta.device) * 2 + 1) / n - 1 for n in (width, height))
    by_column = theta[:, 0, :, None] * across + theta[:, 2, :, None]  # [2, B, W]
    by_row = theta[:, 1, :, None] * down  # [2, B, H]
    return (by_column[:, :, None, :] + by_row[:, :, :, None]).movedim(0, -1)


def _sampled(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Values at the places of a grid; beyond the edge is what is at the edge."""
    taken = grid_sample(values.to(grid.dtype), grid, mode=mode, padding_mode="border", align_corners=False)
    return taken.to(values.dtype)
