"""The scores of a network over evaluated images: overlap by structure, mIoU, and the floor of all background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc_semicycle.evaluation.means import score_statistics
from acdc_semicycle.evaluation.metrics import counts, dice, iou, without_class
from acdc_semicycle.runtime.errors import InputError

SCORES = {"dice": dice, "iou": iou}


@dataclass
class Case:
    """The scores of one evaluated volume or picture, and of its masks one slice [H, W] to look at."""

    case: str
    patient: str
    phase: str
    image: Path
    slice_index: int  # of that slice in the file
    prediction: np.ndarray  # class indices, every n-th pixel of a large picture
    truth: np.ndarray
    confusion: Tensor  # [K, K] on the image's own grid
    network_confusion: Tensor  # [K, K] at the network's resolution, for the paper's mIoU
    frame: int = 0  # of a cine

    @property
    def counts(self) -> Tensor:
        """True positives, false positives and false negatives [K, 3] on the image's own grid."""
        return counts(self.confusion)


def summary(
    cases: Sequence[Case], classes: Sequence[str], structures: Sequence[str], without: int | None = None
) -> dict[str, Any]:
    """The scores of a set of cases.

    ``dice`` and ``iou``: means over images of each structure, and ``mean`` over structures; ``std`` over images;
    ``miou``: of one confusion matrix over the whole set, all classes counted; ``paper_miou``: the paper's.

    Raises:
        InputError: there is no case.
    """
    if not cases:
        raise InputError("no image was evaluated: give a part of the split that has patients")
    result: dict[str, Any] = {"volumes": len(cases)}
    rows = [case_scores(case, structures) for case in cases]
    for score in SCORES:
        result |= score_statistics(score, [row[score] for row in rows], structures)
        del result[f"{score}_n"]["mean"]  # report.json has none
    pooled = iou(counts(torch.stack([case.confusion for case in cases]).sum(0)))
    result["miou"] = float(pooled.nanmean())
    result["miou_by_class"] = dict(zip(classes, pooled.tolist(), strict=True))
    at_network = torch.stack([case.network_confusion for case in cases]).sum(0)
    result["paper_miou"] = float(iou(counts(without_class(at_network, without))).nanmean())
    return result


def case_scores(case: Case, structures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Dice and IoU of one image: each the mean over structures, then by structure, which are the last classes."""
    result = {}
    first_structure = len(case.counts) - len(structures)
    for score, function in SCORES.items():
        values = function(case.counts)[first_structure:]
        by_structure = dict(zip(structures, values.tolist(), strict=True))
        result[score] = {"mean": float(values.nanmean())} | by_structure
    return result


def trivial(case: Case) -> Case:
    """The same case with a prediction of the first class, background as a rule, everywhere."""
    return replace(
        case,
        confusion=_all_as_first(case.confusion),
        network_confusion=_all_as_first(case.network_confusion),
    )


def _all_as_first(confusion: Tensor) -> Tensor:
    """The confusion matrix if all pixels were predicted as the first class."""
    result = torch.zeros_like(confusion)
    result[:, 0] = confusion.sum(1)
    return result
