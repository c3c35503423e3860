"""The ``--KEY VALUE`` and ``--KEY=VALUE`` words of a command."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

NULLS = ("null", "none", "None")


class Option(NamedTuple):
    """One option of a command, or a word that is none.

    Attributes:
        word: as it was typed.
        key: what follows its two dashes, up to an equals sign; None for a word that is no option.
        value: what follows the equals sign, or the next word unless that is an option; None where there is neither.
    """

    word: str
    key: str | None
    value: str | None


def options_of(words: Iterable[str], switches: Collection[str] = ()) -> Iterator[Option]:
    """Split a command into its options, and the words that belong to none.

    Args:
        switches: keys that take no next word as their value.
    """
    waiting = list(reversed(list(words)))
    while waiting:
        word = waiting.pop()
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            yield Option(word, None, None)
        elif equals:
            yield Option(word, key, value)
        elif key in switches or not waiting or waiting[-1].startswith("--"):
            yield Option(word, key, None)
        else:
            yield Option(word, key, waiting.pop())


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that a word most likely stands for: the shortest that begins with it, else the most alike, if any is."""
    known = sorted(set(names))
    longer = [name for name in known if name.startswith(word)]
    if len(word) > 2 and longer:
        return min(longer, key=len)
    alike = difflib.get_close_matches(word, known, 1)
    return alike[0] if alike else None
