"""nnU-Net's raw layout and the Medical Segmentation Decathlon's: ``imagesTr``, ``labelsTr``, ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json

IMAGES, MASKS, FILE = "imagesTr", "labelsTr", "dataset.json"
IGNORE = "ignore"  # the label of nnU-Net for what is not annotated


@dataclass(frozen=True)
class Meaning:
    """What ``dataset.json`` says of the masks.

    Attributes:
        classes: their names, the background first.
        mask_values: the class of each value, None where values are classes.
    """

    classes: list[str]
    mask_values: dict[str, int] | None

    @property
    def words(self) -> dict[str, Any]:
        """The same as options of a command."""
        words: dict[str, Any] = {"classes": self.classes}
        if self.mask_values is not None:
            words["mask_values"] = json.dumps(self.mask_values)
        return words


def is_raw(root: Path) -> bool:
    """Whether a folder has this layout."""
    return (root / IMAGES).is_dir()


def meaning(root: Path) -> Meaning | None:
    """What the masks of a folder mean; None where it has no ``dataset.json``.

    Raises:
        InputError: there is no folder of masks, the images have several channels, or the labels cannot be classes.
    """
    if not (root / MASKS).is_dir():
        raise InputError(f"{root} holds {IMAGES}/ and no {MASKS}/: restore the folder of masks")
    second = next((root / IMAGES).glob("*_0001.*"), None)
    if second is not None:
        raise InputError(f"{second} is a second channel: one is read, keep one channel of each image in {IMAGES}")
    path = root / FILE
    if not path.is_file():
        return None
    content = read_json(path)
    _check_channels(path, content)
    return _meaning(path, _value_of_name(path, content.get("labels")))


def _check_channels(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse images of several channels: nnU-Net's have a file each, the Decathlon's are 4D and look like cines."""
    channels = content.get("channel_names", content.get("modality"))
    if isinstance(channels, Mapping) and len(channels) > 1:
        names = ", ".join(map(str, channels.values()))
        raise InputError(f"{path} names {len(channels)} channels ({names}): one is read, keep one of them")


def _value_of_name(path: Path, labels: Any) -> dict[str, int]:
    """The value of each label: nnU-Net's second version has ``name: value``, the first and the Decathlon the reverse.

    Raises:
        InputError: there are no labels, or a label is not a whole number, as nnU-Net's regions are not.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(f"{path} has no labels: give --classes, their names, the background first")
    if all(str(key).isdecimal() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    for name, value in labels.items():
        if type(value) is not int or not 0 <= value <= IGNORED:
            raise InputError(
                f"{path}: the label {name!r} is {value!r}, which is no value of a mask (0 to {IGNORED}): give --classes"
            )
    return dict(labels)


def _meaning(path: Path, value_of_name: dict[str, int]) -> Meaning:
    """The classes in the order of their values.

    Raises:
        InputError: two names have one value.
    """
    if len(set(value_of_name.values())) < len(value_of_name):
        raise InputError(f"{path}: two labels have one value: give each its own")
    names = sorted(value_of_name, key=lambda name: value_of_name[name])
    classes = [name for name in names if name.lower() != IGNORE]
    values = [value_of_name[name] for name in classes]
    if len(classes) == len(names) and values == list(range(len(classes))):
        return Meaning(classes, None)
    mask_values = {str(value): index for index, value in enumerate(values)}
    mask_values |= {str(value): IGNORED for name, value in value_of_name.items() if name.lower() == IGNORE}
    return Meaning(classes, mask_values)
