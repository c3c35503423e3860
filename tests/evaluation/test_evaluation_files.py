"""What an evaluation writes and prints."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from label_map_files import box, save

from acdc_semicycle.evaluation import compare
from acdc_semicycle.evaluation.evaluation_files import check_current, write
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.runtime import files
from acdc_semicycle.runtime.errors import InputError


def test_names_that_are_not_utf8_are_written_as_they_are(tmp_path):
    name = os.fsdecode(b"caf\xe9.nii.gz")
    for folder in ("tool", "truth"):
        save(tmp_path / "plain.nii.gz", box())
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "plain.nii.gz", tmp_path / folder / name)
    path = write(compare.compare([tmp_path / "tool"], tmp_path / "truth"), tmp_path / "out")
    assert b"\ntool,caf\xe9," in path.with_name("cases.csv").read_bytes()
    assert json.loads(path.read_text())["cases"][0]["case"] == os.fsdecode(b"caf\xe9")


def test_what_is_written_is_what_was_found(tmp_path, phantom_dir):
    shutil.copytree(phantom_dir / "training" / "patient001", tmp_path / "tool" / "patient001")
    wrong = tmp_path / "tool" / "patient001" / "patient001_frame10_gt.nii.gz"
    wrong.write_bytes(wrong.with_name("patient001_frame01_gt.nii.gz").read_bytes())
    content = compare.compare([tmp_path / "tool"], phantom_dir)
    path = write(content, tmp_path / "out")
    assert json.loads(path.read_text()) == content and path.name == "evaluation.json"
    rows = {
        name: list(csv.DictReader((path.parent / f"{name}.csv").open())) for name in ("cases", "summary", "patients")
    }
    assert [row["phase"] for row in rows["cases"]] == ["ED", "ES"]
    assert float(rows["cases"][1]["dice_LV"]) == pytest.approx(content["cases"][1]["dice"]["LV"], abs=1e-6)
    assert float(rows["cases"][1]["truth_LV_ml"]) < float(rows["cases"][1]["prediction_LV_ml"])
    (line,) = [row for row in rows["summary"] if (row["phase"], row["score"], row["structure"]) == ("ES", "hd95", "RV")]
    assert float(line["mean"]) == pytest.approx(content["cases"][1]["hd95"]["RV"], abs=1e-6)
    assert (line["unit"], line["n"]) == ("mm", "1")
    assert float(rows["patients"][0]["prediction_lv_ef_percent"]) == 0
    assert {written.name for written in path.parent.iterdir()} == {
        "evaluation.json",
        "cases.csv",
        "summary.csv",
        "patients.csv",
    }


def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "out" / "summary.csv"
    files.write_text(path, "old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    for fault in ("write", "flush"):
        with monkeypatch.context() as patched:
            if fault == "write":
                patched.setattr(Path, "write_bytes", full_disk)
            else:
                patched.setattr(os, "fsync", full_disk)
            with pytest.raises(InputError, match=r"summary\.csv cannot be written \(No space left on device\): make"):
                files.write_text(path, "new")
        assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("summary.csv", "old")]
    with pytest.raises(InputError, match=r"summary\.csv.x cannot be written"):
        files.write_text(path / "x", "below a file")


def test_the_table_shows_what_the_summary_says(tmp_path):
    for name, start in (("a_ED", (3, 3, 1)), ("b_ES", (4, 3, 1))):
        save(tmp_path / "truth" / f"{name}.nii.gz", box())
        save(tmp_path / "tool" / f"{name}.nii.gz", box(start))
    lines = table(compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x", "y"])).splitlines()
    numbers = {line[:22].strip(): line[22:].split() for line in lines[1:7]}
    assert numbers == {
        "": ["mean", "x", "y", "n"],
        "Dice": ["0.875", "0.875", "-", "2"],
        "Dice, ED": ["1.000", "1.000", "-", "1"],
        "Dice, ES": ["0.750", "0.750", "-", "1"],
        "IoU": ["0.800", "0.800", "-", "2"],
        "HD95, mm": ["0.75", "0.75", "-", "2"],
    }


def test_label_maps_that_changed_since_are_no_longer_those_that_were_evaluated(tmp_path):
    save(tmp_path / "tool" / "X.nii.gz", box())
    save(tmp_path / "truth" / "X_gt.nii.gz", box((4, 3, 1)))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    check_current(tmp_path / "tool", content)
    save(tmp_path / "tool" / "X.nii.gz", box(size=(4, 3, 1)))
    with pytest.raises(InputError, match=r"X\.nii\.gz has changed since it was evaluated"):
        check_current(tmp_path / "tool", content)


def test_results_go_neither_among_the_truths_nor_over_a_users_file(tmp_path):
    save(tmp_path / "truth" / "X_gt.nii.gz", box())
    save(tmp_path / "tool" / "X.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    for truth in (tmp_path / "truth", tmp_path / "tool" / ".." / "truth"):
        with pytest.raises(InputError, match="is the folder of the truth: give another folder for the results with -o"):
            write(content, truth)
    for name in ("evaluation.json", "cases.csv", "summary.csv", "patients.csv"):
        path = tmp_path / name / name
        path.parent.mkdir()
        path.write_text('{"cases": ["mine"]}')
        with pytest.raises(
            InputError, match=f"{name} is there and is not of this program, or damaged: give another folder"
        ):
            write(content, path.parent)
        assert [path.read_text()] == [file.read_text() for file in path.parent.iterdir()] == ['{"cases": ["mine"]}']
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["X_gt.nii.gz"]
    write(content, tmp_path / "new")
    write(content, tmp_path / "new")  # its own it may replace
