"""The learning curve of a run, or the mean of those of its folds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LOSS = "gen_S"  # the segmenter's loss on labelled images, which every method has

Values = dict[int, float]  # by epoch


@dataclass
class Curve:
    """What learning_curve.csv holds of the segmenter.

    Attributes:
        last: the last epoch that is over; 0 where none is.
        columns: of each column its values by epoch.
    """

    last: int = 0
    columns: dict[str, Values] = field(default_factory=dict)

    def values(self, name: str) -> Values:
        """The values of a column by epoch."""
        return self.columns.get(name, {})


def read_curve(path: Path) -> Curve:
    """The curve in a learning_curve.csv, its damaged rows and values left out; empty where it is not there."""
    curve = Curve()
    if not path.is_file():
        return curve
    with path.open(newline="", encoding="utf-8", errors="replace") as stream, suppress(csv.Error):
        for row in csv.DictReader(stream):
            epoch = row.pop("epoch", None) or ""
            if epoch.isdecimal():
                curve.last = max(curve.last, int(epoch))
                _add_row(curve, int(epoch), row)
    return curve


def _add_row(curve: Curve, epoch: int, row: dict[str, Any]) -> None:
    """Add the numbers of an epoch."""
    for name, text in row.items():
        with suppress(TypeError, ValueError):  # empty where an epoch was not validated
            value = float(text)
            if np.isfinite(value):
                curve.columns.setdefault(name, {})[epoch] = value


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over folds, at the epochs that all of them have."""
    mean = Curve(min(curve.last for curve in curves))
    for name in curves[0].columns:
        common = set.intersection(*(set(curve.values(name)) for curve in curves))
        for epoch in sorted(common):
            values = [curve.values(name)[epoch] for curve in curves]
            mean.columns.setdefault(name, {})[epoch] = float(np.mean(values))
    return mean
