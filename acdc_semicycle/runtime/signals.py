"""Ending when asked: SIGTERM and SIGUSR1, which schedulers send, and SIGINT, which Ctrl-C is.

The exit code is ``STOPPED`` (75, a temporary failure to every shell) after the first two and 130 after SIGINT; in
either case the same command, given again, goes on. Those that come while a program starts, or starts others, can be
``held_back`` until somebody listens.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

log = logging.getLogger("semicycle")

STOPPED = 75
CODES = {signal.SIGTERM: STOPPED, signal.SIGUSR1: STOPPED, signal.SIGINT: 130}

_asked: signal.Signals | None = None
_patient = False  # whether somebody looks at asked() and ends in good order


def listen() -> None:
    """Take the three signals; until somebody is to ``look_after_them``, the process ends at once."""
    if threading.current_thread() is threading.main_thread():
        for number in CODES:
            signal.signal(number, _take)
        atexit.register(_over)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)


def hold_back() -> None:
    """Until somebody will ``listen`` SIGTERM and SIGUSR1 wait, even over an exec; SIGINT is for who sits there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(CODES) - {signal.SIGINT})


@contextmanager
def starting_loaders() -> Iterator[None]:
    """Processes that are started in here, and are ``deaf`` from their first moment, end with this one.

    That one of them has died is said where the next batch is awaited, and not, as torch would, in the middle of a save.
    """
    atexit.unregister(_end_loaders)
    atexit.register(_end_loaders)
    at_death, blocked = signal.getsignal(signal.SIGCHLD), signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, at_death)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def deaf(worker: int = 0) -> None:
    """In a process that loads: what a scheduler, or Ctrl-C, sends to the whole group is its parent's to answer."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)


def _end_loaders() -> None:
    """What is left of them; multiprocessing would send SIGTERM, which they do not hear, and wait."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call their end an error
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def look_after_them(patient: bool) -> None:
    """From here on (or no more) the first signal only sets ``asked``; a second one ends the process all the same.

    What was asked when nobody looks any more is done now: what is left, a report, is made by the same command.
    """
    global _asked, _patient
    before, _asked, _patient = _asked, None, patient
    if before and not patient:
        _end(before)


def asked() -> int:
    """The exit code that was asked for; 0 where nobody asked."""
    return CODES[_asked] if _asked else 0


def _end(number: signal.Signals) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    log.warning("%s: ended; the same command, given again, goes on", number.name)
    raise SystemExit(CODES[number])


def _over() -> None:
    """All is done but to leave, and the exit code is settled: Python would have a signal kill the process meanwhile."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)


def _take(number: int, frame: FrameType | None) -> None:
    global _asked
    again, _asked = _asked is not None, signal.Signals(number)
    if _patient and not again:
        log.info("%s: stopping as soon as what is being computed is done", _asked.name)
    else:
        look_after_them(False)
