"""From intensities to the greys of a picture, in one way for all figures and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.intensities import span_of

Window = Sequence[Any]  # the intensities that are shown as black and as white


def window_of(image: NDArray, percentiles: tuple[float, float] = (1, 99.5)) -> Window:
    """The grey window of an image of any shape, from its percentiles: a few very bright pixels do not darken it."""
    return span_of(image, percentiles)


def to_grey(image: NDArray, window: Window) -> NDArray[np.uint8]:
    """Intensities as greys from 0 to 255: black below the window, white above it."""
    low, high = window
    scaled = (image - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
