"""Which prediction is held against which truth, by names, folders and predictions.json."""

from pathlib import Path

import numpy as np
import pytest
from label_map_files import AFFINE, box, save, sheet

from acdc_semicycle.evaluation import compare
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.runtime.errors import InputError


def cases(tool: Path, truth: Path) -> dict[str, tuple[str, str]]:
    content = compare.compare([tool], truth)
    assert content["failures"] == [] and content["missing"] == []
    relative = {row["case"]: (Path(row["prediction"]), Path(row["truth"])) for row in content["cases"]}
    return {case: (str(p.relative_to(tool)), str(t.relative_to(truth))) for case, (p, t) in relative.items()}


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        ("a_seg.nii.gz", "a_gt.nii.gz"),
        ("a.nii", "a_mask.nrrd"),
        ("a_pred.mha", "a.nii.gz"),
        ("a_prediction.nii.gz", "a_label.nii.gz"),
        ("a_0000_seg.nii.gz", "a.nii.gz"),
        ("a_0000.nii.gz", "a_GT.nii.gz"),
        ("a_segmentation.NII.GZ", "sub/folder/a_labels.nii.gz"),
        ("x/a_mask.nii.gz", "y/a_gt.nii.gz"),
        ("a_seg.nii.gz", "a.seg.nrrd"),
        ("a.seg.nrrd", "a-gt.nrrd"),
        ("a_seg.nii.gz", "a-label.nrrd"),
        ("a-pred.nrrd", "a_Segmentation.seg.nrrd"),
    ],
)
def test_names_belong_together_whoever_made_them(tmp_path, prediction, truth):
    for name in "ab":
        here, there = (Path(path).with_name(Path(path).name.replace("a", name, 1)) for path in (prediction, truth))
        save(tmp_path / "tool" / here, box())
        save(tmp_path / "truth" / there, box())
        if "gt" in truth.lower() or truth.endswith(".nrrd"):
            save(tmp_path / "truth" / there.with_name(f"{name}.nii.gz"), box() * 100)  # the image
    pairs = cases(tmp_path / "tool", tmp_path / "truth")
    assert ((prediction, truth) in pairs.values()) and len(pairs) == 2


def test_linked_folders_are_searched_like_any_other_and_hidden_ones_are_not(tmp_path):
    for side in ("tool", "truth"):
        for name in ("a.nii.gz", ".hidden/c.nii.gz"):
            save(tmp_path / side / name, box())
        save(tmp_path / f"store_{side}" / "b.nii.gz", box())
        (tmp_path / side / "linked").symlink_to(tmp_path / f"store_{side}")
        (tmp_path / side / "up").symlink_to(tmp_path)
    pairs = cases(tmp_path / "tool", tmp_path / "truth")
    assert sorted(pairs.values()) == [("a.nii.gz",) * 2, ("linked/b.nii.gz",) * 2]


def test_images_beside_predictions_and_other_sorts_of_masks_are_left_alone(tmp_path):
    for name in "ab":
        for folder in ("tool", "truth"):
            for kind in ("", "_gt", "_seg", "_pred"):
                save(tmp_path / folder / f"{name}{kind}.nii.gz", box() * (100 if kind == "" else 1))
    assert cases(tmp_path / "tool", tmp_path / "truth") == {n: (f"{n}_pred.nii.gz", f"{n}_gt.nii.gz") for n in "ab"}
    assert cases(tmp_path / "tool", tmp_path / "tool") == {n: (f"{n}_pred.nii.gz", f"{n}_gt.nii.gz") for n in "ab"}


def test_second_label_maps_of_a_case_are_named(tmp_path):
    for name in ("X_pred", "X_seg", "Y_seg", "X_1_prob"):
        save(tmp_path / "tool" / f"{name}.nii.gz", box())
    for name in ("X_gt", "Y_gt", "Y_mask", "Y_seg"):
        save(tmp_path / "truth" / f"{name}.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    assert [Path(row["prediction"]).name for row in content["cases"]] == ["X_pred.nii.gz", "Y_seg.nii.gz"]
    assert [note for note in content["notes"] if note.startswith("not compared")] == [
        f"not compared: 1 label map of {tmp_path}/{name}: another of its name is compared"
        for name in (f"tool, e.g. {tmp_path}/tool/X_seg.nii.gz", f"truth, e.g. {tmp_path}/truth/Y_mask.nii.gz")
    ]
    sheet(tmp_path / "tool", [{"case": "Y", "mask": "Y_seg.nii.gz"}])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    assert [row["case"] for row in content["cases"]] == ["Y"]
    words = f"2 label maps of {tmp_path}/tool, e.g. {tmp_path}/tool/X_pred.nii.gz: predictions.json does not list it"
    assert f"not compared: {words}" in table(content)


def test_nnunets_dataset_is_understood_by_its_root_and_by_its_labels(tmp_path):
    for n in range(2):
        save(tmp_path / "set" / "imagesTr" / f"c{n}_0000.nii.gz", box() * 100)
        save(tmp_path / "set" / "labelsTr" / f"c{n}.nii.gz", box())
        save(tmp_path / "tool" / f"c{n}.nii.gz", box())
    for truth in (tmp_path / "set", tmp_path / "set" / "labelsTr"):
        rows = compare.compare([tmp_path / "tool"], truth)["cases"]
        assert [(row["case"], Path(row["image"]).name) for row in rows] == [
            ("c0", "c0_0000.nii.gz"),
            ("c1", "c1_0000.nii.gz"),
        ]


def test_paths_relative_to_the_working_directory_are_understood(tmp_path, monkeypatch):
    scan = save(tmp_path / "imagesTr" / "X_0000.nii.gz", box() * 100)
    save(tmp_path / "labelsTr" / "X.nii.gz", box())
    save(tmp_path / "labelsTr" / "mine" / "X_seg.nii.gz", box())
    monkeypatch.chdir(tmp_path / "labelsTr")
    for prediction, truth in (("mine/X_seg.nii.gz", "X.nii.gz"), ("mine", ".")):
        (row,) = compare.compare([Path(prediction)], Path(truth))["cases"]
        assert (row["dice"]["mean"], row["image"]) == (1, str(scan))


def test_names_that_are_there_twice_are_told_apart_by_their_folders(tmp_path):
    for patient in ("p1", "p2"):
        for phase in ("ED", "ES"):
            save(tmp_path / "truth" / "training" / patient / f"{phase}_gt.nii.gz", box())
            save(tmp_path / "tool" / patient / f"{phase}_seg.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    assert [(row["case"], row["phase"]) for row in content["cases"]] == [
        ("p1/ED", "ED"), ("p1/ES", "ES"), ("p2/ED", "ED"), ("p2/ES", "ES"),
    ]  # fmt: skip
    assert all(Path(row["prediction"]).parent.name == Path(row["truth"]).parent.name for row in content["cases"])
    assert len(content["patients"]) == 2 and not content["missing"]


def test_what_could_belong_to_two_is_refused_by_name(tmp_path):
    for patient in ("p1", "p2"):
        save(tmp_path / "truth" / patient / "frame01_gt.nii.gz", box())
    save(tmp_path / "truth" / "clear_gt.nii.gz", box())
    save(tmp_path / "tool" / "frame01.nii.gz", box())
    save(tmp_path / "tool" / "clear.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in content["cases"]] == ["clear"]
    (failure,) = content["failures"]
    assert failure["case"] == "frame01" and "p1" in failure["reason"] and "p2" in failure["reason"]


def test_another_patients_file_of_the_same_name_is_no_partner(tmp_path):
    for patient in ("p1", "p2"):
        save(tmp_path / "tool" / patient / "ED.nii.gz", box())
    save(tmp_path / "truth" / "p1" / "ED_gt.nii.gz", box())
    save(tmp_path / "truth" / "p3" / "ED_gt.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in content["cases"]] == ["p1/ED"]
    assert sorted(entry["case"] for entry in content["missing"]) == ["p2/ED", "p3/ED"]


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("X_gt.nii.gz", "X_gt.nrrd"):
        save(tmp_path / "truth" / name, box())
    save(tmp_path / "tool" / "X.nii.gz", box())
    with pytest.raises(InputError, match=r"X_gt.nii.gz and .*X_gt.nrrd have the same name"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_what_is_missing_is_listed_on_both_sides_and_summed_up_in_the_table(tmp_path):
    for name in "abxyz":
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
    for name in "bc":
        save(tmp_path / "tool" / f"{name}.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    reasons = {entry["case"]: entry["reason"] for entry in content["missing"]}
    assert reasons.keys() == set("acxyz")
    assert reasons["a"].endswith("has no prediction") and reasons["c"].endswith("has no truth")
    assert table(content).splitlines()[-3:-1] == [
        f"1 prediction without a truth, e.g. {tmp_path / 'tool' / 'c.nii.gz'}",
        f"4 truths without a prediction, e.g. {tmp_path / 'truth' / 'a_gt.nii.gz'}",
    ]


def test_no_pair_at_all_is_an_error_that_shows_one_of_each(tmp_path):
    save(tmp_path / "truth" / "heart_1_gt.nii.gz", box())
    save(tmp_path / "tool" / "case1_seg.nii.gz", box())
    with pytest.raises(InputError, match=r"case1_seg.nii.gz and heart_1_gt.nii.gz: .* case1 and heart_1"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_two_files_belong_together_whatever_their_names(tmp_path):
    prediction, truth = save(tmp_path / "mine.nii.gz", box()), save(tmp_path / "doctor_seg.nrrd", box())
    (row,) = compare.compare([prediction], truth)["cases"]
    assert row["dice"]["mean"] == 1


def test_folders_without_label_maps_say_so(tmp_path):
    save(tmp_path / "truth" / "a.nii.gz", box())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for folder, words in (
        ("pictures", r"a\.png is a picture, and \S*a\.nii\.gz a volume"),
        ("empty", "no label map"),
        ("no", "not there"),
    ):
        with pytest.raises(InputError, match=words):
            compare.compare([tmp_path / folder], tmp_path / "truth")
        with pytest.raises(InputError, match=words):
            compare.compare([tmp_path / "truth"], tmp_path / folder)


def test_predictions_inside_the_folder_of_truths_are_no_truths(tmp_path):
    for name in "ab":
        save(tmp_path / "data" / f"{name}.nii.gz", box())
        save(tmp_path / "data" / "out" / f"{name}.nii.gz", box())
    assert cases(tmp_path / "data" / "out", tmp_path / "data").keys() == {"a", "b"}


def test_frames_of_a_predicted_cine_are_held_against_their_truths(tmp_path):
    cine = np.stack([box((n, 3, 1)) for n in range(4)], 3)
    save(tmp_path / "tool" / "p1_4d_seg.nii.gz", cine)
    for n in (1, 3):
        save(tmp_path / "truth" / "p1" / f"p1_frame{n:02d}_gt.nii.gz", cine[..., n - 1])
    (tmp_path / "truth" / "p1" / "Info.cfg").write_text("ED: 1\nES: 3\n")
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])
    assert [(row["case"], row["phase"], row["dice"]["x"]) for row in content["cases"]] == [
        ("p1_frame01", "ED", 1),
        ("p1_frame03", "ES", 1),
    ]
    assert content["missing"] == content["failures"] == []


def test_a_frame_0_is_none_of_a_cine_counted_from_1(tmp_path):
    """It is not the last one."""
    cine = np.stack([box((n, 3, 1)) for n in range(4)], 3)
    save(tmp_path / "tool" / "p1_seg.nii.gz", cine)
    for n in (0, 1):
        save(tmp_path / "truth" / f"p1_frame{n:02d}_gt.nii.gz", cine[..., 3])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])
    assert [row["case"] for row in content["cases"]] == ["p1_frame01"]
    (failure,) = content["failures"]
    assert failure["case"] == "p1_frame00" and "has 4 frames, none of them is that of" in failure["reason"]


def test_predictions_json_gives_names_phases_patients_and_classes(tmp_path):
    affine = AFFINE @ np.diag([4, 4, 4, 1])  # of more than 10 ml
    for name in ("a", "b"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box(), affine)
        save(tmp_path / "tool" / "in" / f"{name}_seg.nii.gz", box(), affine)
    save(tmp_path / "tool" / "in" / "old_seg.nii.gz", box())  # of an earlier run
    scan = save(tmp_path / "scans" / "a.nii.gz", box())
    entry = {"patient": "anna", "scan": str(scan)}
    entries = [
        entry | {"case": f"in/{name}", "mask": f"in/{name}_seg.nii.gz", "phase": phase}
        for name, phase in (("a", "ED"), ("b", "ES"))
    ]
    sheet(tmp_path / "tool", entries)
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert content["classes"] == ["background", "LV"] and content["missing"] == []
    assert [(row["case"], row["patient"], row["phase"]) for row in content["cases"]] == [
        ("in/a", "anna", "ED"),
        ("in/b", "anna", "ES"),
    ]
    assert content["cases"][0]["image"] == str(scan)
    assert content["patients"][0]["truth"]["lv_ef_percent"] == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": [{}]}', '{"cases": [], "classes": []}'])
def test_a_broken_predictions_json_is_named(tmp_path, text):
    save(tmp_path / "truth" / "a_gt.nii.gz", box())
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "predictions.json").write_text(text)
    with pytest.raises(InputError, match=r"predictions.json"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_a_predicted_picture_is_refused_where_the_truth_is_a_volume(tmp_path):
    save(tmp_path / "truth" / "a_gt.nii.gz", box())
    (tmp_path / "tool").mkdir()
    sheet(tmp_path / "tool", [{"case": "a", "mask": "a_seg.png"}])
    with pytest.raises(InputError, match=r"a_seg.png is a picture, and \S*a_gt.nii.gz a volume"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_predictions_json_says_which_frame_of_a_cine_is_which_phase(tmp_path):
    cine = np.stack([box((n, 3, 1)) for n in range(4)], 3)
    save(tmp_path / "tool" / "p1_seg.nii.gz", cine)
    for n in (1, 2, 3):  # without an Info.cfg
        save(tmp_path / "truth" / f"p1_frame{n:02d}_gt.nii.gz", cine[..., n - 1])
    entry = {"case": "p1", "mask": "p1_seg.nii.gz", "patient": "p1", "phase": None, "phases": {"ED": 0, "ES": 2}}
    sheet(tmp_path / "tool", [entry])
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["phase"] for row in content["cases"]] == ["ED", None, "ES"]
