"""Odd and bad DICOM series, written byte by byte: what ``reliability.py`` gives to readers of folders.

As in ``odd_files.py`` every good one holds v = 100 + x + 2 y + 3 z, and is judged without another reader.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odd_files import LPS, PLACE, SHAPE, TURNED, File, measured
from PIL import Image

EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".1.99", ".5"))
JPEG_2000, LOSSLESS, BASELINE = (f"1.2.840.10008.1.2.4.{end}" for end in (90, 70, 50))
MR, OF_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"
UNKNOWN = 2**32 - 1  # a length that a mark ends
LONG = ("OB", "OW", "UN", "SQ")
PIXELS = 0x7FE00010
EIGHT_BITS = {"t00280100": 8, "t00280101": 8, "t00280102": 7, "t00280103": 0}
TILTED = np.array(PLACE)
TILTED[:3, :3] = TURNED @ np.diag([2.0, 1, 3])
SEQUENCE = bytes.fromhex("feff00e0ffffffff")  # an item of undefined length
SEQUENCE_END = bytes.fromhex("feff0de000000000feffdde000000000")


def element(tag: int, kind: str, value: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    order, length = ">" if syntax == BIG else "<", len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(f"{order}I", length) + value
    if kind in LONG:
        return head + kind.encode() + struct.pack(f"{order}HI", 0, length) + value
    return head + kind.encode() + struct.pack(f"{order}H", length) + value


def image(k: int, affine: NDArray = PLACE, syntax: str = EXPLICIT, **more: Any) -> bytes:
    """The file of slice ``k``.

    Args:
        more: elements by their tags, ``t00200013="1"``, which replace those there are, None takes one out; and
            ``stored`` pixels, the ``length`` that they say, ``kind``, ``bare`` without a preamble, ``meta`` header, and
            what stands ``behind``, of a deflated file with so many ``more_zeros`` after it.
    """
    stored, length, kind = more.pop("stored", None), more.pop("length", None), more.pop("kind", "OW")
    bare, meta, behind = more.pop("bare", False), more.pop("meta", True), more.pop("behind", b"")
    more_zeros = more.pop("more_zeros", 0)
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    axes, place = lps[:3, :3] / spacing, lps[:3, 3] + k * lps[:3, 2]
    order, number = ">" if syntax == BIG else "<", str(k)
    said: dict[str, Any] = {
        "t00080016": ("UI", MR), "t00080018": ("UI", f"1.2.3.{k + 1}"), "t0020000e": ("UI", "1.2.3"),
        "t00100010": ("PN", "ZEBEDEE"), "t00200011": ("IS", "3"), "t00200013": ("IS", number),
        "t00180050": ("DS", f"{spacing[2]:g}"), "t00200032": ("DS", "\\".join(f"{v:.10g}" for v in place)),
        "t00200037": ("DS", "\\".join(f"{v:.10f}" for v in axes[:, :2].T.ravel())),
        "t00280030": ("DS", f"{spacing[1]:g}\\{spacing[0]:g}"), "t00280002": 1, "t00280004": ("CS", "MONOCHROME2"),
        "t00280010": SHAPE[1], "t00280011": SHAPE[0], "t00280100": 16, "t00280101": 16, "t00280102": 15, "t00280103": 1,
    }  # fmt: skip
    said |= more
    if stored is None:
        stored = values(k, affine).astype(f"{order}i2").tobytes()
    body = b""
    for name, value in sorted({**said, "t7fe00010": (kind, stored)}.items()):
        if value is None:
            continue
        tag = int(name[1:], 16)
        if isinstance(value, int):
            value = "US", struct.pack(f"{order}H", value)
        text = value[1].encode() if isinstance(value[1], str) else value[1]
        text += (b"\0" if value[0] == "UI" else b" ") * (len(text) % 2)
        given = length if tag == PIXELS else UNKNOWN if value[2:] else None
        body += element(tag, value[0], text, syntax, given)
    body += behind
    if syntax == DEFLATED:
        body = deflated(body, more_zeros)
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    class_uid = said["t00080016"][1].encode()
    class_uid += b"\0" * (len(class_uid) % 2)
    head = element(0x00020002, "UI", class_uid) + element(0x00020010, "UI", uid) if meta else b""
    return (b"" if bare else bytes(128) + b"DICM") + head + body


def deflated(body: bytes, more_zeros: int) -> bytes:
    """A body and whole megabytes of zeros after it, made without packing them all."""
    packer = zlib.compressobj(wbits=-15)
    head = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # nothing in it points before it
    return head + block * (more_zeros >> 20) + packer.flush()


def values(k: int, affine: NDArray = PLACE) -> NDArray[np.float64]:
    """Of slice ``k``, [rows, columns]."""
    return np.ascontiguousarray(np.rint(measured(affine, SHAPE)[..., k].T))


def thousandths(k: int, affine: NDArray) -> dict[str, Any]:
    """Numbers that are not whole, by a slope."""
    pixels = np.rint((measured(affine, SHAPE)[..., k].T - 100) * 500).astype("<i2").tobytes()
    return {"stored": pixels, "t00281053": ("DS", "0.002"), "t00281052": ("DS", "100")}


def packed(stream: bytes) -> dict[str, Any]:
    """Compressed pixels in one fragment."""
    item, end = 0xFFFEE000, element(0xFFFEE0DD, "", b"")
    return {"stored": element(item, "", b"") + element(item, "", stream) + end, "kind": "OB", "length": UNKNOWN}


def rle(k: int) -> bytes:
    """Literal runs, a segment for each byte of a pixel."""
    planes = values(k).astype(">i2").view(np.uint8).reshape(-1, 2).T
    segments = [bytes([len(plane) - 1]) + plane.tobytes() for plane in planes]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    return struct.pack("<16I", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


def lossless(k: int) -> bytes:
    """A lossless JPEG of a slice, by its left neighbours, each difference after a code of five bits: its category."""
    pixels = values(k).astype(np.int64) & 0xFFFF
    left = np.pad(pixels[:, :-1], ((0, 0), (1, 0)))
    left[1:, 0], left[0, 0] = pixels[:-1, 0], 1 << 15
    bits = ""
    for difference in ((pixels - left + (1 << 15)) % (1 << 16) - (1 << 15)).ravel().tolist():
        category = abs(difference).bit_length()
        further = difference if difference > 0 else difference + (1 << category) - 1
        bits += f"{category:05b}" + (f"{further:0{category}b}" if category and category < 16 else "")
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    table = bytes([0, *[0] * 4, 17, *[0] * 11, *range(17)])
    frame = struct.pack(">BHHBBBB", 16, *pixels.shape, 1, 1, 0x11, 0)
    parts = ((0xC3, frame), (0xC4, table), (0xDA, bytes([1, 1, 0, 1, 0, 0])))
    head = b"".join(struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in parts)
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def cut_to(part: float, stream: bytes) -> bytes:
    """A JPEG whose data are cut to a part of them, before its end marker, in an even number of bytes."""
    start = stream.index(b"\xff\xda") + 10
    short = stream[: start + int(part * (len(stream) - 2 - start))] + b"\xff\xd9"
    return short + b"\0" * (len(short) % 2)


def baseline() -> bytes:
    """A baseline JPEG of eight bits."""
    stream = io.BytesIO()
    Image.fromarray(values(3).astype(np.uint8)).save(stream, "jpeg")
    return stream.getvalue()


def jpeg_2000(side: int) -> bytes:
    """The head of a stream of so many rows and columns."""
    size = struct.pack(">HHIIIIIIIIH", 41, 0, side, side, 0, 0, side, side, 0, 0, 1) + bytes([15, 1, 1])
    return b"\xff\x4f\xff\x51" + size + b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14, 0, 1) + b"\xff\x93\xff\xd9"


def sequence(deep: int, whole: bool = True) -> tuple[str, bytes, bool]:
    """A private one, nested so deep."""
    inner = bytes.fromhex("09000110") + b"SQ\0\0" + bytes.fromhex("ffffffff") + SEQUENCE
    return "SQ", SEQUENCE + inner * deep + (SEQUENCE_END * (deep + 1) if whole else b""), True


def good() -> dict[str, tuple[Callable[[int], dict[str, Any]], dict[str, bytes]]]:
    """What is asked of each slice's file, and the files beside."""
    scaled = {"t00281053": ("DS", "0.5"), "t00281052": ("DS", "-200")}

    def twelve_bits(k: int) -> dict[str, Any]:
        overlay = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE[1], SHAPE[0]) % 16 << 12
        pixels = (values(k) + 1000).astype("<u2") | overlay.astype("<u2")
        return {"stored": pixels.tobytes(), "t00280101": 12, "t00280102": 11, "t00280103": 0,
                "t00281053": ("DS", "1"), "t00281052": ("DS", "-1000")}  # fmt: skip

    return {
        "explicit": (lambda k: {}, {}),
        "implicit": (lambda k: {"syntax": IMPLICIT}, {}),
        "big endian": (lambda k: {"syntax": BIG}, {}),
        "deflated": (lambda k: {"syntax": DEFLATED}, {}),
        "rle": (lambda k: {"syntax": RLE} | packed(rle(k)), {}),
        "lossless JPEG": (
            lambda k: {"syntax": LOSSLESS} | packed(cut_to(1, lossless(k))), {}),
        "oblique": (lambda k: {"affine": TILTED} | thousandths(k, TILTED), {}),
        "no preamble": (lambda k: {"bare": True}, {}),
        "one without a preamble": (lambda k: {"bare": k == 3}, {}),
        "no preamble nor meta header": (lambda k: {"bare": True, "meta": False, "syntax": IMPLICIT}, {}),
        "pixels of type OB": (lambda k: {"kind": "OB"}, {}),
        "pixels of type UN": (lambda k: {"kind": "UN"}, {}),
        "slope and intercept": (
            lambda k: scaled | {"stored": ((values(k) + 200) * 2).astype("<i2").tobytes()}, {}),
        "twelve bits under an overlay": (twelve_bits, {}),
        "numbered from the other end": (lambda k: {"t00200013": ("IS", str(9 - k))}, {}),
        "padding behind the pixels": (lambda k: {"behind": element(0xFFFCFFFC, "OB", bytes(64))}, {}),
        "a nested sequence": (lambda k: {"t00091001": sequence(3)}, {}),
        "a sequence 20,000 deep": (lambda k: {"t00091001": sequence(20_000)}, {}),
        "others beside": (
            lambda k: {}, {"README": b"Exported on Monday\n" * 20, "._IM0000": bytes(4096), "notes.txt": b""}),
        "its segmentation beside": (
            lambda k: {}, {"SEG": image(0, t00080016=("UI", OF_SEGMENTATION), t0020000e=("UI", "1.9"), bare=True)}),
    }  # fmt: skip


def bad() -> dict[str, Callable[[Path], Any]]:
    """What is done to a good series of four files, IM0000 to IM0003, from which on it is none."""

    def again(k: int = 3, **more: Any) -> Callable[[Path], Any]:
        return lambda folder: (folder / f"IM{k:04d}").write_bytes(image(k, **more))

    def all_of(**more: Any) -> Callable[[Path], Any]:
        return lambda folder: [again(k, **more)(folder) for k in range(SHAPE[2])]

    def cut(size: int) -> Callable[[Path], Any]:
        return lambda folder: os.truncate(folder / "IM0003", size)

    def jpeg_cut(syntax: str, part: float) -> Callable[[Path], Any]:
        stream, bits = (lossless(3), {}) if syntax == LOSSLESS else (baseline(), EIGHT_BITS)
        return again(syntax=syntax, **packed(cut_to(part, stream)), **bits)

    def short_under_an_icon(folder: Path) -> None:
        icon = bytes.fromhex("feff00e0ffffffff") + element(PIXELS, "OW", bytes(400)) + SEQUENCE_END
        again(3, stored=values(3).astype("<i2").tobytes()[:-20], t00880200=("SQ", icon, True))(folder)

    def sparse(folder: Path) -> None:
        with (folder / "IM0003").open("r+b") as stream:
            stream.truncate(2**33)

    def study_of_one(tag: str) -> Callable[[Path], Any]:
        """Three files that name one study, or frame of reference, and one that names another."""
        return lambda folder: [again(k, **{tag: ("UI", f"1.9.{k // 3}")})(folder) for k in range(SHAPE[2])]

    def echoes(folder: Path) -> None:
        for k in range(SHAPE[2]):
            again(k, t00180081=("DS", "10"))(folder)
            second = image(k, t00180081=("DS", "30"), t00080018=("UI", f"1.2.4.{k + 1}"))
            (folder / f"IM{k + 4:04d}").write_bytes(second)

    large = 60_000
    return {
        "a slice missing": lambda folder: (folder / "IM0001").unlink(),
        "a slice twice": lambda folder: (folder / "IM0009").write_bytes(image(1)),
        "a slice's place twice": lambda folder: (folder / "IM0009").write_bytes(image(1, t00080018=("UI", "1.2.9"))),
        "the last empty": cut(0),
        "the last cut to 100 bytes": cut(100),
        "the last cut in its header": cut(400),
        "the last cut in its pixels": lambda folder: cut((folder / "IM0003").stat().st_size - 20)(folder),
        "pixels too few": again(stored=bytes(40)),
        "pixels too few under an icon": short_under_an_icon,
        "8 GB of zeros behind": sparse,
        **{f"JPEG cut, lossless, to {part:.0%}": jpeg_cut(LOSSLESS, part) for part in (0.05, 0.25, 0.5, 0.75, 0.98)},
        **{f"JPEG cut, baseline, to {part:.0%}": jpeg_cut(BASELINE, part) for part in (0.1, 0.3, 0.6, 0.9)},
        "JPEG cut, lossless, of every slice": all_of(syntax=LOSSLESS, **packed(cut_to(0.5, lossless(3)))),
        "a slice of another study": study_of_one("t0020000d"),
        "a slice of another frame of reference": study_of_one("t00200052"),
        "no position": all_of(t00200032=None),
        "no orientation": all_of(t00200037=None),
        "no pixel spacing": all_of(t00280030=None),
        "a spacing of NaN": all_of(t00280030=("DS", "nan\\2")),
        "a spacing of 0": all_of(t00280030=("DS", "0\\2")),
        "a skew orientation": all_of(t00200037=("DS", "1\\0\\0\\1\\0\\0")),
        "a slice turned": again(t00200037=("DS", "0\\1\\0\\1\\0\\0")),
        "a slice of another size": again(t00280010=2, stored=bytes(24)),
        "a slice of another spacing": again(t00280030=("DS", "3\\2")),
        "several echoes": echoes,
        "colours": all_of(t00280002=3, t00280004=("CS", "RGB"), stored=bytes(180)),
        "frames in a file": all_of(t00280008=("IS", "2"), stored=bytes(120)),
        "a slope of 0": all_of(t00281053=("DS", "0"), t00281052=("DS", "0")),
        "a slope of text": again(t00281053=("DS", "steep"), t00281052=("DS", "0")),
        "an intercept of text": again(t00281053=("DS", "1"), t00281052=("DS", "high")),
        "bits at the other end": all_of(t00280101=12, t00280102=15),
        "a table of values": all_of(t00283000=("SQ", SEQUENCE + SEQUENCE_END, True)),
        "JPEG 2000 of 60,000 rows": all_of(
            syntax=JPEG_2000, t00280010=large, t00280011=large, **packed(jpeg_2000(large))),
        "JPEG 2000 of other rows": again(syntax=JPEG_2000, **packed(jpeg_2000(large))),
        "deflated, of 1 GB": again(
            syntax=DEFLATED, behind=element(0xFFFCFFFC, "OB", b"", length=2**30), more_zeros=2**30),
        "a sequence without its end": again(t00091001=sequence(20_000, whole=False)),
        "of no known compression": again(syntax="1.2.3.4", **packed(bytes(60))),
    }  # fmt: skip


def make(folder: Path) -> list[File]:
    """Every series in a folder of its own below ``folder``."""
    found = []
    for name, (asked, beside) in good().items():
        series = folder / name.replace(" ", "_")
        series.mkdir(parents=True)
        affine = TILTED if name == "oblique" else PLACE
        for k in range(SHAPE[2]):
            (series / f"IM{k:04d}").write_bytes(image(k, **asked(k)))
        for other, content in beside.items():
            (series / other).write_bytes(content)
        found.append(File(series, "series", True, affine=affine))
    for name, spoil in bad().items():
        series = folder / name.replace(" ", "_").replace(",", "").replace("'", "")
        series.mkdir(parents=True)
        for k in range(SHAPE[2]):
            (series / f"IM{k:04d}").write_bytes(image(k))
        spoil(series)
        found.append(File(series, "series", False))
    return found
