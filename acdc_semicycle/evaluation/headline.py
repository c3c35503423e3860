"""Which of the scored patients the network knows: only scores of the others tell how good it is on new patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from acdc_semicycle.data.parts import PARTS, SEEN, strongest
from acdc_semicycle.runtime.errors import many

MEANINGS = {
    "labelled": "trained on with masks",
    "unlabelled": "trained on without masks",
    "validation": "may have chosen its epoch",
}


def seen_cases(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The cases of patients whom the network, or that of any tool, has seen."""
    return {row["case"] for row in rows if row.get("part") in SEEN}


def counted(rows: Sequence[dict[str, Any]], seen: Collection[str]) -> list[dict[str, Any]]:
    """The rows of patients who are new to the network; all rows where there are none."""
    return [row for row in rows if row["case"] not in seen] or list(rows)


def parts_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The parts that occur, those that the network knows best first."""
    parts = {row.get("part") for row in rows}
    return [part for part in PARTS if part in parts]


def parts_by_case(rows: Iterable[Mapping[str, Any]]) -> list[str | None]:
    """The part of each case; of several tools that of the network which knows most of its patient."""
    part_of: dict[str, str | None] = {}
    for row in rows:
        part_of[row["case"]] = strongest([row["part"], part_of.get(row["case"])])
    return list(part_of.values())


def counted_parts(parts: Collection[str | None]) -> list[str | None]:
    """The parts whose cases count in means: those of new patients, and all where there are none."""
    unseen = sorted({part for part in parts if part not in SEEN}, key=str)
    return unseen or sorted(set(parts), key=str)


def rows_by_part(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each part; empty where they are all of one."""
    parts = parts_of(rows)
    if len(parts) < 2:
        return {}
    result: dict[str, list[dict[str, Any]]] = {part: [] for part in parts}
    for row in rows:
        if row.get("part") in result:
            result[row["part"]].append(row)
    return result


def warnings(parts: Collection[str | None]) -> list[str]:
    """The line where no patient is new to the network; none where any is, or where that is not known.

    Args:
        parts: of each case.
    """
    if not parts or not set(parts) <= set(SEEN):
        return []
    return [
        f"no patient is new to the network: of {many(len(parts), 'case')} {seen_in_words(parts)}. These scores do not"
        " tell how good it is on others: predict new patients, or --part test"
    ]


def notes(parts: Collection[str | None]) -> list[str]:
    """Which cases the means leave out, if they leave out any."""
    seen = sum(part in SEEN for part in parts)
    if not seen or seen == len(parts):
        return []
    return [
        f"the means leave out {seen} of {many(len(parts), 'case')}, as the network knows their patients:"
        f" {seen_in_words(parts)}"
    ]


def seen_in_words(parts: Iterable[str | None]) -> str:
    """How many cases are of each part that the network has seen, and what that means."""
    counts = Counter(parts)
    return ", ".join(f"{counts[part]} {part} ({MEANINGS[part]})" for part in SEEN if counts[part])
