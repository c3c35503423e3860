"""Processes that are killed while they save, or ended in the middle of a training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from interrupted import NO_LINKS, killed_savers, stopped_trainings

from reliability_rows.bench import Bench, Cell, Row

ROOT = Path(__file__).parents[2]


def kills(bench: Bench) -> list[Row]:
    cells = {tool: Cell() for tool in ("MONAI", "ours")}
    unlinked = {"ours": Cell()}
    safe: dict[str, Counter[str]] = {tool: Counter() for tool in cells}
    for tool, kind, name, lost in killed_savers(bench.folder / "kills", bench.few(100, 4)):
        (unlinked if kind == NO_LINKS else cells)[tool].add(f"{kind}, {name}", not lost, lost)
        safe[tool][kind] += not lost
    cells["MONAI"].note = ", ".join(f"{kind} {n}" for kind, n in safe["MONAI"].items())
    return [
        ("killed while saving: a whole checkpoint is there, none that was done is lost", cells),
        ("the same on a file system without hard links", unlinked),
    ]


def trainings(bench: Bench) -> list[Row]:
    if bench.short:
        return []
    rows: dict[str, dict[str, Cell]] = {}
    for row, tool, name, well, how in stopped_trainings(bench.folder / "trainings", ROOT):
        cell = rows.setdefault(row, {}).setdefault(tool, Cell())
        cell.add(name, well, how)
        if how and well:  # seconds, say
            cell.note = ", ".join(filter(None, (cell.note, how)))
    return list(rows.items())
