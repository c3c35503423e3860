"""One DICOM file: the elements of its header, and where its pixels lie in it.

The walk from element to element is flat: no length in a file is trusted, only what is wanted is read, and nested
sequences cost neither stack nor memory, however deep they are.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Order = Literal["little", "big"]

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNTIL_END = 2**32 - 1  # the length of a sequence, or of compressed pixels, that a delimiter ends
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # types whose length has four bytes
PIXELS, FLOATS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
CLASS, META_CLASS, SYNTAX = 0x00080016, 0x00020002, 0x00020010
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
# how a file without a preamble begins: a tag of group 2 or 8, in either byte order, then its type or a small length
BARE = re.compile(
    rb"(?:\x02\0[\0-\2]\0|\x08\0[\0-\x18]\0|\0\x08\0[\0-\x18])(?:[A-Z][A-Z]|[\0-\xff]\0\0\0|\0\0\0[\0-\xff])", re.DOTALL
)
MOST_ELEMENTS = 2**20
LONGEST_VALUE = 2**16  # bytes that are kept of an element's value
LARGEST_UNPACKED = 2**27  # bytes that are unpacked of a deflated file


class Damaged(Exception):
    """The elements cannot be followed to the end of the file."""


class Element(NamedTuple):
    """One element and where it is.

    Attributes:
        tag: group and number.
        at: the byte at which it begins.
        start: the byte at which its value begins.
        length: of the value, in bytes, or UNTIL_END.
        depth: number of sequences and items of undefined length around it.
    """

    tag: int
    at: int
    start: int
    length: int
    depth: int


@dataclass
class Header:
    """What a file's header says.

    Attributes:
        values: of the wanted elements, and of the meta header, by tag.
        order: of the bytes.
        pixels: the top-level element that holds the pixels; None where there is none.
        parts: start and length of each fragment of compressed pixels, the table of offsets first.
        whole: whether all elements are there.
        deflated: the byte at which deflated elements begin; None where they are plain. All other positions are those
            in the unpacked elements.
        large: whether the elements unpack to more than is read.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    order: Order = "little"
    pixels: Element | None = None
    parts: list[tuple[int, int]] = field(default_factory=list)
    whole: bool = True
    deflated: int | None = None
    large: bool = False

    def text(self, tag: int) -> str:
        """An element's value as text; empty where it is not there."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0")

    @property
    def kind(self) -> str:
        """The UID of the file's class; empty where it is damaged."""
        kind = self.text(META_CLASS) or self.text(CLASS)
        return kind if re.fullmatch(r"[0-9.]{1,64}", kind) else ""

    def holds(self, tag: int) -> bool:
        """Whether a sequence has at least one item."""
        return self.values.get(tag, b"")[:4] in (b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0")

    def number(self, tag: int, default: int = 0) -> int:
        """An element's value as a number of two bytes; -1 where it is damaged."""
        value = self.values.get(tag, b"")
        if len(value) == 2:
            return int.from_bytes(value, self.order)
        return -1 if value else default


def begins(head: bytes) -> int | None:
    """The byte at which the elements begin, by the first 132 bytes; None where the file is not DICOM."""
    if head[128:132] == b"DICM":
        return 132
    return 0 if BARE.match(head) else None


def read_header(path: Path, wanted: frozenset[int]) -> Header | None:
    """The header of a file, as far as it can be followed; None where the file is not DICOM.

    Args:
        wanted: tags of the elements whose values are kept.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        start = begins(stream.read(132))
        if start is None:
            return None
        header = Header()
        try:
            _fill(header, stream, os.fstat(stream.fileno()).st_size, start, wanted)
        except (Damaged, zlib.error):
            header.whole = False
    return header


def stored(path: Path, header: Header, start: int, length: int) -> bytes:
    """So many bytes of a file, unpacked.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        if header.deflated is not None:
            stream.seek(header.deflated)
            return _unpacked(stream)[start : start + length]
        stream.seek(start)
        return stream.read(length)


def _unpacked(stream: io.BufferedIOBase) -> bytes:
    """The unpacked rest of a deflated stream, up to the largest size."""
    return zlib.decompressobj(-15).decompress(stream.read(LARGEST_UNPACKED), LARGEST_UNPACKED)


def _fill(header: Header, stream: io.BufferedIOBase, size: int, start: int, wanted: frozenset[int]) -> None:
    """Walk from element to element and keep in the header what is wanted."""
    start = _read_meta(header, stream, size, start)
    syntax = header.text(SYNTAX)
    stream.seek(start)
    if syntax == DEFLATED:
        content = _unpacked(stream)
        header.deflated, header.large = start, len(content) == LARGEST_UNPACKED
        stream, size, start = io.BytesIO(content), len(content), 0
    elif syntax == BIG or (not syntax and stream.read(2) == b"\0\x08"):
        header.order = "big"
    for element in _elements(stream, size, start, header.order):
        _keep(header, stream, element, wanted)


def _read_meta(header: Header, stream: io.BufferedIOBase, size: int, start: int) -> int:
    """Keep the meta header, which is always little-endian; return the byte at which it ends."""
    for element in _elements(stream, size, start, "little"):
        if element.tag >> 16 != 2:
            return element.at
        header.values[element.tag] = _value(stream, element)
        start = element.start + element.length
    return start


def _keep(header: Header, stream: io.BufferedIOBase, element: Element, wanted: frozenset[int]) -> None:
    """Keep one element's value if it is wanted, or the positions of pixels."""
    pixels = header.pixels
    if element.depth == 0:
        if pixels and element.tag <= pixels.tag:
            raise Damaged  # the pixels are an image's last element but for padding
        if element.tag in wanted:
            value = _value(stream, element)
            if header.values.setdefault(element.tag, value) != value:
                raise Damaged  # the file says two things
        elif element.tag in (PIXELS, *FLOATS):
            header.pixels = element
    elif pixels and element.depth == 1 and element.tag == ITEM:
        header.parts.append((element.start, element.length))


def _elements(stream: io.BufferedIOBase, size: int, start: int, order: Order) -> Iterator[Element]:
    """All elements, with those that lie in sequences of undefined length.

    Raises:
        Damaged: an element leads beyond the end, or there are too many.
    """
    depth, explicit = 0, None
    for _ in range(MOST_ELEMENTS):
        if size - start < 8:
            if depth:
                raise Damaged
            return
        stream.seek(start)
        head = stream.read(12)
        if explicit is None:
            explicit = _has_type(head)  # a file is explicit or implicit throughout, whatever it says
        element = _element(head, start, depth, order, explicit)
        yield element
        start = element.start
        if element.tag in (ITEM_END, SEQUENCE_END):
            depth -= 1
        elif element.length == UNTIL_END:
            depth += 1
        else:
            start += element.length
        if start > size or depth < 0:
            raise Damaged
    raise Damaged


def _has_type(head: bytes) -> bool:
    """Whether there are two capital letters where an explicit element has its type."""
    return head[4:6].isalpha() and head[4:6].isupper()


def _element(head: bytes, at: int, depth: int, order: Order, explicit: bool) -> Element:
    """The element that begins with these twelve bytes."""
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    kind = head[4:6] if explicit and _has_type(head) and tag >> 16 != 0xFFFE else b""
    if kind in LONG:
        first, last = 8, 12
    elif kind:
        first, last = 6, 8
    else:
        first, last = 4, 8
    return Element(tag, at, at + last, int.from_bytes(head[first:last], order), depth)


def _value(stream: io.BufferedIOBase, element: Element) -> bytes:
    """An element's value: nothing where it is cut, the beginning where it is long."""
    size = 4 if element.length == UNTIL_END else min(element.length, LONGEST_VALUE)
    stream.seek(element.start)
    value = stream.read(size)
    return value if len(value) == size else b""
