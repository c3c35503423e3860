"""The losses of Mondal et al. (2019), one equation a function; all are means, as in the published code."""

import torch
from torch.nn.functional import l1_loss, log_softmax, mse_loss

from acdc_semicycle.shapes import Image, Logits, Mask, Scalar, Score


def cross_entropy(logits: Logits, y: Mask) -> Scalar:
    """Pixelwise cross-entropy H of a prediction with a one-hot mask, the mean over annotated pixels (eq. 2).

    A pixel whose mask is all zero is not annotated and does not count; with none annotated the loss is 0.
    """
    return -(y * log_softmax(logits.float(), dim=1)).sum() / y.sum().clamp(min=1)


def l2(image: Image, x: Image) -> Scalar:
    """Mean squared difference of two images (eq. 3)."""
    return mse_loss(image.float(), x)


def l1(image: Image, x: Image) -> Scalar:
    """Mean absolute difference of two images (eq. 6)."""
    return l1_loss(image.float(), x)


def judged_real(score: Score) -> Scalar:
    """Least-squares distance of a discriminator's score from "real", 1 (eq. 4 and 5)."""
    return (score.float() - 1).square().mean()


def judged_fake(score: Score) -> Scalar:
    """Least-squares distance of a discriminator's score from "fake", 0 (eq. 4 and 5)."""
    return score.float().square().mean()


def weigh(terms: dict[str, Scalar], weights: dict[str, float]) -> Scalar:
    """The weighted sum of the terms (eq. 8); each term must have its weight."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
