"""One runner at a time on a run's folder, even if an earlier runner was killed and left its process running."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from acdc_semicycle.runtime.leftovers import lives
from acdc_semicycle.runtime.locks import lock_file, try_lock


@contextmanager
def run_lock(path: Path) -> Iterator[IO[str] | None]:
    """Hold a run's folder; None while another runner does."""
    path.mkdir(parents=True, exist_ok=True)
    with lock_file(path / ".lock") as lock:
        yield lock if _take(lock) else None


def _take(lock: IO[str]) -> bool:
    """Lock the folder, after ending a process that a killed runner left in it; False if another runner has it."""
    for _ in range(50):
        if try_lock(lock):
            sign(lock, 0)
            return True
        if not _end_orphan(lock):
            return False
        time.sleep(0.1)
    return False


def sign(lock: IO[str], child: int) -> None:
    """Write down who holds the lock: the machine, the runner, the bundle's process (0: none yet)."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"{platform.node()} {os.getpid()} {child}")
    lock.flush()


def _end_orphan(lock: IO[str]) -> bool:
    """Whether a process that a killed runner left on this machine holds the lock, and was ended now."""
    lock.seek(0)
    host, *processes = lock.read().split() or [""]
    if host != platform.node() or len(processes) != 2:
        return False
    runner, child = int(processes[0]), int(processes[1])
    if not child or lives(runner):
        return False
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return True
