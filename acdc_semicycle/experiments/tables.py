"""Tables 1 and 2 of the paper from finished runs, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.experiments.panels import draw
from acdc_semicycle.experiments.paper import ABLATIONS, SCORES, labels_in_words
from acdc_semicycle.experiments.results import Finished, finished_runs, select
from acdc_semicycle.experiments.rows import table_rows
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text

WORDS = {"semicycle": "all terms"} | {name: f"without {name[3:]}" for name in ABLATIONS}
INCOMPARABLE = (
    "The paper's figures are no yardstick for these. Paper: one random split of all images (ACDC: slices), the best"
    " epoch on the very set that is reported, one seed, mean IoU at the network's resolution with VOC's background and"
    " Cityscapes' void taken out."
)
HERE = "Here: the network is chosen on validation and reported on test images, ACDC is split by patient."


def write(out: Path, images: bool = True) -> str:
    """Write table.md, table.csv, table.json and a panel for each data set into ``out``.

    Args:
        out: the folder of the runs.
        images: whether panels show the data set's images and masks, too, or only the networks' predictions.

    Returns:
        The tables as text.

    Raises:
        InputError: no run below the folder is finished.
    """
    runs = finished_runs(out)
    if not runs:
        raise InputError(f"{out} holds no finished run: give the --out folder of a semicycle table")
    rows, notes = table_rows(runs), notes_of(runs)
    text = "\n\n".join([markdown(rows), "\n".join(_remarks(runs, notes))]) + "\n"
    foot = ["", "Commands (training; each was evaluated after it):", "", "```"]
    for run in runs:
        foot += [f"# {run.cell}", run.command]
    write_text(out / "table.md", text + "\n".join([*foot, "```", ""]))
    write_text(out / "table.csv", csv_of(rows))
    content = {"rows": rows, "incomparable": INCOMPARABLE, "notes": notes}
    write_text(out / "table.json", json.dumps(content, indent=1) + "\n")
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        draw(out / f"panel_{dataset}.png", select(runs, dataset=dataset), images)
    return text


def notes_of(runs: Sequence[Finished]) -> list[str]:
    """The notes and protocols of the runs' reports, each once."""
    notes = set()
    for run in runs:
        for key in ("note", "protocol"):
            if run.report.get(key):
                notes.add(run.report[key])
    return sorted(notes)


def _remarks(runs: Sequence[Finished], notes: Sequence[str]) -> list[str]:
    """The lines below the tables: why they are not comparable, how the runs were evaluated, and their notes."""
    on_test_images = all(run.report.get("part") == "test" and not run.report.get("protocol") for run in runs)
    here = [HERE] if on_test_images else []
    label_maps = {str(run.report["postprocessing"]) for run in runs if run.report.get("postprocessing")}
    return [INCOMPARABLE, *here, *(f"Scores of {words}." for words in sorted(label_maps)), *notes]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for each data set."""
    parts = []
    for table, dataset in dict.fromkeys((row["table"], row["dataset"]) for row in rows):
        heads = ["method", "labels", "seeds", *SCORES[dataset].values(), "paper"]
        if table == 1:
            heads += ["gain over partial", "paired Wilcoxon test"]
        else:
            heads[0] = "terms"
        lines = [f"## Table {table}: {dataset}", "", markdown_line(heads), "|---" * len(heads) + "|"]
        for row in rows:
            if (row["table"], row["dataset"]) == (table, dataset):
                lines.append(markdown_line(_columns(row)))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def markdown_line(columns: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(columns) + " |"


def _columns(row: Mapping[str, Any]) -> list[str]:
    """A row as the texts of its columns."""
    name = WORDS[row["method"]] if row["table"] == 2 else row["method"]
    columns = [name, labels_in_words(row["labels"]), str(len(row["seeds"]) or "-")]
    for score in SCORES[row["dataset"]]:
        columns.append(mean_in_words(row, score, ".4f"))
    columns.append(number_in_words(row["published"], ".4f"))
    if row["table"] == 1:
        columns += [number_in_words(row.get("gain"), "+.4f"), p_in_words(row)]
    return columns


def mean_in_words(row: Mapping[str, Any], score: str, form: str) -> str:
    """The mean of a score over the seeds and its deviation, where there is more than one seed."""
    text = number_in_words(row[score], form)
    if row[f"{score}_std"] is not None:
        text += f" ± {row[f'{score}_std']:{form}}"
    return text


def number_in_words(value: float | None, form: str) -> str:
    """A number as a column shows it; a dash where there is none."""
    return "-" if value is None else format(value, form)


def p_in_words(row: Mapping[str, Any]) -> str:
    """The p value of a row's test and its number of pairs; a dash where there is none."""
    p = row.get("p")
    if p is None:
        return "-"
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{words}, n = {row['n']}"


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, with every column that any of them has."""
    text = io.StringIO(newline="")
    heads: dict[str, None] = {}  # a set that keeps the order
    for row in rows:
        heads |= dict.fromkeys(row)
    writer = csv.DictWriter(text, list(heads), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "seeds": " ".join(map(str, row["seeds"]))})
    return text.getvalue()
