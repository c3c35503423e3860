"""Self-training: supervised first, then also on what the network itself makes of the unlabelled images (Lee 2013).

x, y          a labelled image and its one-hot mask
u, p          an unlabelled image and its pseudo-label, one-hot, all zero where the network was not sure
G_IS          image -> mask

The pseudo-labels are made once, of whole scans, by the running mean of G_IS's weights (Tarvainen and Valpola 2017);
:class:`acdc_semicycle.training.PseudoLabelling` makes them. G_IS then sees the images strongly changed, as the noisy
student of Xie et al. (2020) does.
"""

from __future__ import annotations

from torch import nn

from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.supervised import SegmenterOutputs


class SelfTraining(Objective):
    """One segmenter; its loss on labelled images, and from ``start`` on that on its own pseudo-labels.

    Args:
        G_IS: the segmenter; gives logits.
        start: steps on labelled images alone, before the network is worth to learn from; pseudo-labels are made at the
            beginning of the next epoch. None for all steps, where there are no other images.
    """

    terms = ("gen_S", "pseudo_u")

    def __init__(self, G_IS: nn.Module, start: int | None) -> None:
        super().__init__()
        self.G_IS, self.start = G_IS, start
        self.views = () if start is None else ("u",)
        self.waits_for_pseudo_labels = start is not None

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        if batch.p is None:
            logits = self.G_IS(batch.x)
            loss = self.labelled_loss(logits, batch.y)
            return {"gen_S": loss, "pseudo_u": loss.new_zeros(())}, SegmenterOutputs(softmax(logits.detach()))
        logits, logits_u = joint_forward(self.G_IS, batch.x, batch.u)
        terms = {
            "gen_S": self.labelled_loss(logits, batch.y),  # L(y, G_IS(x))
            "pseudo_u": self.labelled_loss(logits_u, batch.p),  # L(p, G_IS(u))
        }
        return terms, SegmenterOutputs(softmax(logits.detach()))
