"""Pictures for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

COLOURS = ("#4C9BE8", "#F2C14E", "#E4572E", "#7BC47F")  # of the classes after background


class Example(NamedTuple):
    """One slice [H, W] of a case with its two masks (class indices)."""

    title: str
    image: NDArray
    truth: NDArray
    prediction: NDArray


def examples_figure(examples: Sequence[Example], classes: Sequence[str]) -> Figure:
    """A row an example: the image, the truth over it, the prediction over it."""
    figure = Figure(figsize=(7.5, 2.6 * len(examples) + 0.5), layout="constrained")
    axes = figure.subplots(len(examples), 3, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        for axis, mask in zip(row, (None, example.truth, example.prediction), strict=True):
            _show(axis, example.image, mask)
        row[0].set_title(example.title, fontsize=9, loc="left")
    axes[0][1].set_title("truth", fontsize=9)
    axes[0][2].set_title("prediction", fontsize=9)
    legend = [Patch(color=colour, label=name) for colour, name in zip(COLOURS, classes[1:], strict=False)]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=9, frameon=False)
    return figure


def cycle_figure(images: Sequence[Tensor], y: Tensor, s_x: Tensor) -> Figure:
    """An image, its mask y, the prediction s_x, and the images painted from y and from s_x.

    ``images`` are those three images [C, H, W]; the masks are class indices [H, W].
    """
    x, x_y, x_s = (image.numpy().mean(0) for image in images)
    figure = Figure(figsize=(12, 2.8), layout="constrained")
    masks = [None, y.numpy(), s_x.numpy(), None, None]
    titles = ["image", "truth", "prediction", "painted from the truth", "painted from the prediction"]
    for axis, image, mask, title in zip(figure.subplots(1, 5), (x, x, x, x_y, x_s), masks, titles, strict=True):
        _show(axis, image, mask)
        axis.set_title(title, fontsize=9)
    return figure


def learning_curve(epochs: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Validation scores over the epochs."""
    figure = Figure(figsize=(5.5, 3), layout="constrained")
    axis = figure.subplots()
    for name, values in curves.items():
        axis.plot(epochs, values, marker=".", label=name)
    axis.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def _show(axis: Axes, image: NDArray, mask: NDArray | None) -> None:
    low, high = np.percentile(image, (1, 99.5))
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    if mask is not None:
        for label, colour in enumerate(COLOURS, start=1):
            if (mask == label).any():
                axis.contourf(mask == label, levels=[0.5, 1], colors=[colour], alpha=0.35)
                axis.contour(mask == label, levels=[0.5], colors=[colour], linewidths=1)
    axis.set_axis_off()
