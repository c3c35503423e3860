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
from acdc_semicycle.evaluation.summaries import FAR, SCORES, SIDES, summaries_by_tool
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_text

OURS = (  # and by what they are known
    ("evaluation.json", '"cases"', MADE_HERE),
    ("cases.csv", "tool,case,patient,phase,unit,"),
    ("summary.csv", "tool,phase,score,structure,"),
    ("patients.csv", "tool,patient,truth_"),
)


def check_current(folder: Path, content: dict[str, Any]) -> None:
    """Refuse an evaluation of label maps that are others by now.

    Raises:
        InputError: names the first of them.
    """
    for row in [*content["cases"], *(content.get("agreement_cases") or ())]:
        path = Path(row.get("prediction") or "")
        path = path if path.is_file() else folder / path
        if row.get("sha256") and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise InputError(f"{path} is another than was evaluated in {folder}: say semicycle evaluate again")


def check_target(folder: Path, truth: Path | str | None) -> None:
    """Refuse a folder for the results that cannot be written, that is the truth's, or that holds others' files."""
    if truth and Path(truth).resolve() == folder.resolve():
        raise InputError(f"{folder} is the folder of the truth: say with -o where the results should go")
    if folder.exists():
        check_folder(folder)
    for name, *signs in OURS:
        check_ours(folder / name, *signs)


def write(content: dict[str, Any], folder: Path) -> Path:
    """evaluation.json, cases.csv, summary.csv and patients.csv, each whole or not at all; the first one's path."""
    check_target(folder, content["truth"])
    path, heads = Path(folder) / "evaluation.json", ("mean", *content["structures"])
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(path.with_name("cases.csv"), _csv(_case_rows(content, heads)))
    write_text(path.with_name("summary.csv"), _csv(_summary_rows(content, heads)))
    write_text(path.with_name("patients.csv"), _csv(_patient_rows(content)))
    return path


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    cells = ([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    csv.writer(stream, lineterminator="\n").writerows(cells)  # None is an empty cell
    return stream.getvalue()


def _case_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    first = ["tool", "case", "patient", "phase", "unit"]
    scores, ml = list(product(SCORES, heads)), list(product(SIDES, content["structures"]))
    yield [*first, *(f"{score}_{name}" for score, name in scores), *(f"{side}_{name}_ml" for side, name in ml)]
    for row in content["cases"] + content["agreement_cases"]:
        volumes_ml = row["volumes_ml"] or {side: {} for side in SIDES}
        values = [row[score][name] for score, name in scores] + [volumes_ml[side].get(name) for side, name in ml]
        yield [*(row[name] for name in first), *values]


def _summary_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    yield ["tool", "phase", "score", "structure", "mean", "std", "n", "unit"]
    for tool, whole in summaries_by_tool(content):
        for phase, part in {"": whole, **whole["by_phase"]}.items():
            for score, name in product(SCORES, heads):
                values = [part[key][name] for key in (score, f"{score}_std", f"{score}_n")]
                yield [tool, phase, score, name, *values, part["unit"] if score in FAR else ""]


def _patient_rows(content: dict[str, Any]) -> Iterable[list[Any]]:
    names = list(product(SIDES, clinical.indices({}, {})))
    yield ["tool", "patient", *(f"{side}_{name}" for side, name in names)]
    for row in content["patients"]:
        yield [row["tool"], row["patient"], *(row[side][name] for side, name in names)]
