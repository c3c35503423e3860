r"""Your own data: a folder of scans or pictures, and a folder of masks for some of them.

A mask has the relative name of its image, whatever the suffix, or that name with a word behind it::

    images/a/X.jpg            masks/a/X.png
    images/X.nii.gz           masks/X_gt.nii.gz (or _mask, _seg, _label)
    images/X_0000.nii.gz      masks/X.nii.gz, as in nnU-Net

An image without a mask is unlabelled. Whose image it is, a regular expression takes from its name:
``patient: '^(patient\d+)_'`` keeps ``patient001_frame01`` and ``patient001_frame12`` together.
"""

from __future__ import annotations

import re
from pathlib import Path

from acdc_semicycle.datasets.records import MASK_ENDINGS, Record, checked, given_folder
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.imageio.volumes import SCANS
from acdc_semicycle.runtime.errors import InputError


def records(images: str | Path | None, masks: str | Path | None = None, patient: str | None = None) -> list[Record]:
    """Every scan or picture below ``images``, sorted by case: its relative name without the suffix.

    Args:
        images: a folder of scans or of pictures, searched to its depths; hidden files are left alone.
        masks: the folder of masks, by default ``images``. The same folder, or one inside it: then every file
            whose name ends in _gt, _mask, _seg or _label is a mask.
        patient: a regular expression with one group, searched for in the case; by default every image is its
            own patient.

    Raises:
        InputError: no such folder, no image, scans among pictures, two files with one name, a mask without an
            image, no mask at all, or an expression that is broken or finds nothing in a name.
    """
    images = given_folder(images, "images", "the folder of your scans or pictures")
    masks = given_folder(masks, "masks", "the folder of their masks") if masks else images
    whose = _whose(patient)
    shown, drawn = _told_apart(images, masks)
    if not shown:
        raise InputError(f"{images} holds no image: give a folder of {', '.join((*SCANS, *PICTURES))} files as images")
    kinds = {path.name.lower().endswith(SCANS): path for path in [*shown.values(), *drawn.values()]}
    if len(kinds) == 2:
        raise InputError(f"{kinds[True]} is a scan and {kinds[False]} a picture: give folders of one kind")
    labels = _labels(drawn, shown)
    found = [Record(case, _patient(case, whose), path, labels.get(case)) for case, path in shown.items()]
    return checked(found, masks)


def _told_apart(images: Path, masks: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images and the masks by name, also where the masks lie among the images."""
    shown = _files(images)
    if not masks.resolve().is_relative_to(images.resolve()):
        return _named(shown, images), _named(_files(masks), masks)
    own = images / masks.resolve().relative_to(images.resolve())
    among = own != images
    drawn = {path for path in shown if _stem(path.name).endswith(MASK_ENDINGS) or (among and path.is_relative_to(own))}
    return _named([path for path in shown if path not in drawn], images), _named(sorted(drawn), own, images)


def _files(folder: Path) -> list[Path]:
    """The scans and pictures below, sorted."""
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(SCANS + PICTURES) and path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def _stem(name: str) -> str:
    return next((name[: -len(end)] for end in SCANS + PICTURES if name.lower().endswith(end)), name)


def _named(files: list[Path], *folders: Path) -> dict[str, Path]:
    """The files by their names without the suffix, relative to the first folder that holds them."""
    named: dict[str, Path] = {}
    for path in files:
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        if (other := named.setdefault(_stem(path.relative_to(folder).as_posix()), path)) is not path:
            raise InputError(f"{other} and {path} have one name: rename one, or keep one")
    return named


def _labels(masks: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """The mask of each image that has one."""
    labels: dict[str, Path] = {}
    strangers = []
    for name, path in masks.items():
        base = re.sub(f"({'|'.join(MASK_ENDINGS)})$", "", name)
        case = next((case for case in (name, base, f"{name}_0000", f"{base}_0000") if case in images), None)
        if case not in (None, name, base) and (second := f"{case[:-4]}0001") in images:
            raise InputError(f"{images[second]} is a second channel of {images[case]}: keep one channel of each image")
        if case is None:
            strangers.append(path)
        elif (other := labels.setdefault(case, path)) is not path:
            raise InputError(f"{images[case]} has two masks, {other} and {path}: keep one")
    if strangers:
        raise InputError(
            f"{len(strangers)} masks match no image, e.g. {', '.join(map(str, strangers[:3]))}: give each the name of"
            " its image, relative to the folder, or take it away"
        )
    return labels


def _whose(patient: str | None) -> re.Pattern[str] | None:
    if not patient:
        return None
    try:
        whose = re.compile(patient)
    except re.error as error:
        raise InputError(f"patient is {patient!r}, no regular expression ({error}): correct it") from error
    if whose.groups != 1:
        raise InputError(
            f"patient is {patient!r} with {whose.groups} groups: give one, around the patient: '^(p\\d+)_'"
        )
    return whose


def _patient(case: str, whose: re.Pattern[str] | None) -> str:
    if whose is None:
        return case
    if not ((found := whose.search(case)) and found[1]):
        raise InputError(f"{case} has no patient by {whose.pattern!r}: give an expression that finds one in every name")
    return found[1]
