"""Means and standard deviations over cases, in one way for all tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mean_and_std(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, standard deviation (ddof 1; 0 of one value) and number of the values that are not NaN."""
    array = np.asarray(values, float)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return float("nan"), float("nan"), 0
    std = float(finite.std(ddof=1)) if finite.size > 1 else 0.0
    return float(finite.mean()), std, int(finite.size)


def score_statistics(score: str, rows: Sequence[Mapping[str, float]], structures: Sequence[str]) -> dict[str, Any]:
    """One score over cases: means, standard deviations and numbers of cases of each structure, and of ``mean``.

    Args:
        score: its name; the results are under this name, ``<score>_std`` and ``<score>_n``.
        rows: of each case its score by structure and their ``mean``, NaN where a structure is not there.
        structures: names.

    The mean under ``mean`` is over structures; standard deviation and number there are of the cases' own means.
    """
    result: dict[str, dict[str, Any]] = {score: {}, f"{score}_std": {}, f"{score}_n": {}}
    for name in ("mean", *structures):
        mean, std, number = mean_and_std([row[name] for row in rows])
        result[score][name] = mean
        result[f"{score}_std"][name] = std
        result[f"{score}_n"][name] = number
    means = [result[score][name] for name in structures]
    result[score]["mean"] = mean_and_std(means)[0]
    return result
