"""Every run of a table: started, stopped, gone on with, by one runner at a time."""

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from tabulating import ROOT

from acdc_semicycle.experiments import command, execution, grid, progress, runs
from acdc_semicycle.experiments.results import Cell

# torch is slow to load, and all that is asked of it is how many devices there are
RUNNER = """import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv.pop(1) == "nohup" else signal.SIG_DFL)
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(device_count=lambda: 0))
from acdc_semicycle.experiments import command
sys.exit(command.main(sys.argv[2:], [sys.executable, sys.argv[1]]))"""


def runs_of(folder: Path) -> list[list[str]]:
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


def test_every_run_is_trained_then_evaluated_and_the_tables_written(run, capsys, tmp_path):
    assert run("acdc labels=10 method=partial,semicycle", "--jobs", "2") == 0
    said = capsys.readouterr().out
    out = tmp_path / "out"
    for method in ("partial", "semicycle"):
        folder = out / f"acdc/labels_10/{method}/seed_0"
        assert [line[0] for line in runs_of(folder)] == ["training", "evaluating"]
        record = json.loads((folder / "finished.json").read_text())
        assert record["report"] == "test/report.json" and record["seconds"] > 0
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // 2))
        assert all(line[2] == threads for line in runs_of(folder))
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
    assert len(runs_of(folder)) == 2
    assert "all 1 runs are finished" in capsys.readouterr().out
    (folder / "test" / "report.json").unlink()
    assert run(spec) == 0
    assert len(runs_of(folder)) == 4


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
    assert execution.execute(same, {}) == ""
    assert len(runs_of(same.folder)) == 2


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


def test_without_a_terminal_a_line_gives_the_time_left_ever_more_rarely(tmp_path, monkeypatch, capsys):
    run = runs.Run(Cell("acdc", "10", "partial", 0), tmp_path, (), (), ("false",))
    other = runs.Run(Cell("acdc", "10", "partial", 1), tmp_path / "1", (), (), ("false",))
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(runs.Run, "commands", lambda self: [])
    board = progress.Board([run, other], 2, "folds")
    with board:
        board.start(run)
        (tmp_path / "run.log").write_text("12:00:00 epoch 1/4, 0:01:33 left: gen_S 1\na warning\n\n")
        (tmp_path / "learning_curve.csv").write_text("epoch\n1\n")
        printed = []
        for seconds in (29, 2, 28, 2, 58, 2):
            now[0] += seconds
            board.show()
            printed.append(capsys.readouterr().out)
    assert printed[0] == "acdc 10 % partial seed 0: started; 0/2 folds, an unknown time left\n"
    last = "  acdc 10 % partial seed 0: 12:00:00 epoch 1/4, 0:01:33 left: gen_S 1\n"
    assert printed[1] == f"12 % of the epochs; 0/2 folds, 0:03:37 left\n{last}"
    assert printed[3].startswith("12 % of the epochs; 0/2 folds, 0:07:07 left") and printed[5]
    assert printed[2] == printed[4] == ""


def test_on_a_terminal_there_are_bars(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("acdc labels=10 method=semicycle", "--no-probe") == 0
    said = capsys.readouterr().out
    assert "python -m monai.bundle run training" in said and "1/1 runs, 0:00:00 left" in said and "━" in said


def test_a_run_that_another_runner_is_at_is_skipped(run, capsys, tmp_path):
    folder = tmp_path / "out/acdc/labels_10/partial/seed_0"
    folder.mkdir(parents=True)
    bundle = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    with bundle, (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{platform.node()} {os.getpid()} {bundle.pid}")
        lock.flush()
        assert run("acdc labels=10 method=partial,semicycle") == 0
        assert bundle.poll() is None
        bundle.kill()
    assert "acdc 10 % partial seed 0: skipped, another runner works on it; " in capsys.readouterr().out
    assert runs_of(folder) == []
    assert (tmp_path / "out/acdc/labels_10/semicycle/seed_0/finished.json").is_file()


@pytest.fixture
def start(fake, tmp_path):
    """A runner in a process of its own, with slow epochs; and its first run's folder."""
    runners = []

    def start(epochs=6, started_from="terminal"):
        words = [
            started_from,
            str(fake),
            "--data",
            f"acdc={tmp_path / 'data'}",
            "--out",
            str(tmp_path / "out"),
            "--no-probe",
        ]
        words += [
            "--only",
            "acdc labels=10,20 method=semicycle",
            "--epochs",
            str(epochs),
            "--pause",
            "0.2",
            "--jobs",
            "1",
        ]
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
    orphan = runs_of(folder)[0][1]
    assert lives(orphan)
    done = epochs(folder)
    runner, _ = start()
    said, _ = runner.communicate(timeout=30)
    assert runner.returncode == 0, said
    assert "2/2 runs" in said and "skipped" not in said
    assert [line[0] for line in runs_of(folder)] == ["training", "training", "evaluating"]
    log = (folder / "run.log").read_text()
    assert log.count("epoch 1/6") == 1 and log.count("epoch 6/6") == 1 and done < 6
    assert (folder / "finished.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_runner_leaves_no_child_alive(start, number):
    runner, folder = start(epochs=100)  # on a busy machine, too, it is stopped before they are over
    until(lambda: epochs(folder) >= 1)
    child = runs_of(folder)[0][1]
    runner.send_signal(number)
    said, _ = runner.communicate(timeout=10)
    assert runner.returncode == 130
    assert said.splitlines()[-1] == "stopped: the same command continues where it was"
    assert not lives(child)
    assert not (folder / "finished.json").exists() and len(runs_of(folder)) == 1


def test_a_closed_terminal_does_not_stop_a_runner_that_was_started_by_nohup(start):
    runner, folder = start(epochs=2, started_from="nohup")
    until(lambda: epochs(folder) >= 1)
    runner.send_signal(signal.SIGHUP)
    said, _ = runner.communicate(timeout=30)
    assert runner.returncode == 0 and "2/2 runs" in said


def test_submitit_runs_what_is_not_finished(run, capsys, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run("acdc labels=10 method=partial") == 0
    assert run("acdc labels=10 method=partial,semicycle", "--submit", "local", "--submit-options", "timeout_min=2") == 0
    assert len(runs_of(tmp_path / "out/acdc/labels_10/partial/seed_0")) == 2
    assert len(runs_of(tmp_path / "out/acdc/labels_10/semicycle/seed_0")) == 2
    assert len(list((tmp_path / "out/submitit").glob("*_submitted.pkl"))) == 1
    assert "| semicycle | 10 % | 1 | 0.5000 |" in capsys.readouterr().out


def test_submitit_that_is_absent_or_refuses_is_one_line(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run("acdc method=full", "--submit", "slurm") == 2
    assert capsys.readouterr().err == "error: --submit needs submitit: pip install submitit\n"
    monkeypatch.undo()


def forked(self, command, environment, log, lock):
    """Run what would be run, in a process that has the libraries."""
    assert command[0] == sys.executable
    cache = {"SEMICYCLE_CACHE": os.environ["SEMICYCLE_CACHE"]}
    ran = processes.run(*command[1:], check=False, **environment | cache)
    log.write((ran.stdout + ran.stderr).encode())
    return ran.returncode


@pytest.mark.slow
def test_a_table_of_the_real_bundle(phantom_dir, tmp_path, monkeypatch, capsys):
    """Two methods through training, evaluation and the tables, by the words that a user gives."""
    monkeypatch.setattr(execution.Children, "call", forked)
    monkeypatch.chdir(ROOT)
    small = {"image_size": "[32,32]", "filters": "4", "blocks": "1", "d_filters": "4", "epochs": "1", "batch_size": "2"}
    options = [word for key, value in (small | {"steps_per_epoch": "2"}).items() for word in (f"--{key}", value)]
    words = ["--data", f"acdc={phantom_dir}", "--only", "acdc labels=3p method=partial,semicycle", "--no-probe"]
    assert command.main([*words, "--out", str(tmp_path / "out"), *options]) == 0
    told = capsys.readouterr().out
    assert "2/2 runs, 0:00:00 left" in told
    assert told.count("python -m monai.bundle run training --config_file '[\"bundles/semicycle/") == 2
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    done = {row["method"]: row for row in rows if row["seeds"]}
    assert done.keys() == {"partial", "semicycle"} and done["semicycle"]["gain"] is not None
    splits = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("acdc/*/*/seed_0/split.json"))]
    assert len(splits) == 2 and splits[0] == splits[1] and len(splits[0]["labelled"]) == 3
    assert (tmp_path / "out" / "panel_acdc.png").is_file()
