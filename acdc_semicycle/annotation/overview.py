"""A picture of all drafts: each slice with its outlines, those to mend first in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from acdc_semicycle.evaluation.figures import Colours, colours_of
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio.orientation import displayed
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.runtime.files import replacing

MOST = 14  # slices in a row: of more, those to mend, and others evenly spread
INCHES = 1.3  # of a slice
TITLE = 0.25  # inches, of the first row's title
FRAME = "#ff4d4d"


@dataclass(frozen=True, eq=False)
class Row:
    """A scan and its draft, as stored [X, Y, Z]; the slices lie along the third axis.

    Attributes:
        turned: whether to turn slices into the radiologist's view; None of a picture, which stays as it is.
    """

    title: str
    image: NDArray
    labels: NDArray
    slices_to_mend: Sequence[int]
    turned: bool | None

    @classmethod
    def of(cls, title: str, volume: Volume, labels: NDArray, slices_to_mend: Sequence[int]) -> Row:
        """The row of a scan of one frame."""
        image = volume.voxels[..., 0].astype(np.float32)
        turned = None if is_picture(volume.path) else volume.spacing_fault is None
        return cls(title, to_grey(image, window_of(image)), labels, slices_to_mend, turned)


def write(path: Path, rows: Sequence[Row], classes: Sequence[str], colours: Colours | None) -> None:
    """Write the picture as a PNG."""
    table = colours_of(len(classes), colours)
    shown = [_shown(row) for row in rows]
    columns = max(map(len, shown))
    height = (INCHES + 0.45) * len(rows) + 0.5 + TITLE
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - TITLE / height))
    figure = Figure(figsize=(INCHES * columns + 0.3, height), layout=layout)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axis in grid.flat:
        axis.set_axis_off()
    for axes, row, indices in zip(grid, rows, shown, strict=True):
        crop = _crop(row.labels)
        for axis, index in zip(axes, indices, strict=False):
            _draw(axis, row, index, crop, table)
        title = axes[0].text(0, 1.22, row.title, transform=axes[0].transAxes, fontsize=8, parse_math=False)
        title.set_in_layout(False)  # it is wider than its column
    handles = [Patch(color=table[label], label=name) for label, name in enumerate(classes) if label]
    handles.append(Patch(facecolor="none", edgecolor=FRAME, linewidth=2, label="mend in this order"))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8, frameon=False)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=110)


def _draw(axis: Axes, row: Row, index: int, crop: tuple[slice, slice], colours: NDArray) -> None:
    """Draw a slice with its outlines, in a frame if it is to be mended."""
    image, labels = row.image[..., index][crop], row.labels[..., index][crop]
    if row.turned is not None:
        image, labels = displayed(image, row.turned), displayed(labels, row.turned)
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    for label in range(1, len(colours)):
        if (labels == label).any():
            axis.contour(labels == label, levels=[0.5], colors=[colours[label]], linewidths=0.9)
    words = f"{index + 1}"
    if index in row.slices_to_mend:
        words = f"{index + 1}: mend {list(row.slices_to_mend).index(index) + 1}"
        axis.set_axis_on()
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set(edgecolor=FRAME, linewidth=2.5)
    axis.set_title(words, fontsize=7, color=FRAME if index in row.slices_to_mend else "black", pad=2)


def _shown(row: Row) -> list[int]:
    """Which slices are shown: all, or of many those to mend and others from one end of the structures to the other."""
    count = row.labels.shape[2]
    if count <= MOST:
        return list(range(count))
    chosen = list(row.slices_to_mend)[:MOST]
    inside = np.flatnonzero((row.labels > 0).any((0, 1)))
    if not inside.size:
        inside = np.arange(count)
    spread = np.linspace(inside[0], inside[-1], MOST - len(chosen)).round().astype(int)
    return sorted({*chosen, *spread.tolist()})


def _crop(labels: NDArray) -> tuple[slice, slice]:
    """The part of all slices around the structures, with half as much around them; the whole where there are none."""
    rows, columns = np.nonzero((labels > 0).any(2))
    if not rows.size:
        return slice(None), slice(None)
    parts = []
    for places, length in ((rows, labels.shape[0]), (columns, labels.shape[1])):
        room = (int(np.ptp(places)) + 1) // 4 + 4
        parts.append(slice(max(0, int(places.min()) - room), min(length, int(places.max()) + room + 1)))
    return parts[0], parts[1]
