"""Means over cases and clinical indices of patients, by hand."""

import math

import numpy as np
import pytest
from label_map_files import AFFINE, box, save

from acdc_semicycle.evaluation import compare, summaries
from acdc_semicycle.evaluation.means import mean_and_std


def test_mean_and_standard_deviation_by_hand():
    assert mean_and_std([1.0, math.nan, 3.0]) == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert mean_and_std([0.5, math.nan]) == (0.5, 0.0, 1)
    mean, std, number = mean_and_std([math.nan, math.nan])
    assert math.isnan(mean) and math.isnan(std) and number == 0
    assert mean_and_std([])[2] == 0


def test_indices_of_a_prediction_are_its_own(tmp_path):
    ed = box((2, 2, 1), (6, 4, 2), 3) + box((2, 7, 1), (2, 2, 2), 2)
    es = box((2, 2, 1), (3, 4, 2), 3)
    ml = 0.015 * 27
    affine = AFFINE @ np.diag([3, 3, 3, 1])  # the ventricle of a child, not of a mouse
    for side, systole in (("truth", es), ("tool", ed)):
        save(tmp_path / side / "p_frame01.nii.gz", ed, affine)
        save(tmp_path / side / "p_frame07.nii.gz", systole, affine)
        (tmp_path / side / "Info.cfg").write_text("ED: 1\nES: 7\n")
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    (row,) = content["patients"]
    assert row["patient"] == "p"
    assert row["truth"]["lv_edv_ml"] == pytest.approx(48 * ml) and row["truth"]["lv_ef_percent"] == pytest.approx(50)
    assert row["prediction"]["lv_ef_percent"] == 0 and row["truth"]["rv_ef_percent"] is None
    assert row["truth"]["myo_mass_g"] == pytest.approx(8 * ml * 1.05)


def test_a_patient_without_both_phases_has_no_indices_and_a_note_says_so(tmp_path):
    for side in ("truth", "tool"):
        save(tmp_path / side / "p1_ED.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    assert content["patients"] == [] and any("e.g. p1" in note for note in content["notes"])


def scored_at_two_sites(root, *names):
    """The content of an evaluation of label maps that are right, each of another size."""
    for number, name in enumerate(names):
        for side in ("truth", "tool"):
            save(root / side / f"{name}.nii.gz", box((2, 2, 1), (6 - number, 4, 2)), AFFINE @ np.diag([3, 3, 3, 1]))
    return compare.compare([root / "tool"], root / "truth", ["b", "LV"])


def test_two_patients_of_one_name_are_not_mixed_into_indices(tmp_path):
    content = scored_at_two_sites(tmp_path / "a", "siteA/001_ED", "siteB/001_ED", "siteB/001_ES")
    assert [row["patient"] for row in content["cases"]] == ["siteA/001", "siteB/001", "siteB/001"]
    (row,) = content["patients"]
    assert row["patient"] == "siteB/001" and row["truth"]["lv_ef_percent"] == pytest.approx(20)
    content = scored_at_two_sites(tmp_path / "b", "siteA/001_ED", "siteB/001_ES")
    assert content["patients"] == [] and "of 2 patients without one ED and one ES" in content["notes"][-1]


def test_single_slices_have_scores_in_mm_but_no_volumes(tmp_path):
    for side in ("truth", "tool"):
        for phase in ("ED", "ES"):
            save(tmp_path / side / f"p_{phase}.nii.gz", box()[:, :, 1:2])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    assert content["patients"] == [] and {row["unit"] for row in content["cases"]} == {"mm"}
    assert [row["volumes_ml"] for row in content["cases"]] == [None, None]
    words = "2 of 2 comparisons are without volumes or clinical indices: a single slice is no volume"
    assert any(note.startswith(words) for note in content["notes"])


def test_ed_and_es_of_two_folders_make_no_indices_whatever_predictions_json_calls_them():
    about = {"tool": "t", "patient": "001", "volumes_ml": {side: {"LV": 50.0} for side in summaries.SIDES}}
    rows = [about | {"phase": phase, "truth": f"{site}/001_{phase}.nii"} for phase, site in (("ED", "A"), ("ES", "B"))]
    note = "no clinical indices of 1 patient whose ED and ES lie in two folders, as they may be two patients', e.g. 001"
    assert summaries.patient_indices(rows, ["LV"]) == ([], [note])


@pytest.mark.parametrize("phases", [["ED", "ES", "ES"], ["ED", "ED", "ES"], ["ES"]])
def test_a_patient_has_indices_of_one_volume_of_each_phase_alone(phases):
    volumes_ml = {side: {"LV": 2.0} for side in summaries.SIDES}
    about = {"tool": "t", "patient": "p", "truth": "truth/a.nii.gz", "volumes_ml": volumes_ml}
    rows = [about | {"phase": phase} for phase in phases]
    note = "no clinical indices of 1 patient without one ED and one ES, e.g. p"
    assert summaries.patient_indices(rows, ["LV"]) == ([], [note])


def test_means_leave_out_only_what_neither_has_and_say_how_many_they_are_of(tmp_path):
    truths = {"a": box(label=1), "b": box(label=1), "c": box(label=1)}
    predictions = {"a": box(label=1), "b": box((4, 3, 1)), "c": box(label=2)}
    for name in truths:
        save(tmp_path / "truth" / f"{name}.nii.gz", truths[name])
        save(tmp_path / "tool" / f"{name}.nii.gz", predictions[name])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x", "y", "z"])["summary"]["tool"]
    assert content["dice"]["x"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert content["dice_std"]["x"] == pytest.approx(np.std([1, 0.75, 0], ddof=1))
    assert (content["dice"]["y"], content["dice"]["z"]) == (0, None)
    assert content["dice"]["mean"] == pytest.approx((1.75 / 3 + 0) / 2)
    assert content["dice_n"] == content["hd95_n"] == {"mean": 3, "x": 3, "y": 1, "z": 0}
    assert content["hd95"]["x"] == pytest.approx((0 + 1.5 + math.hypot(18, 12.5, 40)) / 3)


def test_millimetres_and_voxels_are_not_mixed_in_a_mean(tmp_path):
    for name, affine in (("a", AFFINE), ("b", np.eye(4))):
        save(tmp_path / "truth" / f"{name}.nii.gz", box(), affine)
        save(tmp_path / "tool" / f"{name}.nii.gz", box((4, 3, 1)), affine)
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    summary = content["summary"]["tool"]
    assert (summary["unit"], summary["hd95"]["1"], summary["hd95_n"]["1"], summary["dice_n"]["1"]) == ("mm", 1.5, 1, 2)
    assert "means of distances are over the cases in mm only" in content["notes"]
