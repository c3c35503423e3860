"""A picture of the table of few annotated patients: Dice by their number, and learning curves."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.experiments import few
from acdc_semicycle.experiments.few_rows import counts_of, folder_of
from acdc_semicycle.experiments.methods import in_order
from acdc_semicycle.experiments.published import PUBLISHED, VALIDATION, Published
from acdc_semicycle.experiments.results import Finished, select
from acdc_semicycle.runtime.files import replacing

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
UPPER, LOWER = 5.2, 2.3  # inches of height
COLOURS = ("#0b6b75", "#d1632a", "#7a4fa3", "#3f8f3f", "#b23a5b", "#8a6d1b", "#3b6fc4")
GREY, PALE = "#8a939b", "#c9cfd4"
STEP = 0.05  # between the lines of two methods with the same patients; the distance of two numbers of patients is 1
LANE, TEXT = 0.34, 0.39  # where published marks and their names stand, to the right of the methods
GAP = 0.035  # between two names, at least, as a part of the axis
TOP, TICKS = 0.93, (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)  # of the axis of Dice
ALL = 70  # of the published protocol's training patients

Curve = dict[int, float]  # validation Dice by epoch


def draw(path: Path, runs: Sequence[Finished]) -> None:
    """Draw the picture of finished runs, at least one."""
    with replacing(path) as beside:
        picture(runs).savefig(beside, dpi=DPI)


def picture(runs: Sequence[Finished]) -> Figure:
    """Dice by the number of annotated patients; below, where trainings were validated often, their learning curves."""
    from matplotlib.figure import Figure

    counts = counts_of(runs)
    colours = dict(zip(_few_first(runs), itertools.cycle(COLOURS), strict=False))
    curves = _curves_of(runs, counts)
    width = max(6.5, 2.4 * len(counts) + 1.2)
    figure = Figure(figsize=(width, UPPER + LOWER * bool(curves)), layout="constrained")
    if not curves:
        _draw_dice(figure.subplots(), runs, counts, colours)
        return figure
    halves: Any = figure.subfigures(2, 1, height_ratios=[UPPER, LOWER])
    upper, lower = halves
    _draw_dice(upper.subplots(), runs, counts, colours)
    axes = lower.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, (count, by_method) in zip(axes, curves.items(), strict=True):
        _draw_curves(axis, by_method, colours, f"{count} annotated")
    axes[0].set_ylabel("validation Dice", fontsize=8)
    return figure


def _curves_of(runs: Sequence[Finished], counts: Sequence[int]) -> dict[int, dict[str, Curve]]:
    """The learning curves of each method by number of annotated patients, where there are any."""
    curves = {}
    for count in counts:
        by_method = _mean_curves(select(runs, labels=f"{count}p"))
        if by_method:
            curves[count] = by_method
    return curves


def _few_first(runs: Sequence[Finished]) -> list[str]:
    """The methods of runs with ``few`` as the first, which has the same colour in every picture."""
    return sorted(in_order({run.cell.method for run in runs}), key=lambda method: method != few.NAME)


def _draw_dice(axis: Axes, runs: Sequence[Finished], counts: Sequence[int], colours: Mapping[str, str]) -> None:
    """A line for each method through its mean over seeds, each seed a dot, and published figures beside them."""
    lowest = TOP
    for number, method in enumerate(colours):
        offset = STEP * (number - (len(colours) - 1) / 2)
        own = select(runs, method=method)
        lowest = min(lowest, _draw_method(axis, own, counts, offset, colours[method]))
    published = [figure for figure in PUBLISHED if figure.patients in counts]
    for figure in published:
        lowest = min(lowest, figure.low)
    axis.set_yscale("function", functions=(_to_axis, _from_axis))
    axis.set_ylim(max(0.0, lowest - 0.03), TOP)
    axis.set_yticks([tick for tick in TICKS if tick >= lowest - 0.03], minor=False)
    axis.set_xlim(-0.35, len(counts) + 0.1)
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    for position, count in enumerate(counts):
        _draw_published(axis, position, [figure for figure in published if figure.patients == count])
    _draw_full(axis)
    axis.set_xlabel("annotated patients", fontsize=9)
    axis.set_ylabel("mean 3D Dice of RV, MYO and LV", fontsize=9)
    _tidy(axis)
    _legend(axis)


def _to_axis(dice: NDArray) -> NDArray:
    """Where a Dice stands: the same distance for the same part of what is missing to 1."""
    return -np.log(np.clip(1 - np.asarray(dice, float), 1e-3, None))


def _from_axis(height: NDArray) -> NDArray:
    """The Dice at a height of the axis."""
    return 1 - np.exp(-np.asarray(height, float))


def _draw_method(axis: Axes, runs: Sequence[Finished], counts: Sequence[int], offset: float, colour: str) -> float:
    """The line of one method and the dots of its seeds; the lowest Dice that is drawn."""
    x, y, lowest = [], [], 1.0
    for position, count in enumerate(counts):
        dice = [run.score("dice") for run in select(runs, labels=f"{count}p")]
        scores = [score for score in dice if score is not None]
        if scores:
            axis.plot([position + offset] * len(scores), scores, "_", color=colour, ms=6, mew=1.2, zorder=4)
            x.append(position + offset)
            y.append(float(np.mean(scores)))
            lowest = min([lowest, *scores])
    axis.plot(x, y, "-", color=colour, lw=1.2, alpha=0.6, zorder=2)
    axis.plot(x, y, "o", color=colour, label=runs[0].cell.method, ms=5, zorder=4)
    return lowest


def _draw_published(axis: Axes, position: int, figures: Sequence[Published]) -> None:
    """Grey marks for what others report, each with its name; a range is a line between two marks."""
    low, high = _to_axis(np.array(axis.get_ylim()))
    figures = sorted(figures, key=lambda figure: figure.low + figure.high)
    middles = [(figure.low + figure.high) / 2 for figure in figures]
    gap = GAP * (high - low)
    heights = _from_axis(_spread(_to_axis(np.array(middles)), gap, high - gap))
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for figure, middle, height in zip(figures, middles, heights, strict=True):
        x = position + LANE
        face = GREY if figure.chosen_on == VALIDATION else "white"
        axis.plot([x, x], [figure.low, figure.high], "-", color=PALE, lw=1, zorder=1)
        axis.plot([x, x], [figure.low, figure.high], "o", color=GREY, mfc=face, ms=3.5, mew=0.8, zorder=3)
        axis.plot([x + 0.015, position + TEXT], [middle, height], "-", color=PALE, lw=0.6, zorder=1)
        axis.text(position + TEXT + 0.01, height, figure.method, color=GREY, fontsize=6.5, va="center", bbox=paper)


def _spread(heights: NDArray, gap: float, top: float) -> NDArray:
    """Rising heights moved apart, so that none is closer to the next than ``gap`` and none is above ``top``."""
    spread = heights.copy()
    for _ in range(500):
        push = np.clip(gap - np.diff(spread), 0, None) / 2
        spread[:-1] -= push
        spread[1:] += push
    highest = top
    for index in range(len(spread) - 1, -1, -1):
        spread[index] = min(spread[index], highest)
        highest = spread[index] - gap
    return spread


def _draw_full(axis: Axes) -> None:
    """A line at the lowest Dice that is reported with all patients annotated."""
    dice = min(figure.low for figure in PUBLISHED if figure.patients == ALL)
    axis.axhline(dice, color=PALE, lw=1, ls="--", zorder=0)
    axis.text(-0.33, dice + 0.002, f"published with all {ALL} annotated", color=GREY, fontsize=6.5, va="bottom")


def _legend(axis: Axes) -> None:
    """Above, the methods; within, what the grey marks are."""
    axis.figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=7)
    filled = axis.plot([], [], "o", color=GREY, ms=3.5)
    hollow = axis.plot([], [], "o", color=GREY, mfc="white", ms=3.5, mew=0.8)
    words = ["published, test patients, chosen on validation ones", "published, chosen on the scored ones, or unknown"]
    axis.legend([*filled, *hollow], words, frameon=False, fontsize=6.5, labelcolor=GREY, loc="lower right")


def _draw_curves(axis: Axes, curves: Mapping[str, Curve], colours: Mapping[str, str], title: str) -> None:
    """Validation Dice over the epochs of each method with one number of annotated patients."""
    for method, curve in curves.items():
        axis.plot([*curve], [*curve.values()], ".-", color=colours[method], lw=1.2, ms=4)
    axis.set_title(title, fontsize=8)
    axis.set_xlabel("epoch", fontsize=8)
    _tidy(axis)


def _tidy(axis: Axes) -> None:
    """Small figures, a faint grid, and no frame above and at the right."""
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _mean_curves(runs: Sequence[Finished]) -> dict[str, Curve]:
    """The mean validation Dice of each method over the seeds that were all validated after the same epochs."""
    curves: dict[str, Curve] = {}
    for method in in_order({run.cell.method for run in runs}):
        values: dict[int, list[float]] = {}
        own = select(runs, method=method)
        for run in own:
            for epoch, dice in read_curve(folder_of(run) / "learning_curve.csv").items():
                values.setdefault(epoch, []).append(dice)
        curve = {epoch: float(np.mean(dice)) for epoch, dice in sorted(values.items()) if len(dice) == len(own)}
        if len(curve) > 1:
            curves[method] = curve
    return curves


def read_curve(path: Path) -> Curve:
    """The validation Dice of a learning_curve.csv by epoch; empty if there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {int(row["epoch"]): float(row["dice"]) for row in csv.DictReader(stream) if row.get("dice")}
