"""Which mask belongs to which image, by the names of their files."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

from acdc_semicycle.datasets.records import MASK_ENDING
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.imageio.volumes import SCANS
from acdc_semicycle.runtime.errors import InputError, some

log = logging.getLogger("semicycle")


def stem(name: str) -> str:
    """A file's name without .nii.gz or whatever it ends in."""
    for end in SCANS + PICTURES:
        if name.lower().endswith(end):
            return name[: -len(end)]
    return name


def by_name(files: list[Path], *folders: Path) -> dict[str, Path]:
    """The files by their names without the suffix, relative to the first folder that holds them."""
    named: dict[str, Path] = {}
    for path in files:
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        other = named.setdefault(stem(path.relative_to(folder).as_posix()), path)
        if other is not path:
            raise InputError(f"{other} and {path} have one name: rename one, or keep one")
    return named


def labels_of(masks: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """The mask of each image that has one, by the image's name."""
    labels: dict[str, Path] = {}
    unmatched: list[Path] = []
    predictions: list[Path] = []
    for name, path in sorted(masks.items(), key=lambda item: (_is_prediction(item[0]), item)):
        case = image_of(name, images)
        if case is None:
            unmatched.append(path)
            continue
        other = labels.setdefault(case, path)
        if other is not path and _is_prediction(name) and not _is_prediction(stem(other.name)):
            predictions.append(path)
        elif other is not path:
            raise InputError(f"{images[case]} has two masks, {other} and {path}: keep one")
    if predictions:
        log.warning("%s left out: a prediction by its name, and its image has another mask", some(predictions, 1))
    if unmatched:
        raise InputError(
            f"{len(unmatched)} masks match no image, e.g. {', '.join(map(str, unmatched[:3]))}: give each the name of"
            " its image, relative to the folder, or remove it"
        )
    return labels


def image_of(mask: str, images: dict[str, Path]) -> str | None:
    """The name of the image that a mask of this name, without its suffix, belongs to; None where there is none.

    Raises:
        InputError: the image has several channels, numbered as in nnU-Net.
    """
    return _case_of(mask, images) or _case_of_same_letters(mask, images)


def _is_prediction(name: str) -> bool:
    """Whether a mask is a prediction by its name without the suffix."""
    ending = MASK_ENDING.search(name)
    return ending is not None and ending.lastgroup == "pred"


def _case_of(mask: str, images: dict[str, Path]) -> str | None:
    """The same where both names have the same characters."""
    base = MASK_ENDING.sub("", mask)
    for case in (mask, base):
        if case in images:
            return case
    for stem in (mask, base):
        case, second = f"{stem}_0000", f"{stem}_0001"
        if case in images and second in images:
            raise InputError(f"{images[second]} is a second channel of {images[case]}: keep one channel of each image")
        if case in images:
            return case
    return None


def _case_of_same_letters(mask: str, images: dict[str, Path]) -> str | None:
    """The same where an accent is a character of its own in one of both names, as macOS writes them."""
    if mask.isascii():
        return None
    name_of = {unicodedata.normalize("NFC", name): name for name in images}
    composed = {form: images[name] for form, name in name_of.items()}
    form = _case_of(unicodedata.normalize("NFC", mask), composed)
    return None if form is None else name_of[form]
