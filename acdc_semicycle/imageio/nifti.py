"""NIfTI files that are what their headers say, checked before anything is allocated and read to the last byte.

nibabel reads a file whose checksum is wrong, mends bad headers in silence, and allocates whatever a header asks for;
SimpleITK fills what is missing with zeros.
"""

from __future__ import annotations

import gzip
import math
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

IN_MM = {1: 1000.0, 3: 0.001}  # NIfTI's codes of metres and microns
CONFLICT_MM = 1.0  # between the places where qform and sform put one corner of a volume
SMALLEST_MM, LARGEST_MM, FARTHEST_MM = 1e-4, 1e4, 1e6  # of a spacing, and of an origin: beyond is no scanner's
DEFLATE = 1032  # times as small as what it holds can a compressed file be, and no more
BOMB_BYTES, BOMB_RATIO = 2**28, 200  # a compressed file of more than both is packed nothing
COPY = "copy it again from its source"


class Form(NamedTuple):
    """How one kind of header begins: its class, its length, its first voxel at the least, its two marks."""

    kind: type[nibabel.Nifti1Header]
    first: int
    single: bytes
    pair: bytes


FORMS = {
    348: Form(nibabel.Nifti1Header, 352, b"n+1\0", b"ni1\0"),
    540: Form(nibabel.Nifti2Header, 544, b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"),
}


def read(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], Any]:
    """Voxels in the order of storage, slope and intercept applied, the affine to RAS in mm, and the header.

    Args:
        path: .nii, .nii.gz, or the .hdr of a pair.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: the file is not what its header says, or nothing of a patient's is like that.
        OSError, EOFError, zlib.error: it is damaged.
    """
    paired = path.suffix.lower() == ".hdr"
    with _opened(path) as stream:
        block = stream.read(540)
        header = stored_header(path, block)
        if header is None:
            if paired and policy.geometry:
                return _analyze(path, policy)
            raise InputError(_no_nifti(path, block))
        start, end = _extent(path, header, paired, policy)
        _check_scaling(path, header)
        affine = _affine(path, header, policy)
        shape, kind = header.get_data_shape(), header.get_data_dtype()
        if path.suffix.lower() == ".gz":
            stored = np.ndarray(shape, kind, exactly(path, stream, block, end), start, order="F")
        else:  # whose length is right
            flat = np.fromfile(_image_of(path) if paired else path, kind, offset=start)
            stored = flat.reshape(shape, order="F")
    slope, inter = header.get_slope_inter()
    if slope is None:
        return stored, affine, header
    return apply_read_scaling(stored, np.float64(slope), np.float64(inter)), affine, header


def stored_header(path: Path, block: bytes | None = None) -> Any:
    """The header as it is stored, with nothing mended but the sign that is left of a quaternion; None if it is none."""
    if block is None:
        with _opened(path) as stream:
            block = stream.read(540)
    sizes = {"<": int.from_bytes(block[:4], "little"), ">": int.from_bytes(block[:4], "big")}
    order = next((order for order, size in sizes.items() if size in FORMS), None)
    if order is None:
        return None
    size = sizes[order]
    form = FORMS[size]
    if len(block) < size:
        raise InputError(f"{path} is truncated within its header: {COPY}")
    header = form.kind(block[:size], order, check=False)
    mark = form.pair if path.suffix.lower() == ".hdr" else form.single
    if block[344:348] != mark if size == 348 else block[4:12] != mark:
        return None
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # as the standard's own library has it
    return header


def _no_nifti(path: Path, block: bytes) -> str:
    if b"\x5c\x01\x00\x00" in (block[:4], block[3::-1]) and block[344:347] not in (b"n+1", b"ni1"):
        return (
            f"{path} has no NIfTI mark: damaged, or Analyze, which does not tell left from right; convert it, or, an"
            f" Analyze pair, set {environment.GEOMETRY}"
        )
    return f"{path} is damaged or no NIfTI: {COPY}"


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _image_of(path: Path) -> Path:
    """The voxels' file of a pair."""
    found = [path.with_suffix(end) for end in (".img", ".IMG", ".Img") if path.with_suffix(end).is_file()]
    if not found:
        raise InputError(f"{path} has no {path.with_suffix('.img').name} beside it: copy both")
    return found[0]


def _extent(path: Path, header: Any, paired: bool, policy: ReadingPolicy) -> tuple[int, int]:
    """Where the voxels begin and end, in bytes, if that can be."""
    dim = [int(n) for n in header["dim"]]
    axes = dim[0]
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1:
        raise InputError(f"{path} has the shape {dim[1 : max(0, axes) + 1]} ({axes} axes) in its header: {COPY}")
    count = math.prod(dim[1 : axes + 1])
    try:
        kind = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise InputError(f"{path} has the unknown data type {int(header['datatype'])}: {COPY}") from None
    if not kind.itemsize:  # what NumPy has no numbers for
        said = f"{int(header['datatype'])} ({header.get_value_label('datatype')})"
        raise InputError(f"{path} has voxels of NIfTI's data type {said}: convert it to one of whole or real numbers")
    if kind.itemsize * 8 != int(header["bitpix"]):
        raise InputError(f"{path} has {kind} voxels of {int(header['bitpix'])} bits in its header: {COPY}")
    first = float(header["vox_offset"])
    least = 0 if paired else FORMS[int(header["sizeof_hdr"])].first
    if not least <= first <= 2**31 or first != int(first):
        raise InputError(f"{path} has its first voxel at byte {first:g}, not at {least} or behind: {COPY}")
    start, end = int(first), int(first) + count * kind.itemsize
    stored = (_image_of(path) if paired else path).stat().st_size
    check_size(path, count, end, stored, policy)
    if path.suffix.lower() != ".gz" and stored != end:
        what = "truncated" if stored < end else "longer than its header says"
        raise InputError(f"{path} is {what}: {stored:,} bytes, not {end:,}: {COPY}")
    return start, end


def _check_scaling(path: Path, header: Any) -> None:
    """Refuse infinite numbers; a slope of 0, or of NaN, which is what libraries leave there, is none."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope) or math.isinf(inter) or (slope and not math.isnan(slope) and math.isnan(inter)):
        raise InputError(
            f"{path} has the slope {slope:g} and the intercept {inter:g} in its header, and no voxel is a number by"
            " them: restore it from its source"
        )


def check_size(path: Path, voxels: int, needed: int, stored: int, policy: ReadingPolicy) -> None:
    """Refuse what is too large, or cannot be in so few bytes, before anything is allocated.

    Args:
        voxels: that the header says.
        needed: bytes of the file, unpacked.
        stored: bytes of the file.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: says how a user can allow it.
    """
    most, switch = policy.most_voxels, environment.MAX_VOXELS
    if voxels > most:
        raise InputError(
            f"{path} says that it has {voxels:,} voxels, more than {most:,}: if that is true, set {switch} to more"
        )
    if needed > DEFLATE * stored:
        raise InputError(f"{path} is truncated: {stored:,} bytes, and its header says {voxels:,} voxels: {COPY}")
    if needed > max(BOMB_BYTES, BOMB_RATIO * stored) and policy.max_voxels is None:
        raise InputError(
            f"{path} would unpack to {needed / stored:.0f} times its size, {needed / 2**30:.1f} GiB: if that is true,"
            f" set {switch} to its {voxels:,} voxels"
        )


def exactly(path: Path | str, stream: Any, begun: bytes, end: int) -> bytearray:
    """All bytes up to the end of the voxels, behind which is nothing; so gzip's checksum has been looked at, too."""
    content = bytearray(end)
    content[: len(begun)] = begun[:end]
    found = min(len(begun), end)
    with memoryview(content) as view:
        while found < end and (more := stream.readinto(view[found:])):
            found += more
    if found < end:
        raise InputError(f"{path} is truncated: {found:,} bytes, not {end:,}: {COPY}")
    if stream.read(1) or len(begun) > end:
        raise InputError(f"{path} is longer than its header says, {end:,} bytes: {COPY}")
    return content


def _affine(path: Path, header: Any, policy: ReadingPolicy) -> NDArray[np.float64]:
    """To RAS in mm, by the form that is coded."""
    axes = min(int(header["dim"][0]), 3)
    spacing = header["pixdim"][1 : axes + 1].astype(float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        said = " x ".join(f"{n:.4g}" for n in spacing)
        raise InputError(f"{path} has a spacing of {said} in its header: restore it from its source")
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    for name, code in codes.items():
        if not 0 <= code <= 5:
            raise InputError(f"{path} has the unknown {name}_code {code}: {COPY}")
    choice, found = policy.geometry, {name: _form(path, header, name) for name, code in codes.items() if code}
    if not found:
        if choice is None:
            raise InputError(
                f"{path} does not say where it lies in the patient (qform_code and sform_code are 0): restore it from"
                f" its source, or set {environment.GEOMETRY} to sform, and left may be right"
            )
        return _in_mm(header, header.get_base_affine())
    apart = distance(header, *found.values()) if len(found) == 2 else 0.0
    if apart > CONFLICT_MM and choice is None:
        raise InputError(
            f"{path} has a qform and an sform that disagree by {apart:.3g} mm, and programs differ in which they take:"
            f" keep one, or set {environment.GEOMETRY} to sform or qform"
        )
    return found[choice] if choice in found else next(iter(found.values()))


def _form(path: Path, header: Any, name: str) -> NDArray[np.float64]:
    """One of the two, which a label map would take over, whichever is gone by: so both are to be numbers."""
    try:
        affine = header.get_sform() if name == "sform" else header.get_qform()
    except (HeaderDataError, ValueError):
        numbers = [float(header[f"quatern_{axis}"]) for axis in "bcd"]
        raise InputError(f"{path} has a qform that is no rotation (quaternion {numbers}): {COPY}") from None
    if not np.isfinite(affine).all():
        check_affine(path, affine)
    return _in_mm(header, affine)


def _in_mm(header: Any, affine: NDArray) -> NDArray[np.float64]:
    return np.diag([*[IN_MM.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0]) @ affine


def distance(header: Any, one: NDArray, other: NDArray) -> float:
    """The largest between the places where two affines put one corner of the volume."""
    ends = [(0, n - 1) for n in (*header.get_data_shape(), 1, 1)[:3]]
    corners = np.array([[*corner, 1] for corner in product(*ends)])
    return float(np.linalg.norm(((one - other) @ corners.T)[:3], axis=0).max())


def check_affine(path: Path | str, affine: NDArray) -> None:
    """Refuse what is no place of a patient's: not finite, flat, or of a size that no scanner has.

    Raises:
        InputError: says the affine.
    """
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        sane = np.isfinite(affine).all() and sizes.min() >= SMALLEST_MM and sizes.max() <= LARGEST_MM
        sane = sane and np.abs(affine[:3, 3]).max() <= FARTHEST_MM
        sane = sane and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3
    if not sane:
        raise InputError(f"{path} has no usable affine ({np.round(affine, 3).tolist()}): restore it from its source")


def _analyze(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], None]:
    """An Analyze pair, once the user has said that left may be right."""
    image: Any = nibabel.load(path)
    count = int(np.prod(image.shape, dtype=float))
    needed = count * image.get_data_dtype().itemsize
    if count > policy.most_voxels or _image_of(path).stat().st_size < needed:
        raise InputError(f"{path} is truncated, or too large ({count:,} voxels): {COPY}")
    return np.asanyarray(image.dataobj), np.array(image.affine, float), None
