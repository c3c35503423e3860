"""The scores of one prediction against its truth: overlap, distances, volumes.

Both are laid out alike before they are compared, whatever the order in which they store the axes, but never resampled:
the grids must be one. Empty structures follow nnU-Net: no score where neither has the structure, the worst one where
only one of them has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from acdc_semicycle.evaluation import clinical
from acdc_semicycle.evaluation.case_names import scan_of
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.evaluation.metrics import confusion, counts, dice, iou
from acdc_semicycle.evaluation.summaries import SCORES, SIDES, Row
from acdc_semicycle.evaluation.surface_distance import distances
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.geometry import check_grids, shear
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.runtime.errors import InputError

NOT_WHOLE = 1e-3  # what a slope and its rounding make of a whole number


def score_pair(prediction: LabelMap, truth: LabelMap, classes: Sequence[str]) -> Row:
    ours, theirs = _read(prediction, classes), _read(truth, classes, IGNORED)
    check_grids(ours, theirs)
    known, scan, mm = theirs.voxels[..., 0] != IGNORED, scan_of(prediction, truth), theirs.doubt is None
    one, other = (np.where(known, side.voxels[..., 0], 0) for side in (ours, theirs))
    found = counts(confusion(torch.from_numpy(one), torch.from_numpy(other), len(classes)))[1:]
    far = distances(one, other, len(classes), theirs.spacing_mm if mm else (1.0, 1.0, 1.0))
    scores = zip(SCORES, (dice(found).tolist(), iou(found).tolist(), *far), strict=True)
    ml = [clinical.volumes_ml(labels, theirs.voxel_ml, classes) for labels in (other, one)]
    return {
        "prediction": str(prediction.path),
        "sha256": hashlib.sha256(prediction.path.read_bytes()).hexdigest(),
        "truth": str(truth.path),
        "image": None if scan is None else str(scan),
        "unit": "mm" if mm else "voxels",
        **{score: _by_structure(values, classes[1:]) for score, values in scores},
        "volumes_ml": dict(zip(SIDES, ml, strict=True)) if mm else None,
        "withheld": theirs.doubt,
    }


def _by_structure(values: list[float], structures: Sequence[str]) -> dict[str, float]:
    return {"mean": mean_and_std(values)[0]} | dict(zip(structures, values, strict=True))


def _read(one: LabelMap, classes: Sequence[str], ignored: int | None = None) -> Volume:
    """A label map [H, W, slices, 1], laid out as all are; its ``doubt`` says why there are no millimetres."""
    volume = volumes.read(one.path, frames=True, mask=True)
    frames = volume.voxels.shape[3]
    if one.frame is None and frames > 1:
        raise InputError(f"{one.path} has {frames} frames: give a 3D label map, or a truth X_frameNN for each")
    if (one.frame or 0) >= frames:
        raise InputError(f"{one.path} has {frames} frames, none of them is that of {one.name}: give the whole cine")
    labels = _class_indices(one.path, volume.voxels[..., one.frame or 0], len(classes), ignored)
    affine = volume.layout.affine(volume.affine, labels.shape)
    doubt = volume.spacing_fault or shear(affine)
    return Volume(volume.layout.apply(labels)[..., None], affine, path=str(one.path), doubt=doubt)


def _class_indices(path: Path, voxels: NDArray, classes: int, ignored: int | None) -> NDArray[np.uint8]:
    """Voxels as class indices, once they are whole numbers below ``classes``, or ``ignored``."""
    whole = np.rint(voxels)
    if np.abs(voxels - whole).max() > NOT_WHOLE:
        raise InputError(f"{path} holds numbers that are not whole, as probabilities are: give class indices")
    strange = (whole < 0) | ((whole >= classes) & (whole != ignored))
    if strange.any():
        raise InputError(
            f"{path} holds the label {whole[strange][0]:.0f}: give names for more than {classes} classes, or correct it"
        )
    return whole.astype(np.uint8)
