"""The table of cases: its columns, its rows, and both as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from acdc_semicycle.report.cases import Case


class Column(NamedTuple):
    """A column of the table; ``digits`` None is text."""

    key: str
    group: str
    title: str
    digits: int | None = None


def columns_of(cases: Sequence[Case], structures: Sequence[str], tools: Sequence[str]) -> list[Column]:
    """The columns for which any case has something."""
    present, unit = _present(cases, structures), unit_of(cases)
    columns = [Column("case", "", "Case"), Column("patient", "", "Patient"), Column("phase", "", "Phase")]
    if "part" in present:
        columns.append(Column("part", "", "Part"))
    if "quality" in present:
        columns.append(Column("quality", "", "Trust", 3))
    if "interval" in present:
        columns.append(Column("expected_low", "80 % interval", "from", 2))
        columns.append(Column("expected_high", "80 % interval", "to", 2))
    if "scores" in present:
        columns += _score_columns(structures, unit, "distances" in present)
    if "second tool" in present:
        columns.append(Column("dice_mean_2", tools[1], "Dice", 3))
        columns.append(Column("hd95_mean_2", tools[1], "HD95", 1))
    if "volumes" in present:
        columns += _columns_by_structure("volume_{}_ml", "Volume, ml", structures, 1)
    if "volumes at ES" in present:
        columns += _columns_by_structure("volume_{}_es_ml", "Volume at ES, ml", structures, 1)
    if "seconds" in present:
        columns.append(Column("seconds", "", "Seconds", 1))
    return columns


def shown(columns: Sequence[Column], cases: Sequence[Case]) -> list[Column]:
    """The columns of the page's table: without patient and phase where there is none, or the case's name says it."""
    result = []
    for column in columns:
        words = [case.about(column.key) for case in cases]
        in_names = all(word in case.name for word, case in zip(words, cases, strict=True))
        if column.key == "patient" and in_names:
            continue
        if column.key == "phase" and not any(words):
            continue
        result.append(column)
    return result


def _score_columns(structures: Sequence[str], unit: str, distances: bool) -> list[Column]:
    """The columns of Dice, and of HD95 if there are ``distances``; with the unit of each case where cases differ."""
    columns = _columns_by_structure("dice_{}", "Dice", ("mean", *structures), 3)
    if not distances:
        return columns
    columns.append(Column("hd95_mean", "HD95", unit or "mean", 1))
    if not unit:
        columns.append(Column("unit", "HD95", "unit"))
    return columns


def _columns_by_structure(key: str, group: str, names: Sequence[str], digits: int) -> list[Column]:
    """A group of columns, one for each structure."""
    return [Column(key.format(name), group, name, digits) for name in names]


def _present(cases: Sequence[Case], structures: Sequence[str]) -> set[str]:
    """Which groups of columns any case has something for."""
    present = set()
    for case in cases:
        if case.part is not None:
            present.add("part")
        if case.quality is not None:
            present.add("quality")
        if case.trust:
            present.add("interval")
        if case.scored:
            present.add("scores")
        if case.scored.get("hd95"):
            present.add("distances")
        if case.second:
            present.add("second tool")
        if case.seconds is not None:
            present.add("seconds")
        for name in structures:
            volumes = case.volumes_ml(name)
            present.update(("volumes", "volumes at ES")[: len(volumes)])
    return present


def row_of(case: Case, structures: Sequence[str]) -> dict[str, Any]:
    """The values of a case under the keys of all columns; None where there is none."""
    row = {"case": case.name, "part": case.part, "quality": case.quality, "seconds": case.seconds}
    row |= {"expected_low": case.trust.get("low"), "expected_high": case.trust.get("high")}
    for key in ("patient", "phase", "unit"):
        row[key] = case.about(key) or None
    for name in ("mean", *structures):
        row[f"dice_{name}"] = case.score("dice", name)
    row["hd95_mean"] = case.score("hd95")
    row["dice_mean_2"] = case.score("dice", tool="second")
    row["hd95_mean_2"] = case.score("hd95", tool="second")
    for name in structures:
        first, second, *_ = [*case.volumes_ml(name), None, None]
        row |= {f"volume_{name}_ml": first, f"volume_{name}_es_ml": second}
    return row


def unit_of(cases: Sequence[Case]) -> str:
    """The unit of distances: mm, voxels, or empty where cases differ."""
    units = {case.scored["unit"] for case in cases if case.scored.get("unit")}
    return units.pop() if len(units) == 1 else ""


def csv_of(content: Mapping[str, Any]) -> str:
    """The rows of the table as CSV, numbers rounded to six digits."""
    stream = io.StringIO()
    keys = [column.key for column in content["columns"]]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(keys)
    for row in content["rows"]:
        writer.writerow([_rounded(row[key]) for key in keys])
    return stream.getvalue()


def _rounded(value: Any) -> Any:
    """A number with six digits; a text as it is."""
    return round(value, 6) if isinstance(value, float) else value
