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
    """

    def __init__(self, root: Path) -> None:
        path = root / MANIFEST
        content: Mapping[str, Any] = read_json(path) if path.is_file() else {}
        settings = content.get("settings")
        self.postprocessing = post_processing.of_settings(settings) if isinstance(settings, dict) else None
        asked_for = content.get("asked_for") or {}
        complete = all(isinstance(asked_for.get(key), list) for key in ("parts", "patients", "cases"))
        self.asked_for: dict[str, list[str]] | None = asked_for if complete else None

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


def notes_on_postprocessing(postprocessing: Mapping[str, str | None]) -> list[str]:
    """What the scores of each tool are of, where its predictions.json tells: others may be of other label maps."""
    notes = []
    for tool, words in postprocessing.items():
        if words:
            notes.append(f"{tool}: scores of {words}")
    return notes
