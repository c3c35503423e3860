"""The losses of Mondal et al. (2019), one equation a function; all are means, as in the published code.

Dice is not the paper's: few.yaml adds it.
"""

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import log_softmax

from acdc_semicycle.methods.shapes import Image, Known, Logits, Mask, Scalar, Score

DICE = DiceLoss(include_background=False, batch=True, smooth_nr=1.0, smooth_dr=1.0)  # of probabilities


def mean(values: Tensor, known: Known | None = None) -> Scalar:
    """The mean of values [B, C, H, W] over annotated pixels, or over all; 0 where none is annotated."""
    if known is None:
        return values.mean()
    return (values * known).sum() / (known.sum() * values.shape[1]).clamp(min=1)


def cross_entropy(logits: Logits, y: Mask) -> Scalar:
    """Pixelwise cross-entropy H of a prediction with a one-hot mask, the mean over annotated pixels (eq. 2).

    A pixel whose mask is all zero is not annotated and does not count; with none annotated the loss is 0.
    """
    return -(y * log_softmax(logits.float(), dim=1)).sum() / y.sum().clamp(min=1)


def dice_loss(logits: Logits, y: Mask) -> Scalar:
    """1 - Dice of the structures' probabilities with a mask, the mean over structures, each over the whole batch.

        1 - (2 sum(s y) + 1) / (sum(s) + sum(y) + 1)        (Milletari et al. 2016, with sums in the denominator)

    A pixel whose mask is all zero is not annotated and does not count. Background is no structure.
    """
    s = torch.softmax(logits.float(), dim=1) * y.sum(1, keepdim=True)
    return DICE(s, y)


def cross_entropy_and_dice(logits: Logits, y: Mask) -> Scalar:
    """The sum of both, for few images with small structures (nnU-Net, Isensee et al. 2021)."""
    return cross_entropy(logits, y) + dice_loss(logits, y)


def l2(image: Image, x: Image, known: Known | None = None) -> Scalar:
    """Mean squared difference of two images, over annotated pixels (eq. 3)."""
    return mean((image.float() - x).square(), known)


def l1(image: Image, x: Image) -> Scalar:
    """Mean absolute difference of two images (eq. 6)."""
    return mean((image.float() - x).abs())


def judged_real(score: Score, known: Known | None = None) -> Scalar:
    """Least-squares distance of a discriminator's score from "real", 1, over annotated pixels (eq. 4 and 5)."""
    return mean((score.float() - 1).square(), known)


def judged_fake(score: Score) -> Scalar:
    """Least-squares distance of a discriminator's score from "fake", 0 (eq. 4 and 5)."""
    return mean(score.float().square())


def weigh(terms: dict[str, Scalar], weights: dict[str, float]) -> Scalar:
    """The weighted sum of the terms (eq. 8); each term must have its weight."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
