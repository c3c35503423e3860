"""The tables of a network's report: lines of text, cases.csv and summary.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation.model_scores import SCORES
from acdc_semicycle.runtime.errors import many
from acdc_semicycle.runtime.files import replacing


def table(content: dict[str, Any], structures: Sequence[str]) -> str:
    """The summary as lines of text, with the floor beside it."""
    lines = _volume_lines(content, structures) if content["main"] == "dice" else _picture_lines(content)
    lines.append(f"{'mIoU as in the paper':<22}{content['summary']['paper_miou']:8.3f}")
    lines += [content[key] for key in ("note", "protocol") if content.get(key)]
    lines += ["of the embedded phantom: a demonstration, no result"] * (content.get("dataset") == "phantom")
    return "\n".join(lines)


def _volume_lines(content: dict[str, Any], structures: Sequence[str]) -> list[str]:
    heads = ["mean", *structures]
    lines = [
        f"{content['part']}: {many(content['summary']['volumes'], 'volume')}",
        " " * 22 + "".join(f"{h:>8}" for h in heads),
    ]
    rows = {"Dice": ("dice", content["summary"]), "IoU": ("iou", content["summary"])}
    rows |= {f"Dice, {phase}": ("dice", part) for phase, part in content["summary"]["by_phase"].items()}
    rows["Dice, all background"] = ("dice", content["floor"])
    for title, (score, part) in rows.items():
        lines.append(f"{title:<22}" + "".join(f"{part[score][head]:8.3f}" for head in heads))
    return lines


def _picture_lines(content: dict[str, Any]) -> list[str]:
    scores = content["summary"]
    lines = [f"{content['part']}: {many(scores['volumes'], 'image')}, IoU of the whole set"]
    lines += [f"  {name:<20}{value:8.3f}" for name, value in scores["miou_by_class"].items()]
    lines.append(f"{'mIoU':<22}{scores['miou']:8.3f}")
    lines.append(f"{'mIoU, all ' + content['classes'][0]:<22}{content['floor']['miou']:8.3f}")
    return lines


def write_cases(path: Path, cases: Sequence[dict], names: Sequence[str]) -> None:
    heads = [f"{score}_{name}" for score in SCORES for name in ("mean", *names)]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "patient", "phase", *heads])
        for row in cases:
            values = [f"{row[score][name]:.6f}" for score in SCORES for name in ("mean", *names)]
            writer.writerow([row["case"], row["patient"], row["phase"], *values])


def write_summary(path: Path, content: dict, names: Sequence[str]) -> None:
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["score", "structure", "mean", "std"])
        for score in SCORES:
            for name in ("mean", *names):
                writer.writerow([score, name, f"{content[score][name]:.6f}", f"{content[score + '_std'][name]:.6f}"])
