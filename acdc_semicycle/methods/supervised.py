"""Supervised training on the labelled images alone: the paper's "Partial", and "Full" where all are labelled."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import nn

from acdc_semicycle.methods.objective import Batch, Objective, Terms, softmax
from acdc_semicycle.methods.shapes import Mask


class SegmenterOutputs(NamedTuple):
    """The segmenter's outputs of one step, without gradient."""

    s_x: Mask


class Supervised(Objective):
    """One segmenter and one term, eq. 1. It sees no unlabelled image.

    Args:
        G_IS: the segmenter; gives logits.
    """

    terms = ("gen_S",)
    views = ()
    passes: ClassVar = (1, 0)

    def __init__(self, G_IS: nn.Module) -> None:
        super().__init__()
        self.G_IS = G_IS

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        logits = self.G_IS(batch.x)
        return {"gen_S": self.labelled_loss(logits, batch.y)}, SegmenterOutputs(softmax(logits.detach()))
