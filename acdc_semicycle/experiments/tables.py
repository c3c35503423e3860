"""Tables 1 and 2 of the paper from finished runs, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.experiments.panels import draw
from acdc_semicycle.experiments.paper import ABLATIONS, METHODS, PAPER, SCORES, label_order, labels_in_words
from acdc_semicycle.experiments.results import Finished, finished_runs
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
    rows, notes = table_rows(runs), _notes(runs)
    text = "\n\n".join([markdown(rows), "\n".join(_remarks(runs, notes))]) + "\n"
    commands = [f"# {run.cell}\n{run.command}" for run in runs]
    foot = ["", "Commands (training; each was evaluated after it):", "", "```", *commands, "```", ""]
    write_text(out / "table.md", text + "\n".join(foot))
    write_text(out / "table.csv", _csv(rows))
    content = {"rows": rows, "incomparable": INCOMPARABLE, "notes": notes}
    write_text(out / "table.json", json.dumps(content, indent=1) + "\n")
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        draw(out / f"panel_{dataset}.png", [run for run in runs if run.cell.dataset == dataset], images)
    return text


def _notes(runs: Sequence[Finished]) -> list[str]:
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
    return [INCOMPARABLE, HERE, *notes] if on_test_images else [INCOMPARABLE, *notes]


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each line of both tables, with None where nothing has been run."""
    rows = []
    for dataset in SCORES:
        here = [run for run in runs if run.cell.dataset == dataset]
        if here:
            rows += _rows_of_methods(dataset, here) + _rows_of_ablations(dataset, here)
    return rows


def _rows_of_methods(dataset: str, runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """Table 1 of a data set: the paper's methods and labels, and those that were run beside them."""
    pairs = PAPER.keys() | {(run.cell.method, run.cell.labels) for run in runs}
    rows = []
    for method in METHODS:
        labels_of_method = {labels for name, labels in pairs if name == method}
        for labels in sorted(labels_of_method, key=label_order):
            rows.append(_row(1, dataset, method, labels, runs))
    return rows


def _rows_of_ablations(dataset: str, runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """Table 2 of a data set: all terms, and without each, by the same seeds."""
    ablated = [run for run in runs if run.cell.method in ABLATIONS]
    rows = []
    for labels in sorted({run.cell.labels for run in ablated}, key=label_order):
        seeds = {run.cell.seed for run in ablated if run.cell.labels == labels}
        comparable = [run for run in runs if run.cell.labels == labels and run.cell.seed in seeds]
        rows += [_row(2, dataset, method, labels, comparable) for method in ("semicycle", *ABLATIONS)]
    return rows


def _row(table: int, dataset: str, method: str, labels: str, runs: Sequence[Finished]) -> dict[str, Any]:
    """One line of a table: the mean and standard deviation of each score over the seeds, and the paper's number."""
    own = _by_seed(runs, method, labels)
    row: dict[str, Any] = {"table": table, "dataset": dataset, "method": method, "labels": labels, "seeds": [*own]}
    for score in SCORES[dataset]:
        row[score], row[f"{score}_std"] = _mean_and_std(run.score(score) for run in own.values())
    row["published"] = PAPER.get((method, labels), {}).get(dataset)
    if table == 1 and method == "semicycle":
        row |= compare(own, _by_seed(runs, "partial", labels))
    return row


def _by_seed(runs: Sequence[Finished], method: str, labels: str) -> dict[int, Finished]:
    """The runs of a method and its labels by their seed; all are of one data set."""
    return {run.cell.seed: run for run in runs if (run.cell.method, run.cell.labels) == (method, labels)}


def _mean_and_std(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean, and standard deviation (ddof 1) where there are two values or more."""
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return float(np.mean(known)), std


def compare(ours: Mapping[int, Finished], others: Mapping[int, Finished]) -> dict[str, Any]:
    """The gain of runs by seed over others in the main score, and a paired Wilcoxon signed-rank test over patients.

    Only the seeds of both count. A patient, or picture, is one pair: the mean over its volumes and over the seeds that
    report it, because neither are independent. p is None where all pairs are ties.
    """
    gains: list[float] = []
    pairs: dict[str, list[tuple[float, float]]] = {}
    for seed in sorted(ours.keys() & others.keys()):
        main_score = next(iter(SCORES[ours[seed].cell.dataset]))
        score, other_score = ours[seed].score(main_score), others[seed].score(main_score)
        if score is not None and other_score is not None:
            gains.append(score - other_score)
        patients, other_patients = ours[seed].patients(), others[seed].patients()
        for patient in patients.keys() & other_patients.keys():
            pairs.setdefault(patient, []).append((patients[patient], other_patients[patient]))
    means = [tuple(np.mean(values, axis=0).tolist()) for _, values in sorted(pairs.items())]
    return {"gain": float(np.mean(gains)) if gains else None, "p": _wilcoxon(means), "n": len(means) or None}


def _wilcoxon(pairs: Sequence[tuple[float, ...]]) -> float | None:
    """The p value of a paired test; None where all pairs are ties, or there are none."""
    if all(a == b for a, b in pairs):
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(*zip(*pairs, strict=True)).pvalue)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for each data set."""
    parts = []
    for table, dataset in dict.fromkeys((row["table"], row["dataset"]) for row in rows):
        heads = ["method", "labels", "seeds", *SCORES[dataset].values(), "paper"]
        if table == 1:
            heads += ["gain over partial", "paired Wilcoxon test"]
        else:
            heads[0] = "terms"
        lines = [f"## Table {table}: {dataset}", "", _line(heads), "|---" * len(heads) + "|"]
        for row in rows:
            if (row["table"], row["dataset"]) == (table, dataset):
                lines.append(_line(_columns(row)))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(columns: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(columns) + " |"


def _columns(row: Mapping[str, Any]) -> list[str]:
    """A row as the texts of its columns."""
    name = WORDS[row["method"]] if row["table"] == 2 else row["method"]
    columns = [name, labels_in_words(row["labels"]), str(len(row["seeds"]) or "-")]
    for score in SCORES[row["dataset"]]:
        text = _number(row[score], ".4f")
        if row[f"{score}_std"] is not None:
            text += f" ± {row[f'{score}_std']:.4f}"
        columns.append(text)
    columns.append(_number(row["published"], ".4f"))
    if row["table"] == 1:
        columns += [_number(row.get("gain"), "+.4f"), _test_in_words(row)]
    return columns


def _number(value: float | None, form: str) -> str:
    """A number as a column shows it; a dash where there is none."""
    return "-" if value is None else format(value, form)


def _test_in_words(row: Mapping[str, Any]) -> str:
    """The p value of a row's test and its number of pairs; a dash where there is none."""
    p = row.get("p")
    if p is None:
        return "-"
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{words}, n = {row['n']}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, with every column that any of them has."""
    text = io.StringIO(newline="")
    heads = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(heads), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "seeds": " ".join(map(str, row["seeds"]))})
    return text.getvalue()
