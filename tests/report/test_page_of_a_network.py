"""The page at the end of a training: of the report of a network, with the slice that it keeps of each case."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from report_folder import cards, names, words

from acdc_semicycle.config import tasks
from acdc_semicycle.evaluation import examples, figures, model_report
from acdc_semicycle.evaluation.metrics import confusion
from acdc_semicycle.evaluation.model_scores import Case
from acdc_semicycle.report import page as report_page
from acdc_semicycle.training import last_page

CLASSES = ["background", "RV", "MYO", "LV"]


def case(name: str, right: int) -> Case:
    truth, prediction = np.zeros((2, 40, 40), np.uint8)
    truth[10:20, 10:20] = 3
    prediction[10 : 10 + right, 10:20] = 3
    matrix = confusion(torch.from_numpy(prediction), torch.from_numpy(truth), 4)
    return Case(name, name, "ED", Path("none.nii.gz"), 2, prediction, truth, matrix, matrix)


@pytest.fixture
def report(tmp_path, monkeypatch) -> model_report.Report:
    """A report that has been written, of two cases; 5 of 10 rows of b are found."""
    cases = [case("a", 10), case("b", 5)]
    monkeypatch.setattr(
        examples,
        "example",
        lambda case, suffix="", painted=(): figures.Example(
            case.case, np.full((40, 40), 90, np.uint8), case.truth, case.prediction
        ),
    )
    run, evaluator = tmp_path / "few-3", SupervisedEvaluator.__new__(SupervisedEvaluator)  # not to be asked
    run.mkdir()
    (run / "model.pt").write_bytes(b"weights")
    result = model_report.Report(
        evaluator, torch.nn.Linear(1, 1), run / "model.pt", run, CLASSES, "validation",
        about={"dataset": "acdc"}, notes={"validation": "the epoch was chosen on these"},
    )  # fmt: skip
    monkeypatch.setattr(model_report, "load_network", lambda *_: None)
    monkeypatch.setattr(model_report.Report, "_evaluate", lambda self: cases)
    result.write()
    return result


def test_the_report_of_a_network_is_a_page_with_its_slices(report):
    before = (report.folder / "report.json").read_bytes()
    page = report_page.write(report.folder).read_text()
    assert "<h1>acdc, segmented by few-3: validation</h1>" in page
    assert names(page) == ["b", "a"] and [card.count("<svg") for card in cards(page)] == [1, 1]
    assert '<g class="truth">' in cards(page)[0] and "slice 3" in cards(page)[0]
    assert "with one slice of it." in words(page) and "All slices" not in words(page)
    assert "mean Dice 0.833" in words(page) and "the epoch was chosen on these" in page
    assert "HD95" not in words(page.split("<footer>")[0]) and "IoU" in words(page)
    assert (report.folder / "report.json").read_bytes() == before and not (report.folder / "report.csv").exists()


@pytest.mark.parametrize(
    ("keep", "earlier", "part"),
    [("last", False, "held out"), ("last", True, "validation"), ("best", False, "validation")],
)
def test_validation_patients_that_chose_no_epoch_are_held_out_as_predict_has_them(report, keep, earlier, part):
    run = report.folder.parent
    (run / "model.json").write_text(json.dumps({"keep": keep}))
    if earlier:
        (run / "earlier.json").write_text("{}")
    report.write()
    page = report_page.write(report.folder).read_text()
    assert ("No patient is new" in page) == (part == "validation")
    rows = (report.folder / "cases.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows] == ["part", part, part]
    assert json.loads((report.folder / "report.json").read_text())["part"] == "validation"


def test_the_report_of_a_network_of_pictures_shows_no_slices(report):
    path = report.folder / "report.json"
    content = json.loads(path.read_text())
    assert content["pictures"] is False
    path.write_text(json.dumps(content | {"pictures": True}))
    assert "slice" not in words(report_page.write(report.folder).read_text().split("<footer>")[0])


def test_a_training_ends_with_its_page_and_the_next_command(report, monkeypatch, caplog):
    monkeypatch.setattr(tasks, "train", lambda *_: None)
    with caplog.at_level(logging.INFO, "semicycle"):
        last_page.train(None, None, report)
    page = report.folder / "report.html"
    assert page.is_file()
    assert [record.getMessage() for record in caplog.records] == [
        f"the page of these scores: {page}",
        f"next, on your own scans: semicycle predict SCANS -o OUT --model {report.output_dir}",
    ]
    report.card = {"pictures": True}
    with caplog.at_level(logging.INFO, "semicycle"):
        last_page.train(None, None, report)
    assert "next, on your own pictures: semicycle predict PICTURES -o OUT" in caplog.text


def test_a_page_in_the_way_costs_the_training_nothing_but_a_warning(report, monkeypatch, caplog):
    monkeypatch.setattr(tasks, "train", lambda *_: None)
    (report.folder / "report.html").write_text("mine")
    last_page.train(None, None, report)
    assert "report.html is there and is not of this program" in caplog.text
    assert (report.folder / "report.html").read_text() == "mine"


def test_a_training_without_validation_names_the_next_command_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tasks, "train", lambda *_: None)
    with caplog.at_level(logging.INFO, "semicycle"):
        run = SimpleNamespace(folder=tmp_path / "validation", output_dir=tmp_path / "my run", card={})
        last_page.train(None, None, run)
    assert caplog.messages == [f"next, on your own scans: semicycle predict SCANS -o OUT --model '{tmp_path}/my run'"]


def test_a_damaged_report_of_a_network_is_named(report):
    content = json.loads((report.folder / "report.json").read_text())
    (report.folder / "report.json").write_text(json.dumps(content | {"classes": 4}))
    with pytest.raises(ValueError, match=r"report\.json is damaged"):
        report_page.write(report.folder)
