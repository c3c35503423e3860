"""``semicycle next``: whom to annotate next, which of their slices, and their drafts to mend."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.annotation import candidates, drafts_folder
from acdc_semicycle.annotation.assessment import Assessment, Assessor
from acdc_semicycle.annotation.candidates import Candidates
from acdc_semicycle.annotation.drafts_folder import DraftedScan
from acdc_semicycle.annotation.ranking import TERMS, Choice, Patient, choose
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.datasets import drafts
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.console import lines_above_bars, shell_line
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")

FAULTS = (InputError, OSError, MemoryError, RuntimeError)  # that cost one patient and not the others
DEFAULT = {"quality": True, "disagreement": True, "diversity": True}


@dataclass(frozen=True)
class Wishes:
    """What is asked for.

    Attributes:
        patients: how many are to be annotated.
        slices: of each of their scans, to be mended.
        terms: which of ``ranking.TERMS`` count.
        masks, patient: where and whose the masks of the data are, as of a training.
    """

    patients: int = 3
    slices: int = 3
    terms: Mapping[str, bool] = field(default_factory=lambda: dict(DEFAULT))
    masks: Path | None = None
    patient: str | None = None


@dataclass
class Assessed:
    """What the network makes of a data set, patient by patient.

    Attributes:
        patients: who may be chosen.
        annotated: the features of those who are annotated.
        twins: patients who have another one's scan, and that one.
    """

    patients: list[Patient] = field(default_factory=list)
    annotated: list[NDArray] = field(default_factory=list)
    twins: dict[str, str] = field(default_factory=dict)
    is_fitted: bool = False


def lines(model: str | Path, data: Path, output: Path, wishes: Wishes) -> Iterator[str]:
    """Choose patients and write their drafts; the lines to show, each as soon as it is known.

    Args:
        model: what ``--model`` takes.
        data: the folder of a data set.
        output: the folder of drafts, which appears complete or not at all.

    Raises:
        InputError: what is asked for cannot be, ``output`` holds anything, or nobody can be annotated.
    """
    _check(wishes)
    drafts_folder.check_target(output, data)
    assessor = Assessor(model)
    people = candidates.find(data, wishes.masks, wishes.patient, assessor.model)
    yield from _found(people, assessor.model, data)
    _check_count(wishes.patients, len(people.scans), data)
    assessed = assess(assessor, people, wishes.terms["diversity"])
    for name, other in assessed.twins.items():
        yield f"note: {name} and {other} have the same scan: it counts once"
    _check_count(wishes.patients, len(assessed.patients), data)
    choices = choose(assessed.patients, assessed.annotated, wishes.patients, wishes.terms)
    yield _heading(assessed)
    with drafts_folder.staged(output, data) as folder:
        scans = _drafted(assessor, people, choices)
        about = {"data": str(data), "terms": dict(wishes.terms), "expected_dice": _meaning(assessed)}
        drafts_folder.write(folder, scans, wishes.slices, assessor.model, about)
        for scan in scans:
            yield _line(scan, wishes.slices)
    yield from _what_to_do(output, assessor.model)


def assess(assessor: Assessor, people: Candidates, with_annotated: bool) -> Assessed:
    """Assess all candidates, and those who are annotated; a scan that cannot be used costs its patient and a line.

    Args:
        with_annotated: whether the features of those who are annotated are needed.
    """
    result = Assessed()
    owner: dict[str, str] = {}
    groups = [*people.annotated.items()] if with_annotated else []
    groups += people.scans.items()
    with lines_above_bars():
        for name, scans in tqdm(groups, "assessing", disable=None, unit="patient"):
            assessments = _assessments(assessor, name, scans)
            if not assessments:
                continue
            twin = next((owner[scan.digest] for scan in assessments if scan.digest in owner), None)
            if twin is not None:
                result.twins[name] = twin
                continue
            owner |= {scan.digest: name for scan in assessments}
            patient = patient_of(name, assessments)
            if name in people.scans:
                result.patients.append(patient)
                result.is_fitted = assessments[0].is_fitted
            else:
                result.annotated.append(patient.features)
    return result


def patient_of(name: str, assessments: Sequence[Assessment]) -> Patient:
    """A patient of several scans: the mean of each value."""
    return Patient(
        name,
        float(np.mean([scan.dice for scan in assessments])),
        float(np.mean([scan.disagreement for scan in assessments])),
        np.mean([scan.features for scan in assessments], axis=0),
    )


def _assessments(assessor: Assessor, name: str, scans: Sequence[Record]) -> list[Assessment]:
    """The assessments of a patient's scans; none where one of them cannot be used, which a line says."""
    result = []
    for scan in scans:
        try:
            result.append(assessor(scan.image)[0])
        except FAULTS as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            log.warning("%s is left out: %s", name, reason[0])
            return []
    return result


def _check(wishes: Wishes) -> None:
    """Refuse what cannot be asked for."""
    for name, value in (("patients", wishes.patients), ("slices", wishes.slices)):
        if value < 1:
            raise InputError(f"--{name} is {value}: give a whole number from 1 on")
    if not any(wishes.terms[name] for name in TERMS):
        raise InputError("nothing is left to rank patients by: leave one of --quality, --disagreement, --diversity on")


def _check_count(asked: int, count: int, data: Path) -> None:
    """Refuse to choose more patients than there are."""
    if count < asked:
        raise InputError(
            f"--patients is {asked}, and {count} of {data} can be annotated: give at most --patients {count}"
        )


def _found(people: Candidates, model: Model, data: Path) -> Iterator[str]:
    """What was found in the data."""
    yield (
        f"{many(people.patients, 'patient')} in {data}: {len(people.annotated)} annotated, {len(people.scans)} who can"
        f" be; network {model.path}"
    )
    if people.cines:
        yield f"note: {many(len(people.cines), 'cine')} left out: give the frames to annotate as files of their own"
    if not people.has_split:
        yield "note: whom the network was trained on is not known: patients with masks count as annotated"
    elif not people.annotated:
        yield "note: none of the patients whom the network was trained on is here: diversity is among the chosen alone"


def _meaning(assessed: Assessed) -> str:
    """What the expected Dice is."""
    return "fitted" if assessed.is_fitted else "rank"


def _heading(assessed: Assessed) -> str:
    """What the figures of the lines below are."""
    if assessed.is_fitted:
        return "to annotate, the one of most worth first:"
    return (
        "to annotate, the one of most worth first (the expected Dice is the network's own: it ranks, and is too high):"
    )


def _drafted(assessor: Assessor, people: Candidates, choices: Sequence[Choice]) -> list[DraftedScan]:
    """The scans of the chosen patients, segmented: of a patient first the one of most gain."""
    result = []
    for choice in choices:
        scans = [DraftedScan(choice, scan, *assessor(scan.image)) for scan in people.scans[choice.patient.name]]
        result += sorted(scans, key=lambda scan: scan.assessment.dice)
    return result


def _line(scan: DraftedScan, slices: int) -> str:
    """A scan, why its patient is chosen, and the slices to mend."""
    choice = scan.choice
    distance = "" if choice.distance is None else f", distance {choice.distance:.2f}"
    to_mend = ", ".join(str(gain.slice_index + 1) for gain in scan.assessment.gains[:slices]) or "all"
    return (
        f"{choice.rank}. {scan.record.case}: expected Dice {scan.assessment.dice:.3f}, disagreement"
        f" {scan.assessment.disagreement:.3f}{distance}; mend slices {to_mend}"
    )


def _what_to_do(output: Path, model: Model) -> Iterator[str]:
    """What to do with the drafts."""
    yield f"{output / drafts.OVERVIEW} shows them, and {output / drafts_folder.TABLE} lists them"
    source = (model.members or (model,))[0].path
    run = source.parent.parent if source.name == "model.pt" else source
    yield (
        "open each image with its draft in 3D Slicer or ITK-SNAP, mend these slices, and save over the draft, or under"
        " its name in another folder; then give the training these words more:\n"
        + shell_line(["--mended", str(output), "--from", str(run)])
    )
