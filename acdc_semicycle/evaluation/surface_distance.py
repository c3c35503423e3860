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
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from monai.transforms.utils import generate_spatial_bounding_box
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
    diagonal = math.hypot(*np.multiply(truth.shape, spacing))
    prediction, truth = _cropped(prediction, truth)
    hd95, assd = [math.nan] * (classes - 1), [math.nan] * (classes - 1)
    in_both = []
    for label in range(1, classes):
        is_predicted, is_true = (prediction == label).any(), (truth == label).any()
        if is_predicted and is_true:
            in_both.append(label)
        elif is_predicted or is_true:
            hd95[label - 1] = assd[label - 1] = diagonal
    for label, far, mean in _between_surfaces(prediction, truth, in_both, spacing):
        hd95[label - 1], assd[label - 1] = far, mean
    return hd95, assd


def _between_surfaces(
    prediction: NDArray, truth: NDArray, labels: Sequence[int], spacing: Sequence[float]
) -> Iterable[tuple[int, float, float]]:
    """Label, HD95 and ASSD of the structures that are in both maps."""
    if not labels:
        return []
    y_pred, y = _masks(prediction, labels), _masks(truth, labels)
    options: dict[str, Any] = {"include_background": True, "spacing": list(map(float, spacing))}
    with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it gives itself
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        far = compute_hausdorff_distance(y_pred, y, percentile=95, **options)[0]
        mean = compute_average_surface_distance(y_pred, y, symmetric=True, **options)[0]
    return zip(labels, far.tolist(), mean.tolist(), strict=True)


def _masks(label_map: NDArray, labels: Sequence[int]) -> torch.Tensor:
    """One mask per label, as MONAI's metrics take them [1, labels, ...]."""
    return torch.from_numpy(np.stack([label_map == label for label in labels])[None])


def _cropped(prediction: NDArray, truth: NDArray) -> tuple[NDArray, NDArray]:
    """Both without the background around all structures, which no distance depends on; one voxel of it is kept."""
    structures = (prediction > 0) | (truth > 0)
    start, end = generate_spatial_bounding_box(structures[None], margin=1, allow_smaller=True)
    box = tuple(map(slice, start, end))
    return prediction[box], truth[box]
