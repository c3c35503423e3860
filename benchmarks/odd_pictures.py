"""Odd and bad pictures that ``reliability.py`` gives to readers; each good one holds ``PIXELS``.

A bad one ends well and has right checksums where it has any, but holds other rows than it says, or several pictures.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROWS, COLUMNS = 72, 80
DOWN, ACROSS = np.mgrid[:ROWS, :COLUMNS]
PIXELS = (128 + 60 * np.sin(ACROSS / 9) + 50 * np.cos(DOWN / 13)).astype(np.uint8)
END = b"\xff\xd9"  # of a JPEG
LOSSY = 12  # how far a pixel of a good JPEG may be off


@dataclass(frozen=True)
class Picture:
    """One file; a good one is PIXELS to within ``off``, or these times 257 for 16 bits."""

    path: Path
    good: bool
    off: int = 0


def chunk(kind: bytes, data: bytes, checksum: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ checksum)


def rows_of(pixels: NDArray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def png(rows: bytes, kind: int = 0, bits: int = 8, interlaced: int = 0, between: bytes = b"", wrong: int = 0) -> bytes:
    """A PNG whose stream holds these rows; ``wrong`` spoils a checksum."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", COLUMNS, ROWS, bits, kind, 0, 0, interlaced))
    data = zlib.compress(rows)
    middle = chunk(b"IDAT", data[:50]) + chunk(b"IDAT", data[50:], wrong)
    return b"\x89PNG\r\n\x1a\n" + header + between + middle + chunk(b"IEND", b"")


def by_pillow(kind: str, pixels: NDArray = PIXELS, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def tiff(strips: list[bytes], rows: int, order: str = "<", compression: int = 1, tiles: int = 0) -> bytes:
    """A TIFF of 8 bits; ``rows`` of a strip, or ``tiles`` of so many rows and columns."""
    places, at = [], 8
    for strip in strips:
        places.append(at)
        at += len(strip)
    listed = {"offsets": places, "lengths": list(map(len, strips))}
    where = {name: struct.pack(f"{order}{len(values)}I", *values) for name, values in listed.items()}
    after = {"offsets": at, "lengths": at + len(where["offsets"])}
    tags = {256: COLUMNS, 257: ROWS, 258: 8, 259: compression, 262: 1, 277: 1}
    tags |= {322: tiles, 323: tiles} if tiles else {278: rows}
    lists = {324: "offsets", 325: "lengths"} if tiles else {273: "offsets", 279: "lengths"}
    entries = b""
    for tag in sorted({**tags, **lists}):
        if tag in tags:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, tags[tag])
            continue
        values = listed[lists[tag]]
        value = values[0] if len(values) == 1 else after[lists[tag]]
        entries += struct.pack(f"{order}HHII", tag, 4, len(values), value)
    folder = at + len(where["offsets"]) + len(where["lengths"])
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, folder)
    body = b"".join(strips) + where["offsets"] + where["lengths"]
    return head + body + struct.pack(f"{order}H", len(tags) + 2) + entries + bytes(4)


def bmp(count: int) -> bytes:
    """Runs of so many rows, from the lowest on."""
    runs = b"".join(b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in PIXELS[::-1][:count])
    runs = runs[:-2] + b"\0\1"
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, COLUMNS, ROWS, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + head + palette + runs


def interlaced() -> bytes:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    return b"".join(rows_of(PIXELS[top::down, left::across]) for left, top, across, down in passes)


STRIPS = [PIXELS[top : top + 16].tobytes() for top in range(0, ROWS, 16)]
JPEGS = {
    "baseline": by_pillow("jpeg", quality=95),
    "progressive": by_pillow("jpeg", quality=95, progressive=True),
    "restart": by_pillow("jpeg", quality=95, restart_marker_blocks=7),
    "optimised": by_pillow("jpeg", quality=95, optimize=True),
}


def good() -> Iterator[tuple[str, bytes]]:
    grey = b"".join(bytes([n, n, n]) for n in range(256))
    one_frame = chunk(b"acTL", struct.pack(">II", 1, 0))
    one_frame += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, COLUMNS, ROWS, 0, 0, 1, 10, 0, 0))
    padded = np.pad(PIXELS, ((0, 8), (0, 0)))
    tiles: list[bytes] = []
    for top, left in product(range(0, ROWS, 16), range(0, COLUMNS, 16)):
        tiles.append(padded[top : top + 16, left : left + 16].tobytes())
    yield "plain.png", png(rows_of(PIXELS))
    yield "interlaced.png", png(interlaced(), interlaced=1)
    yield "16 bits.png", png(rows_of(PIXELS.astype(">u2") * 257), bits=16)
    yield "a palette of greys.png", png(rows_of(PIXELS), kind=3, between=chunk(b"PLTE", grey))
    yield "an animation of one frame.png", png(rows_of(PIXELS), between=one_frame)
    yield "text after its end.png", png(rows_of(PIXELS)) + b"Dear doctor"
    yield "grey and alpha.png", by_pillow("png", np.dstack([PIXELS, PIXELS]))
    yield "in strips.tif", tiff(STRIPS, 16)
    yield "big-endian.tif", tiff(STRIPS, 16, order=">")
    yield "in tiles.tif", tiff(tiles, 0, tiles=16)
    yield "deflated strips.tif", tiff([zlib.compress(strip) for strip in STRIPS], 16, compression=8)
    yield "runs.bmp", bmp(ROWS)
    yield "lossless.webp", by_pillow("webp", np.dstack([PIXELS] * 3), lossless=True)
    for name, content in JPEGS.items():
        yield f"{name}.jpg", content
    yield "named otherwise.png", by_pillow("bmp")


def bad() -> Iterator[tuple[str, bytes]]:
    half = PIXELS[: ROWS // 2]
    for count in (1, ROWS // 2, ROWS - 1):
        yield f"half the rows or so, {count}.png", png(rows_of(PIXELS[:count]))
    short = {
        "16 bits": (half.astype(">u2"), 0, 16),
        "colours": (np.dstack([half] * 3), 2, 8),
        "colours and alpha": (np.dstack([half] * 4), 6, 8),
        "one bit": (np.packbits(half > 128, axis=1), 0, 1),
    }
    for name, (pixels, kind, bits) in short.items():
        yield f"half the rows, {name}.png", png(rows_of(pixels), kind=kind, bits=bits)
    grey = chunk(b"PLTE", b"".join(bytes([n, n, n]) for n in range(256)))
    yield "half the rows, a palette.png", png(rows_of(half), kind=3, between=grey)
    yield "a row too many.png", png(rows_of(PIXELS) + bytes(COLUMNS + 1))
    yield "half the rows, interlaced.png", png(interlaced()[: -ROWS // 2 * (COLUMNS + 1)], interlaced=1)
    yield "a wrong checksum.png", png(rows_of(PIXELS), wrong=1)
    yield "no palette.png", png(rows_of(PIXELS), kind=3)
    yield "two frames.png", by_pillow("png", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    yield "two pages.tif", by_pillow("tiff", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    for name, content in JPEGS.items():
        start = content.index(b"\xff\xda") + 14
        for part in (0.1, 0.5, 0.9, 0.99):
            yield f"{name} cut to {part}.jpg", content[: int(start + part * (len(content) - start))] + END
    progressive = JPEGS["progressive"]
    yield "the last scan missing.jpg", progressive[: progressive.rindex(b"\xff\xda")] + END
    restart = JPEGS["restart"]
    first, second = restart.index(b"\xff\xd0"), restart.index(b"\xff\xd1")
    yield "a restart interval missing.jpg", restart[:first] + restart[second:]
    yield "one strip of five.tif", tiff(STRIPS[:1], 16)
    yield "a short strip.tif", tiff([*STRIPS[:2], STRIPS[2][:-1], *STRIPS[3:]], 16)
    yield "deflated, rows missing.tif", tiff([zlib.compress(half.tobytes())], ROWS, compression=8)
    yield "fax codes.tif", by_pillow("tiff", PIXELS > 128, compression="group4")
    jpeg = JPEGS["baseline"]
    yield "JPEG strip, cut.tif", tiff([jpeg[: len(jpeg) // 2] + END], ROWS, compression=7)
    yield "runs of half the rows.bmp", bmp(ROWS // 2)
    webp = by_pillow("webp", np.dstack([PIXELS] * 3))
    body = webp[20 : len(webp) // 2 & ~1]
    head = b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + webp[12:16] + struct.pack("<I", len(body))
    yield "cut, the lengths mended.webp", head + body
    yield "a GIF by its content.png", by_pillow("gif")
    yield "text.png", b"Dear doctor,\nplease find attached.\n" * 30


def make(folder: Path) -> list[Picture]:
    """Every picture as a file in ``folder``."""
    folder.mkdir(parents=True)
    pictures: list[Picture] = []
    for is_good, files in ((True, good()), (False, bad())):
        for name, content in files:
            (folder / name).write_bytes(content)
            pictures.append(Picture(folder / name, is_good, LOSSY if name.endswith(".jpg") else 0))
    return pictures
