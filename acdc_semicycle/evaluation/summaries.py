"""What follows from the scores of many cases: means, clinical indices, and notes on what has none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import clinical
from acdc_semicycle.evaluation.means import score_statistics
from acdc_semicycle.runtime.errors import many

OVERLAPS, FAR = ("dice", "iou"), ("hd95", "assd")
SCORES = (*OVERLAPS, *FAR)
SIDES = ("truth", "prediction")

Row = dict[str, Any]  # a case, as in evaluation.json, but with NaN for null


def summary(rows: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    """Means over cases of each structure, ``mean`` over structures; standard deviations (ddof 1) and numbers of cases.

    A case without the structure does not count. Where only some cases have millimetres, distances are theirs.
    """
    parts = {phase: [row for row in rows if row["phase"] == phase] for phase in acdc.PHASES}
    by_phase = {phase: _statistics(part, structures) for phase, part in parts.items() if part}
    return _statistics(rows, structures) | {"by_phase": by_phase}


def _statistics(rows: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    unit = "mm" if any(row["unit"] == "mm" for row in rows) or not rows else "voxels"
    result: dict[str, Any] = {"volumes": len(rows), "unit": unit}
    for score in SCORES:
        counted = [row[score] for row in rows if score in OVERLAPS or row["unit"] == unit]
        result |= score_statistics(score, counted, structures)
    return result


def patient_indices(rows: Sequence[Row], structures: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Clinical indices of each tool's patients with ED, ES and a spacing; a note where some lack a phase."""
    beats: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows if set(clinical.STRUCTURES) & set(structures) else ():
        beats[row["tool"], row["patient"]].append(row)
    found, without = [], set()
    for (tool, patient), own in beats.items():
        pair = [row for phase in acdc.PHASES for row in own if row["phase"] == phase]
        if [row["phase"] for row in pair] != list(acdc.PHASES):
            without.add(patient)
        elif all(row["volumes_ml"] for row in pair):
            sides = {side: clinical.indices(*(row["volumes_ml"][side] for row in pair)) for side in SIDES}
            found.append({"tool": tool, "patient": patient} | sides)
    example = min(without, default="")
    note = f"no clinical indices of {many(len(without), 'patient')} without one ED and one ES, e.g. {example}"
    return found, [note] if without else []


def unit_notes(rows: Sequence[Row], reference: str) -> list[str]:
    """Which comparisons are without millimetres, and why."""
    mixed = len({row["unit"] for row in rows}) == 2
    return [
        f"{times} of {many(len(rows), 'comparison')} {'is' if times == 1 else 'are'} in voxels, without volumes or"
        f" clinical indices, because the {reference}'s {fault.removeprefix('its ')}"
        for fault, times in Counter(row["withheld"] for row in rows).items()
        if fault
    ] + ["means of distances are over the cases in mm only"] * mixed


def pair_name(tools: Sequence[str]) -> str:
    return " against ".join(reversed(tools))


def summaries_by_tool(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each tool's summary under its name, and that of their agreement."""
    between = [(pair_name(content["tools"]), content["agreement"])] if content["agreement"] else []
    return [*content["summary"].items(), *between]
