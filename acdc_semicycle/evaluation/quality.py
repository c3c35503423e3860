"""How good a segmentation is, judged without a truth.

What only this method has is the cycle: G_SI paints an image from the segmentation, and where the two disagree the
segmentation is doubtful (Mondal et al. 2019, eq. 6, read backwards). Beside it what any network has: how sure it is,
and whether it says the same of a mirror image. Which of them tells good from bad is measured on validation cases
(``fit``), and only then is there a ``quality``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from acdc_semicycle.evaluation.metrics import confusion, counts, dice
from acdc_semicycle.runtime.errors import InputError

SCORES = {
    "cycle": "1 minus the mean difference of the image from the one painted back, around the structures",
    "alike": "correlation of the image with the one painted back, around the structures",
    "again": "Dice of the segmentation with that of the image painted back",
    "sure": "Dice of the segmentation with its own probabilities",
    "entropy": "1 minus the mean entropy of the probabilities around the structures",
    "flips": "mean Dice of the segmentation with those of its mirror images",
}
BATCH = 4  # slices painted at once
RIDGE = 1.0
FEWEST = 8  # cases to fit on


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
    again: Tensor | None  # labels of the painted image
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
    again = None if painted is None else _by_slice(network, painted).max(0).indices
    seen = _Seen(x, s, labels, _around(labels > 0), painted, again, votes)
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
    if seen.painted is not None and seen.again is not None:
        x, painted = seen.x[:, near], seen.painted[:, near]
        found["cycle"] = 1 - (x - painted).abs().mean()
        found["alike"] = _correlation(x, painted)
        found["again"] = dice(counts(confusion(seen.again, seen.labels, k)))[1:].nanmean()
    own = torch.stack([seen.labels == label for label in range(1, k)]).float()
    both = (seen.s[1:] * own).sum((1, 2, 3))
    held = own.sum((1, 2, 3))
    sure = 2 * both / (seen.s[1:].sum((1, 2, 3)) + held)
    found["sure"] = sure[held > 0].mean()
    entropy = -(seen.s * seen.s.clamp_min(1e-12).log()).sum(0) / math.log(k)
    found["entropy"] = 1 - entropy[near].mean()
    if seen.votes is not None:
        each = [dice(counts(confusion(vote, seen.labels, k)))[1:].nanmean() for vote in seen.votes]
        found["flips"] = torch.stack(each).nanmean()
    return {name: float(value) if math.isfinite(float(value)) else None for name, value in found.items()}


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(), other - other.mean()
    return (one * other).sum() / (one.norm() * other.norm())  # NaN of nothing, or of one grey


def fit(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which score, or the sum of all, best predicts Dice: fitted, and judged patient by patient left out.

    Args:
        cases: each has ``patient``, ``scores`` and ``dice``, the true mean Dice; of validation, never of training.

    Returns:
        ``weights`` and ``bias`` of the expected Dice by the score ``chosen``, that of the least error (``fits`` has
        those of all); ``threshold``, below which a case belongs to the worst tenth; ``measured``, of each score and of
        the sum Spearman's and Pearson's correlation with Dice, the share of the worst tenth found, and the mean
        absolute error, all with the case's patient left out.

    A case in which nothing was found has no scores, and no part in this; ``nothing_found`` is how many those are.

    Raises:
        InputError: too few cases, of too few patients, or no score that all of them have.
    """
    given, cases = len(cases), [case for case in cases if not nothing_found(case["scores"])]
    patients = np.array([case["patient"] for case in cases])
    if len(cases) < FEWEST or len(set(patients)) < 3:
        without = f" ({given - len(cases)} more have none, as nothing was found)" if given > len(cases) else ""
        raise InputError(
            f"{len(cases)} cases of {len(set(patients))} patients have a quality to be fitted on{without}: give at"
            f" least {FEWEST} of 3, predicted and evaluated"
        )
    names = [name for name in SCORES if all(case["scores"].get(name) is not None for case in cases)]
    if not names:
        raise InputError(f"no score is there of all {len(cases)} cases: predict them all with the same switches")
    truth = np.array([case["dice"] for case in cases])
    table = np.array([[case["scores"][name] for name in names] for case in cases])
    candidates = {name: [place] for place, name in enumerate(names)} | {"sum": list(range(len(names)))}
    expected = {name: _left_out(table[:, columns], truth, patients) for name, columns in candidates.items()}
    measured = {name: agreement(values, truth) for name, values in expected.items()}
    chosen = min(measured, key=lambda name: measured[name]["mean_error"])  # it is an expected Dice that is given
    fits = {}
    for name, columns in candidates.items():
        weights, bias = _ridge(table[:, columns], truth)
        fits[name] = {"weights": {names[k]: float(w) for k, w in zip(columns, weights, strict=True)}, "bias": bias}
    return {
        "chosen": chosen,
        **fits[chosen],
        "threshold": float(np.quantile(expected[chosen], 0.1)),
        "fits": fits,
        "cases": len(cases),
        "nothing_found": given - len(cases),
        "patients": len(set(patients)),
        "measured": measured,
    }


def agreement(expected: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """How well expected scores [N] tell true ones [N]: correlations, error, and of the worst tenth the share found."""
    worst = max(1, round(len(truth) / 10))
    found = set(np.argsort(expected, kind="stable")[:worst]) & set(np.argsort(truth, kind="stable")[:worst])
    constant = np.ptp(expected) == 0 or np.ptp(truth) == 0
    return {
        "spearman": 0.0 if constant else float(stats.spearmanr(expected, truth).statistic),
        "pearson": 0.0 if constant else float(np.corrcoef(expected, truth)[0, 1]),
        "worst_tenth_found": len(found) / worst,
        "worst": worst,
        "mean_error": float(np.abs(expected - truth).mean()),
    }


def expected_dice(quality: Mapping[str, Any] | None, scores: Mapping[str, float | None]) -> float | None:
    """The quality of a case by what was fitted; None where nothing was, or a score is missing."""
    if quality is None or any(scores.get(name) is None for name in quality["weights"]):
        return None
    total = quality["bias"] + sum(weight * float(scores[name] or 0) for name, weight in quality["weights"].items())
    return float(np.clip(total, 0, 1))


def nothing_found(scores: Mapping[str, float | None]) -> bool:
    """Whether a segmentation holds no structure, so that there is nothing to be judged."""
    return all(value is None for value in scores.values())


def lowest(quality: Mapping[str, Any] | None, frames: Sequence[Mapping[str, float | None]]) -> float | None:
    """The quality of a case by the scores of each of its frames: the worst frame's, and None where one has none."""
    expected = [expected_dice(quality, scores) for scores in frames]
    known = [value for value in expected if value is not None]
    return min(known) if known and len(known) == len(expected) else None


def _left_out(table: NDArray[Any], truth: NDArray[Any], patients: NDArray[Any]) -> NDArray[Any]:
    """What is expected of each case by a fit on the other patients."""
    expected = np.empty(len(truth))
    for patient in np.unique(patients):
        out = patients == patient
        weights, bias = _ridge(table[~out], truth[~out])
        expected[out] = table[out] @ weights + bias
    return expected


def _ridge(table: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Weights and bias of a linear fit, shrunk in units of each column's spread; one column is not shrunk."""
    middle, spread = table.mean(0), table.std(0) + 1e-9
    units = (table - middle) / spread
    shrink = RIDGE * np.eye(table.shape[1]) * (table.shape[1] > 1)
    weights = np.linalg.solve(
        units.T @ units + shrink + 1e-9 * np.eye(table.shape[1]), units.T @ (truth - truth.mean())
    )
    weights = weights / spread
    return weights, float(truth.mean() - weights @ middle)
