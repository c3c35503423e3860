"""NRRD and MetaImage are read here, to the last byte, without SimpleITK, which crashes on senseless headers."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import nrrd_meta_header, slicer_segments
from acdc_semicycle.imageio.checks import COPY, check_size, read_exactly
from acdc_semicycle.imageio.nrrd_meta_geometry import affine_and_frame_axis
from acdc_semicycle.imageio.nrrd_meta_header import Fields, is_true
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime.errors import InputError

CHUNK = 1 << 20
LONGEST_NUMBER, LONGEST_NAME = 64, 255  # characters
MOST_LINES = 10**6  # before the voxels
RAW, PACKED, TEXT, HEX = ("raw",), ("gzip", "gz"), ("ascii", "txt", "text"), ("hex",)  # NRRD's encodings


class Storage(NamedTuple):
    """Where the voxels are stored, and how.

    Attributes:
        file: the file that holds them, the header's own or one beside it.
        name: of that file, for messages.
        start: the byte from which lines and bytes are skipped.
        lines, skipped: numbers of lines and bytes to skip before the voxels; -1 skips all bytes but the voxels.
        last: whether the voxels are the last bytes of the file, whatever precedes them.
        encoding: RAW, PACKED, TEXT or HEX.
    """

    file: Path
    name: Path | str
    start: int
    lines: int
    skipped: int
    last: bool
    encoding: tuple[str, ...]


def read(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray[np.float64], None]:
    """Read voxels in the order of storage, but frames last, and the affine to RAS in mm.

    The layers of a segmentation of 3D Slicer become one label map.

    Args:
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: the file is not what its header says, has several numbers a voxel, or its voxels are elsewhere.
        ValueError, zlib.error, OSError, EOFError: it is damaged.
    """
    lines, header_end = nrrd_meta_header.read_lines(path)
    file = _voxels_file(path, lines)
    fields = nrrd_meta_header.fields_by_name(path, lines)
    sizes, encoding = nrrd_meta_header.sizes(path, fields), _encoding(path, fields)
    dtype = nrrd_meta_header.voxel_type(path, fields, text=encoding == TEXT)
    segments = slicer_segments.segments(path) if nrrd_meta_header.is_nrrd(path) else []
    if segments:
        fields["kinds"] = re.sub("^vector", "list", fields.get("kinds", ""))  # 3D Slicer 4's word for layers
    affine, frame_axis = affine_and_frame_axis(path, fields, sizes, policy)
    storage = _storage(path, fields, file, header_end, encoding)
    count = math.prod(sizes)
    check_size(path, count, count * dtype.itemsize + max(storage.skipped, 0), file.stat().st_size, policy)
    _check_skips(path, storage)
    voxels = _voxels(storage, dtype, count).reshape(sizes, order="F")
    if frame_axis is not None:
        voxels = np.moveaxis(voxels, frame_axis, -1)
    if voxels.ndim == 2:
        voxels = voxels[..., None]
    if segments and voxels.ndim == 4:
        voxels = slicer_segments.label_map(path, voxels, segments)
    return voxels, affine, None


def detached(path: Path) -> list[str]:
    """The files that an NRRD's or MetaImage's header names for its voxels; none where they follow it."""
    lines, _ = nrrd_meta_header.read_lines(path)
    return _file_names(lines)


def _file_names(lines: list[tuple[str, str]]) -> list[str]:
    """The names of files in a header's lines, without LOCAL, which is the header's own."""
    names = [value for key, value in lines if key in ("elementdatafile", "datafile")]
    return [name.removeprefix("./") for name in names if name.upper() != "LOCAL"]


def _voxels_file(path: Path, lines: list[tuple[str, str]]) -> Path:
    """The file with the voxels: the header's own, or one of a plain name beside it; refuse all others."""
    names = _file_names(lines)
    if path.name in names:
        raise InputError(f"{path} names itself as the file of its voxels: {COPY}")
    for name in names:
        if len(name) > LONGEST_NAME:
            raise InputError(f"{path} takes its voxels from a file with a name of {len(name):,} characters: {COPY}")
        if not _is_plain_name(name):
            raise InputError(f"{path} takes its voxels from {name!r}: give a file that holds them, or one beside it")
        if not (path.parent / name).is_file():
            raise InputError(f"{path} takes its voxels from {name!r}, which is no file beside it: copy both")
    return path.parent / names[-1] if names else path


def _is_plain_name(name: str) -> bool:
    """Whether a name is that of one file in the same folder: no path, no pattern of names and no list."""
    if name.upper().startswith("LIST"):
        return False
    return name == Path(name).name and "\\" not in name and "%" not in name


def _encoding(path: Path, fields: Fields) -> tuple[str, ...]:
    """How the voxels are encoded: RAW, PACKED, TEXT or HEX."""
    if nrrd_meta_header.is_nrrd(path):
        for encoding in (RAW, PACKED, TEXT, HEX):
            if fields.get("encoding", "").lower() in encoding:
                return encoding
        raise InputError(f"{path} has its voxels in an unknown encoding: store it as raw, gzip, ascii or hex")
    if is_true(fields, "compresseddata"):
        return PACKED
    return RAW if is_true(fields, "binarydata", "T") else TEXT


def _storage(path: Path, fields: Fields, file: Path, header_end: int, encoding: tuple[str, ...]) -> Storage:
    """Where the header says that the voxels are."""
    beside = file != path
    lines, skipped = _skip(path, fields, "lineskip"), _skip(path, fields, "byteskip")
    header_size = _skip(path, fields, "headersize")
    start = 0 if beside else header_end
    if header_size > 0:  # a MetaImage counts from the beginning of the file
        start = header_size
    last = encoding == RAW and (skipped < 0 or (header_size < 0 and beside))
    name = f"{path} ({file.name})" if beside else path
    return Storage(file, name, start, lines, skipped, last, encoding)


def _skip(path: Path, fields: Fields, key: str) -> int:
    """The number of lines or bytes before the voxels; -1 for all bytes but the voxels."""
    word = fields.get(key, "0")
    if not re.fullmatch(r"-1|\d{1,18}", word):
        raise InputError(f"{path} has a {key} that is not a number of lines or bytes: {COPY}")
    return int(word)


def _check_skips(path: Path, storage: Storage) -> None:
    """Refuse impossible numbers of lines or bytes to skip."""
    if not 0 <= storage.lines <= MOST_LINES or (storage.skipped < 0 and storage.encoding != RAW):
        raise InputError(
            f"{path} has a line skip or a byte skip that is not a number of lines or bytes before its voxels: {COPY}"
        )


def _voxels(storage: Storage, dtype: np.dtype, count: int) -> NDArray:
    """All voxels, in a row, from a file that holds nothing else after what the header says to skip."""
    size = count * dtype.itemsize
    with storage.file.open("rb") as stream:
        stream.seek(storage.start)
        _skip_lines(storage, stream)
        if storage.last:
            stream.seek(max(storage.file.stat().st_size - size, stream.tell()))
        content = _unpacked(stream) if storage.encoding == PACKED else stream
        _skip_bytes(content, storage.skipped)
        if storage.encoding == TEXT:
            return _numbers(storage.name, content, dtype, count)
        if storage.encoding == HEX:
            content = io.BytesIO(_hex_bytes(content, size))
        return np.ndarray(count, dtype, read_exactly(storage.name, content, b"", size))


def _skip_lines(storage: Storage, stream: IO[bytes]) -> None:
    """Read past the lines before the voxels."""
    for _ in range(storage.lines):
        if not stream.readline(CHUNK).endswith(b"\n"):
            raise InputError(
                f"{storage.name} is truncated, or has no lines, and {storage.lines:,} are to be skipped: {COPY}"
            )


def _skip_bytes(content: Any, count: int) -> None:
    """Read past the bytes before the voxels, as far as there are any, without keeping them."""
    while count > 0:
        piece = content.read(min(count, CHUNK))
        if not piece:
            return
        count -= len(piece)


def _numbers(name: Path | str, stream: IO[bytes], dtype: np.dtype, count: int) -> NDArray:
    """The numbers of a text; refuse another count, without keeping more than that."""
    parts: list[NDArray] = []
    total = 0
    for words in _words(name, stream):
        total += len(words)
        if total > count:
            break
        parts.append(np.array(words).astype(dtype))
    if total != count:
        what = "truncated" if total < count else "longer than its header says"
        raise InputError(f"{name} is {what}: {total:,} numbers, not {count:,}: {COPY}")
    return np.concatenate(parts)


def _words(name: Path | str, stream: IO[bytes]) -> Iterator[list[bytes]]:
    """The words of a text, piece by piece; refuse words that cannot be numbers."""
    rest = b""
    while True:
        piece = stream.read(CHUNK)
        text = rest + piece.replace(b",", b" ")
        words, rest = text.split(), b""
        if piece and words and not text[-1:].isspace():
            rest = words.pop()  # the next piece may continue it
        if b"_" in piece or any(len(word) > LONGEST_NUMBER for word in (*words, rest)):
            raise InputError(f"{name} is damaged: its voxels are not numbers: {COPY}")
        if words:
            yield words
        if not piece:
            return


def _hex_bytes(stream: IO[bytes], size: int) -> bytes:
    """The bytes of hexadecimal digits, in lines or not; at most one byte more than there should be."""
    digits = bytearray()
    while len(digits) <= 2 * size:
        piece = stream.read(CHUNK)
        if not piece:
            break
        digits += piece.translate(None, b" \t\r\n\v\f")
    return bytes.fromhex(digits[: 2 * size + 2].decode("ascii"))


def _unpacked(stream: Any) -> Any:
    """The content of a gzip file or a zlib stream, whose checksum is compared; SimpleITK does not do that."""
    return gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == b"\x1f\x8b" else _Inflated(stream)


class _Inflated(io.RawIOBase):
    """The content of a zlib stream, after which nothing may follow, as gzip.GzipFile is for gzip."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.reader = stream, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.reader.eof:
            packed = self.reader.unconsumed_tail or self.stream.read(CHUNK)
            if not packed:
                raise EOFError("it ends before its checksum")
            piece = self.reader.decompress(packed, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
        if self.reader.unused_data or self.stream.read(1):
            raise OSError("something follows its checksum")
        return 0
