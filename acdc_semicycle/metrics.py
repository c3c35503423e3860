"""Overlap of whole volumes, and the paper's own mIoU.

All follow from the counts of true positive, false positive and false negative voxels. A structure that neither
truth nor prediction holds has no score (NaN) and does not count; one that only the prediction holds scores 0, as in
nnU-Net. MONAI's ``DiceMetric`` drops those false positives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor


def counts(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """True positives, false positives and false negatives [K, 3] of two label maps of one shape."""
    pairs = truth.long().flatten() * classes + prediction.long().flatten()
    confusion = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    hits = confusion.diagonal()
    return torch.stack([hits, confusion.sum(0) - hits, confusion.sum(1) - hits], dim=1).double()


def dice(counts: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN) of counts [..., 3]; NaN where all three are 0."""
    tp, fp, fn = counts.unbind(-1)
    return 2 * tp / (2 * tp + fp + fn)


def iou(counts: Tensor) -> Tensor:
    """TP / (TP + FP + FN) of counts [..., 3]; NaN where all three are 0."""
    tp, fp, fn = counts.unbind(-1)
    return tp / (tp + fp + fn)


class _Overlap(CumulativeIterationMetric):
    """Counts [K, 3] of each volume, kept until ``aggregate``; takes label maps [1, ...] or batches of them.

    Args:
        classes: number of classes K, background first.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        assert y is not None
        return torch.stack([counts(p, t, self.classes) for p, t in zip(y_pred, y, strict=True)])

    def _all(self) -> Tensor:
        return self.get_buffer()


class MeanDice(_Overlap):
    """Dice of each foreground structure, the mean over volumes and then over structures."""

    def aggregate(self) -> Tensor:
        return dice(self._all()[:, 1:]).nanmean(0).nanmean()


class MeanIoU(_Overlap):
    """IoU of each foreground structure, the mean over volumes and then over structures."""

    def aggregate(self) -> Tensor:
        return iou(self._all()[:, 1:]).nanmean(0).nanmean()


class PooledIoU(_Overlap):
    """The paper's mIoU: one confusion matrix over all images, background counted as a class."""

    def aggregate(self) -> Tensor:
        return iou(self._all().sum(0)).nanmean()


def mean_and_std(values: list[float]) -> tuple[float, float, int]:
    """Mean, standard deviation (ddof 1; 0 of one value) and number of the values that are not NaN."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return float("nan"), float("nan"), 0
    return float(known.mean()), float(known.std(ddof=1)) if known.size > 1 else 0.0, int(known.size)
