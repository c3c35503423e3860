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
    """Write table.md, table.csv, table.json and a panel for each data set into ``out``; the tables as text.

    Args:
        out: the folder of the runs.
        images: whether panels show the data set's images and masks, or what the networks made alone.

    Raises:
        InputError: no run below it is finished.
    """
    runs = finished_runs(out)
    if not runs:
        raise InputError(f"{out} holds no finished run: give the --out folder of a semicycle table")
    rows, notes = (
        table_rows(runs),
        sorted({run.report[key] for run in runs for key in ("note", "protocol") if run.report.get(key)}),
    )
    apart = all(run.report.get("part") == "test" and not run.report.get("protocol") for run in runs)
    text = "\n\n".join([markdown(rows), "\n".join([INCOMPARABLE, *([HERE] if apart else []), *notes])]) + "\n"
    commands = [f"# {run.cell}\n{run.command}" for run in runs]
    foot = ["", "Commands (training; each was evaluated after it):", "", "```", *commands, "```", ""]
    write_text(out / "table.md", text + "\n".join(foot))
    write_text(out / "table.csv", _csv(rows))
    content = {"rows": rows, "incomparable": INCOMPARABLE, "notes": notes}
    write_text(out / "table.json", json.dumps(content, indent=1) + "\n")
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        draw(out / f"panel_{dataset}.png", [run for run in runs if run.cell.dataset == dataset], images)
    return text


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each line of both tables, with None where nothing has been run."""
    rows = []
    for dataset in [name for name in SCORES if any(run.cell.dataset == name for run in runs)]:
        here = {(run.cell.method, run.cell.labels) for run in runs if run.cell.dataset == dataset}
        wanted = {key for key in here | PAPER.keys() if key[0] in METHODS}
        for method, labels in sorted(wanted, key=lambda key: (METHODS.index(key[0]), label_order(key[1]))):
            rows.append(_row(1, dataset, method, labels, runs))
        for labels in sorted({labels for method, labels in here if method in ABLATIONS}, key=label_order):
            ablated = [run for run in runs if (run.cell.dataset, run.cell.labels) == (dataset, labels)]
            seeds = {run.cell.seed for run in ablated if run.cell.method in ABLATIONS}
            beside = [run for run in ablated if run.cell.seed in seeds]  # all terms by the same seeds
            rows += [_row(2, dataset, method, labels, beside) for method in ("semicycle", *ABLATIONS)]
    return rows


def _row(table: int, dataset: str, method: str, labels: str, runs: Sequence[Finished]) -> dict[str, Any]:
    def seeds(method: str) -> dict[int, Finished]:
        key = (dataset, labels, method)
        return {run.cell.seed: run for run in runs if (run.cell.dataset, run.cell.labels, run.cell.method) == key}

    own = seeds(method)
    row: dict[str, Any] = {"table": table, "dataset": dataset, "method": method, "labels": labels, "seeds": [*own]}
    for score in SCORES[dataset]:
        row[score], row[f"{score}_std"] = _mean_and_std(run.score(score) for run in own.values())
    row["published"] = PAPER.get((method, labels), {}).get(dataset)
    if table == 1 and method == "semicycle":
        row |= compare(own, seeds("partial"))
    return row


def _mean_and_std(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean, and standard deviation (ddof 1) where there are two values or more."""
    known = [value for value in values if value is not None]
    return (
        float(np.mean(known)) if known else None,
        float(np.std(known, ddof=1)) if len(known) > 1 else None,
    )


def compare(ours: Mapping[int, Finished], others: Mapping[int, Finished]) -> dict[str, Any]:
    """What runs by seed gain over others in the main score, and a paired Wilcoxon signed-rank test over patients.

    Only the seeds of both count. A patient, or picture, is one pair: the mean over its volumes and over the seeds that
    report it, because neither are independent. p is None where all pairs are ties.
    """
    gains: list[float] = []
    pairs: dict[str, list[tuple[float, float]]] = {}
    for seed in sorted(ours.keys() & others.keys()):
        main = next(iter(SCORES[ours[seed].cell.dataset]))
        mine, theirs = ours[seed].score(main), others[seed].score(main)
        if mine is not None and theirs is not None:
            gains.append(mine - theirs)
        one, two = ours[seed].patients(), others[seed].patients()
        for patient in one.keys() & two.keys():
            pairs.setdefault(patient, []).append((one[patient], two[patient]))
    means = [tuple(np.mean(values, axis=0).tolist()) for _, values in sorted(pairs.items())]
    return {"gain": float(np.mean(gains)) if gains else None, "p": _wilcoxon(means), "n": len(means) or None}


def _wilcoxon(pairs: Sequence[tuple[float, ...]]) -> float | None:
    if all(a == b for a, b in pairs):
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(*zip(*pairs, strict=True)).pvalue)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for each data set."""
    parts = []
    for table, dataset in dict.fromkeys((row["table"], row["dataset"]) for row in rows):
        chosen = [row for row in rows if (row["table"], row["dataset"]) == (table, dataset)]
        heads = ["terms" if table == 2 else "method", "labels", "seeds", *SCORES[dataset].values(), "paper"]
        heads += ["gain over partial", "paired Wilcoxon test"] if table == 1 else []
        lines = [f"## Table {table}: {dataset}", "", _line(heads), "|---" * len(heads) + "|"]
        parts.append("\n".join([*lines, *(_line(_words(row)) for row in chosen)]))
    return "\n\n".join(parts)


def _line(words: Iterable[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _words(row: Mapping[str, Any]) -> list[str]:
    """A row as the words of its columns."""
    name = WORDS[row["method"]] if row["table"] == 2 else row["method"]
    words = [name, labels_in_words(row["labels"]), str(len(row["seeds"]) or "-")]
    for score in SCORES[row["dataset"]]:
        mean, std = row[score], row[f"{score}_std"]
        words.append("-" if mean is None else f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}")
    words.append("-" if row["published"] is None else f"{row['published']:.4f}")
    if row["table"] == 1:
        gain, p = row.get("gain"), row.get("p")
        words.append("-" if gain is None else f"{gain:+.4f}")
        words.append("-" if p is None else f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}, n = {row['n']}")
    return words


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    heads = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(row) | {"seeds": " ".join(map(str, row["seeds"]))} for row in rows)
    return text.getvalue()
