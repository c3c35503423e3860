"""From files to normalised slices, and what MONAI's own transforms leave to be checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.networks.layers import gaussian_1d
from monai.transforms import MapTransform, ScaleIntensityRange
from PIL.Image import Image
from scipy.ndimage import correlate1d

from acdc_semicycle.datasets.records import Mended
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.cine_files import read_cine
from acdc_semicycle.imageio.intensities import span_of
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.imageio.pictures import (
    IGNORED,
    check_lossless,
    class_of_colours,
    class_values,
    intensities,
    is_picture,
    read_picture,
)
from acdc_semicycle.imageio.volume import in_order_of
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.exports import exports

__getattr__ = exports("acdc_semicycle.data", {"CheckLabeld": "labels"})  # where it was before 0.2

BY_COLOUR = "by_colour"  # of a mask's metadata: its values are classes already
PERCENTILES = (0.5, 99.5)
MENDED = "mended"  # the same: they are class indices, or 255


class LoadCheckedd(MapTransform):
    """Files to tensors [C, H, W, slices], each file complete and finite; a picture is a volume of one slice.

    Scans are laid out by where their axes point, not by how they are stored
    (:mod:`acdc_semicycle.imageio.orientation`); a mask goes with its image. A ``Volume`` or a Pillow image that was
    read already is taken as it is. Where an item has ``slice``, only that one is kept; ``frame`` is one of a cine's.
    ``mended`` (:class:`acdc_semicycle.datasets.records.Mended`) says which slices of a mask that came back are truth;
    the voxels of the others become 255.

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
        self.class_of = class_of_colours(colours)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its files read; a mask on its image's grid, in whatever order it is stored, goes with it."""
        result = dict(data)
        mended = result.pop("mended", None)
        image: volumes.Volume | None = None
        for key in self.key_iterator(result):
            if _is_picture(result[key]):
                result[key] = self._picture(result[key], key == "label")
                continue
            frame = result.get("frame")
            volume = self._read(result[key], frame, key == "label")
            if image is not None:
                volume = in_order_of(volume, image)
            if key == "label" and mended is not None:
                volume, frame = _mended(volume, mended, frame)
            if image is None or image.voxels.shape[:3] != volume.voxels.shape[:3]:
                image = volume
            result[key] = _laid_out(volume, image.layout, frame or 0)
        if "label" in result and mended is not None:
            result["label"].meta[MENDED] = True
        self._keep_slice(result)
        return result

    def _keep_slice(self, result: dict[Hashable, Any]) -> None:
        """Keep the one slice that an item asks for; not of image and mask of two shapes, which CheckLabeld refuses."""
        index, keys = result.get("slice"), list(self.key_iterator(result))
        if index is None or len({result[key].shape[1:] for key in keys}) > 1:
            return
        for key in keys:
            result[key] = result[key][..., index : index + 1]

    def _read(self, source: Any, frame: int | None, mask: bool) -> volumes.Volume:
        """A scan, read if it is a file."""
        if self.channels != 1:
            raise InputError(f"{source} is a scan, which has one channel, and channels is {self.channels}: give 1")
        if isinstance(source, volumes.Volume):
            return source
        return volumes.read(source, mask=mask) if frame is None else read_cine(source, mask)

    def _picture(self, source: str | Path | Image, mask: bool) -> MetaTensor:
        """A picture's intensities or classes, as a volume of one slice; the picture is read if it is a file."""
        path, picture = Path("the picture"), source
        if not isinstance(picture, Image):
            path = Path(picture)
            picture = read_picture(path)
        meta = {"filename_or_obj": str(path), BY_COLOUR: False}
        if mask:
            check_lossless(path, picture)
            values, meta[BY_COLOUR] = class_values(path, picture, self.class_of)
        else:
            values = intensities(path, picture, self.channels)
        tensor = torch.as_tensor(np.array(values, np.float32)).movedim(-1, 0)[..., None]
        return MetaTensor(tensor, affine=torch.eye(4), meta=meta)


def _is_picture(source: Any) -> bool:
    """Whether what an item names is a picture, or the file of one."""
    return isinstance(source, Image) or (not isinstance(source, volumes.Volume) and is_picture(source))


def _mended(mask: volumes.Volume, mended: Mended, frame: int | None) -> tuple[volumes.Volume, int | None]:
    """A mask that came back, 255 in the slices that are not annotated, and its frame: none of a mask of one frame."""
    frame = None if mask.voxels.shape[3] == 1 else frame
    if mended.annotated is None:
        return mask, frame
    voxels = np.full_like(mask.voxels, IGNORED, np.result_type(mask.voxels, np.uint8))
    slices = [index for index in mended.annotated if index < voxels.shape[2]]
    voxels[:, :, slices] = mask.voxels[:, :, slices]
    return replace(mask, voxels=voxels), frame


def _laid_out(volume: volumes.Volume, layout: Layout, frame: int) -> MetaTensor:
    """One frame of a volume in a layout, with its affine.

    Raises:
        InputError: the volume has no such frame.
    """
    count = volume.voxels.shape[3]
    if not 0 <= frame < count:
        raise InputError(
            f"{volume.path} has {many(count, 'frame')}, and the frame of the record is {frame}: give one from 0 to"
            f" {count - 1}"
        )
    voxels = np.array(layout.apply(volume.voxels[..., frame]), np.float32, order="C")  # a copy: the volume stays
    affine = torch.as_tensor(layout.affine(volume.affine, volume.voxels.shape))
    return MetaTensor(torch.as_tensor(voxels)[None], affine=affine, meta={"filename_or_obj": volume.path})


class ScaleImaged(MapTransform):
    """Intensities to [-1, 1]: from a known range, or from each image's own percentiles (0.5 and 99.5).

    Where one value holds nearly all of an image, the percentiles are those of the rest
    (:func:`acdc_semicycle.imageio.intensities.span_of`).

    Args:
        keys: the images.
        intensity_range: lowest and highest intensity there can be, [0, 255] for 8-bit pictures; None for percentiles.
    """

    def __init__(self, keys: KeysCollection, intensity_range: Sequence[float | int] | None = None) -> None:
        super().__init__(keys)
        self.range = intensity_range

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with scaled images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            check_range(image.meta["filename_or_obj"], image, self.range)
            low, high = self.range or span_of(image.numpy(), PERCENTILES)
            result[key] = ScaleIntensityRange(low, high, -1.0, 1.0, clip=self.range is None)(image)
        return result


def check_range(name: str | Path, image: Any, intensity_range: Sequence[float | int] | None) -> None:
    """Refuse an image with intensities outside the range that its network knows, if it knows one."""
    if intensity_range is None:
        return
    lowest, highest = intensity_range
    if image.min() < lowest or image.max() > highest:
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
        """The item with smoothed images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            smooth = image.as_tensor().numpy()
            for axis, (length, new_length) in enumerate(zip(image.shape[1:3], self.size, strict=True), start=1):
                if new_length < length:
                    sigma = torch.tensor((length / new_length - 1) / 2)
                    kernel = gaussian_1d(sigma, truncated=4.0, approx="erf")
                    smooth = correlate1d(smooth, kernel.numpy(), axis, mode="constant")
            result[key] = MetaTensor(torch.as_tensor(smooth), meta=image.meta)
        return result
