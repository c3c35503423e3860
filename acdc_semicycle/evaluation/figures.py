"""Pictures for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.evaluation.windowing import window_of

Colours = Sequence[Sequence[int]]  # RGB of each class, background first


def colours_of(classes: int, colours: Colours | None = None) -> NDArray:
    """RGB in [0, 1] of each class [K, 3]: those given, or matplotlib's, background black."""
    if colours is not None:
        return np.array(colours)[:classes] / 255
    return np.array([(0, 0, 0), *(colormaps["tab20"](k % 20)[:3] for k in range(classes - 1))])


class Example(NamedTuple):
    """One slice [H, W] of a case with its two masks (class indices)."""

    title: str
    image: NDArray
    truth: NDArray
    prediction: NDArray


def examples_figure(examples: Sequence[Example], classes: Sequence[str], colours: Colours | None = None) -> Figure:
    """A row an example: the image, the truth over it, the prediction over it; the legend has what occurs."""
    table = colours_of(len(classes), colours)
    tall = sum(2.4 * np.divide(*example.image.shape[:2]) + 0.3 for example in examples)
    figure = Figure(figsize=(7.5, tall + 0.8), layout="constrained")
    heights = [float(np.divide(*example.image.shape[:2])) for example in examples]
    axes = figure.subplots(len(examples), 3, squeeze=False, height_ratios=heights)
    for row, example in zip(axes, examples, strict=True):
        for axis, mask in zip(row, (None, example.truth, example.prediction), strict=True):
            show(axis, example.image, mask, table)
        row[0].set_title(example.title, fontsize=8, loc="left")
        row[1].set_title("truth", fontsize=8, loc="right")
        row[2].set_title("prediction", fontsize=8, loc="right")
    legend(figure, [mask for example in examples for mask in (example.truth, example.prediction)], classes, table)
    return figure


def legend(figure: Figure, masks: Sequence[NDArray], classes: Sequence[str], table: NDArray) -> None:
    """Names and colours of the classes that these masks hold; the background has none."""
    held = np.unique(np.concatenate([mask.ravel() for mask in masks]))
    named = [k for k, name in enumerate(classes) if k in held and name != "background"]
    patches = [Patch(color=table[k], label=classes[k]) for k in named]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=min(6, len(patches) or 1), fontsize=8, frameon=False
    )


def legend_figure(classes: Sequence[str], colours: Colours | None = None) -> Figure:
    """The number, the name and the colour of each class."""
    table = colours_of(len(classes), colours)
    figure = Figure(figsize=(6, 0.3 + 0.28 * -(-len(classes) // 3)), layout="constrained")
    patches = [Patch(facecolor=table[k], edgecolor="0.5", label=f"{k}  {name}") for k, name in enumerate(classes)]
    figure.legend(handles=patches, loc="center", ncols=3, fontsize=9, frameon=False)
    return figure


def cycle_figure(images: Sequence[Tensor], y: Tensor, s_x: Tensor, table: NDArray) -> Figure:
    """An image, its mask y, the prediction s_x, and the images painted from y and from s_x, if there are any.

    ``images`` are those one or three images [C, H, W] in [-1, 1]; the masks are class indices [H, W]; ``table`` has
    the colours.
    """
    x, *painted = (np.clip((image.permute(1, 2, 0).numpy() + 1) / 2, 0, 1) for image in images)
    figure = Figure(figsize=(2.4 * (3 + len(painted)), 2.8), layout="constrained")
    masks = [None, y.numpy(), s_x.numpy(), *(None for _ in painted)]
    titles = ["image", "truth", "prediction", "painted from the truth", "painted from the prediction"]
    axes = figure.subplots(1, len(masks))
    for axis, image, mask, title in zip(axes, (x, x, x, *painted), masks, titles, strict=False):
        show(axis, image.squeeze(), mask, table)
        axis.set_title(title, fontsize=9)
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
    if image.ndim == 2:
        low, high = window_of(image)
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    else:
        axis.imshow(image)
    if mask is not None:
        for label, colour in enumerate(table):
            if (mask == label).any() and colour.any():  # black is background
                axis.contourf(mask == label, levels=[0.5, 1], colors=[colour], alpha=0.35 if image.ndim == 2 else 0.6)
                axis.contour(mask == label, levels=[0.5], colors=[colour], linewidths=1)
    axis.set_axis_off()
