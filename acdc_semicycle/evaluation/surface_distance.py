"""How far apart two surfaces are: HD95 and ASSD, as MONAI computes them.

A structure's surface is its voxels that have a face neighbour outside it; beyond the volume is outside. With d the
distance from the middle of a surface voxel to the middle of the other surface's nearest one,

    HD95 = max(95th percentile of d over the one surface, the same over the other)
    ASSD = mean of d over the voxels of both

A volume of one slice is a picture: its surfaces are outlines, else every voxel would be one of the surface.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import NDArray


def distances(
    prediction: NDArray, truth: NDArray, classes: int, spacing: Sequence[float]
) -> tuple[list[float], list[float]]:
    """HD95 and ASSD of the classes 1 to K-1, in the unit of ``spacing``.

    NaN where neither map has the structure; the volume's diagonal where one has it and the other has not.

    Args:
        prediction, truth: class indices [H, W, slices] of one shape.
        classes: number of classes K, background first.
        spacing: of the three axes, which are at right angles.
    """
    if truth.shape[2] == 1:
        prediction, truth, spacing = prediction[..., 0], truth[..., 0], spacing[:2]
    diagonal = math.hypot(*(n * step for n, step in zip(truth.shape, spacing, strict=True)))
    prediction, truth = _cropped(prediction, truth)
    there = [(k, bool((prediction == k).any()), bool((truth == k).any())) for k in range(1, classes)]
    hd95, assd = ([diagonal if one or other else math.nan for _, one, other in there] for _ in range(2))
    if both := [k for k, one, other in there if one and other]:
        y_pred, y = (torch.from_numpy(np.stack([labels == k for k in both])[None]) for labels in (prediction, truth))
        options: dict[str, Any] = {"include_background": True, "spacing": list(map(float, spacing))}
        with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it gives itself
            warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
            far = compute_hausdorff_distance(y_pred, y, percentile=95, **options)[0].tolist()
            mean = compute_average_surface_distance(y_pred, y, symmetric=True, **options)[0].tolist()
        for k, *values in zip(both, far, mean, strict=True):
            hd95[k - 1], assd[k - 1] = values
    return hd95, assd


def _cropped(prediction: NDArray, truth: NDArray) -> tuple[NDArray, NDArray]:
    """Both without the background around all structures, which no distance depends on; one voxel of it is kept."""
    some = (prediction > 0) | (truth > 0)
    box = []
    for axis in range(some.ndim):
        places = np.flatnonzero(some.any(axis=tuple(other for other in range(some.ndim) if other != axis)))
        box.append(slice(max(places[0] - 1, 0), places[-1] + 2) if places.size else slice(None))
    return prediction[tuple(box)], truth[tuple(box)]
