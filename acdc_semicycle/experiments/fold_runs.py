"""The trainings of folds, side by side, each in a process of its own with a log of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc_semicycle.artifacts.folds import fold_folder
from acdc_semicycle.experiments.execution import BUSY, STOPPED, children, logged, named_error
from acdc_semicycle.experiments.progress import Board
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.experiments.runs import LOG, last_line_of, part_done
from acdc_semicycle.experiments.scheduling import environments, side_by_side
from acdc_semicycle.experiments.stopping import handing_on
from acdc_semicycle.runtime.errors import many

SHOWN = 5  # last lines of a fold that fails


@dataclass(frozen=True)
class Fold:
    """One fold's training.

    Attributes:
        name: what it is called in a line.
        command: its words.
    """

    name: str
    folder: Path
    command: tuple[str, ...]

    @classmethod
    def of(cls, number: int, count: int, output_dir: Path, words: Sequence[str]) -> Fold:
        """A fold by its number from 0 on; ``words`` are the command that all folds share."""
        folder = fold_folder(output_dir, number)
        own = ("--split::fold", f"[{number},{count}]", "--output_dir", str(folder))
        return cls(f"fold {number + 1} of {count}", folder, (*words, *own))

    def commands(self) -> list[str]:
        """None: the log begins with it."""
        return []

    def part(self) -> float:
        """The fraction of its epochs that is done."""
        return part_done(self.folder)

    def last_line(self) -> str:
        """The last line of its log."""
        return last_line_of(self.folder)


@dataclass(frozen=True)
class Failure:
    """How a fold's process failed: its exit code, as a shell gives it, and its last lines."""

    code: int
    lines: tuple[str, ...]


def train_side_by_side(folds: Sequence[Fold], jobs: int, minutes: float | int | None = None) -> tuple[int, list[str]]:
    """Train folds, so many at a time; a fold that fails lets the others finish.

    Args:
        minutes: that each fold is given; only shown.

    Returns:
        The exit code: that of the signal that asked to stop, else of the first fold that failed, else 0. And what is
        to be told of it: that it was stopped, or how each fold failed.
    """
    failures: dict[Fold, Failure] = {}

    def execute(fold: Fold, environment: dict[str, str]) -> str:
        """Train one fold; how it failed, or an empty text."""
        code, lines = _train(fold, environment)
        if code and children.stopped:
            return STOPPED
        if code:
            failures[fold] = Failure(code, tuple(lines))
            return f"exit code {code} ({fold.folder / LOG})"
        return ""

    board = Board(folds, len(folds), "folds")
    shares = environments(jobs)
    threads = many(int(shares[0]["OMP_NUM_THREADS"]), "thread")
    time = "" if minutes is None else f", {minutes:.3g} minutes for each"
    board.say(f"{len(folds)} folds, {jobs} at a time with {threads} each{time}")
    with handing_on() as asked:
        side_by_side(folds, execute, shares, board)
        code = asked()
    if code:
        return code, ["stopped: the same command continues where it was"]
    texts = [_described(fold, failures[fold]) for fold in folds if fold in failures]
    return _first_code(folds, failures), texts


def _train(fold: Fold, environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run a fold's command; its exit code, as a shell gives it, and the lines it added to its log."""
    with run_lock(fold.folder) as lock:
        if lock is None:
            return 2, [BUSY]
        code, lines = logged(fold.command, shlex.join(fold.command), fold.folder / LOG, environment, lock)
    return code if code >= 0 else 128 - code, lines


def _described(fold: Fold, failure: Failure) -> str:
    """How a fold ended: the line that names its error, or its last lines where none does."""
    title = f"{fold.name} ended with exit code {failure.code}"
    error = named_error(failure.lines, failure.code)
    if error.startswith("error:"):
        return f"{title} ({fold.folder / LOG}): {error}"
    return "\n  ".join([f"{title}, the last lines of {fold.folder / LOG} are:", *failure.lines[-SHOWN:]])


def _first_code(folds: Sequence[Fold], failures: Mapping[Fold, Failure]) -> int:
    """The exit code of the first fold that failed; 0 where none did."""
    codes = [failures[fold].code for fold in folds if fold in failures]
    return codes[0] if codes else 0
