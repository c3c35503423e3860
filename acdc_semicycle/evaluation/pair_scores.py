"""The scores of one prediction against its truth: overlap, distances, volumes.

Both are laid out alike before they are compared, whatever the order in which they store the axes, but never resampled:
the grids must be one. Empty structures follow nnU-Net: no score where neither has the structure, the worst one where
only one of them has it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.evaluation import clinical, picture_labels
from acdc_semicycle.evaluation.case_names import scan_of
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.evaluation.metrics import confusion, counts, dice, iou
from acdc_semicycle.evaluation.summaries import Row
from acdc_semicycle.evaluation.surface_distance import distances
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.geometry import check_grids, shear
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.runtime.errors import InputError

NOT_WHOLE = 1e-3  # what a slope and its rounding make of a whole number


def score_pair(
    prediction: LabelMap, truth: LabelMap, classes: Sequence[str], rules: picture_labels.Rules | None = None
) -> tuple[Row, Tensor]:
    """Overlap, distances and volumes of one prediction, in mm and ml where the truth has a spacing; and its confusion.

    Where the truth is 255, its voxel is not annotated and does not count. Distances of pictures are in pixels.

    Args:
        rules: how pictures say which class a pixel is of; by default by its number.

    Raises:
        InputError: one of both is damaged, holds other labels than classes, or their grids differ.
    """
    rules = rules or picture_labels.Rules(len(classes))
    predicted, true = _read(prediction, classes, rules), _read(truth, classes, rules, IGNORED)
    check_grids(predicted, true)
    of_picture = is_picture(truth.path)
    annotated = true.voxels[..., 0] != IGNORED
    predicted_labels = np.where(annotated, predicted.voxels[..., 0], 0)
    true_labels = np.where(annotated, true.voxels[..., 0], 0)
    matrix = confusion(torch.from_numpy(predicted_labels), torch.from_numpy(true_labels), len(classes))
    tp_fp_fn = counts(matrix)[1:]
    in_mm = true.doubt is None
    unit = "mm" if in_mm else "voxels"
    spacing = true.spacing_mm if in_mm else (1.0, 1.0, 1.0)
    hd95, assd = distances(predicted_labels, true_labels, len(classes), spacing)
    volumes_ml = {
        "truth": clinical.volumes_ml(true_labels, true.voxel_ml, classes),
        "prediction": clinical.volumes_ml(predicted_labels, true.voxel_ml, classes),
    }
    scan, structures = scan_of(prediction, truth), classes[1:]
    row = {
        "prediction": str(prediction.path),
        "sha256": hashlib.sha256(prediction.path.read_bytes()).hexdigest(),
        "truth": str(truth.path),
        "image": None if scan is None else str(scan),
        "unit": "pixels" if of_picture else unit,
        "dice": _by_structure(dice(tp_fp_fn).tolist(), structures),
        "iou": _by_structure(iou(tp_fp_fn).tolist(), structures),
        "hd95": _by_structure(hd95, structures),
        "assd": _by_structure(assd, structures),
        "volumes_ml": volumes_ml if in_mm and true_labels.shape[2] > 1 else None,
        "withheld": None if of_picture else true.doubt,
        "slices": true_labels.shape[2],
        "dice_by_slice": _by_slice(predicted_labels, true_labels, len(classes)),
        "volume_ratio": _volume_ratios(tp_fp_fn),
    }
    return row, matrix


def _by_structure(values: list[float], structures: Sequence[str]) -> dict[str, float]:
    """Scores by name, after their mean."""
    return {"mean": mean_and_std(values)[0]} | dict(zip(structures, values, strict=True))


def _by_slice(prediction: NDArray, truth: NDArray, classes: int) -> list[float | None]:
    """The mean Dice of each slice, in the network's order of slices; None where neither has a structure."""
    result: list[float | None] = []
    for z in range(truth.shape[2]):
        predicted = torch.from_numpy(np.ascontiguousarray(prediction[..., z]))
        true = torch.from_numpy(np.ascontiguousarray(truth[..., z]))
        value = float(dice(counts(confusion(predicted, true, classes))[1:]).nanmean())
        result.append(None if math.isnan(value) else value)
    return result


def _volume_ratios(tp_fp_fn: Tensor) -> list[float | None]:
    """The predicted over the true volume of each structure; None where one of both is 0."""
    tp, fp, fn = tp_fp_fn.unbind(-1)
    ratios = ((tp + fp) / (tp + fn)).tolist()
    return [ratio if 0 < ratio < math.inf else None for ratio in ratios]


def _read(
    label_map: LabelMap, classes: Sequence[str], rules: picture_labels.Rules, ignored: int | None = None
) -> Volume:
    """A label map [H, W, slices, 1] with its axes in the common order; ``doubt`` is why there are no millimetres."""
    if is_picture(label_map.path):
        pixels = _class_indices(label_map.path, picture_labels.read(label_map.path, rules), len(classes), ignored)
        return Volume(pixels[..., None, None], np.eye(4), path=str(label_map.path), doubt="a picture has no spacing")
    volume = volumes.read(label_map.path, frames=True, mask=True)
    frames, frame = volume.voxels.shape[3], label_map.frame or 0
    if label_map.frame is None and frames > 1:
        raise InputError(f"{label_map.path} has {frames} frames: give a 3D label map, or a truth X_frameNN for each")
    if not 0 <= frame < frames:  # a name counts from 1: _frame00 is none
        raise InputError(
            f"{label_map.path} has {frames} frames, none of them is that of {label_map.name}: give the whole cine"
        )
    labels = _class_indices(label_map.path, volume.voxels[..., frame], len(classes), ignored)
    affine = volume.layout.affine(volume.affine, labels.shape)
    doubt = volume.spacing_fault or shear(affine)
    return Volume(volume.layout.apply(labels)[..., None], affine, path=str(label_map.path), doubt=doubt)


def _class_indices(path: Path, voxels: NDArray, classes: int, ignored: int | None) -> NDArray[np.uint8]:
    """Voxels as class indices, once they are whole numbers below ``classes``, or ``ignored``."""
    rounded = np.rint(voxels)
    if np.abs(voxels - rounded).max() > NOT_WHOLE:
        raise InputError(f"{path} holds numbers that are not whole, as probabilities are: give class indices")
    strange = (rounded < 0) | ((rounded >= classes) & (rounded != ignored))
    if strange.any():
        label = rounded[strange][0]
        raise InputError(
            f"{path} holds the label {label:.0f}: give names for more than {classes} classes, or correct it"
        )
    return rounded.astype(np.uint8)
