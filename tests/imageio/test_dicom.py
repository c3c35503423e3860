"""DICOM series: written by GDCM, with values that say where in the patient each voxel is."""

import random
import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio import dicom_file, dicom_pixels, dicom_series, volumes
from acdc_semicycle.inference.inputs import Scans
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


# --- where the voxels are ---


@pytest.mark.parametrize("turn", [STRAIGHT, TILTED, TILTED[:, [1, 0, 2]]], ids=["axial", "oblique", "transposed"])
def test_every_voxel_is_where_its_value_says(tmp_path, turn):
    volume = read(stack(tmp_path / "scan", turn=turn))
    assert volume.voxels.shape == (COLUMNS, ROWS, 4, 1)
    np.testing.assert_allclose(volume.voxels[..., 0], expected(volume), atol=0.51)
    np.testing.assert_allclose(volume.spacing_mm, (ACROSS, DOWN, 10), atol=1e-5)


def test_the_grid_is_that_of_itk(tmp_path, itk_affine):
    folder = stack(tmp_path / "scan", turn=TILTED)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    ours = read(folder)
    np.testing.assert_allclose(ours.affine, itk_affine(theirs), atol=1e-4)
    np.testing.assert_array_equal(ours.voxels[..., 0], sitk.GetArrayFromImage(theirs).transpose())


def test_a_tilted_gantry_is_kept_as_a_sheared_grid(tmp_path):
    volume = read(stack(tmp_path / "scan", step=np.array([0, 3.0, 10])))
    np.testing.assert_allclose(volume.voxels[..., 0], expected(volume), atol=0.51)
    assert volume.voxel_ml == pytest.approx(ACROSS * DOWN * 10 / 1000)


@pytest.mark.parametrize("turn", [STRAIGHT, TILTED])
def test_one_slice_takes_its_depth_from_the_header(tmp_path, turn):
    path = next(stack(tmp_path, n=1, turn=turn).iterdir())
    between, thickness = b"\x18\0\x88\0\x02\0\0\0", b"\x18\0\x50\0\x02\0\0\0"
    changes = [(between + b"1 ", between + b"12"), (between + b"12", between + b"-9")]
    changes += [(between, b"\x18\0\x89\0\x02\0\0\0"), (thickness + b"8 ", thickness + b"0 ")]
    for depth, change in zip((12, 9, 8, 1), changes, strict=True):
        path.write_bytes(path.read_bytes().replace(*change))
        volume = read(tmp_path)
        assert volume.voxels.shape == (COLUMNS, ROWS, 1, 1)
        assert volume.spacing_mm == pytest.approx((ACROSS, DOWN, depth), abs=1e-5)
        assert (volume.doubt is None) == (depth > 1)
        assert np.linalg.det(volume.affine) > 0
        np.testing.assert_allclose(volume.voxels[..., 0], expected(volume), atol=0.51)
    assert "slice thickness is unknown" in (read(tmp_path).spacing_fault or "")
    assert dicom_series.find(tmp_path)[0].note


def test_slope_and_intercept_are_applied_file_by_file(tmp_path):
    whole = read(stack(tmp_path / "whole")).voxels
    folder = stack(tmp_path / "scan", g0028_1052="-5", g0028_1053="1")
    for path in folder.iterdir():  # MR images may have them, too, but GDCM does not write that
        path.write_bytes(path.read_bytes().replace(CT, MR))
    np.testing.assert_array_equal(read(folder).voxels, whole)
    files = dicom_series.find(folder)[0].files[0]
    slope = b"\x28\x00\x53\x10\x02\0\0\0"
    files[2].write_bytes(files[2].read_bytes().replace(slope + b"1 ", slope + b".5"))
    voxels = read(folder).voxels
    np.testing.assert_array_equal(voxels[:, :, [0, 1, 3]], whole[:, :, [0, 1, 3]])
    np.testing.assert_array_equal(voxels[:, :, 2], (whole[:, :, 2] + 5) / 2 - 5)


@pytest.mark.parametrize(("compressor", "syntax"), [("JPEG", b"1.2.4.70"), ("JPEG2000", b"1.2.4.90")])
def test_lossless_compression_changes_nothing(tmp_path, compressor, syntax):
    folder = stack(tmp_path / "scan", compressor=compressor)
    assert all(syntax in path.read_bytes() for path in folder.iterdir())
    np.testing.assert_array_equal(read(folder).voxels, read(stack(tmp_path / "plain")).voxels)


# --- cines ---


def test_frames_go_by_trigger_time_within_each_slice(tmp_path):
    volume = read(stack(tmp_path / "cine", turn=TILTED, times=(0.0, 100.5, 33.5)))
    assert volume.voxels.shape == (COLUMNS, ROWS, 4, 3)
    for n, frame in enumerate((0, 2, 1)):
        np.testing.assert_allclose(volume.voxels[..., n], expected(volume, frame), atol=0.51)


@pytest.mark.parametrize(("tag", "times"), [("g0020_0100", ["3", "1", "12"]), ("g0020_0013", ["3", "1", "12"]),
                                            ("g0008_0032", ["101010.5", "101010.25", "11:00:00"])])  # fmt: skip
def test_without_trigger_times_other_times_order_the_frames(tmp_path, tag, times):
    for k in range(2):
        for frame, time in enumerate(times):
            write(tmp_path / f"{k}{frame}.dcm", ORIGIN + [0, 0, 10 * k], frame=frame, g0018_1060="0", **{tag: time})
    volume = read(tmp_path)
    assert volume.voxels.shape == (COLUMNS, ROWS, 2, 3)
    for n, frame in enumerate((1, 0, 2)):
        np.testing.assert_allclose(volume.voxels[..., n], expected(volume, frame), atol=0.51)


def test_frames_of_one_slice_are_a_cine(tmp_path):
    assert read(stack(tmp_path / "cine", n=1, times=(0, 10, 20))).voxels.shape == (COLUMNS, ROWS, 1, 3)


def test_magnitude_and_phase_are_no_cine(tmp_path):
    for n, kind in enumerate(("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P")):
        write(tmp_path / f"{n}.dcm", ORIGIN, g0008_0008=kind, g0020_0013=str(n))
    refused(lambda: read(tmp_path), "magnitude and phase")


def test_frames_go_on_after_midnight(tmp_path):
    for frame, time in enumerate(["235958", "000001.5", "235959.9", "000000"]):
        write(tmp_path / f"{frame}.dcm", ORIGIN, frame=frame, g0008_0032=time, g0020_0013="1")
    volume = read(tmp_path)
    for n, frame in enumerate((0, 2, 3, 1)):
        np.testing.assert_allclose(volume.voxels[..., n], expected(volume, frame), atol=0.51)


@pytest.mark.parametrize(("tag", "word"), [("g0018_0081", "EchoTime"), ("g0018_0086", "EchoNumbers")])
def test_echoes_are_no_cine(tmp_path, tag, word):
    for n in range(2):
        write(tmp_path / f"{n}.dcm", ORIGIN, g0020_0013=str(n), **{tag: str(n + 1)})
    refused(lambda: read(tmp_path), word, "each echo in a folder of its own")


# --- folders ---


def test_series_of_one_folder_are_told_apart_and_named_by_number(tmp_path):
    stack(tmp_path / "a", n=3)
    stack(tmp_path / "b", g0020_000e="1.2.3.5", g0020_0011="12")
    stack(tmp_path / "c", g0020_000e="1.2.3.6", g0020_0011="12")
    stack(tmp_path / "d", g0020_000e="1.2.3.7", g0020_0011=SECRET[:8])
    for folder in "bcd":
        for path in (tmp_path / folder).iterdir():
            path.rename(tmp_path / "a" / f"{folder}{path.name}")
    found = dicom_series.find(tmp_path / "a")
    assert [series.name for series in found] == ["series", "series003", "series012_1", "series012_2"]
    assert [series.uid for series in found] == ["1.2.3.7", "1.2.3.4", "1.2.3.5", "1.2.3.6"]
    assert [len(series.files[0]) for series in found] == [4, 3, 4, 4]
    assert read(found[1]).voxels.shape == (COLUMNS, ROWS, 3, 1)
    assert volumes.read(found[1]).voxels.shape == (COLUMNS, ROWS, 3, 1)
    refused(lambda: read(tmp_path / "a"), str(tmp_path / "a"), "4 DICOM series", "series003", "series012_2")
    assert not any("ZEBEDEE" in f"{series!r} {series}" for series in found)
    assert len({*found, *dicom_series.find(tmp_path / "a")}) == 4  # equal and hashable


@pytest.mark.parametrize(
    ("format", "end"), [(None, ".nii.gz"), ("nii.gz", ".nii.gz"), ("nrrd", ".nrrd"), ("mha", ".mha")]
)
def test_the_label_map_of_a_series_has_the_format_that_is_asked_for(tmp_path, format, end):
    (scan,) = Scans(stack(tmp_path / "in"), tmp_path / "out", {"pictures": False}, format=format).listed
    assert scan.target == tmp_path / "out" / f"{scan.case}_seg{end}"


def test_what_is_no_dicom_image_is_left_alone(tmp_path):
    folder = stack(tmp_path / "scan")
    (folder / "README.txt").write_text("scan\n" * 100)
    (folder / "empty").touch()
    (folder / "below").mkdir()
    image = next(folder.glob("*.dcm")).read_bytes()
    shutil.copy(next(folder.glob("*.dcm")), folder / "below")
    start = image.index(b"\x28\x00\x02\x00")  # no rows, no columns, no pixels
    for name, kind in (("DICOMDIR", "1.3.10"), ("contours.dcm", "5.1.4.1.1.481.3"), ("report", "5.1.4.1.1.88.11")):
        uid = f"1.2.840.10008.{kind}".encode()
        uid += b"\0" * (len(uid) % 2)
        head = image[:start].replace(bytes([len(CT), 0]) + CT, bytes([len(uid), 0]) + uid)
        (folder / name).write_bytes(head)
    assert read(folder).voxels.shape == (COLUMNS, ROWS, 4, 1)
    for path in folder.glob("[0-9]*.dcm"):
        path.unlink()
    assert dicom_series.find(folder) == [] and not dicom_series.is_folder(folder)
    assert dicom_series.is_folder(folder / "below")
    refused(lambda: read(folder), str(folder), "no DICOM image")
    refused(lambda: dicom_series.find(tmp_path / "nowhere"), "nowhere", "cannot be listed")
    assert not dicom_series.is_folder(tmp_path / "nowhere")


def test_names_without_a_suffix_do(tmp_path):
    for n, path in enumerate(sorted(stack(tmp_path).iterdir())):
        path.rename(tmp_path / f"IM{n:04d}")
    assert dicom_series.is_folder(tmp_path) and read(tmp_path).voxels.shape == (COLUMNS, ROWS, 4, 1)


# --- what is refused ---


def test_a_missing_slice_is_refused_and_the_gap_named(tmp_path):
    dicom_series.find(stack(tmp_path, n=5))[0].files[0][3].unlink()
    refused(lambda: read(tmp_path), str(tmp_path), "slices 3 and 4 of 4 lie 20 mm apart, others 10 mm")


@pytest.mark.parametrize(("off", "taken"), [(0.05, True), (0.3, False)])
def test_steps_may_differ_by_one_percent(tmp_path, off, taken):
    for n, z in enumerate((0, 10, 20 + off, 30)):
        write(tmp_path / f"{n}.dcm", ORIGIN + [0, 0, z])
    if taken:
        assert read(tmp_path).spacing_mm[2] == pytest.approx(10)
    else:
        refused(lambda: read(tmp_path), "uneven steps")


UNEVEN = [
    ((0, 10, 20, 25, 35), "slices 3 and 4 of 5 lie 5 mm apart, others 10 mm: find the extra or misplaced slice"),
    ((0, 10, 30, 40), "slices 2 and 3 of 4 lie 20 mm apart, others 10 mm: find the missing slice"),
    ((0, 10, 30), "slices 2 and 3 of 3 lie 20 mm apart, others 10 mm: find the missing slice"),
]


@pytest.mark.parametrize(("places", "words"), UNEVEN)
def test_the_slices_that_are_named_are_the_uneven_ones(tmp_path, places, words):
    for n, z in enumerate(places):
        write(tmp_path / f"{n}.dcm", ORIGIN + [0, 0, z])
    refused(lambda: read(tmp_path), words)


FAULTS = {
    "sizes": ({"shape": (ROWS, COLUMNS + 1)}, ["different sizes (8 x 6, 9 x 6)"]),
    "orientations": ({"turn": STRAIGHT[:, [2, 1, 0]]}, ["several orientations", "localiser"]),
    "colour": ({"colour": True}, ["colour"]),
    "a frame too many": ({"position": ORIGIN + [0, 0, 10]}, ["1 images of one slice and 2 of another"]),
    "beside": ({"position": ORIGIN + [50, 0, 10]}, ["beside each other"]),
    "spacing": ({}, ["different pixel spacings"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_slice_unlike_the_others_is_refused(tmp_path, fault, monkeypatch):
    stack(tmp_path)
    more, words = FAULTS[fault]
    if fault == "spacing":
        monkeypatch.setitem(globals(), "ACROSS", 1.3)
    write(tmp_path / "other.dcm", **{"position": ORIGIN + [0, 0, 40], **more})
    refused(lambda: read(tmp_path), str(tmp_path), "series003", *words)
    assert refused(lambda: read(dicom_series.find(tmp_path)[0]), str(tmp_path))


def test_the_same_image_twice_is_refused(tmp_path):
    for n, path in enumerate(list(stack(tmp_path).iterdir())):
        shutil.copy(path, tmp_path / f"copy{n}.dcm")
    refused(lambda: read(tmp_path), "the same image in two files")


def test_images_of_one_slice_and_one_moment_are_refused(tmp_path):
    for n in range(2):
        write(tmp_path / f"{n}.dcm", ORIGIN, g0018_1060="5", g0020_0013="1")
    refused(lambda: read(tmp_path), "no time or number tells apart")


POSITION, ORIENTATION, SPACING = b"\x20\0\x32", b"\x20\0\x37", b"\x28\0\x30"
BROKEN = [(tag + b"\0", tag + b"\1") for tag in (POSITION, ORIENTATION, SPACING)]
BROKEN += [(b"-30\\", b"nan\\"), (b"-30\\", b"3_0\\"), (b"-30\\", b"30\\\\"), (b"1.5\\1.25", b"0.0\\1.25")]
BROKEN += [(b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0")]


@pytest.mark.parametrize(("old", "new"), BROKEN)
def test_images_without_geometry_are_refused(tmp_path, old, new):
    path = next(stack(tmp_path).iterdir())
    whole = path.read_bytes()
    assert whole.count(old) == 1
    path.write_bytes(whole.replace(old, new))
    refused(lambda: read(tmp_path), path.name, "export the series")


def test_a_file_of_several_frames_is_refused(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((5, ROWS, COLUMNS), np.uint8))
    for tag, text in PATIENT.items():
        image.SetMetaData(tag, text)
    sitk.WriteImage(image, str(tmp_path / "all.dcm"), imageIO="GDCMImageIO")
    refused(lambda: read(tmp_path), str(tmp_path), "several frames", "dcm2niix")


@pytest.mark.parametrize("compressor", [None, "JPEG", "JPEG2000"])
@pytest.mark.parametrize("left", [0.3, 0.9])
def test_a_truncated_file_is_refused_and_named(tmp_path, compressor, left, capfd):
    last = dicom_series.find(stack(tmp_path, compressor=compressor))[0].files[0][-1]  # its lack would leave no gap
    content = last.read_bytes()
    last.write_bytes(content[: int(len(content) * left)])
    refused(lambda: read(tmp_path), str(tmp_path), last.name, "truncated", "copy it again")
    assert dicom_series.is_folder(tmp_path)
    assert "ZEBEDEE" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("content", [b"", b"\0" * 5000])
def test_an_empty_file_is_refused_not_passed_over(tmp_path, content):
    last = dicom_series.find(stack(tmp_path))[0].files[0][-1]
    last.write_bytes(content)
    refused(lambda: read(tmp_path), last.name, "empty")


def test_a_truncated_file_is_a_fault_of_its_own_series_alone(tmp_path):
    stack(tmp_path / "scan")
    for path in stack(tmp_path / "b", n=2, g0020_000e="1.2.3.5", g0020_0011="5").iterdir():
        path.rename(tmp_path / "scan" / f"b{path.name}")
    for n, path in enumerate(sorted((tmp_path / "scan").glob("b*"))):
        path.write_bytes(path.read_bytes()[:-20])
        faults = {series.uid: series.fault for series in dicom_series.find(tmp_path / "scan")}
        assert faults["1.2.3.4"] is None and path.parent.name in faults["1.2.3.5"], n


def test_no_length_of_a_cut_file_changes_the_scan(tmp_path):
    whole = read(stack(tmp_path, n=2)).voxels
    last = dicom_series.find(tmp_path)[0].files[0][-1]
    content = last.read_bytes()
    for length in (0, 100, *range(132, 500, 7), *range(500, len(content), 50), len(content)):
        last.write_bytes(content[:length])
        if length < len(content):
            (series,) = dicom_series.find(tmp_path)
            refused(lambda series=series: read(series), last.name, "truncated")
    np.testing.assert_array_equal(read(tmp_path).voxels, whole)
    for path in tmp_path.iterdir():
        path.write_bytes(content[:300])  # nothing is left that says whose they are
    (only,) = dicom_series.find(tmp_path)
    refused(lambda: read(only), str(tmp_path), "truncated")


PIXELS = b"\xe0\x7f\x10\0"
BEHIND = b"\xfc\xff\xfc\xff" + (60).to_bytes(4, "little") + bytes(60)  # DataSetTrailingPadding


@pytest.mark.parametrize("behind", [b"", BEHIND])
@pytest.mark.parametrize("length", [2, 40, 94])
def test_pixels_that_are_fewer_than_the_rows_are_refused(tmp_path, length, behind):
    """GDCM takes what is left in memory for the others."""
    path = next(stack(tmp_path).iterdir())
    content = path.read_bytes()
    at = content.rindex(PIXELS) + 4
    assert int.from_bytes(content[at : at + 4], "little") == 2 * ROWS * COLUMNS
    path.write_bytes(content + behind)
    assert read(tmp_path).voxels.shape == (COLUMNS, ROWS, 4, 1)
    path.write_bytes(content[:at] + length.to_bytes(4, "little") + content[at + 4 :][:length] + behind)
    refused(lambda: read(tmp_path), path.name, "fewer than the 96 bytes of its pixels", "copy it again")


def test_more_rows_than_there_are_pixels_are_refused(tmp_path):
    for path in stack(tmp_path).iterdir():
        path.write_bytes(path.read_bytes().replace(b"\x28\0\x10\0\2\0\0\0\6\0", b"\x28\0\x10\0\2\0\0\0\7\0"))
    refused(lambda: read(tmp_path), "fewer than the 112 bytes of its pixels")


# --- files as others write them ---

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
    "intercept": ({"g0028_1052": ("DS", b"nan ")}, "RescaleIntercept that is no number"),
    "text": ({"g0028_1052": ("DS", b"ZEBEDEE ")}, "RescaleIntercept that is no number"),
    "left": ({"g0028_0101": ("US", b"\x0c\0")}, "12 of 16 bits are used, the highest being 15"),
    "too many": ({"g0028_0101": ("US", b"\x11\0"), "g0028_0102": ("US", b"\x10\0")}, "17 of 16 bits"),
    "12 bits": ({"g0028_0100": ("US", b"\x0c\0")}, "8, 16 or 32 bits"),
    "table": ({"g0028_3000": ("SQ", element(0xFFFEE000, "", b""))}, "ModalityLUTSequence"),
    "open table": ({"g0028_3000": ("SQ", TABLE, EXPLICIT, UNKNOWN_LENGTH)}, "ModalityLUTSequence"),
    "unknown": ({"syntax": "1.2.840.10008.1.2.4.201", **packed(b"\1\2" * 50)}, "compressed in a way that is not known"),
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


# --- what would fill the memory, or end the process ---


@pytest.mark.parametrize("depth", [20, 40_000])
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


@pytest.mark.parametrize("slope", [b"0 ", b"X ", b".0"])
def test_a_slope_of_nothing_is_refused(tmp_path, slope):
    path = next(stack(tmp_path).iterdir())
    tag = b"\x28\0\x53\x10\2\0\0\0"
    path.write_bytes(path.read_bytes().replace(tag + b"1 ", tag + slope))
    refused(lambda: read(tmp_path), path.name, "RescaleSlope that is 0 or no number")


def test_headers_are_all_that_finding_reads(tmp_path, monkeypatch):
    stack(tmp_path)
    monkeypatch.setattr(dicom_file, "stored", lambda *_: pytest.fail("pixels were read"))
    assert dicom_series.is_folder(tmp_path) and len(dicom_series.find(tmp_path)) == 1
