"""Series of one slice each that lie one behind the other are one scan."""

from pathlib import Path

import numpy as np
import pytest

from acdc_semicycle.artifacts.card import CARD
from acdc_semicycle.imageio import dicom_series, dicom_stacks
from acdc_semicycle.imageio.dicom_image import read_image
from acdc_semicycle.inference.inputs import Scans
from tests.imageio.dicom_files import COLUMNS, ORIGIN, ROWS, STRAIGHT, TILTED, expected, read, write


def slices(folder: Path, heights=(0, 10, 20, 30), turn=STRAIGHT, times=(5, 20), own_folders=False, **tags) -> Path:
    """One series for each height in mm, with a file for each trigger time; the series are numbered from 3."""
    for number, height in enumerate(heights, 3):
        place = folder / f"s{number}" if own_folders else folder
        place.mkdir(parents=True, exist_ok=True)
        of_series = {"g0020_000e": f"1.2.3.{number}", "g0020_0011": str(number)}
        for frame, time in enumerate(times):
            path = place / f"{number}_{frame}.dcm"
            position = ORIGIN + turn[:, 2] * height
            about = of_series | tags | {"g0018_1060": str(time)}
            write(path, position, turn, frame, **about)
    return folder


@pytest.mark.parametrize("turn", [STRAIGHT, TILTED])
@pytest.mark.parametrize("heights", [(0, 10, 20, 30), (30, 10, 0, 20)])
def test_a_cine_of_one_series_a_slice_is_one_scan(tmp_path, turn, heights):
    (series,) = dicom_series.find(slices(tmp_path, heights, turn))
    assert series.name == "series003_to_006"
    for source in (series, tmp_path):
        volume = read(source)
        assert volume.voxels.shape == (COLUMNS, ROWS, 4, 2) and volume.doubt is None
        assert "4 series of one slice each lie one behind the other, and are taken as one scan" in volume.note
        for frame in (0, 1):
            np.testing.assert_allclose(volume.voxels[..., frame], expected(volume, frame), atol=1)


@pytest.mark.parametrize(
    ("heights", "tags"),
    [
        ((0, 10, 30), {}),  # a slice is missing
        ((0, 80, 160), {}),  # too far apart, for slices of 8 mm
        ((0, 0), {}),  # one place twice
        ((0, 10, 20), {"g0020_000d": None}),  # of no known study
    ],
)
def test_slices_that_may_be_no_scan_stay_apart(tmp_path, heights, tags):
    found = dicom_series.find(slices(tmp_path, heights, **tags))
    assert len(found) == len(heights) and not any(series.stacked for series in found)


def test_the_first_two_headers_show_that_a_series_is_no_single_slice(tmp_path, monkeypatch):
    for number in range(6):
        write(tmp_path / f"{number}.dcm", ORIGIN + STRAIGHT[:, 2] * 10 * number)
    files, headers = sorted(tmp_path.iterdir()), []
    monkeypatch.setattr(dicom_stacks, "read_image", lambda path: headers.append(path) or read_image(path))
    assert dicom_stacks.stacks([files]) == [] and headers == files[:2]


@pytest.mark.parametrize("tag", ["g0020_000d", "g0020_0052", "g0008_0008", "g0018_0050"])
def test_slices_of_two_patients_kinds_or_thicknesses_are_two_scans(tmp_path, tag):
    slices(tmp_path, (0, 10))
    for name, height in (("c", 20), ("d", 30)):
        about = {"g0020_000e": f"1.2.3.{name == 'c'}7", "g0020_0011": "9", tag: "7"}
        for frame in (0, 1):
            write(tmp_path / f"{name}{frame}.dcm", ORIGIN + height * STRAIGHT[:, 2], frame=frame, g0018_1060=str(frame),
                  **about)  # fmt: skip
    stacked = [series for series in dicom_series.find(tmp_path) if series.stacked]
    assert all(len(series.files[0]) == 2 for series in stacked) and len(stacked) >= 1


def test_slices_with_a_folder_each_are_one_scan_of_the_folder_above(tmp_path):
    slices(tmp_path / "in" / "p1", own_folders=True)
    slices(tmp_path / "in" / "p2", (0,), own_folders=True)
    listed = Scans(tmp_path / "in", tmp_path / "out", CARD).listed
    assert [(scan.case, len(scan.source.files[0])) for scan in listed] == [("p1", 4), ("p2/s3", 1)]
