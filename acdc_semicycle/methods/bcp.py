"""Bidirectional Copy-Paste (Bai et al., CVPR 2023): labelled images pasted into unlabelled ones, and these into them.

x, y          a labelled image and its one-hot mask
u             an unlabelled image: the teacher sees the weak view, the student the strong one
M             0 in a box of 2/3 of the sides, at one random place for the whole batch, 1 around it
G_IS          image -> mask (the student)         T   the mean of G_IS's weights (the teacher)
L             the loss of labelled images, over the pixels of a part alone

    p     = one-hot argmax T(u), of each class the largest component alone, background elsewhere
    x_in  = x M + u (1 - M),      y_in  = y M + p (1 - M)
    x_out = u M + x (1 - M),      y_out = p M + y (1 - M)
    L_in  = L(y_in, G_IS(x_in); M)      + a L(y_in, G_IS(x_in); 1 - M)
    L_out = L(y_out, G_IS(x_out); 1 - M) + a L(y_out, G_IS(x_out); M)            a = 0.5, the weight of pseudo_u

In the first steps labelled images are pasted into other labelled ones: L(y M + y' (1 - M), G_IS(x M + x' (1 - M))).
As in the published code (DeepMed-Lab-ECNU/BCP). There x_in and x_out are of different images, and teacher and
student see one view; here each image is in both, so that every pixel is seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from acdc_semicycle.methods.components import largest_components
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.mixing import mixed
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.shapes import Known, Mask, Unlabelled
from acdc_semicycle.methods.supervised import SegmenterOutputs
from acdc_semicycle.methods.teacher import Teacher


class BidirectionalCopyPaste(Objective):
    """A student on images that are half labelled, half segmented by its teacher.

    Args:
        G_IS: the segmenter; gives logits.
        start: steps on labelled images alone, pasted into each other.
        box: sides of the box, as a share of the image's.
        decay: of the teacher.
    """

    T: Teacher
    start: int
    terms = ("gen_S", "pseudo_u")
    views = ("weak", "strong")

    def __init__(self, G_IS: nn.Module, start: int, box: float = 2 / 3, decay: float = 0.99) -> None:
        super().__init__()
        self.G_IS, self.T = G_IS, Teacher(G_IS, decay)
        self.start, self.box = start, box

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        height, width = batch.x.shape[-2:]
        M = around_box(height, width, self.box).to(batch.x.device)
        if self.T.steps < self.start:
            return self._labelled_into_labelled(batch, M)
        return self._both_ways(batch, M)

    def _labelled_into_labelled(self, batch: Batch, M: Known) -> tuple[Terms, SegmenterOutputs]:
        """The first steps: each image gets the box of the image before."""
        x, y = (mixed(M, image, image.roll(1, 0)) for image in (batch.x, batch.y))
        logits = self.G_IS(x)
        loss = self.labelled_loss(logits, y)
        s = softmax(logits.detach())
        return {"gen_S": loss, "pseudo_u": loss.new_zeros(())}, SegmenterOutputs(mixed(M, s, s.roll(-1, 0)))

    def _both_ways(self, batch: Batch, M: Known) -> tuple[Terms, SegmenterOutputs]:
        """The loss on the labelled parts of x_in and x_out, and on the unlabelled ones."""
        pairs = max(len(batch.x), len(batch.views["strong"]))
        x, y, u = (repeated(images, pairs) for images in (batch.x, batch.y, batch.views["strong"]))
        p = repeated(self._pseudo_labels(batch.views["weak"]), pairs)
        logits_in, logits_out = joint_forward(self.G_IS, mixed(M, x, u), mixed(M, u, x))
        # A mask that is all zero in one part leaves this part out: L of the other part alone.
        terms = {
            "gen_S": self.labelled_loss(logits_in, y * M) + self.labelled_loss(logits_out, y * (1 - M)),
            "pseudo_u": self.labelled_loss(logits_in, p * (1 - M)) + self.labelled_loss(logits_out, p * M),
        }
        s_x = softmax(mixed(M, logits_in, logits_out).detach())
        return terms, SegmenterOutputs(s_x[: len(batch.x)])

    def _pseudo_labels(self, u: Unlabelled) -> Mask:
        """The teacher's one-hot masks, of each class the largest component."""
        logits = self.T(u)
        labels = np.stack([largest_components(slice_labels) for slice_labels in logits.argmax(1).cpu().numpy()])
        return one_hot(torch.as_tensor(labels[:, None], device=u.device), logits.shape[1])


def around_box(height: int, width: int, share: float) -> Known:
    """0 in a box, 1 around it: [1, 1, height, width], its place drawn from torch's global random state."""
    rows, columns = int(height * share), int(width * share)
    top = int(torch.randint(height - rows + 1, ()))
    left = int(torch.randint(width - columns + 1, ()))
    M = torch.ones(1, 1, height, width)
    M[..., top : top + rows, left : left + columns] = 0
    return M


def repeated(images: Tensor, count: int) -> Tensor:
    """``count`` images [count, ...], from the first again after the last."""
    return images[torch.arange(count, device=images.device) % len(images)]
