"""The parts of a JPEG stream (ITU-T T.81), by which it is told whether its compressed data are all there.

A decoder that comes to the end of the compressed data too early goes on with zeros, and says nothing that a program
can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SEQUENTIAL, PROGRESSIVE, LOSSLESS = (0xC0, 0xC1), 0xC2, 0xC3  # markers of frames whose data are Huffman codes
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
TABLES, INTERVAL, SCAN, END = 0xC4, 0xDD, 0xDA, 0xD9
RESTARTS = range(0xD0, 0xD8)
MARKER = re.compile(rb"\xff+([^\x00\xff])")  # within compressed data, where FF 00 is a byte FF
FILLER = b"\xaa" + bytes((73 * n + 29) % 251 for n in range(63))
"""Bits that begin with 1, where a decoder that has none left takes 0; no byte is FF."""


class DamagedStream(Exception):
    """The stream is cut, or not what it says."""


@dataclass(frozen=True)
class Scan:
    """One scan of a stream.

    Attributes:
        header: what follows the scan's marker and length.
        parts: first and last byte, plus one, of its compressed data between restart markers.
        tables: the Huffman tables that are valid for it, by class (16 for AC) and number: 16 counts, then symbols.
        interval: minimum coded units between restart markers; 0 for all in one part.
    """

    header: bytes
    parts: tuple[tuple[int, int], ...]
    tables: dict[int, bytes]
    interval: int


@dataclass(frozen=True)
class Stream:
    """A stream that reaches to its end marker.

    Attributes:
        kind: the marker of its frame, such as PROGRESSIVE.
        frame: what follows that marker and its length.
    """

    kind: int
    frame: bytes
    scans: tuple[Scan, ...]

    @property
    def components(self) -> list[int]:
        """The identifiers of the components."""
        return list(self.frame[6::3][: self.frame[5]])


def parsed(content: bytes) -> Stream:
    """The parts of a stream.

    Raises:
        DamagedStream: it has no frame, no scan or no end.
    """
    kind, frame, interval = 0, b"", 0
    tables: dict[int, bytes] = {}
    scans: list[Scan] = []
    for marker, start, end in _segments(content):
        body = content[start:end]
        if marker == SCAN:
            scans.append(Scan(body, _parts(content, end), dict(tables), interval))
        elif marker == TABLES:
            tables |= _tables(body)
        elif marker == INTERVAL:
            interval = int.from_bytes(body[:2], "big")
        elif marker in FRAMES:
            kind, frame = marker, body
    if len(frame) < 9 or not scans:
        raise DamagedStream("no frame or no scan")
    return Stream(kind, frame, tuple(scans))


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and last byte plus one of each segment, up to the end marker."""
    position = 2
    while True:
        match = MARKER.match(content, position)
        if match is None:
            raise DamagedStream("a segment ends where no marker is")
        marker = match[1][0]
        if marker == END:
            return
        length = int.from_bytes(content[match.end() : match.end() + 2], "big")
        start, position = match.end() + 2, match.end() + length
        if length < 2 or position > len(content):
            raise DamagedStream("a segment leads beyond the end")
        yield marker, start, position
        if marker == SCAN:
            position = _parts(content, position)[-1][1]


def _parts(content: bytes, start: int) -> tuple[tuple[int, int], ...]:
    """The compressed data from a byte on, between restart markers."""
    parts: list[tuple[int, int]] = []
    for match in MARKER.finditer(content, start):
        parts.append((start, match.start()))
        if match[1][0] not in RESTARTS:
            return tuple(parts)
        start = match.end()
    raise DamagedStream("it has no end marker")


def _tables(body: bytes) -> dict[int, bytes]:
    """The Huffman tables of one segment."""
    tables: dict[int, bytes] = {}
    while len(body) > 17:
        size = 17 + sum(body[1:17])
        tables[body[0]] = body[1:size]
        body = body[size:]
    return tables


def check_scans(stream: Stream) -> None:
    """Refuse a stream that lacks scans or restart intervals, and one of arithmetic codes, whose end cannot be told.

    Raises:
        DamagedStream: says which.
    """
    if stream.kind not in (*SEQUENTIAL, PROGRESSIVE, LOSSLESS):
        raise DamagedStream("its compression is not baseline, progressive or lossless")
    missing_bits = {(component, 0): 1 for component in stream.components}
    if stream.kind == PROGRESSIVE:
        missing_bits = {(component, k): 1 for component in stream.components for k in range(64)}
    for scan in stream.scans:
        if len(scan.parts) != _part_count(stream, scan):
            raise DamagedStream("restart intervals are missing")
        count = scan.header[0]
        first, last, accuracy = scan.header[1 + 2 * count : 4 + 2 * count]
        if stream.kind != PROGRESSIVE:
            first, last, accuracy = 0, 0, 0
        for component in scan.header[1 : 1 + 2 * count : 2]:
            for k in range(first, last + 1):
                missing_bits[component, k] = accuracy & 15
    if any(missing_bits.values()):
        raise DamagedStream("scans are missing")


def _part_count(stream: Stream, scan: Scan) -> int:
    """The number of parts between restart markers that a scan's minimum coded units make."""
    if not scan.interval:
        return 1
    rows, columns = (int.from_bytes(stream.frame[start : start + 2], "big") for start in (1, 3))
    sampling = dict(zip(stream.components, stream.frame[7::3], strict=False))  # across in the upper four bits
    across, down = max(value >> 4 for value in sampling.values()), max(value & 15 for value in sampling.values())
    side = 1 if stream.kind == LOSSLESS else 8
    unit_width, unit_height = across * side, down * side
    if scan.header[0] == 1:  # blocks of one component, which may be sampled less often
        own = sampling.get(scan.header[1], 0x11)
        columns, rows = -(-columns * (own >> 4) // across), -(-rows * (own & 15) // down)
        unit_width = unit_height = side
    units = -(-columns // unit_width) * -(-rows // unit_height)
    return -(-units // scan.interval)


def with_filler(content: bytes, stream: Stream) -> bytes:
    """The stream with other bits after its compressed data: a decoder that needs none of them gives the same."""
    pieces: list[bytes] = []
    position = 0
    for scan in stream.scans:
        for _, end in scan.parts:
            pieces += [content[position:end], FILLER]
            position = end
    return b"".join([*pieces, content[position:]])
