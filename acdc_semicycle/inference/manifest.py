"""predictions.json: which label map was made of which scan, by which network, how good it may be, and what failed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.known_patients import KnownPatients, names_of
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.artifacts.score_names import current_case, current_predictions
from acdc_semicycle.evaluation import post_processing
from acdc_semicycle.evaluation.manifests import asked_for_in
from acdc_semicycle.inference.entries import is_gone, known_as, patients_of, stamp
from acdc_semicycle.inference.expected import expected_of
from acdc_semicycle.inference.label_maps import ours
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text, writing
from acdc_semicycle.runtime.provenance import plain, provenance

log = logging.getLogger("semicycle")

MANIFEST = "predictions.json"
JOURNAL = "predictions.{}.jsonl"
NEEDED = {"case", "mask", "files", "parts", "stamp", "frame_scores", "remarks"}  # keys of a case that a later run reads


class Manifest:
    """The cases, one of each label map, and the failures of a prediction.

    A scan whose cases are here, unchanged, segmented by the same network with the same settings, is not segmented
    again. Where several processes predict, the first one writes the manifest and the others a :class:`Journal` each.

    Args:
        settings: all that decides what the label maps are.
        asked_for: the part of the split that is asked for (:attr:`acdc_semicycle.inference.inputs.Scans.asked_for`);
            None where all scans are.
    """

    def __init__(
        self, folder: Path, model: Model, settings: Mapping[str, Any], asked_for: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.model, self.known = folder / MANIFEST, model, KnownPatients.of(model)
        self.content: dict[str, Any] = {
            "model": {"path": str(model.path), "sha256": model.sha256} | model.card,
            "classes": list(model.card["classes"]),
            "colours": model.card["colours"],
            "settings": dict(settings),
            "postprocessing": post_processing.of_settings(settings),
            "asked_for": asked_for,
            "quality": model.quality,
            "trust": model.trust,
            "cases": [],
            "patients": [],
            "failures": [],
        } | provenance()
        before = self._before()
        self.former_model: dict[str, Any] = before.get("model") or {}
        self.owners: dict[str, str] = {}  # the scan of each label map
        self.former: list[dict[str, Any]] = before.get("cases", [])  # of any settings, to know renamed scans by
        self._own(self.former)
        if self._same_settings(before):
            self._continue(before)

    def _continue(self, before: Mapping[str, Any]) -> None:
        """Take over the cases of an earlier run whose label maps are there, and what it was asked for."""
        for case in self.former:
            if all((self.path.parent / name).is_file() for name in case["files"]):
                case |= expected_of(case, self.model)  # fitted by now, perhaps
                if "part" not in case:  # of an earlier version
                    case["part"] = self.known.part_of(names_of(case))
                self.content["cases"].append(case)
        if self.content["cases"] and "asked_for" in before:
            self.content["asked_for"] = _of_both(asked_for_in(before), self.content["asked_for"])

    def enter_journals(self, failures: bool) -> None:
        """Enter the journals of other processes, of this run or of one that was killed, and remove them.

        Args:
            failures: whether failures are entered, too; those of an earlier run are not, as their scans are tried
                again.
        """
        journals = sorted(path for path in self.path.parent.glob(JOURNAL.format("[0-9]*")) if path.is_file())
        for journal in journals:
            for note in self._notes(journal):
                if "cases" in note:
                    self._enter_complete(note["cases"])
                elif failures:
                    self._enter_failure(note["gone"], note["scan"], note["reason"])
        if journals:
            self.write()
        for journal in journals:
            journal.unlink()

    def _notes(self, journal: Path) -> Iterator[dict[str, Any]]:
        """The notes of a journal that was written with the same network and settings."""
        lines = _lines(journal)
        if lines and self._same_settings(lines[0]):
            yield from lines[1:]

    def _before(self) -> dict[str, Any]:
        """The manifest of an earlier run; empty if there is none, or none that this version can continue."""
        try:
            before = current_predictions(json.loads(self.path.read_text(encoding="utf-8")))
            return before if _complete(before["cases"]) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _same_settings(self, before: Mapping[str, Any]) -> bool:
        """Whether an earlier run had this network and these settings, wherever the network's file was."""
        now = json.loads(json.dumps(plain(_settings_of(self.content))))
        return now == _settings_of(before)

    def holds(self, scan: Scan) -> bool:
        """Whether this scan, unchanged, has been segmented, and all its label maps are there."""
        now = stamp(scan)
        cases = [case for case in self.content["cases"] if case["stamp"] == now]
        return bool(cases) and len(cases) == cases[0]["parts"]

    def check(self, scan: Scan, content: str | None = None, claim: bool = True) -> None:
        """Refuse to write a label map over another scan's.

        Args:
            content: the hash of what the scan's files hold; by it a scan is known that was moved.
            claim: whether the label map is this scan's from now on, as it is about to be written.
        """
        name = os.path.relpath(scan.target, self.path.parent)
        owner = self.owners.get(name, known_as(scan))
        if any(case["mask"] == name and _was_moved(case, content) for case in self.former):
            owner = known_as(scan)
        if claim:
            self.owners[name] = owner
        if owner != known_as(scan) and scan.target.is_file():
            raise InputError(f"{scan.target} is the label map of {owner}, not of {scan.path}: give another output_dir")

    def add(self, cases: Sequence[dict[str, Any]]) -> None:
        """Enter the cases of a scan, and write the manifest."""
        self._enter(cases)
        self.write()

    def fail(self, scan: Scan, reason: str) -> None:
        """Enter a scan's failure, and write the manifest."""
        self._enter_failure(known_as(scan), str(scan.path), reason)
        self.write()

    def _enter(self, cases: Sequence[dict[str, Any]]) -> None:
        """Put cases in the place of those with the same names, and of those of the same scans before their renaming."""
        new = [case["case"] for case in cases]
        contents = {case.get("scan_digest") for case in cases}
        renamed = [case for case in self.former if case["case"] not in new and _was_moved(case, *contents)]
        replaced = {*new, *(case["case"] for case in renamed)}
        others = [case for case in self.content["cases"] if case["case"] not in replaced]
        self.content["cases"] = others + list(cases)
        self.former = [case for case in self.former if case["case"] not in replaced]
        self._own(cases)
        for case in renamed:
            self._remove_files(case)

    def _remove_files(self, case: Mapping[str, Any]) -> None:
        """Remove the label maps of a case, and its slices for the report, unless another case has them."""
        kept = {name for other in self.content["cases"] for name in other["files"]}
        files = [self.path.parent / name for name in case["files"] if name not in kept and _is_below(name)]
        for file in filter(ours, files):
            file.unlink(missing_ok=True)
            log.info("%s removed: %s was renamed", file, case["scan"])
        if case.get("panel") and _is_below(case["panel"]):
            (self.path.parent / case["panel"]).unlink(missing_ok=True)

    def _own(self, cases: Sequence[Mapping[str, Any]]) -> None:
        """Keep which scan each label map is of."""
        for case in cases:
            self.owners[case["mask"]] = case["stamp"][0]

    def _enter_complete(self, cases: Sequence[dict[str, Any]]) -> None:
        """Enter the cases of a journal, unless they lack what a later run reads."""
        if _complete(cases):
            self._enter([current_case(case) for case in cases])

    def _enter_failure(self, name: str, path: str, reason: str) -> None:
        """Put a failure in the place of the scan's cases; ``name`` is that of its stamp."""
        self.content["cases"] = [case for case in self.content["cases"] if case["stamp"][0] != name]
        self.content["failures"].append({"scan": path, "reason": reason})

    def write(self) -> None:
        """Write predictions.json, its cases by name, with the indices of the patients."""
        self.content["cases"].sort(key=lambda case: case["case"])
        self.content["patients"] = patients_of(self.content["cases"])
        write_text(self.path, json.dumps(plain(self.content), indent=1) + "\n")


class Journal(Manifest):
    """What another process than the first adds to the manifest: a file of one JSON a line, which the first enters."""

    def __init__(self, folder: Path, model: Model, settings: Mapping[str, Any], process: int) -> None:
        super().__init__(folder, model, settings)
        self.journal = folder / JOURNAL.format(process)
        self._note({"model": self.content["model"], "settings": self.content["settings"]})

    def add(self, cases: Sequence[dict[str, Any]]) -> None:
        """Note the cases of a scan."""
        self._note({"cases": list(cases)})

    def fail(self, scan: Scan, reason: str) -> None:
        """Note a scan's failure."""
        self._note({"gone": known_as(scan), "scan": str(scan.path), "reason": reason})

    def _note(self, note: dict[str, Any]) -> None:
        """Add a line to the journal."""
        with writing(self.journal), self.journal.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(json.dumps(plain(note)) + "\n")


def _lines(journal: Path) -> list[dict[str, Any]]:
    """The lines of a journal, up to one that a killed process left unfinished."""
    lines = []
    for line in journal.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what a label map is: the network, but for its path, and the settings."""
    return {**(content.get("model") or {}), **(content.get("settings") or {}), "path": ""}


def _of_both(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> dict[str, list[str]] | None:
    """What two runs into one folder are asked for together; None where either is asked for all scans."""
    if before is None or now is None:
        return None
    return {key: sorted({*before[key], *now[key]}) for key in ("parts", "patients", "cases")}


def _was_moved(case: Mapping[str, Any], *contents: str | None) -> bool:
    """Whether a case is of a scan of one of these contents, which is no longer where it was."""
    content = case.get("scan_digest")
    return content is not None and content in contents and is_gone(case)


def _is_below(name: str) -> bool:
    """Whether a file's relative name stays below the folder that it starts from."""
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _complete(cases: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the cases have all keys that a later run reads; an earlier version wrote fewer."""
    return all(case.keys() >= NEEDED for case in cases)
