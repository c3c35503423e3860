"""The fingerprint of a data set: taken by a check, from files read once, and exact where it can be counted by hand."""

import nibabel as nib
import numpy as np
import pytest

from acdc_semicycle.data import check, check_cases, fingerprint_table
from acdc_semicycle.data.check_findings import Counts
from acdc_semicycle.data.fingerprint import Fingerprint, across, lengths, spacings


def scan(path, seed: int, shape=(40, 30, 5), spacing=(1.5, 2.0, 8.0)) -> None:
    """A volume of noise between -100 and 300."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).uniform(-100, 300, shape).astype(np.float32)
    voxels[0, 0, 0], voxels[-1, -1, -1] = -100, 300
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)


def mask(path, boxes: dict, shape=(40, 30, 5), spacing=(1.5, 2.0, 8.0)) -> None:
    """A mask of boxes, by their value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(shape, np.uint8)
    for value, (rows, columns, slices) in boxes.items():
        labels[slice(*rows), slice(*columns), slice(*slices)] = value
    nib.save(nib.Nifti1Image(labels, np.diag([*spacing, 1.0])), path)


def seen(root, **settings) -> tuple[Fingerprint, list]:
    """The fingerprint of a folder of images and masks, and what a check finds."""
    counts = Counts(fingerprint=Fingerprint())
    findings = check.check(root / "images", root / "masks", counts=counts, progress=list, **settings)
    return counts.fingerprint, findings


@pytest.fixture
def two(tmp_path):
    """A labelled scan of known boxes, and another without a mask that has lost its spacing."""
    scan(tmp_path / "images/a.nii.gz", 0)
    mask(tmp_path / "masks/a.nii.gz", {1: ((10, 30), (5, 15), (1, 4)), 2: ((4, 8), (20, 29), (2, 3))})
    scan(tmp_path / "images/b.nii.gz", 1, (20, 20, 3), (1, 1, 1))
    return tmp_path


def test_sizes_spacings_intensities_and_boxes_are_those_of_the_files(two):
    fingerprint, findings = seen(two, classes=["background", "liver", "spleen"])
    assert findings == []
    first, second = fingerprint.cases
    sides = sorted([first.size[:2], first.spacing_mm[:2]], key=str)
    assert sorted(first.size[:2]) == [30, 40] and first.size[2] == 5 and len(sides) == 2
    assert sorted(first.spacing_mm[:2]) == pytest.approx([1.5, 2.0]) and first.spacing_mm[2] == pytest.approx(8)
    assert (first.intensities[0], first.intensities[-1]) == (-100, 300)
    assert first.intensities[2] == pytest.approx(100, abs=10)
    assert {label: sorted(box[:2]) + [box[2]] for label, box in first.extents.items()} == {1: [10, 20, 3], 2: [4, 9, 1]}
    assert sorted(first.structures) == [24, 26]  # columns 5 to 29, rows 4 to 30
    assert across(first, 1) == (20, pytest.approx(30.0)), "20 voxels of 1.5 mm"
    assert second.spacing_mm is None and second.extents == {} and second.structures is None and not second.labelled


def test_unknown_spacings_take_no_part_and_lengths_do(two):
    fingerprint, _ = seen(two)
    assert spacings(fingerprint.cases, False) == pytest.approx([2.0])
    assert spacings(fingerprint.cases, True) == pytest.approx([8.0])
    assert lengths(fingerprint.cases, 2) == [5, 3]


def test_what_is_not_annotated_is_no_structure(tmp_path):
    scan(tmp_path / "images/a.nii.gz", 0)
    mask(tmp_path / "masks/a.nii.gz", {255: ((0, 40), (0, 30), (0, 5)), 1: ((10, 30), (5, 15), (1, 4))})
    values = {"0": 0, "1": 1, "255": 255}
    case = seen(tmp_path, classes=["background", "liver"], mask_values=values)[0].cases[0]
    assert set(case.extents) == {1} and sorted(case.structures) == [10, 20]


def test_a_copy_is_named_and_counted_once(two):
    (two / "images/c.nii.gz").write_bytes((two / "images/a.nii.gz").read_bytes())
    fingerprint, findings = seen(two)
    assert [finding.severity for finding in findings] == ["fault"]
    assert [case.record.case for case in fingerprint.distinct] == ["a", "b"]
    table = dict(fingerprint_table.rows(fingerprint, ["background", "liver"]))
    assert table["copies"] == "c of a: the same voxels, counted once"
    assert table["images"] == "2: 1 with a mask, of 1 patient; 1 without, of 1 patient"


def test_each_file_is_read_once(two, monkeypatch):
    reads = []
    load = check_cases.LoadCheckedd.__call__

    def counted(self, data):
        reads.append(data["image"].name)
        return load(self, data)

    monkeypatch.setattr(check_cases.LoadCheckedd, "__call__", counted)
    fingerprint, _ = seen(two)
    assert reads == ["a.nii.gz", "b.nii.gz"] and len(fingerprint.cases) == 2


def test_a_check_without_one_takes_none(two):
    counts = Counts()
    check.check(two / "images", two / "masks", counts=counts, progress=list)
    assert counts.fingerprint is None


def test_the_table_has_a_line_for_each_question(two):
    fingerprint, _ = seen(two)
    table = dict(fingerprint_table.rows(fingerprint, ["background", "liver", "spleen", "tumour"]))
    assert table["size"].endswith("3 to 5, middle 4 slices")
    assert table["spacing"] == "2 mm in the plane; 8 mm between slices; unknown of 1"
    assert table["intensities"].startswith("-100 to 300; 99.5 % of the middle image are below 29")
    assert table["liver"] == "in 1 of 1 image of 1 patient, 20 pixels across (9 in 10 up to 20, 30 mm)"
    assert table["tumour"] == "in 0 of 1 image"
