"""Signals that ask to stop, handed on to the processes that are running."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from acdc_semicycle.experiments.execution import children
from acdc_semicycle.runtime import signals

ASKING = (*signals.CODES, signal.SIGHUP)


@contextmanager
def handing_on() -> Iterator[Callable[[], int]]:
    """Ask the children, which are process groups of their own, to stop as SIGTERM does, once for each signal.

    After the first one a training saves its state and ends, and no other starts; a second one ends it at once.

    Yields:
        What gives the exit code that the first signal asks for, 0 if none came. A closed terminal asks as SIGTERM does.
    """
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        """Hand a signal on."""
        asked.append(signal.SIGTERM if number == signal.SIGHUP else number)
        children.ask()

    before = {number: signal.getsignal(number) for number in ASKING}
    heard = [*signals.CODES]  # as a training hears them, also where a script's & has them ignored
    if before[signal.SIGHUP] != signal.SIG_IGN:  # nohup has it ignored
        heard.append(signal.SIGHUP)
    children.stopped = False
    try:
        for number in heard:
            signal.signal(number, hand_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
        yield lambda: signals.CODES[signal.Signals(asked[0])] if asked else 0
    finally:
        children.stop()
        for number in heard:
            signal.signal(number, before[number])
