"""An evaluation as lines of text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from acdc_semicycle.data.parts import in_words
from acdc_semicycle.evaluation.summaries import DISTANCES, OVERLAPS, summaries_by_tool
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import many, some

SHOWN = 10  # lines of failures in the table
FEW = 3  # failures of one reason that have a line each
FILE = re.compile(rf"^.*?({'|'.join(map(re.escape, volumes.SCANS))}) ")


def table(content: dict[str, Any]) -> str:
    """What to print: scores by tool and phase, how many label maps have no partner, failures and notes."""
    lines: list[str] = []
    for tool, summary in summaries_by_tool(content).items():
        of_parts = f" of {in_words(summary['parts'])} patients" if summary["parts"] else ""
        kind = "picture" if summary.get("unit") == "pixels" else "volume"
        lines.append(f"{tool}: {many(summary['volumes'], kind)}{of_parts}")
        lines += _score_lines(summary, ("mean", *content["structures"]))
    lines += _missing_lines(content["missing"], name_tools=len(content["tools"]) > 1)
    lines += _failure_lines(content["failures"])
    lines += [f"warning: {text}" for text in content["warnings"]]
    return "\n".join([*lines, *content["notes"]])


def _missing_lines(missing: Sequence[dict[str, str]], name_tools: bool) -> list[str]:
    """How many label maps of each tool have no partner, and an example of them."""
    paths_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in missing:
        path, _, partner = entry["reason"].rpartition(" has no ")
        paths_of[entry["tool"], partner].append(path)
    lines = []
    for (tool, partner), paths in paths_of.items():
        number = many(len(paths), "truth" if partner == "prediction" else "prediction")
        prefix = f"{tool}: " if name_tools else ""
        lines.append(f"{prefix}{number} without a {partner}, e.g. {paths[0]}")
    return lines


def _failure_lines(failures: Sequence[dict[str, str]]) -> list[str]:
    """The first failures, those of one reason in one line where they are many, and how many more there are."""
    if not failures:
        return []
    lines = [f"failures: {len(failures)}"]
    shown = 0
    for alike in _alike(failures)[:SHOWN]:
        cases = [failure["case"] for failure in alike]
        reason = alike[0]["reason"] if len(alike) == 1 else _without_path(alike[0])
        lines.append(f"  {some(cases, 3)}: {reason}")
        shown += len(alike)
    if len(failures) > shown:
        lines.append(f"  and {len(failures) - shown} more, in evaluation.json")
    return lines


def _alike(failures: Sequence[dict[str, str]]) -> list[list[dict[str, str]]]:
    """The failures in groups of one reason; those of a few stay by themselves."""
    by_reason: dict[str, list[dict[str, str]]] = defaultdict(list)
    for failure in failures:
        by_reason[_without_path(failure)].append(failure)
    result = []
    for group in by_reason.values():
        result += [group] if len(group) > FEW else [[failure] for failure in group]
    return result


def _without_path(failure: dict[str, str]) -> str:
    """The reason of a failure without the file that it begins with."""
    return FILE.sub("", failure["reason"])


def _score_lines(summary: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The lines of one tool: Dice, Dice by phase, IoU and distances."""
    parts = [("Dice", "dice", summary)]
    for phase, part in summary["by_phase"].items():
        parts.append((f"Dice, {phase}", "dice", part))
    for name, part in summary["by_part"].items():
        parts.append((f"Dice, {name}", "dice", part))
    parts.append(("IoU", "iou", summary))
    for score in DISTANCES:
        parts.append((f"{score.upper()}, {summary['unit']}", score, summary))
    width = max(8, max(map(len, names)) + 2)
    lines = [_line("", [*names, "n"], width)]
    for title, score, part in parts:
        digits = 3 if score in OVERLAPS else 2
        cells = [_number(part[score][name], digits) for name in names]
        lines.append(_line(title, [*cells, str(part[f"{score}_n"]["mean"])], width))
    return lines


def _number(value: float | None, digits: int) -> str:
    """A score, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _line(title: str, cells: Sequence[str], width: int) -> str:
    """A title and cells aligned to the right."""
    return f"{title:<22}" + "".join(f"{cell:>{width}}" for cell in cells)
