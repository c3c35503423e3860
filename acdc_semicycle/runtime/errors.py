"""The error for a user's mistakes, and how it is worded."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """A user's mistake: the text says what was given, what was expected, what to do."""


def refuse(faults: Sequence[str], what: str) -> None:
    """Raise one InputError of all faults, one a line; do nothing if there are none."""
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        raise InputError("\n  ".join([f"{len(faults)} faults in {what}:", *faults]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on, each once: MONAI wraps errors in others."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__


@contextmanager
def mistakes_alone() -> Iterator[None]:
    """Raise the InputError that an error was made of, in the place of that error: MONAI wraps errors in others."""
    try:
        yield
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, InputError):
                raise cause from None
        raise


def many(n: int, word: str) -> str:
    """A count with its noun: 1 scan, 2 scans."""
    return f"{n} {word}" + "s" * (n != 1)


def some(names: Sequence[object], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    listed = ", ".join(map(str, names[:most]))
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def speak_in_turn() -> None:
    """Wait before an error is shown, except in each machine's first process, so that it is shown once.

    Where several processes fail alike, torchrun ends the others while they wait. One that fails alone reports later.
    """
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(10)
