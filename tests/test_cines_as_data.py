"""A data set of cines, 4D images with 4D masks, as M&Ms and 3D Slicer's sequences are: from files to a comparison."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from acdc_semicycle.data import digests, splits
from acdc_semicycle.data.check import before_training, check
from acdc_semicycle.data.slices import Slices, as_dicts, read
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets import folder
from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from tests.config.test_bundle import TINY, workflow

AFFINE = np.diag([1.4, 1.4, 8.0, 1.0])
ANNOTATED = (1, 3)  # frames of four
ROOT = Path(__file__).parents[1]


def write(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def cine(root: Path, patient: str, seed: int, annotated: bool = True) -> None:
    """Four frames of 32 x 28 x 3 voxels, a square that grows from frame to frame, drawn in two of them."""
    random = np.random.default_rng(seed)
    image = random.normal(size=(32, 28, 3, 4)) * 20 + 100
    mask = np.zeros(image.shape, np.uint8)
    for frame in range(4):
        inside = np.s_[8 : 14 + 2 * frame, 8 : 14 + frame, :, frame]
        image[inside] += 200
        mask[inside] = 1 if frame in ANNOTATED else 0
    write(root / "images" / f"{patient}_sa.nii.gz", image.astype(np.int16))
    if annotated:
        write(root / "masks" / f"{patient}_sa_gt.nii.gz", mask)


@pytest.fixture
def cines(tmp_path) -> Path:
    """Six annotated patients and one without a mask."""
    for number in range(6):
        cine(tmp_path, f"p{number}", number)
    cine(tmp_path, "p6", 6, annotated=False)
    return tmp_path


def records_of(root: Path) -> list:
    return folder.records(root / "images", root / "masks", "^(p[0-9])")


def test_each_annotated_frame_is_a_record_and_of_a_cine_without_a_mask_every_frame(cines):
    records = records_of(cines)
    assert [record.case for record in records if record.patient == "p0"] == ["p0_sa_frame02", "p0_sa_frame04"]
    assert [record.frame for record in records if record.patient == "p0"] == list(ANNOTATED)
    assert [record.frame for record in records if record.patient == "p6"] == [0, 1, 2, 3]
    assert all(record.label is None for record in records if record.patient == "p6")


def test_a_frames_voxels_are_read_of_image_and_mask(cines):
    first, second, *_ = records_of(cines)
    load = LoadCheckedd(["image", "label"])
    for record in (first, second):
        item = load(as_dicts([record])[0])
        image, mask = (volumes.read(path, frames=True, mask=True) for path in (record.image, record.label))
        expected = [each.layout.apply(each.voxels[..., record.frame]) for each in (image, mask)]
        np.testing.assert_array_equal(item["image"][0], expected[0])
        np.testing.assert_array_equal(item["label"][0], expected[1])


def test_two_frames_of_one_file_are_two_in_the_cache(cines, tmp_path):
    records = records_of(cines)[:2]
    transform = LoadCheckedd(["image", "label"])
    alone = [digests.digest_of([record], transform, ["image"]) for record in records]
    assert alone[0] and alone[0] != alone[1]
    slices = [Slices([record], transform, cache_dir=tmp_path / "cache") for record in records]
    assert not np.array_equal(slices[0].stored["image"], slices[1].stored["image"])
    assert len(list((tmp_path / "cache").glob("slices-*.npy"))) == 2
    assert slices[1].where(torch.tensor([2])) == [f"{records[1].image} frame 4 slice 3"]


def test_a_split_by_slice_keeps_the_frame(cines):
    pieces = splits.units(records_of(cines)[:2], "slice")
    assert [(piece.frame, piece.slice) for piece in pieces] == [(f, s) for f in ANNOTATED for s in range(3)]
    (item,) = read(pieces[-1:], LoadCheckedd(["image", "label"]))
    whole = volumes.read(pieces[-1].image, frames=True)
    np.testing.assert_array_equal(item["image"][0, ..., 0], whole.layout.apply(whole.voxels[..., 3])[..., 2])


def test_a_split_never_separates_the_frames_of_a_patient(cines):
    records = records_of(cines)
    split = splits.split(records, 2, 0.2, 0.2)
    for part in ("labelled", "unlabelled", "validation", "test"):
        for record in split.records(part, records):
            assert record.patient in getattr(split, part)
    assert "p6" in split.unlabelled


def test_the_check_finds_nothing_wrong_with_them_and_a_bad_frame_by_its_file(cines, tmp_path):
    assert [finding.text for finding in check(cines / "images", cines / "masks") if finding.severity == "fault"] == []
    rules = {"classes": ["background", "square"], "colours": None, "values": None, "intensity_range": None}
    before_training(records_of(cines), tmp_path / "kept", **rules)
    mask = cines / "masks" / "p1_sa_gt.nii.gz"
    voxels = np.asarray(nibabel.load(mask).dataobj).copy()
    voxels[0, 0, 0, ANNOTATED[1]] = 9
    write(mask, voxels)
    with pytest.raises(InputError, match=r"p1_sa_gt\.nii\.gz holds the label 9"):
        before_training(records_of(cines), tmp_path / "kept", **rules)


def test_a_mask_of_another_number_of_frames_is_refused(cines):
    mask = cines / "masks" / "p2_sa_gt.nii.gz"
    write(mask, np.asarray(nibabel.load(mask).dataobj)[..., :3])
    said = r"p2_sa_gt\.nii\.gz has 3 frames, its image p2_sa\.nii\.gz 4: give a mask of as"
    with pytest.raises(InputError, match=said):
        records_of(cines)


def test_an_empty_mask_is_not_passed_over(cines):
    mask = cines / "masks" / "p3_sa_gt.nii.gz"
    write(mask, np.zeros((32, 28, 3, 4), np.uint8))
    records = [record for record in records_of(cines) if record.patient == "p3"]
    assert [record.frame for record in records] == [0, 1, 2, 3] and all(record.label for record in records)


def test_a_3d_scan_among_them_is_one_record(cines):
    image = np.asarray(nibabel.load(cines / "images" / "p0_sa.nii.gz").dataobj)[..., 0]
    write(cines / "images" / "p7.nii.gz", image)
    (record,) = (record for record in records_of(cines) if record.patient == "p7")
    assert (record.case, record.frame) == ("p7", None)


def test_the_bundle_trains_on_them_and_reports_each_frame(cines, tmp_path):
    settings = TINY | {
        "images": str(cines / "images"), "masks": str(cines / "masks"), "patient": "^(p[0-9])",
        "classes": ["background", "square"], "output_dir": str(tmp_path / "run"), "steps_per_epoch": 2,
    }  # fmt: skip
    flow = workflow(ROOT / "configs" / "own_scans.yaml", **settings)
    flow.initialize()
    flow.run()
    report = json.loads((tmp_path / "run" / "validation" / "report.json").read_text())
    (patient,) = json.loads((tmp_path / "run" / "split.json").read_text())["validation"]
    assert [case["case"] for case in report["cases"]] == [f"{patient}_sa_frame02", f"{patient}_sa_frame04"]
    assert {case["patient"] for case in report["cases"]} == {patient}
    cases = json.loads((tmp_path / "run" / "patients.json").read_text())
    assert cases == {f"p{number}_sa": f"p{number}" for number in range(7)}


def test_a_segmented_cine_is_compared_with_the_annotated_frames_of_a_cine(cines, tmp_path):
    """The prediction is the truth in frame 2, and half of it in frame 4; elsewhere nobody has drawn anything."""
    truth = np.asarray(nibabel.load(cines / "masks" / "p0_sa_gt.nii.gz").dataobj).copy()
    predicted = truth.copy()
    columns = np.flatnonzero(truth[..., ANNOTATED[1]].any((0, 2)))
    predicted[:, columns[: len(columns) // 2], :, ANNOTATED[1]] = 0
    predicted[:3, :3, :, 0] = 1
    for root, voxels, name in ((tmp_path / "pred", predicted, "p0_sa_seg"), (tmp_path / "truth", truth, "p0_sa_gt")):
        write(root / f"{name}.nii.gz", voxels)
    content = compare([tmp_path / "pred"], tmp_path / "truth", ["background", "square"])
    scores = {case["case"]: case["dice"]["square"] for case in content["cases"]}
    kept = predicted[..., ANNOTATED[1]].sum()
    half = 2 * kept / (kept + truth[..., ANNOTATED[1]].sum())
    assert scores == {"p0_sa_frame02": 1.0, "p0_sa_frame04": pytest.approx(half)}
    assert not content["missing"] and not content["failures"]
