"""Whole evaluations: of one tool, of two, with and without a truth and names of classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from label_map_files import box, save, sheet

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import compare
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.evaluation.summaries import SCORES
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError


def test_a_path_that_is_not_there_is_named_before_predictions_are_counted(tmp_path):
    save(tmp_path / "A" / "a.nii.gz", box())
    for predictions, truth in (([tmp_path / "B"], None), ([tmp_path / "A"], tmp_path / "B")):
        with pytest.raises(InputError, match=rf"{tmp_path}/B is not there"):
            compare.compare(predictions, truth)


def test_one_folder_is_not_two_tools(tmp_path):
    save(tmp_path / "A" / "a.nii.gz", box())
    with pytest.raises(InputError, match=r"A is given as both tools"):
        compare.compare([tmp_path / "A", tmp_path / "A" / ".." / "A"], None)


def test_the_phantoms_truth_against_itself_in_acdcs_layout(phantom_dir):
    content = compare.compare([phantom_dir], phantom_dir)
    assert content["structures"] == ["RV", "MYO", "LV"] and len(content["cases"]) == 16
    summary = content["summary"]["phantom"]
    assert {summary[score]["mean"] for score in SCORES} == {0, 1}
    assert {phase: part["volumes"] for phase, part in summary["by_phase"].items()} == {"ED": 8, "ES": 8}
    assert summary["dice_n"] == {"mean": 16, "RV": 16, "MYO": 16, "LV": 16}
    assert len(content["patients"]) == 8 and not (content["missing"] or content["failures"])
    (note,) = content["notes"]
    assert note.startswith("scored against itself: 16 label maps, e.g. ")
    assert all(Path(row["image"]).name == Path(row["truth"]).name.replace("_gt", "") for row in content["cases"])
    assert {(row["case"].split("_")[-1], row["phase"]) for row in content["cases"]} == {
        ("frame01", "ED"),
        ("frame10", "ES"),
    }
    for row in content["patients"]:
        assert row["truth"] == row["prediction"] and 20 < row["truth"]["lv_ef_percent"] < 85


def test_two_tools_are_scored_and_held_against_each_other(tmp_path):
    for name in ("a_ED", "b_ED"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
        save(tmp_path / "A" / "deep" / f"{name}_seg.nii.gz", box((4, 3, 1)))
    save(tmp_path / "B" / "a_ED.nii.gz", box((5, 3, 1)))
    content = compare.compare([tmp_path / "A", tmp_path / "B"], tmp_path / "truth", ["b", "x"])
    assert [(row["tool"], row["case"]) for row in content["cases"]] == [
        ("A", "deep/a_ED"), ("A", "deep/b_ED"), ("B", "deep/a_ED"),
    ]  # fmt: skip
    assert content["summary"]["A"]["dice"]["x"] == pytest.approx(0.75)
    assert content["summary"]["B"]["dice"]["x"] == pytest.approx(0.5)
    assert (content["agreement"]["dice"]["x"], content["agreement"]["volumes"]) == (pytest.approx(0.75), 1)
    assert [(entry["tool"], entry["case"]) for entry in content["missing"]] == [("B", "b_ED")]
    assert "B against A: 1 volume\n" in table(content) and "B: 1 truth without a prediction, e.g. " in table(content)


def test_two_tools_need_no_truth(tmp_path):
    for name in ("a_ED", "b_ES"):
        save(tmp_path / "A" / f"{name}_seg.nii.gz", box())
        save(tmp_path / "B" / f"{name}.nii.gz", box((4, 3, 1)))
    content = compare.compare([tmp_path / "A", tmp_path / "B"], None, ["b", "x"])
    assert (content["truth"], content["cases"], content["summary"], content["patients"]) == (None, [], {}, [])
    assert content["agreement"]["dice"]["x"] == pytest.approx(0.75)
    assert [(row["tool"], row["case"], row["phase"]) for row in content["agreement_cases"]] == [
        ("B against A", "a_ED", "ED"),
        ("B against A", "b_ES", "ES"),
    ]
    with pytest.raises(InputError, match="is given without --truth"):
        compare.compare([tmp_path / "A"], None)


def test_tools_of_other_classes_are_not_compared_by_their_labels(tmp_path):
    for tool, classes in (("A", ["b", "LV"]), ("B", ["b", "RV"])):
        save(tmp_path / tool / "a.nii.gz", box())
        sheet(tmp_path / tool, [{"case": "a", "mask": "a.nii.gz"}], classes)
    with pytest.raises(InputError, match=r"LV.*RV"):
        compare.compare([tmp_path / "A", tmp_path / "B"], None)


def test_structures_without_names_are_called_by_their_labels(tmp_path):
    save(tmp_path / "truth" / "a.nii.gz", box(label=4))
    save(tmp_path / "tool" / "a.nii.gz", box(label=4))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert content["structures"] == ["1", "2", "3", "4"] and content["cases"][0]["dice"]["4"] == 1
    assert any("no class names" in note for note in content["notes"])


def test_what_nobody_annotated_is_no_structure(tmp_path):
    truth = box(label=2)
    truth[0] = 255
    save(tmp_path / "truth" / "a.nii.gz", truth)
    save(tmp_path / "tool" / "a.nii.gz", box(label=2))
    assert compare.compare([tmp_path / "tool"], tmp_path / "truth")["structures"] == ["1", "2"]


@pytest.mark.slow
def test_real_masks_against_themselves_and_shifted_by_a_voxel(acdc_dir, tmp_path):
    folders = sorted(path.parent for path in acdc_dir.glob("**/patient*/Info.cfg"))[:2]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "truth" / folder.name)
        for path in folder.glob("*_gt.nii*"):
            volume = volumes.read(path)
            shifted = np.roll(volume.voxels[..., 0], 1, axis=0).astype(np.uint8)
            target = tmp_path / "tool" / path.name.replace("_gt", "").removesuffix(".gz")
            volumes.save(target.with_suffix(".nii.gz"), shifted, volume)
    itself = compare.compare([tmp_path / "truth"], tmp_path / "truth")["summary"]["truth"]
    assert itself["volumes"] == 4 and {itself[score]["mean"] for score in SCORES} == {0, 1}
    moved = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert moved["structures"] == list(acdc.CLASSES[1:]) and moved["failures"] == []
    for row in moved["cases"]:
        mask = volumes.read(row["truth"])
        step = 1 if row["unit"] == "voxels" else mask.spacing_mm[0]
        assert 0.7 < row["dice"]["MYO"] < row["dice"]["LV"] < 1
        assert row["hd95"]["LV"] == pytest.approx(step, rel=1e-5) and 0 < row["assd"]["LV"] < step
        truth = mask.voxels[..., 0] == 3
        expected = 2 * (truth & np.roll(truth, 1, axis=0)).sum() / (2 * truth.sum())
        assert row["dice"]["LV"] == pytest.approx(expected)


def test_nothing_is_made_of_pairs_none_of_which_can_be_compared(tmp_path):
    save(tmp_path / "tool" / "X.nii.gz", box())
    save(tmp_path / "truth" / "X_gt.nii.gz", box(shape=(12, 10, 6)))
    with pytest.raises(InputError, match=r"nothing could be compared: .*10 x 6 voxels"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))


@pytest.mark.parametrize(("order", "noted"), [([0, 3, 2, 1], True), ([0, 1, 2, 3], False), ([0, 2, 3, 1], True)])
def test_labels_in_another_order_are_a_note(tmp_path, order, noted):
    truth = box((1, 1, 1), (2, 2, 3), 1) + box((4, 1, 1), (3, 3, 3), 2) + box((8, 5, 1), (2, 3, 3), 3)
    save(tmp_path / "truth" / "a.nii.gz", truth)
    save(tmp_path / "tool" / "a.nii.gz", np.array(order, np.uint8)[truth])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["background", "RV", "MYO", "LV"])
    notes = [note for note in content["notes"] if "another order" in note]
    assert len(notes) == noted
    if order == [0, 3, 2, 1]:
        assert notes[0].startswith(
            "tool may number the structures in another order: the truth's RV is labelled LV (Dice"
        )
        assert "; the truth's LV is labelled RV (Dice 1.00, as LV 0.00)" in notes[0]
        assert notes[0].endswith("expected 1 RV, 2 MYO, 3 LV in both")


def test_a_bad_prediction_is_no_other_order(tmp_path):
    save(tmp_path / "truth" / "a.nii.gz", box(label=1) + box((8, 5, 1), (2, 3, 3), 2))
    save(tmp_path / "tool" / "a.nii.gz", box((3, 3, 1), (2, 2, 1), label=2))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["background", "x", "y"])
    assert not any("another order" in note for note in content["notes"])
