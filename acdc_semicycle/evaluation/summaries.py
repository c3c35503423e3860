"""What follows from the scores of many cases: means, clinical indices, and notes on what has none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from acdc_semicycle.data.parts import strongest
from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import clinical, headline
from acdc_semicycle.evaluation.means import score_statistics
from acdc_semicycle.runtime.errors import many

OVERLAPS, DISTANCES = ("dice", "iou"), ("hd95", "assd")
SCORES = (*OVERLAPS, *DISTANCES)
SIDES = ("truth", "prediction")

Row = dict[str, Any]  # a case, as in evaluation.json, but with NaN for null


def summary(rows: Sequence[Row], structures: Sequence[str], seen: Collection[str] = ()) -> dict[str, Any]:
    """Means over cases of each structure, ``mean`` over structures; standard deviations (ddof 1) and numbers of cases.

    A case without the structure does not count. Where only some cases have millimetres, distances are theirs.
    The means leave out the cases ``seen``, of patients whom the network knows, unless there are no others.

    Returns:
        The statistics, ``parts`` (those of the cases that count), and statistics ``by_phase`` of these and ``by_part``
        of all rows.
    """
    counted = headline.counted(rows, seen)
    by_phase = {}
    for phase in acdc.PHASES:
        of_phase = [row for row in counted if row["phase"] == phase]
        if of_phase:
            by_phase[phase] = _statistics(of_phase, structures)
    by_part = {}
    for part, of_part in headline.rows_by_part(rows).items():
        by_part[part] = _statistics(of_part, structures)
    return _statistics(counted, structures) | {
        "parts": headline.parts_of(counted),
        "by_phase": by_phase,
        "by_part": by_part,
    }


def _statistics(rows: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    """Means, standard deviations and numbers of all scores of some cases; distances of those in the common unit."""
    units = _units(rows)
    unit = units.pop() if len(units) == 1 else "mm"
    result: dict[str, Any] = {"volumes": len(rows), "unit": unit}
    for score in SCORES:
        values = [row[score] for row in rows if score in OVERLAPS or row["unit"] == unit]
        result |= score_statistics(score, values, structures)
    return result


def patient_indices(rows: Sequence[Row], structures: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Clinical indices of each tool's patients with ED, ES and volumes in one folder; notes on those without."""
    if not set(clinical.STRUCTURES) & set(structures):
        return [], []
    rows_of: dict[tuple[str, str], dict[str | None, list[Row]]] = {}  # by tool and patient, then by phase
    for row in rows:
        by_phase = rows_of.setdefault((row["tool"], row["patient"]), defaultdict(list))
        by_phase[row["phase"]].append(row)
    result: list[dict[str, Any]] = []
    incomplete, apart = set(), set()
    for (tool, patient), by_phase in rows_of.items():
        ed, es = by_phase["ED"], by_phase["ES"]
        if (len(ed), len(es)) != (1, 1):
            incomplete.add(patient)
        elif _folder(ed[0]) != _folder(es[0]):
            apart.add(patient)
        elif ed[0]["volumes_ml"] and es[0]["volumes_ml"]:
            indices = {side: clinical.indices(ed[0]["volumes_ml"][side], es[0]["volumes_ml"][side]) for side in SIDES}
            part = strongest((ed[0].get("part"), es[0].get("part")))
            result.append({"tool": tool, "patient": patient, "part": part} | indices)
    notes = _notes_on(incomplete, "without one ED and one ES")
    return result, notes + _notes_on(apart, "whose ED and ES lie in two folders, as they may be two patients'")


def _folder(row: Row) -> Path:
    """The folder of a case's truth."""
    return Path(row["truth"]).parent


def _notes_on(patients: set[str], why: str) -> list[str]:
    """A note on patients without clinical indices, if there are any."""
    if not patients:
        return []
    return [f"no clinical indices of {many(len(patients), 'patient')} {why}, e.g. {min(patients)}"]


def unit_notes(rows: Sequence[Row], reference: str) -> list[str]:
    """Which comparisons are without millimetres, and why."""
    notes = []
    for fault, times in Counter(map(itemgetter("withheld"), rows)).items():
        if fault:
            verb = "is" if times == 1 else "are"
            notes.append(
                f"{times} of {many(len(rows), 'comparison')} {verb} in voxels, without volumes or clinical indices,"
                f" because the {reference}'s {fault.removeprefix('its ')}"
            )
    single = [row for row in rows if row.get("slices") == 1 and row["unit"] == "mm"]
    if single:
        verb = "is" if len(single) == 1 else "are"
        notes.append(
            f"{len(single)} of {many(len(rows), 'comparison')} {verb} without volumes or clinical indices:"
            f" {clinical.SINGLE_SLICE}"
        )
    if len(_units(rows)) > 1:
        notes.append("means of distances are over the cases in mm only")
    return notes


def _units(rows: Sequence[Row]) -> set[str]:
    """The units of distances that occur."""
    return set(map(itemgetter("unit"), rows))


def pair_name(tools: Sequence[str]) -> str:
    """What the comparison of two tools is called: ``B against A``."""
    return f"{tools[1]} against {tools[0]}"


def summaries_by_tool(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each tool's summary under its name, and that of their agreement."""
    result = dict(content["summary"])
    if content["agreement"]:
        result[pair_name(content["tools"])] = content["agreement"]
    return result
