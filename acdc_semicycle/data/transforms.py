"""From a NIfTI volume to normalised slices, and what MONAI's own transforms leave to be checked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import LoadImaged, MapTransform
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from acdc_semicycle.errors import InputError

# what nibabel, gzip and NumPy raise for a damaged file; TypeError is NumPy's for colours
DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)


class LoadCheckedd(LoadImaged):
    """MONAI's ``LoadImaged`` for NIfTI, channel first, behind a check: each file is complete, 3D and finite.

    The check stands before the loading and not in a reader: when a reader raises, MONAI tries the next one.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(
            keys,
            reader="NibabelReader",
            image_only=True,
            ensure_channel_first=True,
            allow_missing_keys=allow_missing_keys,
        )

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        for key in self.key_iterator(dict(data)):
            check_volume(Path(data[key]))
        return super().__call__(data, reader)


def check_volume(path: Path) -> tuple[int, ...]:
    """The shape of a volume which is complete and 3D; gzip's checksum is read, which nibabel does not do.

    Raises:
        InputError: missing, truncated or damaged, not NIfTI, not three-dimensional, not finite.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a .nii or .nii.gz volume")
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as stream:
                while stream.read(1 << 22):
                    pass
        image: Any = nibabel.load(path)
        voxels = np.asanyarray(image.dataobj)
        finite = bool(np.isfinite(voxels).all())
    except DAMAGE as error:
        raise InputError(
            f"{path} is truncated, damaged or no NIfTI ({error}): copy it again from its source"
        ) from error
    shape = image.shape
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"{path} has shape {shape}: give a 3D volume (rows, columns, slices), one frame of a cine")
    if not finite:
        raise InputError(f"{path} holds NaN or infinite voxels: repair it, or leave the case out")
    return shape


class CheckLabeld(MapTransform):
    """Refuse a mask whose grid is not the image's or whose values are no classes.

    Args:
        keys: the masks.
        classes: number of classes K; values must be whole numbers in [0, K - 1].
        image_key: the image whose shape and place in space the mask must share.
    """

    def __init__(self, keys: KeysCollection, classes: int, image_key: str = "image", allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.classes, self.image_key = classes, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.key_iterator(data):
            self._check(data[key], data[self.image_key])
        return dict(data)

    def _check(self, label: Any, image: Any) -> None:
        name = label.meta["filename_or_obj"]
        if label.shape != image.shape:
            raise InputError(
                f"{name} has shape {tuple(label.shape[1:])}, its image {tuple(image.shape[1:])}: a mask must have its"
                " image's grid"
            )
        if not torch.allclose(label.affine, image.affine, atol=1e-3):
            raise InputError(f"{name} lies elsewhere in space than its image: give both the same affine")
        values = torch.unique(label.as_tensor())
        if bad := [value for value in values.tolist() if value not in range(self.classes)]:
            raise InputError(f"{name} holds the label {bad[0]:g}: expected whole numbers 0 to {self.classes - 1}")
