"""The table of cases: its columns, its rows, and both as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from acdc_semicycle.report.cases import Case


class Column(NamedTuple):
    """A column of the summary; ``digits`` None is text."""

    key: str
    group: str
    title: str
    digits: int | None = None


def columns_of(cases: Sequence[Case], structures: Sequence[str], tools: Sequence[str]) -> Iterator[Column]:
    """Those of the summary for which any case has something."""
    yield from (Column(name, "", name.capitalize()) for name in ("case", "patient", "phase"))
    if any(case.quality is not None for case in cases):
        yield Column("quality", "", "Quality", 3)
    if any(case.scored for case in cases):
        yield from (Column(f"dice_{name}", "Dice", name, 3) for name in ("mean", *structures))
        yield Column("hd95_mean", "HD95", unit_of(cases) or "mean", 1)
        if not unit_of(cases):
            yield Column("unit", "HD95", "unit")
    if any(case.other for case in cases):
        yield Column("dice_mean_2", tools[1], "Dice", 3)
        yield Column("hd95_mean_2", tools[1], "HD95", 1)
    if any(case.volumes_ml(name) for case in cases for name in structures):
        yield from (Column(f"volume_{name}_ml", "Volume, ml", name, 1) for name in structures)
        if any(len(case.volumes_ml(name)) > 1 for case in cases for name in structures):
            yield from (Column(f"volume_{name}_es_ml", "Volume at ES, ml", name, 1) for name in structures)
    if any(case.seconds is not None for case in cases):
        yield Column("seconds", "", "Seconds", 1)


def row_of(case: Case, structures: Sequence[str]) -> dict[str, Any]:
    """The values of a case under the keys of all columns; None where there is none."""
    row = {"case": case.name, "quality": case.quality, "seconds": case.seconds}
    row |= {name: case.about(name) or None for name in ("patient", "phase", "unit")}
    row |= {f"dice_{name}": case.score("dice", name) for name in ("mean", *structures)}
    row["hd95_mean"] = case.score("hd95")
    row |= {f"{measure}_mean_2": case.score(measure, tool="other") for measure in ("dice", "hd95")}
    for name in structures:
        first, second, *_ = [*case.volumes_ml(name), None, None]
        row |= {f"volume_{name}_ml": first, f"volume_{name}_es_ml": second}
    return row


def unit_of(cases: Sequence[Case]) -> str:
    """Of distances: mm, voxels, or empty where cases differ."""
    units = {case.scored["unit"] for case in cases if case.scored.get("unit")}
    return units.pop() if len(units) == 1 else ""


def csv_of(content: Mapping[str, Any]) -> str:
    stream = io.StringIO()
    keys = [column.key for column in content["columns"]]
    writer = csv.DictWriter(stream, keys, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        for row in content["rows"]
    )
    return stream.getvalue()
