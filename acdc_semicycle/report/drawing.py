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
LARGE, PHOTOGRAPH = 256, 420  # of a slice to leaf through; of a picture in colours


def drawn(slices: Sequence[Slice], labels: Sequence[int]) -> list[dict[str, Any]]:
    """Slices as pictures of the part where there is something, and outlines in half pixels over them."""
    crop = _crop(slices)
    pictures = []
    for shown in slices:
        painted = None if shown.painted is None else _image(shown.painted[crop], SMALL, SMALL)
        difference = None if shown.difference is None else uri(_png(shown.difference[crop], SMALL, "inferno"))
        image = {"image": _image(shown.image[crop]), "painted": painted, "difference": difference}
        pictures.append(_with_outlines(image, shown, crop, labels))
    return pictures


def outlined(slices: Sequence[Slice], labels: Sequence[int]) -> list[dict[str, Any]]:
    """The same pictures without what was painted, small enough for all the slices of a case."""
    crop = _crop(slices)
    pictures = []
    for shown in slices:
        image = {"image": uri(_webp(shown.image[crop]), "webp")}
        pictures.append(_with_outlines(image, shown, crop, labels))
    return pictures


def _with_outlines(
    image: dict[str, Any], shown: Slice, crop: tuple[slice, slice], labels: Sequence[int]
) -> dict[str, Any]:
    """The image of a slice with its number, its size and the outlines in it, both in half pixels."""
    height, width = shown.image[crop].shape[:2]
    return image | {
        "slice_index": shown.slice_index,
        "size": (2 * width, 2 * height),
        "outlines": list(zip(labels, _outlines(shown.prediction[crop], labels), strict=True)),
        "truth": None if shown.truth is None else _outlines(shown.truth[crop], labels),
    }


def _crop(slices: Sequence[Slice]) -> tuple[slice, slice]:
    """A square around all the masks, and half as much again; the same for every slice."""
    if slices[0].image.ndim == 3:  # a photograph is shown whole
        return slice(None), slice(None)
    structures: NDArray = slices[0].prediction > 0
    for shown in slices:
        structures = structures | (shown.prediction > 0)
        if shown.truth is not None:
            structures |= shown.truth > 0
    height, width = structures.shape
    rows, columns = np.nonzero(structures)
    if not rows.size:
        return slice(0, height), slice(0, width)
    side = max(int(1.5 * max(np.ptp(rows), np.ptp(columns))), 64)
    top = _start(rows, side, height)
    left = _start(columns, side, width)
    return slice(top, top + side), slice(left, left + side)


def _start(positions: NDArray, side: int, length: int) -> int:
    """Where a crop of this side begins, centred on the positions but within the image."""
    start = int(positions.min() + positions.max() - side) // 2
    return max(0, min(start, length - side))


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


def _image(pixels: NDArray, side: int = SIDE, coloured_side: int = PHOTOGRAPH) -> str:
    """The source of an image of greys [H, W], or of colours [H, W, 3]."""
    if pixels.ndim == 2:
        return uri(_png(pixels, side))
    return uri(_webp(pixels, coloured_side), "webp")


def _webp(pixels: NDArray, side: int = LARGE) -> bytes:
    """A picture of greys or of colours as WebP, a third as large as a PNG."""
    picture = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=60, method=4)
    return stream.getvalue()


def uri(picture: bytes, kind: str = "png") -> str:
    """A picture as the source of an image in the page itself."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def _outlines(mask: NDArray, labels: Sequence[int]) -> list[str]:
    """The outline of each class."""
    return [_outline(mask == label) for label in labels]


def _outline(mask: NDArray) -> str:
    """The borders of a mask [H, W] as an SVG path, in half pixels."""
    path = []
    for line in contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5):
        points = np.round(2 * np.asarray(line)).astype(int) - 1  # less the padding; a pixel's middle is its half
        is_corner = (np.diff(points, 2, axis=0) != 0).any(1)
        corners = points[[True, *is_corner, True]]  # the rest lies on straight lines
        steps = " ".join(map(str, np.diff(corners, axis=0).ravel()))
        path.append(f"M{points[0, 0]} {points[0, 1]}l{steps}z")
    return "".join(path)
