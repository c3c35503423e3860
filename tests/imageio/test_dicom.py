"""DICOM series: where in the patient their voxels are, which files belong together, and in what order."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from acdc_semicycle.imageio import dicom_series, volumes
from acdc_semicycle.inference.inputs import Scans
from tests.imageio.dicom_files import (
    ACROSS,
    BETWEEN,
    COLUMNS,
    CT,
    DOWN,
    MR,
    ORIGIN,
    ROWS,
    SECRET,
    STRAIGHT,
    TILTED,
    expected,
    read,
    refused,
    stack,
    write,
)


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
    thickness = b"\x18\0\x50\0\x02\0\0\0"
    changes = [(thickness + b"8 ", thickness + b"8 " + BETWEEN + b"12"), (BETWEEN + b"12", BETWEEN + b"-9")]
    changes += [(BETWEEN, b"\x18\0\x89\0\x02\0\0\0"), (thickness + b"8 ", thickness + b"0 ")]
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


@pytest.mark.parametrize("acquisitions", [("1", "1"), ("1", "2")])
def test_two_images_of_each_slice_without_times_are_a_cine_and_that_is_said(tmp_path, caplog, acquisitions):
    for k in range(2):
        for frame, acquisition in enumerate(acquisitions):
            number = {"g0020_0013": str(10 * k + frame), "g0020_0012": acquisition}
            write(tmp_path / f"{k}{frame}.dcm", ORIGIN + [0, 0, 10 * k], frame=frame, **number)
    assert read(tmp_path).voxels.shape == (COLUMNS, ROWS, 2, 2)
    [text] = caplog.messages
    assert str(tmp_path) in text and "2 images that no time tells apart" in text and "folder of its own" in text
    assert ("AcquisitionNumber 1, 2" in text) is (acquisitions == ("1", "2"))


def test_frames_of_one_slice_are_a_cine(tmp_path, caplog):
    assert read(stack(tmp_path / "cine", n=1, times=(0, 10, 20))).voxels.shape == (COLUMNS, ROWS, 1, 3)
    assert not caplog.messages


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
