"""Figures of matplotlib: masks over images, legends of classes, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from acdc_semicycle.evaluation.windowing import window_of

Colours = Sequence[Sequence[int]]  # RGB of each class, background first


def colours_of(classes: int, colours: Colours | None = None) -> NDArray:
    """RGB in [0, 1] of each class [K, 3]: those given, or matplotlib's, background black."""
    if colours is not None:
        return np.array(colours)[:classes] / 255
    table = np.zeros((classes, 3))
    table[1:] = colormaps["tab20"](np.arange(classes - 1) % 20)[:, :3]
    return table


class Example(NamedTuple):
    """One slice [H, W] of a case with its two masks (class indices)."""

    title: str
    image: NDArray
    truth: NDArray
    prediction: NDArray
    painted: tuple[NDArray, ...] = ()  # from the truth, and from the prediction


def examples_figure(examples: Sequence[Example], classes: Sequence[str], colours: Colours | None = None) -> Figure:
    """One row per example: the image, both masks over it, what was painted from both; below, a legend of classes."""
    table = colours_of(len(classes), colours)
    heights, inches = [], 0.0
    for example in examples:
        height, width = example.image.shape[:2]
        heights.append(height / width)
        inches += 2.4 * heights[-1] + 0.3
    columns = 3 + max(len(example.painted) for example in examples)
    figure = Figure(figsize=(2.5 * columns, inches + 0.8), layout="constrained")
    axes = figure.subplots(len(examples), columns, squeeze=False, height_ratios=heights)
    masks = []
    for row, example in zip(axes, examples, strict=True):
        show(row[0], example.image, None, table)
        show(row[1], example.image, example.truth, table)
        show(row[2], example.image, example.prediction, table)
        row[0].set_title(example.title, fontsize=8, loc="left", parse_math=False)
        row[1].set_title("truth", fontsize=8, loc="right")
        row[2].set_title("prediction", fontsize=8, loc="right")
        for axis, picture, source in zip(row[3:], example.painted, ("truth", "prediction"), strict=False):
            show(axis, picture, None, table)
            axis.set_title(f"painted from the {source}", fontsize=8, loc="right")
        masks += [example.truth, example.prediction]
    legend(figure, masks, classes, table)
    return figure


def legend(figure: Figure, masks: Sequence[NDArray], classes: Sequence[str], table: NDArray) -> None:
    """Names and colours of the classes that these masks hold; the background has none."""
    labels = np.unique(np.concatenate(masks, axis=None))
    patches = []
    for label, name in enumerate(classes):
        if label in labels and name != "background":
            patches.append(Patch(color=table[label], label=name))
    columns = min(6, len(patches) or 1)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def legend_figure(classes: Sequence[str], colours: Colours | None = None) -> Figure:
    """The number, the name and the colour of each class."""
    table = colours_of(len(classes), colours)
    rows = math.ceil(len(classes) / 3)
    figure = Figure(figsize=(6, 0.3 + 0.28 * rows), layout="constrained")
    patches = []
    for label, name in enumerate(classes):
        patches.append(Patch(facecolor=table[label], edgecolor="0.5", label=f"{label}  {name}"))
    figure.legend(handles=patches, loc="center", ncols=3, fontsize=9, frameon=False)
    return figure


def learning_curve(epochs: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Validation scores over the epochs."""
    figure = Figure(figsize=(5.5, 3), layout="constrained")
    axis = figure.subplots()
    for name, values in curves.items():
        axis.plot(epochs, values, marker=".", label=name)
    axis.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def show(axis: Axes, image: NDArray, mask: NDArray | None, table: NDArray) -> None:
    """A grey image [H, W] or a coloured one [H, W, 3], and over it the classes of a mask, if there is one."""
    opacity = 0.6
    if image.ndim == 2:
        low, high = window_of(image)
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        opacity = 0.35
    else:
        axis.imshow(image)
    axis.set(xticks=[], yticks=[])  # not drawn, but measured when the layout is made, which takes long
    axis.set_axis_off()
    if mask is None:
        return
    for label, colour in enumerate(table):
        if (mask == label).any() and colour.any():  # black is background
            axis.contourf(mask == label, levels=[0.5, 1], colors=[colour], alpha=opacity)
            axis.contour(mask == label, levels=[0.5], colors=[colour], linewidths=1)
