"""The rows of the table of few annotated patients: means over seeds, times, gains and their test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.experiments import few
from acdc_semicycle.experiments.few_runs import LABEL_MAPS
from acdc_semicycle.experiments.methods import in_order
from acdc_semicycle.experiments.results import Finished, read_with, select
from acdc_semicycle.experiments.rows import by_seed, compare
from acdc_semicycle.experiments.run_times import sessions


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each number of annotated patients, from few to many, and method."""
    rows = []
    for patients in counts_of(runs):
        own = select(runs, labels=f"{patients}p")
        of_few = by_seed(own, few.NAME, f"{patients}p")
        for method in in_order({run.cell.method for run in own}):
            of_method = by_seed(own, method, f"{patients}p")
            row = _row(patients, method, of_method)
            if method != few.NAME:
                row |= compare(of_few, of_method)
            rows.append(row)
    return rows


def counts_of(runs: Sequence[Finished]) -> list[int]:
    """The numbers of annotated patients that runs have, each once, rising."""
    return sorted({int(run.cell.labels.removesuffix("p")) for run in runs})


def _row(patients: int, method: str, runs: Mapping[int, Finished]) -> dict[str, Any]:
    """One line of the table: the mean and standard deviation of each score over the seeds."""
    first = next(iter(runs.values()))
    row: dict[str, Any] = {"patients": patients, "method": method, "seeds": [*runs]}
    row |= {"part": first.report.get("part"), "volumes": len(first.report["cases"])}
    values: dict[str, list[float]] = {}
    units = set()
    for run in runs.values():
        scores, unit = _scores_and_unit(run)
        units.add(unit)
        for name, score in scores.items():
            values.setdefault(name, []).append(math.nan if score is None else score)
    for name, of_seeds in values.items():
        mean, std, number = mean_and_std(of_seeds)
        row |= {name: mean if number else None, f"{name}_std": std if number > 1 else None}
    return row | {"hd95_unit": " or ".join(sorted(units - {""}))}


def _scores_and_unit(run: Finished) -> tuple[dict[str, float | None], str]:
    """The means over the cases of a run, its minutes, and the unit of HD95: mm, or voxels of data without a spacing."""
    scores = {"dice": run.score("dice")}
    for name in structures_of(run.report["classes"]):
        scores[name] = run.report["summary"]["dice"].get(name)
    path = folder_of(run) / LABEL_MAPS / "evaluation.json"
    unit = ""
    scores |= {"label_map_dice": None, "hd95": None}
    if path.is_file():
        summary = next(iter(read_with(path, "summary", "structures")["summary"].values()))
        scores |= {"label_map_dice": summary["dice"]["mean"], "hd95": summary["hd95"]["mean"]}
        unit = summary["unit"]
    return scores | {"minutes": minutes(run)}, unit


def folder_of(run: Finished) -> Path:
    """The folder of a run, whose report lies in one of its own."""
    return run.folder.parent


def minutes(run: Finished) -> float | None:
    """How long the epochs of a training took, all its sessions together; None where it left no TensorBoard files.

    A session lasts from the first entry of its file to the last one, that of its last whole epoch.
    """
    seconds = [events[-1].wall_time - events[0].wall_time for events in sessions(folder_of(run))]
    return sum(seconds) / 60 if seconds else None
