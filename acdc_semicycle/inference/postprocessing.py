"""Post-processing: the mean over mirror images, the way back to the scan's own grid, largest components, holes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
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

from acdc_semicycle.inference.looks import two_looks
from acdc_semicycle.methods.components import largest_component, largest_components
from acdc_semicycle.methods.objective import softmax
from acdc_semicycle.runtime.errors import InputError

AT_ONCE = 16  # slices carried back to the scan's own grid at once
FLIPS: tuple[list[int], ...] = ([], [2], [3], [2, 3])  # of [1, C, H, W, slices]


class FlipInferer(SliceInferer):
    """Segments slice by slice; with ``flips`` by the mean of the probabilities of a slice and of its mirror images.

    Args:
        flips: whether to segment all four; ``votes`` keeps the class indices of each [4, H, W, slices], as they may
            disagree.
        window: rows and columns of the windows that the network was trained on, which then looks twice
            (:mod:`acdc_semicycle.inference.looks`); None for a network that sees whole slices.
        noise: share of the largest component: the second look leaves out smaller ones. 0 where a slice holds several
            objects, such as a photograph.
        arguments: MONAI's.
    """

    def __init__(
        self, flips: bool = False, window: Sequence[int] | None = None, noise: float | int = 0.1, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.flips, self.window, self.noise = flips, window, noise
        self.votes: Tensor | None = None

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits [1, K, H, W, slices], or the logarithm of the mean probabilities."""
        inputs = inputs.as_subclass(Tensor)  # a MetaTensor makes every layer slower, and no layer reads its metadata
        if not self.flips:
            return self._look(inputs, network, *args, **kwargs)
        probabilities, votes = [], []
        for axes in FLIPS:
            logits = self._look(inputs.flip(axes), network, *args, **kwargs)
            s = torch.as_tensor(logits).flip(axes).float().softmax(1)
            probabilities.append(s)
            votes.append(s.argmax(1)[0])
        self.votes = torch.stack(votes)
        return _logarithm(torch.stack(probabilities).mean(0))

    def _look(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits [1, K, H, W, slices] of a scan as it lies."""
        if self.window is None:
            return super().__call__(inputs, network, *args, **kwargs)
        return _logarithm(two_looks(inputs, network, self.window, self.sw_batch_size, self.noise))


def _logarithm(probabilities: Tensor) -> Tensor:
    """Logits whose softmax the probabilities are, but for those below 1e-12."""
    return probabilities.clamp_min(1e-12).log()


class OnOwnGridd(MapTransform):
    """From logits on the network's grid to class indices [1, H, W, slices] on the scan's own, by the probabilities.

    The same as MONAI's ``Activationsd``, ``Invertd`` and ``AsDiscreted`` in turn, but a few slices at a time: the
    probabilities on the scan's own grid are many times as large as all else.

    Args:
        keys: the logits [K, h, w, slices], whose softmax becomes ``KEY_network``.
        image_key: the image whose resizing is undone.
        probabilities: whether those on the scan's own grid [K, H, W, slices] are kept, too, as ``probabilities``.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", probabilities: bool = False) -> None:
        super().__init__(keys)
        self.image_key, self.probabilities = image_key, probabilities

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with class indices in the place of its logits."""
        result = dict(data)
        image = result[self.image_key]
        size = _size_before(image.applied_operations)
        affine = image.affine @ torch.linalg.inv(torch.as_tensor(scale_affine(size, image.shape[1:])))
        for key in self.key_iterator(result):
            s = softmax(torch.as_tensor(result[key]).as_subclass(Tensor).movedim(-1, 0).contiguous())
            labels, probabilities = [], []
            for part in on_own_grid(s, size):
                labels.append(part.max(1).indices.byte())  # argmax takes thirty times as long
                if self.probabilities:
                    probabilities.append(part)
            result[key] = MetaTensor(torch.cat(labels).movedim(0, -1)[None], affine=affine)
            result[f"{key}_network"] = s.movedim(0, -1)
            if self.probabilities:
                result["probabilities"] = torch.cat(probabilities).movedim(0, -1)
        return result


def on_own_grid(s: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """Probabilities [slices, K, h, w] on the network's grid as those on the scan's own, a few slices at a time.

    Args:
        size: rows and columns of the scan's own slices; more numbers are not looked at.
    """
    for part in s.split(AT_ONCE):
        yield nn.functional.interpolate(part, size[:2], mode="bilinear")


def _size_before(operations: Sequence[Mapping[str, Any]]) -> list[int]:
    """The size of an image before its one Resized.

    Raises:
        InputError: it went through other transforms, which cannot be undone here.
    """
    names = [operation["class"] for operation in operations]
    if names != ["Resize"]:
        raise InputError(
            f"images went through {', '.join(names) or 'no Resized'}: only one Resized can be undone here; put"
            " MONAI's Activationsd, Invertd and AsDiscreted in place of OnOwnGridd"
        )
    return [int(n) for n in operations[0]["orig_size"]]


class Refined(MapTransform):
    """Refines label maps [1, H, W, slices]: the largest component of each structure, and filled holes.

    Args:
        keys: the label maps; class 0 is background.
        largest: whether only the largest connected component in 3D of each structure is kept.
        adjacent: whether the structures lie side by side, as a heart's do. ``largest`` then keeps the largest component
            of all of them together first, so that no structure is left alone in another place.
        holes: whether background that a slice's structures enclose becomes the nearest structure.
    """

    def __init__(
        self, keys: KeysCollection, largest: bool = False, adjacent: bool = False, holes: bool = False
    ) -> None:
        super().__init__(keys)
        self.largest, self.adjacent, self.holes = largest, adjacent, holes

    @property
    def settings(self) -> dict[str, bool]:
        """What is refined, as the settings of predict name it."""
        return {"largest": self.largest, "holes": self.holes}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with refined label maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            labels = torch.as_tensor(result[key])[0].cpu().numpy()
            if self.largest and self.adjacent:
                labels = np.where(largest_component(labels > 0), labels, 0)
            if self.largest:
                labels = largest_components(labels)
            if self.holes:
                labels = without_holes(labels)
            refined = torch.as_tensor(np.ascontiguousarray(labels))[None].to(result[key].device)
            result[key] = MetaTensor(refined, meta=getattr(result[key], "meta", None))
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
