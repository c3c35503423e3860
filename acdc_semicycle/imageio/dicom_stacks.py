"""Single slices of several DICOM series as one scan: some scanners store a short-axis cine as one series a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.imageio.dicom_image import Image, read_image
from acdc_semicycle.imageio.dicom_order import FARTHEST, SAME_MM, arranged
from acdc_semicycle.runtime.errors import InputError


@dataclass(frozen=True)
class Stack:
    """Several series that make one scan.

    Attributes:
        members: indices of the series, in the order of their slices.
        files, affine: as of a series.
    """

    members: tuple[int, ...]
    files: tuple[tuple[Path, ...], ...]
    affine: tuple[tuple[float, ...], ...]


def stacks(series: Sequence[Sequence[Path]]) -> list[Stack]:
    """Which series of one slice lie one behind the other in one patient and examination.

    They have one study, frame of reference, orientation, size, spacing, kind of image and number of frames, each
    another position along their normal, and even steps of at most three slice thicknesses.

    Args:
        series: the files of each; of those that are no single slice nothing is made.
    """
    alike: dict[Any, list[int]] = {}
    images_of: dict[int, list[Image]] = {}
    for number, files in enumerate(series):
        images = _of_single_slice(files)
        if images:
            images_of[number] = images
            alike.setdefault(_sort_of(images), []).append(number)
    result = []
    for numbers in alike.values():
        stack = _stack(numbers, images_of) if len(numbers) > 1 else None
        if stack:
            result.append(stack)
    return result


def _of_single_slice(files: Sequence[Path]) -> list[Image]:
    """The images of a series of one slice; none of another, whose first two headers show it."""
    images: list[Image] = []
    for path in files:
        image = read_image(path)
        if not isinstance(image, Image) or not _is_single_slice([*images[:1], image]):
            return []
        images.append(image)
    return images


def _is_single_slice(images: Sequence[Image]) -> bool:
    """Whether all images are of one place of a known study, with a thickness."""
    first = images[0]
    if not first.study or not first.thickness or not first.position or len(first.orientation) != 6:
        return False
    return all(image.position and np.allclose(image.position, first.position, atol=SAME_MM) for image in images)


def _sort_of(images: Sequence[Image]) -> tuple[Any, ...]:
    """What the slices of one scan have in common."""
    first = images[0]
    geometry = (np.round(first.orientation, 3) + 0.0).tolist(), first.spacing, first.thickness, first.size
    return len(images), first.study, first.reference, first.kind, first.header.kind, first.echoes, repr(geometry)


def _stack(numbers: Sequence[int], images_of: dict[int, list[Image]]) -> Stack | None:
    """The stack of some series; None where they lie beside each other, unevenly, too far apart or at one place."""
    first = images_of[numbers[0]][0]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    heights = {number: float(normal @ images_of[number][0].position) for number in numbers}
    steps = np.diff(sorted(heights.values()))
    if steps.min() < SAME_MM or steps.max() > FARTHEST * first.thickness:
        return None
    images = [image for number in numbers for image in images_of[number]]
    try:
        files, affine, *_ = arranged(images)
    except InputError:
        return None
    members = tuple(sorted(numbers, key=heights.__getitem__))
    return Stack(members, tuple(map(tuple, files)), tuple(map(tuple, affine.tolist())))
