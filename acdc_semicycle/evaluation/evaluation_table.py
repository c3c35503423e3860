"""An evaluation as lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from acdc_semicycle.evaluation.summaries import FAR, OVERLAPS, summaries_by_tool
from acdc_semicycle.runtime.errors import many

SHOWN = 10  # lines of failures in the table


def table(content: dict[str, Any]) -> str:
    """What to print: scores by tool and phase, how many have no partner, failures and notes."""
    lines: list[str] = []
    for tool, whole in summaries_by_tool(content):
        lines += [f"{tool}: {many(whole['volumes'], 'volume')}", *_scores_of(whole, ("mean", *content["structures"]))]
    alone: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in content["missing"]:
        path, _, what = one["reason"].rpartition(" has no ")
        alone[f"{one['tool']}: " if len(content["tools"]) > 1 else "", what].append(path)
    for (tool, what), paths in alone.items():
        side = many(len(paths), "truth" if what == "prediction" else "prediction")
        lines.append(f"{tool}{side} without a {what}, e.g. {paths[0]}")
    if failures := content["failures"]:
        lines.append(f"failures: {len(failures)}")
        lines += [f"  {one['case']}: {one['reason']}" for one in failures[:SHOWN]]
        lines += [f"  and {len(failures) - SHOWN} more, in evaluation.json"] if len(failures) > SHOWN else []
    return "\n".join([*lines, *content["notes"]])


def _scores_of(whole: dict[str, Any], heads: Sequence[str]) -> list[str]:
    """The lines of one tool: Dice, of each phase too, IoU and distances."""
    phases = [(f"Dice, {phase}", "dice", part) for phase, part in whole["by_phase"].items()]
    far = [(f"{score.upper()}, {whole['unit']}", score, whole) for score in FAR]
    rows = [["", *heads, "n"]]
    for title, score, part in [("Dice", "dice", whole), *phases, ("IoU", "iou", whole), *far]:
        values, digits = [part[score][head] for head in heads], 3 if score in OVERLAPS else 2
        cells = ("-" if value is None else f"{value:.{digits}f}" for value in values)
        rows.append([title, *cells, part[f"{score}_n"]["mean"]])
    wide = max(8, *(len(head) + 2 for head in heads))
    return [f"{title:<22}" + "".join(f"{cell:>{wide}}" for cell in cells) for title, *cells in rows]
