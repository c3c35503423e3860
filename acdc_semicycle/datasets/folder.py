r"""Your own data: a folder of scans or pictures, and a folder of masks for some of them.

A mask has the relative name of its image, whatever the suffix, or that name followed by a word::

    images/a/X.jpg            masks/a/X.png
    images/X.nii.gz           masks/X_gt.nii.gz (or _mask, _seg, _label, _pred; also with - or a dot, as X.seg.nrrd)
    images/X_0000.nii.gz      masks/X.nii.gz, as in nnU-Net

A cine, one 4D image with one 4D mask, is as many images as it has frames in which something is drawn. An image
without a mask is unlabelled. A regular expression finds the patient in the image's name:
``patient: '^(patient\d+)_'`` keeps ``patient001_frame01`` and ``patient001_frame12`` together.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from acdc_semicycle.datasets import unread
from acdc_semicycle.datasets.cines import with_frames
from acdc_semicycle.datasets.mask_names import by_name, labels_of, stem
from acdc_semicycle.datasets.records import MASK_ENDING, Record, check_records, existing_folder
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.imageio.volumes import SCANS
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.search import files_below

log = logging.getLogger("semicycle")

LAYOUTS = (("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr"))  # of images and their masks
PHASE_OR_FRAME = re.compile(r"[_-](?:E[DS]|frame\d+)(?:_0000)?$", re.IGNORECASE)  # at the end of a case
SAME_PATIENT = "^(.+?)(?:[_-](?:[Ee][DdSs]|[Ff]rame[0-9]+))?(?:_0000)?$"


def records(
    images: str | Path | None,
    masks: str | Path | None = None,
    patient: str | None = None,
    mended: str | Path | None = None,
) -> list[Record]:
    """Every scan or picture below ``images``, sorted by case: its relative name without the suffix.

    Args:
        images: a folder of scans or of pictures, searched with all folders below it, linked ones too; what is hidden is
            ignored.
        masks: the folder of masks, by default ``images``. The same folder, or one inside it: then every file
            whose name ends in such a word is a mask.
        patient: a regular expression with one group, searched for in the case; by default every image is its
            own patient.
        mended: a folder of masks that came back, beside which no image needs a mask here.

    Raises:
        InputError: there is no such folder, no image or no mask; ``masks`` is not given and the folders of images and
            of masks lie in ``images``; scans are among pictures, two files have one name, a
            mask has no image; or the expression is invalid or finds nothing in a name.
    """
    result = paired(images, masks, patient, mended)
    for text in patient_doubts(result, patient):
        log.warning("%s", text)
    return result


def paired(
    images: str | Path | None, masks: str | Path | None, patient: str | None, mended: str | Path | None = None
) -> list[Record]:
    """The records, without a warning of doubts about patients."""
    return check_records(matched(images, masks, patient), Path(str(masks or images)), mended)


def matched(images: str | Path | None, masks: str | Path | None, patient: str | None) -> list[Record]:
    """The records, of which none need have a mask; errors are those of :func:`records` but for that."""
    images = existing_folder(images, "images", "the folder of your scans or pictures")
    if masks:
        masks = existing_folder(masks, "masks", "the folder of their masks")
    else:
        _check_not_above(images)
        masks = images
    pattern = _pattern(patient)
    image_files, mask_files, unread_files = _images_and_masks(images, masks)
    _check_any(image_files, images, unread_files)
    _check_one_kind([*image_files.values(), *mask_files.values()])
    labels = labels_of(mask_files, image_files)
    if unread_files and not labels:
        raise InputError(f"{masks} holds no mask that is read: {unread_files[0]} is {unread.advice(unread_files[0])}")
    unread.warn(unread_files)
    result: list[Record] = []
    for case, path in image_files.items():
        result.append(Record(case, _patient(case, pattern), path, labels.get(case)))
    return with_frames(result)


def unlabelled(images: str | Path | None, patient: str | None = None) -> list[Record]:
    """Every scan or picture below ``images``, sorted by case, without a mask; files named as masks are left out.

    Args:
        images: a folder, as of :func:`records`.
        patient: an expression, as of :func:`records`.

    Raises:
        InputError: there is no such folder or no image, or the expression is invalid or finds nothing in a name.
    """
    images = existing_folder(images, "images", "the folder of your scans or pictures")
    pattern = _pattern(patient)
    image_files, _, unread_files = _images_and_masks(images, images)
    _check_any(image_files, images, unread_files)
    _check_one_kind([*image_files.values()])
    unread.warn(unread_files)
    return sorted(Record(case, _patient(case, pattern), path) for case, path in image_files.items())


def _check_any(image_files: Mapping[str, Path], images: Path, unread_files: Sequence[Path]) -> None:
    """Refuse a folder without images."""
    if not image_files:
        hint = f"; {unread_files[0]} is {unread.advice(unread_files[0])}" if unread_files else ""
        raise InputError(
            f"{images} holds no image: give a folder of {', '.join((*SCANS, *PICTURES))} files as images{hint}"
        )


def patient_doubts(records: Sequence[Record], patient: str | None) -> list[str]:
    """Where names do not tell whether images are of one patient: sentences that say what is done, and what to give."""
    if patient:
        return _doubts_on_folders(records)
    first: dict[str, Record] = {}
    for record in records:
        name = PHASE_OR_FRAME.sub("", record.patient)
        other = first.setdefault(name, record) if name != record.patient else record
        if other.patient != record.patient:
            return [
                f"{other.patient} and {record.patient} may be one patient's, and each image is a patient of its own, so"
                f" a split can put them on both sides: give --patient '{SAME_PATIENT}' if they are"
            ]
    return []


def _doubts_on_folders(records: Sequence[Record]) -> list[str]:
    """A sentence on the patients whose name is found in several folders."""
    folders_of: dict[str, set[str]] = {}
    for record in records:
        folders_of.setdefault(record.patient, set()).add(_folder_of_patient(record))
    shared = sorted(name for name, folders in folders_of.items() if len(folders) > 1)
    if not shared:
        return []
    first, second, *_ = sorted(folders_of[shared[0]])
    verb = "lies" if len(shared) == 1 else "lie"
    return [
        f"{many(len(shared), 'patient')} {verb} in several folders, e.g. {shared[0]} in {first or '.'} and in"
        f" {second or '.'}: each counts as one, and stays in one part; if these are two patients of one name, put the"
        " folder into the group of --patient"
    ]


def _folder_of_patient(record: Record) -> str:
    """The folder that holds a patient's images, or the folder that has the patient's name; relative, as the case."""
    parts = record.case.split("/")
    for depth, part in enumerate(parts):
        if record.patient in part:
            return "/".join(parts[:depth])
    return "" if "/" in record.patient else "/".join(parts[:-1])


def _check_not_above(images: Path) -> None:
    """Refuse the folder above a folder of images and one of masks: without ``masks`` these would count as images."""
    for image_folder, mask_folder in LAYOUTS:
        if (images / image_folder).is_dir() and (images / mask_folder).is_dir():
            inner, masks = images / image_folder, images / mask_folder
            raise InputError(
                f"{images} holds {image_folder}/ and {mask_folder}/: give {inner} and --masks {masks}, as in"
                f" semicycle check {inner} --masks {masks}"
            )


def _check_one_kind(files: list[Path]) -> None:
    """Refuse scans among pictures."""
    kinds = {path.name.lower().endswith(SCANS): path for path in files}
    if len(kinds) == 2:
        raise InputError(f"{kinds[True]} is a scan and {kinds[False]} a picture: give folders of one kind")


def _images_and_masks(images: Path, masks: Path) -> tuple[dict[str, Path], dict[str, Path], list[Path]]:
    """The images and the masks by name, also where the masks lie among the images; and files of unread formats."""
    image_root, mask_root = images.resolve(), masks.resolve()
    inside = mask_root.is_relative_to(image_root)
    if inside:
        masks = images / mask_root.relative_to(image_root)
    image_files = _files(images, mask_root)
    mask_files = [] if mask_root == image_root else _files(masks, image_root)
    unread_files = [path for path in mask_files + image_files if _ends_in(path, unread.SCANS + unread.PICTURES)]
    image_files = [path for path in image_files if _ends_in(path, SCANS + PICTURES)]
    mask_files = [path for path in mask_files if _ends_in(path, SCANS + PICTURES)]
    if inside:
        mask_files += [path for path in image_files if MASK_ENDING.search(stem(path.name))]
        image_files = [path for path in image_files if not MASK_ENDING.search(stem(path.name))]
    return by_name(image_files, images), by_name(mask_files, masks, images), unread_files


def _ends_in(path: Path, endings: tuple[str, ...]) -> bool:
    """Whether a file's name has one of these endings, in any case."""
    return path.name.lower().endswith(endings)


def _files(folder: Path, other: Path) -> list[Path]:
    """The files below a folder, sorted, without hidden ones; links are followed.

    Args:
        other: the folder of the other side: what a link in this one leads to there, or lies there, is not of this one.
    """
    around = folder.resolve().is_relative_to(other)

    def is_of_other(path: Path) -> bool:
        """Whether a folder is the other side's."""
        return not around and path.resolve().is_relative_to(other)

    return files_below(folder, is_of_other)


def _pattern(patient: str | None) -> re.Pattern[str] | None:
    """The regular expression that takes the patient from a name; None where every image is its own patient."""
    if not patient:
        return None
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise InputError(f"patient is {patient!r}, no regular expression ({error}): correct it") from error
    if pattern.groups != 1:
        raise InputError(
            f"patient is {patient!r} with {pattern.groups} groups: give one, around the patient: '^(p\\d+)_'"
        )
    return pattern


def _patient(case: str, pattern: re.Pattern[str] | None) -> str:
    """Whose image it is, by its name."""
    if pattern is None:
        return case
    match = pattern.search(case)
    if not match or not match[1]:
        raise InputError(
            f"{case} has no patient by {pattern.pattern!r}: give an expression that finds one in every name"
        )
    return match[1]
