"""What a method is: its networks, and the terms they minimise. A new method is one file with such a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from acdc_semicycle.methods.shapes import Image, Known, Logits, Mask, Scalar

Terms = dict[str, Scalar]


def softmax(logits: Logits) -> Mask:
    """Class probabilities, in single precision whatever the network computed in."""
    return torch.softmax(logits.float(), dim=1)


def together(network: nn.Module, *batches: Tensor) -> tuple[Tensor, ...]:
    """One pass of a network that treats each image by itself, in place of one for each batch."""
    return network(torch.cat(batches)).split([len(batch) for batch in batches])


def known(y: Mask) -> Known:
    """1 where a pixel of a one-hot mask is annotated, 0 where the mask is all zero."""
    return y.sum(1, keepdim=True)


class Objective(nn.Module):
    """A method with a segmenter ``G_IS`` and, by default, nothing else.

    The letters are those of :mod:`acdc_semicycle.methods.semicycle`; each term has a weight of its name in the bundle.
    """

    G_IS: nn.Module
    terms: tuple[str, ...]  # names of all it gives
    # the discriminators' terms, and what each is of one that says the same of all
    guessing: ClassVar[Mapping[str, float]] = {}

    @property  # not attributes: each weight would stand in the state dict twice
    def generators(self) -> nn.ModuleList:
        """What the first of the two optimisers steps."""
        return nn.ModuleList([self.G_IS])

    @property
    def discriminators(self) -> nn.ModuleList:
        """What the second one steps."""
        return nn.ModuleList()

    @property
    def settings(self) -> dict[str, float]:
        """What else makes a run of this method this run; a resume with other settings is refused."""
        return {}

    def generator_terms(self, x: Image, y: Mask, u: Image) -> tuple[Terms, Any]:
        """What the generators minimise, and what they made on the way, without gradient; ``s_x`` is in it."""
        raise NotImplementedError

    def discriminator_terms(self, y: Mask, u: Image, made: Any) -> Terms:
        """What the discriminators minimise; no gradient reaches the generators."""
        return {}
