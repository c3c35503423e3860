"""How much of a table's runs is done, and how long the rest takes."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from acdc_semicycle.experiments.execution import BUSY, STOPPED, call
from acdc_semicycle.experiments.grid import Options
from acdc_semicycle.experiments.paper import ABLATIONS
from acdc_semicycle.experiments.results import Cell
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.experiments.runs import Run
from acdc_semicycle.runtime.files import read_json, write_text

LONGEST = 100  # letters of a log's line
FIRST_LINE = 30.0  # seconds until a line of progress, where there is no terminal
PROBED = {"full": "partial"} | dict.fromkeys(ABLATIONS, "semicycle")  # another method that takes as long


def expectations(
    runs: list[Run], options: Options, environment: dict[str, str], say: Callable[[str], None]
) -> dict[Run, float]:
    """Seconds of each whole run, from a few timed steps of each data set and method; they are kept in probe.json.

    A run whose probe fails has none: the run itself will show the error.
    """
    path = options.out / "probe.json"
    probed = read_json(path) if path.is_file() else {}
    seconds = {}
    for run in runs:
        cell = Cell(run.cell.dataset, "20", PROBED.get(run.cell.method, run.cell.method), 0)
        probe = Run.of(cell, options, run.launcher)
        probe = replace(probe, folder=options.out / "probe" / f"{cell.dataset}_{cell.method}")
        threads = environment.get("OMP_NUM_THREADS", "all")
        key = f"{shlex.join(probe.settings)} with {threads} threads"
        if key not in probed:
            say(f"probing {cell.dataset} {cell.method}")
            probed[key] = _probe(probe, environment)
            write_text(path, json.dumps({k: v for k, v in probed.items() if v}, indent=1) + "\n")
        if probed[key]:
            seconds[run] = probed[key]
        else:
            say(f"{run.cell}: not known how long it takes ({probe.folder / 'run.log'})")
    return seconds


def _probe(run: Run, environment: dict[str, str]) -> float | None:
    """Expected seconds of a run; None where its probe fails, or another runner works on it."""
    with run_lock(run.folder) as lock:
        if lock is None:
            return None
        code, lines = call(run, run.arguments("probing"), environment, lock)
    if code or not lines:
        return None
    try:
        times = json.loads(lines[-1])
        steps, validations = times["steps"] * times["step_seconds"], times["validations"] * times["validation_seconds"]
        return times["start_seconds"] + steps + validations
    except (KeyError, TypeError, ValueError):
        return None


@runtime_checkable
class Job(Hashable, Protocol):
    """What a board shows: a run of a table, or a fold."""

    @property
    def name(self) -> str:
        """What it is called in a line."""
        ...

    def commands(self) -> list[str]:
        """Those to print when it starts."""
        ...

    def part(self) -> float:
        """The fraction of its epochs that is done."""
        ...

    def last_line(self) -> str:
        """The last line of its log that its training wrote, or an empty text."""
        ...


class Board:
    """Shows the progress of the runs: their commands, a line where one starts or ends, and bars on a terminal.

    Without a terminal, a line gives the time left, ever more rarely.

    Args:
        runs: those that are not finished.
        total: the number of the table's runs, with those that are finished.
        noun: what they are called.
    """

    def __init__(self, runs: Sequence[Job], total: int, noun: str = "runs") -> None:
        self.runs, self.total, self.noun = runs, total, noun
        self.seconds: Mapping[Any, float] = {}  # expected, of whole runs
        self.jobs = 1
        self.part = {run: run.part() for run in runs}  # the fraction that is done of each
        self.at_first = dict(self.part)
        self.running: set[Job] = set()
        self.ended: set[Job] = set()
        self.failed: dict[Job, str] = {}
        self.started, self.next_line = time.monotonic(), FIRST_LINE
        self.bars: Any = _bars() if runs else None
        self.tasks: dict[Job | None, Any] = {}  # the bar of each run, and of None: all of them

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

    def expect(self, seconds: Mapping[Any, float], jobs: int) -> None:
        """Show how long all runs will take, as far as that is known."""
        self.seconds, self.jobs = seconds, jobs
        self.say(f"about {self.left()} for {len(self.runs)} runs, {jobs} at a time, on this machine")

    def start(self, run: Job) -> None:
        """Show that a run starts."""
        self.running.add(run)
        for command in run.commands():
            self.say(command)
        if self.bars:
            self.tasks[run] = self.bars.add_task(run.name, total=1.0)
        else:
            self.say(f"{run.name}: started; {self.state()}")

    def end(self, run: Job, error: str) -> None:
        """Show how a run ended; ``error`` is empty if it finished."""
        self.running.discard(run)
        if self.bars and run in self.tasks:
            self.bars.remove_task(self.tasks.pop(run))
        if error == STOPPED:
            self.say(f"{run.name}: {STOPPED}")
            return
        self.ended.add(run)
        self.part[run] = 1.0
        if error == BUSY:
            self.at_first[run] = 1.0
            outcome = f"skipped, {BUSY}"
        elif error:
            self.failed[run] = error
            outcome = f"failed: {error}"
        else:
            outcome = "finished"
        self.say(f"{run.name}: {outcome}; {self.state()}")

    def show(self) -> None:
        """Read the progress of the runs, and move the bars; without a terminal, print it if a line is due."""
        for run in self.runs:
            if run not in self.ended:
                self.part[run] = run.part()
        done = sum(self.part.values()) / len(self.part)
        for run_or_none, task in list(self.tasks.items()):
            self.bars.update(task, completed=done if run_or_none is None else self.part[run_or_none])
        if self.bars:
            self.bars.update(self.tasks[None], description=self.state())
        elif time.monotonic() - self.started > self.next_line:
            self.next_line *= 2
            self._print(done)

    def _print(self, done: float) -> None:
        """Print how much is done and the last line of each log, where there is no terminal."""
        self.say(f"{100 * done:.0f} % of the epochs; {self.state()}")
        for run in self.runs:
            line = run.last_line() if run in self.running else ""
            if line:
                self.say(f"  {run.name}: {line[:LONGEST]}")

    def state(self) -> str:
        """Such as "3/14 runs, 0:42:10 left"."""
        return f"{self.total - len(self.runs) + len(self.ended)}/{self.total} {self.noun}, {self.left()} left"

    def left(self) -> str:
        """The time left at the rate so far; before there is one, as the probes expect it."""
        runs = [run for run in self.runs if run not in self.failed]
        usual = sum(self.seconds.values()) / max(1, len(self.seconds)) or 1.0
        weights = {run: self.seconds.get(run, usual) for run in runs}
        todo = done = 0.0
        for run, weight in weights.items():
            todo += weight * (1 - self.part[run])
            done += weight * (self.part[run] - self.at_first[run])
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
