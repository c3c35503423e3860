"""What every data set gives: a sorted list of records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Record:
    """One annotated or plain image of a data set.

    Attributes:
        case: name of the image, unique within the data set, e.g. ``patient001_frame01``.
        patient: whose image it is; splits never cut through a patient.
        image: the image file.
        label: the mask file, or None where nobody has drawn one.
        phase: ``"ED"`` (end-diastole), ``"ES"`` (end-systole), or None where the data set has no phases.
        part: the data set's own part, ``"training"`` or ``"testing"``; the latter is never trained on.
    """

    case: str
    patient: str
    image: Path
    label: Path | None = None
    phase: str | None = None
    part: str = "training"
