"""Runs side by side: what is printed and written, what differences mean, what is refused."""

import csv
import json
import re
import sys

import numpy as np
import pytest
from processes import run as run_python
from run_folders import write_events, write_report, write_run
from scipy import stats

from acdc_semicycle import cli
from acdc_semicycle.report import comparison
from acdc_semicycle.report.comparison_table import WIDTH, columns
from acdc_semicycle.runtime.errors import InputError

FIRST = {"p1": 0.60, "p2": 0.70, "p3": 0.80, "p4": 0.58}
SECOND = {"p1": 0.65, "p2": 0.72, "p3": 0.79, "p4": 0.68}
FILES = ["comparison.csv", "comparison.html", "comparison.json"]


def compare(out, *runs):
    """The printed text, the content of comparison.json and the page."""
    text, _ = comparison.compare(list(runs), out)
    page = (out / "comparison.html").read_text(encoding="utf-8")
    return text, json.loads((out / "comparison.json").read_text()), page


@pytest.fixture
def two(tmp_path):
    first = write_run(tmp_path / "first", FIRST)
    second = write_run(tmp_path / "second", SECOND, {"learning_rate": 0.01})
    write_events(second, 0, {1: 60, 2: 120, 3: 180})
    return first, second


def test_the_difference_is_paired_by_patient_with_students_interval(two, tmp_path):
    text, content, page = compare(tmp_path / "out", *two)
    gains = np.array(list(SECOND.values())) - np.array(list(FIRST.values()))
    low, high = stats.t.interval(0.95, 3, gains.mean(), stats.sem(gains))
    first, second = content["runs"]
    assert first["difference"] is None
    assert second["difference"] == pytest.approx({"mean": gains.mean(), "low": low, "high": high, "patients": 4})
    assert second["dice"]["mean"] == pytest.approx(0.71)
    assert second["dice_std"]["RV"] == pytest.approx(np.std(list(SECOND.values()), ddof=1))
    words = f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"
    assert re.search(rf"second  0\.710 ± 0\.061  0\.610  0\.810  {re.escape(words)}", text)
    assert words.replace("-", "−") in re.sub("&nbsp;|<[^>]+>", " ", page).replace("  ", " ")


def test_a_patient_counts_once_whatever_the_number_of_images(tmp_path):
    runs = []
    for name, shift in (("a", 0.0), ("b", 0.1)):
        folder = write_run(tmp_path / name, {"p1": 0.5, "p2": 0.7})
        path = folder / "validation" / "report.json"
        report = json.loads(path.read_text())
        again = json.loads(json.dumps(report["cases"][0]))
        again["case"] += "_ES"
        for case in (again, report["cases"][1]):
            case["dice"]["mean"] += shift
        report["cases"].append(again)
        path.write_text(json.dumps(report))
        runs.append(folder)
    content = compare(tmp_path / "out", *runs)[1]
    assert content["runs"][0]["dice"]["mean"] == pytest.approx(0.6)
    difference = content["runs"][1]["difference"]
    assert difference["mean"] == pytest.approx((0.05 + 0.1) / 2) and difference["low"] is None


def test_the_table_tells_what_was_trained_and_how_long(two, tmp_path):
    text, content, _ = compare(tmp_path / "out", *two)
    lines = text.splitlines()
    heads = "run data method labelled unlabelled epochs steps minutes scored on"
    assert " ".join(lines[0].split()) == heads
    assert " ".join(lines[1].split()) == "first hearts Supervised 2 1 3 30 - 4 held out"
    assert " ".join(lines[2].split()) == "second hearts Supervised 2 1 3 30 3.0 4 held out"
    assert re.search(r"settings that differ\n +first +second\nlearning_rate +0\.001 +0\.01\n", text)
    assert content["settings"] == [{"key": "learning_rate", "values": ["0.001", "0.01"]}]
    assert content["warnings"] == content["failures"] == []


def test_the_csv_has_a_row_a_run_with_the_settings_that_differ(two, tmp_path):
    compare(tmp_path / "out", *two)
    with (tmp_path / "out" / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert (first["run"], first["learning_rate"], first["difference"]) == ("first", "0.001", "")
    assert (second["minutes"], second["part"], second["patients"]) == ("3.0", "held out", "4")
    assert float(second["dice_LV"]) == pytest.approx(0.81) and float(second["difference"]) == pytest.approx(0.04)


def test_the_page_loads_nothing_and_shows_names_as_they_are(tmp_path):
    name = "<b>$x$ _\u00e9"
    text, _, page = compare(tmp_path / "out", write_run(tmp_path / name, FIRST), write_run(tmp_path / "b", FIRST))
    assert name in text and "<b>" not in page and "&lt;b&gt;$x$ _é" in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert "<script" not in page and "url(" not in page
    assert page.count(":root {") > 1 and "<h1>&lt;b&gt;$x$ _é and b</h1>" in page


def test_one_run_is_shown_alone(tmp_path):
    text, content, page = compare(tmp_path / "out", write_run(tmp_path / "a", FIRST))
    assert "difference" not in text and "settings" not in text and "Settings that differ" not in page
    assert len(content["runs"]) == 1 and content["notes"] == []


def test_runs_scored_on_other_cases_have_no_difference_and_a_line_says_so(tmp_path):
    other = write_run(tmp_path / "other", {"p1": 0.5, "q": 0.7})
    text, content, _ = compare(tmp_path / "out", write_run(tmp_path / "a", FIRST), other)
    assert content["runs"][1]["difference"] is None
    assert "scored on other cases or structures than a, so without a difference: other" in text


def test_cases_of_one_name_and_other_images_have_no_difference(two, tmp_path):
    for run, digest in zip(two, "aa", strict=True):
        (run / "images.json").write_text(json.dumps({"p1_ED": digest, f"only_{run.name}": run.name}))
    assert compare(tmp_path / "out", *two)[1]["runs"][1]["difference"] is not None
    (two[1] / "images.json").write_text(json.dumps({"p1_ED": "b"}))
    assert compare(tmp_path / "out", *two)[1]["runs"][1]["difference"] is None
    (two[1] / "images.json").write_text(json.dumps({"p1_ED": 3}))
    assert len(compare(tmp_path / "out", *two)[1]["failures"]) == 1


def test_other_data_sets_and_classes_are_compared_with_a_warning(tmp_path):
    other = write_run(tmp_path / "other", config={"dataset": "livers"}, classes=["background", "liver"])
    cases = json.loads(write_report(tmp_path / "x", FIRST).read_text())["cases"]
    for case in cases:
        case["dice"] = case["iou"] = {"mean": 0.5, "liver": 0.5}
    write_report(other, FIRST, classes=["background", "liver"], cases=cases)
    text, content, _ = compare(tmp_path / "out", write_run(tmp_path / "a", FIRST), other)
    assert "warning: the runs are of different data sets (hearts, livers): their scores are not comparable" in text
    assert "warning: the runs have different classes (RV, LV; liver): their scores are not comparable" in text
    assert content["structures"] == ["RV", "LV", "liver"]
    assert content["runs"][0]["dice"]["liver"] is None and content["runs"][1]["difference"] is None


def test_a_warning_names_the_runs_whose_epoch_was_chosen_on_the_scored_patients(tmp_path):
    chosen = write_run(tmp_path / "chosen")
    write_report(chosen, FIRST, of_cases="validation")
    text, content, page = compare(tmp_path / "out", write_run(tmp_path / "a", FIRST), chosen)
    assert content["warnings"][0].startswith("the epoch of chosen was chosen on the very patients that are scored")
    assert '<p class="banner" role="alert">The epoch of chosen' in page and "4 validation" in text


def test_test_patients_are_compared_where_all_runs_were_scored_on_them(tmp_path):
    runs = [write_run(tmp_path / name, FIRST) for name in "ab"]
    write_report(runs[0], SECOND, "test", "test")
    parts = [row["part"] for row in compare(tmp_path / "out", *runs)[1]["runs"]]
    assert parts == ["held out", "held out"]
    write_report(runs[1], SECOND, "test", "test")
    parts = [row["part"] for row in compare(tmp_path / "out", *runs)[1]["runs"]]
    assert parts == ["test", "test"]


def test_what_a_run_lacks_is_said(tmp_path):
    former = write_run(tmp_path / "former", FIRST)
    (former / "config.yaml").unlink()
    unfinished = write_run(tmp_path / "unfinished", epochs=9)
    text = compare(tmp_path / "out", former, unfinished)[0]
    assert "of former the settings are those that" in text
    assert "the training has not ended: unfinished (epoch 3 of 9)" in text and " 3/9 " in text
    assert "no report of scores: unfinished" in text


def test_a_damaged_report_is_named_and_is_exit_code_1(two, tmp_path, capsys, monkeypatch):
    (two[1] / "validation" / "report.json").write_text("{")
    monkeypatch.setattr(sys, "argv", ["semicycle", "compare", *map(str, two), "-o", str(tmp_path / "out")])
    assert cli.main() == 1
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(r"failure: \S+report.json is damaged \(.*run the command that wrote it again", text)
    assert text.endswith("comparison.html") and "0.670 ± 0.101" in text
    assert "Not read" in (tmp_path / "out" / "comparison.html").read_text()


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_of_this_program_is_not_overwritten(two, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there and is not of this program"):
        compare(out, *two)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == "mine"


def test_an_earlier_comparison_is_replaced_and_a_file_is_no_folder(two, tmp_path):
    compare(tmp_path / "out", *two)
    assert len(compare(tmp_path / "out", two[0])[1]["runs"]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file: give a folder"):
        compare(tmp_path / "file", *two)


@pytest.mark.parametrize(("words", "error"), [([], "required: runs"), (["none"], "none is not there: give a run's")])
def test_a_mistake_is_one_line(words, error, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["semicycle", "compare", *words])
    assert cli.main() == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and error in printed.err
    assert list(tmp_path.iterdir()) == []


def test_no_line_has_more_than_120_characters_however_many_runs_and_structures(tmp_path):
    classes = ["background", *(f"structure{number}" for number in range(21))]
    runs = []
    for number in range(9):
        config = {"learning_rate": number, "lr_decay": f"$bundle.linear_decay(@epochs, {number})" * 3}
        folder = write_run(tmp_path / f"a_long_name_of_a_run_of_{number}", config=config, classes=classes)
        cases = json.loads(write_report(tmp_path / "x", FIRST).read_text())["cases"]
        for case in cases:
            case["dice"] = case["iou"] = dict.fromkeys(["mean", *classes[1:]], 0.5)
        write_report(folder, FIRST, of_cases="validation", classes=classes, cases=cases)
        runs.append(folder)
    text = compare(tmp_path / "out", *runs)[0]
    assert max(map(len, text.splitlines())) <= 120 and text.count("structure20") == 1


def test_columns_that_do_not_fit_follow_below():
    lines = columns(["", "a", "b"], [["x" * 50, "1" * 30, "2" * 30]], 1)
    assert [line.split() for line in lines] == [["a", "b"], ["x" * 29 + "…", "1" * 30, "2" * 30]]
    lines = columns(["", "a", "b"], [["x", "1" * 70, "2" * 70]], 1, 70)
    assert [line.split() for line in lines] == [["a"], ["x", "1" * 70], ["b"], ["x", "2" * 70]]
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.slow
def test_tiny_trainings_are_compared_by_name(tmp_path, phantom_dir):
    tiny = ["--image_size", "[32,32]", "--filters", "2", "--blocks", "1", "--d_filters", "2", "--batch_size", "2"]
    tiny += ["--epochs", "2", "--steps_per_epoch", "1", "--labelled", "3", "--dataset_dir", phantom_dir]
    for name, words in (("base", []), ("other", ["--seed", "1"])):
        words = ["-m", "acdc_semicycle", "train", "partial", *tiny, "--name", name, *words]
        run_python(*words, cwd=tmp_path, SEMICYCLE_CACHE=str(tmp_path / "cache"))
    done = run_python("-m", "acdc_semicycle", "compare", "runs", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "comparison/comparison.html"
    content = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    base, other = content["runs"]
    assert (base["run"], base["dataset"], base["method"], base["steps"]) == ("base", "acdc", "Supervised", 2)
    assert base["labelled"] == 3 and base["minutes"] > 0 and base["part"] == other["part"] == "validation"
    assert {"key": "seed", "values": ["0", "1"]} in content["settings"]
    keys = {setting["key"] for setting in content["settings"]}
    assert keys == {"seed"}, keys
    assert [len(curve["loss"]) for curve in content["curves"]] == [2, 2]
