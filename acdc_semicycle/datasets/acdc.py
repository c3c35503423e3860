"""ACDC 2017 (Bernard et al. 2018): short-axis cine MRI, end-diastole and end-systole, in the challenge's layout.

Below ``root``, or ``root/training`` and ``root/testing``, one folder a patient::

    patientNNN/Info.cfg                      ED: 1, ES: 12, ...
               patientNNN_frame01.nii.gz     the image
               patientNNN_frame01_gt.nii.gz  its mask, if there is one
               patientNNN_4d.nii.gz          the whole cine, not used
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.volumes import NIFTI
from acdc_semicycle.runtime.errors import InputError, many, refuse, some

log = logging.getLogger("semicycle")

CLASSES = ("background", "RV", "MYO", "LV")
COLOURS = ((0, 0, 0), (76, 155, 232), (242, 193, 78), (228, 87, 46))
PHASES = ("ED", "ES")
PATIENT = re.compile(r"patient\d+")
LINE = re.compile(r"^\s*(ED|ES)\s*:\s*(\d+)\s*$", re.MULTILINE)  # of a patient's Info.cfg
APART = 0.3  # the least part of the smaller LV, seen along the heart, that two frames of one patient share


def records(root: str | Path) -> list[Record]:
    """Every end-diastolic and end-systolic frame below ``root``, sorted by case.

    Args:
        root: the unpacked challenge: a folder of patientNNN folders, or of ``training`` and ``testing``.

    Raises:
        InputError: there is no such folder or no patient in it; or patients have no usable Info.cfg, lack a frame
            that it names, or are there twice. All such patients are named.
    """
    result: list[Record] = []
    faults: list[str] = []
    folders: dict[str, Path] = {}
    for part, folder in patients(root):
        twice = twice_there(folder, folders)
        if twice:
            faults.append(twice)
        try:
            for phase, frame in frames(folder).items():
                result.append(record(folder, phase, frame, part))
        except InputError as error:
            faults.append(str(error))
    for text in ignored_folders(root).values():
        log.warning("%s", text)
    refuse(faults, str(root))
    return sorted(result)


def oddities(labels: NDArray, other: NDArray | None = None) -> list[str]:
    """What is unlikely in a short-axis mask [H, W, slices] of these classes, as sentences.

    Args:
        other: the mask of the patient's other frame, on the same grid.
    """
    rv, myo, lv = labels == 1, labels == 2, labels == 3
    if rv.any() and lv.any() and _enclosed(lv, myo) < _enclosed(rv, myo):
        return ["its RV lies in the myocardium's ring and its LV beside it: expected 1 RV, 2 MYO, 3 LV"]
    if other is not None and other.shape == labels.shape and _shared(lv, other == 3) < APART:
        return ["its LV lies elsewhere than in the patient's other frame: one of the masks may be mirrored"]
    return []


def _enclosed(part: NDArray, myo: NDArray) -> float:
    """The part of a structure's border, slice by slice, that is myocardium."""
    border = binary_dilation(part, np.ones((3, 3, 1))) & ~part
    return float((border & myo).sum() / max(border.sum(), 1))


def _shared(first: NDArray, second: NDArray) -> float:
    """The part of the smaller of two structures that both share, seen along the heart; 1 where one is empty."""
    if not (first.any() and second.any()):
        return 1.0
    smaller = min(first.any(2).sum(), second.any(2).sum())
    return float((first & second).any(2).sum() / smaller)


def patients(root: str | Path) -> list[tuple[str, Path]]:
    """Each patient's part and folder, sorted within a part.

    Raises:
        InputError: there is no such folder, or no patient in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the unpacked ACDC folder as dataset_dir, or in ACDC_DIR")
    folders: list[tuple[str, Path]] = []
    for part, parent in _parts(root).items():
        for folder in sorted(parent.iterdir()):
            if PATIENT.fullmatch(folder.name) and folder.is_dir():
                folders.append((part, folder))
    if not folders:
        raise InputError(
            f"{root} holds no patientNNN folder: give the folder that holds training/patient001 and so on,"
            " or the patient folders themselves, as dataset_dir"
        )
    return folders


def twice_there(patient: Path, folders: dict[str, Path]) -> str | None:
    """Why a patient's folder is a fault, where an earlier one has its name; else it joins ``folders``, by name."""
    other = folders.setdefault(patient.name, patient)
    if other is patient:
        return None
    return f"{patient} is there twice, also as {other}: keep one, no patient may be both trained on and scored"


def _parts(root: Path) -> dict[str, Path]:
    """The folders of patients by the data set's part; without parts, all patients are for training."""
    folders = {part: root / part for part in ("training", "testing")}
    return {part: folder for part, folder in folders.items() if folder.is_dir()} or {"training": root}


def ignored_folders(root: str | Path) -> dict[Path, str]:
    """Folders with scans that are not used: the first one of each kind in each parent, with a sentence on all.

    These are named unlike patients, or hold patients, one folder too deep.
    """
    sentences: dict[Path, str] = {}
    for parent in _parts(Path(root)).values():
        unlike, too_deep = [], []
        for folder in sorted(parent.iterdir()):
            if PATIENT.fullmatch(folder.name) or not folder.is_dir():
                continue
            if _looks_like_a_patient(folder):
                unlike.append(folder.name)
            elif _holds_patients(folder):
                too_deep.append(folder.name)
        if unlike:
            what = f"{many(len(unlike), 'folder')} of scans by another name than patientNNN: {some(unlike)}"
            sentences[parent / unlike[0]] = f"{parent} holds {what}; they are not used, rename those that are patients"
        if too_deep:
            what = f"{many(len(too_deep), 'folder')} with patientNNN folders in them: {some(too_deep)}"
            sentences[parent / too_deep[0]] = f"{parent} holds {what}; they are not used, move the patients into it"
    return sentences


def _looks_like_a_patient(folder: Path) -> bool:
    """Whether a folder holds an Info.cfg or a scan."""
    with suppress(OSError):  # it may not be readable
        return any(path.name == "Info.cfg" or path.name.lower().endswith(NIFTI) for path in folder.iterdir())
    return False


def _holds_patients(folder: Path) -> bool:
    """Whether a folder holds one that is named like a patient."""
    with suppress(OSError):
        return any(PATIENT.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())
    return False


def frames(patient: Path) -> dict[str, int]:
    """The numbers of the ED and ES frames, from the Info.cfg in a patient's folder.

    Raises:
        InputError: there is no such file, or it does not name two frames.
    """
    info = patient / "Info.cfg"
    if not info.is_file():
        raise InputError(f"{patient} has no Info.cfg: restore it from the challenge's archive (it names ED and ES)")
    text = info.read_text(encoding="utf-8-sig", errors="replace")
    lines = sorted({(phase, int(number)) for phase, number in LINE.findall(text)})
    numbers = dict(lines)
    if len(lines) > len(numbers):
        raise InputError(f"{info} names two frames as one phase: restore it from the archive")
    for phase in PHASES:
        if phase not in numbers:
            raise InputError(f"{info} has no line '{phase}: N' with a frame number: restore it from the archive")
    if numbers["ED"] == numbers["ES"]:
        raise InputError(f"{info} names frame {numbers['ED']} as ED and as ES: restore it from the archive")
    return {phase: numbers[phase] for phase in PHASES}


def body_size(patient: Path) -> tuple[float, float] | None:
    """Height in cm and weight in kg by the Info.cfg in a patient's folder; None where it has none of a human being."""
    try:
        text = (patient / "Info.cfg").read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    sizes = dict(re.findall(r"^\s*(Height|Weight)\s*:\s*(\d+(?:\.\d+)?)\s*$", text, re.MULTILINE))
    height_cm, weight_kg = float(sizes.get("Height", 0)), float(sizes.get("Weight", 0))
    possible = 40 <= height_cm <= 250 and 2 <= weight_kg <= 350
    return (height_cm, weight_kg) if possible else None


def record(patient: Path, phase: str | None, frame: int, part: str) -> Record:
    """One frame of a patient's folder.

    Raises:
        InputError: its image is missing.
    """
    case = f"{patient.name}_frame{frame:02d}"
    image, label = _nifti(patient / case), _nifti(patient / f"{case}_gt")
    if image is None:
        raise InputError(
            f"{patient} has no {case}.nii.gz, which its Info.cfg names as {phase}: restore it from the archive"
        )
    return Record(case, patient.name, image, label, phase, part)


def _nifti(stem: Path) -> Path | None:
    """The file of this name, compressed or not."""
    for end in (".nii.gz", ".nii"):
        path = stem.with_name(stem.name + end)
        if path.is_file():
            return path
    return None
