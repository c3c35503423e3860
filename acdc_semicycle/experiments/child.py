"""A program in a process of its own, to which this one hands on the signals that ask it to stop."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from types import FrameType

from acdc_semicycle.runtime import signals

ASKING = (*signals.CODES, signal.SIGHUP)


class Child:
    """Runs one program in a process group of its own: Ctrl-C reaches it through this process alone, and once.

    Attributes:
        asked: the signal that came meanwhile; a closed terminal asks as SIGTERM does.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.asked: signal.Signals | None = None

    def run(self, command: Sequence[str]) -> int:
        """Run a command until it ends; its exit code, or that of the signal that asked it to stop."""
        before = {number: signal.getsignal(number) for number in ASKING}
        heard = [*signals.CODES]  # as a training hears them, also where a script's & has them ignored
        if before[signal.SIGHUP] != signal.SIG_IGN:  # nohup has it ignored
            heard.append(signal.SIGHUP)
        for number in heard:
            signal.signal(number, self._hand_on)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
            code = 0 if self.asked else self._exit_code(command)
            return signals.CODES[self.asked] if self.asked else code
        finally:
            for number in heard:
                signal.signal(number, before[number])

    def _exit_code(self, command: Sequence[str]) -> int:
        """Run the command; its exit code, as a shell gives it for a process that a signal ended."""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        """Hand a signal on to the process, if it has started."""
        self.asked = signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)
        if self.process is not None:
            self.process.send_signal(self.asked)
