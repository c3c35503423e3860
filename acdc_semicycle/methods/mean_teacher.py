"""Mean Teacher (Tarvainen and Valpola 2017): a network and the mean of its weights must agree on unlabelled images.

x, y          a labelled image and its one-hot mask
u, u'         two views of an unlabelled image: other intensities, the same place
G_IS          image -> mask (the student)         T   the mean of G_IS's weights (the teacher)
"""

from __future__ import annotations

from math import exp

from torch import nn

from acdc_semicycle.methods.losses import mean
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.supervised import SegmenterOutputs
from acdc_semicycle.methods.teacher import Teacher


class MeanTeacher(Objective):
    """A student, its teacher, and the difference of their segmentations.

    Args:
        G_IS: the segmenter; gives logits.
        ramp_steps: steps over which the difference gains its weight, as exp(-5 (1 - t)^2).
        decay: of the teacher.
    """

    T: Teacher
    terms = ("gen_S", "consistency")
    views = ("student", "teacher")

    def __init__(self, G_IS: nn.Module, ramp_steps: int, decay: float = 0.99) -> None:
        super().__init__()
        self.G_IS, self.T = G_IS, Teacher(G_IS, decay)
        self.ramp_steps = ramp_steps

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        logits, logits_u = joint_forward(self.G_IS, batch.x, batch.views["student"])
        target = softmax(self.T(batch.views["teacher"]))
        terms = {
            "gen_S": self.labelled_loss(logits, batch.y),  # H(y, G_IS(x))
            "consistency": self._ramp() * mean((softmax(logits_u) - target).square()),  # |G_IS(u) - T(u')|^2
        }
        return terms, SegmenterOutputs(softmax(logits.detach()))

    def _ramp(self) -> float:
        """The consistency's share of its weight after so many steps."""
        progress = min(1.0, self.T.steps / max(1, self.ramp_steps))
        return exp(-5 * (1 - progress) ** 2)
