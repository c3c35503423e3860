"""A picture whose file ends well, but holds other rows than it says, is refused: what is missing is not filled."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_semicycle.imageio.pictures import read_picture
from tests.imageio.picture_files import COLUMNS, ROWS, numbers, refused

DEEP, WIDE = np.mgrid[:96, :80]
SMOOTH = (128 + 60 * np.sin(WIDE / 9) + 50 * np.cos(DEEP / 13)).astype(np.uint8)
END = b"\xff\xd9"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: bytes, kind=0, size=(COLUMNS, ROWS), interlaced=0, between=b"") -> bytes:
    """A PNG of 8 bits whose chunks and checksums are right, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rows_of(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def packed(pixels: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def read(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return np.asarray(read_picture(path))


@pytest.mark.parametrize("count", [0, 1, ROWS // 2, ROWS - 1])
def test_a_png_whose_whole_stream_holds_too_few_rows_is_refused(tmp_path, count):
    pixels = numbers()
    np.testing.assert_array_equal(read(tmp_path / "a.png", png(rows_of(pixels))), pixels)
    short = png(rows_of(pixels[:count]))
    refused(lambda: read(tmp_path / "a.png", short), str(tmp_path / "a.png"), "copy it again")


def test_a_png_that_lacks_a_part_of_a_row_or_holds_one_more_is_refused(tmp_path):
    rows = rows_of(numbers())
    refused(lambda: read(tmp_path / "a.png", png(rows[:-1])), str(tmp_path / "a.png"), "copy it again")
    words = f"its rows take {len(rows)} bytes, and it holds {len(rows) + COLUMNS + 1}"
    refused(lambda: read(tmp_path / "a.png", png(rows + bytes(COLUMNS + 1))), str(tmp_path / "a.png"), words)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (8, 8), (17, 33)])
def test_an_interlaced_png_holds_seven_pictures(tmp_path, size):
    columns, rows = size
    pixels, passes = numbers((rows, columns)), []
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)):
        passes.append(pixels[top::down, left::across])
    passes.append(pixels[1::2])
    whole = b"".join(rows_of(part) for part in passes if part.size)
    np.testing.assert_array_equal(read(tmp_path / "a.png", png(whole, size=size, interlaced=1)), pixels)
    refused(lambda: read(tmp_path / "a.png", png(whole[:-1], size=size, interlaced=1)), "copy it again")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_that_pillow_writes_is_read(tmp_path, mode):
    picture = Image.fromarray(numbers((ROWS, COLUMNS, 3))).convert("I" if mode == "I;16" else mode)
    picture.convert(mode).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").size == (COLUMNS, ROWS)


def test_a_png_of_colours_without_a_palette_is_refused_as_image_and_as_mask(tmp_path):
    rows, palette = rows_of(numbers(high=2)), chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0]))
    assert read(tmp_path / "a.png", png(rows, kind=3, between=palette)).max() == 1
    refused(lambda: read(tmp_path / "a.png", png(rows, kind=3)), str(tmp_path / "a.png"), "no palette")


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_a_file_of_several_pictures_is_refused(tmp_path, kind):
    second = Image.fromarray(SMOOTH[::-1].copy())
    content = packed(SMOOTH, kind, save_all=True, append_images=[second])
    refused(lambda: read(tmp_path / f"a.{kind}", content), "2 pages", "one picture a file")


def test_a_wrong_checksum_of_a_png_is_refused(tmp_path):
    whole = bytearray(png(rows_of(numbers())))
    whole[whole.index(b"IDAT") + 20] ^= 1
    refused(lambda: read(tmp_path / "a.png", bytes(whole)), str(tmp_path / "a.png"), "copy it again")


JPEGS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restart": {"restart_marker_blocks": 8},
    "progressive restart": {"progressive": True, "restart_marker_blocks": 3},
}


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("options", JPEGS.values(), ids=list(JPEGS))
def test_a_jpeg_that_is_cut_before_its_end_marker_is_refused_wherever_it_is(tmp_path, options, colours):
    pixels = SMOOTH if colours == 1 else np.dstack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]])
    whole = packed(pixels, "jpeg", **options)
    read(tmp_path / "a.jpg", whole)
    start = whole.index(b"\xff\xda") + 14
    for end in np.linspace(start, len(whole) - 3, 25).astype(int):
        cut = whole[:end] + END
        refused(lambda cut=cut: read(tmp_path / "a.jpg", cut), str(tmp_path / "a.jpg"), "copy it again")


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(tmp_path):
    whole = packed(SMOOTH, "jpeg", progressive=True)
    last = whole.rindex(b"\xff\xda")
    refused(lambda: read(tmp_path / "a.jpg", whole[:last] + END), "a.jpg", "scans are missing")


def test_bytes_after_the_end_of_a_jpeg_are_left_alone(tmp_path):
    whole = packed(SMOOTH, "jpeg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg", whole), read(tmp_path / "a.jpg", whole + bytes(100)))


def with_number(content: bytes, tag: int, index: int, value: int) -> bytes:
    """A little-endian TIFF with one number of a tag replaced."""
    at = struct.unpack_from("<I", content, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", content, at)[0], 12):
        number, kind, count, offset = struct.unpack_from("<HHII", content, entry)
        if number == tag:
            size = {3: 2, 4: 4}[kind]
            place = (entry + 8 if size * count <= 4 else offset) + index * size
            return content[:place] + value.to_bytes(size, "little") + content[place + size :]
    raise KeyError(tag)


COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_strip_of_a_tiff_that_is_too_short_is_refused(tmp_path, compression):
    whole = packed(SMOOTH, "tiff", compression=compression, strip_size=1280)
    path = tmp_path / "a.tif"
    read(path, whole)
    with Image.open(path) as picture:
        lengths = picture.tag_v2[279]
    assert len(lengths) == (1 if compression is None else 6)
    for index, length in enumerate(lengths):
        for part in (0.1, 0.5, 0.9):
            short = with_number(whole, 279, index, int(part * length))
            refused(lambda short=short: read(path, short), str(path), "copy it again")


def test_a_strip_of_whole_deflated_rows_of_which_some_are_missing_is_refused(tmp_path):
    path, whole = tmp_path / "a.tif", packed(SMOOTH, "tiff", compression="tiff_adobe_deflate")
    read(path, whole)
    with Image.open(path) as picture:
        [offset], [length] = picture.tag_v2[273], picture.tag_v2[279]
    short = zlib.compress(zlib.decompress(whole[offset : offset + length])[: 50 * SMOOTH.shape[1]])
    content = whole[:offset] + short.ljust(length, b"\0") + whole[offset + length :]
    refused(lambda: read(path, with_number(content, 279, 0, len(short))), str(path), "copy it again")


def test_a_tiff_that_lists_too_few_strips_is_refused(tmp_path):
    whole = with_number(packed(SMOOTH, "tiff"), 278, 0, 16)
    refused(lambda: read(tmp_path / "a.tif", whole), "it needs 6 strips", "lists 1")


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_tiff_of_fax_codes_is_refused_as_it_cannot_be_compared(tmp_path, compression):
    whole = packed(SMOOTH > 128, "tiff", compression=compression)
    refused(lambda: read(tmp_path / "a.tif", whole), "does not tell whether rows are missing")


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["lossy", "lossless"])
def test_a_webp_whose_header_says_the_length_to_which_it_is_cut_is_refused(tmp_path, options):
    whole = packed(np.dstack([SMOOTH] * 3), "webp", **options)
    for end in np.linspace(30, len(whole) - 8, 20).astype(int):
        body = whole[20:end] + b"\0" * ((end - 20) % 2)
        head = b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + whole[12:16] + struct.pack("<I", end - 20)
        refused(lambda cut=head + body: read(tmp_path / "a.webp", cut), "a.webp", "copy it again")


def test_a_bmp_whose_runs_end_early_is_refused(tmp_path):
    rows = [b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in SMOOTH[::-1]]
    height, width = SMOOTH.shape
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))
    for count in (height, height // 2, 1):
        runs = b"".join(rows[:count])[:-2] + b"\0\1"
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
        content = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + head + palette + runs
        if count == height:
            np.testing.assert_array_equal(read(tmp_path / "a.bmp", content), SMOOTH)
        else:
            refused(lambda content=content: read(tmp_path / "a.bmp", content), "a.bmp", "copy it again")
