"""One card per case: its pictures, and whatever else is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.evaluation.picture_labels import Rules
from acdc_semicycle.evaluation.quality_fit import expected_dice, nothing_found
from acdc_semicycle.report.all_slices import all_slices_of
from acdc_semicycle.report.case_images import DAMAGE, slices_of
from acdc_semicycle.report.cases import Case
from acdc_semicycle.report.charts import bars, chart
from acdc_semicycle.report.drawing import drawn

PICTURES = 60  # of the worst cases; the others have their numbers only


def cards_of(folder: Path, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One card per case: its pictures, if it is one of the worst, and whatever else is known of it."""
    patients = {patient["patient"]: patient for patient in content["patients"]}
    classes, structures = content["classes"], content["structures"]
    labels = range(list(classes).count("background"), len(classes))
    values = content["evaluated"].get("mask_values")
    rules = Rules(len(classes), content["evaluated"].get("colours") or content["predicted"].get("colours"), values)
    cards = []
    for number, case in enumerate(content["cases"]):
        slices, fault = _pictures(folder, case, labels, rules) if number < PICTURES else ([], None)
        has_volumes = _has_volumes(case, structures, "prediction")
        cards.append(
            {
                "case": case,
                "slices": slices,
                "fault": fault,
                "all_slices": all_slices_of(folder, case, labels) if slices else None,
                "curve": _volume_curve(case, content["classes"]),
                "trust": _trust_by_slice(case),
                "flagged": is_flagged(case, content["quality"]),
                "scores_without_truth": _worst_frame(case, content["quality"]),
                "patient": patients.get(case.about("patient")),
                "structures": bool(case.scored) or has_volumes,
                "volumes": has_volumes,
                "nothing_found": case.predicted.get("nothing_found"),
                "remarks": case.predicted.get("remarks") or [],
                "unlike_training": case.predicted.get("unlike_training") or [],
                "truths": _has_volumes(case, structures, "truth"),
            }
        )
    return cards


def _pictures(folder: Path, case: Case, labels: Sequence[int], rules: Rules) -> tuple[list[dict[str, Any]], str | None]:
    """The pictures of a case, and why there are none."""
    try:
        pictures = drawn(slices_of(folder, case, rules), labels)
    except DAMAGE as error:
        return [], str(error).strip("'\"") or type(error).__name__
    for picture in pictures:
        picture["cycle"] = _cycle_of_slice(case, picture["slice_index"])
        picture["trust"] = _trust_of_slice(case, picture["slice_index"])
    return pictures, None


def _trust_by_slice(case: Case) -> dict[str, Any] | None:
    """The bars of the expected Dice by slice, the worst slice (from 0) and words for those who do not see them."""
    slices = case.trust.get("slices") or []
    expected = {z: item["dice"] for z, item in enumerate(slices) if item is not None}
    if len(expected) < 2:
        return None
    words = [f"slice {z + 1}: {dice:.2f}" for z, dice in expected.items()]
    return bars(slices) | {"worst": min(expected, key=lambda z: expected[z]), "words": ", ".join(words)}


def _trust_of_slice(case: Case, slice_index: int) -> dict[str, float] | None:
    """The expected Dice of a slice with its interval; None of a cine, whose picture may be of another frame."""
    slices = case.trust.get("slices") or []
    return slices[slice_index] if slice_index < len(slices) and case.predicted.get("frames") == 1 else None


def _volume_curve(case: Case, classes: Sequence[str]) -> dict[str, Any] | None:
    """The volumes of a cine's structures over its frames; None where fewer than three frames are known."""
    frames = case.predicted.get("frames") or 1
    volumes = case.predicted.get("volumes_ml") or {}
    series = {label: volumes.get(name) or [] for label, name in enumerate(classes) if volumes.get(name)}
    if frames < 3 or not series or any(len(numbers) != frames for numbers in series.values()):
        return None
    marks = {frame: f"{phase} {frame + 1}" for phase, frame in (case.predicted.get("phases") or {}).items()}
    return chart(series) | {"series": series, "marks": marks, "words": _ranges(series, classes)}


def _ranges(series: Mapping[int, Sequence[float | int]], classes: Sequence[str]) -> str:
    """The lowest and the highest volume of each structure in words, for those who do not see the chart."""
    words = []
    for label, numbers in series.items():
        words.append(f"{classes[label]} from {min(numbers):.0f} to {max(numbers):.0f} ml")
    return ", ".join(words)


def _has_volumes(case: Case, structures: Sequence[str], side: str) -> bool:
    """Whether the predicted, or the true, volume of any structure is known."""
    return any(case.volumes_ml(name, side) for name in structures)


def _worst_frame(case: Case, quality: Mapping[str, Any]) -> dict[str, Any]:
    """The scores without a truth of a cine's worst frame; of the first where the worst is not known."""
    frames = case.predicted.get("frame_scores") or [{}]
    if case.trust:
        return frames[case.trust["frame"]]
    if not quality.get("weights"):
        return frames[0]
    expected = [expected_dice(quality, scores) for scores in frames]
    if None in expected:
        return frames[expected.index(None)]
    return frames[int(np.argmin(expected))]  # type: ignore[arg-type]


def is_flagged(case: Case, quality: Mapping[str, Any]) -> bool:
    """Whether to check a case: its quality is low, or nothing was found in one of its frames."""
    threshold = quality.get("threshold")
    if threshold is None:
        return False
    if case.quality is not None:
        return case.quality < threshold
    return any(map(nothing_found, case.predicted.get("frame_scores") or []))


def _cycle_of_slice(case: Case, slice_index: int) -> float | int | None:
    """The cycle's score of a slice; None for a cine, as predict keeps none of its frames."""
    scores = (case.predicted.get("slices") or {}).get("cycle") or []
    return scores[slice_index] if slice_index < len(scores) and case.predicted.get("frames") == 1 else None
