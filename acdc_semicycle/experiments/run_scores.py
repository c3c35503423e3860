"""The scores of a run by patient, from the report.json of a network or from the folds.json of folds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_semicycle.data.parts import HELD_OUT, PARTS, in_words
from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.experiments.fold_scores import by_patient, with_nan
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json

CHOSE_NO_EPOCH = "had no part in training"  # in the note of a report whose patients are new to the network


@dataclass(frozen=True)
class Scores:
    """What one report says.

    Attributes:
        part: of the split, whose patients were scored, in words.
        score: which one counts: ``dice`` of volumes, ``iou`` of pictures.
        structures: the classes that are scored.
        cases: the names of the volumes or pictures.
        patients: of each patient the means of each score by structure, and their ``mean``; NaN where there is none.
        protocol: another way of splitting than by patient, in words.
    """

    part: str
    score: str
    structures: list[str]
    cases: frozenset[str]
    patients: dict[str, dict[str, Any]]
    protocol: str | None

    @property
    def chose_the_epoch(self) -> bool:
        """Whether the epoch was chosen on these very patients."""
        return "validation" in self.part


def read_scores(path: Path) -> tuple[Scores, dict[str, Any]]:
    """The scores in a report.json or folds.json, and all that the file holds.

    Raises:
        InputError: the file is damaged, or of another program.
    """
    content = read_json(path)
    try:
        return _scores_of(content), content
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged ({reason}): restore it, or run the command that wrote it again") from error


def _scores_of(content: Mapping[str, Any]) -> Scores:
    """The scores of a content."""
    structures = structures_of(content["classes"])
    cases = [with_nan(case) for case in content["cases"]]
    if not cases:
        raise ValueError("it has no cases")
    score = "dice" if content.get("main", "dice") == "dice" else "iou"
    names = frozenset(case["case"] for case in cases)
    patients = by_patient(cases, structures)
    return Scores(_part_in_words(content), score, structures, names, patients, content.get("protocol"))


def _part_in_words(content: Mapping[str, Any]) -> str:
    """The part of the patients: that of the cases where they have one, as since 0.2, else by the report's note."""
    parts = {case.get("part") for case in content["cases"]}
    listed = [part for part in PARTS if part in parts]
    if listed:
        return in_words(listed)
    part = content.get("part", "validation")
    if part == "validation" and CHOSE_NO_EPOCH in json.dumps(content.get("note")):
        return HELD_OUT
    return str(part)
