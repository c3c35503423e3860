"""How far the runs of a table are, and how long they take."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from acdc_semicycle.experiments.execution import BUSY, call
from acdc_semicycle.experiments.grid import Options
from acdc_semicycle.experiments.paper import ABLATIONS
from acdc_semicycle.experiments.results import Cell
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.experiments.runs import Run
from acdc_semicycle.runtime.files import read_json, write_text

PROBED = {"full": "partial"} | dict.fromkeys(ABLATIONS, "semicycle")  # what takes as long


def expectations(
    runs: list[Run], options: Options, environment: dict[str, str], say: Callable[[str], None]
) -> dict[Run, float]:
    """Seconds of each whole run, from a few timed steps of each data set and method; kept in probe.json.

    What cannot be probed has none: its run will show what is wrong.
    """
    path = options.out / "probe.json"
    known = read_json(path) if path.is_file() else {}
    seconds = {}
    for run in runs:
        cell = Cell(run.cell.dataset, "20", PROBED.get(run.cell.method, run.cell.method), 0)
        probe = Run.of(cell, options, run.launcher)
        probe = replace(probe, folder=options.out / "probe" / f"{cell.dataset}_{cell.method}")
        threads = environment.get("OMP_NUM_THREADS", "all")
        key = f"{shlex.join([*probe.settings])} with {threads} threads"
        if key not in known:
            say(f"probing {cell.dataset} {cell.method}")
            known[key] = _probe(probe, environment)
            write_text(path, json.dumps({k: v for k, v in known.items() if v}, indent=1) + "\n")
        if known[key]:
            seconds[run] = known[key]
        else:
            say(f"{run.cell}: not known how long it takes ({probe.folder / 'run.log'})")
    return seconds


def _probe(run: Run, environment: dict[str, str]) -> float | None:
    """Expected seconds of a run; None where its probe fails."""
    with run_lock(run.folder) as lock:
        code, said = call(run, "probing", environment, lock) if lock else (1, [])
    try:
        told = json.loads(said[-1]) if said and not code else {}
        steps, validations = told["steps"] * told["step_seconds"], told["validations"] * told["validation_seconds"]
        return told["start_seconds"] + steps + validations
    except (KeyError, TypeError, ValueError):
        return None


class Board:
    """How far the runs are: their commands, a line where one starts or ends, and on a terminal bars.

    Args:
        runs: those to do.
        total: of the table, with those that were finished before.
    """

    def __init__(self, runs: list[Run], total: int) -> None:
        self.runs, self.total = runs, total
        self.seconds: dict[Run, float] = {}  # expected, of whole runs
        self.jobs = 1
        self.part = {run: run.part() for run in runs}  # what is done of each
        self.at_first = dict(self.part)
        self.ended: set[Run] = set()
        self.failed: dict[Run, str] = {}
        self.started = time.monotonic()
        self.bars: Any = _bars() if runs else None
        self.tasks: dict[Run | None, Any] = {}  # the bar of each run, and of all

    def __enter__(self) -> None:
        self.started = time.monotonic()
        if self.bars:
            self.bars.start()
            self.tasks[None] = self.bars.add_task("", total=1.0)

    def __exit__(self, *_: object) -> None:
        if self.bars:
            self.bars.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        if self.bars:
            self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def expect(self, seconds: dict[Run, float], jobs: int) -> None:
        """Say how long it will take, as far as that is known."""
        self.seconds, self.jobs = seconds, jobs
        self.say(f"about {self.left()} for {len(self.runs)} runs, {jobs} at a time, on this machine")

    def start(self, run: Run) -> None:
        self.say("\n".join(run.commands()))
        if self.bars:
            self.tasks[run] = self.bars.add_task(str(run.cell), total=1.0)
        else:
            self.say(f"{run.cell}: started; {self.state()}")

    def end(self, run: Run, error: str) -> None:
        """Take down what came of a run."""
        self.ended.add(run)
        self.part[run] = 1.0
        if error == BUSY:
            self.at_first[run] = 1.0
        elif error:
            self.failed[run] = error
        word = f"skipped, {BUSY}" if error == BUSY else f"failed: {error}" if error else "finished"
        self.say(f"{run.cell}: {word}; {self.state()}")
        if self.bars and run in self.tasks:
            self.bars.remove_task(self.tasks.pop(run))

    def show(self) -> None:
        """Read how far the runs are, and move the bars."""
        for run in self.runs:
            if run not in self.ended:
                self.part[run] = run.part()
        done = sum(self.part.values()) / len(self.part)
        for run_or_all, task in list(self.tasks.items()):
            self.bars.update(task, completed=done if run_or_all is None else self.part[run_or_all])
        if self.bars:
            self.bars.update(self.tasks[None], description=self.state())

    def state(self) -> str:
        """Such as "3/14 runs, 0:42:10 left"."""
        return f"{self.total - len(self.runs) + len(self.ended)}/{self.total} runs, {self.left()} left"

    def left(self) -> str:
        """The time left at the rate so far; before there is one, as the probes expect it."""
        runs = [run for run in self.runs if run not in self.failed]
        usual = sum(self.seconds.values()) / max(1, len(self.seconds)) or 1.0
        weights = {run: self.seconds.get(run, usual) for run in runs}
        todo = sum(weight * (1 - self.part[run]) for run, weight in weights.items())
        done = sum(weight * (self.part[run] - self.at_first[run]) for run, weight in weights.items())
        if not todo:
            seconds = 0.0
        elif done > 0:
            seconds = todo / done * (time.monotonic() - self.started)
        elif self.seconds:
            seconds = todo / min(self.jobs, len(runs))
        else:
            return "an unknown time"
        return str(timedelta(seconds=round(seconds)))


def _bars() -> Any:
    """Rich's progress on a terminal, else None."""
    if not sys.stdout.isatty():
        return None
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
