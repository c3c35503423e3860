"""DICOM files for the tests: by GDCM, with values that say where in the patient each voxel is, and byte by byte."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError

CT, MR = b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.4\0"
SECRET = "ZEBEDEE^ZACHARIAS"
PATIENT = {
    "0010|0010": SECRET,
    "0010|0020": "ZZ4711",
    "0010|0030": "19010203",
    "0008|103e": SECRET,
}
TILTED = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
STRAIGHT = np.eye(3)
ORIGIN = np.array([-30.0, 12.5, 40.25])
COLUMNS, ROWS, ACROSS, DOWN = 8, 6, 1.25, 1.5


def read(source) -> volumes.Volume:
    return volumes.read(source, frames=True)


def place(row, column, position, turn):
    """LPS mm of a pixel, as the standard says it (PS3.3 C.7.6.2.1.1)."""
    return position + turn[:, 0] * ACROSS * column + turn[:, 1] * DOWN * row


def value(lps, frame=0):
    """100 + x + 2y + 3z in RAS mm, tenfold, and a thousand a frame."""
    return 10 * (100 + np.array([-1, -2, 3]) @ lps) + 1000 * frame


BETWEEN = b"\x18\0\x88\0\x02\0\0\0"  # SpacingBetweenSlices, of two characters


def write(path: Path, position, turn=STRAIGHT, frame=0, compressor=None, shape=(ROWS, COLUMNS), colour=False, **tags):
    """One slice; ``tags`` as g0020_0013="1", None leaves one out."""
    pixels = np.array([[value(place(r, c, position, turn), frame) for c in range(shape[1])] for r in range(shape[0])])
    if colour:
        pixels = np.repeat(pixels[..., None] % 256, 3, axis=-1).astype(np.uint8)
    image = sitk.GetImageFromArray(pixels if colour else pixels.round().astype(np.int16), isVector=colour)
    image.SetSpacing((ACROSS, DOWN))
    number = path.stem
    content = {"0008|0016": CT[:-1].decode(), "0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": "1.2.3.4",
               "0008|0018": f"1.2.3.4.{sum(map(ord, number))}.{random.getrandbits(60)}", "0020|0011": "3",
               "0020|0032": words(position), "0020|0037": words(turn[:, :2].T.ravel()), "0018|0050": "8"}  # fmt: skip
    content |= PATIENT | {tag[1:].replace("_", "|"): text for tag, text in tags.items()}
    for tag, text in content.items():
        if text is not None:
            image.SetMetaData(tag, text)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    writer.Execute(image)
    # once it has read or compressed any file, GDCM adds a distance of slices of 1 mm, whatever the tags say
    path.write_bytes(path.read_bytes().replace(BETWEEN + b"1 ", b"").replace(b"\x18\0\x88\0DS\2\0001 ", b""))


def words(numbers) -> str:
    return "\\".join(f"{number:.10g}"[:16] for number in numbers)


def stack(folder: Path, n=4, turn=STRAIGHT, step=None, times=(None,), **more) -> Path:
    """n slices 10 mm apart, in shuffled files, numbered against their order; one cine frame for each trigger time."""
    folder.mkdir(exist_ok=True)
    step = turn[:, 2] * 10 if step is None else step
    names = random.Random(3).sample(range(1000), n * len(times))
    for k in range(n):
        for frame, time in enumerate(times):
            extra = {} if time is None else {"g0018_1060": str(time + k)}
            extra = extra | {"g0020_0013": str(999 - 10 * k - frame)} | more
            write(folder / f"{names.pop()}.dcm", ORIGIN + k * step, turn, frame, **extra)
    return folder


def expected(volume, frame=0):
    """What each voxel should hold, from the affine alone."""
    index = np.indices((*volume.voxels.shape[:3], 1)).reshape(4, -1)
    index[3] = 1
    ras = (volume.affine @ index)[:3]
    return (value(np.diag([-1, -1, 1]) @ ras, frame)).reshape(volume.voxels.shape[:3])


def refused(call, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert not any(hidden in text for hidden in ("ZEBEDEE", "ZZ4711", "19010203")), text
    return text


PIXELS = b"\xe0\x7f\x10\0"
EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".1.99", ".5"))
UNKNOWN_LENGTH = 2**32 - 1
GRID = np.arange(-5, 43, dtype=np.int16).reshape(ROWS, COLUMNS) * 700  # of which every byte counts


def element(tag: int, kind: str, value: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    order = ">" if syntax == BIG else "<"
    length = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(f"{order}I", length) + value
    if kind in ("OB", "OW", "UN", "SQ", "OF"):
        return head + kind.encode() + struct.pack(f"{order}HI", 0, length) + value
    return head + kind.encode() + struct.pack(f"{order}H", length) + value


def slice_file(z=0, syntax=EXPLICIT, pixels=None, kind="OW", length=None, bare=False, meta=True, **more) -> bytes:
    """A file of GRID, written byte by byte; ``more`` as g0020_0013=("IS", b"1"), None leaves one out."""
    order = ">" if syntax == BIG else "<"
    uid = {"0008_0016": ("UI", CT), "0008_0018": ("UI", f"1.2.{z + 10}\0".encode()), "0020_000e": ("UI", b"1.2.3\0")}
    text = {"0020_0032": f"0\\0\\{z:03}.", "0020_0037": "1\\0\\0\\0\\1\\0 ", "0028_0030": "2\\1 ", "0018_0050": "8 "}
    numbers = {"0010": ROWS, "0011": COLUMNS, "0100": 16, "0101": 16, "0102": 15, "0103": 1, "0002": 1}
    content = uid | {tag: ("DS", word.encode()) for tag, word in text.items()}
    content |= {f"0028_{tag}": ("US", struct.pack(f"{order}H", number)) for tag, number in numbers.items()}
    content |= {"0010_0010": ("PN", SECRET.encode() + b" ")} | {tag[1:]: value for tag, value in more.items()}
    body = b""
    for tag, value in sorted(content.items()):
        if value is not None:
            body += element(int(tag.replace("_", ""), 16), *value[:2], syntax, *value[3:])
    pixels = GRID.astype(f"{order}i2").tobytes() if pixels is None else pixels
    body += element(0x7FE00010, kind, pixels, syntax, length)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    head = element(0x00020002, "UI", CT) + element(0x00020010, "UI", uid) if meta else b""
    return (b"" if bare else bytes(128) + b"DICM") + head + body


def packed(content: bytes) -> dict:
    """Compressed pixels in one fragment."""
    items = element(0xFFFEE000, "", b"") + element(0xFFFEE000, "", content) + element(0xFFFEE0DD, "", b"")
    return {"pixels": items, "kind": "OB", "length": UNKNOWN_LENGTH}


def rle(values: np.ndarray) -> bytes:
    """One literal run a row, and a repeated one for the first, if it can be."""
    planes = values.astype("<i2").view(np.uint8).reshape(-1, 2)[:, ::-1].T
    segments = [b"".join(bytes([len(row) - 1]) + row.tobytes() for row in np.array_split(p, ROWS)) for p in planes]
    places = [64, 64 + len(segments[0])]
    return struct.pack("<16I", 2, *places, *[0] * 13) + b"".join(segments)
