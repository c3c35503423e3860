"""End when a signal asks for it: SIGTERM and SIGUSR1, which schedulers send, and SIGINT, which Ctrl-C sends.

The exit code is ``STOPPED`` (75, a temporary failure to every shell) after the first two and 130 after SIGINT; in
either case the same command, given again, continues. Signals that come while a program starts, or starts others, can be
``held_back`` until it listens.
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
_patient = False  # whether the program looks at asked() and ends in good order


def listen() -> None:
    """Handle the three signals; until the program will ``look_after_them``, the process ends at once."""
    if threading.current_thread() is threading.main_thread():
        for number in CODES:
            signal.signal(number, _handle)
        atexit.register(_ignore_signals)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)


def hold_back() -> None:
    """Let SIGTERM and SIGUSR1 wait until the program will ``listen``, even over an exec; SIGINT still ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(CODES) - {signal.SIGINT})


@contextmanager
def starting_loaders() -> Iterator[None]:
    """Let processes that start in here, and are ``deaf`` from their first moment, end with this one.

    The death of one of them is reported where the next batch is awaited, and not, as by torch, in the middle of a save.
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
    """Ignore signals in a process that loads: its parent answers what is sent to the whole process group."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)


def _end_loaders() -> None:
    """Kill the loaders that are left: they ignore the SIGTERM that multiprocessing would send and wait for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call their end an error
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def look_after_them(patient: bool) -> None:
    """From here on (or no longer) the first signal only sets ``asked``; a second one still ends the process.

    A signal that the program has not answered when it looks no longer is answered now: the same command does the rest.
    """
    global _asked, _patient
    before, _asked, _patient = _asked, None, patient
    if before and not patient:
        _end(before)


def asked() -> int:
    """The exit code that a signal asked for; 0 if none came."""
    return CODES[_asked] if _asked else 0


def _end(number: signal.Signals) -> NoReturn:
    """End the process as a signal asks."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    log.warning("%s: ended; the same command, given again, continues", number.name)
    raise SystemExit(CODES[number])


def _ignore_signals() -> None:
    """At exit the exit code is settled: else Python would let a signal kill the process."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    """Note the first signal if the program looks at it; else end the process."""
    global _asked
    again, _asked = _asked is not None, signal.Signals(number)
    if _patient and not again:
        log.info("%s: stopping as soon as what is being computed is done", _asked.name)
    else:
        look_after_them(False)
