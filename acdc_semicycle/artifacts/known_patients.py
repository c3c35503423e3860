"""Which patients a network knows from its training, by the splits of its run, or of the runs of its folds.

The part of a patient is the word that split.json has for it. Validation patients of a network that was kept as the last
one, whatever its scores, are ``held out``. A patient in no split is ``new``. Of a network without a
split, as of a zip, nothing is known. A training that started from another network knows that one's patients, too, which
are in earlier.json.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.data.parts import HELD_OUT, NEW, PARTS, strongest
from acdc_semicycle.datasets import case_patients
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json

log = logging.getLogger("semicycle")

EARLIER = "earlier.json"  # beside split.json: the parts of ``patients`` and of ``images``, by name and by digest
SLICE = re.compile(r"_slice\d{3}$")  # of a split by slice, whose patients are slices


class KnownPatients:
    """The parts of the patients of one split, or of several, and the contents of the images that were seen.

    Args:
        splits: the split.json of each.
        kept_last: whether no epoch was chosen on the validation patients, as the last network was kept.

    Attributes:
        parts: by the name of a patient, or of an image of which slices were drawn.
        part_of_image: by the digest of an image that a training or its validation has read.
        digests: of these images, by case.
    """

    def __init__(self, splits: Sequence[Path], kept_last: bool = False) -> None:
        self._kept_last = kept_last
        self.parts: dict[str, str] = {}
        self.part_of_image: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        for split in splits:
            try:
                self._enter(split)
            except InputError as error:
                log.warning("whom the network was trained on is not known: %s", error)

    @classmethod
    def of(cls, model: Model) -> KnownPatients:
        """Those of a network on disk."""
        members = model.members or (model,)
        splits = [member.split for member in members if member.split is not None and member.split.is_file()]
        return cls(splits, model.card.get("keep") == "last")

    def part_of(self, names: Iterable[str | None], digest: str | None = None) -> str | None:
        """The part of a scan by the names of its patient and the digest of its image; None where no split is known."""
        if not self.parts:
            return None
        parts = [self.parts.get(str(name)) for name in names]
        return strongest([*parts, self.part_of_image.get(str(digest)), NEW])

    def differs(self, case: str | None, digest: str | None) -> bool:
        """Whether an image has the name of one that was seen, and other contents."""
        known = self.digests.get(str(case))
        return None not in (known, digest) and digest != known and digest not in self.part_of_image

    def _enter(self, split: Path) -> None:
        """Add the patients of a split, and the images of its run."""
        patients = case_patients.load(split)
        images = case_patients.load_images(split)
        for part, names in read_json(split).items():
            if part in PARTS and isinstance(names, list):
                self._enter_part(part, map(str, names))
        for case, digest in images.items():
            part = self.part_of([case, SLICE.sub("", case), patients.get(case)]) or NEW
            _add(self.part_of_image, {digest: part})
            self.digests[case] = digest
        earlier = split.with_name(EARLIER)
        if earlier.is_file():
            content = read_json(earlier)
            for key, parts in (("patients", self.parts), ("images", self.part_of_image)):
                if not isinstance(content.get(key, {}), Mapping):
                    raise InputError(f"{earlier} is damaged ({key} has no parts by name): restore it, or train again")
                _add(parts, content.get(key, {}))

    def _enter_part(self, part: str, names: Iterable[str]) -> None:
        """Add the patients of a part; of slices the images that they are of, too."""
        if part == "validation" and self._kept_last:
            part = HELD_OUT
        for name in names:
            _add(self.parts, dict.fromkeys((name, SLICE.sub("", name)), part))


def _add(parts: dict[str, str], others: Mapping[str, Any]) -> None:
    """Add other parts to those by name, or by digest; of two the one that knows more stays."""
    for name, part in others.items():
        strongest_part = strongest([part, parts.get(name)])
        if strongest_part is not None:
            parts[name] = strongest_part


def names_of(case: Mapping[str, Any]) -> set[str]:
    """The names by which a split may know a case of a predictions.json."""
    patient, name = str(case.get("patient")), str(case.get("case"))
    return {patient, name, *Path(patient).parts, *Path(name).parts}
