"""Ending when asked: SIGTERM and SIGUSR1, which schedulers send, and SIGINT, which Ctrl-C is.

The exit code is ``STOPPED`` (75, a temporary failure to every shell) after the first two and 130 after SIGINT; in
either case the same command, given again, goes on.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
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
