"""Pictures of the methods side by side, a row a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.experiments.paper import label_order, labels_in_words
from acdc_semicycle.experiments.results import Finished

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from matplotlib.figure import Figure

ALPHA = 0.55  # of the colours laid over a picture
COLUMN, DPI = 2.2, 110  # inches a column of a panel
LEGEND = 7  # classes a line


class Shown(NamedTuple):
    """One case of a panel: uint8 [H, W], the image perhaps [H, W, 3]; 255 of the truth is no class."""

    image: NDArray
    truth: NDArray
    prediction: NDArray


def side_by_side(runs: Sequence[Finished]) -> dict[str, Finished]:
    """The runs to lay beside each other, by column title: with the fewest labels that most methods share, or 20 %."""
    drawn = [run for run in runs if (run.folder / "panel.npz").is_file()]
    methods: dict[str, set[str]] = {}
    for run in drawn:
        if run.cell.method in ("partial", "hung", "semicycle"):
            methods.setdefault(run.cell.labels, set()).add(run.cell.method)
    most = [labels for labels in methods if len(methods[labels]) == max(map(len, methods.values()))]
    labels = "20" if "20" in most else max(most, key=label_order, default="100")
    columns = {}
    for method, of in (("partial", labels), ("hung", labels), ("semicycle", labels), ("full", "100")):
        found = [run for run in drawn if (run.cell.method, run.cell.labels) == (method, of)]
        if found:
            columns[f"{method}, {labels_in_words(of)}"] = min(found, key=lambda run: run.cell.seed)
    return columns


def draw(path: Path, runs: Sequence[Finished], images: bool) -> None:
    """One data set's panel; none where the runs have no case in common."""
    columns = side_by_side(runs)
    panels = {title: _panel(run.folder / "panel.npz") for title, run in columns.items()}
    names = [name for name in next(iter(panels.values()), {}) if all(name in panel for panel in panels.values())]
    if names:
        report = next(iter(columns.values())).report
        panel_figure(names, panels, report["classes"], report["colours"], images).savefig(path, dpi=DPI)


def _panel(path: Path) -> dict[str, Shown]:
    """The cases of a panel.npz by name."""
    with np.load(path) as arrays:
        names = [str(name) for name in arrays["names"]]
        return {name: Shown(*(arrays[f"{key}_{n}"] for key in Shown._fields)) for n, name in enumerate(names)}


def panel_figure(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Shown]],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    images: bool = True,
) -> Figure:
    """A row a case: the image, the truth over it, and each method's prediction over it; or predictions alone."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    first = next(iter(panels.values()))
    background = int(classes[0] == "background")
    columns = [*(["image", "truth"] if images else []), *panels]
    masks: dict[str, list[NDArray | None]] = {
        name: [*([None, first[name].truth] if images else []), *(panel[name].prediction for panel in panels.values())]
        for name in names
    }
    present = np.unique(np.concatenate([mask.ravel() for row in masks.values() for mask in row if mask is not None]))
    legend = [Patch(color=_fraction(colours[k]), label=classes[k]) for k in present if background <= k < len(classes)]
    height, width = first[names[0]].image.shape[:2]
    tall = len(names) * COLUMN * height / width + 0.4 + 0.25 * -(-len(legend) // LEGEND)
    figure = Figure(figsize=(COLUMN * len(columns), tall), layout="constrained")
    axes = figure.subplots(len(names), len(columns), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, mask in zip(row, masks[name], strict=True):
            under = first[name].image if images else np.zeros_like(first[name].image)
            axis.imshow(paint(under, mask, colours, background))
            axis.set(xticks=[], yticks=[])
        fits = max(8, int(22 * height / width))  # letters along the picture's side
        row[0].set_ylabel(name if len(name) <= fits else f"…{name[-fits:]}", fontsize=7)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=LEGEND, fontsize=8, frameon=False)
    return figure


def _fraction(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue


def paint(image: NDArray, mask: NDArray | None, colours: Sequence[Sequence[int]], background: int) -> NDArray:
    """A picture [H, W] or [H, W, 3] with the classes of a mask over it: from ``background`` (how many classes are
    left unpainted) on; 255 is no class."""
    picture = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image.copy()
    if mask is not None:
        shown = (mask >= background) & (mask < len(colours))
        picture[shown] = (1 - ALPHA) * picture[shown] + ALPHA * np.asarray(colours)[mask[shown]]
    return picture
