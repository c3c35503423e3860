"""predictions.json: what was made of which scan, by which network, how good it may be, and what failed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.artifacts.score_names import current_case, current_predictions
from acdc_semicycle.evaluation import clinical, quality_fit
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.inputs import Scan
from acdc_semicycle.inference.previews import Frame
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text, writing
from acdc_semicycle.runtime.provenance import plain, provenance

LEDGER = "predictions.json"
JOURNAL = "predictions.{}.jsonl"
KEPT = {"case", "mask", "files", "parts", "stamp", "frame_scores"}  # of a case, what a later run goes by


class Ledger:
    """predictions.json: what was made of which scan, by which network, and what failed.

    A scan that stands in it, unchanged, segmented by the same network with the same settings, is not done again.
    Where several processes predict, the first one keeps it and the others a :class:`Journal` each.
    """

    def __init__(self, folder: Path, model: Model, settings: Mapping[str, Any]) -> None:
        self.path, self.model = folder / LEDGER, model
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
                case["quality"] = quality_fit.lowest(model.quality, case["frame_scores"])

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
                    self._enter([current_case(case) for case in note["cases"]] if _whole(note["cases"]) else [])
                elif failures:
                    self._strike(**note)
        if journals:
            self.write()
        for journal in journals:
            journal.unlink()

    def _before(self) -> dict[str, Any]:
        try:
            before = current_predictions(json.loads(self.path.read_text(encoding="utf-8")))
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
        self.content["patients"] = _patients(self.content["cases"])
        write_text(self.path, json.dumps(plain(self.content), indent=1) + "\n")


class Journal(Ledger):
    """What a process that is not the first adds to the ledger: a file of one JSON a line, which the first takes up."""

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


def known_as(scan: Scan) -> str:
    """The scan's file, or its folder and which of the series in it."""
    path = str(scan.path.absolute())
    return path if isinstance(scan.source, Path) else f"{path} ({scan.source.name})"


def stamp(scan: Scan) -> list[Any]:
    """What tells a scan from another, and from itself after a change."""
    files = [scan.path] if isinstance(scan.source, Path) else [file for frame in scan.source.files for file in frame]
    known = [(path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, files)]
    return [known_as(scan), sum(size for size, _ in known), max(changed for _, changed in known)]


def entry(
    scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, model: Model
) -> dict[str, Any]:
    """What the ledger says of one label map."""
    card, ordered = model.card, [frames[n] for n in sorted(frames)]
    scores = [frame.judged.scores for frame in ordered]
    withheld = "a picture has no volume" if card["pictures"] else volume.spacing_fault
    sizes = [clinical.volumes_ml(frame.labels, volume.voxel_ml, card["classes"]) for frame in ordered]
    return {
        "case": scan.case,
        "scan": str(scan.path),
        "patient": scan.patient,
        "phase": scan.phase,
        "frames": len(ordered),
        "phases": dict(phases) or None,
        "shape": list(volume.voxels.shape[:3]),
        "spacing_mm": None if withheld else [round(mm, 6) for mm in volume.spacing_mm],
        "withheld": withheld,
        "volumes_ml": None if withheld else {name: [size[name] for size in sizes] for name in sizes[0]},
        "quality": quality_fit.lowest(model.quality, scores),
        "frame_scores": scores,
        "slices": ordered[0].judged.slices if len(ordered) == 1 else None,
    }


def _patients(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Clinical indices of every patient of whom both phases are there."""
    phases: dict[str, dict[str, tuple[Mapping[str, Any], int]]] = {}
    for case in cases:
        if case["phase"]:
            phases.setdefault(case["patient"], {})[case["phase"]] = case, 0
        for phase, n in (case["phases"] or {}).items():
            phases.setdefault(case["patient"], {}).setdefault(phase, (case, n))
    result = []
    for patient, found in sorted(phases.items()):
        if {"ED", "ES"} <= found.keys():
            withheld = next((case["withheld"] for case, _ in found.values() if case["withheld"]), None)
            sizes = {
                phase: {name: of[n] for name, of in case["volumes_ml"].items()} if not withheld else {}
                for phase, (case, n) in found.items()
            }
            row = {"patient": patient, "ed": found["ED"][0]["case"], "es": found["ES"][0]["case"], "withheld": withheld}
            result.append(row | clinical.indices(sizes["ED"], sizes["ES"]))
    return result
