"""Who is labelled, unlabelled, validation and test: by patient, seeded, nested, kept as JSON."""

from __future__ import annotations

import json
import logging
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from acdc_semicycle.data.annotated import (
    check_masks,
    mended_patients,
    not_wholly_annotated,
    trained_on,
    warn_of_partial,
    with_truth,
    without_masks,
)
from acdc_semicycle.data.folds import leave_out
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.cine_files import read_cine
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")


@dataclass(frozen=True)
class Split:
    """The patients of each part; ``labelled`` and ``unlabelled`` are trained on, the rest never.

    A patient who is labelled by mended masks alone, not by the data set's own, is also in ``unlabelled`` where these
    leave an image, or a slice of one, without a mask.
    """

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def records(self, part: str, records: Sequence[Record]) -> list[Record]:
        """The records of one part's patients, sorted by case.

        Of patients in both parts, the labelled records are those with mended masks. Their others are unlabelled, and so
        are those that are annotated in some slices only. Of mended patients who are scored, images without a mask are
        left out.

        Raises:
            InputError: a patient is not there, or one to be scored has no mask.
        """
        patients = set(getattr(self, part))
        records_of_part = sorted(record for record in records if record.patient in patients)
        absent = sorted(patients - {record.patient for record in records_of_part})
        if absent:
            raise InputError(f"the {part} patients {some(absent)} are not there: give the data set that was split")
        if part in ("validation", "test"):
            scored_records = with_truth(records_of_part)
            check_masks(sorted(patients), without_masks(scored_records))
            return scored_records
        return trained_on(records_of_part, part, set(self.labelled) & set(self.unlabelled))

    def save(self, path: str | Path) -> None:
        """Write the patients of each part as JSON, which ``load`` reads, and their numbers to the log."""
        from acdc_semicycle.runtime import distributed  # torch: only where something is trained

        if distributed.rank() == 0:
            write_text(Path(path), json.dumps(asdict(self), indent=1) + "\n")
        counts = [f"{len(patients)} {part}" for part, patients in asdict(self).items()]
        log.info("split: %s", ", ".join(counts))


def units(records: Sequence[Record], split_unit: str) -> list[Record]:
    """The units that are split: images as they are, of one patient each or several, or every slice by itself.

    Args:
        split_unit: ``"patient"``, or ``"slice"``, the published code's protocol: neighbouring slices of one patient are
            then trained on and scored.
    """
    if split_unit == "patient":
        return list(records)
    if mended_patients(records):
        raise InputError(f"split_unit is {split_unit!r}, and mended masks are given: remove one of the two")
    if split_unit != "slice":
        raise InputError(f"split_unit is {split_unit!r}: give patient or slice")
    slices: list[Record] = []
    for record in records:
        slices += _slices(record)
    return slices


cut = units  # its name in version 0.1, understood until 0.3


def _slices(record: Record) -> list[Record]:
    """Every slice of a volume as a patient of its own; a picture as it is."""
    if not volumes.ending(record.image):
        return [record]
    volume = volumes.read(record.image) if record.frame is None else read_cine(record.image)
    depth = volume.layout.apply(volume.voxels).shape[2]
    slices = []
    for index in range(depth):
        name = f"{record.case}_slice{index:03d}"
        slices.append(replace(record, case=name, patient=name, slice=index))
    return slices


def records_of(parts: Sequence[str], split: Split, records: Sequence[Record]) -> list[Record]:
    """The records of several parts of a split, part by part."""
    chosen: list[Record] = []
    for part in parts:
        chosen += split.records(part, records)
    return chosen


def split(
    records: Sequence[Record],
    labelled: float | int,
    validation: float | int = 0.1,
    test: float | int = 0.2,
    seed: int = 0,
    train_list: str | Path | None = None,
    validation_list: str | Path | None = None,
    test_list: str | Path | None = None,
    spare: int = 0,
    fold: Sequence[int] | None = None,
) -> Split:
    """Split a data set by patient.

    Patients are drawn in one seeded order, so a smaller labelled set is part of every larger one. Patients of
    whom an image has no mask are unlabelled; those the data set itself keeps for testing are test patients, if
    they have masks, and then nobody else is.

    Mended masks change nothing of this draw. Their patients are labelled beside those that are drawn, unless they are
    validation or test patients. Where nobody else has masks, no patient is validated or tested.

    Args:
        labelled: of the training patients with masks, a fraction in (0, 1] if it is a float, a number if it
            is an int: 1.0 is everybody, 1 one patient.
        validation, test: fractions of all patients with masks; at least one patient, where they are not 0.
        train_list, validation_list, test_list: files with a patient a line. With ``train_list`` the file's own
            order decides who is labelled; without ``validation_list`` nobody is validated, and without ``test_list``
            the data set's own testing part is the test.
        spare: with fewer patients with masks than these, all are trained on, whatever ``validation`` and ``test`` are.
        fold: its number from 0 on and the count of folds: the labelled patients that this fold leaves out are the
            validation part (:func:`acdc_semicycle.data.folds.leave_out`), whatever ``validation`` is.

    Raises:
        InputError: fractions out of range, a listed patient who is not there or has no mask, a patient in two
            parts, one of the data set's testing part to train on or to validate, an empty labelled part,
            a fold that cannot be.
    """
    if fold is not None:
        if validation_list:
            raise InputError("validation_list is given, and a fold validates labelled patients: remove one of the two")
        validation = 0
    if train_list:
        parts = _listed(records, train_list, validation_list, test_list)
    elif validation_list or test_list:
        raise InputError("validation_list or test_list is given without train_list: give it, too, or no list")
    else:
        parts = _drawn(records, validation, test, seed, spare)
    labelled_patients = _labelled_of(parts, records, labelled)
    mended_alone = _labelled_by_mended_alone(parts, labelled_patients, records)
    labelled_patients += mended_alone
    unlabelled_patients = list(parts.train)
    for patient in labelled_patients:
        unlabelled_patients.remove(patient)  # once: _check refuses one who is listed twice
    validation_patients = parts.validation
    if fold is not None:
        labelled_patients, validation_patients = leave_out(labelled_patients, fold)
    result = Split(tuple(labelled_patients), tuple(unlabelled_patients), tuple(validation_patients), tuple(parts.test))
    _check(result)
    in_both = not_wholly_annotated([patient for patient in mended_alone if patient in labelled_patients], records)
    return replace(result, unlabelled=(*result.unlabelled, *in_both))


def _labelled_of(parts: _Parts, records: Sequence[Record], labelled: float | int) -> list[str]:
    """The patients that are labelled by the data set's own masks.

    Args:
        labelled: as of :func:`split`.
    """
    mended = mended_patients(records)
    originals = [record.original for record in records]
    without_mask = without_masks(originals)
    warn_of_partial([record for record in originals if record.patient not in mended], without_mask)
    candidates = [patient for patient in parts.train if patient not in without_mask]
    return [] if mended and not candidates else _labelled(candidates, labelled)


def _labelled_by_mended_alone(parts: _Parts, labelled: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The other patients to train on who have mended masks; a line names those who are not to be trained on."""
    mended = mended_patients(records)
    not_trained_on = sorted(mended - set(parts.train))
    if not_trained_on:
        log.warning(
            "mended masks of patients to be scored, or in no part: %s. They are not trained on", some(not_trained_on)
        )
    return [patient for patient in parts.train if patient in mended and patient not in labelled]


class _Parts(NamedTuple):
    """The patients to train on, in the order in which they are labelled, to validate and to test."""

    train: list[str]
    validation: list[str]
    test: list[str]


def _listed(
    records: Sequence[Record],
    train_list: str | Path,
    validation_list: str | Path | None,
    test_list: str | Path | None,
) -> _Parts:
    """The parts that files list; without a list of test patients the data set's own testing part is the test."""
    everyone = sorted({record.patient for record in records})
    held_out, without_mask = _held_out(records), without_masks([record.original for record in records])
    train = _read(train_list, everyone)
    if not train:
        raise InputError(f"{train_list} names no patient: give a file with a patient a line, or leave the list out")
    validation = _read(validation_list, everyone) if validation_list else []
    for path, patients in ((train_list, train), (validation_list, validation)):
        forbidden = sorted(set(patients) & held_out)
        if forbidden:
            raise InputError(f"{path} lists {some(forbidden)} of the data set's own testing part: list others")
    test = _read(test_list, everyone) if test_list else sorted(held_out - without_mask)
    check_masks(validation + test, without_mask)
    return _Parts(train, validation, test)


def _drawn(records: Sequence[Record], validation: float | int, test: float | int, seed: int, spare: int) -> _Parts:
    """The parts that a seed draws of the patients with masks; those without are trained on, as the last."""
    held_out, without_mask = _held_out(records), without_masks([record.original for record in records])
    everyone = sorted({record.patient for record in records})
    pool = [patient for patient in everyone if patient not in held_out | without_mask]
    random.Random(seed).shuffle(pool)
    if 0 < len(pool) < spare:
        log.info(
            "%s with masks: all are trained on, and none is drawn to validate or to test", many(len(pool), "patient")
        )
        validation = test = 0
    own_test = sorted(held_out - without_mask)
    if not pool and mended_patients(records):
        log.info("no mask but the mended ones: all are trained on, and none is drawn to validate or to test")
        return _Parts(sorted(without_mask - held_out), [], own_test)
    validation_count = _count("validation", validation, pool)
    test_count = 0 if own_test else _count("test", test, pool)
    _check_enough(len(pool), validation_count, test_count)
    train_start = validation_count + test_count
    return _Parts(
        train=pool[train_start:] + sorted(without_mask - held_out),
        validation=pool[:validation_count],
        test=own_test or pool[validation_count:train_start],
    )


def _check_enough(patients: int, validation_count: int, test_count: int) -> None:
    """Refuse fewer patients with masks than there are parts to fill."""
    parts = ["labelled"]
    parts += ["validation"] if validation_count else []
    parts += ["test"] if test_count else []
    if patients < len(parts):
        verb = "is" if len(parts) == 1 else "are"
        advice = ", or give --test 0" if test_count and patients == len(parts) - 1 else ""
        raise InputError(
            f"{many(patients, 'patient')} with masks, {len(parts)} {verb} needed ({', '.join(parts)}): annotate"
            f" more{advice}"
        )


def _held_out(records: Sequence[Record]) -> set[str]:
    """The patients of the data set's own testing part."""
    return {record.patient for record in records if record.part == "testing"}


def _labelled(train: list[str], labelled: float | int) -> list[str]:
    """The first patients of a list, by a fraction or a number."""
    if isinstance(labelled, bool) or not isinstance(labelled, int | float):
        raise InputError(f"labelled is {labelled!r}: give a fraction in (0, 1] or a whole number of patients")
    if isinstance(labelled, int):
        if not 1 <= labelled <= len(train):
            raise InputError(
                f"labelled is {labelled} patients: give 1 to {len(train)}, or a fraction in (0, 1], such as 0.2"
            )
        return train[:labelled]
    if not 0 < labelled <= 1:
        raise InputError(f"labelled is {labelled}: give a fraction in (0, 1] or a whole number of patients")
    return train[: max(1, round(labelled * len(train)))]


def _count(name: str, fraction: float | int, patients: list[str]) -> int:
    """A fraction of the patients as a number; of the few there are at least one, where it is not 0."""
    if not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise InputError(f"{name} is {fraction!r}: give the fraction of the patients to keep, in [0, 1)")
    return round(fraction * len(patients)) or int(fraction > 0)


def _read(path: str | Path, everyone: list[str]) -> list[str]:
    """The patients that a file lists, a line each."""
    try:
        lines = Path(str(path)).read_text(encoding="utf-8-sig").splitlines()
        patients = [line.strip() for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a text file with a patient a line") from error
    name_of = {unicodedata.normalize("NFC", patient): patient for patient in everyone}  # macOS writes other forms
    known = set(everyone)
    patients = [name if name in known else name_of.get(unicodedata.normalize("NFC", name), name) for name in patients]
    absent = sorted(set(patients) - known)
    if absent:
        raise InputError(f"{path} lists {some(absent)}, not in the data set: correct the list or dataset_dir")
    return patients


def _check(result: Split) -> None:
    """Refuse a patient in two parts, and a part to train on or to validate without patients."""
    parts = asdict(result)
    seen: dict[str, str] = {}
    for part, patients in parts.items():
        for patient in patients:
            if patient in seen:
                raise InputError(f"{patient} is in {seen[patient]} and {part}: each patient belongs to one list, once")
            seen[patient] = part
    if not result.labelled:
        raise InputError(
            f"no labelled patient is left of {len(seen)}: give more patients with masks, or other fractions"
            " (--labelled, --validation, --test)"
        )


def scored(split: Split) -> str:
    """The part to be evaluated: the test patients; without any, and with a warning, the validation patients.

    Raises:
        InputError: there are neither.
    """
    if split.test:
        return "test"
    if not split.validation:
        raise InputError(
            "this run's split has neither test nor validation patients: evaluate label maps of others"
            " (semicycle predict, semicycle evaluate --pred ... --truth ...)"
        )
    log.warning(
        "this run's split has no test patients: its validation patients, on whom the epoch was chosen, are evaluated"
        " again, and their report is replaced; a training with --test, or with lists, has test patients"
    )
    return "validation"


def load(path: str | Path) -> Split:
    """The split that a training run saved.

    Raises:
        InputError: no such file, or no split in it.
    """
    try:
        parts = json.loads(Path(path).read_text(encoding="utf-8"))
        if any(not isinstance(patients, list) for patients in parts.values()):
            raise TypeError("a part is no list")
        result = Split(**{part: tuple(map(str, patients)) for part, patients in parts.items()})
        unlabelled_alone = tuple(patient for patient in result.unlabelled if patient not in result.labelled)
        _check(replace(result, unlabelled=unlabelled_alone))
        return result
    except OSError as error:
        raise InputError(f"{path} is not there: train first, or give that run's output_dir") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no saved split ({error}): train again, or restore it") from error
