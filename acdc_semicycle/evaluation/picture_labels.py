"""Label maps that are pictures: read as classes in the way in which a training reads its masks."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import BOMB, IGNORED, read_picture
from acdc_semicycle.runtime.errors import InputError


@dataclass(frozen=True)
class Rules:
    """How the masks of pictures say which class a pixel is of.

    Attributes:
        classes: their number, background counted.
        colours: RGB of each class, for masks that are stored as colours.
        values: the class of each stored value, 255 where nobody annotated; None where values are classes.
    """

    classes: int
    colours: Sequence[Sequence[int]] | None = None
    values: Mapping[Any, Any] | None = None


def values_of(text: str) -> Mapping[Any, Any]:
    """The class of each value as a command line gives it: ``{'0': 0, '255': 1}``.

    Raises:
        InputError: it is no mapping.
    """
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        values = None
    if not isinstance(values, dict) or not values:
        raise InputError(f"mask_values is {text}: give whole numbers, such as {{'0': 0, '255': 1}}")
    return values


def read(path: Path, rules: Rules) -> NDArray[np.uint8]:
    """A mask [rows, columns] as class indices, 255 where nobody annotated.

    Raises:
        InputError: it is damaged or a JPEG, or holds a value or a colour that no class has.
    """
    if _is_of_predict(path):
        return _indices(path, rules.classes)
    import torch  # slow, as what follows: a table starts without them
    from monai.data import MetaTensor

    from acdc_semicycle.data.labels import CheckLabeld, UnknownValues
    from acdc_semicycle.data.transforms import LoadCheckedd

    check = CheckLabeld("label", rules.classes, rules.values)
    label = LoadCheckedd("label", colours=rules.colours)({"label": str(path)})["label"]
    try:
        item = check({"label": label, "image": MetaTensor(torch.zeros(label.shape), affine=label.affine)})
    except UnknownValues as error:
        if rules.values or error.unknown[0] != IGNORED:
            raise
        raise InputError(f"{error}; {_flag(rules.classes)}") from error
    return item["label"][0, :, :, 0].numpy()


def _flag(classes: int) -> str:
    """What to add to the command where masks hold 255: the structure of two classes, else what nobody annotated."""
    if classes == 2:
        return "for masks of 0 and 255 give --mask_values \"{'0': 0, '255': 1}\""
    values = {str(value): value for value in [*range(classes), IGNORED]}
    return f'where 255 is not annotated give --mask_values "{values}"'


def largest_value(path: Path) -> int:
    """The largest number that a mask stores, other than 255; of one that is stored as colours nothing is known: 1."""
    numbers = np.asarray(read_picture(path))
    if numbers.ndim > 2:
        return 1
    return int(numbers[numbers != IGNORED].max(initial=1))


def _is_of_predict(path: Path) -> bool:
    """Whether ``semicycle predict`` wrote a mask: its numbers are the classes, whatever its colours.

    A program that saved it in another form may have kept the mark: it is read as any mask is.
    """
    try:
        with Image.open(path) as picture:
            return picture.mode in ("P", "L") and picture.info.get("Software") == volumes.MARK
    except (*volumes.DAMAGE, *BOMB, SyntaxError):
        return False


def _indices(path: Path, classes: int) -> NDArray[np.uint8]:
    """The numbers in a mask that predict wrote.

    Raises:
        InputError: one of them is no class.
    """
    numbers = np.asarray(read_picture(path))
    if numbers.max(initial=0) >= classes:
        raise InputError(
            f"{path} holds the label {numbers.max()}: give names for more than {classes} classes, or predict again"
        )
    return numbers
