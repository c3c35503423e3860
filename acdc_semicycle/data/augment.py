"""Random changes of whole batches, on the device they are on.

A slice's changes follow from the seed, the epoch and its index alone: neither workers nor a resume change anything,
nor does the batch it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

ELASTIC_SPACING = 32  # pixels between the points that an elastic change moves


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

    flips: Sequence[float] = (0.0, 0.0)
    rotate: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    geometry: float = 0.8
    gain: float = 0.0
    offset: float = 0.0
    intensity: float = 0.5

    @property
    def moves(self) -> bool:
        """Whether pixels are sampled anew."""
        return any((self.rotate, self.scale, self.shift, self.elastic))

    def __call__(self, batch: dict[str, Tensor], indices: Sequence[int], *seed: int) -> dict[str, Tensor]:
        """``image`` [B, C, H, W] float and, if there is one, ``label`` [B, 1, H, W] of the slices ``indices``."""
        image = batch["image"]
        random = [np.random.default_rng((*seed, index)) for index in indices]
        draws = np.array([each.random(12) for each in random])
        if self.gain or self.offset:
            change = torch.as_tensor(self._intensity(draws), dtype=image.dtype).to(image.device, non_blocking=True)
            gain, offset = change.T.view(2, -1, 1, 1, 1)
            image = torch.addcmul(offset, image, gain)
        both = {**batch, "image": image}
        if self.moves:
            grid = self._grid(draws, random, image)
            modes = {"image": "bilinear", "label": "nearest"}
            return {key: _sampled(value, grid, modes[key]) for key, value in both.items()}
        for axis, chance in ((-2, 0), (-1, 1)):
            flip = torch.as_tensor(draws[:, chance] < self.flips[chance]).to(image.device).view(-1, 1, 1, 1)
            if self.flips[chance]:
                both = {key: torch.where(flip, value.flip(axis), value) for key, value in both.items()}
        return both

    def _intensity(self, draws: NDArray) -> NDArray:
        """Gain and offset [B, 2]."""
        gain = np.where(draws[:, 8] < self.intensity, 1 + self.gain * (2 * draws[:, 9] - 1), 1.0)
        offset = np.where(draws[:, 10] < self.intensity, self.offset * (2 * draws[:, 11] - 1), 0.0)
        return np.stack([gain, offset], 1)

    def _grid(self, draws: NDArray, random: Sequence[np.random.Generator], image: Tensor) -> Tensor:
        """Where each pixel is taken from [B, H, W, 2], as ``grid_sample`` has it: across and down, -1 to 1."""
        height, width = image.shape[-2:]
        half = np.array([width / 2, height / 2])
        bent = draws[:, 2] < self.geometry
        angle, *rest = np.where(bent, 2 * draws[:, 3:8].T - 1, 0.0)
        scale = 1 + self.scale * np.stack(rest[:2])
        shift = self.shift * np.stack(rest[2:])
        cos, sin = np.cos(self.rotate * angle), np.sin(self.rotate * angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * scale  # [2, 2, B], of pixels across and down
        turn = turn * np.where(draws[:, [1, 0]] < np.array(self.flips)[::-1], -1.0, 1.0).T
        theta = np.concatenate([turn * half[None, :, None] / half[:, None, None], (shift / half[:, None])[:, None]], 1)
        matrix = torch.as_tensor(theta.transpose(2, 0, 1), dtype=image.dtype).to(image.device, non_blocking=True)
        grid = affine_grid(matrix, [len(image), 1, height, width], align_corners=False)
        if not self.elastic:
            return grid
        points = [2, *(ceil(n / ELASTIC_SPACING) + 1 for n in (height, width))]
        pulls = np.stack([each.standard_normal(points) for each in random]) * bent[:, None, None, None]
        pulls *= self.elastic / half[:, None, None]
        coarse = torch.as_tensor(pulls, dtype=image.dtype).to(image.device, non_blocking=True)
        pull = interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
        return grid + pull.movedim(1, -1)


def _sampled(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    taken = grid_sample(values.to(grid.dtype), grid, mode=mode, padding_mode="border", align_corners=False)
    return taken.to(values.dtype)
