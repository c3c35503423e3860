"""The rows of Tables 1 and 2: means over seeds, gains and their test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.experiments.methods import in_order
from acdc_semicycle.experiments.paper import ABLATIONS, PAPER, SCORES, label_order
from acdc_semicycle.experiments.results import Finished, select


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each line of both tables, with None where nothing has been run."""
    rows = []
    for dataset in SCORES:
        dataset_runs = select(runs, dataset=dataset)
        if dataset_runs:
            rows += _rows_of_methods(dataset, dataset_runs) + _rows_of_ablations(dataset, dataset_runs)
    return rows


def _rows_of_methods(dataset: str, runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """Table 1 of a data set: the paper's methods and labels, and those that were run beside them."""
    labels_of: dict[str, set[str]] = {}
    for method, labels in PAPER:
        labels_of.setdefault(method, set()).add(labels)
    for run in runs:
        labels_of.setdefault(run.cell.method, set()).add(run.cell.labels)
    rows = []
    for method in in_order(labels_of.keys() - set(ABLATIONS)):
        for labels in sorted(labels_of[method], key=label_order):
            rows.append(_row(1, dataset, method, labels, runs))
    return rows


def _rows_of_ablations(dataset: str, runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """Table 2 of a data set: all terms, and without each, by the same seeds."""
    seeds: dict[str, set[int]] = {}  # of the ablations, by labels
    for run in runs:
        if run.cell.method in ABLATIONS:
            seeds.setdefault(run.cell.labels, set()).add(run.cell.seed)
    rows = []
    for labels in sorted(seeds, key=label_order):
        comparable = [run for run in select(runs, labels=labels) if run.cell.seed in seeds[labels]]
        for method in ("semicycle", *ABLATIONS):
            rows.append(_row(2, dataset, method, labels, comparable))
    return rows


def _row(table: int, dataset: str, method: str, labels: str, runs: Sequence[Finished]) -> dict[str, Any]:
    """One line of a table: the mean and standard deviation of each score over the seeds, and the paper's number."""
    own = by_seed(runs, method, labels)
    row: dict[str, Any] = {"table": table, "dataset": dataset, "method": method, "labels": labels, "seeds": [*own]}
    for score in SCORES[dataset]:
        values = [run.score(score) for run in own.values()]
        mean, std, number = mean_and_std([value for value in values if value is not None])
        row[score] = mean if number else None
        row[f"{score}_std"] = std if number > 1 else None
    row["published"] = PAPER.get((method, labels), {}).get(dataset)
    if table == 1 and method not in ("full", "partial"):
        row |= compare(own, by_seed(runs, "partial", labels))
    return row


def by_seed(runs: Sequence[Finished], method: str, labels: str) -> dict[int, Finished]:
    """The runs of a method and its labels by their seed; all are of one data set."""
    return {run.cell.seed: run for run in select(runs, method=method, labels=labels)}


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
