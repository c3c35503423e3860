"""Whether the images of a DICOM series are slices of one scan: the file that is unlike the others is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from acdc_semicycle.imageio.dicom_image import SAME_COSINE, Image, check_geometry
from acdc_semicycle.imageio.dicom_order import SAME_MM
from acdc_semicycle.imageio.dicom_values import check_values
from acdc_semicycle.runtime.errors import InputError


def check_kinds(images: Sequence[Image]) -> None:
    """Refuse images that are not slices of one grey scan, and doubled ones."""
    for image in images:
        _check_grey_slice(image)
    for image in images:
        check_geometry(image)
        check_values(image)
    first_of: dict[str, Image] = {}
    for image in images:
        first = first_of.setdefault(image.instance, image) if image.instance else image
        if first is not image:
            raise InputError(f"the same image in two files, {first.path.name} and {image.path.name}: remove the copies")


def _check_grey_slice(image: Image) -> None:
    """Refuse several frames in a file, and colours."""
    if image.size[2] > 1:
        raise InputError(
            f"{image.path.name} is a file of several frames (enhanced DICOM): convert it to NIfTI, with dcm2niix for"
            " example"
        )
    if image.channels > 1:
        raise InputError(f"{image.path.name} is a colour image: give a scan of one number a voxel")


def check_alike(images: Sequence[Image]) -> None:
    """Refuse slices of several studies, frames of reference, sizes, orientations or spacings."""
    if not each_has_its_own_study(images):
        _check_same(images, lambda image: image.study, "of another study (StudyInstanceUID)")
    _check_same(images, lambda image: image.reference, "in another frame of reference (FrameOfReferenceUID)")
    sizes = sorted({f"{image.size[0]} x {image.size[1]}" for image in images})
    _check_same(images, lambda image: image.size, f"of another size ({', '.join(sizes)})")
    if _spread([image.orientation for image in images]) > SAME_COSINE:
        odd = images[_farthest([image.orientation for image in images])]
        raise InputError(
            f"slices of several orientations, as of a localiser ({odd.path.name} has one of its own): give a series of"
            " parallel slices"
        )
    if _spread([image.spacing for image in images]) > SAME_MM * min(images[0].spacing):
        odd = images[_farthest([image.spacing for image in images])]
        raise InputError(
            f"slices of different pixel spacings ({odd.path.name} has one of its own): give each in a folder of its own"
        )


def each_has_its_own_study(images: Sequence[Image]) -> bool:
    """Whether no two files name one study: their writer was given none, and invented one for each."""
    studies = {image.study for image in images if image.study}
    return 1 < len(studies) == len(images)


def _check_same(images: Sequence[Image], value_of: Callable[[Image], Hashable], what: str) -> None:
    """Refuse images that differ in what their headers say; nothing said differs from nothing."""
    counts = Counter(value_of(image) for image in images if value_of(image))
    if len(counts) < 2:
        return
    usual, rare = counts.most_common()[0][0], counts.most_common()[-1][0]
    odd = next(image for image in images if value_of(image) == rare)
    other = next(image for image in images if value_of(image) == usual)
    raise InputError(f"{odd.path.name} is {what} than {other.path.name}: give each in a folder of its own")


def _farthest(values: Sequence[tuple[float, ...]]) -> int:
    """The position of the vector that is farthest from the median."""
    array = np.array(values)
    return int(np.abs(array - np.median(array, axis=0)).max(axis=1).argmax())


def _spread(values: Sequence[tuple[float, ...]]) -> float:
    """The largest difference between two vectors in one component."""
    return float(np.ptp(np.array(values), axis=0).max())
