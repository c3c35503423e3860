"""Windows of slices at the slices' own resolution, around what is segmented, and of whole slices made smaller.

A network that sees windows looks twice when it predicts: at the whole slice, to find the structures, and then at
windows around them (:mod:`acdc_semicycle.inference.looks`). So it learns from both kinds of windows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import interpolate

from acdc_semicycle.data.appearance import Appearance, standardised
from acdc_semicycle.data.augment import Augment, affine_grid, sampled
from acdc_semicycle.data.slice_records import unpacked
from acdc_semicycle.runtime.errors import many

log = logging.getLogger("semicycle")

BETWEEN_POINTS = 32  # pixels of a window between the points that an elastic change moves
DRAWS = 12  # numbers that decide the place and the shape of a window


@dataclass(frozen=True)
class Windows:
    """A window of each slice, turned, scaled, shifted and bent at random, with another appearance.

    Without arguments but its size it is a window around the structures, the same each time. Images are sampled
    bilinearly, masks by the nearest pixel, both once; beyond the edge is what is at the edge. Each window is
    standardised to mean 0 and deviation 1. Every amount is drawn evenly from minus to plus what is given.

    Args:
        size: rows and columns of a window.
        whole: share of windows that show the whole slice at the window's size.
        flips: probabilities of turning the order of rows and of columns round.
        turns: probability of one, two or three quarter turns, each as often.
        rotate: radians.
        scale: of both sides, as the logarithm: 0.25 is 78 to 128 %.
        aspect: of height against width, as the logarithm of each.
        shift: down and across, as a share of the window's sides.
        elastic: pixels of the window, the standard deviation of the places of a grid of points 32 pixels apart, in
            half of the windows.
        appearance: random changes of intensities; None for none.
    """

    size: Sequence[int]
    whole: float | int = 0.0
    flips: Sequence[float | int] = (0.0, 0.0)
    turns: float | int = 0.0
    rotate: float | int = 0.0
    scale: float | int = 0.0
    aspect: float | int = 0.0
    shift: float | int = 0.0
    elastic: float | int = 0.0
    appearance: Appearance | None = None

    @property
    def plain(self) -> Windows:
        """The same windows in the appearance that they have: a view for a teacher."""
        return replace(self, appearance=None)

    @property
    def geometry_settings(self) -> tuple[Any, ...]:
        """All that decides where a pixel comes from."""
        amounts = (self.whole, self.turns, self.rotate, self.scale, self.aspect, self.shift, self.elastic)
        return (*self.size, *self.flips, *amounts)

    def __call__(
        self, rows: Mapping[str, Tensor], indices: Sequence[int], *seed: int, view: int = 0
    ) -> dict[str, Tensor]:
        """``image`` [B, C, h, w] float and, if there is one, ``label`` [B, 1, h, w] uint8, of the slices ``indices``.

        Args:
            rows: the slices' records, and ``box`` [B, 4]: first and last row, first and last column of what is
                segmented.
            view: number of the view. All views of a slice show the same pixels; each has an appearance of its own.
        """
        batch = unpacked(rows)
        random = [np.random.default_rng((*seed, index)) for index in indices]
        grid = self._grid(rows["box"].cpu().numpy(), random, batch["image"])
        window = {"image": standardised(sampled(batch["image"], grid, "bilinear"))}
        if "label" in batch:
            window["label"] = sampled(batch["label"], grid, "nearest")
        if self.appearance is not None:
            others = [np.random.default_rng((*seed, index, 1 + view)) for index in indices]
            window["image"] = self.appearance(window["image"], others)
        return window

    def _grid(self, boxes: NDArray, random: Sequence[np.random.Generator], image: Tensor) -> Tensor:
        """Where each pixel of the windows is taken from [B, h, w, 2], as ``grid_sample`` has it: across and down."""
        height, width = self.size
        draws = np.array([generator.random(DRAWS) for generator in random])
        centre, sides = self._place(draws, boxes, image.shape[-2:])
        signed = 2 * draws - 1
        quarters = np.where(draws[:, 11] < self.turns, 1 + np.floor(3 * draws[:, 11] / (self.turns or 1)), 0)
        angle = self.rotate * signed[:, 5] + np.pi / 2 * quarters
        zoom = np.exp(self.scale * signed[:, 6])
        stretch = np.exp(self.aspect * signed[:, 7])
        mirror = np.where(draws[:, 8:10] < self.flips, -1.0, 1.0)
        half = sides[:, ::-1] / 2 * np.stack([zoom * stretch, zoom / stretch], 1) * mirror[:, ::-1]  # across, down
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * half.T  # [2, 2, B], pixels of the slice
        edge = np.array(image.shape[:-3:-1]) / 2  # half the slice's width and height
        turn = turn / edge[:, None, None]
        place = (centre[:, ::-1].T + 0.5) / edge[:, None] - 1
        theta = torch.as_tensor(np.concatenate([turn, place[:, None]], 1), dtype=image.dtype)
        grid = affine_grid(theta.to(image.device, non_blocking=True), height, width)
        if not self.elastic:
            return grid
        points = [2, *(ceil(n / BETWEEN_POINTS) + 1 for n in (height, width))]
        bent = draws[:, 10] < 0.5
        pulls = np.stack([generator.standard_normal(points) for generator in random]) * bent[:, None, None, None]
        pixel = sides[:, ::-1] / np.array([width, height]) / edge  # one pixel of the window in the slice's units
        pulls *= self.elastic * pixel[:, :, None, None]
        coarse = torch.as_tensor(pulls, dtype=image.dtype).to(image.device, non_blocking=True)
        pull = interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
        return grid + pull.movedim(1, -1)

    def _place(self, draws: NDArray, boxes: NDArray, shape: Sequence[int]) -> tuple[NDArray, NDArray]:
        """Centre and sides [B, 2] of each window, in pixels of the slice: rows, then columns.

        A window is around the middle of the structures' box; where the box is larger than the window, it is anywhere in
        the box.
        """
        size, full = np.array(self.size, float), np.array(shape, float)
        first, last = boxes[:, [0, 2]], boxes[:, [1, 3]]
        beyond = np.clip(last + 1 - first - size, 0, None) / 2
        centre = (first + last) / 2 + beyond * (2 * draws[:, :2] - 1)
        whole = (draws[:, 2:3] < self.whole) | (size >= full).all()
        centre = np.where(whole, (full - 1) / 2, centre)
        sides = np.where(whole, full, size)
        return centre + self.shift * sides * (2 * draws[:, 3:5] - 1), sides


def mirrored(augment: Augment | Windows) -> bool:
    """Whether a network trained with it knows slices in both orders of rows, and in both of columns."""
    return all(probability > 0 for probability in augment.flips)


def whole_slices(image: Tensor, size: Sequence[int]) -> Tensor:
    """Images [B, C, H, W] at the size of a window: what a network of windows sees at its first look."""
    return standardised(interpolate(image, size=tuple(size), mode="bilinear", align_corners=False))


class Finder:
    """Finds the structures of slices without masks, as the network sees them: the first look of a prediction.

    Args:
        network: gives logits.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, image: Tensor, size: Sequence[int]) -> Tensor:
        """The box [B, 4] of the largest component in each image [B, C, H, W]; all of an image that has none.

        Args:
            size: rows and columns that the network sees of the whole image.
        """
        training = self.network.training
        background = self.network.eval()(whole_slices(image, size)).float().softmax(1)[:, 0]
        self.network.train(training)
        structures = (background < 0.5).cpu().numpy()
        factors = np.array(image.shape[-2:]) / np.array(size)
        boxes = np.stack([_largest_box(structure) for structure in structures])
        return torch.as_tensor(boxes * factors.repeat(2))


def _largest_box(structure: NDArray) -> NDArray:
    """First and last row, first and last column of the largest component; of the whole image where there is none."""
    components, count = ndimage.label(structure)
    if not count:
        height, width = structure.shape
        return np.array([0, height - 1, 0, width - 1])
    largest = np.bincount(components.ravel())[1:].argmax()
    rows, columns = ndimage.find_objects(components)[largest]
    return np.array([rows.start, rows.stop - 1, columns.start, columns.stop - 1])


def label_boxes(boxes: Sequence[Sequence[int] | None], shape: Sequence[int]) -> NDArray:
    """The boxes [R, 4] of records' structures (:func:`structure_boxes`); all of a slice [H, W] for those without."""
    height, width = shape
    return np.array([[0, height - 1, 0, width - 1] if box is None else box for box in boxes])


def structure_boxes(labels: NDArray, records: NDArray, ignored: int) -> list[list[int] | None]:
    """The box of the structures in each record's masks: first and last row, first and last column; None without any.

    Args:
        labels: class indices [N, 1, H, W] of slices.
        records: number of each slice's record [N], from 0.
        ignored: class index that is no structure.
    """
    boxes: list[list[int] | None] = []
    for record in range(records.max(initial=-1) + 1):
        structure = np.zeros(labels.shape[-2:], bool)
        for mask in labels[records == record, 0]:
            structure |= (mask > 0) & (mask != ignored)
        rows, columns = (np.flatnonzero(structure.any(axis)) for axis in (1, 0))
        boxes.append([int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])] if len(rows) else None)
    return boxes


def warn_of_large(boxes: Sequence[Sequence[int] | None], size: Sequence[int]) -> None:
    """Warn where the structures of more than half of the images do not fit into a window.

    Args:
        boxes: of each record (:func:`structure_boxes`).
        size: rows and columns of a window.
    """
    sides = [(box[1] + 1 - box[0], box[3] + 1 - box[2]) for box in boxes if box is not None]
    large = [side for side in sides if side[0] > size[0] or side[1] > size[1]]
    if 2 * len(large) > len(sides):
        rows, columns = max(large, key=prod)
        log.warning(
            "the structures of %d of %s do not fit into a window of %d x %d pixels, the largest are %d x %d: windows"
            " show parts of them, or whole slices made smaller; give a larger --window, or a smaller --image_size",
            len(large),
            many(len(sides), "labelled image"),
            *size,
            rows,
            columns,
        )
