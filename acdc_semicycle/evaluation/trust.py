"""The expected Dice of a scan and of each slice, from the probabilities alone, each with an interval of 80 %.

A network that learnt from few patients is too sure of itself. Its probabilities s are therefore taken at a temperature
T (Guo et al. 2017, "On calibration of modern neural networks"), which left-out patients with masks give:

    s_T = s^(1/T) / sum over classes of s^(1/T)
    e_T = 2 sum(s_T y) / (sum(s_T) + sum(y)), the mean over the structures found    y: the masks in which s is largest

e_T is the Dice that is expected of y if s_T is right. On g(d) = log(1.02 - d) the errors of good and of bad scans are
of one size. There the true Dice d lies about a line,

    g(d) = g(e_T) + shift + slope (g(e_T) - middle)

whose slope is shrunk towards 0. The spread about it gives the interval, by Student's t with the number of patients.
Patients count, not scans: ED and ES of one heart go wrong together. The logarithm of a volume is off in proportion to
1 - e_T of its structure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

LEVEL = 0.8  # of the intervals
TEMPERATURES = (1.0, 1.5, 2.25, 3.4)  # at which the evidence is kept; between them it is interpolated
CERTAIN = 1e-3  # a voxel whose structures have less together is background at every temperature
ROOM = 1.02  # so that g(1) is finite
LEAST_ERROR = 0.005  # of 1 - e_T, in proportion to which a volume is off

Evidence = Mapping[str, Any]
Fit = Mapping[str, Any]


@torch.no_grad()
def evidence(s: Any) -> dict[str, Any]:
    """What is kept of probabilities, so that any fit can be applied to it later.

    Args:
        s: probabilities [K, H, W, slices] on the network's grid, background first; a tensor or an array.

    Returns:
        e_T at each of ``TEMPERATURES``: of the ``scan``, of each structure (``structures``) and of each slice
        (``slices``); None instead where nothing is found.
    """
    s = torch.as_tensor(s).float()
    unsure = s[1:].sum(0) >= CERTAIN
    slice_indices = unsure.nonzero()[:, -1]
    voxels_s = s[:, unsure]  # [K, voxels]
    numbers = torch.arange(1, len(s), device=s.device)
    masks = (numbers[:, None] == voxels_s.max(0).indices).float()
    sizes = _by_slice(masks, slice_indices, s.shape[-1])
    structures, slices, scan = [], [], []
    for temperature in TEMPERATURES:
        tempered = scaled(voxels_s, temperature)[1:]
        common = _by_slice(tempered * masks, slice_indices, s.shape[-1])
        mass = _by_slice(tempered, slice_indices, s.shape[-1])
        by_structure = _soft_dice(common.sum(1), mass.sum(1), sizes.sum(1))
        structures.append(by_structure)
        scan.append(by_structure.nanmean(0, keepdim=True))
        slices.append(_soft_dice(common, mass, sizes).nanmean(0))
    return {"scan": _rows(scan)[0], "structures": _rows(structures), "slices": _rows(slices)}


def scaled(s: Tensor, temperature: float | int) -> Tensor:
    """Probabilities [K, ...] at a temperature."""
    powers = s.clamp_min(1e-12) ** (1 / temperature)
    return powers / powers.sum(0)


def _by_slice(values: Tensor, slice_indices: Tensor, slices: int) -> Tensor:
    """Sums [structures, slices] of values [structures, voxels] over the voxels of each slice, on the CPU."""
    sums = torch.zeros(len(values), slices, dtype=torch.double, device=values.device)
    return sums.index_add_(1, slice_indices, values.double()).cpu()


def _soft_dice(common: Tensor, mass: Tensor, sizes: Tensor) -> Tensor:
    """2 common / (mass + sizes); NaN where no voxel was found."""
    return torch.where(sizes > 0, 2 * common / (mass + sizes), torch.nan)


def _rows(by_temperature: Sequence[Tensor]) -> list[list[float] | None]:
    """Of each item the values at all temperatures, rounded; None where they are NaN."""
    rows: list[list[float] | None] = []
    for values in torch.stack(list(by_temperature), 1).tolist():
        rows.append(None if math.isnan(values[0]) else [round(value, 5) for value in values])
    return rows


def trust(fit: Fit, evidence: Evidence) -> dict[str, Any] | None:
    """The expected Dice of a scan and of its slices by a fit (:func:`acdc_semicycle.evaluation.trust_fit.fit`).

    Returns:
        ``dice``, ``low`` and ``high`` of the mean over the structures of the scan; ``slices``, the same of each slice,
        None where nothing is found in it. None where nothing is found at all.
    """
    if evidence["scan"] is None:
        return None
    slices = []
    for values in evidence["slices"]:
        slices.append(None if values is None else _with_interval(fit["slices"], values, fit["temperature"]))
    return {**_with_interval(fit["scan"], evidence["scan"], fit["temperature"]), "slices": slices}


def _with_interval(line: Mapping[str, float], values: Sequence[float], temperature: float) -> dict[str, float]:
    """The expected Dice by e_T at ``TEMPERATURES``, and its interval."""
    middle = expected_g(line, float(at(g(np.array([values])), temperature)[0]))
    width = line["spread"] * _quantile(line["freedom"])
    return {"dice": dice_of(middle), "low": dice_of(middle + width), "high": dice_of(middle - width)}


def volume_interval(fit: Fit, evidence: Evidence, structure: int, ml: float) -> list[float] | None:
    """The interval of a volume, ``[low, high]`` in its own unit; None where the fit has no volumes, or none was found.

    Args:
        structure: its class, from 1 on.
    """
    spreads, values = fit["volumes"], evidence["structures"][structure - 1]
    if values is None or spreads[structure - 1] is None:
        return None
    spread = spreads[structure - 1]
    width = spread["spread"] * _quantile(spread["freedom"]) * error_expected(values, fit["temperature"])
    return [ml * math.exp(-width), ml * math.exp(width)]


def ef_interval(
    edv: float | int, esv: float | int, edv_interval: Sequence[float | int], esv_interval: Sequence[float | int]
) -> list[float] | None:
    """The interval of an ejection fraction in per cent, by those of both volumes, whose errors count as independent.

    None where a volume is 0.
    """
    if min(edv, esv, edv_interval[0], esv_interval[0]) <= 0:
        return None
    widths = [math.log(high / low) / 2 for low, high in (edv_interval, esv_interval)]
    width = math.hypot(*widths)
    return [100 * (1 - esv / edv * math.exp(width)), 100 * (1 - esv / edv * math.exp(-width))]


@cache
def _quantile(freedom: float) -> float:
    """Student's t that an interval of ``LEVEL`` reaches on either side."""
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def g(dice: Any) -> Any:
    """g(d)."""
    return np.log(ROOM - dice)


def dice_of(value: float) -> float:
    """The Dice of g(d), between 0 and 1."""
    return float(np.clip(ROOM - np.exp(value), 0, 1))


def at(x: Any, temperature: float) -> Any:
    """g(e_T) [N] of g at ``TEMPERATURES`` [N, temperatures], in proportion to log T between them."""
    return x @ weights_at(temperature)


def weights_at(temperature: float) -> Any:
    """The share [temperatures] of each of ``TEMPERATURES`` in what is interpolated at a temperature."""
    logs, weights = np.log(TEMPERATURES), np.zeros(len(TEMPERATURES))
    right = int(np.clip(np.searchsorted(logs, math.log(temperature)), 1, len(logs) - 1))
    weights[right] = (math.log(temperature) - logs[right - 1]) / (logs[right] - logs[right - 1])
    weights[right - 1] = 1 - weights[right]
    return weights


def expected_g(line: Mapping[str, float], x: Any) -> Any:
    """g(d) on the line over x = g(e_T)."""
    return x + line["shift"] + line["slope"] * (x - line["middle"])


def error_expected(values: Sequence[float], temperature: float) -> float:
    """1 - e_T of a structure, by its e_T at ``TEMPERATURES``."""
    return max(LEAST_ERROR, 1 - dice_of(float(at(g(np.array([values])), temperature)[0])))
