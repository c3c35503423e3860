"""What the published code does otherwise than the paper: the preset ``configs/official-2019-08.yaml``.

All are facts about arnab39/Semi-supervised-segmentation-cycleGAN at commit bc02d92 (2019-09-02); none of its code is
here. Two more need no code, only an argument of the networks: there the residual blocks drop out with probability
0.5 unless told otherwise (the paper has no dropout), and the discriminators have instance norm (the paper's: batch
norm). The mIoU of each data set is :class:`acdc_semicycle.evaluation.metrics.PooledIoU` with its own class left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from acdc_semicycle.data import splits
from acdc_semicycle.data.sampling import EpochSampler
from acdc_semicycle.datasets import cityscapes, voc
from acdc_semicycle.datasets.records import BY_SLICE, Record
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.methods.schedules import linear_decay
from acdc_semicycle.methods.shapes import Mask, Score

NOTE = BY_SLICE

VOC_VALUES = voc.VALUES | {255: 0}
"""bc02d92: the seam between objects is trained as background, whose row and column the mIoU then leaves out (since
2019-07-09), so that mistaking an object for background costs nothing."""

CITYSCAPES_VALUES = {
    stored: len(cityscapes.CLASSES) if label == IGNORED else label for stored, label in cityscapes.VALUES.items()
}
"""bc02d92: what nobody scores, the void, is trained as class 19. The mIoU leaves out its row and, which flatters,
its column: predicting void costs nothing either."""

CITYSCAPES_CLASSES = (*cityscapes.CLASSES, "void")
CITYSCAPES_COLOURS = (*cityscapes.COLOURS, (0, 0, 0))


class IndexJudge(nn.Module):
    """D_S as since d588c60 (2019-06-17): it sees each pixel's most probable class, its index as an intensity.

    The argmax passes no gradient, so eq. 4 teaches D_S but never G_IS. A pixel that nobody annotated is class 0.

    Args:
        judge: of one channel, a :class:`acdc_semicycle.methods.networks.PixelDiscriminator`.
    """

    def __init__(self, judge: nn.Module) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, mask: Mask) -> Score:
        return self.judge(mask.argmax(1, keepdim=True).float())


class BatchPool(ImagePool):
    """A history whose entries are whole batches, as in bc02d92: a batch is shown all new or all old.

    A batch of another size than the first one kept is shown as it is.

    Args:
        size: number of batches kept; 50 there, five times the paper's 50 images. 0 shows every fake as it is.
        seed: of the draws.
    """

    def query(self, fakes: Tensor) -> Tensor:
        if not self.size or (self.pool and self.pool[0].shape != fakes.shape):
            return fakes.detach()
        return self._exchange(fakes.detach())


class RepeatedSampler(EpochSampler):
    """Indices as in bc02d92: the list is repeated to the epoch's length, then permuted as a whole.

    So one image may come twice in a batch. Where the length is no multiple of the size, it is always the first
    images that come once more. As in ``EpochSampler``, the n-th repetition's indices are n * size higher, and the
    order follows from the seed and the epoch.
    """

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        repeated = max(self.length, len(self.dataset))  # a longer list is cut behind the permutation, as by drop_last
        return iter(random.permutation(repeated)[: self.length].tolist())


def split(records: Sequence[Record], labelled: float | int) -> splits.Split:
    """Split as bc02d92: everything annotated in one pool, 85 % to train on, 15 % to validate, no test part.

    The units are the records' ``patient``: with ``by: slice``, as there, slices of one patient are in several
    parts, and the epoch is chosen on the very slices that are reported. The order is NumPy's of seed 1, and a smaller
    labelled set is part of every larger one. What has no mask is unlabelled.

    Args:
        records: of any ``part``: the data set's own testing part is pooled with the rest.
        labelled: of the 85 %, a fraction in (0, 1] if it is a float, a number if it is an int.

    Raises:
        InputError: a fraction or number out of range, an empty labelled or validation part.
    """
    without_mask = {record.patient for record in records if record.label is None}
    pool = sorted({record.patient for record in records} - without_mask)
    order = [pool[place] for place in np.random.RandomState(1).permutation(len(pool))]
    kept = len(order) * 85 // 100
    train = order[:kept]
    chosen = splits._labelled(train, labelled)
    unlabelled = train[len(chosen) :] + sorted(without_mask)
    result = splits.Split(tuple(chosen), tuple(unlabelled), tuple(order[kept:]), ())
    splits._check(result)
    return result


def betas(weights: Collection[str]) -> list[float]:
    """Adam's betas in bc02d92, by the names of the terms: 0.9 and 0.999 for supervised training, else 0.5 and 0.999."""
    return [0.9 if _supervised(weights) else 0.5, 0.999]


def decay(weights: Collection[str], constant_epochs: int, epochs: int) -> Callable[[int], float]:
    """The factor on the learning rate in bc02d92: always 1 for supervised training, else the paper's.

    With the betas this mixes two optimisers into what the paper compares, "Ours" with "Partial".
    """
    return (lambda epoch: 1.0) if _supervised(weights) else linear_decay(constant_epochs, epochs)


def _supervised(weights: Collection[str]) -> bool:
    """Whether the one term is eq. 1."""
    return set(weights) == {"gen_S"}


def __getattr__(name: str) -> Any:
    """What version 0.1 called BatchHistory, understood until 0.3."""
    if name == "BatchHistory":
        return BatchPool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
