"""The parts of a split in words: what a network may know of a patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TRAINED_ON = ("labelled", "unlabelled")
SEEN = (*TRAINED_ON, "validation")  # of whom a score says nothing about new patients
HELD_OUT = "held out"  # a training's validation patients where no epoch was chosen: its last network is kept
NEW = "new"  # in no part of the split
PARTS = (*SEEN, HELD_OUT, "test", NEW)  # where several hold, the first one counts


def strongest(parts: Iterable[str | None]) -> str | None:
    """Of several parts the one of which the network knows most; None where none is known."""
    known = [part for part in parts if part in PARTS]
    return min(known, key=PARTS.index) if known else None


def in_words(parts: Sequence[str]) -> str:
    """Several parts as part of a sentence: labelled, validation and test."""
    *others, last = parts or [""]
    return f"{', '.join(others)} and {last}" if others else last
