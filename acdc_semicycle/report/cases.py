"""The cases of a report: what predict and evaluate say of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A row of the summary: what the prediction says of it, and its scores where there is a truth.

    Attributes:
        predicted: its entry in predictions.json, or empty.
        scored: its entry in evaluation.json, or empty.
        other: the second tool's entry there, or empty.
    """

    name: str
    predicted: dict[str, Any] = field(default_factory=dict)
    scored: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def about(self, key: str) -> str:
        return str(self.scored.get(key) or self.predicted.get(key) or self.other.get(key) or "")

    def score(self, measure: str, name: str = "mean", tool: str = "scored") -> float | int | None:
        return (getattr(self, tool).get(measure) or {}).get(name)

    @property
    def quality(self) -> float | int | None:
        return self.predicted.get("quality")

    @property
    def seconds(self) -> float | int | None:
        spent = [value for value in (self.predicted.get("seconds") or {}).values() if value is not None]
        return sum(spent) if spent else None

    @property
    def worst_first(self) -> tuple[Any, ...]:
        """By the true Dice, else by what is expected of it, else by name; what has no number comes first."""
        known = self.score("dice"), self.quality
        return (*((value is not None, value or 0.0) for value in known), self.name, self.about("phase"))

    def volumes_ml(self, structure: str, whose: str = "prediction") -> list[float | int]:
        """One number, or the ED and the ES frame's of a cine; empty where unknown."""
        found = [((self.scored.get("volumes_ml") or {}).get(whose) or {}).get(structure)]
        frames = (self.predicted.get("volumes_ml") or {}).get(structure) or []
        if found == [None] and whose == "prediction":
            phases = self.predicted.get("phases") or {}
            places = [phases[phase] for phase in ("ED", "ES") if phases.get(phase) is not None] or [0]
            found = [frames[place] for place in places if place < len(frames)]
        return [value for value in found if value is not None]


def cases_of(predicted: dict[str, Any], evaluated: dict[str, Any], tools: Sequence[str]) -> Iterator[Case]:
    """Every case of either file; a cine that was scored in two phases is two."""
    # the pictures kept of a prediction would be those of the first of two tools
    entries = {entry["case"]: entry for entry in predicted.get("cases") or [] if "reference" not in evaluated}
    scored = [entry for entry in evaluated.get("cases") or [] if entry.get("tool") in (None, tools[0])]
    others = {
        (entry["case"], entry.get("phase")): entry
        for entry in evaluated.get("cases") or []
        if len(tools) > 1 and entry.get("tool") == tools[1]
    }
    for entry in scored:
        key = entry["case"], entry.get("phase")
        yield Case(entry["case"], entries.get(entry["case"], {}), entry, others.pop(key, {}))
    known = {entry["case"] for entry in scored}
    yield from (Case(name, entry) for name, entry in entries.items() if name not in known)
    yield from (Case(name, other=entry) for (name, _), entry in others.items() if name not in known | set(entries))
