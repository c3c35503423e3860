"""Overlap of whole volumes and of whole data sets, and the paper's own mIoU.

All follow from confusion matrices. A structure that neither truth nor prediction holds has no score (NaN) and does
not count; one that only the prediction holds scores 0, as in nnU-Net and in the evaluation of Cityscapes. MONAI's
``DiceMetric`` drops those false positives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor


def confusion(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Pixels by class of the truth (rows) and of the prediction (columns) [K, K] of two label maps of one shape.

    A pixel whose truth is no class (255) is not annotated and does not count.
    """
    annotated = truth < classes
    pairs = truth[annotated].long() * classes + prediction[annotated].long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def counts(confusion: Tensor) -> Tensor:
    """True positives, false positives and false negatives [..., K, 3] of confusion matrices [..., K, K]."""
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    return torch.stack([hits, confusion.sum(-2) - hits, confusion.sum(-1) - hits], dim=-1).double()


def dice(counts: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN) of counts [..., 3]; NaN where all three are 0."""
    tp, fp, fn = counts.unbind(-1)
    return 2 * tp / (2 * tp + fp + fn)


def iou(counts: Tensor) -> Tensor:
    """TP / (TP + FP + FN) of counts [..., 3]; NaN where all three are 0."""
    tp, fp, fn = counts.unbind(-1)
    return tp / (tp + fp + fn)


def without_class(confusion: Tensor, without: int | None) -> Tensor:
    """The matrix without one class's row and column: confusion with that class costs nothing then."""
    others = [label for label in range(len(confusion)) if label != without]
    return confusion[others][:, others]


class _Overlap(CumulativeIterationMetric):
    """Confusion matrices [K, K] of each image, kept until ``aggregate``; takes label maps [1, ...] or batches of them.

    Args:
        classes: number of classes K, background first.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        """The matrix of each image of a batch [B, K, K]."""
        assert y is not None
        return torch.stack([confusion(p, t, self.classes) for p, t in zip(y_pred, y, strict=True)])

    def _all(self) -> Tensor:
        """The matrices of all images [N, K, K]."""
        return self.get_buffer()


class _Mean(_Overlap):
    """A score of each structure, the mean over images and then over structures.

    Args:
        classes: number of classes K.
        include_background: whether class 0 is a structure, too.
    """

    score: Callable[[Tensor], Tensor]

    def __init__(self, classes: int, include_background: bool = False) -> None:
        super().__init__(classes)
        self.first = 0 if include_background else 1

    def aggregate(self) -> Tensor:
        return type(self).score(counts(self._all())[:, self.first :]).nanmean(0).nanmean()


class MeanDice(_Mean):
    """Dice of each structure, the mean over images and then over structures."""

    score = staticmethod(dice)


class MeanIoU(_Mean):
    """IoU of each structure, the mean over images and then over structures."""

    score = staticmethod(iou)


class PooledIoU(_Overlap):
    """mIoU of a data set: one confusion matrix over all images, every class counted, background too.

    At the pictures' own resolution this is the measure of PASCAL VOC and Cityscapes; at the network's, the paper's.

    Args:
        classes: number of classes K.
        without: a class whose row and column are removed first, as the published code does (VOC 0, Cityscapes void).
    """

    def __init__(self, classes: int, without: int | None = None) -> None:
        super().__init__(classes)
        self.without = without

    def aggregate(self) -> Tensor:
        return iou(counts(without_class(self._all().sum(0), self.without))).nanmean()
