"""What every reader checks: that a file holds what its header says, and that a patient can lie there."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

DEFLATE = 1032  # the most that deflate can compress: a file is never smaller than its content by more than this factor
BOMB_BYTES, BOMB_RATIO = 2**28, 200  # a compressed file that unpacks to more than both is refused as a bomb
SMALLEST_MM, LARGEST_MM, FARTHEST_MM = 1e-4, 1e4, 1e6  # limits of spacings and of origins: no scanner exceeds them
COPY = "copy it again from its source"
# what nibabel, gzip and NumPy raise for a damaged file; TypeError is NumPy's for colours
DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)


def in_words(numbers: Iterable[Any]) -> str:
    """Sizes or spacings as 1.5 x 1.5 x 10."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def check_size(path: Path, voxels: int, needed: int, stored: int, policy: ReadingPolicy) -> None:
    """Refuse what is too large, or cannot be in so few bytes, before anything is allocated.

    Args:
        voxels: their number by the header.
        needed: bytes that the file must have, unpacked.
        stored: bytes that the file has.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: names the variable by which a user can allow it.
    """
    variable = environment.MAX_VOXELS
    if voxels > policy.most_voxels:
        raise InputError(
            f"{path} says that it has {voxels:,} voxels, more than {policy.most_voxels:,}: if that is true, set"
            f" {variable} higher"
        )
    if needed > DEFLATE * stored:
        raise InputError(f"{path} is truncated: {stored:,} bytes, and its header says {voxels:,} voxels: {COPY}")
    if needed > max(BOMB_BYTES, BOMB_RATIO * stored) and policy.max_voxels is None:
        raise InputError(
            f"{path} would unpack to {needed / stored:.0f} times its size, {needed / 2**30:.1f} GiB: if that is true,"
            f" set {variable} to its {voxels:,} voxels"
        )


def read_exactly(path: Path | str, stream: Any, begun: bytes, end: int) -> bytearray:
    """All bytes up to the end of the voxels; refuse a stream that ends before or continues after them.

    Reading to the very end makes gzip compare its checksum.

    Args:
        path: for messages.
        begun: what was read of the stream before.
    """
    content = bytearray(end)
    content[: len(begun)] = begun[:end]
    filled = min(len(begun), end)
    with memoryview(content) as view:
        while filled < end:
            count = stream.readinto(view[filled:])
            if not count:
                raise InputError(f"{path} is truncated: {filled:,} bytes, not {end:,}: {COPY}")
            filled += count
    if stream.read(1) or len(begun) > end:
        raise InputError(f"{path} is longer than its header says, {end:,} bytes: {COPY}")
    return content


def check_affine(path: Path | str, affine: NDArray) -> None:
    """Refuse an affine that is not finite, flat, or of a size that no scanner has.

    Raises:
        InputError: quotes the affine.
    """
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        sane = (
            np.isfinite(affine).all()
            and sizes.min() >= SMALLEST_MM
            and sizes.max() <= LARGEST_MM
            and np.abs(affine[:3, 3]).max() <= FARTHEST_MM
            and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3
        )
    if not sane:
        raise InputError(f"{path} has no usable affine ({np.round(affine, 3).tolist()}): restore it from its source")
