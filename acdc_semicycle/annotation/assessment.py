"""What a network makes of a scan without a truth: how good it may be, where it is in doubt, and what it sees."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from acdc_semicycle.annotation import bottleneck
from acdc_semicycle.annotation.slice_gains import Gain, gains, sums_of
from acdc_semicycle.data.appearance import standardised
from acdc_semicycle.data.augment import affine_grid, sampled
from acdc_semicycle.evaluation.metrics import confusion, counts, dice
from acdc_semicycle.inference import sources
from acdc_semicycle.inference.segmentation import Segmentation
from acdc_semicycle.inference.segmenter import opened
from acdc_semicycle.inference.sources import Source
from acdc_semicycle.methods.ensemble import Ensemble
from acdc_semicycle.runtime.errors import mistakes_alone

TURNS = (-10.0, 10.0)  # degrees, of the looks of a network that has no folds: all networks should stand these


@dataclass(frozen=True)
class Assessment:
    """What a network makes of a scan.

    Attributes:
        dice: the expected Dice: what was fitted for the network, else the Dice of its segmentation with its own
            probabilities, which only ranks scans. 0 where nothing is found.
        is_fitted: whether it was fitted.
        disagreement: 1 minus the mean Dice of the segmentation with those of the folds, or of the looks.
        features: of the network's deepest layer [C].
        gains: of its slices as the file stores them, the one to mend first first; empty where they do not lie along the
            third stored axis.
        digest: of its voxels.
    """

    dice: float
    is_fitted: bool
    disagreement: float
    features: NDArray = field(repr=False)
    gains: tuple[Gain, ...] = ()
    digest: str = ""


class Assessor:
    """A network that assesses scans; it is read once.

    Args:
        model: what ``--model`` takes.

    Raises:
        InputError: no network is there, or it is damaged.
    """

    def __init__(self, model: str | Path) -> None:
        self.frame_segmenter, self.model = opened(model, None, {"cycle": False})

    def __call__(self, path: Path) -> tuple[Assessment, Segmentation, Source]:
        """Assess one scan of one frame, or a picture.

        Raises:
            InputError: it cannot be segmented.
        """
        with mistakes_alone(), torch.random.fork_rng(devices=[]):
            source = sources.read(path, None, None, self.model.card)
            item = self.frame_segmenter.prepared(source.items[0])
            image = torch.as_tensor(item["image"]).as_subclass(Tensor)
            (frame,) = self.frame_segmenter.segmented([item])
            segmentation = Segmentation([frame], source.volume, source.axes, self.model)
            assert frame.network_probabilities is not None, "they are kept"
            own = frame.network_probabilities.float()
            others = list(self._others(image))
        labels = own.argmax(0)
        mean = own if self.model.members else torch.stack([own, *others]).mean(0)
        soft_dice = frame.judged.scores["soft_dice"]
        return (
            Assessment(
                dice=segmentation.trust if segmentation.trust is not None else soft_dice or 0.0,
                is_fitted=segmentation.trust is not None,
                disagreement=_disagreement(labels, others),
                features=self._features(image, labels > 0),
                gains=_stored_gains(gains(sums_of(mean.numpy(), labels.numpy())), source),
                digest=_digest(source),
            ),
            segmentation,
            source,
        )

    def _others(self, image: Tensor) -> Iterator[Tensor]:
        """Probabilities [K, h, w, slices] of the same image by each fold, or of the image turned a little."""
        network = self.frame_segmenter.network
        if isinstance(network, Ensemble):
            for member in network.members:
                yield self.frame_segmenter.probabilities(image, member)
            return
        for degrees in TURNS:
            s = self.frame_segmenter.probabilities(turned(image, degrees))
            yield turned(s, -degrees)

    def _features(self, image: Tensor, structures: Tensor) -> NDArray:
        """The features of the deepest layer, of folds the first one's."""
        network = self.frame_segmenter.network
        network = network.members[0] if isinstance(network, Ensemble) else network
        slices, window = image.movedim(-1, 0), self.model.card["window"]
        slices = slices.to(next(network.parameters()).device)
        if window is not None:
            slices = standardised(interpolate(slices, size=tuple(window), mode="bilinear", align_corners=False))
        with eval_mode(network):
            return bottleneck.pooled(network, slices, structures.movedim(-1, 0).to(slices.device))


def turned(volume: Tensor, degrees: float) -> Tensor:
    """Slices [C, H, W, slices], each turned about its middle; what comes in at the border repeats it."""
    slices = volume.movedim(-1, 0)
    height, width = slices.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    theta = torch.tensor([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])
    grid = affine_grid(theta[..., None].repeat(1, 1, len(slices)), height, width)
    return sampled(slices, grid, "bilinear").movedim(0, -1)


def _disagreement(labels: Tensor, others: list[Tensor]) -> float:
    """1 minus the mean Dice of labels [h, w, slices] with those of other probabilities; 0 where all find nothing."""
    dices = []
    for s in others:
        by_class = dice(counts(confusion(s.argmax(0), labels, len(s))))[1:]
        dices.append(by_class[~by_class.isnan()])
    together = torch.cat(dices)
    return 1 - float(together.mean()) if len(together) else 0.0


def _stored_gains(in_order: list[Gain], source: Source) -> tuple[Gain, ...]:
    """The gains by the slices of the file; none where these do not lie along its third axis."""
    layout = source.volume.layout
    if layout.order[2] != 2:
        return ()
    if not layout.flipped[2]:
        return tuple(in_order)
    last = source.volume.voxels.shape[2] - 1
    return tuple(Gain(last - gain.slice_index, gain.dice) for gain in in_order)


def _digest(source: Source) -> str:
    """A digest of a scan's voxels and their shape, whatever file they lie in."""
    voxels = np.ascontiguousarray(source.volume.voxels, np.float32)
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(voxels.tobytes())
    return digest.hexdigest()
