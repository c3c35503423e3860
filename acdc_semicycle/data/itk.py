"""NRRD and MetaImage: SimpleITK reads the header, once it is sane; the voxels are read here, to the last byte."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.data.itk_geometry import stated
from acdc_semicycle.data.nifti import COPY, check_size, exactly
from acdc_semicycle.errors import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's patient axes
LONGEST_HEADER = 1 << 20
CHUNK = 1 << 20
RAW, PACKED, TEXT, HEX = ("raw",), ("gzip", "gz"), ("ascii", "txt", "text"), ("hex",)  # NRRD's encodings
NRRD = {"encoding", "endian", "lineskip", "byteskip", "datafile"}  # its fields, which in a MetaImage are a user's
Fields = list[tuple[str, str]]


def read(path: Path) -> tuple[NDArray, NDArray[np.float64], None]:
    """Voxels in the order of storage, and the affine to RAS in mm.

    Raises:
        InputError: not one real number a voxel, not what its header says, or voxels that are not beside the header.
        RuntimeError, ValueError, zlib.error, OSError, EOFError: damaged.
    """
    import SimpleITK as sitk

    head, start = _header(path)
    said, file = dict(head), _voxels_file(path, head)
    _check(path, said)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:  # of a MetaImage it gives the errno of something else
        raise ValueError(re.sub("Reason: .*", "its header cannot be understood", str(error))) from error
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path} has {reader.GetNumberOfComponents()} numbers a voxel: give a scan of one channel")
    if reader.GetDimension() not in (2, 3, 4):
        raise InputError(f"{path} has {reader.GetDimension()} axes: give a 3D volume, or a cine of such frames")
    place = stated(path, said, reader.GetDimension())
    place = affine(reader) if place is None else place
    kind = sitk.GetArrayViewFromImage(sitk.Image([1] * 2, reader.GetPixelID())).dtype
    kind = kind.newbyteorder(">" if _is_big_endian(said) else "<")
    voxels = _voxels(path, file, 0 if file != path else start, said, kind, math.prod(reader.GetSize()))
    voxels = voxels.reshape(reader.GetSize(), order="F")
    return voxels[..., None] if voxels.ndim == 2 else voxels, place, None


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
    found = [value for key, value in head if key in ("elementdatafile", "datafile")]
    return [name for name in found if name.upper() != "LOCAL"]


def _header(path: Path) -> tuple[Fields, int]:
    """The header's fields, names in lower case and without spaces, and where it ends."""
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
    names = [key.decode("latin-1").lower().replace(" ", "") for key, _ in found]
    values = [value.decode("utf-8", "surrogateescape") for _, value in found]
    return [(key, value) for key, value in zip(names, values, strict=True) if nrrd or key not in NRRD], size


def _voxels_file(path: Path, head: Fields) -> Path:
    """The file with the voxels, which may be the header's own; refused are all but plain names beside it."""
    names = _named(head)
    if path.name in names:
        raise InputError(f"{path} says that its voxels are the header itself: {COPY}")
    for name in names:
        if name != Path(name).name or "\\" in name or "%" in name or name.upper().startswith("LIST"):
            raise InputError(f"{path} takes its voxels from {name!r}: give a file that holds them, or one beside it")
        if not (path.parent / name).is_file():
            raise InputError(f"{path} takes its voxels from {name!r}, which is no file beside it: copy both")
    return path.parent / names[-1] if names else path


def _is_big_endian(said: dict[str, str]) -> bool:
    msb = (_true(said, key) for key in ("binarydatabyteordermsb", "elementbyteordermsb"))
    return any(msb) or said.get("endian", "").lower() == "big"


def _true(said: dict[str, str], key: str, default: str = "") -> bool:
    return said.get(key, default)[:1] in ("T", "t", "1")  # as MetaImage's own library has it


def _check(path: Path, said: dict[str, str]) -> None:
    """Refuse what SimpleITK mends in silence, or has no words for."""
    _encoding(path, said)
    for word in " ".join(said.get(key, "") for key in ("elementspacing", "spacings")).split():
        try:
            good = float(word) > 0 or word.lower() == "nan"  # which NRRD has for axes that are none of space's
        except ValueError:
            good = False
        if not good:
            raise InputError(f"{path} has a spacing of {word} in its header: restore it from its source")


def _voxels(path: Path, file: Path, start: int, said: dict[str, str], kind: np.dtype, count: int) -> NDArray:
    """All of them, in a row, from a file that holds nothing else behind ``start`` but what the header says to skip."""
    coded, size, name = _encoding(path, said), count * kind.itemsize, path if file == path else f"{path} ({file.name})"
    lines, skipped, header = (_skipped(path, said, key) for key in ("lineskip", "byteskip", "headersize"))
    check_size(path, count, size + max(skipped, 0), file.stat().st_size)
    with file.open("rb") as stream:
        stream.seek(header if header > 0 else start)  # a MetaImage counts from the file's begin
        while lines > 0 and stream.readline():
            lines -= 1
        if -1 in (skipped, header) and coded == RAW and file != path:  # the last bytes, behind what nobody describes
            stream.seek(-size, io.SEEK_END)
        content = _unpacked(stream) if coded == PACKED else stream
        if skipped > 0:
            content.read(skipped)
        if coded == TEXT:
            words = content.read().replace(b",", b" ").split()
            if len(words) != count:
                what = "truncated" if len(words) < count else "longer than its header says"
                raise InputError(f"{name} is {what}: {len(words):,} numbers, not {count:,}: {COPY}")
            return np.array(words).astype(kind)
        if coded == HEX:
            content = io.BytesIO(bytes.fromhex(content.read().decode("ascii")))
        return np.ndarray(count, kind, exactly(name, content, b"", size))


def _encoding(path: Path, said: dict[str, str]) -> tuple[str, ...]:
    """Of the voxels: one of the four."""
    if "encoding" not in said:  # a MetaImage
        return PACKED if _true(said, "compresseddata") else RAW if _true(said, "binarydata", "T") else TEXT
    for known in (RAW, PACKED, TEXT, HEX):
        if said["encoding"].lower() in known:
            return known
    raise InputError(f"{path} has its voxels in an encoding that is not known: store it as raw, gzip, ascii or hex")


def _skipped(path: Path, said: dict[str, str], key: str) -> int:
    """How many lines or bytes are before the voxels; of bytes -1 for all but the voxels'."""
    word = said.get(key, "0")
    if not re.fullmatch(r"-1|\d{1,18}", word):
        raise InputError(f"{path} has a {key} that is no number of lines or bytes: {COPY}")
    return int(word)


def _unpacked(stream: Any) -> Any:
    """What a gzip's members or a zlib stream hold up to their checksums, at which SimpleITK does not look."""
    return gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == b"\x1f\x8b" else _Inflated(stream)


class _Inflated(io.RawIOBase):
    """What a zlib stream holds, behind which is nothing; gzip.GzipFile is as much for gzip's."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.reader = stream, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.reader.eof:
            packed = self.reader.unconsumed_tail or self.stream.read(CHUNK)
            if not packed:
                raise EOFError("it ends before its checksum")
            if piece := self.reader.decompress(packed, len(buffer)):
                buffer[: len(piece)] = piece
                return len(piece)
        if self.reader.unused_data or self.stream.read(1):
            raise OSError("something is behind its checksum")
        return 0
