"""Epochs that fit into the minutes of a user: the arithmetic, what is kept, and a real run."""

import csv
import json
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from processes import run

from acdc_semicycle.config import sizing
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "bundles/semicycle/configs/train.json"
MEASURED = {
    "step_seconds": 0.5, "epoch_steps": 100, "validation_seconds": 20.0, "val_interval": 2, "start_seconds": 10.0
}  # fmt: skip


def test_the_epochs_are_those_that_fit_with_their_validations_and_the_report():
    assert sizing.epochs_within(630, MEASURED, 11) == 10  # 10 s to start, 20 s to report, 50 s + 10 s an epoch
    assert sizing.epochs_within(629, MEASURED, 11) == 9


def test_minutes_that_are_too_few_name_the_least_that_make_sense():
    with pytest.raises(InputError, match=r"minutes is 1: give at least 1\.8, what one epoch takes here"):
        sizing.epochs_within(40, MEASURED, 1)  # 20 s of the minute are gone
    assert sizing.epochs_within(90, MEASURED, 1.8) == 1


def parser_of(folder: Path, minutes: float | int | None) -> ConfigParser:
    return ConfigParser({"minutes": minutes, "output_dir": str(folder), "epochs": 7})


def begun(folder: Path, minutes: int, monkeypatch) -> ConfigParser:
    """The configuration of a training that has begun, and so has claimed its folder."""
    parser = parser_of(folder, minutes)
    sizing.fit_to_minutes(parser)
    monkeypatch.setattr(sizing, "calling_parser", lambda: parser)
    sizing.save(folder)
    return parser


def test_nothing_is_written_before_the_folder_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(sizing, "_measured", lambda: MEASURED)
    sizing.fit_to_minutes(parser_of(tmp_path, 10))
    assert not list(tmp_path.iterdir())


def test_one_of_several_processes_does_not_measure(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="minutes is 10, and torchrun started several processes: give epochs"):
        sizing.fit_to_minutes(parser_of(tmp_path, 10))


def test_without_minutes_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sizing, "_measured", lambda: pytest.fail("it measured"))
    parser = parser_of(tmp_path, None)
    sizing.fit_to_minutes(parser)
    assert parser["epochs"] == 7 and not list(tmp_path.iterdir())


def test_a_training_that_continues_keeps_its_epochs_and_other_minutes_are_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sizing, "_measured", lambda: MEASURED)
    first = begun(tmp_path, 10, monkeypatch)
    assert first["epochs"] == 9
    monkeypatch.setattr(sizing, "_measured", lambda: MEASURED | {"step_seconds": 5.0})
    assert begun(tmp_path, 10, monkeypatch)["epochs"] == 9
    assert begun(tmp_path, 20, monkeypatch)["epochs"] == 2
    assert json.loads((tmp_path / "schedule.json").read_text())["epochs"] == 2


@pytest.mark.slow
def test_a_real_training_takes_the_epochs_that_it_measured(tmp_path, phantom_dir):
    words = ["-m", "monai.bundle", "run", "training", "--config_file", CONFIG, "--dataset_dir", phantom_dir]
    words += [
        "--output_dir",
        tmp_path,
        "--image_size",
        "[32,32]",
        "--filters",
        "2",
        "--blocks",
        "1",
        "--d_filters",
        "2",
    ]
    words += ["--steps_per_epoch", "40", "--batch_size", "2", "--labelled", "2"]
    short = run(*words, "--minutes", "0.01", check=False)
    least = re.search(r"minutes is 0\.01: give at least (\d+\.\d)", short.stdout + short.stderr)
    assert short.returncode and least
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
    minutes = f"{1.2 * float(least[1]) + 0.1:.2f}"  # as few as are sure to be enough
    done = run(*words, "--minutes", minutes)
    epochs = json.loads((tmp_path / "schedule.json").read_text())["epochs"]
    assert f"--minutes {float(minutes):g}: {epochs} epochs of 40 steps" in done.stdout + done.stderr
    with (tmp_path / "learning_curve.csv").open() as table:
        assert [int(row["epoch"]) for row in csv.DictReader(table)] == list(range(1, epochs + 1))
    again = run(*words, "--minutes", minutes)
    assert "complete: nothing to do" in again.stdout + again.stderr
