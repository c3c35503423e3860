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
CONTAINERS = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}  # of label maps; else NIfTI


@dataclass(frozen=True)
class Scan:
    """One file, or one DICOM series.

    Attributes:
        source: the file or the series.
        case: its relative name without the suffix, unique among the scans of a prediction.
        target: where the label map goes.
        patient: whose it is: as the network's training had it, else as far as names and ACDC's Info.cfg tell. With its
            folder, where another patient of that name lies in another folder.
        phase: ``"ED"``, ``"ES"``, or None.
        phases: of a cine whose Info.cfg names them, the frame (from 0) of each phase.
        fault: why it cannot be segmented, in the words of an InputError.
        training_case: the case of the network's training that it may be, by its name.
        shared_name: the patient's name, where patients in several folders have it.
    """

    source: Path | dicom_series.Series
    case: str
    target: Path
    patient: str
    phase: str | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    training_case: str | None = None
    shared_name: str | None = None

    @property
    def path(self) -> Path:
        """The file, or the folder of the series."""
        return self.source if isinstance(self.source, Path) else self.source.folder

    def of(self, phase: str) -> Scan:
        """One phase of a cine as a scan of its own."""
        start, end = _around_seg(self.target)
        target = self.target.with_name(f"{start}_{phase}_seg{end}")
        return replace(self, case=f"{self.case}_{phase}", target=target, phase=phase, phases={})


def _around_seg(target: Path) -> tuple[str, str]:
    """The parts of a label map's name before and after ``_seg``."""
    end = volumes.ending(target) or target.suffix
    return target.name[: -len(f"_seg{end}")], end


def id_of(source: Path | dicom_series.Series) -> str:
    """A text that two scans share if they are the same file or series, by whatever path their folder is given."""
    if isinstance(source, Path):
        return f"{source.parent.resolve()}/{source.name}"
    return f"{source.folder.resolve()}/{source.uid}"


def stem(path: Path) -> str:
    """The file's name without its ending (``.nii.gz`` whole), in upper or lower case."""
    suffix = path.suffix
    for ending in sorted((*volumes.SCANS, *PICTURES), key=len):
        if path.name.lower().endswith(ending):
            suffix = ending  # the longest one that fits
    return path.name[: -len(suffix)] if suffix else path.name


def own_ending(path: Path) -> str:
    """The ending of a label map in the scan's own container."""
    return CONTAINERS.get(volumes.ending(path), ".nii.gz")


def fitting_name(name: str) -> str:
    """A name that leaves room for what is added: a file's name has 255 bytes."""
    if len(os.fsencode(name)) <= LONGEST:
        return name
    start = os.fsencode(name)[: LONGEST - 20].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def whose(path: Path, name: str) -> tuple[str | None, str | None, Mapping[str, int]]:
    """Patient, phase, and of a cine both phases' frames: from ACDC's Info.cfg, or from a name that ends in ED or ES."""
    if (path.parent / "Info.cfg").is_file():
        return _whose_by_info(path.parent, name)
    match = re.fullmatch(r"(.+)[_-](ED|ES)(?:_0000)?", name)
    if match:
        return match[1], match[2], {}
    return None, None, {}


def _whose_by_info(folder: Path, name: str) -> tuple[str, str | None, Mapping[str, int]]:
    """The same from the Info.cfg of a patient's folder, which numbers frames from 1."""
    try:
        numbers = acdc.frames(folder)
    except InputError:
        return folder.name, None, {}
    for phase, number in numbers.items():
        if name == f"{folder.name}_frame{number:02d}":
            return folder.name, phase, {}
    return folder.name, None, {phase: number - 1 for phase, number in numbers.items()}


def told_apart(scans: Sequence[Scan]) -> list[Scan]:
    """The scans with unique cases: one that shares its name with others gets its suffix, or a number."""
    cases = Counter(scan.case for scan in scans)
    targets = Counter(scan.target for scan in scans)
    used = {case for case, times in cases.items() if times == 1}
    result = []
    for scan in scans:
        if cases[scan.case] > 1:
            scan = _renamed(scan, used, targets[scan.target] > 1)
            used.add(scan.case)
        result.append(scan)
    return result


def _renamed(scan: Scan, used: set[str], target_too: bool) -> Scan:
    """The scan with a case that is not among those used, and a label map of that name if another scan has its own."""
    start, end = _around_seg(scan.target)
    suffix = scan.path.name[len(start) :].replace(".", "_") if scan.path.name.startswith(start) else ""
    word = _unused(scan.case, suffix, used)
    target = scan.target.with_name(f"{start}{word}_seg{end}") if target_too else scan.target
    return replace(scan, target=target, case=scan.case + word)


def _unused(case: str, suffix: str, used: set[str]) -> str:
    """The first of suffix, suffix_1, suffix_2 and so on that makes a case which is not used."""
    if suffix and case + suffix not in used:
        return suffix
    return next(f"{suffix}_{n}" for n in count(1) if f"{case}{suffix}_{n}" not in used)
