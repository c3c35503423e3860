"""Trainings that each leave patients out: their commands, their signals, and what their scores add up to."""

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT, run, start

from acdc_semicycle import cli
from acdc_semicycle.config.locations import overlays_and_options
from acdc_semicycle.evaluation.model_tables import write_cases
from acdc_semicycle.experiments import child, fold_scores, folds
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.provenance import provenance

TINY = ["--image_size", "[32,32]", "--filters", "2", "--blocks", "1", "--d_filters", "2", "--batch_size", "2"]
TINY += ["--epochs", "1", "--steps_per_epoch", "1", "--labelled", "3"]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("SEMICYCLE_CACHE", "")  # so that what a command sets is taken back
    monkeypatch.delenv("SEMICYCLE_CACHE")
    monkeypatch.delenv("ACDC_DIR", raising=False)


@pytest.fixture
def children(monkeypatch):
    """The commands that would be run; the exit code of each is 0 unless a test sets another."""
    commands, codes = [], {}

    def ran(self, command):
        commands.append(list(command))
        return codes.get(len(commands), 0)

    monkeypatch.setattr(child.Child, "run", ran)
    monkeypatch.setattr(folds, "_report", lambda output_dir, count: None)
    return commands, codes


def train(*words: object) -> int:
    return folds.train(*overlays_and_options([str(word) for word in words]))


@pytest.mark.parametrize("form", ["3", "leave-one-out"])
def test_each_fold_is_the_same_command_with_its_own_number_and_folder(children, tmp_path, phantom_dir, form):
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", form]
    assert train("small", *words) == 0
    commands, _ = children
    assert len(commands) == 3
    for number, command in enumerate(commands):
        assert command[1:4] == ["-m", "acdc_semicycle", "train"] and command[4].endswith("small.yaml")
        own = ["--split::fold", f"[{number},3]", "--output_dir", str(tmp_path / "out" / f"fold_{number}")]
        assert command[-4:] == own
        assert command[5:-4] == commands[0][5:-4] and "--labelled=3" in command
        assert not any(word.startswith(("--folds", "--minutes", "--output_dir=")) for word in command)
    assert os.environ["SEMICYCLE_CACHE"] == str(tmp_path / "out" / "cache")


def test_each_fold_has_its_share_of_the_minutes_wherever_they_are_given(children, tmp_path, phantom_dir):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("minutes: 30\n")
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "3"]
    assert train(overlay, *words) == 0 and train(*words, "--minutes=6") == 0
    commands, _ = children
    minutes = [[word for word in command if word.startswith("--minutes")] for command in commands]
    assert minutes == [["--minutes=10"]] * 3 + [["--minutes=2"]] * 3


def test_without_an_output_folder_it_is_the_configurations_with_an_ending(children, tmp_path, phantom_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("few", "--dataset_dir", phantom_dir, "--labelled", "3", "--folds", "2") == 0
    assert children[0][1][-1] == str(Path("runs", "acdc-few-folds", "fold_1"))


def test_a_fold_that_fails_ends_the_command_with_its_exit_code(children, tmp_path, phantom_dir, capsys):
    commands, codes = children
    codes[2] = 75
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "3"]
    assert train(*words) == 75 and len(commands) == 2
    assert capsys.readouterr().err == "fold 2 of 3 ended with exit code 75\n"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--folds", "1"], r"^1 folds of 3 labelled patients: give 2 to 3$"),
        (["--folds", "4"], r"^4 folds of 3 labelled patients: give 2 to 3$"),
        (["--folds", "all"], r"^--folds is 'all': give a number of folds, or leave-one-out$"),
        (["--folds", "-3"], r"^--folds is '-3': give a number of folds, or leave-one-out$"),
        (["--folds", "2", "--split::fold", "[0,2]"], r"^--split::fold is given, and --folds trains each fold: remove"),
        (["--folds", "2", "--epohs", "3"], r"epohs.*epochs"),
        (["--folds", "2", "--labelled", "99"], r"^labelled is 99 patients: give 1 to"),
    ],
)
def test_what_makes_no_folds_is_refused_in_a_line_before_any_training(children, tmp_path, phantom_dir, words, refusal):
    with pytest.raises(InputError, match=refusal) as caught:
        train("--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", *words)
    assert "\n" not in str(caught.value) and children[0] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["split.json", "models/model.pt", "folds.json", "cases.csv"])
def test_a_folder_of_something_else_is_refused(children, tmp_path, phantom_dir, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match=r"holds a training without folds: give another|is not of this program"):
        train("--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "2")
    assert children[0] == [] and path.read_text() == "mine"


def report(*cases: tuple[str, str, float | None, float]) -> dict:
    rows = []
    for case, patient, rv, lv in cases:
        mean = lv if rv is None else (rv + lv) / 2
        scores = {"mean": mean, "RV": rv, "LV": lv}
        rows.append({"case": case, "patient": patient, "phase": "", "dice": scores, "iou": scores})
    return {"note": "a note", "main": "dice", "classes": ["background", "RV", "LV"], "cases": rows}


def test_a_patient_counts_once_however_many_images_there_are_of_it(tmp_path):
    first = report(("b1", "b", 0.2, 0.4), ("b2", "b", 0.4, 0.6), ("c1", "c", None, 0.9))
    content = fold_scores.content_of([first, report(("a1", "a", 0.9, 0.1))])
    summary = content["summary"]
    assert (summary["patients"], summary["volumes"], content["folds"], content["note"]) == (3, 4, 2, "a note")
    np.testing.assert_allclose(summary["dice"]["RV"], (0.3 + 0.9) / 2)  # c has none
    np.testing.assert_allclose(summary["dice_std"]["RV"], np.std([0.3, 0.9], ddof=1))
    np.testing.assert_allclose(summary["dice"]["LV"], (0.5 + 0.9 + 0.1) / 3)
    np.testing.assert_allclose(summary["dice_std"]["LV"], np.std([0.5, 0.9, 0.1], ddof=1))
    np.testing.assert_allclose(summary["dice_std"]["mean"], np.std([0.4, 0.9, 0.5], ddof=1))
    assert summary["dice_n"] == {"mean": 3, "RV": 2, "LV": 3}
    assert [(case["case"], case["fold"]) for case in content["cases"]] == [("a1", 1), ("b1", 0), ("b2", 0), ("c1", 0)]
    lines = fold_scores.table(content, ["RV", "LV"]).splitlines()
    assert lines[0] == "3 labelled patients in 2 folds, each scored by a network that was not trained on them"
    assert lines[2].split() == ["RV", "0.600", "0.424", "2"] and lines[-1] == "a note"
    write_cases(tmp_path / "cases.csv", content["cases"], ["RV", "LV"], ("fold", "case", "patient", "phase"))
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert rows[0]["fold"] == "1" and rows[3]["dice_RV"] == "nan" and rows[1]["iou_LV"] == "0.400000"


def test_pictures_are_told_by_their_iou():
    content = fold_scores.content_of([report(("a", "a", 0.5, 0.5)) | {"main": "miou"}])
    assert fold_scores.table(content, ["RV", "LV"]).splitlines()[1].split()[0] == "IoU"


WAITS = (
    "import signal, sys, time; signal.signal(signal.{}, lambda *_: sys.exit(9)); print(1, flush=True); time.sleep(60)"
)
RUNNER = """import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests
from acdc_semicycle.experiments.child import Child
sys.exit(Child().run([sys.executable, "-c", sys.argv[1]]))"""


@pytest.mark.parametrize(
    ("sent", "arrives", "code"),
    [("SIGINT", "SIGINT", 130), ("SIGTERM", "SIGTERM", 75), ("SIGUSR1", "SIGUSR1", 75), ("SIGHUP", "SIGTERM", 75)],
)
def test_a_signal_is_handed_on_and_its_exit_code_is_the_commands(tmp_path, sent, arrives, code):
    process = start("-c", RUNNER, WAITS.format(arrives), output=tmp_path)
    deadline = time.monotonic() + 20
    while not (tmp_path / "stdout").exists() or not (tmp_path / "stdout").read_text():
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, getattr(signal, sent))
    process.join(20)
    assert process.exitcode == code


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_of_a_child_is_the_one_a_shell_would_give(program, code):
    assert child.Child().run([sys.executable, "-c", program]) == code


def forked(self: child.Child, command: list[str]) -> int:
    """Run what the command becomes, in a process that has the libraries."""
    config = ROOT / "bundles" / "semicycle" / "configs" / "train.json"
    options = command[command.index("train") + 1 :]
    return run("-m", "monai.bundle", "run", "training", "--config_file", config, *options).returncode


def test_two_folds_of_the_phantom_are_trained_scored_continued_and_predict_together(
    tmp_path, phantom_dir, monkeypatch, capsys
):
    monkeypatch.setattr(child.Child, "run", forked)
    out = tmp_path / "out"
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", out, "--folds", "2"]
    assert train(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "folds.json")
    content = json.loads((out / "folds.json").read_text())
    splits = [json.loads((out / f"fold_{number}" / "split.json").read_text()) for number in range(2)]
    assert [len(split["validation"]) for split in splits] == [2, 1]
    assert sorted(splits[0]["validation"]) == sorted(splits[1]["labelled"])
    for case in content["cases"]:
        assert case["patient"] in splits[case["fold"]]["validation"]
    assert len(content["cases"]) == 6 and content["command"] == provenance()["command"]
    assert {"acdc_semicycle", "torch"} <= content["versions"].keys()
    before = [(out / f"fold_{number}" / "models" / "model.pt").read_bytes() for number in range(2)]
    (out / "folds.json").unlink()
    assert train(*words) == 0
    assert before == [(out / f"fold_{number}" / "models" / "model.pt").read_bytes() for number in range(2)]
    assert json.loads((out / "folds.json").read_text()) == content
    scan = next(phantom_dir.glob("**/*_frame01.nii.gz"))
    run("-m", "acdc_semicycle", "predict", scan, "-o", tmp_path / "predicted", "--model", out)
    manifest = json.loads((tmp_path / "predicted" / "predictions.json").read_text())
    assert manifest["model"]["members"] == 2 and manifest["model"]["path"] == str(out)
    assert len(manifest["cases"]) == 1 and manifest["failures"] == []


@pytest.mark.slow
def test_the_command_itself_trains_its_folds_and_ends_as_the_one_that_is_stopped(tmp_path, phantom_dir):
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "2"]
    process = start("-m", "acdc_semicycle", "train", *words, "--epochs", "10000", output=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "fold_0" / "models" / "model.pt").exists():
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130 and "the same command continues" in (tmp_path / "stderr").read_text()
    assert not (tmp_path / "out" / "fold_1").exists() and not (tmp_path / "out" / "folds.json").exists()


def test_the_verb_takes_folds_and_only_then(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(folds, "train", lambda overlays, options: taken.append((overlays, options)) or 7)
    monkeypatch.setattr(cli, "become", lambda *words: 8)
    assert cli.train(["--folds=3", "--epochs", "2"]) == 7 and cli.train(["--epochs", "2"]) == 8
    assert taken == [([], ["--folds=3", "--epochs", "2"])]
