"""The finished runs below a folder, and what each of them reports.

A run is the folder OUT/DATASET/labels_LABELS/METHOD/seed_SEED, finished once its ``finished.json`` names a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acdc_semicycle.experiments.methods import order_of
from acdc_semicycle.experiments.paper import SCORES, label_order, labels_in_words
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json


@dataclass(frozen=True)
class Cell:
    """One run of a table; ``labels`` is a percentage ("20") or a number of patients ("3p")."""

    dataset: str
    labels: str
    method: str
    seed: int

    @property
    def subfolder(self) -> Path:
        """Its folder below the output folder."""
        return Path(self.dataset, f"labels_{self.labels}", self.method, f"seed_{self.seed}")

    def __str__(self) -> str:
        return f"{self.dataset} {labels_in_words(self.labels)} {self.method} seed {self.seed}"


class Finished(NamedTuple):
    """A finished run."""

    cell: Cell
    command: str
    report: dict[str, Any]
    folder: Path  # of the report

    def score(self, name: str) -> float | None:
        """One of ``SCORES`` over the whole reported part."""
        value = self.report["summary"].get(name)
        return value.get("mean") if isinstance(value, dict) else value

    def patients(self) -> dict[str, float]:
        """The mean score of each patient, or picture, that has one: Dice of its volumes, IoU of a picture."""
        score = "dice" if self.cell.dataset == "acdc" else "iou"
        values: dict[str, list[float]] = {}
        for case in self.report["cases"]:
            value = case[score]["mean"]
            if value is not None:
                values.setdefault(case.get("patient") or case["case"], []).append(value)
        return {patient: float(np.mean(scores)) for patient, scores in values.items()}


def finished(path: Path) -> dict[str, Any]:
    """The content of a run's finished.json.

    Raises:
        InputError: names the file that is damaged.
    """
    return read_with(path, "report", "command", "settings")


def read_with(path: Path, *keys: str) -> dict[str, Any]:
    """The content of a JSON file that must have these keys."""
    content = read_json(path)
    for key in keys:
        if key not in content:
            raise InputError(f"{path} is damaged (it has no {key}): remove it, and give the table's command again")
    return content


def finished_runs(out: Path) -> list[Finished]:
    """All finished runs below a folder, as the tables order them."""
    runs: list[Finished] = []
    for path in sorted(out.glob("*/labels_*/*/seed_*/finished.json")):
        dataset, labels, method, seed = path.parent.relative_to(out).parts
        runs += run_at(path, Cell(dataset, labels.removeprefix("labels_"), method, int(seed.removeprefix("seed_"))))
    return in_table_order(runs)


def run_at(path: Path, cell: Cell) -> list[Finished]:
    """The run that a finished.json names; none where its report is gone, or of a data set that has no table."""
    record = finished(path)
    report = path.parent / record["report"]
    if not report.is_file() or cell.dataset not in SCORES:
        return []
    return [Finished(cell, record["command"], read_with(report, "summary", "cases"), report.parent)]


def in_table_order(runs: Sequence[Finished]) -> list[Finished]:
    """Runs by data set, method, labels and seed, as tables have them."""
    methods = [run.cell.method for run in runs]
    return sorted(runs, key=lambda run: _order(run.cell, methods))


def select(runs: Sequence[Finished], **fields: str) -> list[Finished]:
    """The runs whose cells have these values, such as ``method="partial"``."""
    selected = []
    for run in runs:
        if all(getattr(run.cell, name) == value for name, value in fields.items()):
            selected.append(run)
    return selected


def _order(cell: Cell, methods: Sequence[str]) -> tuple[int, int, tuple[bool, float], int]:
    """A key that sorts runs by data set, method, labels and seed."""
    return list(SCORES).index(cell.dataset), order_of(cell.method, methods), label_order(cell.labels), cell.seed
