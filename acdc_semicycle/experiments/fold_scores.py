"""The scores of all patients that the folds of a training left out, each by the network that never saw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.means import mean_and_std, score_statistics
from acdc_semicycle.evaluation.model_scores import SCORES
from acdc_semicycle.evaluation.model_tables import notes
from acdc_semicycle.runtime.errors import many

Row = dict[str, Any]


def content_of(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of folds.json, of each fold's report.json.

    ``summary`` has, of each score, means and standard deviations over patients, by structure; a patient's score is the
    mean of the patient's images. The deviation is that of single patients, not of the mean.
    """
    cases = []
    for number, report in enumerate(reports):
        cases += [{"fold": number} | with_nan(case) for case in report["cases"]]
    cases.sort(key=lambda case: case["case"])
    first = reports[0]
    classes = first["classes"]
    rows = by_patient(cases, structures_of(classes))
    summary: dict[str, Any] = {"patients": len(rows), "volumes": len(cases)}
    for score in SCORES:
        summary |= score_statistics(score, [row[score] for row in rows.values()], structures_of(classes))
    kept = {key: first.get(key) for key in ("note", "postprocessing", "protocol", "dataset", "method", "seed", "main")}
    return kept | {"folds": len(reports), "classes": classes, "summary": summary, "cases": cases}


def by_patient(cases: Sequence[Row], structures: Sequence[str]) -> dict[str, Row]:
    """The mean scores of each patient's images; NaN where none of them has a structure."""
    images: dict[str, list[Row]] = {}
    for case in cases:
        images.setdefault(case["patient"], []).append(case)
    rows: dict[str, Row] = {}
    for patient, own in images.items():
        rows[patient] = {score: {} for score in SCORES}
        for score, name in product(SCORES, ("mean", *structures)):
            rows[patient][score][name] = mean_and_std([case[score][name] for case in own])[0]
    return rows


def with_nan(case: Row) -> Row:
    """A case with NaN where its report, as JSON has none, holds null for a score."""
    scores = {}
    for score in SCORES:
        scores[score] = {name: math.nan if value is None else value for name, value in case[score].items()}
    return case | scores


def table(content: dict[str, Any], structures: Sequence[str]) -> str:
    """Mean, standard deviation and number of patients by structure, as lines of text."""
    score = "dice" if content["main"] == "dice" else "iou"
    title = "Dice" if score == "dice" else "IoU"
    summary = content["summary"]
    whole = f"{many(summary['patients'], 'labelled patient')} in {content['folds']} folds"
    lines = [f"{whole}, each scored by a network that was not trained on them"]
    lines.append(f"{title:<22}{'mean':>8}{'std':>8}{'patients':>10}")
    for name in (*structures, "mean"):
        mean, std, number = (summary[key][name] for key in (score, f"{score}_std", f"{score}_n"))
        lines.append(f"{name:<22}{mean:8.3f}{std:8.3f}{number:10d}")
    return "\n".join([*lines, *notes(content)])
