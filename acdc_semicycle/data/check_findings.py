"""The rules, the counts and the findings of a check of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from acdc_semicycle.data.fingerprint import Fingerprint
from acdc_semicycle.datasets.records import Record


@dataclass(frozen=True)
class Finding:
    """Something wrong: ``"fault"`` or ``"warning"``, the file, and a sentence that names it and says what to do."""

    severity: str
    path: Path
    text: str


@dataclass
class Counts:
    """What a check has read, for ``report``.

    Attributes:
        unmatched: whether the layout is at fault, so that it is unknown which files belong together.
        scans: images with a spacing.
        lost: those of them whose spacing is 1 x 1 x 1 mm.
        values: the number of masks with each value, where no classes are given.
        unnamed: whether a training would ask for names of the classes.
        fingerprint: takes the facts of each case; None where they are not wanted.
    """

    kind: str = "folder"
    patients: int = 0
    images: int = 0
    masks: int = 0
    unmatched: bool = False
    scans: int = 0
    lost: int = 0
    values: Counter[int] = field(default_factory=Counter)
    unnamed: bool = False
    fingerprint: Fingerprint | None = None

    def enter(self, records: Sequence[Record]) -> None:
        """Count the patients, the images and the masks of a data set's records."""
        self.patients = len({record.patient for record in records})
        self.images = len(records)
        self.masks = sum(record.label is not None for record in records)


class Rules(NamedTuple):
    """How a training reads one kind of data set.

    Attributes:
        background: whether the first class is the background.
        everywhere: whether every structure is in every volume.
        own: whether its owner names the classes.
        channels: of an image; None for 3 of a picture and 1 of a scan.
    """

    title: str
    classes: Sequence[str] | None = None
    colours: Sequence[Sequence[int]] | None = None
    values: Mapping[Any, Any] | None = None
    intensity_range: Sequence[int] | None = None
    background: bool = True
    everywhere: bool = False
    own: bool = False
    channels: int | None = None
