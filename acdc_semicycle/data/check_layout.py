"""Whose layout a data set has, and what is wrong with its folders and names."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from acdc_semicycle.data.check_cases import Cases, Kind
from acdc_semicycle.datasets import acdc, cityscapes, folder, voc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.imageio.volumes import NIFTI, SCANS
from acdc_semicycle.runtime.errors import InputError

KINDS = {
    "acdc": Kind("ACDC", acdc.CLASSES, acdc.COLOURS, everywhere=True),
    "voc": Kind("PASCAL VOC", voc.CLASSES, voc.COLOURS, voc.VALUES, (0, 255)),
    "cityscapes": Kind("Cityscapes", cityscapes.CLASSES, cityscapes.COLOURS, cityscapes.VALUES, (0, 255), False),
    "folder": Kind("a folder of images", own=True),
}


def kind(root: str | Path) -> str:
    """Whose layout a folder has, by the names in it: a key of KINDS, ``"folder"`` where it is nobody's."""
    root = Path(root)
    try:
        acdc.patients(root)
        return "acdc"
    except (InputError, OSError):
        if any((home / "JPEGImages").is_dir() for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")):
            return "voc"
        return "cityscapes" if any((root / name).is_dir() for name in ("leftImg8bit", "gtFine")) else "folder"


def other_records(root: Path, masks: str | Path | None, cases: Cases) -> list[Record]:
    """The records; where the layout itself is at fault, every file below by itself."""
    try:
        if cases.counts.kind == "folder":
            return folder.records(root, masks)
        return (voc if cases.counts.kind == "voc" else cityscapes).records(root)
    except (InputError, OSError) as error:
        cases.fault(root, error)
    cases.alone = cases.counts.alone = True
    files = {path for parent in (root, masks) if parent and Path(parent).is_dir() for path in Path(parent).rglob("*")}
    named = (path for path in sorted(files) if path.name.lower().endswith((*SCANS, *PICTURES)) and path.name[0] != ".")
    return [Record(path.stem, path.stem, path) for path in named if path.is_file()]


def acdc_records(root: Path, cases: Cases) -> list[Record]:
    """The records of every patient; of a broken one whatever is there."""
    records: list[Record] = []
    folders: dict[str, Path] = {}
    for path, text in acdc.ignored_folders(root).items():
        cases.add("warning", path, text)
    for part, patient in acdc.patients(root):
        if (other := folders.setdefault(patient.name, patient)) is not patient:
            text = f"{patient} is there twice, also as {other}: keep one, nobody is both trained on and scored"
            cases.add("fault", patient, text)
        files = cases.attempt(patient, os.listdir, patient)
        if files is None:
            continue
        frames = _frames(patient, sorted(files), cases)
        asked = {f"{patient.name}_frame{frame:02d}": (phase, frame) for phase, frame in frames}
        found = [
            cases.attempt(patient / f"{name}.nii.gz", acdc.record, patient, *which, part)
            for name, which in asked.items()
        ]
        own = [record for record in found if record]
        _missing_masks(patient, own, cases)
        _stray_masks(patient, sorted(files), asked, cases)
        records += own
    if records and not any(record.label for record in records):
        cases.add("fault", root, f"{root} holds no mask of any image: there is nothing to learn from, give masks")
    return sorted(records)


def _frames(patient: Path, files: Sequence[str], cases: Cases) -> list[tuple[str | None, int]]:
    """The phases and their frames; without a usable Info.cfg the frames that are there."""
    if frames := cases.attempt(patient / "Info.cfg", acdc.frames, patient):
        return list(frames.items())
    found = (re.fullmatch(rf"{patient.name}_frame(\d\d+)\.nii(\.gz)?", name) for name in files)
    return [(None, int(match[1])) for match in found if match]


def _missing_masks(patient: Path, records: Sequence[Record], cases: Cases) -> None:
    """A patient is labelled whole or not at all."""
    for record in records:
        if record.label is None and any(other.label for other in records):
            path = patient / f"{record.case}_gt.nii.gz"
            text = f"{path} is not there, but the mask of another frame: all of {record.patient} counts as unlabelled"
            cases.add("warning", path, text)


def _stray_masks(patient: Path, files: Sequence[str], asked: Collection[str], cases: Cases) -> None:
    """Masks without an image, but for images that are missed already."""
    for name in files:
        drawn = re.fullmatch(r"(.+)_gt\.nii(\.gz)?", name)
        if drawn and drawn[1] not in asked and not {drawn[1] + end for end in NIFTI} & set(files):
            text = f"{patient / name} is a mask without an image: restore {drawn[1]}.nii.gz, or remove the mask"
            cases.add("warning", patient / name, text)
