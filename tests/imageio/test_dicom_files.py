"""DICOM files as others write them, byte by byte, and those that would fill the memory or end the process."""

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_semicycle.imageio import dicom_file, dicom_pixels, dicom_series
from tests.imageio.dicom_files import (
    BIG,
    COLUMNS,
    CT,
    DEFLATED,
    EXPLICIT,
    GRID,
    IMPLICIT,
    PIXELS,
    RLE,
    ROWS,
    UNKNOWN_LENGTH,
    element,
    packed,
    read,
    refused,
    rle,
    slice_file,
    stack,
)

KINDS = {
    "explicit": {},
    "OB": {"kind": "OB"},
    "UN": {"kind": "UN"},
    "implicit": {"syntax": IMPLICIT},
    "big": {"syntax": BIG},
    "deflated": {"syntax": DEFLATED},
    "RLE": {"syntax": RLE, **packed(rle(GRID))},
    "no bits": {"g0028_0101": None, "g0028_0102": None},
    "bare": {"bare": True},
    "bare and implicit": {"syntax": IMPLICIT, "bare": True, "meta": False},
    "bare and big": {"syntax": BIG, "bare": True, "meta": False},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["{}.dcm", "IM{}"])
def test_pixels_are_read_however_they_are_written(tmp_path, kind, name):
    (tmp_path / name.format(0)).write_bytes(slice_file(0, **KINDS[kind]))
    (tmp_path / name.format(1)).write_bytes(slice_file(8))
    assert dicom_series.is_folder(tmp_path)
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0], np.stack([GRID.T, GRID.T], -1))


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_of_a_file_changes_the_pixels(tmp_path, kind):
    whole = slice_file(0, **KINDS[kind])
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(slice_file(8 * int(name[0])))
    for length in range(0, len(whole), 5):
        (tmp_path / "0.dcm").write_bytes(whole[:length])
        for series in dicom_series.find(tmp_path):
            refused(lambda series=series: read(series), "0.dcm", "truncated")


@pytest.mark.parametrize("kind", ["explicit", "implicit", "big", "deflated"])
def test_an_icon_is_no_pixels(tmp_path, kind):
    syntax = KINDS[kind].get("syntax", EXPLICIT)
    icon = element(0xFFFEE000, "", element(0x7FE00010, "OW", bytes(4096), syntax), syntax)
    for pixels, taken in ((None, True), (bytes(94), False)):
        content = slice_file(pixels=pixels, g0088_0200=("SQ", icon), **KINDS[kind])
        (tmp_path / "IM0").write_bytes(content)
        if taken:
            np.testing.assert_array_equal(read(tmp_path).voxels[..., 0, 0], GRID.T)
        else:
            refused(lambda: read(tmp_path), "fewer than the 96 bytes")


@pytest.mark.parametrize("name", ["IM0002", "image.dcm", "IM 7.IMA"])
@pytest.mark.parametrize("content", [b"", bytes(100), b"x" * 500, None])
def test_a_file_named_like_an_image_is_one(tmp_path, name, content):
    for n in range(2):
        (tmp_path / f"IM000{n}").write_bytes(slice_file(8 * n))
    for other in ("README", "DICOMDIR", "VERSION", "._IM0000.dcm", ".DS_Store", "IM0003.txt"):
        (tmp_path / other).write_bytes(b"some text " * 20)
    assert read(tmp_path).voxels.shape == (COLUMNS, ROWS, 2, 1)
    path = tmp_path / name
    path.symlink_to(tmp_path / "gone") if content is None else path.write_bytes(content)
    refused(lambda: read(tmp_path), name, "cannot be read" if content is None else "damaged")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    for n in range(3):
        (tmp_path / f"IM000{n}").write_bytes(slice_file(8 * n))
    opened = Path.open
    forbidden = PermissionError(13, "Permission denied")

    def without(path, *more):
        if path.name == "IM0002":
            raise forbidden
        return opened(path, *more)

    monkeypatch.setattr(Path, "open", without)
    text = refused(lambda: read(tmp_path), "IM0002 cannot be read (Permission denied)")
    assert "damaged" not in text


def test_a_damaged_file_is_of_the_series_that_is_named_like_it(tmp_path):
    for n in range(2):
        (tmp_path / f"A{n}").write_bytes(slice_file(8 * n))
        (tmp_path / f"B{n}").write_bytes(slice_file(8 * n, g0020_000e=("UI", b"1.2.4\0")))
    (tmp_path / "B7").touch()
    faults = {series.uid: series.fault for series in dicom_series.find(tmp_path)}
    assert faults["1.2.3"] is None and "B7" in faults["1.2.4"]


def of_class(uid: bytes) -> bytes:
    """A slice whose class is another."""
    return slice_file().replace(CT, uid).replace(b"UI\x1a\0" + uid, b"UI" + struct.pack("<H", len(uid)) + uid)


@pytest.mark.parametrize("uid", [b"1.2.840.10008.5.1.4.1.1.30", b"1.2.3.4.5\0"])
def test_images_of_another_class_are_no_silence(tmp_path, uid):
    (tmp_path / "IM0").write_bytes(of_class(uid))
    refused(lambda: read(tmp_path), "IM0 is of a class that is not read", uid.decode().strip("\0"))


@pytest.mark.parametrize("uid", [b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.481.2\0"])
def test_what_was_made_of_a_scan_is_none(tmp_path, uid):
    stack(tmp_path)
    (tmp_path / "derived.dcm").write_bytes(of_class(uid))
    (series,) = dicom_series.find(tmp_path)
    assert series.fault is None and read(tmp_path).voxels.shape == (COLUMNS, ROWS, 4, 1)


@pytest.mark.parametrize("n", range(0, 26, 5))
def test_a_damaged_class_of_a_damaged_file_is_no_silence(tmp_path, n):
    whole = slice_file()
    at = whole.index(CT) + n
    (tmp_path / "IM0").write_bytes(whole[:at] + b"\x85" + whole[at + 1 : -2])
    refused(lambda: read(tmp_path), "IM0", "damaged")


def test_floating_point_pixels_are_refused(tmp_path):
    (tmp_path / "IM0").write_bytes(slice_file().replace(PIXELS + b"OW", b"\xe0\x7f\x08\0OF"))
    refused(lambda: read(tmp_path), "IM0 has floating-point pixels")


TABLE = element(0xFFFEE000, "", b"") + element(0xFFFEE0DD, "", b"")
VALUES = {
    "intercept": ({"g0028_1052": ("DS", b"nan ")}, "RescaleIntercept that is not a number"),
    "text": ({"g0028_1052": ("DS", b"ZEBEDEE ")}, "RescaleIntercept that is not a number"),
    "left": ({"g0028_0101": ("US", b"\x0c\0")}, "12 of 16 bits are used, the highest being 15"),
    "too many": ({"g0028_0101": ("US", b"\x11\0"), "g0028_0102": ("US", b"\x10\0")}, "17 of 16 bits"),
    "12 bits": ({"g0028_0100": ("US", b"\x0c\0")}, "8, 16 or 32 bits"),
    "table": ({"g0028_3000": ("SQ", element(0xFFFEE000, "", b""))}, "ModalityLUTSequence"),
    "open table": ({"g0028_3000": ("SQ", TABLE, EXPLICIT, UNKNOWN_LENGTH)}, "ModalityLUTSequence"),
    "unknown": ({"syntax": "1.2.840.10008.1.2.4.201", **packed(b"\1\2" * 50)}, "compressed in an unknown way"),
}


@pytest.mark.parametrize("fault", VALUES)
def test_pixels_of_unknown_meaning_are_refused(tmp_path, fault):
    more, words = VALUES[fault]
    (tmp_path / "IM0").write_bytes(slice_file(**more))
    refused(lambda: read(tmp_path), "IM0", words)


def test_unused_bits_do_not_count(tmp_path):
    low = {"g0028_0101": ("US", b"\x0c\0"), "g0028_0102": ("US", b"\x0b\0")}
    path = tmp_path / "IM0"
    path.write_bytes(slice_file(pixels=(GRID // 20 & 0xFFF | 0x5000).astype("<u2").tobytes(), **low))
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0, 0], GRID.T // 20)
    path.write_bytes(
        slice_file(pixels=(GRID // 20 & 0xFFF | 0x5000).astype("<u2").tobytes(), **low, g0028_0103=("US", b"\0\0"))
    )
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0, 0], (GRID.T // 20) % 4096)


def test_inverse_pixels_are_turned_before_they_are_scaled(tmp_path):
    scale = {"g0028_1052": ("DS", b"5 "), "g0028_1053": ("DS", b"2 ")}
    (tmp_path / "IM0").write_bytes(slice_file(g0028_0004=("CS", b"MONOCHROME1 "), **scale))
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0, 0], 2 * (-1 - GRID.T.astype(int)) + 5)


@pytest.mark.parametrize("depth", [20, 10_000])
def test_nested_sequences_cost_nothing(tmp_path, depth):
    whole = slice_file()
    at = whole.index(PIXELS)
    deep = b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * depth
    inmost = element(0x7FE00010, "OW", bytes(4))
    ends = (element(0xFFFEE00D, "", b"") + element(0xFFFEE0DD, "", b"")) * depth
    (tmp_path / "IM0").write_bytes(whole[:at] + deep + inmost + whole[at:])
    refused(lambda: read(tmp_path), "IM0", "damaged")
    (tmp_path / "IM0").write_bytes(whole[:at] + deep + inmost + ends + whole[at:])
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0, 0], GRID.T)


@pytest.mark.parametrize("length", [b"\xf0\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x7f"])
def test_a_length_that_is_damaged_allocates_nothing(tmp_path, length):
    whole = slice_file(g0009_1010=("UN", b"ABCD"))
    for at in (whole.index(b"\4\0\0\0ABCD"), whole.index(PIXELS) + 8):
        (tmp_path / "IM0").write_bytes(whole[:at] + length + whole[at + 4 :])
        tracemalloc.start()
        refused(lambda: read(tmp_path), "IM0", "damaged")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22


def test_a_file_with_gigabytes_behind_its_pixels_is_not_read(tmp_path):
    path = tmp_path / "IM0"
    path.write_bytes(slice_file())
    with path.open("r+b") as stream:
        stream.truncate(2**33)
    refused(lambda: read(tmp_path), "IM0", "damaged")


def test_a_deflated_file_is_unpacked_so_far_and_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_file, "LARGEST_UNPACKED", 2**16)
    (tmp_path / "IM0").write_bytes(slice_file(syntax=DEFLATED, pixels=bytes(2**17)))
    refused(lambda: read(tmp_path), "IM0 unpacks to more than")


def test_as_many_voxels_as_are_allowed(tmp_path, monkeypatch):
    stack(tmp_path)
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "192")
    assert read(tmp_path).voxels.size == 192
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "191")
    refused(lambda: read(tmp_path), str(tmp_path), "192 voxels, more than 191", "SEMICYCLE_MAX_VOXELS")


@pytest.mark.parametrize(("compressor", "mark", "at"), [("JPEG", b"\xff\xc3", 5), ("JPEG2000", b"\xff\x51", 8)])
def test_a_stream_of_another_size_is_not_decoded(tmp_path, monkeypatch, compressor, mark, at):
    path = next(stack(tmp_path, n=1, compressor=compressor).iterdir())
    whole = path.read_bytes()
    at += whole.index(mark)
    monkeypatch.setattr(dicom_pixels, "_by_gdcm", lambda *_: pytest.fail("decoded"))
    path.write_bytes(whole[:at] + b"\x7f" + whole[at + 1 :])
    refused(lambda: read(tmp_path), path.name, "damaged")


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_a_stream_that_is_cut_within_its_file_is_refused_in_one_line(tmp_path, compressor, capfd):
    path = next(stack(tmp_path, n=1, compressor=compressor).iterdir())
    whole = path.read_bytes()
    end = whole.rindex(b"\xff\xd9")
    path.write_bytes(whole[:end] + b"\0\0" + whole[end + 2 :])
    refused(lambda: read(tmp_path), path.name, "damaged")
    if compressor == "JPEG2000":
        tile = whole.index(b"\xff\x51") + 25
        path.write_bytes(whole[:tile] + b"\1" + whole[tile + 1 :])  # so that there should be one for each column
        refused(lambda: read(tmp_path), path.name, "damaged")
        part = whole.index(b"\xff\x90") + 9
        path.write_bytes(whole[:part] + bytes([whole[part] ^ 4]) + whole[part + 1 :])
        refused(lambda: read(tmp_path), path.name, "damaged")
    assert not "".join(capfd.readouterr())


def grey_jpeg(**options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((GRID // 256).astype(np.uint8)).save(stream, "jpeg", **options)
    return stream.getvalue()


def eight_bits(content: bytes) -> dict:
    """What a file says of pixels that are a baseline JPEG."""
    numbers = {"g0028_0100": 8, "g0028_0101": 8, "g0028_0102": 7, "g0028_0103": 0}
    said = {tag: ("US", struct.pack("<H", number)) for tag, number in numbers.items()}
    return {"syntax": "1.2.840.10008.1.2.4.50", **packed(content), **said}


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_blocks": 1}])
def test_a_baseline_jpeg_that_is_cut_before_its_end_marker_is_refused_wherever_it_is(tmp_path, options, capfd):
    whole, path = grey_jpeg(**options), tmp_path / "a.dcm"
    path.write_bytes(slice_file(**eight_bits(whole + b"\0" * (len(whole) % 2))))
    assert read(tmp_path).voxels.shape == (COLUMNS, ROWS, 1, 1)
    for end in range(whole.index(b"\xff\xda") + 10, len(whole) - 2):
        path.write_bytes(slice_file(**eight_bits(whole[:end] + b"\xff\xd9" + b"\0" * (end % 2))))
        refused(lambda: read(tmp_path), path.name, "damaged")
    assert not "".join(capfd.readouterr())


def test_a_lossless_jpeg_that_is_cut_before_its_end_marker_is_refused_wherever_it_is(tmp_path, capfd):
    path = next(stack(tmp_path, n=1, compressor="JPEG").iterdir())
    whole = path.read_bytes()
    end = whole.rindex(b"\xff\xd9")
    for start in range(whole.index(b"\xff\xda") + 10, end):
        path.write_bytes(whole[:start] + b"\xff\xd9" + b"\0" * (end - start) + whole[end + 2 :])
        refused(lambda: read(tmp_path), path.name, "damaged")
    assert not "".join(capfd.readouterr())


@pytest.mark.parametrize("slope", [b"0 ", b"X ", b".0"])
def test_a_slope_of_nothing_is_refused(tmp_path, slope):
    path = next(stack(tmp_path).iterdir())
    tag = b"\x28\0\x53\x10\2\0\0\0"
    path.write_bytes(path.read_bytes().replace(tag + b"1 ", tag + slope))
    refused(lambda: read(tmp_path), path.name, "RescaleSlope that is 0 or not a number")


def test_headers_are_all_that_finding_reads(tmp_path, monkeypatch):
    stack(tmp_path)
    monkeypatch.setattr(dicom_file, "stored", lambda *_: pytest.fail("pixels were read"))
    assert dicom_series.is_folder(tmp_path) and len(dicom_series.find(tmp_path)) == 1


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize(
    ("limit", "padded"), [(None, [-2000]), (-1990, [-2000, -1995, -1990]), (-2010, [-2000, -2010])]
)
def test_padding_becomes_the_lowest_intensity(tmp_path, syntax, limit, padded):
    """Of the whole series, so that a slice of nothing but padding is dark, too."""
    order = ">" if syntax == BIG else "<"
    values = np.tile(GRID.astype(int)[None], (2, 1, 1))
    values[0, 0, : len(padded)] = padded
    values[1] = -2000
    more = {"g0028_0120": ("SS", struct.pack(f"{order}h", -2000))}
    if limit is not None:
        more["g0028_0121"] = ("SS", struct.pack(f"{order}h", limit))
    for z in (0, 1):
        pixels = values[z].astype(f"{order}i2").tobytes()
        (tmp_path / f"{z}.dcm").write_bytes(slice_file(8 * z, syntax, pixels, **more))
    found = read(tmp_path).voxels[..., 0].transpose(2, 1, 0)
    expected = np.where(np.isin(values, padded), values[0, 0, len(padded) :].min(), values)
    np.testing.assert_array_equal(found, expected)


def test_a_series_of_nothing_but_padding_stays_as_it_is(tmp_path):
    more = {"g0028_0120": ("SS", struct.pack("<h", 7))}
    (tmp_path / "a.dcm").write_bytes(slice_file(pixels=np.full((ROWS, COLUMNS), 7, "<i2").tobytes(), **more))
    assert set(read(tmp_path).voxels.ravel()) == {7}
