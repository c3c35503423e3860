"""All slices of a case, to leaf through: each with its outlines, and its Dice where there is a truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.report.case_images import DAMAGE, Slice, Stack, stack_of
from acdc_semicycle.report.cases import Case
from acdc_semicycle.report.charts import chart
from acdc_semicycle.report.drawing import outlined

MOST = 40  # slices of a case: of more, those with structures, evenly spread
BEYOND = 1  # slices above and below the structures, which are shown too


def all_slices_of(folder: Path, case: Case, labels: Sequence[int]) -> dict[str, Any] | None:
    """What a card needs to leaf through a case; None of a single slice, and where its files cannot be read."""
    try:
        stack = stack_of(folder, case)
    except DAMAGE:
        return None
    indices = _shown(stack)
    if len(indices) < 2:
        return None
    slices = [stack.slice(z) for z in indices]
    pictures = outlined(slices, labels)
    dices = [_dice(shown, labels) for shown in slices]
    for picture, dice in zip(pictures, dices, strict=True):
        picture["dice"] = dice
    first = int(np.argmax([(shown.prediction > 0).sum() for shown in slices]))
    by_label = {label: [dice.get(label) for dice in dices] for label in labels}
    has_dice = any(dices)
    return {
        "slices": pictures,
        "count": stack.prediction.shape[2],
        "first": first,
        "chart": chart(by_label, 1.0) if has_dice else None,
    }


def _shown(stack: Stack) -> list[int]:
    """Which slices are shown: all, or of many those with structures."""
    count = stack.prediction.shape[2]
    if count <= MOST:
        return list(range(count))
    structures = (stack.prediction > 0).any((0, 1))
    if stack.truth is not None and stack.truth.shape[2] == count:
        structures |= ((stack.truth > 0) & (stack.truth < 255)).any((0, 1))
    inside = np.flatnonzero(structures)
    low, high = (inside[0], inside[-1]) if inside.size else (0, count - 1)
    low, high = max(0, low - BEYOND), min(count - 1, high + BEYOND)
    return np.unique(np.linspace(low, high, min(MOST, high - low + 1)).round().astype(int)).tolist()


def _dice(shown: Slice, labels: Sequence[int]) -> dict[int, float]:
    """Dice of each structure that prediction or truth has in a slice; empty where there is no truth."""
    if shown.truth is None:
        return {}
    annotated = shown.truth != 255
    result = {}
    for label in labels:
        value = _overlap((shown.prediction == label) & annotated, shown.truth == label)
        if value is not None:
            result[label] = value
    return result


def _overlap(prediction: NDArray, truth: NDArray) -> float | None:
    """Dice of two masks; None where both are empty."""
    pixels = int(prediction.sum() + truth.sum())
    return 2 * int((prediction & truth).sum()) / pixels if pixels else None
