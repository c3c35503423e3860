"""DICOM series that are no volume are refused, with the file or the slices that are to blame."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from acdc_semicycle.imageio import dicom_series
from tests.imageio import dicom_files
from tests.imageio.dicom_files import (
    COLUMNS,
    ORIGIN,
    PATIENT,
    PIXELS,
    ROWS,
    STRAIGHT,
    read,
    refused,
    slice_file,
    stack,
    write,
)


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


@pytest.mark.parametrize(("n", "slices"), [(2, "slices 2 and 3 of 5"), (0, "slices 1 and 2 of 5")])
def test_a_slice_that_is_shifted_in_its_plane_is_said_to_be(tmp_path, n, slices):
    for k in range(5):
        write(tmp_path / f"{k}.dcm", ORIGIN + [3 * (k == n), 0, 10 * k])
    text = refused(lambda: read(tmp_path), f"{slices} are shifted against each other by 3 mm within their planes")
    assert "all lie 10 mm apart: find the slice that is beside the others" in text


FAULTS = {
    "sizes": ({"shape": (ROWS, COLUMNS + 1)}, ["other.dcm is of another size (8 x 6, 9 x 6)"]),
    "orientations": ({"turn": STRAIGHT[:, [2, 1, 0]]}, ["several orientations", "localiser (other.dcm"]),
    "colour": ({"colour": True}, ["other.dcm is a colour image"]),
    "a frame too many": ({"position": ORIGIN + [0, 0, 10]}, ["1 images of one slice (", "2 of another (", "other.dcm"]),
    "beside": ({"position": ORIGIN + [50, 0, 10]}, ["beside each other in one plane, ", "other.dcm"]),
    "study": ({"g0020_000d": "1.2.9"}, ["other.dcm is of another study"]),
    "frame of reference": ({"g0020_0052": "1.2.8"}, ["other.dcm is in another frame of reference"]),
    "spacing": ({}, ["different pixel spacings (other.dcm"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_slice_unlike_the_others_is_refused(tmp_path, fault, monkeypatch):
    stack(tmp_path, g0020_0052="1.2.7")
    more, words = FAULTS[fault]
    if fault == "spacing":
        monkeypatch.setattr(dicom_files, "ACROSS", 1.3)
    write(tmp_path / "other.dcm", **{"position": ORIGIN + [0, 0, 40], "g0020_0052": "1.2.7", **more})
    refused(lambda: read(tmp_path), str(tmp_path), "series003", *words)
    assert refused(lambda: read(dicom_series.find(tmp_path)[0]), str(tmp_path))


def test_slices_of_which_some_name_no_study_are_one_series(tmp_path):
    for z, study in enumerate((b"1.2\0", None, b"1.2\0", b"")):
        said = None if study is None else ("UI", study)
        (tmp_path / f"{z}.dcm").write_bytes(slice_file(z, g0020_000d=said, g0020_0052=said))
    assert read(tmp_path).voxels.shape[2] == 4


def test_slices_that_each_have_a_study_of_their_own_are_one_series_and_that_is_said(tmp_path, caplog):
    for z in range(3):
        (tmp_path / f"{z}.dcm").write_bytes(slice_file(z, g0020_000d=("UI", f"1.2.{z} ".encode())))
    assert read(tmp_path).voxels.shape[2] == 3
    assert "each file names a study of its own" in caplog.text


@pytest.mark.parametrize("step", [1.25, 0.87, 4.44])
def test_positions_that_are_rounded_to_a_tenth_of_a_millimetre_have_no_missing_slice(tmp_path, step):
    places = [round(n * step, 1) for n in range(9)]
    for n, z in enumerate(places):
        write(tmp_path / f"{n}.dcm", np.round(ORIGIN, 1) + [0, 0, z])
    assert read(tmp_path).spacing_mm[2] == pytest.approx(places[-1] / 8)
    (tmp_path / "4.dcm").unlink()
    refused(lambda: read(tmp_path), "uneven steps", "find the missing slice")


def test_the_same_image_twice_is_refused(tmp_path):
    for n, path in enumerate(list(stack(tmp_path).iterdir())):
        shutil.copy(path, tmp_path / f"copy{n}.dcm")
    refused(lambda: read(tmp_path), "the same image in two files, ", "copy")


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
