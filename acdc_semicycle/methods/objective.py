"""What a method is: its networks, the views it asks for, and the terms they minimise. One method, one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from acdc_semicycle.methods.losses import cross_entropy
from acdc_semicycle.methods.shapes import Image, Known, Logits, Mask, Scalar, Unlabelled
from acdc_semicycle.methods.teacher import Teacher

Terms = dict[str, Scalar]
LabelledLoss = Callable[[Logits, Mask], Scalar]


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        x: labelled images [B, C, H, W].
        y: their one-hot masks [B, K, H, W], all zero where a pixel is not annotated.
        views: the unlabelled slices [B', C, H, W] by the name of each view that the method asks for. All views show
            the same slices in the same place: they differ in intensities alone.
        p: one-hot pseudo-labels of the unlabelled slices [B', K, H, W], all zero where they are not sure; None until
            there are any.
    """

    x: Image
    y: Mask
    views: Mapping[str, Unlabelled]
    p: Mask | None = None

    @property
    def u(self) -> Unlabelled:
        """The unlabelled images of a method that asks for one view."""
        return self.views["u"]


def softmax(logits: Logits) -> Mask:
    """Class probabilities, in single precision whatever the network computed in."""
    return torch.softmax(logits.float(), dim=1)


def joint_forward(network: nn.Module, *batches: Tensor) -> tuple[Tensor, ...]:
    """The network's output for each batch: from one pass where it treats each image alone, else from a pass for each.

    A joint pass would mix labelled and unlabelled images where a pass mixes its images.
    """
    if any(map(_mixes_images, network.modules())):
        return tuple(network(batch) for batch in batches)
    return network(torch.cat(batches)).split([len(batch) for batch in batches])


def _mixes_images(module: nn.Module) -> bool:
    """Whether a layer is batch norm of any kind, or another whose running means are those of a whole pass."""
    return isinstance(module, _BatchNorm) or (isinstance(module, _InstanceNorm) and module.track_running_stats)


def known(y: Mask) -> Known:
    """1 where a pixel of a one-hot mask is annotated, 0 where the mask is all zero."""
    return y.sum(1, keepdim=True)


class Objective(nn.Module):
    """A method with a segmenter ``G_IS`` and, by default, nothing else.

    The letters are those of :mod:`acdc_semicycle.methods.semicycle`; each term has a weight of its name in the bundle.

    Attributes:
        T: the running mean of G_IS's weights, of a method that learns from it, or of any that the bundle gives one.
        labelled_loss: of G_IS's logits and the mask, the paper's cross-entropy (eq. 1) unless the bundle has another.
        terms: names of all terms, the generators' and the discriminators'.
        views: names of the views of each unlabelled slice that a step needs; none for a method that sees no
            unlabelled image. The bundle says how each is augmented (``train::views``).
        chance_level: the discriminators' terms, and the value of each for a discriminator that gives one answer to
            all.
        passes: how often a generator computes a labelled and an unlabelled image in a step, with gradients; an estimate
            of a step's time is made of it.
        start: steps after which a step takes longer, as some terms begin only then; None where all are alike.
        waits_for_pseudo_labels: whether unlabelled images are of use only after ``start``, with pseudo-labels.
    """

    G_IS: nn.Module
    T: Teacher | None
    labelled_loss: LabelledLoss = staticmethod(cross_entropy)
    terms: tuple[str, ...]
    views: tuple[str, ...] = ("u",)
    chance_level: ClassVar[Mapping[str, float]] = {}
    passes: ClassVar[tuple[int, int]] = (1, 1)
    start: int | None = None
    waits_for_pseudo_labels = False

    def __init__(self) -> None:
        super().__init__()
        self.T = None

    @property  # not attributes: each weight would stand in the state dict twice
    def generators(self) -> nn.ModuleList:
        """What the first of the two optimisers steps."""
        return nn.ModuleList([self.G_IS])

    @property
    def discriminators(self) -> nn.ModuleList:
        """What the second one steps."""
        return nn.ModuleList()

    @property
    def segmenter(self) -> nn.Module:
        """The network that is validated, kept as model.pt and used: the teacher, or G_IS where there is none."""
        return self.G_IS if self.T is None else self.T.network

    def generator_terms(self, batch: Batch) -> tuple[Terms, Any]:
        """What the generators minimise, and their outputs without gradient; ``s_x`` is among these."""
        raise NotImplementedError

    def discriminator_terms(self, batch: Batch, outputs: Any) -> Terms:
        """What the discriminators minimise; no gradient reaches the generators."""
        return {}

    def after_step(self) -> None:
        """Called once a step, after both optimisers: the teacher must not lag."""
        if self.T is not None:
            self.T.update(self.G_IS)
