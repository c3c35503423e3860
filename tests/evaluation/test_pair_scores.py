"""The scores of one prediction against its truth, by hand, on files as tools write them; and what is refused."""

import itertools
import json
import math
import re

import nibabel
import numpy as np
import pytest
from label_map_files import AFFINE, blobs, box, save, scored

from acdc_semicycle.evaluation import compare
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.evaluation.summaries import SCORES
from acdc_semicycle.runtime.errors import InputError


def test_scores_of_a_box_shifted_by_one_voxel_by_hand(tmp_path):
    row = scored(box((4, 3, 1)), box((3, 3, 1)), tmp_path)
    assert row["dice"]["x"] == pytest.approx(2 * 18 / 48)
    assert row["iou"]["x"] == pytest.approx(18 / 30)
    # of the 24 voxels of each, all of them surface, six lie one voxel (1.5 mm) off the other's
    assert (row["unit"], row["hd95"]["x"]) == ("mm", pytest.approx(1.5))
    assert row["assd"]["x"] == pytest.approx(1.5 * 6 / 24)
    assert row["volumes_ml"] == {side: {"x": pytest.approx(24 * 0.015)} for side in ("truth", "prediction")}


def test_the_truth_against_itself_is_perfect(tmp_path):
    row = scored(blobs(0), blobs(0), tmp_path, classes=("b", "x", "y"))
    assert set(row["dice"].values()) == set(row["iou"].values()) == {1}
    assert set(row["hd95"].values()) == set(row["assd"].values()) == {0}


def test_empty_structures_follow_nnunet(tmp_path):
    row = scored(box(label=1), box(label=2), tmp_path, classes=("b", "x", "y", "z"))
    assert row["dice"] == row["iou"] == {"mean": 0, "x": 0, "y": 0, "z": None}
    assert row["hd95"]["z"] is row["assd"]["z"] is None
    assert row["hd95"]["x"] == row["assd"]["y"] == pytest.approx(math.hypot(18, 12.5, 40))


def test_without_spacing_distances_are_in_voxels_and_volumes_are_withheld(tmp_path):
    save(tmp_path / "truth" / "a_ED_gt.nii.gz", box(), np.eye(4))
    save(tmp_path / "tool" / "a_ED.nii.gz", box((3, 4, 1)), np.eye(4))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    (row,) = content["cases"]
    assert (row["unit"], row["hd95"]["LV"], row["volumes_ml"], content["patients"]) == ("voxels", 1, None, [])
    assert content["notes"][0] == (
        "1 of 1 comparison is in voxels, without volumes or clinical indices, because the truth's spacing is"
        " 1 x 1 x 1 mm, as of files that have lost theirs"
    )
    assert "HD95, voxels" in table(content)


def test_a_sheared_grid_has_no_millimetres_either(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 0.4
    row = scored(box((4, 3, 1)), box(), tmp_path, affine)
    assert (row["unit"], row["withheld"]) == ("voxels", "its axes are not at right angles")


def test_what_nobody_annotated_does_not_count(tmp_path):
    truth, prediction = box(), box((3, 3, 1), (5, 3, 2))
    truth[7] = 255  # the prediction's surplus lies there
    row = scored(prediction, truth, tmp_path)
    assert (row["dice"]["x"], row["hd95"]["x"], row["assd"]["x"]) == (1, 0, 0)
    volume_ml = pytest.approx(4 * 3 * 2 * 1.5 * 1.25 * 8 / 1000)
    assert row["volumes_ml"] == {"truth": {"x": volume_ml}, "prediction": {"x": volume_ml}}


def test_48_storage_orders_of_the_prediction_have_the_same_scores(tmp_path):
    (tmp_path / "tool").mkdir()
    orders = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for n, (order, signs) in enumerate(orders):
        image = nibabel.Nifti1Image(blobs(1), AFFINE).as_reoriented(np.array(list(zip(order, signs, strict=True))))
        nibabel.save(image, tmp_path / "tool" / f"X{n:02d}.nii.gz")
        save(tmp_path / "truth" / f"X{n:02d}_gt.nii.gz", blobs(0))
    rows = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    scores = {json.dumps([row[score] for score in (*SCORES, "volumes_ml")]) for row in rows}
    assert len(rows) == 48 and len(scores) == 1 and 0 < rows[0]["dice"]["mean"] < 1


def test_a_label_map_is_the_same_in_every_container_and_type(tmp_path):
    for end, kind in itertools.product((".nii", ".nii.gz", ".nrrd", ".mha"), (np.uint8, np.int16, np.float32)):
        name = f"{end[1:].replace('.', '')}-{kind.__name__}"
        save(tmp_path / "tool" / f"{name}{end}", blobs(1).astype(kind))
        save(tmp_path / "truth" / f"{name}.nii.gz", blobs(0))
    rows = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    assert len(rows) == 12 and len({json.dumps([row[score] for score in SCORES]) for row in rows}) == 1


def test_a_scaled_file_is_read_as_the_labels_it_means(tmp_path):
    image = nibabel.Nifti1Image(blobs(0).astype(np.float32), AFFINE)
    image.set_data_dtype(np.int16)  # nibabel chooses a slope, and labels come back as 0.99999
    (tmp_path / "tool").mkdir()
    nibabel.save(image, tmp_path / "tool" / "X.nii.gz")
    save(tmp_path / "truth" / "X.nii.gz", blobs(0))
    assert not np.isin(nibabel.load(tmp_path / "tool" / "X.nii.gz").get_fdata(), (0, 1, 2)).all()
    (row,) = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    assert row["dice"]["mean"] == 1


def shifted(affine: np.ndarray, *mm: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += mm
    return moved


TURN = np.diag([0.0, 0, 1, 1])
TURN[:2, :2] = [[math.cos(0.1), -math.sin(0.1)], [math.sin(0.1), math.cos(0.1)]]
FAULTS = {
    "shape": (box(shape=(12, 10, 6)), AFFINE, r"12 x 10 x 6 voxels.*12 x 10 x 5 voxels"),
    "spacing": (box(), AFFINE @ np.diag([2, 1, 1, 1]), r"of 3 x 1.25 x 8 mm.*of 1.5 x 1.25 x 8 mm"),
    "lost": (box(), np.eye(4), r"of 1 x 1 x 1 mm.*of 1.5 x 1.25 x 8 mm"),
    "origin": (box(), shifted(AFFINE, 3, 4, 0), r"up to 5 mm off .*origin"),
    "turned": (box(), TURN @ AFFINE, r"up to 4\.\d+ mm off .*directions"),
    "slightly off": (box(), shifted(AFFINE, 0.3, 0, 0), r"up to 0\.3 mm off .*origin"),
    "hardly whole": (box() * 1.002, AFFINE, "not whole"),
    "half": (box() * 0.5, AFFINE, "not whole"),
    "negative": (-box().astype(np.int16), AFFINE, "label -1"),
    "strange": (box(label=7), AFFINE, "label 7: give names for more than 2"),
    "ignored": (box(label=255), AFFINE, "label 255"),
    "nan": (np.where(box() > 0, np.nan, 0).astype(np.float32), AFFINE, "NaN"),
    "cine": (np.stack([box()] * 3, 3), AFFINE, "3 frames"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_case_that_cannot_be_compared_is_one_line_and_the_others_are_scored(tmp_path, fault):
    labels, affine, words = FAULTS[fault]
    save(tmp_path / "tool" / "bad_seg.nii.gz", labels, affine)
    save(tmp_path / "tool" / "good_seg.nii.gz", box())
    for name in ("bad", "good"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])
    assert [row["case"] for row in content["cases"]] == ["good"]
    ((tool, case, reason),) = [tuple(failure.values()) for failure in content["failures"]]
    assert (tool, case) == ("tool", "bad") and "\n" not in reason
    assert re.search(words, reason), reason
    assert "failures: 1" in table(content)


@pytest.mark.parametrize("side", ["tool", "truth"])
def test_a_label_map_is_never_repaired(tmp_path, monkeypatch, side):
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    for folder in ("tool", "truth"):
        for name in "ab":
            save(tmp_path / folder / f"{name}.nii.gz", box())
    save(tmp_path / side / "a.nii.gz", np.where(box() > 0, 1, np.nan).astype(np.float32))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in content["cases"]] == ["b"] and content["classes"] == ["0", "1"]
    assert re.search(
        "holds 576 NaN or infinite voxels: repair it, or leave the case out$", content["failures"][0]["reason"]
    )


def test_rounding_of_a_header_is_no_other_grid(tmp_path):
    save(tmp_path / "truth" / "X.nii.gz", box())
    save(tmp_path / "tool" / "X.nii.gz", box(), shifted(AFFINE, 0.05, -0.05, 0.05))
    assert compare.compare([tmp_path / "tool"], tmp_path / "truth")["failures"] == []


def test_a_slice_of_another_thickness_is_another_grid(tmp_path):
    save(tmp_path / "truth" / "X.nii.gz", box(size=(4, 3, 1))[..., 1:2])
    save(tmp_path / "tool" / "X.nii.gz", box(size=(4, 3, 1))[..., 1:2], AFFINE @ np.diag([1, 1, 1.1, 1]))
    with pytest.raises(InputError, match=r"of 1\.5 x 1\.25 x 8\.8 mm, but .* of 1\.5 x 1\.25 x 8 mm"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])


def test_truncated_files_are_failures(tmp_path):
    for folder in ("tool", "truth"):
        for name in "abc":
            save(tmp_path / folder / f"{name}.nii.gz", box())
    for path in (tmp_path / "tool" / "a.nii.gz", tmp_path / "truth" / "b.nii.gz"):
        path.write_bytes(path.read_bytes()[:-20])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [failure["case"] for failure in content["failures"]] == ["a", "b"]
    assert [row["case"] for row in content["cases"]] == ["c"]
