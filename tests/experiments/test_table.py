"""The tables of the paper: the grid, its commands, running them with a stand-in for the bundle, what is reported."""

import fcntl
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from acdc_semicycle.experiments import command, grid, progress, results, runs
from acdc_semicycle.experiments.results import PAPER, Cell, Shown
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
FAKE = '''"""Stands in for python -m monai.bundle: epochs, and a report whose score is 0.5 + seed / 10."""
import json, os, sys, time
from pathlib import Path

run_id, words = sys.argv[2], sys.argv[3:]
given = dict(zip(words[::2], words[1::2]))
out, epochs = Path(given["--output_dir"]), int(given.get("--epochs", 2))
out.mkdir(parents=True, exist_ok=True)
with open(out / "processes", "a") as stream:
    stream.write(f"{run_id} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\\n")
if "--broken" in given and given["--broken"] in str(out):
    sys.exit("error: an old one of another line\\nerror: the scan is bent\\nthe end")
if run_id == "probing":
    print(json.dumps(dict(step_seconds=0.5, steps=100, validation_seconds=2, validations=4, start_seconds=3)))
elif run_id == "training":
    curve = out / "learning_curve.csv"
    rows = curve.read_text() if curve.is_file() else "epoch\\n"
    for epoch in range(rows.count("\\n"), epochs + 1):
        time.sleep(float(given.get("--pause", 0)))
        rows += f"{epoch}\\n"
        (out / "part").write_text(rows)
        (out / "part").replace(curve)
        print(f"12:00:00 epoch {epoch}/{epochs}, 0:00:01 left: gen_S 1", file=sys.stderr, flush=True)
else:
    score = 0.5 + int(given["--seed"]) / 10
    (out / "test").mkdir(exist_ok=True)
    summary = dict(dice=dict(mean=score), iou=dict(mean=score), miou=score, paper_miou=score)
    (out / "test" / "report.json").write_text(json.dumps(dict(summary=summary, cases=[])))
    print(out / "test" / "report.json")
'''
# torch is slow to load, and all that is asked of it is how many devices there are
RUNNER = """import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(device_count=lambda: 0))
from acdc_semicycle.experiments import command
sys.exit(command.main(sys.argv[2:], [sys.executable, sys.argv[1]]))"""


@pytest.fixture(autouse=True)
def no_data_in_the_environment(monkeypatch):
    for name in grid.FOLDERS.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SEMICYCLE_CACHE", "")  # so that what a test sets is taken back
    monkeypatch.delenv("SEMICYCLE_CACHE")


@pytest.fixture
def fake(tmp_path):
    """The stand-in; the data folder and the output folder lie beside it."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


@pytest.fixture
def run(fake, tmp_path, monkeypatch):
    """Run the command in this process with the stand-in: its exit code."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    def main(spec, *arguments):
        only = ["--only", spec] if spec else []
        words = ["--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out"), *only, *arguments]
        return command.main(words, [sys.executable, str(fake)])

    return main


def processes(folder: Path) -> list[list[str]]:
    path = folder / "processes"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def asked(*specs, **further):
    return [(c.dataset, c.method, c.labels, c.seed) for c in grid.cells(grid.Options(only=list(specs), **further))]


# the grid


def test_the_default_grid_is_the_papers_two_tables():
    cells = grid.cells(grid.Options(data={"acdc": "a", "voc": "b", "cityscapes": "c"}))
    shared = {("full", "100"), ("hung", "20")}
    shared |= {(method, labels) for method in ("partial", "semicycle") for labels in ("50", "30", "20", "10")}
    ablations = {(f"no_{name}", "20") for name in ("cycle_S", "cycle_I", "disc_S", "disc_I")}
    for dataset in ("acdc", "voc", "cityscapes"):
        rows = [(cell.method, cell.labels) for cell in cells if cell.dataset == dataset]
        assert set(rows) == shared | (ablations if dataset == "voc" else set())
        assert len(rows) == len(set(rows))
    assert len(cells) == 34 and {cell.seed for cell in cells} == {0}


def test_data_sets_come_from_the_environment_only_where_none_is_given(monkeypatch):
    monkeypatch.setenv("VOC_DIR", "somewhere")
    assert {cell.dataset for cell in grid.cells(grid.Options())} == {"voc"}
    assert {cell.dataset for cell in grid.cells(grid.Options(data={"acdc": "a"}))} == {"acdc"}


def test_a_part_of_the_grid():
    assert asked("acdc labels=10,3p method=partial,semicycle", seeds=[0, 2]) == [
        ("acdc", method, labels, seed)
        for method in ("partial", "semicycle")
        for labels in ("10", "3p")
        for seed in (0, 2)
    ]


def test_a_part_without_labels_has_the_papers_and_full_has_all():
    assert asked("voc method=hung,no_disc_I,full") == [
        ("voc", "hung", "20", 0),
        ("voc", "no_disc_I", "20", 0),
        ("voc", "full", "100", 0),
    ]
    assert len(asked("acdc,voc")) == 20 and len(asked("acdc", "acdc")) == 10
    assert asked("voc labels=10,20.0 method=full,hung") == [
        ("voc", "full", "100", 0),
        ("voc", "hung", "10", 0),
        ("voc", "hung", "20", 0),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "mnist"], "'mnist' is no data set: give one of voc, cityscapes, acdc"),
        (["--only", ""], "--only has no value"),
        (["--only", "acdc method=unimatch"], "'unimatch' is no method: give one of full, hung, partial, semicycle"),
        (["--only", "acdc labels=many"], "labels=many is not understood"),
        (["--only", "acdc labels=0"], "labels=0 is"),
        (["--only", "acdc labels=101"], "labels=101 is"),
        (["--only", "acdc labels=0p"], "labels=0p is"),
        (["--only", "acdc 20"], "has '20': give labels=20,10"),
        (["--only", "acdc labels="], "has 'labels='"),
        (["--only", "voc"], "no folder of voc is given: say --data voc=PATH, or set VOC_DIR"),
        (["--data", "mnist=."], "'mnist' is no data set"),
        (["--data", "voc=nowhere"], "'nowhere' is no folder"),
        (["--data", "voc"], "'' is no folder"),
        (["--seeds", "one"], "--seeds has 'one'"),
        (["--jobs", "0"], "--jobs has '0'"),
        (["--jobs"], "--jobs has no value"),
        (["--epochs", "--amp", "True"], "--epochs has no value"),
        (["--data", "/there/acdc"], "give the data set's name, too, such as --data acdc=/there/acdc"),
        (["--epochs", "3", "tiny"], "'tiny' is not understood"),
        (["--submit", "moon"], "'moon' is no place to submit to: give one of slurm, local"),
        (["--submit-options", "timeout"], "--submit-options has 'timeout'"),
        (["--seed", "1"], "--seed is for the table to give to each run: say it by --seeds"),
        (["--output_dir", "x"], "say it by --out"),
        (["--report", "results"], "takes nothing beside it"),
    ],
)
def test_what_is_not_understood_is_one_line(run, capsys, arguments, words, tmp_path):
    assert run("", *arguments) == 2
    text = capsys.readouterr().err
    assert words in text and text.startswith("error: ") and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_misspelt_key_is_named_before_anything_is_printed(capsys, tmp_path):
    for word, meant in (("sseds", "seeds"), ("epoch", "epochs"), ("xyzzy", "take it out")):
        assert command.main(["--data", f"acdc={tmp_path}", f"--{word}", "1", "--dry-run"]) == 2
        said = capsys.readouterr()
        assert f"--{word} is no key of the bundle" in said.err and meant in said.err and not said.out


def test_without_data_or_with_an_unknown_overlay_nothing_starts(capsys):
    assert command.main([]) == 2
    assert "no data set is given: say --data acdc=PATH" in capsys.readouterr().err
    assert command.main(["enormous"]) == 2
    assert "'enormous' is no overlay" in capsys.readouterr().err


# the commands


def commands(run, capsys, *arguments):
    assert run(*arguments, "--dry-run") == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_a_cell_is_the_bundle_with_overlays_and_nothing_else(fake, capsys, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    words = ["tiny", "--data", f"voc={data}", "--only", "voc labels=20 method=partial", "--out", str(out)]
    assert command.main([*words, "--dry-run", "--image_size", "[96,96]", "--weights::gen_S=10"], ["false"]) == 0
    train, evaluate = (shlex.split(line) for line in capsys.readouterr().out.splitlines())
    bundle, configs = ROOT / "bundles/semicycle/configs", ROOT / "configs"
    files = [bundle / "train.json", *(configs / f"{name}.yaml" for name in ("voc", "tiny", "partial", "labels_20"))]
    assert train[:6] == ["python", "-m", "monai.bundle", "run", "training", "--config_file"]
    assert [os.path.abspath(file) for file in json.loads(train[6])] == [str(file) for file in files]
    options = ["--output_dir", str(out / "voc/labels_20/partial/seed_0"), "--dataset_dir", str(data), "--seed", "0"]
    assert train[7:] == [*options, "--image_size", "[96,96]", "--weights::gen_S", "10"]
    assert evaluate[4] == "evaluating" and evaluate[7:] == train[7:]
    assert json.loads(evaluate[6])[:-1] == json.loads(train[6])
    assert os.path.abspath(json.loads(evaluate[6])[-1]) == str(bundle / "evaluate.json")
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "overlays"),
    [
        ("full", ["partial", "labels_100"]),
        ("hung", ["hung", "labels_10"]),
        ("semicycle", ["labels_10"]),
        ("no_cycle_S", ["ablation_no_cycle_S", "labels_10"]),
    ],
)
def test_each_method_has_its_overlay(run, capsys, method, overlays):
    train, _ = commands(run, capsys, f"acdc labels=10 method={method}")
    assert [Path(file).stem for file in json.loads(train[6])] == ["train", *overlays]


@pytest.mark.parametrize(("labels", "labelled"), [("3p", "3"), ("15", "0.15"), ("7", "0.07"), ("12.5", "0.125")])
def test_labels_without_an_overlay_are_an_option(run, capsys, labels, labelled):
    train, _ = commands(run, capsys, f"acdc labels={labels} method=semicycle")
    assert [Path(file).stem for file in json.loads(train[6])] == ["train"]
    assert train[train.index("--labelled") + 1] == labelled
    assert f"labels_{labels}/" in train[train.index("--output_dir") + 1]


def test_each_run_has_its_share_of_the_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert command.environments(0) == [{"OMP_NUM_THREADS": "8"}]
    assert command.environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    threads = {"OMP_NUM_THREADS": "4"}
    assert command.environments(0) == [threads | {"CUDA_VISIBLE_DEVICES": n} for n in "01"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {place["OMP_NUM_THREADS"] for place in command.environments(0)} == {"3"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in command.environments(3)] == ["5", "7", "5"]


def test_runs_share_what_they_prepare_unless_the_user_has_a_place_for_it(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    given = ["tiny", "--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out")]
    options = command.Options.read(given)
    command.carry_out([], 0, options)
    assert os.environ["SEMICYCLE_CACHE"] == str(tmp_path / "out" / "cache")
    monkeypatch.setenv("SEMICYCLE_CACHE", "mine")
    command.carry_out([], 0, options)
    assert os.environ["SEMICYCLE_CACHE"] == "mine"


# running


def test_every_run_is_trained_then_evaluated_and_the_tables_written(run, capsys, tmp_path):
    assert run("acdc labels=10 method=partial,semicycle", "--jobs", "2") == 0
    said = capsys.readouterr().out
    out = tmp_path / "out"
    for method in ("partial", "semicycle"):
        folder = out / f"acdc/labels_10/{method}/seed_0"
        assert [line[0] for line in processes(folder)] == ["training", "evaluating"]
        record = json.loads((folder / "finished.json").read_text())
        assert record["report"] == "test/report.json" and record["seconds"] > 0
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // 2))
        assert all(line[2] == threads for line in processes(folder))
        assert record["command"].startswith("python -m monai.bundle run training --config_file ")
        assert said.index(record["command"]) < said.index(f"acdc 10 % {method} seed 0: started")
        assert "epoch 2/2" in (folder / "run.log").read_text()
    assert "about 0:01:01 for 2 runs, 2 at a time, on this machine" in said  # 3 + 100 x 0.5 + 4 x 2 seconds each
    assert ": finished; 2/2 runs, 0:00:00 left" in said
    assert "| partial | 10 % | 1 | 0.5000 |" in (out / "table.md").read_text()
    assert {path.name for path in out.glob("table.*")} == {"table.md", "table.csv", "table.json"}


def test_what_is_finished_is_not_run_again_but_without_its_report_it_is(run, capsys, tmp_path):
    spec, folder = "acdc labels=10 method=partial", tmp_path / "out/acdc/labels_10/partial/seed_0"
    assert run(spec) == 0 and run(spec) == 0
    assert len(processes(folder)) == 2
    assert "all 1 runs are finished" in capsys.readouterr().out
    (folder / "test" / "report.json").unlink()
    assert run(spec) == 0
    assert len(processes(folder)) == 4


def test_a_finished_run_of_another_command_is_refused_before_anything_starts(run, capsys, tmp_path):
    assert run("acdc labels=10 method=semicycle", "--epochs", "3") == 0
    capsys.readouterr()
    assert run("acdc labels=10 method=partial,semicycle", "--epochs", "4") == 2
    error = capsys.readouterr().err
    assert "was run with --epochs 3, here it is --epochs 4: give another --out" in error and error.count("\n") == 1
    assert not (tmp_path / "out/acdc/labels_10/partial").exists()


def test_a_run_that_another_runner_has_finished_meanwhile_is_left_alone(run, fake, tmp_path):
    assert run("acdc labels=10 method=semicycle") == 0
    words = ["--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out")]
    same = runs.Run.of(Cell("acdc", "10", "semicycle", 0), grid.Options.read(words), (sys.executable, str(fake)))
    assert runs.execute(same, {}) == ""
    assert len(processes(same.folder)) == 2


def test_the_same_run_from_another_folder_is_the_same_run(run, tmp_path, monkeypatch):
    assert run("acdc labels=10 method=semicycle") == 0
    monkeypatch.chdir(tmp_path)
    words = ["--data", "acdc=data", "--out", "out", "--only", "acdc labels=10 method=semicycle"]
    assert command.main(words, ["false"]) == 0


def test_a_failed_run_is_shown_and_the_others_go_on(run, capsys, tmp_path):
    assert run("acdc labels=10 method=partial,semicycle", "--seeds", "0,1", "--broken", "partial/seed_0") == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("failed: acdc 10 % partial seed 0: error: the scan is bent (")
    assert told.err.count("\n") == 1 and "4/4 runs" in told.out
    assert len(list((tmp_path / "out").glob("**/finished.json"))) == 3
    assert "| partial | 10 % | 1 | 0.6000 |" in told.out


def test_a_probe_is_made_once_for_a_data_set_and_method(run, capsys, tmp_path):
    spec = "acdc labels=10,20 method=full,partial,semicycle,no_cycle_S,no_disc_I"
    assert run(spec, "--seeds", "0,1", "--broken", "/labels_") == 1
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("probing")] == [
        "probing acdc partial",
        "probing acdc semicycle",
    ]
    assert "about 0:18:18 for 18 runs, 1 at a time, on this machine" in said
    assert list(json.loads((tmp_path / "out/probe.json").read_text()).values()) == [61, 61]
    assert run(spec, "--seeds", "0,1", "--broken", "/labels_") == 1
    assert "probing" not in capsys.readouterr().out


def test_a_probe_that_fails_or_is_not_wanted_is_not_the_end(run, capsys, tmp_path):
    assert run("acdc labels=10 method=semicycle", "--broken", "/probe/") == 0
    said = capsys.readouterr().out
    assert "acdc 10 % semicycle seed 0: not known how long it takes" in said and "an unknown time" in said
    assert json.loads((tmp_path / "out/probe.json").read_text()) == {}
    assert run("acdc labels=20 method=semicycle", "--broken", "/probe/", "--no-probe") == 0
    assert "probing" not in capsys.readouterr().out


def test_the_time_left_follows_the_epochs_done(tmp_path, monkeypatch):
    two = [runs.Run(Cell("acdc", "10", "partial", seed), tmp_path / str(seed), (), (), ("false",)) for seed in range(2)]

    def done(run, epochs):
        run.folder.mkdir(exist_ok=True)
        (run.folder / "learning_curve.csv").write_text("epoch\n" + "1\n" * epochs)
        (run.folder / "run.log").write_text("epoch 1/9, then it was stopped\n12:00:00 epoch 3/10, left: 4\n")

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    done(two[0], 4)  # before this start
    shown = progress.Board(two, 3)
    assert shown.state() == "1/3 runs, an unknown time left"
    shown.expect({two[0]: 100.0, two[1]: 100.0}, 1)
    assert shown.left() == "0:02:40"
    with shown:
        now[0] += 20
        done(two[0], 6)
        shown.show()
        assert shown.left() == "0:02:20"  # 20 of 160 expected seconds took 20
        shown.end(two[0], "")
        shown.end(two[1], "broken")
        assert shown.state() == "3/3 runs, 0:00:00 left"


def test_on_a_terminal_there_are_bars(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("acdc labels=10 method=semicycle", "--no-probe") == 0
    said = capsys.readouterr().out
    assert "python -m monai.bundle run training" in said and "1/1 runs, 0:00:00 left" in said and "━" in said


def test_a_run_that_another_runner_is_at_is_skipped(run, capsys, tmp_path):
    folder = tmp_path / "out/acdc/labels_10/partial/seed_0"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{runs.platform.node()} {os.getpid()} {os.getpid()}")
        lock.flush()
        assert run("acdc labels=10 method=partial,semicycle") == 0
    assert "acdc 10 % partial seed 0: skipped, another runner is at it; " in capsys.readouterr().out
    assert processes(folder) == []
    assert (tmp_path / "out/acdc/labels_10/semicycle/seed_0/finished.json").is_file()


@pytest.fixture
def start(fake, tmp_path):
    """A runner in a process of its own, with slow epochs; and its first run's folder."""
    runners = []

    def start():
        words = [str(fake), "--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out"), "--no-probe"]
        words += ["--only", "acdc labels=10,20 method=semicycle", "--epochs", "6", "--pause", "0.2", "--jobs", "1"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        runners.append(process)
        return process, tmp_path / "out/acdc/labels_10/semicycle/seed_0"

    yield start
    for process in runners:
        process.kill()
        process.wait()


def epochs(folder: Path) -> int:
    curve = folder / "learning_curve.csv"
    return curve.read_text().count("\n") - 1 if curve.is_file() else 0


def test_a_killed_runner_goes_on_where_it_was_and_its_orphan_is_ended(start):
    runner, folder = start()
    until(lambda: epochs(folder) >= 2)
    runner.kill()
    runner.wait()
    orphan = processes(folder)[0][1]
    assert lives(orphan)
    done = epochs(folder)
    runner, _ = start()
    said, _ = runner.communicate(timeout=30)
    assert runner.returncode == 0, said
    assert "2/2 runs" in said and "skipped" not in said
    assert [line[0] for line in processes(folder)] == ["training", "training", "evaluating"]
    log = (folder / "run.log").read_text()
    assert log.count("epoch 1/6") == 1 and log.count("epoch 6/6") == 1 and done < 6
    assert (folder / "finished.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_runner_leaves_no_child_alive(start, number):
    runner, folder = start()
    until(lambda: epochs(folder) >= 1)
    child = processes(folder)[0][1]
    runner.send_signal(number)
    said, _ = runner.communicate(timeout=10)
    assert runner.returncode == 130
    assert said.splitlines()[-1] == "stopped: the same command goes on where it was"
    assert not lives(child)
    assert not (folder / "finished.json").exists() and len(processes(folder)) == 1


# submitit


def test_submitit_runs_what_is_not_finished(run, capsys, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run("acdc labels=10 method=partial") == 0
    assert run("acdc labels=10 method=partial,semicycle", "--submit", "local", "--submit-options", "timeout_min=2") == 0
    assert len(processes(tmp_path / "out/acdc/labels_10/partial/seed_0")) == 2
    assert len(processes(tmp_path / "out/acdc/labels_10/semicycle/seed_0")) == 2
    assert len(list((tmp_path / "out/submitit").glob("*_submitted.pkl"))) == 1
    assert "| semicycle | 10 % | 1 | 0.5000 |" in capsys.readouterr().out


def test_submitit_that_is_absent_or_refuses_is_one_line(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run("acdc method=full", "--submit", "slurm") == 2
    assert capsys.readouterr().err == "error: --submit needs submitit: pip install submitit\n"
    monkeypatch.undo()


def test_submit_options_are_words_and_numbers():
    options = grid.Options.read(["--submit-options", "timeout_min=600 slurm_partition=gpu gpus_per_node=1"])
    assert options.submit_options == {"timeout_min": 600, "slurm_partition": "gpu", "gpus_per_node": 1}


# the tables


def finish(out, dataset, labels, method, seed, cases, scores=None, note=None):
    """A finished run made by hand; ``scores`` of the summary, by default the mean of the cases."""
    folder = out / Cell(dataset, labels, method, seed).place / "test"
    folder.mkdir(parents=True)
    known = [value for value in cases.values() if value is not None]
    mean = sum(known) / len(known)
    summary = {"dice": {"mean": mean}, "iou": {"mean": mean - 0.1}, "miou": mean + 0.1, "paper_miou": mean + 0.2}
    report = {
        "summary": summary | (scores or {}),
        "cases": [
            {
                "case": name,
                "dice": {"mean": value if dataset == "acdc" else None},
                "iou": {"mean": None if dataset == "acdc" else value},
            }
            for name, value in cases.items()
        ],
        "note": note,
        "part": "test",
        "classes": ["background", "a", "b"],
        "colours": [[0, 0, 0], [255, 0, 0], [0, 0, 255]],
    }
    (folder / "report.json").write_text(json.dumps(report))
    record = {"report": "test/report.json", "command": f"the command of {method} {seed}", "settings": [], "seconds": 1}
    (folder.parent / "finished.json").write_text(json.dumps(record))
    return folder


def row(out, method, labels, number=1):
    rows = json.loads((out / "table.json").read_text())["rows"]
    (found,) = [r for r in rows if (r["table"], r["method"], r["labels"]) == (number, method, labels)]
    return found


def test_the_papers_numbers_are_the_papers():
    assert PAPER["full", "100"] == {"voc": 0.5543, "cityscapes": 0.5551, "acdc": 0.8982}
    assert PAPER["semicycle", "20"] == {"voc": 0.2981, "cityscapes": 0.4321, "acdc": 0.8688}
    for labels in ("50", "30", "20", "10"):  # theirs gains everywhere
        for dataset, number in PAPER["partial", labels].items():
            assert PAPER["semicycle", labels][dataset] > number
    assert {name: PAPER[name, "20"]["voc"] for name in results.ABLATIONS} == {
        "no_cycle_S": 0.2627,
        "no_cycle_I": 0.2733,
        "no_disc_S": 0.2614,
        "no_disc_I": 0.2543,
    }


def test_a_row_is_the_mean_and_deviation_over_seeds_beside_the_papers_number(tmp_path):
    for seed, dice in ((0, 0.5), (1, 0.7), (2, 0.9)):
        finish(tmp_path, "acdc", "20", "partial", seed, {"p": dice})
    text = results.write(tmp_path)
    found = row(tmp_path, "partial", "20")
    assert found["dice"] == pytest.approx(0.7) and found["dice_std"] == pytest.approx(0.2)
    assert found["iou"] == pytest.approx(0.6) and found["paper_miou"] == pytest.approx(0.9)
    assert found["published"] == 0.8642 and found["seeds"] == [0, 1, 2]
    assert "| partial | 20 % | 3 | 0.7000 ± 0.2000 | 0.6000 ± 0.2000 | 0.9000 ± 0.2000 | 0.8642 | - | - |" in text
    assert "| hung | 20 % | - | - | - | - | 0.8063 | - | - |" in text


def test_one_seed_is_just_the_value_and_pictures_are_scored_by_miou(tmp_path):
    finish(tmp_path, "voc", "20", "partial", 0, {"a": 0.2, "b": 0.4})
    text = results.write(tmp_path)
    assert "| method | labels | seeds | mIoU | paper's mIoU | paper | gain over partial |" in text
    assert "| partial | 20 % | 1 | 0.4000 | 0.5000 | 0.2688 | - | - |" in text


def test_the_rows_are_as_the_paper_orders_them_and_further_ones_follow(tmp_path):
    finish(tmp_path, "acdc", "3p", "partial", 0, {"p": 0.5})
    finish(tmp_path, "acdc", "15", "partial", 0, {"p": 0.5})
    rows = [(r["method"], r["labels"]) for r in results.table_rows(results.finished_runs(tmp_path))]
    of = {method: [labels for name, labels in rows if name == method] for method, _ in rows}
    assert list(of) == ["full", "hung", "partial", "semicycle"]
    assert of["partial"] == ["50", "30", "20", "15", "10", "3p"] and of["semicycle"] == ["50", "30", "20", "10"]
    assert "| partial | 3 patients | 1 | 0.5000 |" in results.write(tmp_path)


OURS = {f"c{n}": 0.5 + 0.03 * n for n in range(10)}
THEIRS = {f"c{n}": 0.5 + 0.03 * n - 0.02 * (n % 4) + 0.013 for n in range(10)}


def test_the_gain_is_paired_by_case_over_the_seeds_of_both(tmp_path):
    shifted = {name: value + 0.1 for name, value in OURS.items()}
    for seed, cases in ((0, OURS), (1, shifted), (5, {"c0": 0.9})):
        finish(tmp_path, "acdc", "20", "semicycle", seed, cases)
    for seed in (0, 1, 7):
        finish(tmp_path, "acdc", "20", "partial", seed, THEIRS)
    text = results.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    gain = np.mean([*OURS.values()]) + 0.05 - np.mean([*THEIRS.values()])
    assert found["gain"] == pytest.approx(gain)
    means = [OURS[name] + 0.05 for name in OURS]
    assert found["p"] == pytest.approx(wilcoxon(means, [*THEIRS.values()]).pvalue) and found["n"] == 10
    assert f"| {gain:+.4f} | p = {found['p']:.3f}, n = 10 |" in text


def test_all_terms_stand_beside_the_ablations_by_the_same_seeds(tmp_path):
    for method, seed, score in (("semicycle", 0, 0.6), ("semicycle", 1, 0.8), ("no_disc_S", 0, 0.5)):
        finish(tmp_path, "acdc", "20", method, seed, {"a": score})
    results.write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    seeds = {row["table"]: row["seeds"] for row in rows if (row["method"], row["labels"]) == ("semicycle", "20")}
    assert seeds == {1: [0, 1], 2: [0]}


def test_a_patient_is_one_pair_whatever_seeds_and_volumes_report_it(tmp_path):
    def volumes(scores, seed):
        found = finish(tmp_path, "acdc", "20", "semicycle" if scores is OURS else "partial", seed, scores)
        report = json.loads((found / "report.json").read_text())
        for n, case in enumerate(report["cases"]):
            case["patient"] = f"p{n // 2 + 2 * seed}"  # two volumes each; other test patients with another seed
        (found / "report.json").write_text(json.dumps(report))

    for seed in (0, 1):
        volumes(OURS, seed)
        volumes(THEIRS, seed)
    results.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert found["n"] == 7

    def by_patient(scores):
        pairs = [(scores[f"c{2 * n}"] + scores[f"c{2 * n + 1}"]) / 2 for n in range(5)]
        return [np.mean([pairs[p - shift] for shift in (0, 2) if 0 <= p - shift < 5]) for p in range(7)]

    assert found["p"] == pytest.approx(wilcoxon(by_patient(OURS), by_patient(THEIRS)).pvalue)


def test_a_case_without_a_score_is_no_pair_and_ties_have_no_p(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.5, "b": None, "c": 0.6})
    finish(tmp_path, "acdc", "20", "partial", 0, {"a": 0.5, "b": 0.4, "c": 0.6, "d": 0.1})
    text = results.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert found["n"] == 2 and found["p"] is None and found["gain"] == pytest.approx(0.15)
    assert "| +0.1500 | - |" in text


def test_seeds_that_only_one_of_both_has_make_no_gain(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, OURS)
    finish(tmp_path, "acdc", "20", "partial", 1, THEIRS)
    results.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert (found["gain"], found["p"], found["n"]) == (None, None, None)


def test_table_2_has_all_terms_and_each_left_out(tmp_path):
    finish(tmp_path, "voc", "20", "semicycle", 0, {"a": 0.2})
    finish(tmp_path, "voc", "20", "no_cycle_S", 0, {"a": 0.1})
    text = results.write(tmp_path)
    _, second = text.split("## Table 2: voc")
    assert "| all terms | 20 % | 1 | 0.3000 | 0.4000 | 0.2981 |" in second
    assert "| without cycle_S | 20 % | 1 | 0.2000 | 0.3000 | 0.2627 |" in second
    assert "| without disc_I | 20 % | - | - | - | 0.2543 |" in second
    assert "no_cycle_S" not in text.split("## Table 2")[0]


def test_a_data_set_without_ablations_has_no_table_2(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    assert "Table 2" not in results.write(tmp_path)


def test_below_the_tables_stands_what_they_are_not_and_every_command(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}, note="chosen on these")
    finish(tmp_path, "acdc", "20", "semicycle", 1, {"a": 0.2}, note="chosen on these")
    results.write(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.count(results.INCOMPARABLE) == 1 and text.count("chosen on these") == 1
    assert "the command of semicycle 0\n" in text and "the command of semicycle 1\n" in text


def test_the_csv_has_the_rows_of_the_json(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    finish(tmp_path, "voc", "20", "no_disc_S", 1, {"a": 0.2})
    results.write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    with (tmp_path / "table.csv").open(newline="") as stream:
        read = list(results.csv.DictReader(stream))
    assert len(read) == len(rows) == 25
    for one, other in zip(read, rows, strict=True):
        assert {k: v for k, v in one.items() if v} == {
            k: " ".join(map(str, v)) if k == "seeds" else str(v) for k, v in other.items() if v not in (None, [])
        }


def test_report_needs_a_finished_run(tmp_path, capsys):
    assert command.main(["--report", str(tmp_path)]) == 2
    assert "holds no finished run: give the --out folder" in capsys.readouterr().err
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    assert command.main(["--report", str(tmp_path)]) == 0
    assert "## Table 1: acdc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"), [*itertools.product(["test/report.json", "finished.json"], ["{", "[]", "{}"])]
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, capsys, name, text):
    folder = finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}).parent
    (folder / name).write_text(text)
    assert command.main(["--report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / name} is damaged (") and error.count("\n") == 1, error


# the panel


def panel(folder, *names, size=(20, 40)):
    shape = {"image": (*size, 3), "truth": size, "prediction": size}
    arrays = {f"{k}_{n}": np.zeros(shape[k], np.uint8) for k in shape for n in range(len(names))}
    for n in range(len(names)):
        arrays[f"truth_{n}"][:5] = 1
        arrays[f"truth_{n}"][-5:] = 255
    np.savez(folder / "panel.npz", names=np.array(names), **arrays)


def test_the_panel_has_a_column_a_method_and_a_row_a_common_case(tmp_path):
    for method, labels, names in (
        ("partial", "20", ("a", "b", "c")),
        ("semicycle", "20", ("b", "c", "d")),
        ("full", "100", ("c", "b")),
    ):
        panel(finish(tmp_path, "acdc", labels, method, 0, {"a": 0.2}), *names)
    results.write(tmp_path)
    import matplotlib.image

    height, width, _ = matplotlib.image.imread(tmp_path / "panel_acdc.png").shape
    assert width == pytest.approx(5 * 2.2 * 110, abs=1)
    assert height == pytest.approx((2 * 2.2 / 2 + 0.4 + 0.25) * 110, abs=1)


def test_without_images_the_panel_has_nothing_of_the_data_set(tmp_path):
    for method in ("partial", "semicycle"):
        panel(finish(tmp_path, "acdc", "20", method, 0, {"a": 0.2}), "a")
    shown = {
        method: {"a": Shown(*(np.full((8, 8), value, np.uint8) for value in (99, 1, k)))}
        for k, method in enumerate("pq")
    }
    figure = results.panel_figure(["a"], shown, ["background", "x"], [[0, 0, 0], [255, 0, 0]], images=False)
    drawn = [axis.images[0].get_array() for axis in figure.axes]
    assert len(drawn) == 2 and not drawn[0].any()  # neither the image nor its truth
    assert drawn[1][0, 0].tolist() == [140, 0, 0]
    assert command.main(["--report", str(tmp_path), "--no-images"]) == 0


def test_the_panel_shows_the_labels_that_most_methods_have_at_the_lowest_seed(tmp_path):
    for method, labels, seed in (
        ("partial", "50", 0),
        ("partial", "10", 0),
        ("partial", "10", 2),
        ("semicycle", "10", 1),
        ("semicycle", "50", 0),
        ("semicycle", "3p", 0),
        ("hung", "20", 0),
        ("full", "100", 3),
    ):
        panel(finish(tmp_path, "acdc", labels, method, seed, {"a": 0.2}), "a")
    chosen = results.side_by_side(results.finished_runs(tmp_path))
    assert {title: run.cell.seed for title, run in chosen.items()} == {
        "partial, 10 %": 0,
        "semicycle, 10 %": 1,
        "full, 100 %": 3,
    }


def test_20_percent_is_shown_where_as_many_methods_have_it(tmp_path):
    for labels in ("10", "20"):
        for method in ("partial", "semicycle"):
            panel(finish(tmp_path, "acdc", labels, method, 0, {"a": 0.2}), "a")
    assert list(results.side_by_side(results.finished_runs(tmp_path))) == ["partial, 20 %", "semicycle, 20 %"]


def test_no_panel_without_a_common_case(tmp_path):
    panel(finish(tmp_path, "acdc", "20", "partial", 0, {"a": 0.2}), "a")
    panel(finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}), "b")
    results.write(tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_classes_are_laid_over_the_picture_background_and_ignored_are_not():
    image = np.full((1, 4), 100, np.uint8)
    painted = results.paint(image, np.array([[0, 1, 2, 255]], np.uint8), [[9, 9, 9], [200, 0, 0], [0, 0, 255]], 1)
    np.testing.assert_array_equal(painted[0], [[100] * 3, [155, 44, 44], [44, 44, 185], [100] * 3])
    np.testing.assert_array_equal(image, 100)
    first = results.paint(image, np.array([[0, 1, 2, 255]], np.uint8), [[9, 9, 9], [200, 0, 0], [0, 0, 255]], 0)
    assert first[0, 0].tolist() == [49, 49, 49]


def test_the_legend_has_the_classes_that_occur():
    mask = np.array([[0, 2], [2, 255]], np.uint8)
    shown = {"a": Shown(np.zeros((2, 2), np.uint8), mask, np.zeros((2, 2), np.uint8))}
    colours = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    figure = results.panel_figure(["a"], {"partial": shown}, ["background", "x", "y"], colours)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["y"]
    streets = results.panel_figure(["a"], {"partial": shown}, ["road", "x", "y"], colours)
    assert [text.get_text() for text in streets.legends[0].get_texts()] == ["road", "y"]


def test_input_errors_are_value_errors():
    with pytest.raises(InputError, match="no method"):
        grid.specified("acdc method=x")


@pytest.mark.slow
def test_a_table_of_the_real_bundle(phantom_dir, tmp_path):
    """Two methods through training, evaluation and the tables, as a user does it."""
    small = {"image_size": "[32,32]", "filters": "4", "blocks": "1", "d_filters": "4", "epochs": "1", "batch_size": "2"}
    options = [word for key, value in (small | {"steps_an_epoch": "2"}).items() for word in (f"--{key}", value)]
    words = ["--data", f"acdc={phantom_dir}", "--only", "acdc labels=3p method=partial,semicycle"]
    ran = subprocess.run(
        [sys.executable, "-m", "acdc_semicycle", "table", *words, "--out", str(tmp_path / "out"), *options],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert "about 0:" in ran.stdout and "2/2 runs, 0:00:00 left" in ran.stdout
    assert ran.stdout.count("python -m monai.bundle run training --config_file '[\"bundles/semicycle/") == 2
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    done = {row["method"]: row for row in rows if row["seeds"]}
    assert done.keys() == {"partial", "semicycle"} and done["semicycle"]["gain"] is not None
    splits = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("acdc/*/*/seed_0/split.json"))]
    assert len(splits) == 2 and splits[0] == splits[1] and len(splits[0]["labelled"]) == 3
    assert (tmp_path / "out" / "panel_acdc.png").is_file()
