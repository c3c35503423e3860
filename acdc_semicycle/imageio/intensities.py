"""What the intensities of an image span, also where one value holds nearly all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLED = 10000  # voxels that are looked at first
FEW, RARE = 32, 0.01  # at most so many voxels, and at most this part of an image, are too few to show anything


def span_of(image: NDArray, percentiles: Sequence[float | int]) -> tuple[float, float]:
    """Two percentiles of an image, between which its intensities are scaled; the second is larger than the first.

    Where both are one value, it holds nearly all of the image: a background that was cut out. Then they are those of
    all that differs from it; where that is one value, too, the lowest and the highest intensity.
    """
    # both at once and by NumPy: torch.quantile, which MONAI takes, sorts all voxels for each of them
    low, high = np.percentile(image, percentiles).tolist()
    if low != high:
        return low, high
    others = image[image != low]
    if others.size == 0:
        return low, low + 1.0
    low, high = np.percentile(others, percentiles).tolist()
    if low != high:
        return low, high
    return float(image.min()), float(image.max())


def constancy(image: NDArray) -> str | None:
    """In which way an image shows nothing, in words: all voxels, or all but a few, have one value; None otherwise."""
    sample = image.ravel()[:: max(1, image.size // SAMPLED)]
    value = np.partition(sample, sample.size // 2)[sample.size // 2]  # the value of most voxels, if there is one
    if np.count_nonzero(sample != value) > max(FEW, RARE * sample.size):
        return None
    different = np.count_nonzero(image != value)
    if different == 0:
        return f"constant ({value:g} in every voxel)"
    if different > FEW or different > RARE * image.size:
        return None
    voxels = "one voxel" if different == 1 else f"{different} voxels"
    return f"constant but for {voxels} ({value:g} in all others)"
