"""Whether a picture's file holds all rows that its header says: Pillow fills those that are missing silently."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.imageio import jpeg_stream

PIECE = 1 << 20  # bytes that are unpacked at once
SIGNATURE = 8  # bytes before a PNG's first chunk
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # numbers a pixel, by a PNG's colour type
PALETTE = 3  # that colour type
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
WIDTH, HEIGHT, BITS, COMPRESSION, PLANAR = 256, 257, 258, 259, 284  # TIFF's tags
STRIPS = (273, 279)  # offsets and byte counts
TILES = (324, 325)
ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT, JPEG_TABLES = 278, 322, 323, 347
PLAIN, JPEG = 1, 7  # TIFF's compressions
CHECKED_BY_LIBTIFF = (5, 8, 32773, 32946, 34925, 50000)  # LZW, deflate, PackBits, LZMA, Zstandard


class IncompletePicture(ValueError):
    """The file holds fewer or more pixels than its header says, or it cannot be told."""


def check_whole(path: Path, picture: Image.Image) -> None:
    """Refuse a file whose pixels are not all there; of BMP and WebP Pillow itself refuses it.

    Args:
        picture: the file as Pillow reads it, its pixels loaded.

    Raises:
        IncompletePicture: says what is missing.
        zlib.error: a PNG's stream is damaged.
    """
    if picture.format == "PNG":
        _check_png(path.read_bytes())
    elif picture.format in ("JPEG", "MPO"):
        _check_jpeg(path.read_bytes(), np.asarray(picture))
    elif picture.format == "TIFF":
        _check_tiff(path, picture)


def _check_png(content: bytes) -> None:
    """Refuse a PNG whose stream holds other than its rows, or a chunk of which is damaged."""
    inflater, unpacked, header, has_palette = zlib.decompressobj(), 0, b"", False
    for kind, data in _chunks(content):
        if kind == b"IHDR":
            header = data
        has_palette |= kind == b"PLTE"
        while kind == b"IDAT" and data and not inflater.eof:
            unpacked += len(inflater.decompress(data, PIECE))
            data = inflater.unconsumed_tail
    needed = _png_bytes(header)
    if unpacked != needed or not inflater.eof:
        raise IncompletePicture(f"its rows take {needed:,} bytes, and it holds {unpacked:,}")
    if header[9] == PALETTE and not has_palette:
        raise IncompletePicture("it has numbers of colours, and no palette")


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk of a PNG, compared with their checksums, up to the last."""
    position, kind = SIGNATURE, b""
    while kind != b"IEND":
        length = int.from_bytes(content[position : position + 4], "big")
        body = content[position + 4 : position + 8 + length]
        checksum = content[position + 8 + length : position + 12 + length]
        if len(checksum) < 4 or zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise IncompletePicture("a chunk is cut, or its checksum is wrong")
        kind = body[:4]
        yield kind, body[4:]
        position += 12 + length


def _png_bytes(header: bytes) -> int:
    """The bytes of all rows of a PNG, each after one byte of its filter."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * SAMPLES[header[9]]
    size = 0
    for left, top, across, down in ADAM7 if header[12] else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0:
            size += rows * (1 + -(-columns * bits // 8))
    return size


def _check_jpeg(content: bytes, pixels: NDArray) -> None:
    """Refuse a JPEG that has other pixels with other bits after its compressed data: it takes some of them."""
    try:
        stream = jpeg_stream.parsed(content)
        jpeg_stream.check_scans(stream)
    except jpeg_stream.DamagedStream as error:
        raise IncompletePicture(str(error)) from None
    with Image.open(io.BytesIO(jpeg_stream.with_filler(content, stream)), formats=("JPEG",)) as filled:
        if not np.array_equal(pixels, np.asarray(filled)):
            raise IncompletePicture("compressed data are missing")


def _check_tiff(path: Path, picture: Any) -> None:
    """Refuse a TIFF that lists too few strips or tiles, plain ones that are short, and JPEG ones that are cut."""
    tags = picture.tag_v2
    compression = tags.get(COMPRESSION, PLAIN)
    offsets, lengths, needed = _pieces(tags)
    if len(offsets) < len(needed) or len(lengths) < len(needed):
        raise IncompletePicture(f"it needs {len(needed)} strips or tiles, and lists {len(offsets)}")
    if compression == PLAIN:
        short = [length for length, size in zip(lengths, needed, strict=False) if length < size]
        if short:
            raise IncompletePicture(f"a strip or tile has {short[0]:,} bytes, too few for its rows")
    elif compression == JPEG:
        for offset, length in zip(offsets, lengths, strict=True):
            _check_jpeg_piece(_stored(path, offset, length), tags.get(JPEG_TABLES, b""))
    elif compression not in CHECKED_BY_LIBTIFF:
        raise IncompletePicture(f"TIFF's compression {compression} does not tell whether rows are missing")


def _pieces(tags: Any) -> tuple[tuple[int, ...], tuple[int, ...], list[int]]:
    """The offsets and lengths that a TIFF lists of its strips or tiles, and the bytes that each needs unpacked."""
    width, height, bits = tags[WIDTH], tags[HEIGHT], tags.get(BITS, (1,))
    planes = [sum(bits)] if tags.get(PLANAR, 1) == 1 else list(bits)
    sizes: list[int] = []
    if TILE_WIDTH in tags:
        across, down = tags[TILE_WIDTH], tags[TILE_HEIGHT]
        count = -(-width // across) * -(-height // down)
        for plane in planes:
            sizes += [down * -(-across * plane // 8)] * count
    else:
        rows = min(tags.get(ROWS_PER_STRIP, height), height)
        for plane in planes:
            for top in range(0, height, rows):
                sizes.append(min(rows, height - top) * -(-width * plane // 8))
    offsets, lengths = TILES if TILES[0] in tags else STRIPS
    return tags.get(offsets, ()), tags.get(lengths, tuple(sizes)), sizes


def _stored(path: Path, offset: int, length: int) -> bytes:
    """So many bytes of a file."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def _check_jpeg_piece(piece: bytes, tables: bytes) -> None:
    """Refuse a strip or tile of a TIFF whose JPEG stream, with the tables that all share, is not whole."""
    content = b"\xff\xd8" + tables[2:-2] + piece[2:]
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
        _check_jpeg(content, np.asarray(picture))
