"""The rows of the table of few annotated patients: means over seeds, times, gains and their test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.experiments import few
from acdc_semicycle.experiments.few_runs import LABEL_MAPS
from acdc_semicycle.experiments.methods import in_order
from acdc_semicycle.experiments.results import Finished, select
from acdc_semicycle.experiments.rows import compare
from acdc_semicycle.runtime.files import read_json


class LabelMapScores(NamedTuple):
    """The means over cases of a run's label maps; None where there are none."""

    dice: float | None = None
    hd95: float | None = None
    unit: str = ""  # of hd95: mm, or voxels where the data have no spacing


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each number of annotated patients, from few to many, and method."""
    counts = sorted({patients_of(run) for run in runs})
    rows = []
    for patients in counts:
        own = select(runs, labels=f"{patients}p")
        of_few = _by_seed(select(own, method=few.NAME))
        for method in in_order({run.cell.method for run in own}):
            row = _row(patients, method, _by_seed(select(own, method=method)))
            if method != few.NAME:
                row |= compare(of_few, _by_seed(select(own, method=method)))
            rows.append(row)
    return rows


def patients_of(run: Finished) -> int:
    """How many patients a run has labelled."""
    return int(run.cell.labels.removesuffix("p"))


def _by_seed(runs: Sequence[Finished]) -> dict[int, Finished]:
    """Runs of one method and one number of patients by their seed."""
    return {run.cell.seed: run for run in runs}


def _row(patients: int, method: str, runs: Mapping[int, Finished]) -> dict[str, Any]:
    """One line of the table: the mean and standard deviation of each score over the seeds."""
    first = next(iter(runs.values()))
    row: dict[str, Any] = {"patients": patients, "method": method, "seeds": [*runs]}
    row |= {"part": first.report.get("part"), "volumes": len(first.report["cases"])}
    row |= _over_seeds("dice", [run.score("dice") for run in runs.values()])
    for name in structures_of(first.report["classes"]):
        row |= _over_seeds(name, [run.report["summary"]["dice"].get(name) for run in runs.values()])
    label_maps = [label_map_scores(run) for run in runs.values()]
    row |= _over_seeds("label_map_dice", [scores.dice for scores in label_maps])
    row |= _over_seeds("hd95", [scores.hd95 for scores in label_maps])
    row["hd95_unit"] = " or ".join(sorted({scores.unit for scores in label_maps if scores.unit}))
    return row | _over_seeds("minutes", [minutes(run) for run in runs.values()])


def _over_seeds(score: str, values: Sequence[float | None]) -> dict[str, Any]:
    """The mean of the values that there are, and their deviation where there are two."""
    mean, std, number = mean_and_std([value for value in values if value is not None])
    return {score: mean if number else None, f"{score}_std": std if number > 1 else None}


def folder_of(run: Finished) -> Path:
    """The folder of a run, whose report lies in one of its own."""
    return run.folder.parent


def label_map_scores(run: Finished) -> LabelMapScores:
    """The scores of the label maps that ``predict`` wrote, by the evaluation.json beside them."""
    path = folder_of(run) / LABEL_MAPS / "evaluation.json"
    if not path.is_file():
        return LabelMapScores()
    (summary,) = read_json(path)["summary"].values()
    return LabelMapScores(summary["dice"]["mean"], summary["hd95"]["mean"], summary["unit"])


def minutes(run: Finished) -> float | None:
    """How long the epochs of a training took, all its sessions together; None where it left no TensorBoard files.

    A session lasts from the first entry of its file to the last one, that of its last whole epoch.
    """
    files = sorted((folder_of(run) / "tensorboard").glob("events.out.tfevents.*"))
    if not files:
        return None
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # slow: only where it is needed

    seconds = 0.0
    for path in files:
        times = [event.wall_time for event in EventFileLoader(str(path)).Load()]
        if times:
            seconds += times[-1] - times[0]
    return seconds / 60
