"""The learning curves of several runs as one picture."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acdc_semicycle.report.comparison_rows import TITLES
from acdc_semicycle.report.plots import DPI, GREY

COLOURS = ("#0b6b75", "#d1632a", "#7a4fa3", "#3f8f3f", "#b23a5b", "#8a6d1b", "#3b6fc4")
STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))  # in turn, so that of equal lines each is seen
COLUMNS, LEGEND_LINE = 4, 0.2  # of the legend; inches of a line of it
MARKED = 12  # points: a line of no more shows each


def figure_of(curves: Sequence[Mapping[str, Any]], score: str) -> bytes | None:
    """A PNG of score and loss against steps, a line a run; against epochs where a run's steps are not known.

    Returns:
        None where no run has a learning curve.
    """
    drawn = [curve for curve in curves if curve["loss"] or curve[score]]
    if not drawn:
        return None
    lines_of_legend = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(11.6, 3.6 + LEGEND_LINE * lines_of_legend), layout="constrained")
    axes = figure.subplots(1, 2)
    by_steps = all(curve["steps_per_epoch"] for curve in drawn)
    handles = []
    for curve, colour, style in zip(drawn, itertools.cycle(COLOURS), itertools.cycle(STYLES), strict=False):
        factor = curve["steps_per_epoch"] if by_steps else 1
        look = {"color": colour, "linestyle": style, "linewidth": 1.5}
        _draw(axes[0], curve[score], factor, look)
        handles.append(_draw(axes[1], curve["loss"], factor, look))
    _label(axes[0], f"{TITLES[score]} on validation patients", by_steps)
    _label(axes[1], "The segmenter's loss on labelled images (gen_S)", by_steps)
    names = [_short(curve["run"]) for curve in drawn]
    legend = figure.legend(handles, names, loc="outside lower left", ncols=COLUMNS, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def _draw(axis: Axes, values: Mapping[int, float], factor: float, look: Mapping[str, Any]) -> Any:
    """One line; few points are marked, as a single one would not be seen."""
    x = [epoch * factor for epoch in values]
    marker = "o" if len(values) <= MARKED else None
    (line,) = axis.plot(x, list(values.values()), marker=marker, markersize=3.5, **look)
    return line


def _label(axis: Axes, title: str, by_steps: bool) -> None:
    """Title and units, small figures, a faint grid, and no frame above and at the right."""
    axis.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axis.set_xlabel("steps" if by_steps else "epochs", fontsize=8)
    axis.set_xlim(left=0)
    axis.tick_params(labelsize=8, colors=GREY)
    axis.grid(axis="y", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("0.75")
    if not any(len(line.get_xdata()) for line in axis.lines):  # type: ignore[arg-type]
        axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", fontsize=9, color=GREY)


def _short(name: str) -> str:
    """A name with room in the legend."""
    return name if len(name) <= 40 else "…" + name[-39:]
