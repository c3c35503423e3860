"""NRRD and MetaImage, read to the last byte; SimpleITK, which crashes on headers that make no sense, reads none."""

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

from acdc_semicycle.imageio import nrrd_meta_header
from acdc_semicycle.imageio.nifti import COPY, check_size, exactly
from acdc_semicycle.imageio.nrrd_meta_geometry import affine_and_frame_axis
from acdc_semicycle.imageio.nrrd_meta_header import Fields, true
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime.errors import InputError

CHUNK = 1 << 20
LONGEST_NUMBER, LONGEST_NAME = 64, 255  # characters
MOST_LINES = 10**6  # before the voxels
RAW, PACKED, TEXT, HEX = ("raw",), ("gzip", "gz"), ("ascii", "txt", "text"), ("hex",)  # NRRD's encodings


def read(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], None]:
    """Voxels in the order of storage, but frames last, and the affine to RAS in mm.

    Raises:
        InputError: not one real number a voxel, not what its header says, or voxels that are not beside the header.
        ValueError, zlib.error, OSError, EOFError: damaged.
    """
    head, start = nrrd_meta_header.fields(path)
    file = _voxels_file(path, head)
    said = nrrd_meta_header.checked(path, head)
    sizes, coded = nrrd_meta_header.sizes(path, said), _encoding(path, said)
    kind = nrrd_meta_header.voxel_type(path, said, text=coded == TEXT)
    affine, frames = affine_and_frame_axis(path, said, sizes, policy)
    voxels = _voxels(path, file, 0 if file != path else start, said, kind, math.prod(sizes), policy)
    voxels = voxels.reshape(sizes, order="F")
    voxels = voxels if frames is None else np.moveaxis(voxels, frames, -1)
    return voxels[..., None] if voxels.ndim == 2 else voxels, affine, None


def detached(path: Path) -> list[str]:
    """The files that an NRRD's or MetaImage's header names for its voxels; none where they follow it."""
    return _named(nrrd_meta_header.fields(path)[0])


def _named(head: Fields) -> list[str]:
    found = [value for key, value in head if key in ("elementdatafile", "datafile")]
    return [name.removeprefix("./") for name in found if name.upper() != "LOCAL"]


def _voxels_file(path: Path, head: Fields) -> Path:
    """The file with the voxels, which may be the header's own; refused are all but plain names beside it."""
    names = _named(head)
    if path.name in names:
        raise InputError(f"{path} says that its voxels are the header itself: {COPY}")
    for name in names:
        if len(name) > LONGEST_NAME:
            raise InputError(f"{path} takes its voxels from a file with a name of {len(name):,} characters: {COPY}")
        if name != Path(name).name or "\\" in name or "%" in name or name.upper().startswith("LIST"):
            raise InputError(f"{path} takes its voxels from {name!r}: give a file that holds them, or one beside it")
        if not (path.parent / name).is_file():
            raise InputError(f"{path} takes its voxels from {name!r}, which is no file beside it: copy both")
    return path.parent / names[-1] if names else path


def _voxels(
    path: Path, file: Path, start: int, said: dict[str, str], kind: np.dtype, count: int, policy: ReadingPolicy
) -> NDArray:
    """All of them, in a row, from a file that holds nothing else behind ``start`` but what the header says to skip."""
    coded, size, name = _encoding(path, said), count * kind.itemsize, path if file == path else f"{path} ({file.name})"
    lines, skipped, header = (_skipped(path, said, key) for key in ("lineskip", "byteskip", "headersize"))
    check_size(path, count, size + max(skipped, 0), file.stat().st_size, policy)
    if not 0 <= lines <= MOST_LINES or (skipped < 0 and coded != RAW):
        raise InputError(
            f"{path} has a line skip or a byte skip that is no number of lines or bytes before its voxels: {COPY}"
        )
    with file.open("rb") as stream:
        stream.seek(header if header > 0 else start)  # a MetaImage counts from the file's begin
        for _ in range(lines):
            if not stream.readline(CHUNK).endswith(b"\n"):
                raise InputError(f"{name} is truncated, or has no lines, and {lines:,} are to be skipped: {COPY}")
        # the last bytes, behind what nobody describes
        if coded == RAW and (skipped < 0 or (header < 0 and file != path)):
            stream.seek(max(file.stat().st_size - size, stream.tell()))
        content = _unpacked(stream) if coded == PACKED else stream
        while skipped > 0 and (piece := content.read(min(skipped, CHUNK))):
            skipped -= len(piece)
        if coded == TEXT:
            return _numbers(name, content, kind, count)
        if coded == HEX:
            content = io.BytesIO(_bytes(content, size))
        return np.ndarray(count, kind, exactly(name, content, b"", size))


def _numbers(name: Path | str, stream: IO[bytes], kind: np.dtype, count: int) -> NDArray:
    """All that are written there, and as many; no more is kept of what is longer."""
    found: list[NDArray] = []
    total, rest = 0, b""
    while total <= count:
        piece = stream.read(CHUNK)
        words = (rest + piece.replace(b",", b" ") + b"|" * bool(piece)).split()
        rest = words.pop()[:-1] if piece else b""  # which may go on
        if max(map(len, [*words, rest]), default=0) > LONGEST_NUMBER or b"_" in piece:
            raise InputError(f"{name} is damaged: what should be its voxels are no numbers: {COPY}")
        total += len(words)
        if words and total <= count:
            found.append(np.array(words).astype(kind))
        if not piece:
            break
    if total != count:
        what = "truncated" if total < count else "longer than its header says"
        raise InputError(f"{name} is {what}: {total:,} numbers, not {count:,}: {COPY}")
    return np.concatenate(found)


def _bytes(stream: IO[bytes], size: int) -> bytes:
    """What hexadecimal digits say, lines of them or not; no more than one byte more than there should be."""
    digits = bytearray()
    while len(digits) <= 2 * size and (piece := stream.read(CHUNK)):
        digits += piece.translate(None, b" \t\r\n\v\f")
    return bytes.fromhex(digits[: 2 * size + 2].decode("ascii"))


def _encoding(path: Path, said: dict[str, str]) -> tuple[str, ...]:
    """Of the voxels: one of the four."""
    if not nrrd_meta_header.is_nrrd(path):
        return PACKED if true(said, "compresseddata") else RAW if true(said, "binarydata", "T") else TEXT
    for known in (RAW, PACKED, TEXT, HEX):
        if said.get("encoding", "").lower() in known:
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
