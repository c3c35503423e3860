"""Which patients have masks, of all of their images or of some, of their own or mended ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError, some

log = logging.getLogger("semicycle")


def mended_patients(records: Sequence[Record]) -> set[str]:
    """The patients of whom an image has a mended mask."""
    return {record.patient for record in records if record.mended is not None}


def without_masks(records: Sequence[Record]) -> set[str]:
    """The patients of whom an image has no mask."""
    return {record.patient for record in records if record.label is None}


def labelled_by_mended(records: Sequence[Record]) -> list[Record]:
    """The labelled records of patients who are not labelled by the data set's own masks.

    These are those with mended masks. Where the data set has masks of some of a patient's images alone, which alone do
    not make the patient a labelled one, these count beside them.
    """
    incomplete = without_masks([record.original for record in records])
    labelled = []
    for record in records:
        own_mask_counts = record.label is not None and record.patient in incomplete
        if record.mended is not None or own_mask_counts:
            labelled.append(record)
    return labelled


def trained_on(records: Sequence[Record], part: str, in_both: set[str]) -> list[Record]:
    """The records of the labelled, or of the unlabelled part.

    Args:
        records: of all patients of the part.
        in_both: patients of both parts. Labelled are their records with mended masks; unlabelled are their others, and
            those that are annotated in some slices only.
    """
    labelled = set(labelled_by_mended([record for record in records if record.patient in in_both]))
    result = []
    for record in records:
        if part == "labelled":
            belongs = record.patient not in in_both or record in labelled
        else:
            belongs = record not in labelled or record.partly_annotated
        if belongs:
            result.append(record)
    return result


def with_truth(records: Sequence[Record]) -> list[Record]:
    """Records to be scored: of mended patients those with a mask alone, of others all."""
    mended = mended_patients(records)
    return [record for record in records if record.label or record.patient not in mended]


def not_wholly_annotated(patients: Sequence[str], records: Sequence[Record]) -> list[str]:
    """Those of such patients of whom an image, or a slice of one, is not labelled."""
    own = [record for record in records if record.patient in patients]
    labelled = labelled_by_mended(own)
    partly: set[str] = set()
    for record in own:
        if record not in labelled or record.partly_annotated:
            partly.add(record.patient)
    return [patient for patient in patients if patient in partly]


def warn_of_partial(records: Sequence[Record], without_mask: set[str]) -> None:
    """Warn of masks that are not used: a patient is labelled as a whole or not at all."""
    unused = [record for record in records if record.patient in without_mask and record.label is not None]
    if unused:
        log.warning(
            "%d masks are not used, e.g. %s: their patients also have images without a mask, and count as unlabelled;"
            " remove those images to use the masks",
            len(unused),
            unused[0].label,
        )


def check_masks(patients: list[str], without_mask: set[str]) -> None:
    """Refuse patients to be scored who have an image without a mask."""
    unscored = sorted(set(patients) & without_mask)
    if unscored:
        raise InputError(f"{some(unscored)} cannot be validation or test: an image has no mask (_gt file)")
