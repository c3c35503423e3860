"""What every data set gives: a sorted list of records."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from acdc_semicycle.runtime.errors import InputError, refuse

log = logging.getLogger("semicycle")

MASK_ENDING = re.compile(
    r"[._-](?:(?P<gt>gt)|(?P<mask>masks?)|(?P<label>labels?)|(?P<seg>seg(?:mentations?)?)"
    r"|(?P<pred>pred(?:iction|icted)?))(?:\.seg)?$",
    re.IGNORECASE,
)
"""How the name of a mask beside its image ends, before the file's ending; ``.seg`` is 3D Slicer's."""
BY_SLICE = "protocol of the published code: not comparable with patient-level results"


@dataclass(frozen=True, order=True)
class Mended:
    """A mask that a person mended and gave back (:mod:`acdc_semicycle.datasets.mended`): its voxels are class indices.

    Attributes:
        annotated: the slices that are truth, from 0 along the third axis of the image as it is stored. The others are
            not annotated, whatever the mask holds there. None where all slices are truth.
        replaced: the data set's own mask of the image, None where it has none.
    """

    annotated: tuple[int, ...] | None = None
    replaced: Path | None = None


@dataclass(frozen=True, order=True)
class Record:
    """One annotated or plain image of a data set.

    Attributes:
        case: name of the image, unique within the data set, e.g. ``patient001_frame01``.
        patient: whose image it is; a split never separates the images of one patient.
        image: the image file.
        label: the mask file, or None where there is none.
        phase: ``"ED"`` (end-diastole), ``"ES"`` (end-systole), or None where the data set has no phases.
        part: the data set's own part, ``"training"`` or ``"testing"``; the latter is never trained on, and no
            model is selected on it. PASCAL VOC and Cityscapes call theirs ``val``.
        slice: the only slice of the volume that is used, or None for all of it.
        frame: the only frame of a 4D image and mask that is used, from 0, or None where the files are 3D.
        mended: what is known of a mask that came back; None where the mask is the data set's own.
    """

    case: str
    patient: str
    image: Path
    label: Path | None = None
    phase: str | None = None
    part: str = "training"
    slice: int | None = None
    frame: int | None = None
    mended: Mended | None = None

    @property
    def original(self) -> Record:
        """The record as the data set has it, without a mended mask."""
        return self if self.mended is None else replace(self, label=self.mended.replaced, mended=None)

    @property
    def partly_annotated(self) -> bool:
        """Whether some of its slices are annotated and others are not."""
        return self.mended is not None and self.mended.annotated is not None


def existing_folder(path: str | Path | None, name: str, what: str) -> Path:
    """The folder that the setting ``name`` gives, as it is given; ``what`` says what it should hold.

    Raises:
        InputError: the setting is empty, or the folder does not exist.
    """
    if path is None or not str(path).strip():
        raise InputError(f"{name} is empty: give {what}")
    if not Path(str(path)).is_dir():  # a configuration gives a name that is a number as one
        raise InputError(f"{path} is not a folder: give {what} as {name}")
    return Path(str(path))


def check_records(records: Iterable[Record], masks: Path, mended: str | Path | None = None) -> list[Record]:
    """The records sorted by case, if they make a data set; a warning counts the training images without a mask.

    Args:
        records: in any order.
        masks: the folder of masks, for messages.
        mended: a folder of other masks, that came back, where no image needs one of its own; None for none.

    Raises:
        InputError: a case is there twice, an image that is scored has no mask, or no training image has one.
    """
    records = sorted(records, key=lambda record: record.case)
    _check_no_case_twice(records)
    _check_scored(records, masks)
    training = [record for record in records if record.part == "training"]
    unlabelled = sum(record.label is None for record in training)
    if unlabelled == len(training) and mended is None:
        raise InputError(
            f"none of the {unlabelled} training images has a mask in {masks}: there is nothing to learn from, give"
            " masks"
        )
    if unlabelled:
        log.warning("%d of %d training images have no mask in %s: unlabelled", unlabelled, len(training), masks)
    return records


def _check_no_case_twice(records: Sequence[Record]) -> None:
    """Refuse two records of one case; the records are sorted by case."""
    faults: list[str] = []
    for first, second in pairwise(records):
        if first.case == second.case:
            faults.append(
                f"{first.case} is there twice, as {first.image} ({first.part}) and {second.image} ({second.part}):"
                " keep one, an image is never both trained on and scored"
            )
    refuse(faults, "the data set")


def _check_scored(records: Sequence[Record], masks: Path) -> None:
    """Refuse an image without a mask in the part that is scored."""
    unscored = [record for record in records if record.part == "testing" and record.label is None]
    if unscored:
        raise InputError(
            f"{unscored[0].image} has no mask in {masks} ({len(unscored)} such in the part that is scored): restore its"
            " mask"
        )
