"""What a pair of prediction and truth is called, and where its scan lies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import PICTURES, is_picture
from acdc_semicycle.runtime.errors import InputError

PHASE = re.compile(r"(?:^|_)(E[DS])(?=_|$)")
FRAME = re.compile(r"_frame(\d+)$", re.IGNORECASE)


def case_patient_and_phase(
    prediction: LabelMap, truth: LabelMap, shared_names: set[str]
) -> tuple[str, str, str | None]:
    """What a pair is called: as predictions.json has it, else from Info.cfg and the names of the files.

    Args:
        shared_names: of patients, which several folders have (:func:`shared_names`).
    """
    listed = prediction.listed or truth.listed or {}
    case = prediction.name
    if prediction.frame is None and listed.get("case"):
        case = str(listed["case"])
    patient = listed.get("patient") or _patient(truth, shared_names)
    phase = _listed_phase(listed, prediction.frame) or phase_of(truth) or phase_of(prediction)
    return case, str(patient), phase


def frame_of(prediction: LabelMap, truth: LabelMap) -> int | None:
    """The frame, from 0, of the cine that either of a pair is; None where both are 3D."""
    return truth.frame if prediction.frame is None else prediction.frame


def _listed_phase(listed: Mapping[str, Any], frame: int | None) -> str | None:
    """The phase of a frame of a cine, or of a whole scan, as predictions.json has it."""
    phases = listed.get("phases") or {}
    for name, index in reversed(phases.items()):
        if frame is not None and index == frame:
            return name
    return listed.get("phase")


def shared_names(truths: Iterable[LabelMap]) -> set[str]:
    """The names of patients that truths of several folders have: a patient is a folder and a name."""
    folders_of: dict[str, set[tuple[str, ...]]] = {}
    for truth in truths:
        folders_of.setdefault(_bare_name(truth), set()).add(truth.folder)
    return {name for name, folders in folders_of.items() if len(folders) > 1}


def _bare_name(truth: LabelMap) -> str:
    """The stem of a truth without frame and phase."""
    return PHASE.sub("", FRAME.sub("", truth.stem)).strip("_")


def _patient(truth: LabelMap, shared_names: set[str]) -> str:
    """The patient by the name of a truth, with its folder where several folders have the name."""
    name = _bare_name(truth)
    if name not in shared_names:
        return name or truth.path.parent.name
    if name and truth.folder and truth.folder[-1] == name:  # as in ACDC's layout
        return "/".join(truth.folder)
    return "/".join((*truth.folder, name)).strip("/")


def phase_of(label_map: LabelMap) -> str | None:
    """ED or ES by the Info.cfg beside it, or by its name."""
    match = FRAME.search(label_map.stem)
    if match and (label_map.path.parent / "Info.cfg").is_file():
        return _phase_of_frame(label_map.path.parent, int(match[1]))
    named = PHASE.search(label_map.stem)
    return named[1] if named else None


def _phase_of_frame(folder: Path, number: int) -> str | None:
    """ED or ES where a patient's Info.cfg gives the frame this number."""
    try:
        frames = acdc.frames(folder)
    except InputError:  # it names no phases: the scores do not depend on them
        return None
    for phase, frame in frames.items():
        if frame == number:
            return phase
    return None


def scan_of(prediction: LabelMap, truth: LabelMap) -> Path | None:
    """The scan: as predictions.json has it, beside the truth, or in nnU-Net's folder of images."""
    listed = prediction.listed or {}
    scan = Path(str(listed.get("scan") or ""))
    if scan.is_file():
        return scan
    folder = truth.path.parent
    if not folder.name:  # a relative path within the working directory
        folder = folder.resolve()
    images = folder.parent / re.sub("^(labels|masks)", "images", folder.name)
    endings = PICTURES if is_picture(truth.path) else volumes.SCANS
    for name, suffix, parent in product((f"{truth.stem}_0000", truth.stem), endings, (folder, images)):
        path = parent / f"{name}{suffix}"
        if path.is_file() and path != truth.path:
            return path
    return None
