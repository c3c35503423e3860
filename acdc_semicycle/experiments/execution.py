"""Runs commands in processes that end with the runner; and one cell of a table, its training and its evaluation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from acdc_semicycle.experiments.run_lock import run_lock, sign
from acdc_semicycle.experiments.runs import LOG, Run
from acdc_semicycle.runtime.files import write_text

GRACE = 15.0  # seconds that a process has to save its state
BUSY = "another runner works on it"
STOPPED = "stopped"


def execute(run: Run, environment: dict[str, str]) -> str:
    """Train and evaluate one cell in child processes.

    Returns:
        The error that ended it, in one line; empty if all went well.
    """
    with run_lock(run.folder) as lock:
        if lock is None:
            return BUSY
        if run.finished():
            return ""
        started = time.monotonic()
        printed: list[str] = []
        for words in run.steps():
            code, lines = call(run, words, environment, lock)
            if code:
                return f"{named_error(lines, code)} ({run.folder / LOG})"
            printed += lines
        reports = [line for line in printed if line.endswith("report.json") and Path(line).is_file()]
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


def named_error(lines: Sequence[str], code: int) -> str:
    """The line of a failed process that names its error: the last ``error:``, else its last line."""
    errors = [line for line in lines if line.startswith("error:")]
    if errors:
        return errors[-1]
    return lines[-1] if lines else f"exit code {code}"


def call(run: Run, words: Sequence[str], environment: dict[str, str], lock: IO[str]) -> tuple[int, list[str]]:
    """Run one step; its exit code, and the lines it added to run.log."""
    return logged([*run.launcher, *words], run.command(words), run.folder / LOG, environment, lock)


def logged(
    command: Sequence[str], title: str, path: Path, environment: dict[str, str], lock: IO[str]
) -> tuple[int, list[str]]:
    """Run a command with its output added to a log, after its title; its exit code, and the lines it added."""
    with path.open("ab") as log:
        log.write(f"$ {title}\n".encode())
        log.flush()
        start = log.tell()
        # the child inherits the lock: while it lives, no other runner takes the folder, even if this one is killed
        code = children.call(command, environment, log, lock)
    text = path.read_bytes()[start:].decode(errors="replace")
    return code, [line.strip() for line in text.splitlines() if line.strip()]


class Children:
    """The processes of this runner: none outlives it, unless it is killed outright."""

    def __init__(self) -> None:
        self.alive: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.guard = threading.Lock()

    def call(self, command: Sequence[str], environment: dict[str, str], log: IO[bytes], lock: IO[str]) -> int:
        """Run a command in a process group of its own until it ends; its exit code."""
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
        if self.stopped:  # by a signal while it was started
            process.terminate()
        try:
            sign(lock, process.pid)
            return process.wait()
        finally:
            _end(process)
            self.alive.discard(process)

    def ask(self) -> None:
        """Ask all processes to end once their state is saved, and let no other start; a signal handler may call it."""
        self.stopped = True
        for process in list(self.alive):
            process.terminate()

    def stop(self) -> None:
        """End all processes, and let no other start."""
        with self.guard:
            self.stopped = True
            for process in list(self.alive):
                _end(process)


children = Children()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its own; they save what they can, and each file they write is whole or not there."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(GRACE)
