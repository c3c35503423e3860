"""evaluation.json, cases.csv, summary.csv and patients.csv, and whether they may be written and are current."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation import clinical
from acdc_semicycle.evaluation.summaries import DISTANCES, SCORES, SIDES, summaries_by_tool
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_text

OURS = (  # each file with what marks it as written here
    ("evaluation.json", '"cases"', MADE_HERE),
    ("cases.csv", "tool,case,patient,phase,unit,"),
    ("summary.csv", "tool,phase,score,structure,"),
    ("patients.csv", "tool,patient,truth_"),
)
CASE = ("tool", "case", "patient", "phase", "unit", "part")  # the first columns of cases.csv


def check_current(folder: Path, content: dict[str, Any]) -> None:
    """Refuse an evaluation of label maps that have changed since.

    Args:
        folder: relative paths start here.
        content: of its evaluation.json.

    Raises:
        InputError: names the first of them.
    """
    for row in [*content["cases"], *(content.get("agreement_cases") or ())]:
        path = _label_map_of(row, folder)
        if not row.get("sha256") or not path.is_file():
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise InputError(f"{path} has changed since it was evaluated in {folder}: run semicycle evaluate again")


def _label_map_of(row: dict[str, Any], folder: Path) -> Path:
    """The label map of a case in evaluation.json; a relative path that leads nowhere starts in the folder."""
    path = Path(row.get("prediction") or "")
    return path if path.is_file() else folder / path


def check_target(folder: Path, truth: Path | str | None) -> None:
    """Refuse a folder for the results that cannot be written, that is the truth's, or that holds others' files."""
    if truth and Path(truth).resolve() == folder.resolve():
        raise InputError(f"{folder} is the folder of the truth: give another folder for the results with -o")
    if folder.exists():
        check_folder(folder)
    for name, *signs in OURS:
        check_ours(folder / name, *signs)


def write(content: dict[str, Any], folder: Path) -> Path:
    """Write evaluation.json, cases.csv, summary.csv and patients.csv, each whole or not at all.

    Returns:
        The path of evaluation.json.
    """
    check_target(folder, content["truth"])
    path, names = Path(folder) / "evaluation.json", ("mean", *content["structures"])
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(path.with_name("cases.csv"), _csv(_case_rows(content, names)))
    write_text(path.with_name("summary.csv"), _csv(_summary_rows(content, names)))
    write_text(path.with_name("patients.csv"), _csv(_patient_rows(content)))
    return path


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells as CSV, numbers with six digits; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in rows:
        writer.writerow([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row])
    return stream.getvalue()


def _case_rows(content: dict[str, Any], names: Sequence[str]) -> Iterable[list[Any]]:
    """cases.csv: the head, then a row per case with its scores and volumes."""
    scores = list(product(SCORES, names))
    sides = list(product(SIDES, content["structures"]))
    yield [*CASE, *map("_".join, scores), *(f"{side}_{name}_ml" for side, name in sides)]
    for row in content["cases"] + content["agreement_cases"]:
        cells = [row[column] for column in CASE]
        for score, name in scores:
            cells.append(row[score][name])
        for side, name in sides:
            cells.append(row["volumes_ml"][side][name] if row["volumes_ml"] else None)
        yield cells


def _summary_rows(content: dict[str, Any], names: Sequence[str]) -> Iterable[list[Any]]:
    """summary.csv: the head, then a row per tool, phase, score and structure, and the same of each part.

    The rows without a part have all cases that count.
    """
    yield ["tool", "phase", "score", "structure", "mean", "std", "n", "unit", "part"]
    for tool, summary in summaries_by_tool(content).items():
        groups = [("", "", summary)]
        groups += [(phase, "", statistics) for phase, statistics in summary["by_phase"].items()]
        groups += [("", part, statistics) for part, statistics in summary["by_part"].items()]
        for phase, part, statistics in groups:
            for score, name in product(SCORES, names):
                unit = statistics["unit"] if score in DISTANCES else ""
                numbers = [statistics[f"{score}{end}"][name] for end in ("", "_std", "_n")]
                yield [tool, phase, score, name, *numbers, unit, part]


def _patient_rows(content: dict[str, Any]) -> Iterable[list[Any]]:
    """patients.csv: the head, then a row per tool and patient with the true and the predicted indices."""
    indices = list(clinical.indices({}, {}))
    yield ["tool", "patient", *map("_".join, product(SIDES, indices)), "part"]
    for row in content["patients"]:
        yield [row["tool"], row["patient"], *row["truth"].values(), *row["prediction"].values(), row["part"]]
