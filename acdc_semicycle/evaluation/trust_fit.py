"""What :mod:`acdc_semicycle.evaluation.trust` is fitted to: patients with masks whom the network never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.evaluation.trust import ROOM, TEMPERATURES, at, error_expected, expected_g, g, weights_at
from acdc_semicycle.runtime.errors import InputError

FEWEST = 3  # patients to fit on
STEEP = 0.3  # the variance of g(e_T) of one patient whom the slope's shrinking is worth
PRIOR_PATIENTS = 2.0  # whom the spread before any data is worth
PRIOR_SPREADS = {"scan": 0.25, "slices": 0.3, "volumes": 1.0}  # on real ACDC: docs/results/trust.md
NORMAL = math.sqrt(math.pi / 2)  # deviation by the mean absolute residual, of a normal distribution
GRID = np.geomspace(TEMPERATURES[0], TEMPERATURES[-1], 101)
ON_GRID = np.stack([weights_at(temperature) for temperature in GRID], 1)  # [temperatures, grid]

Floats = NDArray[np.float64]
Case = Mapping[str, Any]


class Points(NamedTuple):
    """Scans or slices with evidence and truth.

    ``x`` [N, temperatures] is g(e_T), ``y`` [N] is g(d), ``patients`` [N] are their names.
    """

    x: Floats
    y: Floats
    patients: NDArray[Any]

    def part(self, chosen: NDArray[np.bool_]) -> Points:
        """The chosen ones."""
        return Points(self.x[chosen], self.y[chosen], self.patients[chosen])

    def weights(self) -> Floats:
        """The weight of each point: that of each patient is the same, all together have 1."""
        _, own, counts = np.unique(self.patients, return_inverse=True, return_counts=True)
        return 1 / (counts[own] * len(counts))


def fit(cases: Sequence[Case]) -> dict[str, Any]:
    """Fit temperature, lines and spreads.

    Args:
        cases: each has ``patient``; ``evidence``, as :func:`acdc_semicycle.evaluation.trust.evidence` gives it; the
            true ``dice`` of the scan; ``dice_by_slice``, None where neither truth nor label map has a structure; and
            ``volume_ratio`` of each structure in their order, predicted over true volume, None where one of both is 0.

    Returns:
        ``temperature``, ``patients`` and ``cases`` (their numbers), ``scan`` and ``slices`` (each a line, its spread
        and the spread's degrees of freedom), and ``volumes`` (of each structure the spread).

    Raises:
        InputError: fewer than ``FEWEST`` patients.
    """
    judged = with_evidence(cases)
    scans = _points([(case["patient"], case["evidence"]["scan"], case["dice"]) for case in judged])
    patients = len(set(scans.patients))
    if patients < FEWEST:
        raise InputError(
            f"{len(judged)} cases of {patients} patients can be fitted on: give at least {FEWEST} patients, predicted"
            " and evaluated"
        )
    temperature = _temperature(scans)
    residuals = _left_out(scans, scans)
    slices = _points(_slices(judged))
    return {
        "format": 1,
        "temperature": temperature,
        "patients": patients,
        "cases": len(judged),
        "scan": _line(scans, temperature) | _spread(residuals, scans.patients, PRIOR_SPREADS["scan"]),
        "slices": _line(slices, temperature)
        | _spread(_left_out(slices, scans), slices.patients, PRIOR_SPREADS["slices"]),
        "volumes": _volumes(judged, temperature),
    }


def with_evidence(cases: Sequence[Case]) -> list[Case]:
    """The cases in which something was found, and whose Dice is known."""
    return [case for case in cases if case["evidence"]["scan"] is not None and case["dice"] is not None]


def left_out_dice(cases: Sequence[Case]) -> Floats:
    """The Dice [N] that is expected of each case by a fit to the other patients."""
    scans = _points([(case["patient"], case["evidence"]["scan"], case["dice"]) for case in with_evidence(cases)])
    return np.clip(ROOM - np.exp(scans.y - _left_out(scans, scans)), 0, 1)


def _points(rows: Sequence[tuple[str, Sequence[float], float]]) -> Points:
    """Points of rows of patient, e_T at each temperature, and true Dice."""
    patients, expected, dice = zip(*rows, strict=True) if rows else ((), (), ())
    return Points(g(np.array(expected).reshape(-1, len(TEMPERATURES))), g(np.array(dice)), np.array(patients, str))


def _slices(cases: Sequence[Case]) -> list[tuple[str, Sequence[float], float]]:
    """The rows of slices in which the network finds a structure, and whose Dice is known."""
    rows = []
    for case in cases:
        for expected, dice in zip(case["evidence"]["slices"], case["dice_by_slice"], strict=True):
            if expected is not None and dice is not None:
                rows.append((case["patient"], expected, dice))
    return rows


def _temperature(scans: Points) -> float:
    """The temperature at which the expected Dice of scans is nearest to the true one, by the squared error of g."""
    errors = (scans.x @ ON_GRID - scans.y[:, None]) ** 2
    return float(GRID[np.argmin(scans.weights() @ errors)])


def _line(points: Points, temperature: float) -> dict[str, float]:
    """Shift, slope and middle of g(d) over g(e_T)."""
    x, weights = at(points.x, temperature), points.weights()
    middle = float(weights @ x)
    shift = float(weights @ (points.y - x))
    covariance = weights @ ((x - middle) * (points.y - x - shift))
    patients = len(np.unique(points.patients))
    slope = float(covariance / (weights @ (x - middle) ** 2 + STEEP / patients))
    return {"shift": shift, "slope": slope, "middle": middle}


def _left_out(points: Points, scans: Points) -> Floats:
    """How far each point's g(d) is above what the other patients make expected."""
    residuals = np.empty(len(points.y))
    for patient in np.unique(points.patients):
        out = points.patients == patient
        temperature = _temperature(scans.part(scans.patients != patient))
        line = _line(points.part(~out), temperature)
        residuals[out] = points.y[out] - expected_g(line, at(points.x[out], temperature))
    return residuals


def _spread(residuals: Floats, patients: NDArray[Any], prior: float) -> dict[str, float]:
    """The deviation by the mean absolute residual, each patient and the prior with a weight, and its freedom."""
    means = [float(np.abs(residuals[patients == patient]).mean()) for patient in np.unique(patients)]
    total = NORMAL * sum(means) + PRIOR_PATIENTS * prior
    return {"spread": total / (len(means) + PRIOR_PATIENTS), "freedom": len(means) - 1 + PRIOR_PATIENTS}


def _volumes(cases: Sequence[Case], temperature: float) -> list[dict[str, float] | None]:
    """Of each structure the spread of the log of its volume, in units of 1 - e_T; None where no patient has it."""
    spreads: list[dict[str, float] | None] = []
    for structure in range(len(cases[0]["evidence"]["structures"])):
        residuals, patients = [], []
        for case in cases:
            ratio, values = case["volume_ratio"][structure], case["evidence"]["structures"][structure]
            if ratio and values is not None:
                residuals.append(math.log(ratio) / error_expected(values, temperature))
                patients.append(case["patient"])
        spread = _spread(np.array(residuals), np.array(patients, str), PRIOR_SPREADS["volumes"]) if patients else None
        spreads.append(spread)
    return spreads
