"""The pixels of one DICOM slice: plain ones and RLE are decoded here, other compressed ones by GDCM.

GDCM sees neither the patient nor the file: it gets a new header around the stream, after the stream has been checked
to be complete and of the right size.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import jpeg_length, jpeg_stream
from acdc_semicycle.imageio.dicom_file import BIG, DEFLATED, PIXELS, UNTIL_END, Order

PLAIN = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG, DEFLATED)  # an unnamed syntax is never a compressed one
RLE = "1.2.840.10008.1.2.5"
JPEG = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(50|51|57|70|80|81)")  # baseline, extended, lossless, JPEG-LS
HUFFMAN = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(50|51|57|70)")  # all of them but JPEG-LS
JPEG_2000 = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.9[01]")
SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # JPEG's markers of a frame's size
SCAN = 0xDA
INVERSE = "MONOCHROME1"


class DamagedPixels(Exception):
    """The pixels are not what the header says."""


@dataclass(frozen=True)
class Form:
    """How the pixels are stored, and what they mean.

    Attributes:
        rows, columns: of the slice.
        bits: of a pixel in the file: 8, 16 or 32.
        used: number of the lowest of them that count; the others may be anything.
        signed: whether pixels have a sign.
        inverse: whether large numbers are dark.
        slope, intercept: from the pixels to what was measured.
        padding: the lowest and the highest number of pixels where nothing was measured; None where there are none.
    """

    rows: int
    columns: int
    bits: int
    used: int
    signed: bool
    inverse: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Bytes of the slice, unpacked."""
        return self.rows * self.columns * self.bits // 8

    @property
    def stored_type(self) -> np.dtype:
        """The type of pixels as they are stored."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}")

    @property
    def measured_type(self) -> np.dtype:
        """The type of what was measured: whole numbers where slope and intercept are."""
        if (self.slope, self.intercept) == (1, 0):
            return self.stored_type
        whole = self.slope.is_integer() and self.intercept.is_integer()
        largest = abs(self.slope) * 2.0**self.used + abs(self.intercept)
        if whole and largest < 2**31:
            return np.dtype(np.int32)
        return np.dtype(np.float64)


def can_read(syntax: str) -> bool:
    """Whether pixels of a transfer syntax can be read."""
    return syntax in (*PLAIN, RLE) or bool(JPEG.fullmatch(syntax) or JPEG_2000.fullmatch(syntax))


def decoded(content: bytes, syntax: str, form: Form, order: Order) -> tuple[NDArray, NDArray[np.bool_]]:
    """What was measured, and where nothing was, as the pixels are padding; both [columns, rows].

    Args:
        content: the pixels, or the compressed stream.
        order: of the bytes of plain pixels.

    Raises:
        DamagedPixels: the pixels are not what the header says.
    """
    if syntax in PLAIN:
        if len(content) != form.size:
            raise DamagedPixels
        pixels = np.frombuffer(content, form.stored_type.newbyteorder(order)).astype(form.stored_type)
    elif syntax == RLE:
        pixels = _from_rle(content, form)
    else:
        _check_stream(content, syntax, form)
        pixels = _by_gdcm(content, syntax, form)
    if pixels.size != form.rows * form.columns:
        raise DamagedPixels
    unused = form.bits - form.used
    used = pixels << unused >> unused if unused else pixels
    padded = _is_padding(pixels, form) | _is_padding(used, form)
    shape = (form.rows, form.columns)
    return _measured(used, form).reshape(shape).T, padded.reshape(shape).T


def _is_padding(pixels: NDArray, form: Form) -> NDArray[np.bool_]:
    """Where pixels are padding."""
    if form.padding is None:
        return np.zeros(pixels.shape, bool)
    low, high = form.padding
    return (pixels >= low) & (pixels <= high)


def _measured(pixels: NDArray, form: Form) -> NDArray:
    """What was measured, from pixels without the bits that are not used."""
    if form.inverse:
        pixels = ~pixels if form.signed else form.stored_type.type(2**form.used - 1) - pixels
    dtype = form.measured_type
    if dtype == form.stored_type:
        return pixels
    return pixels.astype(dtype) * dtype.type(form.slope) + dtype.type(form.intercept)


def _from_rle(content: bytes, form: Form) -> NDArray:
    """Pixels from RLE, which has one segment for each byte of a pixel, the highest first."""
    if len(content) < 64:
        raise DamagedPixels
    count, *starts = np.frombuffer(content[:64], "<u4").tolist()
    if count != form.bits // 8:
        raise DamagedPixels
    ends = [*starts[1:count], len(content)]
    planes = np.empty((form.rows * form.columns, count), np.uint8)
    for n, (start, end) in enumerate(zip(starts[:count], ends, strict=True)):
        planes[:, count - 1 - n] = np.frombuffer(_from_segment(content[start:end], len(planes)), np.uint8)
    return planes.view(form.stored_type.newbyteorder("<")).astype(form.stored_type).ravel()


def _from_segment(packed: bytes, size: int) -> bytearray:
    """So many bytes from one segment, after which there may be zeros."""
    unpacked, position = bytearray(), 0
    while len(unpacked) < size and position < len(packed):
        step = packed[position]
        if step < 128:  # so many bytes and one more as they are
            unpacked += packed[position + 1 : position + step + 2]
            position += step + 2
        elif step > 128:  # one byte repeated
            unpacked += packed[position + 1 : position + 2] * (257 - step)
            position += 2
        else:
            position += 1
    if len(unpacked) != size or packed[position:].strip(b"\0"):
        raise DamagedPixels
    return unpacked


def _check_stream(content: bytes, syntax: str, form: Form) -> None:
    """Refuse a stream of another size, before a decoder allocates memory for it, and one that is cut."""
    try:
        size = _jpeg_size(content) if JPEG.fullmatch(syntax) else _jpeg_2000_size(content)
    except IndexError:
        raise DamagedPixels from None
    if size != (form.rows, form.columns, 1):
        raise DamagedPixels
    if HUFFMAN.fullmatch(syntax):
        try:
            jpeg_length.check_length(content, jpeg_stream.parsed(content))
        except jpeg_stream.DamagedStream:
            raise DamagedPixels from None


def _jpeg_size(content: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of a JPEG or JPEG-LS stream that has its end."""
    position = 2
    if content[:2] != b"\xff\xd8" or b"\xff\xd9" not in content[-64:]:
        raise DamagedPixels
    while content[position] == 0xFF and content[position + 1] != SCAN:
        marker = content[position + 1]
        if marker in SIZES:
            return _number(content, position + 5, 2), _number(content, position + 7, 2), content[position + 9]
        position += 1 if marker == 0xFF else 2 + _number(content, position + 2, 2)
    raise DamagedPixels


def _jpeg_2000_size(content: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of a JPEG 2000 stream that has all its tiles and its end."""
    start = content[:4096].find(b"\xff\x4f\xff\x51")  # a whole file has boxes before it
    if start < 0:
        raise DamagedPixels
    numbers = [_number(content, start + 8 + 4 * n, 4) for n in range(8)]
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = numbers
    one_pixel_a_point = content[start + 43 : start + 45] == b"\1\1"  # of the grid
    if not one_pixel_a_point or not tile_width * tile_height:
        raise DamagedPixels
    tiles = math.ceil((right - tile_left) / tile_width) * math.ceil((bottom - tile_top) / tile_height)
    if _count_tiles(content, start + 2) != tiles:
        raise DamagedPixels
    return bottom - top, right - left, _number(content, start + 40, 2)


def _count_tiles(content: bytes, position: int) -> int:
    """The number of tiles of a JPEG 2000 stream, found by following their parts to its end."""
    while content[position : position + 2] != b"\xff\x90":
        position += 2 + _number(content, position + 2, 2)
    tiles = set()
    while content[position : position + 2] == b"\xff\x90":
        tiles.add(_number(content, position + 4, 2))
        length = _number(content, position + 6, 4)
        if length:
            position += length
        else:  # the last part reaches up to the end marker
            position = max(0, content.rfind(b"\xff\xd9"))
    if content[position : position + 2] != b"\xff\xd9":
        raise DamagedPixels
    return len(tiles)


def _number(content: bytes, position: int, size: int) -> int:
    """The number in so many bytes.

    Raises:
        IndexError: the stream ends before it.
    """
    if position + size > len(content):
        raise IndexError
    return int.from_bytes(content[position : position + size], "big")


def _by_gdcm(content: bytes, syntax: str, form: Form) -> NDArray:
    """Pixels from a compressed stream, decoded by GDCM."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slice.dcm"
        path.write_bytes(_wrapped(content, syntax, form))
        reader.SetFileName(str(path))
        try:
            decoded = sitk.GetArrayFromImage(reader.Execute()).ravel()
        except RuntimeError:
            raise DamagedPixels from None
    pixels = decoded.astype(form.stored_type)
    if decoded.dtype.kind not in "iu" or (pixels != decoded).any():
        raise DamagedPixels
    return pixels


def _wrapped(content: bytes, syntax: str, form: Form) -> bytes:
    """A DICOM file that holds nothing but a compressed stream."""
    content += b"\0" * (len(content) % 2)
    uid = b"1.2.3\0"
    kind = b"1.2.840.10008.5.1.4.1.1.7\0"  # secondary capture
    meta = _element(0x00020001, b"OB", b"\0\1") + _element(0x00020002, b"UI", kind) + _element(0x00020003, b"UI", uid)
    meta += _element(0x00020010, b"UI", _even(syntax.encode()))
    body = _element(0x00080016, b"UI", kind) + _element(0x00080018, b"UI", uid)
    body += _element(0x00280002, b"US", _short(1)) + _element(0x00280004, b"CS", b"MONOCHROME2 ")
    numbers = {
        0x00280010: form.rows,
        0x00280011: form.columns,
        0x00280100: form.bits,
        0x00280101: form.used,
        0x00280102: form.used - 1,
        0x00280103: int(form.signed),
    }
    for tag, value in numbers.items():
        body += _element(tag, b"US", _short(value))
    body += _tag(PIXELS) + b"OB\0\0" + _long(UNTIL_END) + _item(b"") + _item(content) + _tag(0xFFFEE0DD) + _long(0)
    return bytes(128) + b"DICM" + _element(0x00020000, b"UL", _long(len(meta))) + meta + body


def _even(text: bytes) -> bytes:
    """A text of an even number of bytes, as DICOM wants it."""
    return text + b"\0" * (len(text) % 2)


def _short(value: int) -> bytes:
    """A number of two bytes."""
    return value.to_bytes(2, "little")


def _long(value: int) -> bytes:
    """A number of four bytes."""
    return value.to_bytes(4, "little")


def _tag(tag: int) -> bytes:
    """An element's tag: the group, then the number in it."""
    return _short(tag >> 16) + _short(tag & 0xFFFF)


def _item(content: bytes) -> bytes:
    """An item of a sequence."""
    return _tag(0xFFFEE000) + _long(len(content)) + content


def _element(tag: int, kind: bytes, value: bytes) -> bytes:
    """An explicit element of the type ``kind``."""
    size = b"\0\0" + _long(len(value)) if kind == b"OB" else _short(len(value))
    return _tag(tag) + kind + size + value
