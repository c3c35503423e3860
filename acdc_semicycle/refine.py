"""What may be done to a segmentation beside the network's one look: flips, largest components, filled holes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

FLIPS: tuple[list[int], ...] = ([], [2], [3], [2, 3])  # of [1, C, H, W, slices]


class FlipInferer(SliceInferer):
    """Slice by slice, and with ``flips`` the mean of the probabilities of a slice and of its mirror images.

    Args:
        flips: whether to look at all four; what each of them saw is kept in ``votes`` (class indices
            [4, H, W, slices]), for they may disagree.
        arguments: MONAI's.
    """

    def __init__(self, flips: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.flips = flips
        self.votes: Tensor | None = None

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits [1, K, H, W, slices], or the logarithm of the mean probabilities."""
        if not self.flips:
            return super().__call__(inputs, network, *args, **kwargs)
        seen = []
        for axes in FLIPS:
            logits = super().__call__(inputs.flip(axes), network, *args, **kwargs)
            seen.append(torch.as_tensor(logits).flip(axes).float().softmax(1))
        self.votes = torch.stack([one.argmax(1)[0] for one in seen])
        return torch.stack(seen).mean(0).clamp_min(1e-12).log()


class Refined(MapTransform):
    """Label maps [1, H, W, slices] after the largest component of each structure and the holes.

    Args:
        keys: the label maps; class 0 is background.
        largest: whether only the largest connected component in 3D of each structure is kept.
        holes: whether background that a slice's structures enclose becomes the nearest structure.
    """

    def __init__(self, keys: KeysCollection, largest: bool = False, holes: bool = False) -> None:
        super().__init__(keys)
        self.largest, self.holes = largest, holes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            labels = torch.as_tensor(result[key])[0].cpu().numpy()
            if self.largest:
                labels = largest_components(labels)
            if self.holes:
                labels = without_holes(labels)
            refined = torch.as_tensor(np.ascontiguousarray(labels))[None].to(result[key].device)
            result[key] = MetaTensor(refined, meta=getattr(result[key], "meta", None))
        return result


def largest_components(labels: NDArray) -> NDArray:
    """Class indices [H, W, slices] with the largest component of each structure; the rest becomes background.

    Voxels that share a corner are connected. MONAI's ``KeepLargestConnectedComponent`` needs scikit-image.
    """
    result = np.zeros_like(labels)
    for structure in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == structure, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        result[parts == sizes[1:].argmax() + 1] = structure
    return result


def without_holes(labels: NDArray) -> NDArray:
    """Class indices [H, W, slices] where enclosed background of a slice has the nearest structure's label.

    MONAI's ``FillHoles`` would fill the myocardium's ring and paint over the cavity in it.
    """
    result = labels.copy()
    for z in range(labels.shape[2]):
        heart = labels[..., z] > 0
        holes = ndimage.binary_fill_holes(heart) & ~heart
        if holes.any():
            nearest = ndimage.distance_transform_edt(~heart, return_distances=False, return_indices=True)
            result[..., z][holes] = labels[..., z][tuple(axis[holes] for axis in nearest)]
    return result
