"""How an error ends a command: one line for what a user can mend, else Python's traceback."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from types import TracebackType

import torch

from acdc_semicycle.runtime.errors import InputError, causes, speak_in_turn
from acdc_semicycle.runtime.files import DISK_IS_FULL

NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: "  # torch's plain RuntimeError, on a CPU


def show_errors_in_a_line() -> None:
    """From here on, errors of this process and of its threads end in one line where a user can mend them."""
    sys.excepthook = show_error
    threading.excepthook = _show_error_of_thread  # TensorBoard writes in one


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for what a user can mend; MONAI wraps errors in others, so their causes are looked through."""
    speak_in_turn()
    for cause in causes(error):
        line = _line_of(cause)
        if line is not None:
            print(line, file=sys.stderr)
            return
    traceback.print_exception(kind, error, trace)


def _line_of(cause: BaseException) -> str | None:
    """What a user is told of an error; None of one that only a developer can mend."""
    if isinstance(cause, InputError | FloatingPointError):
        return f"error: {cause}"
    if isinstance(cause, KeyboardInterrupt):
        return "interrupted: the same command continues from what was saved last"
    if isinstance(cause, OSError):
        return _line_of_system(cause)
    if isinstance(cause, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(cause):
        detail = str(cause).rpartition(NO_MEMORY)[2].partition("\n")[0]
        reason = f" ({detail})" if detail else ""
        return f"error: not enough memory{reason}: give a smaller image_size or batch_size"
    return None


def _line_of_system(cause: OSError) -> str | None:
    """The same of an error of the system: the file it is about, or that the disk is full."""
    if cause.filename is not None:
        return f"error: {os.fsdecode(cause.filename)}: {cause.strerror}"
    if cause.errno in DISK_IS_FULL:  # Python does not name the file
        return f"error: {cause.strerror}: make room, and give the same command again"
    return None


def _show_error_of_thread(failed: threading.ExceptHookArgs) -> None:
    """The same in another thread."""
    show_error(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
