"""The keys of a training that ``semicycle check`` takes: those that say what its data are. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence

from acdc_semicycle.config.options import nearest
from acdc_semicycle.runtime.errors import InputError

KEYS = {  # of a training, that say what its data are
    "dataset_dir": "the data set's folder, of ACDC, VOC or Cityscapes",
    "images": "the folder of your scans or pictures",
    "masks": "the folder of their masks, if they are not among them",
    "patient": "an expression, whose group is the patient of a name",
    "classes": "names of the classes, background first",
    "mask_values": "the class of each value in a mask: \"{'0': 0, '255': 1}\"",
    "colours": 'the colour of each class: "[[0,0,0],[255,0,0]]"',
    "channels": "of an image: 1 grey, 3 colours",
    "intensity_range": "what becomes -1 and 1",
}


def check_keys(others: Sequence[str], takes: str) -> None:
    """Refuse words that are no key of data.

    Args:
        others: the words that the command line did not understand.
        takes: the verb, and what it takes beside these keys.

    Raises:
        InputError: names the first one, the key that may be meant, and all keys that there are.
    """
    if not others:
        return
    word = others[0].partition("=")[0]
    near = nearest(word.removeprefix("--"), KEYS)
    hint = f"did you mean --{near}? " if near else ""
    taken = ", ".join(f"--{key}" for key in KEYS)
    raise InputError(f"{word} says nothing of the data: {hint}semicycle {takes}, {taken}")
