"""Slices as pictures in a page: greys, colours, outlines."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.report.case_images import Slice

SIDE, SMALL = 176, 112  # pixels of a picture's longer side, at most; of the painted one's


def drawn(slices: Sequence[Slice], labels: Sequence[int]) -> list[dict[str, Any]]:
    """Slices as pictures of the part where there is something, and outlines in half pixels over them."""
    window = _window(slices)
    pictures = []
    for one in slices:
        height, width = one.image[window].shape
        maps = {"painted": (one.painted, None), "difference": (one.difference, "inferno")}
        pictures.append(
            {
                "place": one.place,
                "size": (2 * width, 2 * height),
                "image": uri(_png(one.image[window], SIDE)),
                "outlines": [(label, _outline(one.prediction[window] == label)) for label in labels],
                "truth": None if one.truth is None else [_outline(one.truth[window] == label) for label in labels],
            }
            | {name: None if a is None else uri(_png(a[window], SMALL, colours)) for name, (a, colours) in maps.items()}
        )
    return pictures


def _window(slices: Sequence[Slice]) -> tuple[slice, slice]:
    """A square around all the masks, and half as much again; the same for every slice."""
    masks = [mask for one in slices for mask in (one.prediction, one.truth) if mask is not None]
    rows, columns = np.nonzero(np.any([mask > 0 for mask in masks], axis=0))
    height, width = masks[0].shape
    if not rows.size:
        return slice(0, height), slice(0, width)
    side = max(int(1.5 * max(np.ptp(rows), np.ptp(columns))), 64)
    top, left = (int(places.min() + places.max() - side) // 2 for places in (rows, columns))
    top, left = max(0, min(top, height - side)), max(0, min(left, width - side))
    return slice(top, top + side), slice(left, left + side)


def _png(grey: NDArray, side: int, colours: str | None = None) -> bytes:
    """A picture of 64 greys, or of 16 colours: all that is seen at its size, in half the room."""
    picture = Image.fromarray(np.ascontiguousarray(grey, np.uint8))
    picture.thumbnail((side, side))
    step = 16 if colours else 4
    picture = picture.point(lambda value: value // step * step)
    if colours:
        picture.putpalette((colormaps[colours](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _outline(mask: NDArray) -> str:
    """The borders of a mask [H, W] as an SVG path, in half pixels."""
    path = []
    for line in contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5):
        points = np.round(2 * np.asarray(line)).astype(int) - 1  # less the padding; a pixel's middle is its half
        turns = (np.diff(points, 2, axis=0) != 0).any(1)
        corners = points[[True, *turns, True]]  # the rest lies on straight lines
        steps = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0))
        path.append(f"M{points[0, 0]} {points[0, 1]}l{steps}z")
    return "".join(path)
