"""The cases of a report: what is known of each from predictions.json and evaluation.json."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc_semicycle.data.parts import strongest
from acdc_semicycle.imageio.pictures import is_picture


@dataclass(frozen=True)
class Case:
    """A row of the table: what the prediction says of it, and its scores where there is a truth.

    Attributes:
        predicted: its entry in predictions.json, or empty.
        scored: its entry in evaluation.json, or empty.
        second: the second tool's entry there, or empty.
    """

    name: str
    predicted: dict[str, Any] = field(default_factory=dict)
    scored: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)

    def about(self, key: str) -> str:
        """A text of any of its entries, the evaluated one first."""
        return str(self.scored.get(key) or self.predicted.get(key) or self.second.get(key) or "")

    @property
    def part(self) -> str | None:
        """The part of the split that the patient is in, to the network that knows most of them; None where unknown."""
        return strongest(entry.get("part") for entry in (self.scored, self.predicted, self.second))

    def score(self, measure: str, name: str = "mean", tool: str = "scored") -> float | int | None:
        """One score of the first tool (``scored``) or of the ``second``."""
        by_structure = getattr(self, tool).get(measure) or {}
        return by_structure.get(name)

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture and no scan, by the names of its files."""
        if self.predicted.get("picture"):  # as the report of a network says
            return True
        files = self.scored.get("prediction"), self.predicted.get("mask"), self.predicted.get("scan")
        return is_picture(next(filter(None, files), ""))

    @property
    def frame(self) -> int | None:
        """The frame of the cine, from 0, that was evaluated; None of a 3D case, and where it is unknown."""
        return self.scored.get("frame")

    @property
    def quality(self) -> float | int | None:
        """The expected Dice."""
        return self.predicted.get("quality")

    @property
    def trust(self) -> dict[str, Any]:
        """The expected Dice with its interval, by slice and of the volumes; empty where it was not fitted."""
        return self.predicted.get("trust") or {}

    @property
    def seconds(self) -> float | int | None:
        """How long the prediction took; None where unknown."""
        by_step = self.predicted.get("seconds") or {}
        seconds = [value for value in by_step.values() if value is not None]
        return sum(seconds) if seconds else None

    @property
    def worst_first(self) -> tuple[Any, ...]:
        """To sort by the true Dice, else by the expected one, else by name; a case without a number comes first.

        A case without a truth comes after all those that have one.
        """
        dice, quality = self.score("dice"), self.quality
        by_score = dice is not None, dice or 0.0, quality is not None, quality or 0.0
        return not self.scored, *by_score, self.name, self.about("phase")

    def volumes_ml(self, structure: str, side: str = "prediction") -> list[float | int]:
        """One number, or the ED and the ES frame's of a cine; empty where unknown."""
        evaluated = (self.scored.get("volumes_ml") or {}).get(side) or {}
        if evaluated.get(structure) is not None:
            return [evaluated[structure]]
        if side != "prediction":
            return []
        return self._predicted_volumes_ml(structure)

    def _predicted_volumes_ml(self, structure: str) -> list[float | int]:
        """The same as predictions.json has it."""
        volumes = (self.predicted.get("volumes_ml") or {}).get(structure) or []
        result = []
        for frame in self._frames():
            if frame < len(volumes) and volumes[frame] is not None:
                result.append(volumes[frame])
        return result

    def _frames(self) -> list[int]:
        """The frames of ED and ES where they are known, else the first."""
        phases = self.predicted.get("phases") or {}
        frames = [phases.get("ED"), phases.get("ES")]
        return [frame for frame in frames if frame is not None] or [0]


def resolved(folder: Path, path: str | Path) -> Path:
    """A path as seen from the folder, or, where that leads nowhere, as it is."""
    return folder / path if (folder / path).exists() else Path(path)


def cases_of(predicted: dict[str, Any], evaluated: dict[str, Any], tools: Sequence[str]) -> list[Case]:
    """Every case of either file; a cine that was scored in two of its frames is two."""
    entries = {}
    if "reference" not in evaluated:  # else the masks are the second tool's, and the entries are the first's
        for entry in predicted.get("cases") or []:
            entries[entry["case"]] = entry
    second = {(entry["case"], entry.get("phase")): entry for entry in _entries(evaluated, *tools[1:2])}
    cases, joined = [], set()
    for entry in _entries(evaluated, tools[0], None):
        name, phase = entry["case"], entry.get("phase")
        predicted_name = entry.get("predicted_case") or name  # a frame of a cine has a name of its own
        joined |= {name, predicted_name}
        cases.append(Case(name, entries.get(predicted_name, {}), entry, second.pop((name, phase), {})))
    return cases + _cases_of_one_side(entries, second, joined)


def _cases_of_one_side(
    predicted: dict[str, Any], second: dict[tuple[str, Any], Any], joined: Collection[str]
) -> list[Case]:
    """The cases that were predicted and not ``joined``, then those that only the second tool has."""
    cases = []
    for name, entry in predicted.items():
        if name not in joined:
            cases.append(Case(name, entry))
    for (name, _), entry in second.items():
        if name not in joined and name not in predicted:
            cases.append(Case(name, second=entry))
    return cases


def _entries(evaluated: dict[str, Any], *tools: str | None) -> list[dict[str, Any]]:
    """The entries in evaluation.json of these tools."""
    return [entry for entry in evaluated.get("cases") or [] if entry.get("tool") in tools]
