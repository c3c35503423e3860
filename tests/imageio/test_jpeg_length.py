"""The codes of a grey JPEG are counted: its compressed data have the length that its pixels need, or it is refused."""

import struct

import numpy as np
import pytest

from acdc_semicycle.imageio.jpeg_length import check_length
from acdc_semicycle.imageio.jpeg_stream import DamagedStream, parsed

COUNTS, SYMBOLS = [0, 2, 2, *[0] * 13], [0, 1, 2, 3]  # the codes 00, 01, 100 and 101


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def lossless(parts: list[bytes], rows: int, columns: int, interval: int = 0) -> bytes:
    """A lossless stream of 8 bits, with restart markers between its parts."""
    frame = bytes([8]) + struct.pack(">HH", rows, columns) + bytes([1, 1, 0x11, 0])
    head = (
        segment(0xC3, frame) + segment(0xC4, bytes([0, *COUNTS, *SYMBOLS])) + segment(0xDD, struct.pack(">H", interval))
    )
    data = parts[0]
    for number, part in enumerate(parts[1:]):
        data += bytes([0xFF, 0xD0 + number % 8]) + part
    return b"\xff\xd8" + head + segment(0xDA, bytes([1, 1, 0, 1, 0, 0])) + data + b"\xff\xd9"


def bits(text: str) -> bytes:
    """Bits, filled with ones to whole bytes."""
    text = text.replace(" ", "")
    text += "1" * (-len(text) % 8)
    return bytes(int(text[n : n + 8], 2) for n in range(0, len(text), 8))


def check(content: bytes) -> None:
    check_length(content, parsed(content))


# four pixels: no difference, then one of 1 bit, of 3 bits and of 2 bits, each after its code: 16 bits
FOUR = "00 01 1 101 110 100 10"


def test_each_pixel_is_a_code_and_the_bits_of_its_category():
    check(lossless([bits(FOUR)], 2, 2))
    with pytest.raises(DamagedStream, match="another length"):
        check(lossless([bits(FOUR)], 1, 2))
    with pytest.raises(DamagedStream, match=r"missing|length"):
        check(lossless([bits(FOUR)], 1, 5))
    with pytest.raises(DamagedStream, match=r"missing|length"):
        check(lossless([bits(FOUR)[:-1]], 2, 2))


def test_bits_that_are_no_code_are_refused():
    with pytest.raises(DamagedStream):
        check(lossless([bits("11" * 8)], 2, 2))


@pytest.mark.parametrize("spare", [b"\0", b"\xff\0"])
def test_one_empty_byte_after_the_last_code_is_left_alone(spare):
    check(lossless([bits(FOUR) + spare], 2, 2))
    with pytest.raises(DamagedStream):
        check(lossless([bits(FOUR) + spare + spare], 2, 2))


def test_each_restart_interval_has_its_own_length():
    two = bits("00 01 1")
    check(lossless([two, two, two], 3, 2, interval=2))
    with pytest.raises(DamagedStream, match="restart intervals"):
        check(lossless([two, two], 3, 2, interval=2))
    with pytest.raises(DamagedStream):
        check(lossless([two, b"", two], 3, 2, interval=2))


def test_a_large_slice_is_walked_in_a_moment():
    pixels = 256 * 256
    check(lossless([np.zeros(pixels * 2 // 8, np.uint8).tobytes()], 256, 256))
