"""Plots of clinical indices: the prediction against the truth, one tool against another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 130
INK, GREY = "#0b6b75", "#59656f"
INDICES = {
    "lv_edv_ml": ("LV EDV", "ml"), "lv_esv_ml": ("LV ESV", "ml"), "lv_sv_ml": ("LV SV", "ml"),
    "lv_ef_percent": ("LV EF", "%"), "rv_edv_ml": ("RV EDV", "ml"), "rv_esv_ml": ("RV ESV", "ml"),
    "rv_sv_ml": ("RV SV", "ml"), "rv_ef_percent": ("RV EF", "%"), "myo_mass_g": ("Myo mass", "g"),
}  # fmt: skip
PLOTS = {"volumes": ("lv_edv_ml", "lv_esv_ml", "rv_edv_ml", "rv_esv_ml"), "ef": ("lv_ef_percent", "rv_ef_percent")}


def figures(evaluated: dict[str, Any]) -> dict[str, bytes]:
    """PNG plots of volumes and ejection fractions: each tool against the truth, and the tools against each other."""
    of_tool: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in evaluated.get("patients") or []:
        of_tool.setdefault(str(entry.get("tool")), {})[entry["patient"]] = entry
    drawn: dict[str, Figure | None] = {}
    for number, (tool, patients) in enumerate(of_tool.items(), start=1):
        pairs = [(entry.get("truth") or {}, entry.get("prediction") or {}) for entry in patients.values()]
        suffix = "" if number == 1 else f"_{number}"
        for name, keys in PLOTS.items():
            drawn[f"scatter_{name}{suffix}"] = _plot(scatter, pairs, keys, ("truth", tool))
            drawn[f"bland_altman_{name}{suffix}"] = _plot(bland_altman, pairs, keys, ("truth", tool))
    if len(of_tool) == 2:
        (a, first), (b, second) = of_tool.items()
        both = [(first[p].get("prediction") or {}, second[p].get("prediction") or {}) for p in first if p in second]
        for name, keys in PLOTS.items():
            drawn[f"bland_altman_tools_{name}"] = _plot(bland_altman, both, keys, (a, b))
    return {name: _saved(figure) for name, figure in drawn.items() if figure}


def _plot(draw: Any, pairs: Sequence[tuple[Any, Any]], keys: Sequence[str], names: tuple[str, str]) -> Figure | None:
    """A panel an index; None where no patient has both numbers of any."""
    found: dict[str, NDArray] = {}
    for key in keys:
        known = [(x[key], y[key]) for x, y in pairs if x.get(key) is not None and y.get(key) is not None]
        if known:
            found[key] = np.array(known, float).T
    if not found:
        return None
    figure = Figure(figsize=(2.9 * len(found), 2.9), layout="constrained")
    for axis, (key, (x, y)) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        draw(axis, x, y, INDICES[key][1], names)
        axis.set_title(INDICES[key][0], fontsize=9, loc="left", fontweight="bold")
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
    """Differences y - x over means, their bias, and the limits of agreement: 1.96 standard deviations on both sides."""
    middle, difference = (x + y) / 2, y - x
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1) if len(x) > 2 else 0.0
    lines = {bias: "-"} | ({bias - spread: "--", bias + spread: "--"} if len(x) > 2 else {})
    for height, style in lines.items():
        axis.axhline(height, color=INK, linestyle=style, linewidth=1, zorder=1)
    axis.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axis.scatter(middle, difference, s=16, color=INK, alpha=0.75, linewidths=0, zorder=2)
    axis.margins(y=0.15)
    axis.set_ylabel(f"{_short(names[1])} − {_short(names[0])}, {unit}", fontsize=8, parse_math=False)
    words = f"n = {len(x)}, bias {bias:+.1f}" + (
        f", limits {bias - spread:+.1f} to {bias + spread:+.1f}" * (len(x) > 2)
    )
    axis.set_xlabel(f"mean of both, {unit}\n{words.replace('-', '−')}", fontsize=8)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _saved(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
