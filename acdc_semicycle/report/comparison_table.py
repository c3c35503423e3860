"""A comparison of runs as lines of text, and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from acdc_semicycle.report.comparison_rows import TITLES

WIDTH = 120  # characters of a line
NAME, CELL = 30, 30  # of a name, and of any other cell at most; longer ones are cut
LEAST = 14  # of a setting's value, where there are many runs
SETTINGS = 25  # lines of settings; the page has them all

Line = Sequence[str]


def table(content: Mapping[str, Any]) -> str:
    """What to print: the runs, their scores, the settings that differ, warnings and notes."""
    rows, settings = content["runs"], content["settings"]
    lines = [*columns(RUN_HEADS, [run_cells(row) for row in rows], TEXTS), ""]
    lines += columns(score_heads(content), [score_cells(row, content) for row in rows], 2)
    if settings:
        lines += ["", "settings that differ", *_setting_lines(rows, settings)]
    lines.append("")
    remarks = [f"failure: {entry['reason']}" for entry in content["failures"]]
    remarks += [f"warning: {text}" for text in content["warnings"]] + content["notes"]
    for remark in remarks:
        lines += textwrap.wrap(remark, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).rstrip()


def _setting_lines(rows: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first settings that differ, a column a run, and how many more there are."""
    shown = settings[:SETTINGS]
    names = max(len(setting["key"]) for setting in shown)
    room = (WIDTH - min(names, NAME)) // len(rows) - 2
    cells = [[setting["key"], *setting["values"]] for setting in shown]
    heads = ["", *[row["run"] for row in rows]]
    lines = columns(heads, cells, len(heads), min(max(room, LEAST), CELL))
    if len(settings) > SETTINGS:
        lines.append(f"and {len(settings) - SETTINGS} more, in comparison.html")
    return lines


TEXTS = 3  # of the columns below that hold no numbers
RUN_HEADS = ["run", "data", "method", "labelled", "unlabelled", "epochs", "steps", "minutes", "scored on"]


def run_cells(row: Mapping[str, Any]) -> list[str]:
    """What is known of a run beside its scores, as texts."""
    epochs, planned = row["epochs"], row["planned_epochs"]
    unfinished = planned is not None and (epochs or 0) < planned
    method = row["method"] or "-"
    if row["folds"]:
        method += f", {row['folds']} folds"
    return [
        row["run"],
        row["dataset"] or "-",
        method,
        _whole(row["labelled"]),
        _whole(row["unlabelled"]),
        f"{epochs or 0}/{planned}" if unfinished else _whole(epochs),
        _whole(row["steps"]),
        "-" if row["minutes"] is None else f"{row['minutes']:.1f}",
        f"{row['patients']} {row['part']}" if row["part"] else "-",
    ]


def score_heads(content: Mapping[str, Any]) -> list[str]:
    """The headings of the scores."""
    heads = ["", TITLES[content["score"]], *content["structures"]]
    return [*heads, "difference"] if _has_differences(content) else heads


def score_cells(row: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """The scores of a run as texts: mean and standard deviation, of each structure the mean, the difference."""
    score = content["score"]
    means, stds = row[score], row[f"{score}_std"]
    cells = [row["run"], with_spread(means["mean"], stds["mean"])]
    cells += [with_spread(means[name], None) for name in content["structures"]]
    return [*cells, difference_in_words(row["difference"])] if _has_differences(content) else cells


def _has_differences(content: Mapping[str, Any]) -> bool:
    """Whether any run has a difference to the first."""
    return any(row["difference"] for row in content["runs"])


def with_spread(mean: float | None, std: float | None) -> str:
    """A mean, with its standard deviation where there is one; a dash where there is none."""
    if mean is None:
        return "-"
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"


def difference_in_words(difference: Mapping[str, Any] | None) -> str:
    """A difference with its interval; a dash where there is none."""
    if difference is None:
        return "-"
    words = f"{difference['mean']:+.3f}"
    if difference["low"] is not None:
        words += f" ({difference['low']:+.3f} to {difference['high']:+.3f})"
    return words


def _whole(value: int | None) -> str:
    """A whole number; a dash where there is none."""
    return "-" if value is None else f"{value:,}"


def columns(heads: Line, rows: Sequence[Line], left: int, most: int = CELL) -> list[str]:
    """Aligned lines of at most ``WIDTH`` characters; columns that do not fit follow below, after the first one again.

    Args:
        left: how many of the first columns are aligned to the left; the others are numbers.
        most: characters of a cell that is not in the first column.
    """
    cut_rows = []
    for row in [heads, *rows]:
        cut_rows.append([_cut(cell, most if number else NAME) for number, cell in enumerate(row)])
    widths = [max(map(len, cells)) for cells in zip(*cut_rows, strict=True)]
    lines: list[str] = []
    for block in _blocks(widths):
        for row in cut_rows:
            lines.append(_line(row, widths, [0, *block], left))
    return lines


def _blocks(widths: Sequence[int]) -> list[list[int]]:
    """The columns after the first in groups that fit into a line with it."""
    blocks: list[list[int]] = [[]]
    room = WIDTH - widths[0]
    for number, width in enumerate(widths[1:], start=1):
        used = sum(widths[column] + 2 for column in blocks[-1])
        if blocks[-1] and used + width + 2 > room:
            blocks.append([])
        blocks[-1].append(number)
    return blocks


def _line(cells: Line, widths: Sequence[int], block: Sequence[int], left: int) -> str:
    """The cells of some columns, aligned."""
    parts = []
    for number in block:
        cell = cells[number]
        parts.append(cell.ljust(widths[number]) if number < left else cell.rjust(widths[number]))
    return "  ".join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    """A text on one line with room in a cell."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def csv_of(content: Mapping[str, Any]) -> str:
    """A row a run, with every setting that differs."""
    score, structures = content["score"], content["structures"]
    about = ["run", "folder", "dataset", "method", "folds", "labelled", "unlabelled", "epochs", "steps", "minutes"]
    about += ["part", "patients", "cases"]
    heads = [*about, score, f"{score}_std", *[f"{score}_{name}" for name in structures]]
    heads += ["difference", "difference_low", "difference_high", *[setting["key"] for setting in content["settings"]]]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for number, row in enumerate(content["runs"]):
        cells = [row[key] for key in about] + [row[score]["mean"], row[f"{score}_std"]["mean"]]
        cells += [row[score][name] for name in structures]
        difference = row["difference"] or {}
        cells += [difference.get(key) for key in ("mean", "low", "high")]
        cells += [setting["values"][number] for setting in content["settings"]]
        writer.writerow(cells)
    return text.getvalue()
