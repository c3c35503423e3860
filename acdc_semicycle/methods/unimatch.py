"""UniMatch (Yang et al., CVPR 2023): a prediction holds for two strong views of an image, and for weakened features.

x, y          a labelled image and its one-hot mask
u             an unlabelled image as it is (the weak view)      u1, u2   two strong views of the same pixels
M1, M2        1 in a random box (CutMix, French et al. 2020)    u', p'   another image of the batch, and its p
G_IS          image -> mask                                     L        the loss of labelled images
G_IS~         the same, with channels of its features dropped

    p  = one-hot argmax G_IS(u) where max softmax G_IS(u) >= threshold, all zero elsewhere
    ui = Mi ui' + (1 - Mi) ui,    pi = Mi p' + (1 - Mi) p
    (L(y, G_IS(x)) + (L(p1, G_IS(u1)) + L(p2, G_IS(u2))) / 4 + L(p, G_IS~(u)) / 2) / 2

Weights, threshold and boxes are those of the published code (LiheYoung/UniMatch). For ACDC it drops channels of the
encoder's outputs at all resolutions; here of one module. The segmenter itself makes the pseudo-labels, no mean of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout2d

from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.mixing import boxes, mixed
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.shapes import Logits, Mask, Unlabelled
from acdc_semicycle.methods.supervised import SegmenterOutputs
from acdc_semicycle.runtime.errors import InputError

BOX_AREA = (0.02, 0.4)  # of the image, as published


class UniMatch(Objective):
    """A segmenter that learns from its own sure predictions, on two strong views and without some of its features.

    Args:
        G_IS: the segmenter; gives logits.
        features: name of the module of G_IS whose output, [B, C, h, w], loses channels.
        feature_dropout: probability that a channel is dropped.
        cutmix: share of strong views with a box of another one.
        threshold: probability below which a pixel's pseudo-label does not count.

    Raises:
        InputError: G_IS has no such module.
    """

    terms = ("gen_S", "strong_u", "features_u")
    views = ("weak", "strong", "strong2")
    passes: ClassVar = (1, 3)

    def __init__(
        self,
        G_IS: nn.Module,
        features: str,
        feature_dropout: float = 0.5,
        cutmix: float = 0.5,
        threshold: float = 0.95,
    ) -> None:
        super().__init__()
        if not features or features not in dict(G_IS.named_modules()):
            modules = ", ".join(name for name, _ in G_IS.named_children()) or "none"
            raise InputError(f"features is {features!r}: give a module of {type(G_IS).__name__}, which has {modules}")
        self.G_IS, self.features, self.feature_dropout = G_IS, features, feature_dropout
        self.cutmix, self.threshold = cutmix, threshold

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        u = batch.views["weak"]
        p = self._pseudo_labels(u)
        u1, p1 = self._with_boxes(batch.views["strong"], p)
        u2, p2 = self._with_boxes(batch.views["strong2"], p)
        logits, logits_1, logits_2 = joint_forward(self.G_IS, batch.x, u1, u2)
        # The paper's L of unlabelled images is Dice alone; the bundle's may add cross-entropy, as for labelled ones.
        terms = {
            "gen_S": self.labelled_loss(logits, batch.y),  # L(y, G_IS(x))
            "strong_u": (self.labelled_loss(logits_1, p1) + self.labelled_loss(logits_2, p2)) / 2,
            "features_u": self.labelled_loss(self._without_some_features(u), p),  # L(p, G_IS~(u))
        }
        return terms, SegmenterOutputs(softmax(logits.detach()))

    @torch.no_grad()
    def _pseudo_labels(self, u: Unlabelled) -> Mask:
        """The segmenter's own one-hot masks, all zero where it is not sure."""
        probabilities = softmax(self.G_IS(u))
        confidence, label = probabilities.max(1, keepdim=True)
        return one_hot(label, probabilities.shape[1]) * (confidence >= self.threshold)

    def _with_boxes(self, u: Unlabelled, p: Mask) -> tuple[Unlabelled, Mask]:
        """Images and their masks, some with a box of the image before."""
        inside = boxes(len(u), u.shape[-2], u.shape[-1], self.cutmix, BOX_AREA).to(u.device)
        return mixed(inside, u.roll(1, 0), u), mixed(inside, p.roll(1, 0), p)

    def _without_some_features(self, u: Unlabelled) -> Logits:
        """The segmenter's logits where channels of ``features`` are dropped at random."""
        hook = self.G_IS.get_submodule(self.features).register_forward_hook(self._drop)
        try:
            return self.G_IS(u)
        finally:
            hook.remove()

    def _drop(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """A forward hook: the module's output without some channels, the others enlarged as much."""
        return dropout2d(output, self.feature_dropout)
