"""A scan to segment: its file, the name of its case, its patient, and where its label map goes."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from acdc_semicycle.datasets import acdc
from acdc_semicycle.imageio import dicom_series, volumes
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.runtime.errors import InputError

LONGEST = 200  # bytes of a name to which _seg, an ending, and .part are added


@dataclass(frozen=True)
class Scan:
    """One file, or one DICOM series.

    Attributes:
        source: what is read.
        case: its relative name without the suffix, unique among those found together.
        target: where the label map goes.
        patient: whose it is, as far as names and ACDC's Info.cfg tell.
        phase: ``"ED"``, ``"ES"``, or None.
        phases: of a cine whose Info.cfg says so, the frame (from 0) of each phase.
        fault: why it can be none, in the words of an InputError.
    """

    source: Path | dicom_series.Series
    case: str
    target: Path
    patient: str
    phase: str | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None

    @property
    def path(self) -> Path:
        """The file, or the folder of the series."""
        return self.source if isinstance(self.source, Path) else self.source.folder

    def of(self, phase: str) -> Scan:
        """One phase of a cine as a scan of its own."""
        name = volumes.ending(self.target) or self.target.suffix
        stem = self.target.name[: -len(f"_seg{name}")]
        target = self.target.with_name(f"{stem}_{phase}_seg{name}")
        return replace(self, case=f"{self.case}_{phase}", target=target, phase=phase, phases={})


def id_of(source: Path | dicom_series.Series) -> str:
    """What makes a source the same as another: its name, in whatever words its folder is named."""
    if isinstance(source, Path):
        return f"{source.parent.resolve()}/{source.name}"
    return f"{source.folder.resolve()}/{source.uid}"


def stem(path: Path) -> str:
    """The file's name without .nii.gz or whatever it ends in, in whatever case."""
    known = sorted((*volumes.SCANS, *PICTURES), key=len, reverse=True)
    suffix = next((suffix for suffix in known if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: -len(suffix)] if suffix else path.name


def own_ending(path: Path) -> str:
    """The format of a scan's own container."""
    return {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}.get(volumes.ending(path), ".nii.gz")


def fitting_name(name: str) -> str:
    """A name that still is a file's, 255 bytes, with what is put around it."""
    if len(os.fsencode(name)) <= LONGEST:
        return name
    start = os.fsencode(name)[: LONGEST - 20].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def whose(path: Path, name: str) -> tuple[str | None, str | None, Mapping[str, int]]:
    """Patient, phase, and of a cine both phases' frames: from ACDC's Info.cfg, or from a name that ends in ED or ES."""
    if (path.parent / "Info.cfg").is_file():
        try:
            numbers = acdc.frames(path.parent)
        except InputError:
            return path.parent.name, None, {}
        phase = next((phase for phase, n in numbers.items() if name == f"{path.parent.name}_frame{n:02d}"), None)
        return path.parent.name, phase, {} if phase else {phase: n - 1 for phase, n in numbers.items()}
    if found := re.fullmatch(r"(.+)[_-](ED|ES)(?:_0000)?", name):
        return found[1], found[2], {}
    return None, None, {}


def told_apart(found: Sequence[Scan]) -> list[Scan]:
    """Names that two scans would share get the scan's suffix, or a number."""
    cases, targets = (Counter(getattr(scan, what) for scan in found) for what in ("case", "target"))
    used = {case for case, times in cases.items() if times == 1}
    result = []
    for scan in found:
        if cases[scan.case] > 1:
            scan = _renamed(scan, used, targets[scan.target] > 1)
            used.add(scan.case)
        result.append(scan)
    return result


def _renamed(scan: Scan, used: set[str], target_too: bool) -> Scan:
    end = volumes.ending(scan.target) or scan.target.suffix
    short = scan.target.name[: -len(f"_seg{end}")]
    more = scan.path.name[len(short) :].replace(".", "_") if scan.path.name.startswith(short) else ""
    word = next(more + (f"_{n}" if n else "") for n in count() if (more or n) and _joined(scan, more, n) not in used)
    target = scan.target.with_name(f"{short}{word}_seg{end}") if target_too else scan.target
    return replace(scan, target=target, case=scan.case + word)


def _joined(scan: Scan, more: str, n: int) -> str:
    return scan.case + more + (f"_{n}" if n else "")
