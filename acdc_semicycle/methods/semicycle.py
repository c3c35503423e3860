"""The objective of Mondal et al. (2019), in the paper's own letters.

    x, y   a labelled image and its one-hot mask
    u      an unlabelled image (x' in the paper)
    s_u    the segmentation of u, softmax probabilities
    x_y    the image painted from y                  u_s    the image painted from s_u
    G_IS   image -> mask (the segmenter)      D_S  judges masks
    G_SI   mask  -> image                     D_I  judges images

A pixel of y that is not annotated contributes to no loss of the generators and is no true mask to D_S; D_I sees
the whole of x_y.
A term's name is its key everywhere: weight, log line, TensorBoard tag, row of the ablation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from torch import nn

from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.methods.losses import cross_entropy, judged_fake, judged_real, l1, l2
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, known, softmax
from acdc_semicycle.methods.shapes import Image, Mask


class GeneratorOutputs(NamedTuple):
    """The generators' outputs of one step, without gradient, for the discriminators and for metrics."""

    s_x: Mask
    s_u: Mask
    x_y: Image


class SemiCycle(Objective):
    """Two generators, two discriminators, and the terms each pair minimises.

    Args:
        G_IS, G_SI: generators; G_IS gives logits, G_SI images in [-1, 1].
        D_S, D_I: discriminators, one score a pixel.
        pool_size: fakes of each kind kept for the discriminators; the paper's 50.
        seed: of the pools' draws.
        image_pool: makes each of the two pools from its size and seed.
    """

    terms = ("gen_S", "gen_I", "cycle_S", "cycle_I", "adv_S", "adv_I", "disc_S", "disc_I")
    passes: ClassVar = (3, 2)  # G_IS(x), G_SI(y), G_IS(G_SI(y)); G_IS(u), G_SI(G_IS(u))
    chance_level: ClassVar = {"disc_S": 0.5, "disc_I": 0.5}  # (1/2 - 1)^2 + (1/2)^2

    def __init__(
        self,
        G_IS: nn.Module,
        G_SI: nn.Module,
        D_S: nn.Module,
        D_I: nn.Module,
        pool_size: int = 50,
        seed: int = 0,
        image_pool: Callable[[int, int], ImagePool] = ImagePool,
    ) -> None:
        super().__init__()
        self.G_IS, self.G_SI, self.D_S, self.D_I = G_IS, G_SI, D_S, D_I
        self.pool_S, self.pool_I = image_pool(pool_size, seed), image_pool(pool_size, seed + 1)

    @property
    def generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.G_IS, self.G_SI])

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D_S, self.D_I])

    def generator_terms(self, batch: Batch) -> tuple[Terms, GeneratorOutputs]:
        x, y, u = batch.x, batch.y, batch.u
        logits, logits_u = joint_forward(self.G_IS, x, u)
        s_u = softmax(logits_u)
        x_y, u_s = joint_forward(self.G_SI, y, s_u)
        terms = {
            "gen_S": self.labelled_loss(logits, y),  # G_IS(x) = y                         eq. 1
            "gen_I": l2(x_y, x, known(y)),  # G_SI(y) = x                    eq. 3
            "cycle_S": cross_entropy(self.G_IS(x_y), y),  # G_IS(G_SI(y)) = y    eq. 7
            "cycle_I": l1(u_s, u),  # G_SI(G_IS(u)) = u                      eq. 6
            "adv_S": judged_real(self.D_S(s_u)),  # min over G_IS of eq. 4
            "adv_I": judged_real(self.D_I(x_y), known(y)),  # min over G_SI of eq. 5
        }
        return terms, GeneratorOutputs(softmax(logits.detach()), s_u.detach(), x_y.detach().float())

    def discriminator_terms(self, batch: Batch, outputs: GeneratorOutputs) -> Terms:
        y, u = batch.y, batch.u
        s_u, x_y = self.pool_S.query(outputs.s_u), self.pool_I.query(outputs.x_y)
        return {
            "disc_S": judged_real(self.D_S(y), known(y)) + judged_fake(self.D_S(s_u)),  # eq. 4
            "disc_I": judged_real(self.D_I(u)) + judged_fake(self.D_I(x_y)),  # eq. 5
        }

    def get_extra_state(self) -> dict:
        return {"pool_S": self.pool_S.state_dict(), "pool_I": self.pool_I.state_dict()}

    def set_extra_state(self, state: dict) -> None:
        self.pool_S.load_state_dict(state["pool_S"])
        self.pool_I.load_state_dict(state["pool_I"])
