"""What each score without a truth is worth: how well a straight line from it to the true Dice fits left-out patients.

The expected Dice itself is :mod:`acdc_semicycle.evaluation.trust`; ``expected_dice`` is also that of earlier versions.
"""

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
    """Fit a line from each score, and from the sum of all, to the Dice, each patient left out in turn.

    A case in which nothing was found has no scores and takes no part.

    Args:
        cases: each has ``patient``, ``scores`` and ``dice``, the true mean Dice; of validation, never of training.

    Returns:
        ``fits``, of each score and of the sum the ``weights`` and the ``bias`` of the line; ``measured``, of each
        Spearman's and Pearson's correlation with Dice, the share of the worst tenth found, and the mean absolute error,
        all with the case's patient left out.

    Raises:
        InputError: too few cases, of too few patients, or no score that all of them have.
    """
    judged = with_structures(cases)
    patients = np.array([case["patient"] for case in judged])
    _check_enough(patients, len(cases) - len(judged))
    names = _common_scores(judged)
    truth = np.array([case["dice"] for case in judged])
    table = np.empty((len(judged), len(names)))
    for column, name in enumerate(names):
        table[:, column] = [case["scores"][name] for case in judged]
    columns_of = {name: [column] for column, name in enumerate(names)} | {"sum": list(range(len(names)))}
    measured, fits = {}, {}
    for candidate, columns in columns_of.items():
        measured[candidate] = agreement(_left_out(table[:, columns], truth, patients), truth)
        weights, bias = _ridge(table[:, columns], truth)
        by_name = dict(zip([names[column] for column in columns], weights.tolist(), strict=True))
        fits[candidate] = {"weights": by_name, "bias": bias}
    return {"fits": fits, "measured": measured}


def _check_enough(patients: NDArray[Any], empty: int) -> None:
    """Refuse to fit on too few cases, given the patient of each, or of too few patients."""
    if len(patients) >= FEWEST and len(set(patients)) >= 3:
        return
    without = f" ({empty} more have no scores, as nothing was found)" if empty else ""
    raise InputError(
        f"{len(patients)} cases of {len(set(patients))} patients can be fitted on{without}: give at least {FEWEST}"
        " cases of 3 patients, predicted and evaluated"
    )


def _common_scores(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores that all cases have."""
    names = list(SCORES)
    for case in cases:
        names = [name for name in names if case["scores"].get(name) is not None]
    if not names:
        raise InputError(f"no score exists for all {len(cases)} cases: predict them all with the same switches")
    return names


def agreement(expected: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """How well expected Dice [N] agrees with the true one: correlations, mean error, share of the worst tenth found."""
    worst = max(1, round(len(truth) / 10))
    expected_worst = np.argsort(expected, kind="stable")[:worst]
    true_worst = np.argsort(truth, kind="stable")[:worst]
    constant = np.ptp(expected) == 0 or np.ptp(truth) == 0
    return {
        "spearman": 0.0 if constant else float(stats.spearmanr(expected, truth).statistic),
        "pearson": 0.0 if constant else float(np.corrcoef(expected, truth)[0, 1]),
        "worst_tenth_found": len(np.intersect1d(expected_worst, true_worst)) / worst,
        "worst": worst,
        "mean_error": float(np.abs(expected - truth).mean()),
    }


def expected_dice(quality: Mapping[str, Any] | None, scores: Mapping[str, float | None]) -> float | None:
    """The Dice of a case on the line of a fit; None where there is no fit, or a score is missing."""
    if quality is None:
        return None
    total = 0.0
    for name, weight in quality["weights"].items():
        score = scores.get(name)
        if score is None:
            return None
        total += weight * float(score)
    return float(np.clip(quality["bias"] + total, 0, 1))


def nothing_found(scores: Mapping[str, float | None]) -> bool:
    """Whether a segmentation holds no structure, so that there is nothing to be judged."""
    return all(value is None for value in scores.values())


def with_structures(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The cases in which something was found."""
    return [case for case in cases if not nothing_found(case["scores"])]


def lowest(quality: Mapping[str, Any] | None, frames: Sequence[Mapping[str, float | None]]) -> float | None:
    """The quality of a case by the scores of each of its frames: the worst frame's, and None where one has none."""
    values = []
    for scores in frames:
        value = expected_dice(quality, scores)
        if value is None:
            return None
        values.append(value)
    return min(values, default=None)


def _left_out(table: NDArray[Any], truth: NDArray[Any], patients: NDArray[Any]) -> NDArray[Any]:
    """The Dice that is expected of each case by a fit on the other patients."""
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
    identity = np.eye(table.shape[1])
    shrink = RIDGE * identity * (table.shape[1] > 1)
    weights = np.linalg.solve(units.T @ units + shrink + 1e-9 * identity, units.T @ (truth - truth.mean()))
    weights = weights / spread
    return weights, float(truth.mean() - weights @ middle)
