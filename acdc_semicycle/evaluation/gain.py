"""What a training gained over the network that it started from, on patients whom neither learned from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from acdc_semicycle.artifacts.known_patients import KnownPatients
from acdc_semicycle.artifacts.model import PRETRAINED, Model, open_model
from acdc_semicycle.data.parts import HELD_OUT
from acdc_semicycle.datasets.mended import MendedMask
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import read_json

if TYPE_CHECKING:
    from acdc_semicycle.evaluation.model_report import Report

log = logging.getLogger("semicycle")

NOT_TRAINED_ON = ("validation", HELD_OUT)


def tell_of_gain(source: str | Path | None, report: Report, masks: Sequence[MendedMask] = ()) -> None:
    """Log Dice before and after a training that started from another network, where both validated the same patients.

    Nothing is logged where that cannot be measured.

    Args:
        source: what the training started from, as ``--from`` gives it.
        report: of this training, written.
        masks: that came back. Their patients were scored by another truth before.
    """
    path = report.folder / "report.json"
    if distributed.rank() or not path.is_file():
        return
    text = gain(source, read_json(path), {mask.record.patient for mask in masks})
    if text:
        log.info("%s", text)


def gain(source: str | Path | None, content: Mapping[str, Any], other_truth: set[str]) -> str | None:
    """Dice before and after, in a line; None where it cannot be measured, as where the source is gone by now.

    Args:
        source: as ``--from`` gives it.
        content: of the report.json of a training, or of the folds.json of several.
        other_truth: patients whose masks are others than they were.
    """
    if source is None or str(source) in ("none", PRETRAINED):
        return None
    try:
        model = open_model(source)
        before, parts = _report_of(model), KnownPatients.of(model).parts
    except InputError:  # a training that continues needs no source
        return None
    if before is None or any(before.get(key) != content.get(key) for key in ("classes", "dataset")):
        return None
    earlier, current = _dice_of(before["cases"]), _dice_of(content["cases"])
    patients = sorted(earlier.keys() & current.keys() - other_truth)
    patients = [patient for patient in patients if parts.get(patient) in NOT_TRAINED_ON]
    if not patients:
        return None
    means = [fmean(scores[patient] for patient in patients) for scores in (earlier, current)]
    return (
        f"Dice {means[0]:.3f} before, {means[1]:.3f} after, on {many(len(patients), 'patient')} that neither training"
        f" learned from (before: {model.path})"
    )


def _report_of(model: Model) -> dict[str, Any] | None:
    """The report.json of a network's validation, if there is one of this very network."""
    path = None if model.split is None else model.split.with_name("validation") / "report.json"
    if path is None or not path.is_file():
        return None
    content = read_json(path)
    return content if content.get("checkpoint_sha256") == model.sha256 else None


def _dice_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean Dice of each patient's images, where they have one."""
    scores: dict[str, list[float]] = {}
    for case in cases:
        value = case["dice"]["mean"]
        if value is not None and not math.isnan(value):
            scores.setdefault(case["patient"], []).append(value)
    return {patient: fmean(values) for patient, values in scores.items()}
