"""Adversarial learning for semi-supervised segmentation (Hung et al. 2018), the paper's other method.

    x, y   a labelled image and its one-hot mask        s_x   the segmentation of x, softmax probabilities
    u      an unlabelled image                          s_u   the segmentation of u
    y'     the masks of another labelled batch          D_S   judges each pixel of a mask by its surroundings

As in the published code (hfslyc/AdvSemiSeg, 841d546), the discriminator learns from unlabelled predictions too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from acdc_semicycle.methods.losses import cross_entropy, mean
from acdc_semicycle.methods.objective import Batch, Objective, Terms, known, softmax
from acdc_semicycle.methods.shapes import Known, Mask, Scalar, Score
from acdc_semicycle.runtime.errors import InputError


class SegmenterOutputs(NamedTuple):
    """The segmenter's outputs of one step, without gradient, and where x is annotated."""

    s_x: Mask
    s_u: Mask
    known: Known


class FullyConvolutionalDiscriminator(nn.Module):
    """Five 4x4 convolutions of stride 2, no norm; its logits are brought back to the mask's size bilinearly.

    Args:
        classes: number of classes K.
        filters: channels of the first layer, doubled by each of the next three; 64 in the paper.

    Rows and columns of a mask must be at least 32, else an InputError.
    """

    def __init__(self, classes: int, filters: int = 64) -> None:
        super().__init__()
        widths = [classes, *(filters * 2**n for n in range(4)), 1]
        layers: list[nn.Module] = []
        for wide, next_wide in pairwise(widths):
            layers += [nn.Conv2d(wide, next_wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, mask: Mask) -> Score:
        if min(mask.shape[-2:]) < 32:
            raise InputError(f"image_size is {list(mask.shape[-2:])}: Hung's discriminator needs at least 32 x 32")
        return enlarged(self.layers(mask), mask.shape[-2:])


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Images [B, C, h, w] brought to a size bilinearly; where deterministic algorithms are asked for by two matrices,
    as torch's own backward on CUDA adds in any order."""
    if not torch.are_deterministic_algorithms_enabled():
        return interpolate(x, size=size, mode="bilinear", align_corners=False)
    rows, columns = (
        interpolate(torch.eye(given, device=x.device)[None], size=wanted, mode="linear")[0].to(x.dtype)
        for given, wanted in zip(x.shape[-2:], size, strict=True)
    )
    return rows.T @ x @ columns


class Hung(Objective):
    """A segmenter, and a discriminator which says where its segmentation of an unlabelled image can be trusted.

    Args:
        G_IS: the segmenter; gives logits.
        D_S: the discriminator; gives a logit a pixel, high for true masks.
        semi_start: step at which the segmenter starts to learn from its own segmentations; 5,000 of the paper's
            20,000.
        threshold: of the discriminator's probability, from which on a pixel is trusted; 0.2.
    """

    terms = ("gen_S", "adv_x", "adv_u", "semi_u", "disc_S")
    chance_level: ClassVar = {"disc_S": 2 * log(2)}

    def __init__(self, G_IS: nn.Module, D_S: nn.Module, semi_start: int, threshold: float = 0.2) -> None:
        super().__init__()
        self.G_IS, self.D_S = G_IS, D_S
        self.semi_start, self.threshold = semi_start, threshold
        self.steps = 0
        self.earlier: Tensor | None = None  # y of the step before, another labelled batch: y'

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D_S])

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        x, y, u = batch.x, batch.y, batch.u
        logits, logits_u = self.G_IS(x), self.G_IS(u)
        s_x, s_u = softmax(logits), softmax(logits_u)
        judged_u = self.D_S(s_u)
        terms = {
            "gen_S": self.labelled_loss(logits, y),  # L_ce
            "adv_x": judged(self.D_S(s_x), 1.0, known(y)),  # L_adv of labelled images
            "adv_u": judged(judged_u, 1.0),  # L_adv of unlabelled ones
            "semi_u": cross_entropy(logits_u, self._trusted(s_u, judged_u)),  # L_semi
        }
        self.steps += 1
        return terms, SegmenterOutputs(s_x.detach(), s_u.detach(), known(y))

    def discriminator_terms(self, batch: Batch, outputs: SegmenterOutputs) -> Terms:
        y, everywhere = batch.y, torch.ones_like(outputs.s_u[:, :1])
        fake, fake_known = torch.cat([outputs.s_x, outputs.s_u]), torch.cat([outputs.known, everywhere])
        real = y if self.earlier is None else self.earlier.to(y.device)  # a resume leaves it on the CPU
        self.earlier = y
        return {"disc_S": judged(self.D_S(fake), 0.0, fake_known) + judged(self.D_S(real), 1.0, known(real))}  # L_D

    def _trusted(self, s_u: Mask, score: Score) -> Mask:
        """The segmenter's own one-hot mask where the discriminator takes it for true; all zero elsewhere."""
        own = torch.zeros_like(s_u).scatter_(1, s_u.argmax(1, keepdim=True), 1.0)
        keep = (torch.sigmoid(score.detach().float()) >= self.threshold) & (self.steps >= self.semi_start)
        return own * keep

    def get_extra_state(self) -> dict:
        return {"steps": self.steps, "earlier": [] if self.earlier is None else [self.earlier]}

    def set_extra_state(self, state: dict) -> None:
        self.steps = state["steps"]
        self.earlier = state["earlier"][0] if state["earlier"] else None


def judged(score: Score, truth: float, known: Known | None = None) -> Scalar:
    """Binary cross-entropy of a discriminator's logits with one truth, the mean over annotated pixels."""
    score = score.float()
    return mean(binary_cross_entropy_with_logits(score, torch.full_like(score, truth), reduction="none"), known)
