"""Whether the compressed data of a grey JPEG are as long as its pixels need, found by stepping from code to code.

DICOM's decoder prints a nameless line where data are missing, and gives pixels all the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.jpeg_stream import LOSSLESS, SEQUENTIAL, DamagedStream, Scan, Stream

BLOCK = 64  # coefficients of 8 x 8 pixels
SIXTEEN_ZEROS = 0xF0  # a symbol of AC tables
LARGEST = 16  # a lossless difference of this category has no further bits
SPARE = (b"", b"\0", b"\xff")  # what some encoders write after the byte of the last code
NO_CODE = 255  # the step from bits that are no code: as a rule it leads beyond the end
AC = 16  # added to an AC table's number


def check_length(content: bytes, stream: Stream) -> None:
    """Refuse a stream of one component whose compressed data are shorter or longer than its pixels.

    Raises:
        DamagedStream: they are, or codes are not in the tables.
    """
    if len(stream.components) != 1 or len(stream.scans) != 1:
        raise DamagedStream("it has several components or scans")
    scan = stream.scans[0]
    rows, columns = int.from_bytes(stream.frame[1:3], "big"), int.from_bytes(stream.frame[3:5], "big")
    if stream.kind == LOSSLESS:
        units = rows * columns
    elif stream.kind in SEQUENTIAL:
        units = -(-rows // 8) * -(-columns // 8)
    else:
        raise DamagedStream("its compression is neither baseline nor lossless")
    for start, end in scan.parts:
        part_units = min(units, scan.interval or units)
        units -= part_units
        _check_part(content[start:end].replace(b"\xff\0", b"\xff"), scan, part_units, stream.kind == LOSSLESS)
    if units:
        raise DamagedStream("restart intervals are missing")


def _check_part(data: bytes, scan: Scan, units: int, lossless: bool) -> None:
    """Refuse data that do not end with the last of so many units."""
    try:
        bits = _pixel_bits(data, scan, units) if lossless else _block_bits(data, scan, units)
    except (IndexError, KeyError, ValueError, StopIteration):  # of the data, or of the tables
        raise DamagedStream("compressed data or tables are missing") from None
    needed = -(-bits // 8)
    if needed > len(data) or data[needed:] not in SPARE:
        raise DamagedStream("its compressed data have another length than its pixels")


def _pixel_bits(data: bytes, scan: Scan, pixels: int) -> int:
    """The number of bits of so many lossless differences, each a code and as many bits as its category says."""
    extra = np.arange(256)
    extra[LARGEST:] = 0
    steps = _steps(data, scan.tables[scan.header[2] >> 4], extra)
    position = 0
    for _ in range(pixels):
        position += steps[position]
    return position


def _block_bits(data: bytes, scan: Scan, blocks: int) -> int:
    """The number of bits of so many blocks: a DC code, then AC codes of runs of zeros and a coefficient's size."""
    symbols = np.arange(256)
    ac_table = scan.tables[AC + (scan.header[2] & 15)]
    dc_steps = _steps(data, scan.tables[scan.header[2] >> 4], symbols & 15)
    ac_steps = _steps(data, ac_table, symbols & 15)
    advances = (symbols >> 4) + 1
    advances[(symbols & 15 == 0) & (symbols != SIXTEEN_ZEROS)] = BLOCK  # the end of the block
    ac_advances = _at_each_bit(data, _of_codes(ac_table, advances, no_code=BLOCK))
    position = 0
    for _ in range(blocks):
        position += dc_steps[position]
        k = 1
        while k < BLOCK:
            k += ac_advances[position]
            position += ac_steps[position]
    return position


def _steps(data: bytes, table: bytes, extra: NDArray) -> bytes:
    """From each bit the step over the code that begins there and the bits after it, by its symbol."""
    lengths = np.repeat(np.arange(1, 17), list(table[:16]))
    symbols = np.frombuffer(table[16:], np.uint8)
    steps = np.zeros(256, int)
    steps[symbols] = lengths + extra[symbols]
    return _at_each_bit(data, _of_codes(table, steps, NO_CODE))


def _of_codes(table: bytes, value_of: NDArray, no_code: int) -> NDArray[np.uint8]:
    """The value of the symbol whose code the first of 16 bits are, for all 2^16 of them."""
    values = np.full(1 << 16, no_code, np.uint8)
    position, symbols = 0, iter(table[16:])
    for length, count in enumerate(table[:16], 1):
        span = 1 << (16 - length)
        for _ in range(count):
            values[position : position + span] = value_of[next(symbols)]
            position += span
    return values


def _at_each_bit(data: bytes, values: NDArray[np.uint8]) -> bytes:
    """The values of the 16 bits from each bit of the data on, and from the one after the last."""
    octets = np.frombuffer(data + b"\0\0\0", np.uint8).astype(np.uint32)
    three = octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]  # the bytes at and after each byte
    windows = three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF
    return values[windows].tobytes()[: 8 * len(data) + 1]
