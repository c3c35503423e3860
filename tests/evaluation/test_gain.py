"""Dice before and after a warm start: only of patients whom both scored and neither learned from."""

import json
from pathlib import Path

import pytest
import torch

from acdc_semicycle.artifacts import weights
from acdc_semicycle.data.splits import Split
from acdc_semicycle.evaluation.gain import gain
from acdc_semicycle.methods.network_description import build

CLASSES = ["background", "LV"]
NETWORK = {
    "class": "monai.networks.nets.BasicUNet",
    "arguments": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4, 4, 4, 8, 8, 4]},
}


def report(scores: dict[str, list[float | None]], **more) -> dict:
    """The content of a report.json."""
    cases = []
    for patient, values in scores.items():
        cases += [{"case": f"{patient}_{n}", "patient": patient, "dice": {"mean": v}} for n, v in enumerate(values)]
    return {"classes": CLASSES, "dataset": "acdc", "cases": cases} | more


def run_of(folder: Path, split: Split, content: dict | None) -> Path:
    """A run's folder with a network and its validation's report."""
    (folder / "models").mkdir(parents=True)
    weights.save(folder / "models" / "model.pt", build(NETWORK).state_dict())
    card = {"classes": CLASSES, "network": NETWORK, "keep": "last", "dataset": "acdc", "image_size": [64, 64]}
    (folder / "models" / "model.json").write_text(json.dumps(card))
    split.save(folder / "split.json")
    if content is not None:
        from acdc_semicycle.artifacts.model import open_model

        (folder / "validation").mkdir()
        content = {"checkpoint_sha256": open_model(folder).sha256} | content
        (folder / "validation" / "report.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def source(tmp_path) -> Path:
    torch.manual_seed(0)
    before = report({"a": [0.6, 0.8], "b": [0.5], "c": [0.1], "d": [None]})
    return run_of(tmp_path / "run", Split(("x",), ("y",), ("a", "b", "c", "d"), ()), before)


def test_dice_is_the_mean_over_patients_that_both_scored(source):
    text = gain(source, report({"a": [0.8, 1.0], "b": [0.6], "x": [0.9], "d": [0.9]}), set())
    assert text is not None and text.startswith("Dice 0.600 before, 0.750 after, on 2 patients that neither training")


def test_patients_with_another_truth_are_left_out(source):
    text = gain(source, report({"a": [0.8, 1.0], "b": [0.6]}), {"b"})
    assert text is not None and text.startswith("Dice 0.700 before, 0.900 after, on 1 patient that")


@pytest.mark.parametrize(
    "content",
    [
        report({"x": [0.9]}),
        report({}),
        report({"a": [0.9]}, classes=["background", "RV"]),
        report({"a": [0.9]}, dataset="own_scans"),
    ],
    ids=["no patient of both", "no patient", "other classes", "other data"],
)
def test_what_cannot_be_measured_is_not_told(source, content):
    assert gain(source, content, set()) is None


def test_patients_whom_an_earlier_network_learned_from_do_not_count(source):
    (source / "earlier.json").write_text(json.dumps({"patients": {"a": "labelled"}, "images": {}}))
    text = gain(source, report({"a": [0.9], "b": [0.6]}), set())
    assert text is not None and "on 1 patient" in text


@pytest.mark.parametrize("start", [None, "none", "pretrained"])
def test_without_a_run_to_start_from_nothing_is_told(start):
    assert gain(start, report({"a": [0.9]}), set()) is None


def test_a_report_of_another_network_and_a_run_without_one_tell_nothing(tmp_path):
    split = Split(("x",), (), ("a",), ())
    assert gain(tmp_path / "gone", report({"a": [0.9]}), set()) is None
    other = run_of(tmp_path / "other", split, report({"a": [0.5]}, checkpoint_sha256="0"))
    none = run_of(tmp_path / "none", split, None)
    assert gain(other, report({"a": [0.9]}), set()) is None and gain(none, report({"a": [0.9]}), set()) is None
