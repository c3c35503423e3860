"""A card a case: its pictures, and whatever else is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation.quality_fit import expected_dice, nothing_found
from acdc_semicycle.report.case_images import DAMAGE, slices_of
from acdc_semicycle.report.cases import Case
from acdc_semicycle.report.drawing import drawn

PICTURES = 60  # of the worst cases; the others have their numbers only


def cards_of(folder: Path, content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A card a case: its pictures, if it is one of the worst, and whatever else is known of it."""
    patients = {patient["patient"]: patient for patient in content["patients"]}
    labels = range(1, len(content["classes"]))
    for number, case in enumerate(content["cases"]):
        slices, unseen = [], None
        if number < PICTURES:
            try:
                slices = drawn(slices_of(folder, case), labels)
            except DAMAGE as error:
                unseen = str(error).strip("'\"") or type(error).__name__
        volumes_known, truths = (
            any(case.volumes_ml(name, whose) for name in content["structures"]) for whose in ("prediction", "truth")
        )
        yield {
            "case": case,
            "slices": [one | {"cycle": _of_slice(case, one["place"])} for one in slices],
            "unseen": unseen,
            "flagged": is_flagged(case, content["quality"]),
            "judged": _worst(case, content["quality"]),
            "patient": patients.get(case.about("patient")),
            "structures": bool(case.scored) or volumes_known,
            "volumes": volumes_known,
            "truths": truths,
        }


def _worst(case: Case, quality: Mapping[str, Any]) -> dict[str, Any]:
    """What was judged without a truth, of a cine's worst frame; the first where that is not known."""

    def expected(scores: dict[str, Any]) -> float:
        value = expected_dice(quality, scores) if quality.get("weights") else None
        return -1.0 if value is None else value

    return min(case.predicted.get("frame_scores") or [{}], key=expected)


def is_flagged(case: Case, quality: Mapping[str, Any]) -> bool:
    """Whether it is to be looked at: by its quality, or because there is a frame in which nothing was found."""
    limit = quality.get("threshold")
    if limit is None or case.quality is not None:
        return limit is not None and case.quality < limit
    return any(nothing_found(scores) for scores in case.predicted.get("frame_scores") or [])


def _of_slice(case: Case, place: int) -> float | int | None:
    """The cycle's score of a slice; of a cine it is not known which frame's it would be."""
    scores = (case.predicted.get("slices") or {}).get("cycle") or []
    return scores[place] if place < len(scores) and case.predicted.get("frames") == 1 else None
