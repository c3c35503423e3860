"""Supervised training on the labelled images alone: the paper's "Partial", and "Full" where all are labelled."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from acdc_semicycle.methods.losses import cross_entropy
from acdc_semicycle.methods.objective import Objective, Terms, softmax
from acdc_semicycle.methods.shapes import Image, Mask


class Made(NamedTuple):
    """What the segmenter made in one step, without gradient."""

    s_x: Mask


class Supervised(Objective):
    """One segmenter and one term, eq. 1. It sees no unlabelled image.

    Args:
        G_IS: the segmenter; gives logits.
    """

    terms = ("gen_S",)

    def __init__(self, G_IS: nn.Module) -> None:
        super().__init__()
        self.G_IS = G_IS

    def generator_terms(self, x: Image, y: Mask, u: Image) -> tuple[Terms, Made]:
        logits = self.G_IS(x)
        return {"gen_S": cross_entropy(logits, y)}, Made(softmax(logits.detach()))
