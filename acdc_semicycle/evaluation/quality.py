"""How good a segmentation is, judged without a truth.

What only this method has is the cycle: G_SI paints an image from the segmentation, and where the two disagree the
segmentation is doubtful (Mondal et al. 2019, eq. 6, read backwards). The other scores need no G_SI: how certain the
network is, and whether it finds the same in mirror images. What they are worth is measured on cases with a truth
(:mod:`acdc_semicycle.evaluation.quality_fit`). The expected Dice is another module's
(:mod:`acdc_semicycle.evaluation.trust`), whose evidence is kept beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.networks.utils import one_hot
from numpy.typing import NDArray
from torch import Tensor, nn

from acdc_semicycle.evaluation import trust
from acdc_semicycle.evaluation.metrics import confusion, counts, dice

SCORES = {
    "cycle": "1 minus the mean difference between the image and the one painted back, around the structures",
    "cycle_correlation": "correlation of the image with the one painted back, around the structures",
    "cycle_dice": "Dice of the segmentation with that of the image painted back",
    "soft_dice": "Dice of the segmentation with its own probabilities",
    "entropy": "1 minus the mean entropy of the probabilities around the structures",
    "flips": "mean Dice of the segmentation with those of its mirror images",
}
BATCH = 4  # slices painted at once


class Judged(NamedTuple):
    """Scores of a volume and of each slice (None where a slice has no structure), higher is better.

    ``painted`` [C, H, W, slices] in [-1, 1] is the image painted back, ``difference`` [H, W, slices] its mean absolute
    difference from the image; both None without a G_SI. ``evidence`` is that of the expected Dice.
    """

    scores: dict[str, float | None]
    slices: dict[str, list[float | None]]
    painted: NDArray | None
    difference: NDArray | None
    evidence: dict[str, Any]


class _Inputs(NamedTuple):
    """What the scores are computed from, slices last."""

    x: Tensor  # [C, H, W, S]
    s: Tensor  # [K, H, W, S]
    labels: Tensor  # [H, W, S]
    near: Tensor  # [H, W, S], around the structures
    painted: Tensor | None  # [C, H, W, S]
    painted_labels: Tensor | None  # [H, W, S], what the network finds in the painted image
    votes: Tensor | None  # [4, H, W, S]

    def of_slice(self, z: int) -> _Inputs:
        """The same of one slice."""
        items = [None if item is None else item[..., z : z + 1] for item in self]
        return _Inputs(*items)  # type: ignore[arg-type]


@torch.no_grad()
def judge(x: Tensor, s: Tensor, network: nn.Module, painter: nn.Module | None, votes: Tensor | None = None) -> Judged:
    """Every score that can be computed for an image x [C, H, W, slices] and its segmentation s [K, H, W, slices].

    Args:
        x: as the network saw it, in [-1, 1].
        s: softmax probabilities.
        network: G_IS.
        painter: G_SI of the same training, if there is one.
        votes: class indices of the four mirror images [4, H, W, slices], if they were segmented.
    """
    x, s = _plain(x), _plain(s)
    labels = s.max(0).indices  # argmax takes thirty times as long
    painted = painted_labels = None
    if painter is not None:
        painted = _by_slice(painter, s)
        painted_labels = _by_slice(network, painted).max(0).indices
    inputs = _Inputs(x, s, labels, _around(labels > 0), painted, painted_labels, votes)
    scores = _scores(inputs)
    slices: dict[str, list[float | None]] = {}
    for z in range(labels.shape[-1]):
        for name, value in _scores(inputs.of_slice(z)).items():
            slices.setdefault(name, []).append(value)
    evidence = trust.evidence(s)
    if painted is None:
        return Judged(scores, slices, None, None, evidence)
    return Judged(scores, slices, painted.cpu().numpy(), (painted - x).abs().mean(0).cpu().numpy(), evidence)


def _plain(tensor: Tensor) -> Tensor:
    """In single precision, without gradient, and no MetaTensor."""
    tensor = torch.as_tensor(tensor).detach().float()
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _by_slice(network: Callable[[Tensor], Tensor], volume: Tensor) -> Tensor:
    """A network of slices over a volume [C, H, W, slices]."""
    batches = volume.movedim(-1, 0).split(BATCH)
    return torch.cat([network(batch).float() for batch in batches]).movedim(0, -1)


def _around(structures: Tensor) -> Tensor:
    """The structures [H, W, S], and what lies within a sixteenth of the slice's longer side of them."""
    reach = max(structures.shape[:2]) // 16
    near = structures.movedim(-1, 0)[:, None].float()
    near = nn.functional.max_pool2d(near, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    near = nn.functional.max_pool2d(near, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    return near[:, 0].movedim(0, -1) > 0


def _scores(inputs: _Inputs) -> dict[str, float | None]:
    """All of ``SCORES`` that these inputs allow; None where no structure was found."""
    s, labels, near = inputs.s, inputs.labels, inputs.near
    scores: dict[str, Tensor] = {}
    if inputs.painted is not None and inputs.painted_labels is not None:
        x, painted = inputs.x[:, near], inputs.painted[:, near]
        scores["cycle"] = 1 - (x - painted).abs().mean()
        scores["cycle_correlation"] = _correlation(x, painted)
        scores["cycle_dice"] = _mean_dice(inputs.painted_labels, labels, len(s))
    scores["soft_dice"] = _soft_dice(s, labels)
    entropy = -(s * s.clamp_min(1e-12).log()).sum(0) / math.log(len(s))
    scores["entropy"] = 1 - entropy[near].mean()
    if inputs.votes is not None:
        dices = [_mean_dice(vote, labels, len(s)) for vote in inputs.votes]
        scores["flips"] = torch.stack(dices).nanmean()
    result: dict[str, float | None] = {}
    for name, score in scores.items():
        value = float(score)
        result[name] = value if math.isfinite(value) else None
    return result


def _mean_dice(labels: Tensor, others: Tensor, classes: int) -> Tensor:
    """Dice of two label maps, the mean over structures."""
    return dice(counts(confusion(labels, others, classes)))[1:].nanmean()


def _soft_dice(s: Tensor, labels: Tensor) -> Tensor:
    """Dice of probabilities s with their own labels, the mean over the structures that were found."""
    masks = one_hot(labels[None], len(s), dim=0)[1:]
    common = (s[1:] * masks).sum((1, 2, 3))
    voxels = masks.sum((1, 2, 3))
    soft_dice = 2 * common / (s[1:].sum((1, 2, 3)) + voxels)
    return soft_dice[voxels > 0].mean()


def _correlation(x: Tensor, painted: Tensor) -> Tensor:
    """Pearson's correlation; NaN of no voxels, and where one image is constant."""
    x, painted = x - x.mean(), painted - painted.mean()
    return (x * painted).sum() / (x.norm() * painted.norm())
