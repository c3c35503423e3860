"""The one error a user is meant to read, and how it is worded."""

import os
import time
from collections.abc import Iterator, Sequence


class InputError(ValueError):
    """A mistake in what the user gave: its text says what was given, what was expected, what to do."""


def refuse(faults: Sequence[str], what: str) -> None:
    """Raise one InputError of all faults, a line each; none where there are none."""
    if faults:
        raise InputError("\n  ".join([f"{len(faults)} faults in {what}:", *faults][len(faults) == 1 :]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that; MONAI wraps errors in others."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def many(n: int, word: str) -> str:
    """A number of things in words: 1 scan, 2 scans."""
    return f"{n} {word}" + "s" * (n != 1)


def some(names: Sequence[object], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def speak_in_turn() -> None:
    """Before an error is shown: where several processes fail alike, each machine's first one says so.

    By the time the others would, torchrun has ended them; one that fails alone is heard a little later.
    """
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(10)
