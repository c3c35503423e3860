"""From files to normalised slices, and what MONAI's own transforms leave to be checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.networks.layers import gaussian_1d
from monai.transforms import MapTransform, ScaleIntensityRange
from scipy.ndimage import correlate1d

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.imageio.pictures import IGNORED, class_values, intensities, is_picture, read_picture
from acdc_semicycle.runtime.errors import InputError

BY_COLOUR = "by_colour"  # of a mask's metadata: its values are classes already
VOID = (224, 224, 192)  # in VOC's palette, what nobody annotated


class LoadCheckedd(MapTransform):
    """Files to tensors [C, H, W, slices], each file complete and finite; a picture is a volume of one slice.

    Scans are laid out by where their axes point, not by how they are stored
    (:mod:`acdc_semicycle.imageio.orientation`); a mask goes with its image. A ``Volume`` that was read already is
    taken as it is. Where an item has ``slice``, only that one is kept; ``frame`` is one of a cine's.

    Args:
        keys: images (``image``) and masks (``label``).
        channels: of a picture: 1 grey, 3 red, green, blue. Scans have one.
        colours: RGB of each class, background first, for masks that are stored as colours.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: int = 1,
        colours: Sequence[Sequence[int]] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = channels
        self.colours = {tuple(colour): place for place, colour in enumerate(colours or ())}
        self.colours.setdefault(VOID, IGNORED)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        first: volumes.Volume | None = None
        for key in self.key_iterator(result):
            source = result[key]
            if not isinstance(source, volumes.Volume) and is_picture(source):
                result[key] = self._picture(Path(source), key == "label")
                continue
            volume = self._read(source, result.get("frame"), key == "label")
            if first is None or first.voxels.shape[:3] != volume.voxels.shape[:3]:
                first = volume
            result[key] = _laid_out(volume, first.layout, result.get("frame") or 0)
        found = {key: result[key] for key in self.key_iterator(result)}
        place = result.get("slice")
        if place is None or len({tensor.shape[1:] for tensor in found.values()}) > 1:  # which CheckLabeld refuses
            return result
        return result | {key: tensor[..., place : place + 1] for key, tensor in found.items()}

    def _read(self, source: Any, frame: int | None, mask: bool) -> volumes.Volume:
        if self.channels != 1:
            raise InputError(f"{source} is a scan, which has one channel, and channels is {self.channels}: give 1")
        return source if isinstance(source, volumes.Volume) else volumes.read(source, frame is not None, mask)

    def _picture(self, path: Path, mask: bool) -> MetaTensor:
        picture = read_picture(path)
        meta = {"filename_or_obj": str(path), BY_COLOUR: False}
        if mask:
            values, meta[BY_COLOUR] = class_values(path, picture, self.colours)
        else:
            values = intensities(path, picture, self.channels)
        tensor = torch.as_tensor(np.array(values, np.float32)).movedim(-1, 0)[..., None]
        return MetaTensor(tensor, affine=torch.eye(4), meta=meta)


def _laid_out(volume: volumes.Volume, layout: Layout, frame: int) -> MetaTensor:
    voxels = np.ascontiguousarray(layout.apply(volume.voxels[..., frame]), np.float32)
    affine = torch.as_tensor(layout.affine(volume.affine, volume.voxels.shape))
    return MetaTensor(torch.as_tensor(voxels)[None], affine=affine, meta={"filename_or_obj": volume.path})


class ScaleImaged(MapTransform):
    """Intensities to [-1, 1]: from a known range, or from each image's own percentiles (0.5 and 99.5).

    Args:
        keys: the images.
        intensity_range: lowest and highest intensity there can be, [0, 255] for 8-bit pictures; None for percentiles.
    """

    def __init__(self, keys: KeysCollection, intensity_range: Sequence[float | int] | None = None) -> None:
        super().__init__(keys)
        self.range = intensity_range

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            check_range(image.meta["filename_or_obj"], image, self.range)
            # both at once and by NumPy: torch.quantile, which MONAI takes, sorts all voxels for each of them
            low, high = self.range or np.percentile(image.numpy(), (0.5, 99.5)).tolist()
            result[key] = ScaleIntensityRange(low, high, -1.0, 1.0, clip=self.range is None)(image)
        return result


def check_range(name: str | Path, image: Any, intensity_range: Sequence[float | int] | None) -> None:
    """Refuse an image with intensities outside the range that its network knows, if it knows one."""
    if intensity_range is not None and not intensity_range[0] <= image.min() <= image.max() <= intensity_range[1]:
        raise InputError(
            f"{name} holds intensities from {image.min():g} to {image.max():g}, and intensity_range is"
            f" {list(intensity_range)}: give their range, or null for percentiles"
        )


class AntiAliasd(MapTransform):
    """Smooth each slice before it is made smaller, exactly as MONAI's ``Resize(anti_aliasing=True)`` does.

    MONAI convolves in 3D, which takes 14 times as long on a picture of 1024 x 2048.

    Args:
        keys: the images.
        spatial_size: rows and columns that they will have.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int]) -> None:
        super().__init__(keys)
        self.size = spatial_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            smooth = image.as_tensor().numpy()
            for axis, (given, wanted) in enumerate(zip(image.shape[1:3], self.size, strict=True), start=1):
                if given > wanted:
                    kernel = gaussian_1d(torch.tensor((given / wanted - 1) / 2), truncated=4.0, approx="erf")
                    smooth = correlate1d(smooth, kernel.numpy(), axis, mode="constant")
            result[key] = MetaTensor(torch.as_tensor(smooth), meta=image.meta)
        return result


class CheckLabeld(MapTransform):
    """Masks as class indices; refuse one whose grid is not the image's or whose values are no classes.

    Args:
        keys: the masks.
        classes: number of classes K.
        values: the class of each stored value, or 255 where it says that nobody annotated; None where the values
            are the classes, 0 to K - 1.
        image_key: the image whose shape and place in space the mask must share.
    """

    def __init__(
        self,
        keys: KeysCollection,
        classes: int,
        values: Mapping[Any, Any] | None = None,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.values = _whole_numbers(values) if values else {k: k for k in range(classes)}
        # of a mask read by colour 255 is void, which mask_values may make a class where it numbers classes as here
        void = self.values.get(IGNORED, IGNORED) if set(range(classes)) <= set(self.values) else IGNORED
        self.classes = {k: k for k in range(classes)} | {IGNORED: void}
        if wrong := sorted(set(self.values.values()) - {*range(classes), IGNORED}):
            raise InputError(
                f"mask_values names the class {wrong[0]}: expected 0 to {classes - 1}, or {IGNORED} (ignored)"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._classes(result[key], result[self.image_key])
        return result

    def _classes(self, label: Any, image: Any) -> Any:
        name = label.meta["filename_or_obj"]
        if label.shape[1:] != image.shape[1:]:
            raise InputError(
                f"{name} has shape {tuple(label.shape[1:])}, its image {tuple(image.shape[1:])}: a mask must have its"
                " image's grid"
            )
        if not torch.allclose(label.affine, image.affine, atol=1e-3):
            raise InputError(f"{name} lies elsewhere in space than its image: give both the same affine")
        stored, values = label.as_tensor(), self.classes if label.meta.get(BY_COLOUR) else self.values
        small = stored.numpy().astype(np.uint8)
        if np.array_equal(small, stored.numpy()) and set(np.flatnonzero(np.bincount(small.ravel()))) <= set(values):
            known = np.array([values.get(value, 0) for value in range(256)], np.uint8)
            return MetaTensor(torch.as_tensor(known[small]), meta=label.meta)
        low, top = min(values), max(values)
        table = torch.tensor([values.get(value, -1) for value in range(low, top + 2)], dtype=torch.int16)
        whole = (stored >= low) & (stored <= top) & (stored == stored.round())
        classes = table[torch.where(whole, stored - low, top + 1 - low).long()]
        if (classes < 0).any():
            raise InputError(
                f"{name} holds the label {stored[classes < 0].min():g}: expected {_words(list(values))}, or mask_values"
                " that say which class each value is"
            )
        return MetaTensor(classes.to(torch.uint8), meta=label.meta)


def _whole_numbers(values: Mapping[Any, Any]) -> dict[int, int]:
    try:
        whole = {int(stored): int(of) for stored, of in values.items()}
        if all(float(stored) == int(stored) and of == int(of) for stored, of in values.items()):
            return whole
    except (AttributeError, TypeError, ValueError):
        pass
    raise InputError(f"mask_values is {values}: give whole numbers, such as {{'0': 0, '255': 1}}")


def _words(values: list[int]) -> str:
    """The values a mask may hold, in words."""
    values = sorted(values)
    last = len(values) - 1
    if values == list(range(last + 1)):
        return f"whole numbers 0 to {last}"
    if last and values[:-1] == list(range(last)):
        return f"whole numbers 0 to {last - 1}, or {values[-1]}"
    return ", ".join(map(str, values))
