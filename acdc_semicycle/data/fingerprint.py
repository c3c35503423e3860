"""The fingerprint of a data set: sizes, spacings, intensities and structures, taken while a check reads its files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import IGNORED, is_picture

PERCENTILES = (0, 0.5, 50, 99.5, 100)
MOST_VOXELS = 2**19  # of an image, from which the percentiles are taken


@dataclass(frozen=True)
class CaseFacts:
    """What was seen of one image and its mask.

    Attributes:
        size: rows, columns and slices, as a network sees them.
        spacing_mm: along them; None where it is unknown: of a picture, and of 1 x 1 x 1 mm, as of a file that has lost
            its spacing.
        intensities: at PERCENTILES.
        grey: whether a picture has no colours.
        extents: rows, columns and slices of the box of each class in the mask, but for class 0 and what is not
            annotated.
        structures: rows and columns of the box of all of them; None without any.
        same_as: an earlier image of the same voxels.
    """

    record: Record
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    intensities: tuple[float, ...]
    grey: bool = True
    extents: dict[int, tuple[int, ...]] = field(default_factory=dict)
    structures: tuple[int, int] | None = None
    same_as: Record | None = None

    @property
    def labelled(self) -> bool:
        """Whether the image has a mask."""
        return self.record.label is not None


@dataclass
class Fingerprint:
    """What was seen of a data set, one case after the other.

    Attributes:
        cases: those that could be read, in the order of reading.
    """

    cases: list[CaseFacts] = field(default_factory=list)

    def add(self, record: Record, image: Any, label: Any = None, same_as: Record | None = None) -> None:
        """Take the facts of a case.

        Args:
            image: as a training reads it, a tensor [C, H, W, slices] with its affine.
            label: class indices [1, H, W, slices], if there is a mask that can be read.
            same_as: an earlier record of the same voxels.
        """
        voxels = image.as_tensor().numpy()
        extents, structures = _boxes(label.as_tensor().numpy()[0]) if label is not None else ({}, None)
        self.cases.append(
            CaseFacts(
                record=record,
                size=tuple(voxels.shape[1:]),
                spacing_mm=_spacing(record, image),
                intensities=percentiles(voxels),
                grey=bool((voxels == voxels[:1]).all()),
                extents=extents,
                structures=structures,
                same_as=same_as,
            )
        )

    @property
    def distinct(self) -> list[CaseFacts]:
        """The cases without those that repeat the voxels of an earlier one."""
        return [case for case in self.cases if case.same_as is None]


def lengths(cases: Iterable[CaseFacts], axis: int) -> list[int]:
    """Rows (axis 0), columns (1) or slices (2) of each case."""
    return [case.size[axis] for case in cases]


def spacings(cases: Iterable[CaseFacts], between_slices: bool) -> list[float]:
    """The spacings of the cases where they are known, in mm: the coarser one of the plane, or between the slices."""
    values: list[float] = []
    for case in cases:
        if case.spacing_mm is not None:
            values.append(case.spacing_mm[2] if between_slices else max(case.spacing_mm[:2]))
    return values


def across(case: CaseFacts, label: int) -> tuple[int, float | int | None]:
    """The longer side of a class's box in the plane: in pixels, and in mm where the spacing is known."""
    sides = case.extents[label][:2]
    if case.spacing_mm is None:
        return max(sides), None
    return max(sides), max(side * spacing for side, spacing in zip(sides, case.spacing_mm[:2], strict=True))


def quantile(values: Sequence[float | int], part: float) -> float:
    """The value below which a part of several values lies."""
    return float(np.quantile(np.asarray(values, float), part))


def _spacing(record: Record, image: Any) -> tuple[float, ...] | None:
    """The spacing of a scan as its reader gives it; None where that means nothing."""
    if is_picture(record.image):
        return None
    spacing = np.linalg.norm(image.affine.numpy()[:3, :3], axis=0)
    return None if np.allclose(spacing, 1, atol=1e-6) else tuple(float(length) for length in spacing)


def percentiles(voxels: NDArray) -> tuple[float, ...]:
    """The intensities at PERCENTILES; those of a large image from every so many of its voxels."""
    values = voxels.reshape(-1)
    sample = values[:: max(1, values.size // MOST_VOXELS)]
    inner = np.percentile(sample, PERCENTILES[1:-1])
    return (float(values.min()), *(float(value) for value in inner), float(values.max()))


def _boxes(labels: NDArray) -> tuple[dict[int, tuple[int, ...]], tuple[int, int] | None]:
    """The sides of the box of each class [H, W, slices], and the rows and columns of the box of all of them."""
    extents: dict[int, tuple[int, ...]] = {}
    corners: list[tuple[int, int, int, int]] = []
    for index, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if box is None or index == IGNORED:
            continue
        rows, columns, slices = box
        extents[index] = tuple(side.stop - side.start for side in (rows, columns, slices))
        corners.append((rows.start, rows.stop, columns.start, columns.stop))
    if not corners:
        return extents, None
    top, bottom, left, right = zip(*corners, strict=True)
    return extents, (max(bottom) - min(top), max(right) - min(left))
