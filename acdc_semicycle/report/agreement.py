"""How well predicted and true clinical indices agree, with confidence intervals (Bland and Altman 1999)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from acdc_semicycle.data.parts import SEEN

INDICES = {
    "lv_edv_ml": ("LV EDV", "ml"), "lv_esv_ml": ("LV ESV", "ml"), "lv_sv_ml": ("LV SV", "ml"),
    "lv_ef_percent": ("LV EF", "%"), "rv_edv_ml": ("RV EDV", "ml"), "rv_esv_ml": ("RV ESV", "ml"),
    "rv_sv_ml": ("RV SV", "ml"), "rv_ef_percent": ("RV EF", "%"), "myo_mass_g": ("Myo mass", "g"),
}  # fmt: skip
Pairs = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]  # of each patient two sets of indices
Interval = tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """The agreement of n pairs; limits and 95 % confidence intervals are None of fewer than three.

    ``limits`` are the bias minus and plus 1.96 standard deviations.
    """

    n: int
    bias: float
    absolute_error: float
    limits: Interval | None = None
    bias_interval: Interval | None = None
    limit_intervals: tuple[Interval, Interval] | None = None


def of_differences(differences: NDArray) -> Agreement:
    """The agreement of paired numbers by their differences [n].

    The intervals are Bland and Altman's (1999, Stat Methods Med Res 8:135): the variance of the bias is s²/n, that of
    a limit s²(1/n + 1.96²/(2(n - 1))), with Student's t of n - 1 degrees of freedom.
    """
    n, bias, error = len(differences), float(differences.mean()), float(np.abs(differences).mean())
    if n < 3:
        return Agreement(n, bias, error)
    spread, t = float(differences.std(ddof=1)), float(stdtrit(n - 1, 0.975))
    low, high = bias - 1.96 * spread, bias + 1.96 * spread
    of_bias = t * spread / math.sqrt(n)
    of_limit = t * spread * math.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    intervals = (low - of_limit, low + of_limit), (high - of_limit, high + of_limit)
    return Agreement(n, bias, error, (low, high), (bias - of_bias, bias + of_bias), intervals)


def patients_by_tool(evaluated: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The entries of patients in evaluation.json by tool, then by name; of new patients alone, if there are any."""
    patients_of: dict[str, dict[str, dict[str, Any]]] = {}
    entries = evaluated.get("patients") or []
    seen = {entry["patient"] for entry in entries if entry.get("part") in SEEN}
    new = [entry for entry in entries if entry["patient"] not in seen]
    for entry in new or entries:
        patients_of.setdefault(str(entry.get("tool")), {})[entry["patient"]] = entry
    return patients_of


def number_pairs(pairs: Pairs, key: str) -> list[tuple[Any, Any]]:
    """The numbers under a key of the pairs in which both have one."""
    return [(x[key], y[key]) for x, y in pairs if x.get(key) is not None and y.get(key) is not None]


def of_index(pairs: Pairs, key: str) -> Agreement | None:
    """The agreement of one index, the second of each pair minus the first; None where no pair has it."""
    numbers = number_pairs(pairs, key)
    if not numbers:
        return None
    first, second = np.array(numbers, float).T
    return of_differences(second - first)


def against_truth(entries: Iterable[Mapping[str, Any]]) -> Pairs:
    """The true and the predicted indices of the patients in evaluation.json."""
    return [(entry.get("truth") or {}, entry.get("prediction") or {}) for entry in entries]


def table_of(evaluated: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The agreement of each tool with the truth: a row for each index that is known."""
    rows: list[dict[str, Any]] = []
    for tool, patients in patients_by_tool(evaluated).items():
        pairs = against_truth(patients.values())
        for key, (name, unit) in INDICES.items():
            agreement = of_index(pairs, key)
            if agreement:
                rows.append({"tool": tool, "key": key, "name": name, "unit": unit, "agreement": agreement})
    return rows
