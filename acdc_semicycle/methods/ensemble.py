"""Networks of one kind as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from acdc_semicycle.methods import network_description
from acdc_semicycle.methods.shapes import Image, Logits


class Ensemble(nn.Module):
    """Gives logits whose softmax is the mean of the members' probabilities.

    Args:
        members: networks that give logits [B, K, H, W] of images [B, C, H, W].
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Image) -> Logits:
        """The logarithm of the mean probabilities, in single precision whatever the members compute in."""
        logarithms = [member(x).float().log_softmax(1) for member in self.members]
        return torch.logsumexp(torch.stack(logarithms), 0) - math.log(len(logarithms))


def build(description: Any, members: int | None = None) -> nn.Module:
    """The network of a description, or an ensemble of so many of them, their weights drawn at random.

    Raises:
        InputError: as of :func:`acdc_semicycle.methods.network_description.build`.
    """
    if members is None:
        return network_description.build(description)
    return Ensemble([network_description.build(description) for _ in range(members)])
