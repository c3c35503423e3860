"""The tables of a network's report: lines of text, cases.csv and summary.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import IO, Any

from acdc_semicycle.evaluation.model_scores import SCORES
from acdc_semicycle.runtime.errors import many
from acdc_semicycle.runtime.files import replacing


def table(content: dict[str, Any], structures: Sequence[str]) -> str:
    """The summary as lines of text, and beside it the scores of a prediction of background everywhere."""
    lines = _volume_lines(content, structures) if content["main"] == "dice" else _picture_lines(content)
    lines.append(f"{'mIoU as in the paper':<22}{content['summary']['paper_miou']:8.3f}")
    return "\n".join([*lines, *notes(content)])


def notes(content: dict[str, Any]) -> list[str]:
    """What a reader of the scores must know, below them."""
    lines = [content[key] for key in ("note", "protocol") if content.get(key)]
    if content.get("postprocessing"):
        lines.append(
            f"scores of {content['postprocessing']}; those of what predict writes may differ (--largest, --holes)"
        )
    if content.get("dataset") == "phantom":
        lines.append("of the embedded phantom: a demonstration, no result")
    return lines


def _volume_lines(content: dict[str, Any], structures: Sequence[str]) -> list[str]:
    """Dice and IoU by structure, Dice by phase, too."""
    summary, names = content["summary"], ("mean", *structures)
    rows = [("Dice", summary["dice"]), ("IoU", summary["iou"])]
    for phase, part in summary["by_phase"].items():
        rows.append((f"Dice, {phase}", part["dice"]))
    rows.append(("Dice, all background", content["floor"]["dice"]))
    lines = [f"{content['part']}: {many(summary['volumes'], 'volume')}"]
    lines.append(" " * 22 + "".join(f"{name:>8}" for name in names))
    for title, scores in rows:
        lines.append(f"{title:<22}" + "".join(f"{scores[name]:8.3f}" for name in names))
    return lines


def _picture_lines(content: dict[str, Any]) -> list[str]:
    """IoU of the whole set by class."""
    summary = content["summary"]
    lines = [f"{content['part']}: {many(summary['volumes'], 'image')}, IoU of the whole set"]
    for name, value in summary["miou_by_class"].items():
        lines.append(f"  {name:<20}{value:8.3f}")
    lines.append(f"{'mIoU':<22}{summary['miou']:8.3f}")
    lines.append(f"{'mIoU, all ' + content['classes'][0]:<22}{content['floor']['miou']:8.3f}")
    return lines


def write_cases(
    path: Path,
    cases: Sequence[dict[str, Any]],
    structures: Sequence[str],
    about: Sequence[str] = ("case", "patient", "phase", "part"),
) -> None:
    """cases.csv: one row per volume or picture, which begins with the values ``about``."""
    columns = list(product(SCORES, ("mean", *structures)))
    with replacing(path) as beside, _opened(beside) as stream:
        writer = csv.writer(stream)
        writer.writerow([*about, *map("_".join, columns)])
        for row in cases:
            values = [f"{row[score][name]:.6f}" for score, name in columns]
            writer.writerow([*(row[name] for name in about), *values])


def write_summary(path: Path, summary: dict[str, Any], structures: Sequence[str]) -> None:
    """summary.csv: one row per score and structure."""
    with replacing(path) as beside, _opened(beside) as stream:
        writer = csv.writer(stream)
        writer.writerow(["score", "structure", "mean", "std"])
        for score, name in product(SCORES, ("mean", *structures)):
            mean, std = summary[score][name], summary[f"{score}_std"][name]
            writer.writerow([score, name, f"{mean:.6f}", f"{std:.6f}"])


def _opened(path: Path) -> IO[str]:
    """A file of a table, opened to be written; names of files need not be UTF-8."""
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
