"""One run of a table: its commands, its process, and one runner at a time on its folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from acdc_semicycle.config.locations import folder, overlay
from acdc_semicycle.experiments.grid import FOLDERS, Options, data_folder
from acdc_semicycle.experiments.paper import ABLATIONS
from acdc_semicycle.experiments.results import Cell, finished
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text
from acdc_semicycle.runtime.locks import lock_file, try_lock

GRACE = 15.0  # seconds that a process has to save its state
PYTHON = ("python", "-m", "monai.bundle")  # as a command is printed
LAUNCHER = (sys.executable, *PYTHON[1:])  # as it is run
OVERLAYS = {"full": "partial", "partial": "partial", "hung": "hung"} | {name: f"ablation_{name}" for name in ABLATIONS}
BUSY = "another runner is at it"


@dataclass(frozen=True)
class Run:
    """One cell of a table, and the commands that fill it."""

    cell: Cell
    folder: Path
    files: tuple[str, ...]
    options: tuple[str, ...]  # all but the output folder
    launcher: tuple[str, ...]

    @classmethod
    def of(cls, cell: Cell, options: Options, launcher: tuple[str, ...]) -> Run:
        """The bundle with the cell's overlays around the user's own."""
        variable = FOLDERS[cell.dataset]
        data = options.data.get(cell.dataset) or os.environ.get(variable)
        if not data:
            raise InputError(f"no folder of {cell.dataset} is given: say --data {cell.dataset}=PATH, or set {variable}")
        names = [] if cell.dataset == "acdc" else [cell.dataset]
        method = OVERLAYS.get(cell.method)
        files = [*map(overlay, names), *options.overlays, *([overlay(method)] if method else [])]
        settings = ["--dataset_dir", data_folder(cell.dataset, data), "--seed", str(cell.seed)]
        labels = folder("configs") / f"labels_{cell.labels}.yaml"
        if labels.is_file():
            files.append(str(labels))
        else:
            count = cell.labels.removesuffix("p")
            settings += ["--labelled", count if count != cell.labels else str(round(float(count) / 100, 8))]
        train = str(folder("bundles/semicycle") / "configs" / "train.json")
        return cls(cell, options.out / cell.place, (train, *files), (*settings, *options.further), launcher)

    def arguments(self, run_id: str) -> list[str]:
        """What the bundle is called with."""
        last = [str(folder("bundles/semicycle") / "configs" / "evaluate.json")] if run_id == "evaluating" else []
        files = json.dumps([*self.files, *last])  # double quotes: a shell's command stays legible
        return ["run", run_id, "--config_file", files, "--output_dir", str(self.folder), *self.options]

    def commands(self) -> list[str]:
        """Training and evaluation as a user would type them."""
        return [shlex.join([*PYTHON, *self.arguments(run_id)]) for run_id in ("training", "evaluating")]

    @property
    def settings(self) -> list[str]:
        """What makes this run this one, wherever it is written and from wherever it is called."""
        values = dict(zip(self.options[::2], self.options[1::2], strict=True))
        if "--dataset_dir" in values:
            values["--dataset_dir"] = os.path.abspath(values["--dataset_dir"])
        files = [f"{os.path.abspath(file)} ({_fingerprint(file)})" for file in self.files]
        return [*files, *(f"{name} {value}" for name, value in values.items())]

    def finished(self) -> bool:
        """Whether its report is there.

        Raises:
            InputError: it is that of another command.
        """
        path = self.folder / "finished.json"
        record = finished(path) if path.is_file() else None
        if record is None or not (self.folder / record["report"]).is_file():
            return False
        if record["settings"] != self.settings:
            there = [word for word in record["settings"] if word not in self.settings]
            here = [word for word in self.settings if word not in record["settings"]]
            raise InputError(
                f"{self.folder} was run with {' '.join(there) or 'no more'}, here it is"
                f" {' '.join(here) or 'without that, or in another order'}: give another --out, or the old command"
            )
        return True

    def part(self) -> float:
        """What part of its epochs is done; 0 while nobody knows how many there are."""
        curve, log = self.folder / "learning_curve.csv", self.folder / "run.log"
        if not curve.is_file() or not log.is_file():
            return 0.0
        of = re.findall(r"epoch \d+/(\d+)", log.read_text(errors="replace"))
        return min(1.0, max(0, curve.read_text(encoding="utf-8").count("\n") - 1) / int(of[-1])) if of else 0.0


def _fingerprint(file: str) -> str:
    """What a file holds, in eight letters: an overlay that was edited makes another run."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]


def execute(run: Run, environment: dict[str, str]) -> str:
    """Train and evaluate one cell, in this process's children; what went wrong, or nothing."""
    with run_lock(run.folder) as lock:
        if lock is None:
            return BUSY
        if run.finished():
            return ""
        started = time.monotonic()
        for run_id in ("training", "evaluating"):
            code, said = call(run, run_id, environment, lock)
            if code:
                errors = [line for line in said if line.startswith("error:")]
                return f"{(errors or said or [f'exit code {code}'])[-1]} ({run.folder / 'run.log'})"
        reports = [Path(line) for line in said if line.endswith("report.json") and Path(line).is_file()]
        if not reports:
            return f"the evaluation named no report ({run.folder / 'run.log'})"
        content = {
            "report": os.path.relpath(reports[-1], run.folder),
            "command": run.commands()[0],
            "settings": run.settings,
            "seconds": round(time.monotonic() - started, 3),
        }
        write_text(run.folder / "finished.json", json.dumps(content, indent=1) + "\n")
        return ""


def call(run: Run, run_id: str, environment: dict[str, str], lock: IO[str]) -> tuple[int, list[str]]:
    """Run the bundle; its exit code, and the lines it added to run.log."""
    arguments = run.arguments(run_id)
    path = run.folder / "run.log"
    with path.open("ab") as log:
        log.write(f"$ {shlex.join([*PYTHON, *arguments])}\n".encode())
        log.flush()
        start = log.tell()
        # the child inherits the lock: while it lives, no other runner takes the folder, even if this one is killed
        code = children.call([*run.launcher, *arguments], environment, log, lock)
    said = path.read_bytes()[start:].decode(errors="replace")
    return code, [line.strip() for line in said.splitlines() if line.strip()]


class Children:
    """The processes of this runner: none outlives it, unless it is killed outright."""

    def __init__(self) -> None:
        self.alive: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.guard = threading.Lock()

    def call(self, command: list[str], environment: dict[str, str], log: IO[bytes], lock: IO[str]) -> int:
        """Wait for a command in a process group of its own; its exit code."""
        with self.guard:
            if self.stopped:
                return -signal.SIGTERM
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            self.alive.add(process)
        try:
            _sign(lock, process.pid)
            return process.wait()
        finally:
            _end(process)
            self.alive.discard(process)

    def stop(self) -> None:
        """End all, and let none start any more."""
        with self.guard:
            self.stopped = True
            for process in list(self.alive):
                _end(process)


children = Children()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its own, which save what they have if they can; what they write is whole or not there."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(GRACE)


# one runner a folder


@contextmanager
def run_lock(path: Path) -> Iterator[IO[str] | None]:
    """Hold a run's folder; None while another runner does."""
    path.mkdir(parents=True, exist_ok=True)
    with lock_file(path / ".lock") as lock:
        yield lock if _take(lock) else None


def _take(lock: IO[str]) -> bool:
    for _ in range(50):
        if try_lock(lock):
            _sign(lock, 0)
            return True
        if not _end_orphan(lock):
            return False
        time.sleep(0.1)
    return False


def _sign(lock: IO[str], child: int) -> None:
    """Write down who is at it: the machine, the runner, the bundle's process (0: none yet)."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"{platform.node()} {os.getpid()} {child}")
    lock.flush()


def _end_orphan(lock: IO[str]) -> bool:
    """Whether a child that its killed runner left on this machine held the lock, and has been ended."""
    lock.seek(0)
    host, *processes = lock.read().split() or [""]
    if host != platform.node() or len(processes) != 2:
        return False
    runner, child = map(int, processes)
    if not child or _lives(runner):
        return False
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return True


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
