"""How large a network sees the slices of a data set: ``image_size`` and ``window`` by what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from acdc_semicycle.data.fingerprint import CaseFacts, quantile

STEP = 16  # few's network halves a window four times
LEAST, MOST = 32, 512  # of the rows and columns of a slice
LARGEST_WINDOW = 192  # 2.25 times the work of few's
ALIKE = 1.25  # a slice so much larger or smaller is shown at few's own size
HELD = 0.9  # of the images have structures that a window holds
Pair = tuple[int, int]


@dataclass(frozen=True)
class Sizes:
    """What a training is given, and why.

    Attributes:
        image_size, window: rows and columns.
        reasons: of each, in words.
    """

    image_size: Pair
    window: Pair
    reasons: tuple[str, str]


def sizes(cases: Sequence[CaseFacts], image_size: Pair, window: Pair) -> Sizes:
    """Slices at about their own resolution, and windows that hold the structures of nine in ten images.

    Structures that no window holds are made smaller with their slices.

    Args:
        cases: of one data set, at least one.
        image_size, window: those of the recipe, which are kept where they fit.
    """
    middle = tuple(round(quantile([case.size[axis] for case in cases], 0.5)) for axis in (0, 1))
    slices = (_of_size(middle[0]), _of_size(middle[1]))
    if _alike(middle[0], image_size[0]) and _alike(middle[1], image_size[1]):
        slices = image_size
    kept = "as few has" if slices == image_size else "in multiples of 16"
    reason = f"{kept}: the middle slice is {middle[0]} x {middle[1]} pixels"
    parts = _parts(cases)
    if parts is None:
        side = min(window[0], *slices)
        return Sizes(slices, (side, side), (reason, "as few has: nothing is drawn that it should hold"))
    need = max(_multiple(part * length) for part, length in zip(parts, slices, strict=True))
    if need > LARGEST_WINDOW:
        smaller = LARGEST_WINDOW / need
        slices = (_of_size(slices[0] * smaller), _of_size(slices[1] * smaller))
        reason = f"the middle slice, {middle[0]} x {middle[1]} pixels, made smaller: so a window holds the structures"
    side = min(max(window[0], min(need, LARGEST_WINDOW)), max(slices))
    windows = (min(side, slices[0]), min(side, slices[1]))
    box = " x ".join(str(ceil(part * length)) for part, length in zip(parts, slices, strict=True))
    kept = "as few has" if windows == window else "in multiples of 16"
    return Sizes(slices, windows, (reason, f"{kept}: in 9 of 10 images the structures lie within {box} pixels"))


def _alike(length: int, few: int) -> bool:
    """Whether rows or columns are about those of the recipe."""
    return few / ALIKE <= length <= few * ALIKE


def _of_size(length: float | int) -> int:
    """Rows or columns as a multiple of STEP, within what is useful."""
    return max(LEAST, min(MOST, STEP * round(length / STEP)))


def _multiple(length: float | int) -> int:
    """The multiple of STEP that holds a length."""
    return STEP * ceil(length / STEP)


def _parts(cases: Sequence[CaseFacts]) -> tuple[float, float] | None:
    """The part of rows and of columns that the structures of nine in ten images fill; None where nothing is drawn."""
    rows, columns = [], []
    for case in cases:
        if case.structures is not None:
            rows.append(case.structures[0] / case.size[0])
            columns.append(case.structures[1] / case.size[1])
    return (quantile(rows, HELD), quantile(columns, HELD)) if rows else None
