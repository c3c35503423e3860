"""The report of a network: its examples, its files, and what is refused."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from evaluated_images import CLASSES, NAMES, case
from matplotlib.figure import Figure
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from PIL import Image

from acdc_semicycle.artifacts import weights
from acdc_semicycle.evaluation import examples, figures, model_report, model_tables, stored_report
from acdc_semicycle.evaluation.model_scores import Case
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.provenance import plain, provenance


def test_the_examples_are_the_worst_the_median_and_the_best_image(tmp_path, monkeypatch):
    shown: list[str] = []
    empty = np.zeros((2, 2), np.uint8)
    monkeypatch.setattr(
        examples,
        "example",
        lambda case, suffix="", painted=(): figures.Example(case.case + suffix, empty, empty, empty),
    )
    monkeypatch.setattr(figures, "examples_figure", lambda drawn, *_: shown.extend(e.title for e in drawn) or Figure())
    cases = [case(f"p{right}", [1] * right + [0] * (6 - right), [1] * 6) for right in (4, 1, 6, 2, 3)]
    examples.write_figure(tmp_path / "examples.png", cases, CLASSES)
    assert shown == ["p1, Dice 0.286", "p3, Dice 0.667", "p6, Dice 1.000"]
    examples.write_panel(tmp_path / "panel.npz", cases)
    assert np.load(tmp_path / "panel.npz")["names"].tolist() == ["p4", "p1", "p2", "p3"]


def test_a_figure_of_no_case_is_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match=r"examples\.png would show no image: give a part"):
        examples.write_figure(tmp_path / "examples.png", [], CLASSES)
    assert not list(tmp_path.iterdir())


def report_on(labels: list[list[int]], main: str = "dice", part: str = "validation") -> model_report.Report:
    """A report whose evaluator has these masks to score, and nothing else."""
    dataset = Dataset([{"label": torch.tensor([label], dtype=torch.uint8)} for label in labels])
    evaluator = SupervisedEvaluator.__new__(SupervisedEvaluator)
    evaluator.data_loader = DataLoader(dataset, batch_size=1)
    return model_report.Report(evaluator, torch.nn.Linear(1, 1), "model.pt", "out", CLASSES, part, main=main)


@pytest.mark.parametrize(
    ("labels", "main", "part", "words"),
    [
        ([[0, 1]], "dice", "test", "evaluated is 'test' in a training"),
        ([], "dice", "validation", "the split has no validation patients"),
        ([[0, 0], [0, 255]], "dice", "validation", "no mask of a validation image holds any of RV, MYO, LV, so dice"),
        ([[0, 0]], "iou", "validation", "so iou could choose no epoch"),
    ],
)
def test_what_could_choose_no_epoch_is_refused_before_a_training(labels, main, part, words):
    with pytest.raises(InputError) as caught:
        report_on(labels, main, part).check_validation()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("labels", "main"), [([[0, 0], [0, 3]], "dice"), ([[0, 0]], "miou")])
def test_what_can_choose_an_epoch_passes(labels, main):
    report_on(labels, main).check_validation()


def test_not_a_number_is_null_in_json():
    assert plain({"a": [float("nan"), 1.0], "b": {"c": float("inf")}}) == {
        "a": [None, 1.0],
        "b": {"c": None},
    }


def test_the_command_and_the_versions_are_kept_without_a_path_of_the_interpreter():
    about = provenance()
    assert not about["command"].startswith("/")
    assert about["versions"]["torch"] and about["versions"]["monai"]
    assert about["machine"]["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("name", ["report.json", "cases.csv", "summary.csv"])
def test_a_users_file_is_refused_before_anything_is_evaluated(tmp_path, name):
    network = torch.nn.Linear(1, 1)
    weights.save(tmp_path / "model.pt", network.state_dict())
    (tmp_path / "out" / "test").mkdir(parents=True)
    (tmp_path / "out" / "test" / name).write_text('{"cases": "mine"}')
    evaluator = SupervisedEvaluator.__new__(SupervisedEvaluator)  # not to be asked
    report = model_report.Report(evaluator, network, tmp_path / "model.pt", tmp_path / "out", CLASSES, "test")
    with pytest.raises(InputError, match=f"{name} is there and is not of this program"):
        report.write()


def test_a_damaged_card_is_named(tmp_path):
    network = torch.nn.Linear(1, 1)
    weights.save(tmp_path / "model.pt", network.state_dict())
    (tmp_path / "model.json").write_text("{")
    evaluator = SupervisedEvaluator.__new__(SupervisedEvaluator)  # not to be asked
    report = model_report.Report(evaluator, network, tmp_path / "model.pt", tmp_path / "out", CLASSES, "test")
    with pytest.raises(InputError, match=r"model\.json cannot be read .*: restore it"):
        report.write()


def stored(folder, **changes) -> dict:
    """A whole report in a folder, about what it has to hold; ``changes`` are what it holds otherwise."""
    about = {"checkpoint_sha256": "ab", "note": None, "classes": list(CLASSES)}
    for name in stored_report.FILES:
        (folder / name).write_text("")
    content = about | {"summary": {"dice": {"RV": None, "LV": 0.5}}, "floor": {}, "cases": []} | changes
    (folder / "report.json").write_text(json.dumps(content))
    return about


def test_the_report_of_the_same_network_is_taken_with_its_gaps(tmp_path):
    content = stored_report.stored_content(tmp_path, stored(tmp_path))
    assert np.isnan(content["summary"]["dice"]["RV"]) and content["summary"]["dice"]["LV"] == 0.5
    assert content["note"] is None and content["floor"] == {}


@pytest.mark.parametrize("changes", [{"checkpoint_sha256": "cd"}, {"note": "another"}, {"classes": ["background"]}])
def test_the_report_of_another_network_or_of_another_question_is_not_taken(tmp_path, changes):
    assert stored_report.stored_content(tmp_path, stored(tmp_path, **changes)) is None


@pytest.mark.parametrize("name", stored_report.FILES)
def test_a_report_that_is_not_whole_is_not_taken(tmp_path, name):
    about = stored(tmp_path)
    (tmp_path / name).unlink()
    assert stored_report.stored_content(tmp_path, about) is None


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_report_is_not_taken(tmp_path, text):
    about = stored(tmp_path)
    (tmp_path / "report.json").write_text(text)
    assert stored_report.stored_content(tmp_path, about) is None


def test_csv_has_a_row_a_case(tmp_path):
    rows = [
        {"case": "p1", "patient": "p", "phase": "ED", "part": "test"}
        | {score: {"mean": 0.5, "RV": float("nan"), "MYO": 0.25, "LV": 0.75} for score in ("dice", "iou")}
    ]
    model_tables.write_cases(tmp_path / "cases.csv", rows, NAMES)
    with (tmp_path / "cases.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["case"] == "p1" and row["part"] == "test" and float(row["dice_MYO"]) == 0.25 and row["dice_RV"] == "nan"
    json.dumps(plain(rows))


def test_names_of_cases_need_not_be_utf_8_in_a_table_and_in_a_picture(tmp_path):
    name = os.fsdecode(b"M\xfcller$_")
    scores = {score: dict.fromkeys(("mean", *NAMES), 0.5) for score in ("dice", "iou")}
    model_tables.write_cases(
        tmp_path / "cases.csv", [{"case": name, "patient": "p", "phase": "ED", "part": "test"} | scores], NAMES
    )
    assert b"M\xfcller$_" in (tmp_path / "cases.csv").read_bytes()
    labels = np.zeros((8, 8), np.uint8)
    Image.fromarray(labels).save(tmp_path / "image.png")
    counted = torch.zeros(4, 4)
    shown = examples.example(Case(name, "p", "", tmp_path / "image.png", 0, labels, labels, counted, counted))
    assert shown.title == "M?ller$_"
    figures.examples_figure([shown], CLASSES, None).savefig(tmp_path / "examples.png")
