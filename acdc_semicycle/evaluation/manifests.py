"""What predictions.json says of a folder's label maps as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets import case_patients
from acdc_semicycle.evaluation import post_processing
from acdc_semicycle.evaluation.case_names import FRAME, PHASE
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.runtime.files import read_json

MANIFEST = "predictions.json"


class Manifest:
    """The predictions.json of a folder; one that says nothing where there is none.

    Attributes:
        postprocessing: what was made of the network's label maps, in words; None where that is not known.
        asked_for: parts, patients and cases of the split, where the prediction was asked for some of its parts.
        parts_unknown: whether the network had no split beside it, as in a zip.
    """

    def __init__(self, root: Path) -> None:
        path = root / MANIFEST
        content: Mapping[str, Any] = read_json(path) if path.is_file() else {}
        settings = content.get("settings")
        self.postprocessing = post_processing.of_settings(settings) if isinstance(settings, dict) else None
        self.asked_for = asked_for_in(content)
        self.parts_unknown = all("part" in case and case["part"] is None for case in content.get("cases") or [{}])

    def expects(self, truth: LabelMap) -> bool:
        """Whether a prediction of this truth was asked for."""
        if self.asked_for is None:
            return True
        cine = FRAME.sub("", truth.stem)
        stems = {truth.stem, f"{truth.stem}_0000", cine}
        cases = dict.fromkeys(self.asked_for["cases"], "")
        if cases:
            return any(case_patients.case_of(cases, truth.path.parent, stem) for stem in sorted(stems))
        names = {*stems, *truth.folder, truth.path.parent.name, PHASE.sub("", cine)}
        return not names.isdisjoint(self.asked_for["patients"])


def asked_for_in(content: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Parts, patients and cases that a predictions.json was asked for; None where that was all, or is not known."""
    asked_for = content.get("asked_for")
    if not isinstance(asked_for, dict):
        return None
    complete = all(isinstance(asked_for.get(key), list) for key in ("parts", "patients", "cases"))
    return asked_for if complete else None


def notes_of(manifests: Mapping[str, Manifest]) -> list[str]:
    """What the scores of each tool are of, and whether its network may know the patients, where that is not known."""
    notes = []
    for tool, manifest in manifests.items():
        if manifest.postprocessing:
            notes.append(f"{tool}: scores of {manifest.postprocessing}")
        if manifest.parts_unknown:
            notes.append(
                f"{tool}: its network has no split.json of a training beside it, so whether it knows these patients"
                " cannot be told"
            )
    return notes
