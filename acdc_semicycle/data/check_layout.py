"""The layout of a data set, and what is wrong with its folders and names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from acdc_semicycle.data.check_cases import Cases
from acdc_semicycle.data.check_findings import Rules
from acdc_semicycle.datasets import acdc, cityscapes, folder, voc
from acdc_semicycle.datasets.cines import with_frames
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.imageio.volumes import NIFTI, SCANS
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.search import files_below

DEEPEST = 3  # levels below a folder at which data sets are looked for

KINDS = {
    "acdc": Rules("ACDC", acdc.CLASSES, acdc.COLOURS, everywhere=True),
    "voc": Rules("PASCAL VOC", voc.CLASSES, voc.COLOURS, voc.VALUES, (0, 255)),
    "cityscapes": Rules("Cityscapes", cityscapes.CLASSES, cityscapes.COLOURS, cityscapes.VALUES, (0, 255), False),
    "folder": Rules("a folder of images", own=True),
}


def kind(root: str | Path) -> str:
    """Which data set's layout a folder has, by the names in it: a key of KINDS."""
    root = Path(root)
    try:
        acdc.patients(root)
        return "acdc"
    except (InputError, OSError):
        pass
    for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (home / "JPEGImages").is_dir():
            return "voc"
    if (root / "leftImg8bit").is_dir() or (root / "gtFine").is_dir():
        return "cityscapes"
    return "folder"


def dataset_below(root: Path) -> tuple[str, Path] | None:
    """The only public data set up to three levels below a folder, its title and its folder; None without one."""
    level = [root]
    for _ in range(DEEPEST):
        level = [folder for parent in level for folder in _folders_in(parent)]
        datasets = [(kind(folder), folder) for folder in level]
        nested = [(KINDS[name].title, folder) for name, folder in datasets if name != "folder"]
        if nested:
            return nested[0] if len(nested) == 1 else None
    return None


def _folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, as far as it can be listed, without hidden ones."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return []


def read_records(root: Path, masks: str | Path | None, cases: Cases, patient: str | None = None) -> list[Record]:
    """The records of a data set; where the layout is at fault, those that can be made.

    Args:
        masks: of a folder of images, the other folder, of their masks.
        cases: know the data set's kind, and keep the faults of the layout.
        patient: of a folder of images, the expression that finds the patient in a name.
    """
    if cases.counts.kind == "acdc":
        return _acdc_records(root, cases)
    try:
        if cases.counts.kind == "voc":
            return voc.records(root)
        if cases.counts.kind == "cityscapes":
            return cityscapes.records(root)
        records = folder.paired(root, masks, patient)
        for text in folder.patient_doubts(records, patient):
            cases.add("warning", root, text)
        return records
    except (InputError, OSError) as error:
        cases.fault(root, error)
    cases.unmatched = cases.counts.unmatched = True
    return _unmatched_records(root, masks)


def _unmatched_records(root: Path, masks: str | Path | None) -> list[Record]:
    """One record for every file that can be an image or a mask, and for every frame of a cine."""
    files = set(files_below(root))
    if masks and Path(masks).is_dir():
        files |= set(files_below(Path(masks)))
    records: list[Record] = []
    for path in sorted(files):
        if _can_be_read(path):
            records.append(Record(path.stem, path.stem, path))
    return with_frames(records)


def _can_be_read(path: Path) -> bool:
    """Whether a file is a scan or a picture by its name."""
    return path.name.lower().endswith((*SCANS, *PICTURES))


def _acdc_records(root: Path, cases: Cases) -> list[Record]:
    """The records of every patient; of a patient with faults, those that can be made."""
    records: list[Record] = []
    folders: dict[str, Path] = {}
    for path, text in acdc.ignored_folders(root).items():
        cases.add("warning", path, text)
    for part, patient in acdc.patients(root):
        twice = acdc.twice_there(patient, folders)
        if twice:
            cases.add("fault", patient, twice)
        files = cases.attempt(patient, os.listdir, patient)
        if files is not None:
            records += _patient_records(patient, part, sorted(files), cases)
    if records and not any(record.label for record in records):
        cases.add("fault", root, f"{root} holds no mask of any image: there is nothing to learn from, give masks")
    return sorted(records)


def _patient_records(patient: Path, part: str, files: Sequence[str], cases: Cases) -> list[Record]:
    """The records of one patient, and what is wrong with the folder's names."""
    records: list[Record] = []
    expected: list[str] = []
    for phase, frame in _frames(patient, files, cases):
        case = f"{patient.name}_frame{frame:02d}"
        expected.append(case)
        record = cases.attempt(patient / f"{case}.nii.gz", acdc.record, patient, phase, frame, part)
        if record:
            records.append(record)
    _find_missing_masks(patient, records, cases)
    _find_stray_masks(patient, files, expected, cases)
    return records


def _frames(patient: Path, files: Sequence[str], cases: Cases) -> list[tuple[str | None, int]]:
    """The phases and their frames; without a usable Info.cfg the frames that have files, without a phase."""
    named = cases.attempt(patient / "Info.cfg", acdc.frames, patient)
    if named:
        return list(named.items())
    frames: dict[int, None] = {}  # each once, though there may be a compressed and a plain file
    for name in files:
        match = re.fullmatch(rf"{patient.name}_frame(\d\d+)\.nii(\.gz)?", name)
        if match:
            frames[int(match[1])] = None
    return [(None, frame) for frame in frames]


def _find_missing_masks(patient: Path, records: Sequence[Record], cases: Cases) -> None:
    """Find frames without a mask of patients that have another; a patient is labelled completely or not at all."""
    if not any(record.label for record in records):
        return
    for record in records:
        if record.label is None:
            path = patient / f"{record.case}_gt.nii.gz"
            text = f"{path} is missing, but another frame has a mask: all of {record.patient} counts as unlabelled"
            cases.add("warning", path, text)


def _find_stray_masks(patient: Path, files: Sequence[str], expected: Sequence[str], cases: Cases) -> None:
    """Find masks without an image, except of frames whose missing image is a fault already."""
    for name in files:
        match = re.fullmatch(r"(.+)_gt\.nii(\.gz)?", name)
        if not match or match[1] in expected:
            continue
        if not any(match[1] + end in files for end in NIFTI):
            text = f"{patient / name} is a mask without an image: restore {match[1]}.nii.gz, or remove the mask"
            cases.add("warning", patient / name, text)
