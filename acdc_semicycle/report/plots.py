"""Plots of clinical indices: the prediction against the truth, one tool against another."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from acdc_semicycle.report.agreement import INDICES, against_truth, number_pairs, of_differences, patients_by_tool

DPI = 130
INK, GREY = "#0b6b75", "#59656f"
PLOTS = {"volumes": ("lv_edv_ml", "lv_esv_ml", "rv_edv_ml", "rv_esv_ml"), "ef": ("lv_ef_percent", "rv_ef_percent")}


def figures(evaluated: dict[str, Any]) -> dict[str, bytes]:
    """PNG plots of volumes and ejection fractions: each tool against the truth, and the tools against each other."""
    patients_of = patients_by_tool(evaluated)
    drawn: dict[str, Figure | None] = {}
    for number, (tool, patients) in enumerate(patients_of.items(), start=1):
        drawn |= _against_truth(tool, patients.values(), "" if number == 1 else f"_{number}")
    if len(patients_of) == 2:
        first, second = patients_of
        pairs = _predicted_by_both(patients_of[first], patients_of[second])
        for name, keys in PLOTS.items():
            drawn[f"bland_altman_tools_{name}"] = _plot(bland_altman, pairs, keys, (first, second))
    return {name: _png(figure) for name, figure in drawn.items() if figure}


def _against_truth(tool: str, patients: Iterable[dict[str, Any]], suffix: str) -> dict[str, Figure | None]:
    """The plots of one tool against the truth, by name."""
    pairs = against_truth(patients)
    drawn = {}
    for name, keys in PLOTS.items():
        drawn[f"scatter_{name}{suffix}"] = _plot(scatter, pairs, keys, ("truth", tool))
        drawn[f"bland_altman_{name}{suffix}"] = _plot(bland_altman, pairs, keys, ("truth", tool))
    return drawn


def _predicted_by_both(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """The predicted indices of the patients that two tools have in common."""
    pairs = []
    for name, entry in first.items():
        if name in second:
            pairs.append((entry.get("prediction") or {}, second[name].get("prediction") or {}))
    return pairs


def _plot(draw: Any, pairs: Sequence[tuple[Any, Any]], keys: Sequence[str], names: tuple[str, str]) -> Figure | None:
    """One panel per index; None where no patient has both numbers of any."""
    numbers: dict[str, NDArray] = {}
    for key in keys:
        both = number_pairs(pairs, key)
        if both:
            numbers[key] = np.array(both, float).T
    if not numbers:
        return None
    figure = Figure(figsize=(2.9 * len(numbers), 2.9), layout="constrained")
    axes = figure.subplots(1, len(numbers), squeeze=False)[0]
    for axis, (key, (x, y)) in zip(axes, numbers.items(), strict=True):
        title, unit = INDICES[key]
        draw(axis, x, y, unit, names)
        axis.set_title(title, fontsize=9, loc="left", fontweight="bold")
        axis.tick_params(labelsize=8, colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color("0.75")
    return figure


def scatter(axis: Axes, x: NDArray, y: NDArray, unit: str, names: Sequence[str]) -> None:
    """Paired numbers [n] and the line on which they are equal; r where three or more make one."""
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axis.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    axis.scatter(x, y, s=16, color=INK, alpha=0.75, linewidths=0, zorder=2)
    axis.set_aspect("equal", "datalim")
    axis.set_ylabel(f"{_short(names[1])}, {unit}", fontsize=8, parse_math=False)
    words = f"n = {len(x)}, mean |error| {np.abs(y - x).mean():.1f}"
    if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        words += f", r = {np.corrcoef(x, y)[0, 1]:.3f}"
    axis.set_xlabel(f"{_short(names[0])}, {unit}\n{words}", fontsize=8, parse_math=False)


def bland_altman(axis: Axes, x: NDArray, y: NDArray, unit: str, names: Sequence[str]) -> None:
    """Differences y - x over means, their bias, the limits of agreement, and bands of their confidence intervals."""
    middle, difference = (x + y) / 2, y - x
    agreement = of_differences(difference)
    words = f"n = {agreement.n}, bias {agreement.bias:+.1f}"
    lines = {agreement.bias: "-"}
    if agreement.limits and agreement.bias_interval and agreement.limit_intervals:
        low, high = agreement.limits
        lines |= {low: "--", high: "--"}
        words += f", limits {low:+.1f} to {high:+.1f}"
        for interval in (agreement.bias_interval, *agreement.limit_intervals):
            axis.axhspan(*interval, color=INK, alpha=0.1, linewidth=0, zorder=0)
    for height, style in lines.items():
        axis.axhline(height, color=INK, linestyle=style, linewidth=1, zorder=1)
    axis.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axis.scatter(middle, difference, s=16, color=INK, alpha=0.75, linewidths=0, zorder=2)
    axis.margins(y=0.15)
    axis.set_ylabel(f"{_short(names[1])} − {_short(names[0])}, {unit}", fontsize=8, parse_math=False)
    axis.set_xlabel(f"mean of both, {unit}\n{words.replace('-', '−')}", fontsize=8)


def _short(name: str) -> str:
    """A name with room on an axis."""
    return name if len(name) <= 24 else name[:23] + "…"


def _png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
