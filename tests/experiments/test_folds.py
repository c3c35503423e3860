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

from acdc_semicycle.commands import running
from acdc_semicycle.config.locations import overlays_and_options
from acdc_semicycle.evaluation.model_tables import write_cases
from acdc_semicycle.experiments import execution, fold_runs, fold_scores, fold_trust, folds, scheduling, stopping
from acdc_semicycle.runtime import locks, signals
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
    """The commands that would be run, by the number of the fold; its outcome is 0 unless a test sets it."""
    commands, outcomes = {}, {}

    def logged(command, title, path, environment, lock):
        number = int(path.parent.name.removeprefix("fold_"))
        commands[number] = (list(command), environment)
        return outcomes.get(number, (0, []))

    monkeypatch.setattr(fold_runs, "logged", logged)
    monkeypatch.setattr(folds, "_report", lambda output_dir, count, data, truth: None)
    return commands, outcomes


def train(*words: object) -> int:
    return folds.train(*overlays_and_options([str(word) for word in words]))


@pytest.mark.parametrize("form", ["3", "leave-one-out"])
def test_each_fold_is_the_same_command_with_its_own_number_and_folder(children, tmp_path, phantom_dir, form):
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", form]
    assert train("small", *words) == 0
    commands, _ = children
    assert len(commands) == 3
    for number, (command, environment) in commands.items():
        assert command[1:4] == ["-m", "acdc_semicycle", "train"] and command[4].endswith("small.yaml")
        own = ["--split::fold", f"[{number},3]", "--output_dir", str(tmp_path / "out" / f"fold_{number}")]
        assert command[-4:] == own
        assert command[5:-4] == commands[0][0][5:-4] and "--labelled=3" in command
        assert not any(word.startswith(("--folds", "--jobs", "--minutes", "--output_dir=")) for word in command)
        assert environment["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"]
    assert os.environ["SEMICYCLE_CACHE"] == str(tmp_path / "out" / "cache")


@pytest.mark.parametrize(("jobs", "rounds"), [(1, 3), (2, 2), (3, 1), (9, 1)])
def test_each_round_of_folds_has_its_share_of_the_minutes_wherever_they_are_given(
    children, tmp_path, phantom_dir, capsys, jobs, rounds
):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("minutes: 30\n")
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "3", "--jobs", jobs]
    for minutes, given in ((30, [overlay, *words]), (6, [*words, "--minutes=6"])):
        assert train(*given) == 0
        for command, _ in children[0].values():
            assert [word for word in command if word.startswith("--minutes")] == [f"--minutes={minutes / rounds:g}"]
        assert capsys.readouterr().out.splitlines()[0].endswith(f" each, {minutes / rounds:g} minutes for each")


@pytest.mark.parametrize(
    ("gpus", "cores", "memory_gb", "jobs", "threads"),
    [(0, 2, 24, 2, 1), (0, 1, 24, 1, 1), (0, 8, 24, 3, 2), (0, 8, 4, 2, 4), (0, 8, 1, 1, 8), (1, 8, 24, 1, 8)],
)
def test_by_default_there_is_a_fold_for_each_core_that_the_memory_holds_or_for_each_gpu(
    children, tmp_path, phantom_dir, monkeypatch, capsys, gpus, cores, memory_gb, jobs, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    for module in (folds, scheduling):
        monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory_gb << 18}[name])
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "3"]
    assert train(*words) == 0
    at_a_time = f"3 folds, {jobs} at a time with {threads} thread" + "s" * (threads > 1)
    assert capsys.readouterr().out.splitlines()[0] == f"{at_a_time} each"
    for _, environment in children[0].values():
        assert environment["OMP_NUM_THREADS"] == str(threads)
        assert environment.get("CUDA_VISIBLE_DEVICES") == ("0" if gpus else None)


def test_without_an_output_folder_it_is_the_configurations_with_an_ending(children, tmp_path, phantom_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, name in ([], "acdc-few-folds"), (["--labelled", "3"], "acdc-few-labelled_3-folds"):
        given = ["few", "--dataset_dir", str(phantom_dir), *words, "--folds", "2"]
        monkeypatch.setattr(sys, "argv", ["semicycle", "train", *given])
        assert train(*given) == 0
        assert children[0][1][0][-1] == str(Path("runs", name, "fold_1"))


def test_a_fold_that_fails_lets_the_others_finish_and_gives_its_exit_code_and_last_lines(
    children, tmp_path, phantom_dir, capsys
):
    commands, outcomes = children
    outcomes[1] = (75, [f"line {number}" for number in range(8)])
    outcomes[2] = (1, ["reading", "error: the scan is bent", "the end"])
    out = tmp_path / "out"
    assert train("--dataset_dir", phantom_dir, *TINY, "--output_dir", out, "--folds", "3", "--jobs", "1") == 75
    assert len(commands) == 3
    printed = capsys.readouterr()
    last = "".join(f"  line {number}\n" for number in range(3, 8))
    log = out / "fold_1" / "run.log"
    expected = f"fold 2 of 3 ended with exit code 75, the last lines of {log} are:\n{last}"
    expected += f"fold 3 of 3 ended with exit code 1 ({out / 'fold_2' / 'run.log'}): error: the scan is bent\n"
    assert printed.err == expected
    assert (
        "fold 1 of 3: finished; 1/3 folds" in printed.out
        and f"fold 2 of 3: failed: exit code 75 ({log})" in printed.out
    )


def test_a_signal_that_ends_a_folds_process_is_told_as_by_a_shell(children, tmp_path, phantom_dir):
    children[1][0] = (-9, [])
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "2"]
    assert train(*words) == 137


def test_a_second_command_in_the_same_folder_is_refused_while_the_first_one_trains(children, tmp_path, phantom_dir):
    out = tmp_path / "out"
    out.mkdir()
    with locks.lock_file(out / ".lock") as lock:
        assert locks.try_lock(lock)
        with pytest.raises(InputError, match=r"out is trained in by another command: wait for it, or give another"):
            train("--dataset_dir", phantom_dir, *TINY, "--output_dir", out, "--folds", "2")
    assert children[0] == {}


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--folds", "1"], r"^1 folds of 3 labelled patients: give 2 to 3$"),
        (["--folds", "4"], r"^4 folds of 3 labelled patients: give 2 to 3$"),
        (["--folds", "all"], r"^--folds is 'all': give a number of folds, or leave-one-out$"),
        (["--folds", "-3"], r"^--folds is '-3': give a number of folds, or leave-one-out$"),
        (["--folds", "2", "--split::fold", "[0,2]"], r"^--split::fold is given, and --folds trains each fold: remove"),
        (["--folds", "2", "--jobs", "0"], r"^--jobs has '0': give whole numbers of at least 1, such as --jobs 2$"),
        (["--folds", "2", "--epohs", "3"], r"epohs.*epochs"),
        (
            ["--folds", "2", "--network_def::_target_", "torch.nn.Linear"],
            r"^the network .*Linear is not in the list of",
        ),
        (["--folds", "2", "--window", "128"], r"^window is 128: give rows and columns of at least 8, such as"),
        (["--folds", "2", "--labelled", "99"], r"^labelled is 99 patients: give 1 to"),
    ],
)
def test_what_makes_no_folds_is_refused_in_a_line_before_any_training(children, tmp_path, phantom_dir, words, refusal):
    with pytest.raises(InputError, match=refusal) as caught:
        train("--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", *words)
    assert "\n" not in str(caught.value) and children[0] == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["split.json", "models/model.pt", "folds.json", "cases.csv"])
def test_a_folder_of_something_else_is_refused(children, tmp_path, phantom_dir, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match=r"holds a training without folds: give another|is not of this program"):
        train("--dataset_dir", phantom_dir, *TINY, "--output_dir", tmp_path / "out", "--folds", "2")
    assert children[0] == {} and path.read_text() == "mine"


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
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); print(1, flush=True);"
    " time.sleep(60)"
)
STUBBORN = (  # saves its state for a minute after the first signal, and ends at the second one
    "import signal, sys, time; asked = []\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9) if asked else asked.append(print(2, flush=True)))\n"
    "print(1, flush=True); time.sleep(60); time.sleep(60)"
)
RUNNER = """import signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests
from acdc_semicycle.experiments import fold_runs
program, folder = sys.argv[1:]
command = (sys.executable, "-c", program)
code, texts = fold_runs.train_side_by_side([fold_runs.Fold(n, Path(folder) / n, command) for n in "abc"], 2)
for text in texts:
    print(text, file=sys.stderr)
sys.exit(code)"""


def until_printed(process, logs: list[Path], text: str) -> None:
    """Wait until programs have printed a text."""
    deadline = time.monotonic() + 60
    while not all(log.is_file() and log.read_text().endswith(text) for log in logs):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.02)


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 75), ("SIGUSR1", 75), ("SIGHUP", 75)])
def test_a_signal_stops_all_folds_and_its_exit_code_is_the_commands(tmp_path, sent, code):
    process = start("-c", RUNNER, WAITS, tmp_path, output=tmp_path, OMP_NUM_THREADS="1")
    until_printed(process, [tmp_path / name / "run.log" for name in "ab"], "\n1\n")
    os.kill(process.pid, getattr(signal, sent))
    process.join(60)
    assert process.exitcode == code
    assert (tmp_path / "stderr").read_text() == "stopped: the same command continues where it was\n"
    printed = (tmp_path / "stdout").read_text()
    assert "a: stopped\n" in printed and "b: stopped\n" in printed and "c: " not in printed
    assert not (tmp_path / "c" / "run.log").exists()


def test_a_second_signal_ends_the_folds_at_once(tmp_path):
    process = start("-c", RUNNER, STUBBORN, tmp_path, output=tmp_path, OMP_NUM_THREADS="1")
    logs = [tmp_path / name / "run.log" for name in "ab"]
    until_printed(process, logs, "\n1\n")
    os.kill(process.pid, signal.SIGINT)
    until_printed(process, logs, "\n2\n")
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 130


def test_what_answers_signals_is_what_it_was_before(monkeypatch):
    before = {number: signal.signal(number, signal.SIG_DFL) for number in stopping.ASKING}
    with stopping.handing_on() as asked:
        assert asked() == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked() == signals.STOPPED and execution.children.stopped
    assert all(signal.getsignal(number) == signal.SIG_DFL for number in stopping.ASKING)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_of_a_fold_is_the_one_a_shell_would_give(tmp_path, program, code):
    fold = fold_runs.Fold("a", tmp_path / "a", (sys.executable, "-c", program))
    assert fold_runs.train_side_by_side([fold], 1)[0] == code


def forked(command, title, path, environment, lock) -> tuple[int, list[str]]:
    """Run what the command becomes, in a process that has the libraries."""
    config = ROOT / "bundles" / "semicycle" / "configs" / "train.json"
    options = command[command.index("train") + 1 :]
    return run("-m", "monai.bundle", "run", "training", "--config_file", config, *options).returncode, []


def test_two_folds_of_the_phantom_are_trained_scored_continued_and_predict_together(
    tmp_path, phantom_dir, monkeypatch, capsys
):
    monkeypatch.setattr(fold_runs, "logged", forked)
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
    reports = [out / f"fold_{number}" / "validation" / "report.json" for number in range(2)]
    scored = [report.stat().st_mtime_ns for report in reports]
    (out / "folds.json").unlink()
    (out / "fold_1" / "validation" / "cases.csv").unlink()
    assert train(*words) == 0
    assert before == [(out / f"fold_{number}" / "models" / "model.pt").read_bytes() for number in range(2)]
    assert json.loads((out / "folds.json").read_text()) == content
    scored_again = [report.stat().st_mtime_ns for report in reports]
    assert scored_again[0] == scored[0] and scored_again[1] > scored[1]
    scan = next(phantom_dir.glob("**/*_frame01.nii.gz"))
    run("-m", "acdc_semicycle", "predict", scan, "-o", tmp_path / "predicted", "--model", out)
    manifest = json.loads((tmp_path / "predicted" / "predictions.json").read_text())
    assert manifest["model"]["members"] == 2 and manifest["model"]["path"] == str(out)
    assert len(manifest["cases"]) == 1 and manifest["failures"] == []


@pytest.mark.slow
def test_the_command_itself_trains_its_folds_side_by_side_stops_and_continues(tmp_path, phantom_dir):
    out = tmp_path / "out"
    words = ["--dataset_dir", phantom_dir, *TINY, "--output_dir", out, "--folds", "2", "--jobs", "2"]
    process = start("-m", "acdc_semicycle", "train", *words, "--epochs", "10000", output=tmp_path)
    deadline = time.monotonic() + 120
    while not all((out / f"fold_{number}" / "models" / "model.pt").exists() for number in range(2)):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130 and "the same command continues" in (tmp_path / "stderr").read_text()
    assert not (out / "folds.json").exists()
    epochs = []
    for number in range(2):
        log = (out / f"fold_{number}" / "run.log").read_text()
        assert "the same command continues from there" in log
        epochs.append((out / f"fold_{number}" / "learning_curve.csv").read_text().count("\n"))
    longer = str(max(epochs) + 1)
    done = run("-m", "acdc_semicycle", "train", *words, "--epochs", longer)
    assert done.stdout.splitlines()[-1] == str(out / "folds.json") and "2/2 folds, 0:00:00 left" in done.stdout
    for number in range(2):
        log = (out / f"fold_{number}" / "run.log").read_text()
        assert log.count("epoch 1/") == 1 and f"epoch {longer}/{longer}" in log
        assert (out / f"fold_{number}" / "label_maps" / "evaluation.json").is_file(), done.stdout


def test_the_verb_takes_folds_and_only_then(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(folds, "train", lambda overlays, options: taken.append((overlays, options)) or 7)
    monkeypatch.setattr(running, "become", lambda *words: 8)
    assert running.train(["--folds=3", "--epochs", "2"]) == 7 and running.train(["--epochs", "2"]) == 8
    assert taken == [([], ["--folds=3", "--epochs", "2"])]


def test_folds_without_a_folder_of_data_say_why_nothing_is_expected(tmp_path):
    assert fold_trust.fitted_in_words(tmp_path, 3, "DATA", None).startswith("no expected Dice is fitted: that takes")


def test_each_fold_segments_and_scores_whom_it_left_out_before_the_fit(tmp_path, monkeypatch):
    commands = []

    def logged(command, title, path, environment, lock):
        commands.append(command[3:])
        return (1, ["error: no scan"]) if len(commands) == 4 else (0, [])

    monkeypatch.setattr(fold_trust, "logged", logged)
    for number in range(2):
        (tmp_path / f"fold_{number}").mkdir()
    log = tmp_path / "fold_1" / "run.log"
    assert (
        fold_trust.fitted_in_words(tmp_path, 2, "DATA", "DATA") == f"no expected Dice is fitted: error: no scan ({log})"
    )
    first = str(tmp_path / "fold_0")
    assert commands[0] == ["predict", "DATA", "-o", f"{first}/label_maps", "--model", first, "--part", "validation"]
    assert commands[1] == ["evaluate", "--pred", f"{first}/label_maps", "--truth", "DATA"]
    assert len(commands) == 4
