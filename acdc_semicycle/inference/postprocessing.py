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
from monai.transforms.utils import scale_affine
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from acdc_semicycle.methods.objective import softmax
from acdc_semicycle.runtime.errors import InputError

AT_ONCE = 16  # slices carried back to the scan's own grid at once
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
        inputs = inputs.as_subclass(Tensor)  # a MetaTensor makes every layer slower, and nobody asks it anything
        if not self.flips:
            return super().__call__(inputs, network, *args, **kwargs)
        seen = []
        for axes in FLIPS:
            logits = super().__call__(inputs.flip(axes), network, *args, **kwargs)
            seen.append(torch.as_tensor(logits).flip(axes).float().softmax(1))
        self.votes = torch.stack([one.argmax(1)[0] for one in seen])
        return torch.stack(seen).mean(0).clamp_min(1e-12).log()


class OnOwnGridd(MapTransform):
    """Logits on the network's grid to class indices [1, H, W, slices] on the scan's own, by way of the probabilities.

    The same as MONAI's ``Activationsd``, ``Invertd`` and ``AsDiscreted`` one after the other, but for a few slices at a
    time: the probabilities on the scan's own grid are many times as large as all else.

    Args:
        keys: the logits [K, h, w, slices], whose softmax is left as ``KEY_network``.
        image_key: the image whose resizing is undone.
        probabilities: whether those on the scan's own grid [K, H, W, slices] are left, too, as ``probabilities``.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", probabilities: bool = False) -> None:
        super().__init__(keys)
        self.image_key, self.probabilities = image_key, probabilities

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image = result[self.image_key]
        done = image.applied_operations
        if (steps := [step["class"] for step in done]) != ["Resize"]:
            raise InputError(
                f"images went through {', '.join(steps) or 'no Resized'}: only one Resized can be undone here; put"
                " MONAI's Activationsd, Invertd and AsDiscreted in place of OnOwnGridd"
            )
        size = [int(n) for n in done[0]["orig_size"]]
        affine = image.affine @ torch.linalg.inv(torch.as_tensor(scale_affine(size, image.shape[1:])))
        for key in self.key_iterator(result):
            s = softmax(torch.as_tensor(result[key]).as_subclass(Tensor).movedim(-1, 0).contiguous())
            labels, probabilities = [], []
            for part in s.split(AT_ONCE):
                back = nn.functional.interpolate(part, size[:2], mode="bilinear")
                labels.append(back.max(1).indices.byte())  # argmax takes thirty times as long
                probabilities += [back] if self.probabilities else []
            result[key] = MetaTensor(torch.cat(labels).movedim(0, -1)[None], affine=affine)
            result[f"{key}_network"] = s.movedim(0, -1)
            if self.probabilities:
                result["probabilities"] = torch.cat(probabilities).movedim(0, -1)
        return result


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
    for structure, box in enumerate(ndimage.find_objects(labels.astype(np.uint8)), start=1):
        if box is None:
            continue
        parts, _ = ndimage.label(labels[box] == structure, np.ones((3, 3, 3)))
        result[box][parts == np.bincount(parts.ravel())[1:].argmax() + 1] = structure
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
