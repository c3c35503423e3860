"""How good a segmentation is, judged without a truth.

What only this method has is the cycle: G_SI paints an image from the segmentation, and where the two disagree the
segmentation is doubtful (Mondal et al. 2019, eq. 6, read backwards). Beside it what any network has: how certain it is,
and whether it says the same of a mirror image. Which of them tells good from bad is measured on validation cases
(:mod:`acdc_semicycle.evaluation.quality_fit`), and only then is there a ``quality``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acdc_semicycle.evaluation.metrics import confusion, counts, dice

SCORES = {
    "cycle": "1 minus the mean difference of the image from the one painted back, around the structures",
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
    difference from the image; both None without a G_SI.
    """

    scores: dict[str, float | None]
    slices: dict[str, list[float | None]]
    painted: NDArray | None
    difference: NDArray | None


class _Seen(NamedTuple):
    """What the scores are made of, slices last."""

    x: Tensor  # [C, H, W, S]
    s: Tensor  # [K, H, W, S]
    labels: Tensor  # [H, W, S]
    near: Tensor  # [H, W, S], around the structures
    painted: Tensor | None
    painted_labels: Tensor | None  # what the network finds in the painted image
    votes: Tensor | None  # [4, H, W, S]

    def slice(self, z: int) -> _Seen:
        return _Seen(*(None if item is None else item[..., z : z + 1] for item in self))  # type: ignore[arg-type]


@torch.no_grad()
def judge(x: Tensor, s: Tensor, network: nn.Module, painter: nn.Module | None, votes: Tensor | None = None) -> Judged:
    """Every score that can be had of an image x [C, H, W, slices] and its segmentation s [K, H, W, slices].

    Args:
        x: as the network saw it, in [-1, 1].
        s: softmax probabilities.
        network: G_IS.
        painter: G_SI of the same training, if there is one.
        votes: class indices of the four mirror images [4, H, W, slices], if they were looked at.
    """
    x, s = (torch.as_tensor(item).detach().float() for item in (x, s))
    x, s = (item.as_tensor() if hasattr(item, "as_tensor") else item for item in (x, s))
    labels = s.max(0).indices  # argmax takes thirty times as long
    painted = None if painter is None else _by_slice(painter, s)
    painted_labels = None if painted is None else _by_slice(network, painted).max(0).indices
    seen = _Seen(x, s, labels, _around(labels > 0), painted, painted_labels, votes)
    whole = _scores(seen)
    by_slice = [_scores(seen.slice(z)) for z in range(labels.shape[-1])]
    slices = {name: [one[name] for one in by_slice] for name in whole}
    if painted is None:
        return Judged(whole, slices, None, None)
    return Judged(whole, slices, painted.cpu().numpy(), (painted - x).abs().mean(0).cpu().numpy())


def _by_slice(network: Callable[[Tensor], Tensor], volume: Tensor) -> Tensor:
    """A network of slices over a volume [C, H, W, slices]."""
    parts = volume.movedim(-1, 0).split(BATCH)
    return torch.cat([network(part).float() for part in parts]).movedim(0, -1)


def _around(structures: Tensor) -> Tensor:
    """The structures and what lies within a sixteenth of the slice's side of them."""
    wide = max(structures.shape[:2]) // 16
    near = structures.movedim(-1, 0)[:, None].float()
    for side in ((1, 0), (0, 1)):  # rows, then columns
        near = nn.functional.max_pool2d(near, [2 * wide * n + 1 for n in side], 1, [wide * n for n in side])
    return near[:, 0].movedim(0, -1) > 0


def _scores(seen: _Seen) -> dict[str, float | None]:
    k, near = len(seen.s), seen.near
    found: dict[str, Tensor] = {}
    if seen.painted is not None and seen.painted_labels is not None:
        x, painted = seen.x[:, near], seen.painted[:, near]
        found["cycle"] = 1 - (x - painted).abs().mean()
        found["cycle_correlation"] = _correlation(x, painted)
        found["cycle_dice"] = dice(counts(confusion(seen.painted_labels, seen.labels, k)))[1:].nanmean()
    own = torch.stack([seen.labels == label for label in range(1, k)]).float()
    both = (seen.s[1:] * own).sum((1, 2, 3))
    held = own.sum((1, 2, 3))
    soft_dice = 2 * both / (seen.s[1:].sum((1, 2, 3)) + held)
    found["soft_dice"] = soft_dice[held > 0].mean()
    entropy = -(seen.s * seen.s.clamp_min(1e-12).log()).sum(0) / math.log(k)
    found["entropy"] = 1 - entropy[near].mean()
    if seen.votes is not None:
        each = [dice(counts(confusion(vote, seen.labels, k)))[1:].nanmean() for vote in seen.votes]
        found["flips"] = torch.stack(each).nanmean()
    return {name: float(value) if math.isfinite(float(value)) else None for name, value in found.items()}


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(), other - other.mean()
    return (one * other).sum() / (one.norm() * other.norm())  # NaN of nothing, or of one grey
