"""The expected Dice of a segmentation by its scores without a truth: fitted on validation cases, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.runtime.errors import InputError

RIDGE = 1.0
FEWEST = 8  # cases to fit on


def fit(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which score, or the sum of all, best predicts Dice: fitted, and judged patient by patient left out.

    Args:
        cases: each has ``patient``, ``scores`` and ``dice``, the true mean Dice; of validation, never of training.

    Returns:
        ``weights`` and ``bias`` of the expected Dice by the score ``chosen``, that of the least error (``fits`` has
        those of all); ``threshold``, below which a case belongs to the worst tenth; ``measured``, of each score and of
        the sum Spearman's and Pearson's correlation with Dice, the share of the worst tenth found, and the mean
        absolute error, all with the case's patient left out.

    A case in which nothing was found has no scores, and no part in this; ``nothing_found`` is how many those are.

    Raises:
        InputError: too few cases, of too few patients, or no score that all of them have.
    """
    given, cases = len(cases), [case for case in cases if not nothing_found(case["scores"])]
    patients = np.array([case["patient"] for case in cases])
    if len(cases) < FEWEST or len(set(patients)) < 3:
        without = f" ({given - len(cases)} more have none, as nothing was found)" if given > len(cases) else ""
        raise InputError(
            f"{len(cases)} cases of {len(set(patients))} patients have a quality to be fitted on{without}: give at"
            f" least {FEWEST} of 3, predicted and evaluated"
        )
    names = [name for name in SCORES if all(case["scores"].get(name) is not None for case in cases)]
    if not names:
        raise InputError(f"no score is there of all {len(cases)} cases: predict them all with the same switches")
    truth = np.array([case["dice"] for case in cases])
    table = np.array([[case["scores"][name] for name in names] for case in cases])
    candidates = {name: [place] for place, name in enumerate(names)} | {"sum": list(range(len(names)))}
    expected = {name: _left_out(table[:, columns], truth, patients) for name, columns in candidates.items()}
    measured = {name: agreement(values, truth) for name, values in expected.items()}
    chosen = min(measured, key=lambda name: measured[name]["mean_error"])  # it is an expected Dice that is given
    fits = {}
    for name, columns in candidates.items():
        weights, bias = _ridge(table[:, columns], truth)
        fits[name] = {"weights": {names[k]: float(w) for k, w in zip(columns, weights, strict=True)}, "bias": bias}
    return {
        "chosen": chosen,
        **fits[chosen],
        "threshold": float(np.quantile(expected[chosen], 0.1)),
        "fits": fits,
        "cases": len(cases),
        "nothing_found": given - len(cases),
        "patients": len(set(patients)),
        "measured": measured,
    }


def agreement(expected: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """How well expected scores [N] tell true ones [N]: correlations, error, and of the worst tenth the share found."""
    worst = max(1, round(len(truth) / 10))
    found = set(np.argsort(expected, kind="stable")[:worst]) & set(np.argsort(truth, kind="stable")[:worst])
    constant = np.ptp(expected) == 0 or np.ptp(truth) == 0
    return {
        "spearman": 0.0 if constant else float(stats.spearmanr(expected, truth).statistic),
        "pearson": 0.0 if constant else float(np.corrcoef(expected, truth)[0, 1]),
        "worst_tenth_found": len(found) / worst,
        "worst": worst,
        "mean_error": float(np.abs(expected - truth).mean()),
    }


def expected_dice(quality: Mapping[str, Any] | None, scores: Mapping[str, float | None]) -> float | None:
    """The quality of a case by what was fitted; None where nothing was, or a score is missing."""
    if quality is None or any(scores.get(name) is None for name in quality["weights"]):
        return None
    total = quality["bias"] + sum(weight * float(scores[name] or 0) for name, weight in quality["weights"].items())
    return float(np.clip(total, 0, 1))


def nothing_found(scores: Mapping[str, float | None]) -> bool:
    """Whether a segmentation holds no structure, so that there is nothing to be judged."""
    return all(value is None for value in scores.values())


def lowest(quality: Mapping[str, Any] | None, frames: Sequence[Mapping[str, float | None]]) -> float | None:
    """The quality of a case by the scores of each of its frames: the worst frame's, and None where one has none."""
    expected = [expected_dice(quality, scores) for scores in frames]
    known = [value for value in expected if value is not None]
    return min(known) if known and len(known) == len(expected) else None


def _left_out(table: NDArray[Any], truth: NDArray[Any], patients: NDArray[Any]) -> NDArray[Any]:
    """What is expected of each case by a fit on the other patients."""
    expected = np.empty(len(truth))
    for patient in np.unique(patients):
        out = patients == patient
        weights, bias = _ridge(table[~out], truth[~out])
        expected[out] = table[out] @ weights + bias
    return expected


def _ridge(table: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Weights and bias of a linear fit, shrunk in units of each column's spread; one column is not shrunk."""
    middle, spread = table.mean(0), table.std(0) + 1e-9
    units = (table - middle) / spread
    shrink = RIDGE * np.eye(table.shape[1]) * (table.shape[1] > 1)
    weights = np.linalg.solve(
        units.T @ units + shrink + 1e-9 * np.eye(table.shape[1]), units.T @ (truth - truth.mean())
    )
    weights = weights / spread
    return weights, float(truth.mean() - weights @ middle)
