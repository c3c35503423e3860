"""NIfTI is read here: the header is checked before anything is allocated, and the file read to its last byte.

nibabel reads files with wrong checksums, corrects bad headers silently, and allocates whatever a header asks for;
SimpleITK fills missing voxels with zeros.
"""

from __future__ import annotations

import gzip
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from acdc_semicycle.imageio.checks import COPY, check_size, read_exactly
from acdc_semicycle.imageio.nifti_geometry import affine_of
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

GZIP = b"\x1f\x8b"  # the first bytes


class Form(NamedTuple):
    """One of the two kinds of headers.

    Attributes:
        header: its class.
        first: the first byte at which voxels can be.
        single, pair: the mark of a file with its voxels, and of one whose voxels lie beside it.
    """

    header: type[nibabel.Nifti1Header]
    first: int
    single: bytes
    pair: bytes


FORMS = {  # by the length of the header
    348: Form(nibabel.Nifti1Header, 352, b"n+1\0", b"ni1\0"),
    540: Form(nibabel.Nifti2Header, 544, b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"),
}


def read(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], Any]:
    """Read voxels in the order of storage, slope and intercept applied, the affine to RAS in mm, and the header.

    Args:
        path: .nii, .nii.gz, or the .hdr of a pair.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: the file is not what its header says, or its geometry is impossible or in doubt.
        OSError, EOFError, zlib.error: it is damaged.
    """
    if _is_packed(path) != (path.suffix.lower() == ".gz"):
        content = "compressed" if _is_packed(path) else "not compressed"
        log.warning("%s is %s, whatever its name says: it is read by its content", path, content)
    with _opened(path) as stream:
        block = stream.read(540)
        header = stored_header(path, block)
        if header is None:
            if _is_pair(path) and policy.geometry:
                return _analyze(path, policy)
            raise _no_nifti(path, block)
        start, end = _extent(path, header, policy)
        _check_scaling(path, header)
        affine = affine_of(path, header, policy)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        if _is_packed(path):
            voxels = np.ndarray(shape, dtype, read_exactly(path, stream, block, end), start, order="F")
        else:  # whose length was compared
            flat = np.fromfile(voxels_file(path), dtype, offset=start)
            voxels = flat.reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is not None:
        voxels = apply_read_scaling(voxels, np.float64(slope), np.float64(intercept))
    return voxels, affine, header


def stored_header(path: Path, block: bytes | None = None) -> Any:
    """The header as it is stored, only the sign of the quaternion made 1 or -1; None if it is not a NIfTI header.

    Args:
        block: the first 540 bytes of the file; None reads them.
    """
    if block is None:
        with _opened(path) as stream:
            block = stream.read(540)
    size, order = int.from_bytes(block[:4], "little"), "<"
    if size not in FORMS:
        size, order = int.from_bytes(block[:4], "big"), ">"
    if size not in FORMS:
        return None
    form = FORMS[size]
    if len(block) < size:
        raise InputError(f"{path} is truncated within its header: {COPY}")
    header = form.header(block[:size], order, check=False)
    mark = block[344:348] if size == 348 else block[4:12]
    if mark != (form.pair if _is_pair(path) else form.single):
        return None
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # as the standard's own library does
    return header


def _is_pair(path: Path) -> bool:
    """Whether the voxels lie in another file."""
    return path.suffix.lower() == ".hdr"


def _is_packed(path: Path) -> bool:
    """Whether the file is compressed, by its content, whatever its name says."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP


def _no_nifti(path: Path, block: bytes) -> InputError:
    """The error of a file that has no NIfTI header."""
    old = b"\x5c\x01\x00\x00" in (block[:4], block[3::-1])  # the length 348, in either byte order
    if old and block[344:347] not in (b"n+1", b"ni1"):
        return InputError(
            f"{path} has no NIfTI mark: it is damaged, or Analyze, which does not tell left from right; convert it, or"
            f" set {environment.GEOMETRY} to sform to read an Analyze pair"
        )
    return InputError(f"{path} is damaged or not in NIfTI format: {COPY}")


def _opened(path: Path) -> Any:
    """A stream of the file's bytes, unpacked."""
    return gzip.open(path) if _is_packed(path) else path.open("rb")


def voxels_file(path: Path) -> Path:
    """The file that holds the voxels, of a pair the image's.

    Raises:
        InputError: of a pair only the header is there.
    """
    if not _is_pair(path):
        return path
    for end in (".img", ".IMG", ".Img"):
        if path.with_suffix(end).is_file():
            return path.with_suffix(end)
    raise InputError(f"{path} has no {path.with_suffix('.img').name} beside it: copy both")


def _extent(path: Path, header: Any, policy: ReadingPolicy) -> tuple[int, int]:
    """The bytes at which the voxels begin and end; refuse what cannot be."""
    count, dtype = _voxel_count(path, header), _voxel_type(path, header)
    first = float(header["vox_offset"])
    least = 0 if _is_pair(path) else FORMS[int(header["sizeof_hdr"])].first
    if not least <= first <= 2**31 or first != int(first):
        raise InputError(f"{path} has its first voxel at byte {first:g}, not at {least} or later: {COPY}")
    start, end = int(first), int(first) + count * dtype.itemsize
    stored = voxels_file(path).stat().st_size
    check_size(path, count, end, stored, policy)
    if not _is_packed(path) and stored != end:
        what = "truncated" if stored < end else "longer than its header says"
        raise InputError(f"{path} is {what}: {stored:,} bytes, not {end:,}: {COPY}")
    return start, end


def _voxel_count(path: Path, header: Any) -> int:
    """The number of voxels; refuse impossible axes."""
    axes, *sizes = header["dim"].tolist()
    if not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise InputError(f"{path} has the shape {sizes[: max(0, axes)]} ({axes} axes) in its header: {COPY}")
    return math.prod(sizes[:axes])


def _voxel_type(path: Path, header: Any) -> np.dtype:
    """The type of a voxel; refuse those that are not one number."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise InputError(f"{path} has the unknown data type {code}: {COPY}") from None
    if not dtype.itemsize:  # NumPy has no such numbers
        label = header.get_value_label("datatype")
        raise InputError(
            f"{path} has voxels of NIfTI's data type {code} ({label}): convert it to one of whole or real numbers"
        )
    if dtype.itemsize * 8 != bits:
        raise InputError(f"{path} has {dtype} voxels of {bits} bits in its header: {COPY}")
    return dtype


def _check_scaling(path: Path, header: Any) -> None:
    """Refuse infinite numbers. A slope of 0 or NaN, which libraries write where there is no scaling, means none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    used = slope != 0 and not math.isnan(slope)
    if math.isinf(slope) or math.isinf(intercept) or (used and math.isnan(intercept)):
        raise InputError(
            f"{path} has the slope {slope:g} and the intercept {intercept:g} in its header, which make no voxel"
            " a number: restore it from its source"
        )


def _analyze(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], None]:
    """Read an Analyze pair, where the user accepts that left may be right."""
    image: Any = nibabel.load(path)
    count = int(np.prod(image.shape, dtype=float))
    needed = count * image.get_data_dtype().itemsize
    if count > policy.most_voxels or voxels_file(path).stat().st_size < needed:
        raise InputError(f"{path} is truncated, or too large ({count:,} voxels): {COPY}")
    return np.asanyarray(image.dataobj), np.array(image.affine, float), None
