"""Runs one cell of a table: its training and its evaluation, in processes that end with the runner."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from acdc_semicycle.experiments.run_lock import run_lock, sign
from acdc_semicycle.experiments.runs import PYTHON, Run
from acdc_semicycle.runtime.files import write_text

GRACE = 15.0  # seconds that a process has to save its state
BUSY = "another runner is at it"


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
            sign(lock, process.pid)
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
