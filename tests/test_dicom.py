"""DICOM series: written by GDCM, with values that say where in the patient each voxel is."""

import random
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acdc_semicycle.data import dicom, itk, volumes
from acdc_semicycle.errors import InputError
from acdc_semicycle.scans import Scans

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


def test_the_grid_is_that_of_itk(tmp_path):
    folder = stack(tmp_path / "scan", turn=TILTED)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    ours = read(folder)
    np.testing.assert_allclose(ours.affine, itk.affine(theirs), atol=1e-4)
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
    assert dicom.find(tmp_path)[0].note


def test_slope_and_intercept_are_applied_file_by_file(tmp_path):
    whole = read(stack(tmp_path / "whole")).voxels
    folder = stack(tmp_path / "scan", g0028_1052="-5", g0028_1053="1")
    for path in folder.iterdir():  # MR images may have them, too, but GDCM does not write that
        path.write_bytes(path.read_bytes().replace(CT, MR))
    np.testing.assert_array_equal(read(folder).voxels, whole)
    files = dicom.find(folder)[0].files[0]
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


# --- folders ---


def test_series_of_one_folder_are_told_apart_and_named_by_number(tmp_path):
    stack(tmp_path / "a", n=3)
    stack(tmp_path / "b", g0020_000e="1.2.3.5", g0020_0011="12")
    stack(tmp_path / "c", g0020_000e="1.2.3.6", g0020_0011="12")
    stack(tmp_path / "d", g0020_000e="1.2.3.7", g0020_0011=SECRET[:8])
    for folder in "bcd":
        for path in (tmp_path / folder).iterdir():
            path.rename(tmp_path / "a" / f"{folder}{path.name}")
    found = dicom.find(tmp_path / "a")
    assert [series.name for series in found] == ["series", "series003", "series012_1", "series012_2"]
    assert [series.uid for series in found] == ["1.2.3.7", "1.2.3.4", "1.2.3.5", "1.2.3.6"]
    assert [len(series.files[0]) for series in found] == [4, 3, 4, 4]
    assert read(found[1]).voxels.shape == (COLUMNS, ROWS, 3, 1)
    assert volumes.read(found[1]).voxels.shape == (COLUMNS, ROWS, 3, 1)
    refused(lambda: read(tmp_path / "a"), str(tmp_path / "a"), "4 DICOM series", "series003", "series012_2")
    assert not any("ZEBEDEE" in f"{series!r} {series}" for series in found)
    assert len({*found, *dicom.find(tmp_path / "a")}) == 4  # equal and hashable


@pytest.mark.parametrize(
    ("format", "end"), [(None, ".nii.gz"), ("nii.gz", ".nii.gz"), ("nrrd", ".nrrd"), ("mha", ".mha")]
)
def test_the_label_map_of_a_series_has_the_format_that_is_asked_for(tmp_path, format, end):
    (scan,) = Scans(stack(tmp_path / "in"), tmp_path / "out", {"pictures": False}, format=format).found
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
    assert dicom.find(folder) == [] and not dicom.is_folder(folder)
    assert dicom.is_folder(folder / "below")
    refused(lambda: read(folder), str(folder), "no DICOM image")
    refused(lambda: dicom.find(tmp_path / "nowhere"), "nowhere", "cannot be listed")
    assert not dicom.is_folder(tmp_path / "nowhere")


def test_names_without_a_suffix_do(tmp_path):
    for n, path in enumerate(sorted(stack(tmp_path).iterdir())):
        path.rename(tmp_path / f"IM{n:04d}")
    assert dicom.is_folder(tmp_path) and read(tmp_path).voxels.shape == (COLUMNS, ROWS, 4, 1)


# --- what is refused ---


def test_a_missing_slice_is_refused_and_the_gap_named(tmp_path):
    dicom.find(stack(tmp_path, n=5))[0].files[0][3].unlink()
    refused(lambda: read(tmp_path), str(tmp_path), "slices 3 and 4 of 4 lie 20 mm apart, others 10 mm")


@pytest.mark.parametrize(("off", "taken"), [(0.05, True), (0.3, False)])
def test_steps_may_differ_by_one_percent(tmp_path, off, taken):
    for n, z in enumerate((0, 10, 20 + off, 30)):
        write(tmp_path / f"{n}.dcm", ORIGIN + [0, 0, z])
    if taken:
        assert read(tmp_path).spacing_mm[2] == pytest.approx(10)
    else:
        refused(lambda: read(tmp_path), "uneven steps")


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
    assert refused(lambda: read(dicom.find(tmp_path)[0]), str(tmp_path))


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
BROKEN += [(b"-30\\", b"nan\\"), (b"-30\\", b"30\\\\"), (b"1.5\\1.25", b"0.0\\1.25")]
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
    last = dicom.find(stack(tmp_path, compressor=compressor))[0].files[0][-1]  # its lack would leave no gap
    content = last.read_bytes()
    last.write_bytes(content[: int(len(content) * left)])
    refused(lambda: read(tmp_path), str(tmp_path), last.name, "truncated", "copy it again")
    assert dicom.is_folder(tmp_path)
    assert "ZEBEDEE" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("content", [b"", b"\0" * 5000])
def test_an_empty_file_is_refused_not_passed_over(tmp_path, content):
    last = dicom.find(stack(tmp_path))[0].files[0][-1]
    last.write_bytes(content)
    refused(lambda: read(tmp_path), last.name, "empty")


def test_a_truncated_file_is_a_fault_of_its_own_series_alone(tmp_path):
    stack(tmp_path / "scan")
    for path in stack(tmp_path / "b", n=2, g0020_000e="1.2.3.5", g0020_0011="5").iterdir():
        path.rename(tmp_path / "scan" / f"b{path.name}")
    for n, path in enumerate(sorted((tmp_path / "scan").glob("b*"))):
        path.write_bytes(path.read_bytes()[:-20])
        faults = {series.uid: series.fault for series in dicom.find(tmp_path / "scan")}
        assert faults["1.2.3.4"] is None and path.parent.name in faults["1.2.3.5"], n


def test_no_length_of_a_cut_file_changes_the_scan(tmp_path):
    whole = read(stack(tmp_path, n=2)).voxels
    last = dicom.find(tmp_path)[0].files[0][-1]
    content = last.read_bytes()
    for length in (0, 100, *range(132, 500, 7), *range(500, len(content), 50), len(content)):
        last.write_bytes(content[:length])
        if length < len(content):
            (series,) = dicom.find(tmp_path)
            refused(lambda series=series: read(series), last.name, "truncated")
    np.testing.assert_array_equal(read(tmp_path).voxels, whole)
    for path in tmp_path.iterdir():
        path.write_bytes(content[:300])  # nothing is left that says whose they are
    (only,) = dicom.find(tmp_path)
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


@pytest.mark.parametrize("kind", ["implicit", "OB", "OW", "UN", "big", "deflated", "packed"])
def test_the_length_of_pixels_is_found_however_it_is_written(kind):
    def content(said: int, held: int) -> bytes:
        icon = PIXELS + (8).to_bytes(4, "little") + bytes(8)
        words = {"implicit": b"", "OB": b"OB\0\0", "UN": b"UN\0\0"}.get(kind, b"OW\0\0")
        tag, order = (b"\x7f\xe0\0\x10", "big") if kind == "big" else (PIXELS, "little")
        body = icon + tag + words + said.to_bytes(4, order) + bytes(held)
        syntax = b"1.2.840.10008.1.2.1.99" if kind == "deflated" else b"1.2.840.10008.1.2.1\0"
        meta = b"\2\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax + b"\2\0\x12\0UI\0\0"
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush() if kind == "deflated" else body
        return bytes(128) + b"DICM\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + body

    assert dicom._holds(content(2**32 - 1 if kind == "packed" else 96, 96), 96)
    assert not dicom._holds(content(95, 95), 96) and not dicom._holds(content(96, 95), 96)


@pytest.mark.parametrize("slope", [b"0 ", b"X ", b".0"])
def test_a_slope_of_nothing_is_refused(tmp_path, slope):
    path = next(stack(tmp_path).iterdir())
    tag = b"\x28\0\x53\x10\2\0\0\0"
    path.write_bytes(path.read_bytes().replace(tag + b"1 ", tag + slope))
    refused(lambda: read(tmp_path), path.name, "RescaleSlope that is 0 or no number")


def test_headers_are_all_that_finding_reads(tmp_path, monkeypatch):
    stack(tmp_path)
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda self: pytest.fail("pixels were read"))
    assert dicom.is_folder(tmp_path) and len(dicom.find(tmp_path)) == 1
