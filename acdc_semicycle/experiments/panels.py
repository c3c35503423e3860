"""Pictures of the methods side by side, a row a case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.experiments.paper import label_order, labels_in_words
from acdc_semicycle.experiments.results import Finished, select

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

ALPHA = 0.55  # of the colours laid over a picture
COLUMN, DPI = 2.2, 110  # inches a column of a panel
LEGEND = 7  # classes a line of the legend


class Shown(NamedTuple):
    """One case of a panel: uint8 [H, W], the image perhaps [H, W, 3]; 255 of the truth is no class."""

    image: NDArray
    truth: NDArray
    prediction: NDArray


def side_by_side(runs: Sequence[Finished]) -> dict[str, Finished]:
    """The runs to lay beside each other, by column title: those with the labels that most methods share."""
    drawn = [run for run in runs if (run.folder / "panel.npz").is_file()]
    labels = _common_labels(drawn)
    columns = {}
    for method, own_labels in (("partial", labels), ("hung", labels), ("semicycle", labels), ("full", "100")):
        candidates = select(drawn, method=method, labels=own_labels)
        if candidates:
            title = f"{method}, {labels_in_words(own_labels)}"
            columns[title] = min(candidates, key=lambda run: run.cell.seed)
    return columns


def _common_labels(runs: Sequence[Finished]) -> str:
    """The labels that most methods were run with: of several 20 %, or else the fewest."""
    methods: dict[str, set[str]] = {}
    for run in runs:
        if run.cell.method in ("partial", "hung", "semicycle"):
            methods.setdefault(run.cell.labels, set()).add(run.cell.method)
    largest = max(map(len, methods.values()), default=0)
    candidates = [labels for labels in methods if len(methods[labels]) == largest]
    return "20" if "20" in candidates else max(candidates, key=label_order, default="100")


def draw(path: Path, runs: Sequence[Finished], images: bool) -> None:
    """Draw one data set's panel; none where the runs have no case in common."""
    columns = side_by_side(runs)
    panels = {title: _read_panel(run.folder / "panel.npz") for title, run in columns.items()}
    names = list(next(iter(panels.values()), {}))
    for panel in panels.values():
        names = [name for name in names if name in panel]
    if names:
        report = next(iter(columns.values())).report
        panel_figure(names, panels, report["classes"], report["colours"], images).savefig(path, dpi=DPI)


def _read_panel(path: Path) -> dict[str, Shown]:
    """The cases of a panel.npz by name."""
    panel = {}
    with np.load(path) as arrays:
        for n, name in enumerate(arrays["names"]):
            panel[str(name)] = Shown(arrays[f"image_{n}"], arrays[f"truth_{n}"], arrays[f"prediction_{n}"])
    return panel


def panel_figure(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Shown]],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    images: bool = True,
) -> Figure:
    """A row a case: the image, the truth over it, and each method's prediction over it; or predictions alone.

    Args:
        names: of the cases.
        panels: by column title, the cases by name.
        classes: their names, and ``colours`` their RGB.
    """
    from matplotlib.figure import Figure

    first = next(iter(panels.values()))
    background = int(classes[0] == "background")
    rows = [_masks(name, first, panels, images) for name in names]
    legend = _legend(itertools.chain(*rows), classes, colours, background)
    titles = ["image", "truth", *panels] if images else list(panels)
    height, width = first[names[0]].image.shape[:2]
    inches = len(names) * COLUMN * height / width + 0.4 + 0.25 * math.ceil(len(legend) / LEGEND)
    figure = Figure(figsize=(COLUMN * len(titles), inches), layout="constrained")
    axes = figure.subplots(len(names), len(titles), squeeze=False)
    for row, name, masks in zip(axes, names, rows, strict=True):
        image = first[name].image if images else np.zeros_like(first[name].image)
        for axis, mask in zip(row, masks, strict=True):
            axis.imshow(paint(image, mask, colours, background))
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(_shortened(name, max(8, int(22 * height / width))), fontsize=7)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=LEGEND, fontsize=8, frameon=False)
    return figure


def _masks(
    name: str, first: Mapping[str, Shown], panels: Mapping[str, Mapping[str, Shown]], images: bool
) -> list[NDArray | None]:
    """The masks of a case's row, None over the plain image."""
    predictions: list[NDArray | None] = [panel[name].prediction for panel in panels.values()]
    return [None, first[name].truth, *predictions] if images else predictions


def _legend(
    masks: Iterable[NDArray | None], classes: Sequence[str], colours: Sequence[Sequence[int]], background: int
) -> list[Patch]:
    """A patch for each class that occurs in a mask, the background aside."""
    from matplotlib.patches import Patch

    present = np.unique(np.concatenate([mask.ravel() for mask in masks if mask is not None]))
    patches = []
    for k in present:
        if background <= k < len(classes):
            red, green, blue = colours[k]
            patches.append(Patch(color=(red / 255, green / 255, blue / 255), label=classes[k]))
    return patches


def _shortened(name: str, letters: int) -> str:
    """A name, or its end, in so many letters: as many as fit along the picture's side."""
    return name if len(name) <= letters else f"…{name[-letters:]}"


def paint(image: NDArray, mask: NDArray | None, colours: Sequence[Sequence[int]], background: int) -> NDArray:
    """A picture [H, W] or [H, W, 3] with the classes of a mask over it.

    Args:
        background: the first class that is painted: 1 where class 0 is the background. 255 is no class.
    """
    picture = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image.copy()
    if mask is not None:
        shown = (mask >= background) & (mask < len(colours))
        picture[shown] = (1 - ALPHA) * picture[shown] + ALPHA * np.asarray(colours)[mask[shown]]
    return picture
