"""The report: its numbers against counting by hand, and its files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from monai.engines import SupervisedEvaluator

from acdc_semicycle.artifacts import weights
from acdc_semicycle.evaluation import figures, model_report
from acdc_semicycle.evaluation.metrics import confusion
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.provenance import plain, provenance

NAMES = ["RV", "MYO", "LV"]
CLASSES = ["background", *NAMES]


def case(name: str, prediction: list[int], truth: list[int], phase: str = "ED") -> model_report.Case:
    p, t = torch.tensor(prediction), torch.tensor(truth)
    matrix = confusion(p, t, 4)
    return model_report.Case(name, name[:2], phase, Path("none.nii.gz"), 0, p.numpy(), t.numpy(), matrix, matrix)


CASES = [
    case("p1", [1, 1, 2, 3, 0, 0], [1, 0, 2, 3, 3, 0]),  # Dice 2/3, 1, 2/3
    case("p2", [0, 0, 2, 3, 3, 0], [0, 0, 2, 2, 3, 0], "ES"),  # no RV in either: Dice -, 2/3, 2/3
    case("p3", [1, 0, 2, 3, 0, 0], [0, 0, 2, 3, 0, 0], "ES"),  # RV only predicted: Dice 0, 1, 1
]


def test_the_summary_by_hand():
    summary = model_report.summary(CASES, CLASSES, NAMES)
    assert summary["dice"]["RV"] == pytest.approx((2 / 3 + 0) / 2)
    assert summary["dice"]["MYO"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert summary["dice"]["LV"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert summary["dice"]["mean"] == pytest.approx(np.mean([summary["dice"][name] for name in NAMES]))
    assert summary["iou"]["LV"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert summary["dice_n"] == {"RV": 2, "MYO": 3, "LV": 3}
    assert summary["dice_std"]["MYO"] == pytest.approx(np.std([1, 2 / 3, 1], ddof=1))
    assert summary["volumes"] == 3


def test_the_papers_miou_pools_all_voxels_and_counts_background():
    p = np.concatenate([case.prediction for case in CASES])
    t = np.concatenate([case.truth for case in CASES])
    expected = np.mean([((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in range(4)])
    assert model_report.summary(CASES, CLASSES, NAMES)["paper_miou"] == pytest.approx(expected)


def test_the_miou_of_the_data_set_is_by_class_too():
    summary = model_report.summary(CASES, CLASSES, NAMES)
    p = np.concatenate([case.prediction for case in CASES])
    t = np.concatenate([case.truth for case in CASES])
    expected = {name: ((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c, name in enumerate(CLASSES)}
    assert summary["miou_by_class"] == pytest.approx(expected)
    assert summary["miou"] == pytest.approx(np.mean(list(expected.values())))


def test_without_a_background_every_class_is_a_structure():
    summary = model_report.summary(CASES, ["road", *NAMES], ["road", *NAMES])
    assert summary["dice"]["road"] == pytest.approx((1 / 2 + 1 + 6 / 7) / 3)
    assert summary["dice"]["MYO"] == pytest.approx((1 + 2 / 3 + 1) / 3)


def test_the_floor_is_the_score_of_background_everywhere():
    floor = model_report.summary([model_report._trivial(case) for case in CASES], CLASSES, NAMES)
    plain = [case(c.case, [0] * 6, c.truth.tolist()) for c in CASES]
    assert floor["dice"]["LV"] == 0 and floor["dice_n"]["RV"] == 1
    assert floor["paper_miou"] == pytest.approx(model_report.summary(plain, CLASSES, NAMES)["paper_miou"])


def test_the_examples_are_the_worst_the_median_and_the_best_image(tmp_path, monkeypatch):
    shown: list[str] = []
    empty = np.zeros((2, 2), np.uint8)
    monkeypatch.setattr(
        model_report, "_example", lambda case, words="": figures.Example(case.case + words, empty, empty, empty)
    )
    monkeypatch.setattr(
        figures, "examples_figure", lambda examples, *_: shown.extend(e.title for e in examples) or Figure()
    )
    cases = [case(f"p{right}", [1] * right + [0] * (6 - right), [1] * 6) for right in (4, 1, 6, 2, 3)]
    evaluator = SupervisedEvaluator.__new__(SupervisedEvaluator)  # not to be asked
    model_report.Report(evaluator, torch.nn.Linear(1, 1), "", tmp_path, CLASSES, "test")._draw(tmp_path, cases)
    assert shown == ["p1, Dice 0.286", "p3, Dice 0.667", "p6, Dice 1.000"]


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
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"cases": "mine"}')
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


def test_csv_has_a_row_a_case(tmp_path):
    rows = [
        {"case": "p1", "patient": "p", "phase": "ED"}
        | {score: {"mean": 0.5, "RV": float("nan"), "MYO": 0.25, "LV": 0.75} for score in ("dice", "iou")}
    ]
    model_report._write_cases(tmp_path / "cases.csv", rows, NAMES)
    with (tmp_path / "cases.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["case"] == "p1" and float(row["dice_MYO"]) == 0.25 and row["dice_RV"] == "nan"
    json.dumps(plain(rows))
