"""Pictures that lie in memory, as Pillow, NumPy or torch hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from acdc_semicycle.imageio.checks import DAMAGE
from acdc_semicycle.imageio.in_memory import as_numpy
from acdc_semicycle.runtime.errors import InputError

COLOURS = (3, 4)  # channels: red, green, blue, and how opaque


def picture_of(scan: Any) -> Image.Image:
    """A picture in memory as Pillow's, in greys or in colours of 8 bits.

    Args:
        scan: a Pillow image; a NumPy array [rows, columns], or [rows, columns, 3 or 4] of colours; a torch tensor
            [rows, columns], or [channels, rows, columns].

    Raises:
        InputError: another type, number of axes, or kind of numbers.
    """
    if isinstance(scan, Image.Image):
        return _loaded(scan)
    pixels = _pixels(scan)
    is_colour = pixels.ndim == 3 and pixels.shape[2] in COLOURS
    if 0 in pixels.shape or not (is_colour or pixels.ndim == 2):
        raise InputError(
            f"the picture has shape {tuple(scan.shape)}: give an array [rows, columns] or [rows, columns, 3], or a"
            " tensor with the channels first"
        )
    if pixels.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(pixels))
    if is_colour or pixels.dtype.kind not in "iufb":
        raise InputError(f"the picture holds {pixels.dtype} numbers: give greys, or colours of 8 bits (uint8)")
    return Image.fromarray(np.ascontiguousarray(pixels, np.float32))


def _loaded(picture: Image.Image) -> Image.Image:
    """A Pillow image with its pixels, which may still have lain in its file."""
    try:
        picture.load()
    except (*DAMAGE, SyntaxError) as error:
        raise InputError(f"the picture cannot be read ({error}): copy it again from its source") from error
    return picture


def _pixels(scan: Any) -> NDArray:
    """The pixels of an array or a tensor, channels last; of one channel without that axis."""
    if isinstance(scan, Tensor):
        pixels = as_numpy(scan)
        if pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
    elif isinstance(scan, np.ndarray):
        pixels = scan
    else:
        raise InputError(
            f"a {type(scan).__name__} is given, and this network was trained on pictures: give a path, a Pillow image,"
            " a NumPy array or a torch tensor"
        )
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
