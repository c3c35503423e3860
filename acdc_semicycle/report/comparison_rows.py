"""What a comparison of runs says in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.experiments.run_curves import LOSS
from acdc_semicycle.experiments.run_record import REPORTED, RunRecord
from acdc_semicycle.experiments.run_scores import Scores
from acdc_semicycle.experiments.run_settings import differences
from acdc_semicycle.report.agreement import of_differences
from acdc_semicycle.report.comparison_notes import Scored, are_comparable, notes, warnings

TITLES = {"dice": "Dice", "iou": "IoU"}

Row = dict[str, Any]


def content_of(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The content of comparison.json, but for how it was made.

    ``runs`` has a row a run, ``settings`` the settings that differ, ``curves`` the learning curves.

    Args:
        runs: one or more; differences are to the first.
    """
    scores_of = _scores_of(runs)
    score = "iou" if {scores.score for scores in scores_of if scores} == {"iou"} else "dice"
    structures = _structures(scores_of)
    rows = []
    for run, scores in zip(runs, scores_of, strict=True):
        row = _row(run) | _score_columns(scores, score, structures)
        row["difference"] = None
        if scores and scores_of[0] and run is not runs[0]:
            row["difference"] = _difference((runs[0], scores_of[0]), (run, scores), score)
        rows.append(row)
    failures = []
    for run in runs:
        failures += [{"run": run.name, "reason": fault} for fault in run.faults]
    return {
        "comparison_of": "training runs (semicycle compare)",
        "score": score,
        "structures": structures,
        "runs": rows,
        "settings": [{"key": setting.key, "values": setting.values} for setting in differences(runs)],
        "curves": [_curve(run, score) for run in runs],
        "warnings": warnings(runs, scores_of),
        "notes": notes(runs, scores_of),
        "failures": failures,
    }


def _scores_of(runs: Sequence[RunRecord]) -> list[Scores | None]:
    """The scores of each run: on the same part where all scored runs have one, else on each run's most telling one."""
    scored = [run for run in runs if run.scores]
    for part in REPORTED:
        if scored and all(part in run.scores for run in scored):
            return [run.scores.get(part) for run in runs]
    return [next(iter(run.scores.values()), None) for run in runs]


def _structures(scores_of: Sequence[Scores | None]) -> list[str]:
    """The structures that any run is scored on, each once."""
    names: dict[str, None] = {}  # a set that keeps the order
    for scores in scores_of:
        if scores:
            names |= dict.fromkeys(scores.structures)
    return list(names)


def _row(run: RunRecord) -> Row:
    """What is known of a run beside its scores."""
    return {
        "run": run.name,
        "folder": str(run.folder),
        "dataset": run.dataset,
        "method": run.method,
        "folds": run.folds or None,
        "labelled": run.patients("labelled"),
        "unlabelled": run.patients("unlabelled"),
        "epochs": run.epochs,
        "planned_epochs": run.planned_epochs,
        "steps": run.steps,
        "minutes": run.minutes,
        "configuration": bool(run.config),
    }


def _score_columns(scores: Scores | None, score: str, structures: Sequence[str]) -> Row:
    """The means over patients of a score and their standard deviation, by structure, and who was scored."""
    means: dict[str, float | None] = dict.fromkeys(("mean", *structures))
    stds: dict[str, float | None] = dict(means)
    if scores is None:
        return {"part": None, "patients": None, "cases": None, score: means, f"{score}_std": stds}
    for name in ("mean", *scores.structures):
        mean, std, number = mean_and_std([row[score][name] for row in scores.patients.values()])
        means[name] = mean if number else None
        stds[name] = std if number > 1 else None
    counts = {"part": scores.part, "patients": len(scores.patients), "cases": len(scores.cases)}
    return counts | {score: means, f"{score}_std": stds}


def _difference(first: Scored, other: Scored, score: str) -> Row | None:
    """The mean difference of a run to the first one over patients, with its 95 % confidence interval.

    None unless both are scored on the same cases by the same structures. The interval is that of Student's t, and None
    of fewer than three patients.
    """
    if not are_comparable(first, other):
        return None
    pairs = []
    for patient, row in first[1].patients.items():
        pairs.append((row[score]["mean"], other[1].patients[patient][score]["mean"]))
    values = np.array(pairs, float)
    gains = (values[:, 1] - values[:, 0])[np.isfinite(values).all(1)]
    if not gains.size:
        return None
    agreement = of_differences(gains)
    low, high = agreement.bias_interval or (None, None)
    return {"mean": agreement.bias, "low": low, "high": high, "patients": agreement.n}


def _curve(run: RunRecord, score: str) -> Row:
    """The learning curve of a run: loss and score by epoch."""
    curve = run.curve
    return {
        "run": run.name,
        "steps_per_epoch": run.steps_per_epoch,
        "loss": curve.values(LOSS),
        score: curve.values(score),
    }
