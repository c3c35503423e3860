"""From the values that a mask stores to class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.data.transforms import BY_COLOUR, MENDED
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError

MOST_VALUES = 300  # of a mask that are kept for a message: an image that stands in for a mask has thousands

BY_MASK_VALUES = ", or mask_values that say which class each value is"
IN_MENDED = " (not annotated), the classes of the training, in a mended mask"


class UnknownValues(InputError):
    """A mask holds values that are no classes.

    Attributes:
        path: of the mask.
        values: all that it holds, sorted; the first of very many.
        unknown: those of them that are no classes.
        expected: what it may hold, in words.
    """

    def __init__(self, path: str, values: Sequence[float | int], unknown: Sequence[float | int], expected: str) -> None:
        super().__init__(f"{path} holds the label {in_full(unknown[0])}: expected {expected}")
        self.path, self.values, self.unknown, self.expected = path, values, unknown, expected


class CheckLabeld(MapTransform):
    """Masks as class indices; refuse one whose grid is not the image's or whose values are no classes.

    A mask that came back mended holds class indices, or 255, whatever ``values`` are.

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
        as_they_are = {index: index for index in range(classes)}
        self.class_of = _whole_numbers(values) if values else as_they_are
        wrong = sorted(set(self.class_of.values()) - {*range(classes), IGNORED})
        if wrong:
            raise InputError(
                f"mask_values names the class {wrong[0]}: expected 0 to {classes - 1}, or {IGNORED} (ignored)"
            )
        # 255 of a mask read by colour is void; mask_values that number classes as here may make it a class
        numbers_classes_alike = set(range(classes)) <= set(self.class_of)
        void = self.class_of.get(IGNORED, IGNORED) if numbers_classes_alike else IGNORED
        self.class_of_coloured = as_they_are | {IGNORED: void}
        self.class_of_mended = as_they_are | {IGNORED: IGNORED}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with class indices, uint8, in its masks."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._classes(result[key], result[self.image_key])
        return result

    def _classes(self, label: Any, image: Any) -> Any:
        """A mask's class indices, once it fits its image."""
        name = label.meta["filename_or_obj"]
        if label.shape[1:] != image.shape[1:]:
            raise InputError(
                f"{name} has shape {tuple(label.shape[1:])}, its image {tuple(image.shape[1:])}: a mask must have its"
                " image's grid"
            )
        if not torch.allclose(label.affine, image.affine, atol=1e-3):
            raise InputError(f"{name} lies elsewhere in space than its image: give both the same affine")
        class_of, more = self.class_of, BY_MASK_VALUES
        if label.meta.get(MENDED):
            class_of, more = self.class_of_mended, IN_MENDED
        elif label.meta.get(BY_COLOUR):
            class_of = self.class_of_coloured
        stored = label.as_tensor()
        classes = _looked_up_in_bytes(stored.numpy(), class_of)
        if classes is None:
            classes = _looked_up(name, stored, class_of, more)
        return MetaTensor(classes, meta=label.meta)


def _looked_up_in_bytes(stored: NDArray, class_of: Mapping[int, int]) -> Tensor | None:
    """The classes of values 0 to 255, all of which have one; None of other values. Most masks take this fast way."""
    as_bytes = stored.astype(np.uint8)
    if not np.array_equal(as_bytes, stored):
        return None
    present = np.flatnonzero(np.bincount(as_bytes.ravel()))
    if not set(present) <= set(class_of):
        return None
    table = np.array([class_of.get(value, 0) for value in range(256)], np.uint8)
    return torch.as_tensor(table[as_bytes])


def _looked_up(name: str, stored: Tensor, class_of: Mapping[int, int], more: str) -> Tensor:
    """The classes of any whole numbers.

    Args:
        more: what follows the expected values in the error.

    Raises:
        InputError: names the lowest value that has no class.
    """
    lowest, highest = min(class_of), max(class_of)
    table = torch.tensor([class_of.get(value, -1) for value in range(lowest, highest + 2)], dtype=torch.int16)
    in_table = (stored >= lowest) & (stored <= highest) & (stored == stored.round())
    classes = table[torch.where(in_table, stored - lowest, highest + 1 - lowest).long()]
    if (classes < 0).any():
        expected = f"{_words(list(class_of))}{more}"
        values, unknown = (voxels.unique()[:MOST_VALUES].tolist() for voxels in (stored, stored[classes < 0]))
        raise UnknownValues(name, values, unknown, expected)
    return classes.to(torch.uint8)


def in_full(label: float) -> str:
    """A label in few digits, or in all of them where few would make it a whole number that it is not."""
    few = f"{label:g}"
    return few if float(few) == label or not float(few).is_integer() else repr(label)


def _whole_numbers(values: Mapping[Any, Any]) -> dict[int, int]:
    """mask_values as whole numbers; the keys of JSON are text."""
    class_of = {}
    with suppress(AttributeError, TypeError, ValueError):
        for value, index in values.items():
            if float(value) != int(value) or index != int(index):
                break
            class_of[int(value)] = int(index)
        else:
            return class_of
    raise InputError(f"mask_values is {values}: give whole numbers, such as {{'0': 0, '255': 1}}")


def _words(values: list[int]) -> str:
    """The values a mask may hold, in words."""
    values = sorted(values)
    last = len(values) - 1
    if values == list(range(last + 1)):
        return f"whole numbers 0 to {last}"
    if last > 1 and values[:-1] == list(range(last)):
        return f"whole numbers 0 to {last - 1}, or {values[-1]}"
    return ", ".join(map(str, values))
