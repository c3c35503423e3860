"""Scores of patients whom the network knows: marked in every file, and out of the means where others are there."""

import csv
import json
from pathlib import Path

import pytest
from label_map_files import box, save, sheet

from acdc_semicycle.evaluation import compare, evaluation_files, headline
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.manifests import Manifest

BAD, GOOD = box((5, 3, 1)), box()  # Dice 0.5 and 1


def evaluated(folder, parts: dict[str, str | None], tool="A", **about) -> dict:
    """A tool whose cases of seen patients are perfect and the others half so, with predictions.json."""
    cases = []
    for name, part in parts.items():
        save(folder / "truth" / f"{name}_gt.nii.gz", GOOD)
        save(folder / tool / f"{name}_seg.nii.gz", GOOD if part in ("labelled", "validation") else BAD)
        cases.append({"case": name, "mask": f"{name}_seg.nii.gz", "part": part})
    sheet(folder / tool, cases)
    path = folder / tool / "predictions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | about))
    return compare.compare([folder / tool], folder / "truth")


def test_the_means_are_of_new_patients_where_there_are_any(tmp_path):
    content = evaluated(tmp_path, {"a": "labelled", "b": "labelled", "c": "validation", "d": "test", "e": "new"})
    summary = content["summary"]["A"]
    assert (summary["dice"]["mean"], summary["volumes"], summary["parts"]) == (0.5, 2, ["test", "new"])
    by_part = {part: statistics["dice"]["mean"] for part, statistics in summary["by_part"].items()}
    assert by_part == {"labelled": 1, "validation": 1, "test": 0.5, "new": 0.5}
    assert content["warnings"] == []
    assert "A: 2 volumes of test and new patients\n" in table(content) and "\nDice, labelled " in table(content)
    assert (
        "the means leave out 3 of 5 cases, as the network knows their patients: 2 labelled (trained on with masks),"
        " 1 validation (may have chosen its epoch)"
    ) in content["notes"]


def test_a_line_warns_where_no_patient_is_new(tmp_path):
    content = evaluated(tmp_path, {"a": "labelled", "b": "validation"})
    assert content["summary"]["A"]["dice"]["mean"] == 1 and content["summary"]["A"]["volumes"] == 2
    [warning] = content["warnings"]
    assert warning.startswith("no patient is new to the network: of 2 cases 1 labelled (trained on with masks), 1 val")
    assert f"\nwarning: {warning}\n" in table(content) + "\n"


@pytest.mark.parametrize("parts", [{"a": "test"}, {"a": "new", "b": "new"}, {"a": None, "b": None}])
def test_new_patients_and_unknown_ones_need_no_line(tmp_path, parts):
    content = evaluated(tmp_path, parts)
    unknown = [note for note in content["notes"] if "whether it knows these patients cannot be told" in note]
    assert not content["warnings"] and bool(unknown) == (None in parts.values())
    assert not any("the network knows" in note for note in content["notes"])
    assert content["summary"]["A"]["volumes"] == len(parts)
    assert content["summary"]["A"]["by_part"] == {}


def test_two_tools_are_scored_on_the_same_cases(tmp_path):
    """The second tool has no manifest: its scores are of the patients who are new to the first one's network, too."""
    evaluated(tmp_path, {"a": "labelled", "b": "test"})
    for name in "ab":
        save(tmp_path / "B" / f"{name}.nii.gz", GOOD)
    content = compare.compare([tmp_path / "A", tmp_path / "B"], tmp_path / "truth")
    assert [content["summary"][tool]["volumes"] for tool in "AB"] == [1, 1]
    assert content["agreement"]["volumes"] == 1 and content["agreement"]["dice"]["mean"] == 0.5
    assert [row["part"] for row in content["agreement_cases"]] == ["labelled", "test"]


def test_every_file_has_the_part(tmp_path):
    content = evaluated(tmp_path, {"a_ED": "labelled", "a_ES": "labelled", "b_ED": "test", "b_ES": "test"})
    folder = evaluation_files.write(content, tmp_path / "A").parent

    def rows(name):
        with (folder / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    assert [row["part"] for row in rows("cases.csv")] == ["labelled", "labelled", "test", "test"]
    assert {row["patient"]: row["part"] for row in rows("patients.csv")} == {"a": "labelled", "b": "test"}
    means = {(row["phase"], row["part"]): row["mean"] for row in rows("summary.csv") if row["score"] == "dice"}
    assert (means["", ""], means["ED", ""], means["", "labelled"]) == ("0.500000", "0.500000", "1.000000")


def test_only_the_truths_of_the_part_that_was_asked_for_are_expected(tmp_path):
    for name in ("d", "lost", "c1", "c2"):
        save(tmp_path / "truth" / name / f"{name}_frame01_gt.nii.gz", GOOD)
        save(tmp_path / "truth" / "flat" / f"{name}_ED_gt.nii.gz", GOOD)
    save(tmp_path / "A" / "d" / "d_frame01_seg.nii.gz", GOOD)
    case = {"case": "d/d_frame01", "mask": "d/d_frame01_seg.nii.gz", "part": "test"}
    for cases in ([], ["d_frame01", "d_ED", "lost"]):  # with and without the patients.json of the training
        asked_for = {"parts": ["test"], "patients": ["d", "lost"], "cases": cases}
        (tmp_path / "A" / "predictions.json").write_text(
            json.dumps({"classes": ["background", "LV"], "cases": [case], "asked_for": asked_for})
        )
        content = compare.compare([tmp_path / "A"], tmp_path / "truth")
        missing = {entry["case"] for entry in content["missing"]}
        expected = {"flat/d_ED", "lost/lost_frame01", "flat/lost_ED"} - ({"flat/lost_ED"} if cases else set())
        assert missing == expected
        others = 8 - 1 - len(expected)
        note = f"A was asked for the test patients (--part): {others} truths of other patients left out"
        assert note in content["notes"]


def test_the_scores_name_the_post_processing(tmp_path):
    content = evaluated(tmp_path, {"a": "new"}, settings={"flips": True, "largest": True, "holes": False})
    words = (
        "the network's label maps with mean over mirror images (flips), largest component of each structure (largest)"
    )
    assert content["postprocessing"] == {"A": words} and f"A: scores of {words}" in table(content)
    content = evaluated(tmp_path, {"a": "new"}, settings={"largest": False})
    assert "A: scores of the network's label maps as they are" in table(content)


def test_failures_of_one_reason_are_one_line(tmp_path):
    """Masks of 0 and 255, and one of another fault."""
    for n in range(6):
        save(tmp_path / "truth" / f"a{n}_gt.nii.gz", GOOD)
        save(tmp_path / "A" / f"a{n}_seg.nii.gz", GOOD * (7 if n else 1))
    save(tmp_path / "truth" / "b_gt.nii.gz", box((1, 1, 1), shape=(6, 6, 4)))
    save(tmp_path / "A" / "b_seg.nii.gz", GOOD)
    lines = table(compare.compare([tmp_path / "A"], tmp_path / "truth", ["b", "x"])).splitlines()
    start = lines.index("failures: 6")
    assert (
        lines[start + 1]
        == "  a1, a2, a3 and 2 more: holds the label 7: give names for more than 2 classes, or correct it"
    )
    assert lines[start + 2].startswith(f"  b: {tmp_path}") and len(lines) == start + 3


def test_parts_that_count_are_those_of_new_patients_or_all():
    assert headline.counted_parts(["labelled", "test", None]) == [None, "test"]
    assert headline.counted_parts(["labelled", "validation"]) == ["labelled", "validation"]
    assert headline.warnings([]) == headline.notes([]) == []
    assert headline.notes(["labelled", "validation"]) == [], "all count, where none is new"


def test_of_several_tools_the_network_that_knows_most_of_a_patient_counts():
    """Whichever tool comes first."""
    rows = [{"case": "a", "part": "labelled"}, {"case": "b", "part": None}, {"case": "c", "part": "new"}]
    rows += [{"case": "a", "part": "new"}, {"case": "b", "part": "test"}, {"case": "c", "part": "validation"}]
    assert headline.parts_by_case(rows) == ["labelled", "test", "validation"]
    assert headline.parts_by_case(rows[::-1]) == ["validation", "test", "labelled"]


@pytest.mark.parametrize(("parts", "unknown"), [((None, None), True), ((None, "new"), False), (("new", "new"), False)])
def test_a_network_without_a_split_is_one_of_which_no_part_is_known(tmp_path, parts, unknown):
    cases = [{"case": str(number), "part": part} for number, part in enumerate(parts)]
    (tmp_path / "predictions.json").write_text(json.dumps({"cases": cases}))
    assert Manifest(tmp_path).parts_unknown == unknown


def test_a_truth_is_expected_by_its_patient_in_its_name_or_in_any_of_its_folders(tmp_path):
    asked_for = {"parts": ["test"], "patients": ["p1", "v_0000"], "cases": []}
    (tmp_path / "predictions.json").write_text(json.dumps({"cases": [], "asked_for": asked_for}))
    manifest = Manifest(tmp_path)

    def expects(folder: str, stem: str) -> bool:
        return manifest.expects(LabelMap(tmp_path / folder / f"{stem}_gt.nii.gz", Path(folder).parts, stem, "gt"))

    assert expects("p1/day1", "scan") and expects("site/p1", "scan") and expects("", "p1") and expects("", "p1_ED")
    assert expects("", "v") and not expects("p2", "scan") and not expects("", "p11")
