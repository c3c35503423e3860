"""Pseudo-labels of a teacher on mixed images: FixMatch (Sohn et al. 2020) with the teacher of Tarvainen and Valpola.

x, y          a labelled image and its one-hot mask
u, u'         two views of an unlabelled image: as it is, and in another appearance; the same place
M             1 in a random box (CutMix, French et al. 2020)
G_IS          image -> mask (the student)         T   the mean of G_IS's weights (the teacher)
"""

from __future__ import annotations

from torch import nn

from acdc_semicycle.methods.mixing import boxes, mixed
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.supervised import SegmenterOutputs
from acdc_semicycle.methods.teacher import Teacher


class PseudoLabels(Objective):
    """A student, its teacher, and the student's loss on what the teacher makes of unlabelled images.

    Args:
        G_IS: the segmenter; gives logits.
        start: steps on labelled images alone, before the teacher is worth to learn from; None for all steps, where
            there are no others.
        ramp_steps: steps after these over which the term gains its weight, linearly.
        cutmix: share of unlabelled images with a box of another one.
        threshold: probability below which a pixel's pseudo-label does not count.
        decay: of the teacher.
    """

    T: Teacher
    terms = ("gen_S", "pseudo_u")
    views: tuple[str, ...] = ("weak", "strong")

    def __init__(
        self,
        G_IS: nn.Module,
        start: int | None,
        ramp_steps: int,
        cutmix: float = 0.5,
        threshold: float = 0.0,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.G_IS, self.T = G_IS, Teacher(G_IS, decay)
        self.start, self.ramp_steps = start, ramp_steps
        self.cutmix, self.threshold = cutmix, threshold
        if start is None:
            self.views = ()

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        steps = self.T.steps
        if self.start is None or steps < self.start:
            logits = self.G_IS(batch.x)
            loss = self.labelled_loss(logits, batch.y)
            return {"gen_S": loss, "pseudo_u": loss.new_zeros(())}, SegmenterOutputs(softmax(logits.detach()))
        u, target = batch.views["strong"], softmax(self.T(batch.views["weak"]))
        inside = boxes(len(u), u.shape[-2], u.shape[-1], self.cutmix).to(u.device)
        u, target = (mixed(inside, image.roll(1, 0), image) for image in (u, target))  # M u_j + (1 - M) u_i
        certain = target.amax(1, keepdim=True) >= self.threshold
        logits, logits_u = joint_forward(self.G_IS, batch.x, u)
        ramp = min(1.0, (steps - self.start + 1) / max(1, self.ramp_steps))
        terms = {
            "gen_S": self.labelled_loss(logits, batch.y),  # L(y, G_IS(x))
            "pseudo_u": ramp * self.labelled_loss(logits_u, target * certain),  # L(T(u), G_IS(u'))
        }
        return terms, SegmenterOutputs(softmax(logits.detach()))
