"""Which slices of a segmented scan to mend first: those from which most Dice is expected to be gained.

    s      probability of a class at a pixel
    l      whether the pixel is labelled with that class
    Dice   2 sum(s l) / (sum(s) + sum(l)), over all slices

A mended slice has l = truth, of which as many pixels are expected as its s sum up to: there both sum(s l) and sum(l)
become sum(s). What the Dice rises by is the slice's gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SMOOTH = 1.0  # pixels: a class of which nothing is found and nothing expected has a Dice of 1


class Sums(NamedTuple):
    """Of each class but the background and of each slice [K - 1, slices], pixels.

    Attributes:
        common: probabilities where the pixel has that label.
        expected: all probabilities.
        labelled: pixels with that label.
    """

    common: NDArray[np.float64]
    expected: NDArray[np.float64]
    labelled: NDArray[np.float64]


class Gain(NamedTuple):
    """A slice to mend, from 0, and the expected Dice that this adds once those before it are mended."""

    slice_index: int
    dice: float


def sums_of(probabilities: NDArray, labels: NDArray) -> Sums:
    """The sums of probabilities [K, H, W, slices] and labels [H, W, slices] on one grid."""
    common, expected, labelled = [], [], []
    for label in range(1, len(probabilities)):
        mask = labels == label
        common.append(probabilities[label].sum((0, 1), where=mask, dtype=float))
        expected.append(probabilities[label].sum((0, 1), dtype=float))
        labelled.append(mask.sum((0, 1), dtype=float))
    return Sums(np.array(common), np.array(expected), np.array(labelled))


def expected_dice(sums: Sums, mended: Sequence[int] = ()) -> float:
    """The mean Dice over classes that is expected once these slices are mended."""
    common, labelled = sums.common.copy(), sums.labelled.copy()
    mended = list(mended)
    common[:, mended] = labelled[:, mended] = sums.expected[:, mended]
    total = sums.expected.sum(1) + labelled.sum(1)
    return float(((2 * common.sum(1) + SMOOTH) / (total + SMOOTH)).mean())


def gains(sums: Sums) -> list[Gain]:
    """All slices, the one of the largest gain first; each gain is that after the slices before it.

    Of equal gains the slice nearest to the middle comes first.
    """
    count = sums.common.shape[1]
    remaining = sorted(range(count), key=lambda z: abs(z - (count - 1) / 2))
    result: list[Gain] = []
    dice = expected_dice(sums)
    while remaining:
        mended = [gain.slice_index for gain in result]
        after = [expected_dice(sums, [*mended, z]) for z in remaining]
        best = int(np.argmax(after))
        result.append(Gain(remaining.pop(best), after[best] - dice))
        dice = after[best]
    return result
