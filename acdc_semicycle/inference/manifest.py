"""predictions.json: what was made of which scan, by which network, how good it may be, and what failed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.evaluation import quality
from acdc_semicycle.inference.entries import known_as, patients_of, stamp
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text, writing
from acdc_semicycle.runtime.provenance import plain, provenance

MANIFEST = "predictions.json"
JOURNAL = "predictions.{}.jsonl"
KEPT = {"case", "mask", "files", "parts", "stamp", "frame_scores"}  # of a case, what a later run goes by


class Manifest:
    """predictions.json: what was made of which scan, by which network, and what failed.

    A scan that stands in it, unchanged, segmented by the same network with the same settings, is not done again.
    Where several processes predict, the first one keeps it and the others a :class:`Journal` each.
    """

    def __init__(self, folder: Path, model: Model, settings: Mapping[str, Any]) -> None:
        self.path, self.model = folder / MANIFEST, model
        self.content: dict[str, Any] = {
            "model": {"path": str(model.path), "sha256": model.sha256} | model.card,
            "classes": list(model.card["classes"]),
            "colours": model.card["colours"],
            "settings": dict(settings),
            "quality": model.quality,
            "cases": [],
            "patients": [],
            "failures": [],
        } | provenance()
        before = self._before()
        self.owners = {case["mask"]: case["stamp"][0] for case in before.get("cases", [])}
        if self._same(before):
            there = [all((folder / name).is_file() for name in case["files"]) for case in before["cases"]]
            self.content["cases"] = [case for case, whole in zip(before["cases"], there, strict=True) if whole]
            for case in self.content["cases"]:  # it may have been fitted since
                case["quality"] = quality.lowest(model.quality, case["frame_scores"])

    def take_up(self, failures: bool) -> None:
        """Enter what other processes have noted, now or in a run that was killed, and take their journals away.

        Args:
            failures: whether what failed is entered, too; of an earlier run it is not, as it is tried again.
        """
        journals = sorted(path for path in self.path.parent.glob(JOURNAL.format("[0-9]*")) if path.is_file())
        for journal in journals:
            head, *notes = _lines(journal) or [{}]
            for note in notes if self._same(head) else ():
                if "cases" in note:
                    self._enter(note["cases"] if _whole(note["cases"]) else [])
                elif failures:
                    self._strike(**note)
        if journals:
            self.write()
        for journal in journals:
            journal.unlink()

    def _before(self) -> dict[str, Any]:
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            return before if _whole(before["cases"]) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _same(self, before: Mapping[str, Any]) -> bool:
        """Whether what was made then would be made now."""
        now, then = (
            {**(of.get("model") or {}), **(of.get("settings") or {}), "path": ""}
            for of in (json.loads(json.dumps(plain(self.content))), before)
        )
        return now == then

    def holds(self, scan: Scan) -> bool:
        """Whether this very scan has been segmented so, and all that was made of it is there."""
        now = stamp(scan)
        cases = [case for case in self.content["cases"] if case["stamp"] == now]
        return bool(cases) and len(cases) == cases[0]["parts"]

    def check(self, scan: Scan, claim: bool = True) -> None:
        """Refuse a label map where another scan's is; from then on it is this one's, if it is to be written now."""
        name = os.path.relpath(scan.target, self.path.parent)
        owner = self.owners.get(name, known_as(scan))
        if claim:
            self.owners[name] = owner
        if owner != known_as(scan) and scan.target.is_file():
            raise InputError(f"{scan.target} is the label map of {owner}, not of {scan.path}: give another output_dir")

    def add(self, cases: Sequence[dict[str, Any]]) -> None:
        self._enter(cases)
        self.write()

    def fail(self, scan: Scan, reason: str) -> None:
        self._strike(known_as(scan), str(scan.path), reason)
        self.write()

    def _enter(self, cases: Sequence[dict[str, Any]]) -> None:
        new = {case["case"] for case in cases}
        self.content["cases"] = [case for case in self.content["cases"] if case["case"] not in new] + list(cases)
        self.owners |= {case["mask"]: case["stamp"][0] for case in cases}

    def _strike(self, gone: str, scan: str, reason: str) -> None:
        self.content["cases"] = [case for case in self.content["cases"] if case["stamp"][0] != gone]
        self.content["failures"].append({"scan": scan, "reason": reason})

    def write(self) -> None:
        self.content["cases"].sort(key=lambda case: case["case"])
        self.content["patients"] = patients_of(self.content["cases"])
        write_text(self.path, json.dumps(plain(self.content), indent=1) + "\n")


class Journal(Manifest):
    """What another process than the first adds to the manifest: a file of one JSON a line, which the first takes up."""

    def __init__(self, folder: Path, model: Model, settings: Mapping[str, Any], process: int) -> None:
        super().__init__(folder, model, settings)
        self.journal = folder / JOURNAL.format(process)
        self._note({name: self.content[name] for name in ("model", "settings")})

    def add(self, cases: Sequence[dict[str, Any]]) -> None:
        self._note({"cases": list(cases)})

    def fail(self, scan: Scan, reason: str) -> None:
        self._note({"gone": known_as(scan), "scan": str(scan.path), "reason": reason})

    def _note(self, note: dict[str, Any]) -> None:
        with writing(self.journal), self.journal.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(json.dumps(plain(note)) + "\n")


def _lines(journal: Path) -> list[dict[str, Any]]:
    """The notes of a journal, up to one that a killed process left unfinished."""
    notes = []
    for line in journal.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        try:
            notes.append(json.loads(line))
        except ValueError:
            break
    return notes


def _whole(cases: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all is there that a later run goes by; an earlier version kept less."""
    return all(case.keys() >= KEPT for case in cases)
