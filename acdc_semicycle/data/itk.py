"""NRRD and MetaImage: read by SimpleITK, once the header is sane and a compressed file's checksum is right."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.data.nifti import COPY, check_size
from acdc_semicycle.errors import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's patient axes
LONGEST_HEADER = 1 << 20
CHUNK = 1 << 20
Fields = list[tuple[str, str]]
SKIPPED = {"byte skip", "byteskip", "line skip", "lineskip", "headersize"}  # something is before the voxels


def read(path: Path) -> tuple[NDArray, NDArray[np.float64], None]:
    """Voxels in the order of storage, and the affine to RAS in mm.

    Raises:
        InputError: not one real number a voxel, not what its header says, or voxels that are not beside the header.
        RuntimeError, zlib.error, OSError: damaged.
    """
    import SimpleITK as sitk

    head, start = _header(path)
    files = _voxels_files(path, head)
    _check_spacing(path, dict(head))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path} has {reader.GetNumberOfComponents()} numbers a voxel: give a scan of one channel")
    if reader.GetDimension() not in (2, 3, 4):
        raise InputError(f"{path} has {reader.GetDimension()} axes: give a 3D volume, or a cine of such frames")
    kind = sitk.GetArrayViewFromImage(sitk.Image([1] * 2, reader.GetPixelID())).dtype
    count = math.prod(reader.GetSize())
    check_size(path, count, count * kind.itemsize, sum(file.stat().st_size for file in files or [path]))
    said, (file, first) = dict(head), (files[0], 0) if files else (path, start)
    if _is_deflated(said) and not SKIPPED & set(said):
        kind = kind.newbyteorder(">" if _is_big_endian(said) else "<")
        content = _unpacked(path, file, first, count * kind.itemsize)
        voxels = np.ndarray(reader.GetSize(), kind, content, order="F")
    else:
        _check_length(path, file, first, said, count * kind.itemsize)
        voxels = sitk.GetArrayFromImage(reader.Execute()).transpose()
    return voxels[..., None] if voxels.ndim == 2 else voxels, affine(reader), None


def affine(image: Any) -> NDArray[np.float64]:
    """The affine to RAS of a SimpleITK image, or a reader that knows of one, of two, three or four axes."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)
    result = np.eye(4)
    k = min(n, 3)
    result[:k, :k] = direction[:k, :k] * np.array(image.GetSpacing())[:k]
    result[:k, 3] = np.array(image.GetOrigin())[:k]
    return LPS @ result


def detached(path: Path) -> list[str]:
    """The files that an NRRD's or MetaImage's header names for its voxels; none where they follow it."""
    return _named(_header(path)[0])


def _named(head: Fields) -> list[str]:
    found = [value for key, value in head if key in ("elementdatafile", "data file", "datafile")]
    return [name for name in found if name.upper() != "LOCAL"]


def _header(path: Path) -> tuple[Fields, int]:
    """The header's fields, names in lower case, and where it ends."""
    with path.open("rb") as stream:
        block = stream.read(LONGEST_HEADER)
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    if not (block.startswith(b"NRRD") if nrrd else re.search(rb"^[ \t]*ElementDataFile", block, re.M | re.I)):
        raise InputError(f"{path} is truncated, damaged or no {'NRRD' if nrrd else 'MetaImage'}: {COPY}")
    if nrrd:
        end = re.search(rb"\r?\n\r?\n", block)
        size = end.end() if end else len(block)
        field = rb"^([^#:\n]+):[ \t]+(.*?)[ \t\r]*$"  # and not KEY:=VALUE, which may say anything
    else:
        end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*(\n|\Z)", block, re.MULTILINE | re.IGNORECASE)
        size = end.end() if end else len(block)
        field = rb"^[ \t]*([^=\n]+?)[ \t]*=[ \t]*(.*?)[ \t\r]*$"
    found = re.findall(field, block[:size], re.MULTILINE)
    fields = [(key.decode("latin-1").strip().lower(), value.decode("utf-8", "surrogateescape")) for key, value in found]
    return fields, size


def _voxels_files(path: Path, head: Fields) -> list[Path]:
    """The files with the voxels, if not the header's own; refused are all but plain names beside it."""
    names = _named(head)
    if path.name in names:
        raise InputError(f"{path} says that its voxels are the header itself: {COPY}")
    for name in names:
        if name != Path(name).name or "\\" in name or "%" in name or name.upper().startswith("LIST"):
            raise InputError(f"{path} takes its voxels from {name!r}: give a file that holds them, or one beside it")
        if not (path.parent / name).is_file():
            raise InputError(f"{path} takes its voxels from {name!r}, which is no file beside it: copy both")
    return [path.parent / name for name in names]


def _is_deflated(said: dict[str, str]) -> bool:
    return _true(said, "compresseddata") or said.get("encoding", "").lower() in ("gzip", "gz")


def _is_big_endian(said: dict[str, str]) -> bool:
    msb = (_true(said, key) for key in ("binarydatabyteordermsb", "elementbyteordermsb"))
    return any(msb) or said.get("endian", "").lower() == "big"


def _true(said: dict[str, str], key: str) -> bool:
    return said.get(key, "")[:1] in ("T", "t", "1")  # as MetaImage's own library has it


def _check_length(header: Path, path: Path, start: int, said: dict[str, str], expected: int) -> None:
    """Refuse voxels, from ``start`` on, that are not as many bytes as expected; of text nothing can be said."""
    raw = said.get("encoding", "raw").lower() == "raw" and ("binarydata" not in said or _true(said, "binarydata"))
    to_the_end = header == path and "-1" in (said.get("headersize"), said.get("byte skip"))
    found = path.stat().st_size - start
    if _is_deflated(said) or not raw or (SKIPPED & set(said) and not to_the_end):
        return
    if found != expected:
        what = "truncated" if found < expected else "longer than its header says"
        raise InputError(f"{header} is {what}: {found:,} bytes of voxels in {path.name}, not {expected:,}: {COPY}")


def _check_spacing(path: Path, said: dict[str, str]) -> None:
    """Refuse what SimpleITK mends in silence."""
    for word in " ".join(said.get(key, "") for key in ("elementspacing", "spacings")).split():
        if not float(word) > 0 and word.lower() != "nan":  # which NRRD has for axes that are none of space's
            raise InputError(f"{path} has a spacing of {word} in its header: restore it from its source")


def _unpacked(header: Path, path: Path, start: int, expected: int) -> bytearray:
    """A compressed stream to its end, where its checksum is: SimpleITK does not look at it."""
    content, found = bytearray(expected), 0
    with path.open("rb") as stream, memoryview(content) as view:
        stream.seek(start)
        kind = 31 if stream.peek(2)[:2] == b"\x1f\x8b" else 15  # gzip, or zlib
        reader, packed = zlib.decompressobj(kind), b""
        while not reader.eof and found <= expected and (packed := reader.unconsumed_tail or stream.read(CHUNK)):
            piece = reader.decompress(packed, expected + 1 - found)
            view[found : found + len(piece)] = piece[: expected - found]
            found += len(piece)
    if found != expected or not reader.eof:
        raise InputError(
            f"{header} is truncated, damaged or not what its header says ({found:,} of {expected:,} bytes): {COPY}"
        )
    return content
