"""The table of few annotated patients from finished runs, as Markdown, CSV, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.experiments.few_picture import draw
from acdc_semicycle.experiments.few_rows import table_rows
from acdc_semicycle.experiments.results import Finished
from acdc_semicycle.experiments.tables import (
    csv_of,
    markdown_line,
    mean_in_words,
    notes_of,
    number_in_words,
    p_in_words,
)
from acdc_semicycle.runtime.errors import many
from acdc_semicycle.runtime.files import write_text

ABOUT = (
    "Dice, and that of each structure: 3D, of the network's own segmentation, means over volumes.",
    "Label maps: what `predict` writes of the same volumes, with its post-processing. HD95 is theirs.",
    "±: standard deviation over seeds. Gain of few: its Dice minus the row's, by the seeds of both.",
    "Test: paired Wilcoxon signed-rank test over patients, each the mean over its volumes and seeds.",
    "Minutes: from the start of the training to the end of its last epoch.",
    "Without lists of patients each seed draws its own.",
)


def write(out: Path, runs: Sequence[Finished]) -> str:
    """Write few.md, few.csv, few.json and few.png into ``out``.

    Args:
        runs: the finished runs, at least one.

    Returns:
        The table as text.
    """
    rows = table_rows(runs)
    remarks = [_scored_on(rows), *ABOUT, *_machines(runs), *notes_of(runs)]
    text = "\n\n".join([markdown(rows, structures_of(runs[0].report["classes"])), "\n".join(remarks)]) + "\n"
    foot = ["", "Commands (training; each was scored after it):", "", "```"]
    for run in runs:
        foot += [f"# {run.cell}", run.command]
    write_text(out / "few.md", text + "\n".join([*foot, "```", ""]))
    write_text(out / "few.csv", csv_of(rows))
    write_text(out / "few.json", json.dumps({"rows": rows, "remarks": remarks}, indent=1) + "\n")
    draw(out / "few.png", runs)
    return text


def _scored_on(rows: Sequence[Mapping[str, Any]]) -> str:
    """On how many volumes of which part the runs are scored."""
    parts = {f"{many(row['volumes'], 'volume')} of {row['part']} patients" for row in rows}
    return f"Scored on {' or '.join(sorted(parts))}."


def _machines(runs: Sequence[Finished]) -> list[str]:
    """The machines that the runs were scored on, each once."""
    machines = set()
    for run in runs:
        about = run.report.get("machine")
        if about:
            words = [many(about["cores"], "core"), many(about["threads"], "thread") + " a run"]
            machines.add(", ".join([*words, *filter(None, [about.get("gpu")])]))
    return [f"Machine: {machine}." for machine in sorted(machines)]


def markdown(rows: Sequence[Mapping[str, Any]], structures: Sequence[str]) -> str:
    """The table, a line for each number of annotated patients and method."""
    heads = ["annotated patients", "method", "seeds", "Dice", *structures, "Dice of label maps", "HD95 of label maps"]
    heads += ["minutes", "gain of few", "paired Wilcoxon test"]
    lines = ["## Few annotated patients", "", markdown_line(heads), "|---" * len(heads) + "|"]
    for row in rows:
        lines.append(markdown_line(_columns(row, structures)))
    return "\n".join(lines)


def _columns(row: Mapping[str, Any], structures: Sequence[str]) -> list[str]:
    """A row as the texts of its columns."""
    columns = [str(row["patients"]), row["method"], str(len(row["seeds"]))]
    for score in ("dice", *structures, "label_map_dice"):
        columns.append(mean_in_words(row, score, ".3f"))
    columns.append(f"{mean_in_words(row, 'hd95', '.1f')} {row['hd95_unit']}".strip())
    columns.append(mean_in_words(row, "minutes", ".0f"))
    return [*columns, number_in_words(row.get("gain"), "+.3f"), p_in_words(row)]
