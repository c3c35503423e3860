"""The entries of the manifest: a case of each label map, and the indices of each patient."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.known_patients import KnownPatients, names_of
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.data import training_ranges
from acdc_semicycle.data.digests import file_hash, voxels_of
from acdc_semicycle.data.parts import strongest
from acdc_semicycle.evaluation import clinical
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.expected import expected_of, index_intervals
from acdc_semicycle.inference.frames import Frame
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError

Case = Mapping[str, Any]  # an entry of the manifest


def known_as(scan: Scan) -> str:
    """The name of a scan in stamps: its file, or its folder and which of the series in it."""
    path = str(scan.path.absolute())
    return path if isinstance(scan.source, Path) else f"{path} ({scan.source.name})"


def stamp(scan: Scan) -> list[Any]:
    """Name, bytes and last change of a scan's files: another scan, or the same one after a change, has another."""
    size, changed = 0, 0
    for path in _files(scan):
        status = path.stat()
        size += status.st_size
        changed = max(changed, status.st_mtime_ns)
    return [known_as(scan), size, changed]


def content_of(scan: Scan) -> str:
    """A hash of all that is in a scan's files: a scan that was renamed, or moved, still has it.

    That of an image is the one that a training has of it (:func:`acdc_semicycle.data.digests.image_digest`).
    """
    hashes = "".join(map(file_hash, _files(scan)))
    if isinstance(scan.source, Path):
        return hashes
    return hashlib.sha256(hashes.encode()).hexdigest()  # a series may have thousands of files


def part_of(scan: Scan, known: KnownPatients, content: str) -> str | None:
    """The part of the network's split that a scan's patient is in; None where no split is known."""
    names = names_of({"patient": scan.patient, "case": scan.case})
    return known.part_of({*names, scan.shared_name, scan.training_case}, content)


def remarks_on_name(scan: Scan, known: KnownPatients, content: str) -> list[str]:
    """A remark where a scan has the name of an image that was seen, and may be another patient's."""
    if not isinstance(scan.source, Path) or not known.differs(scan.training_case, content):
        return []
    part = part_of(scan, known, content)
    return [
        f"its name is that of the training's {scan.training_case}, its contents are not: it counts as {part}; rename it"
        " if it is another patient's"
    ]


def is_gone(case: Case) -> bool:
    """Whether the scan of a case is no longer where it was; of a series its folder."""
    name = case["stamp"][0]
    return not any(map(os.path.lexists, {name, re.sub(r" \([^/]*\)$", "", name)}))


def _files(scan: Scan) -> list[Path]:
    """The files of a scan: one, those beside it that hold its voxels, or all of a series."""
    if isinstance(scan.source, Path):
        with suppress(InputError):  # reading it says what is wrong
            return [scan.path, *voxels_of(scan.path)]
        return [scan.path]
    return [file for frame in scan.source.files for file in frame]


def entry(
    scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, model: Model
) -> dict[str, Any]:
    """The case of one label map: whose it is, and its :func:`findings`."""
    names = {"case": scan.case, "scan": str(scan.path), "patient": scan.patient, "phase": scan.phase}
    return names | findings(frames, phases, volume, model)


def findings(frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, model: Model) -> dict[str, Any]:
    """What is told of one label map, whosever scan it is.

    Args:
        frames: those in the label map, by their number in the scan.
        phases: of a cine, the frame (from 0) of each phase, as far as they are known.
    """
    card, ordered = model.card, [frames[n] for n in sorted(frames)]
    scores = [frame.judged.scores for frame in ordered]
    withheld = "a picture has no volume" if card["pictures"] else volume.spacing_fault
    spacing_mm = None if withheld else [round(mm, 6) for mm in volume.spacing_mm]
    if not withheld and ordered[0].labels.shape[2] == 1:
        withheld = clinical.SINGLE_SLICE
    volumes_ml = None if withheld else _volumes_ml(ordered, volume, card["classes"])
    facts = {
        "frames": len(ordered),
        "phases": dict(phases) or None,
        "shape": list(volume.voxels.shape[:3]),
        "spacing_mm": spacing_mm,
        "withheld": withheld,
        "volumes_ml": volumes_ml,
        "nothing_found": _nothing_found(frames, volume.voxels.shape[3]),
        "remarks": _remarks(frames, phases, volume, card["classes"]),
        "unlike_training": _unlike_training(volume, model),
        "frame_scores": scores,
        "frame_evidence": [frame.judged.evidence for frame in ordered],
        "slices": ordered[0].judged.slices if len(ordered) == 1 else None,
    }
    return facts | expected_of(facts, model)


def phases_of(frames: Mapping[int, Frame], classes: Sequence[str]) -> dict[str, int]:
    """The frames of the largest and the smallest left ventricle, as ED and ES; none without one that beats."""
    if "LV" not in classes:
        return {}
    label = classes.index("LV")
    ed, es = clinical.extremes([float((frames[n].labels == label).sum()) for n in sorted(frames)])
    return {"ED": ed, "ES": es} if ed != es else {}


def _nothing_found(frames: Mapping[int, Frame], count: int) -> str | None:
    """In which frames no structure was found, in words; None where there is one in each of them.

    Args:
        count: of the scan's frames.
    """
    empty = [str(n + 1) for n in sorted(frames) if not frames[n].labels.any()]
    if not empty:
        return None
    return "no structure found" if count == 1 else f"no structure found in frame {', '.join(empty)} of {count}"


def _remarks(
    frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, classes: Sequence[str]
) -> list[str]:
    """What else a reader of the volumes should know: what was assumed of the scan, and where its stack may be cut."""
    remarks = [volume.note] if volume.note else []
    for n in sorted({n for n in phases.values() if n in frames} or frames):
        cut_off = clinical.cut_off(frames[n].labels, classes)
        if cut_off and not volume.spacing_fault:
            return [*remarks, cut_off]
    return remarks


def _unlike_training(volume: Volume, model: Model) -> list[str]:
    """What of a scan lies far outside of what the network was trained on; nothing where that is unknown."""
    if model.ranges is None:
        return []
    return training_ranges.outside(model.ranges, training_ranges.facts_of(volume, model.card["pictures"]))


def _volumes_ml(frames: Sequence[Frame], volume: Volume, classes: Sequence[str]) -> dict[str, list[float]]:
    """The volume of each structure, frame by frame."""
    result: dict[str, list[float]] = {}
    for frame in frames:
        for name, ml in clinical.volumes_ml(frame.labels, volume.voxel_ml, classes).items():
            result.setdefault(name, []).append(ml)
    return result


def patients_of(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The clinical indices of every patient with both phases; a case of one phase goes before a cine."""
    rows, several = [], _several(cases)
    for patient, frames in sorted(_frames_by_phase(cases).items()):
        if "ED" in frames and "ES" in frames:
            doubt = several.get(patient) or _two_folders(frames["ED"][0], frames["ES"][0])
            rows.append(_indices(patient, frames, doubt))
    return rows


def _frames_by_phase(cases: Sequence[Case]) -> dict[str, dict[str, tuple[Case, int]]]:
    """Of each patient and phase, the case and the frame in it."""
    phases: dict[str, dict[str, tuple[Case, int]]] = {}
    for case in cases:
        if case["phase"]:
            phases.setdefault(case["patient"], {})[case["phase"]] = case, 0
        for phase, n in (case["phases"] or {}).items():
            phases.setdefault(case["patient"], {}).setdefault(phase, (case, n))
    return phases


def _several(cases: Sequence[Case]) -> dict[str, str]:
    """Of each patient with several scans of one phase why there are no indices: they would mix two examinations."""
    first: dict[tuple[str, str], str] = {}
    reasons: dict[str, str] = {}
    for case in cases:
        for phase in [case["phase"]] if case["phase"] else case["phases"] or {}:
            kind = phase if case["phase"] else f"cine with {phase}"
            other = first.setdefault((case["patient"], kind), case["case"])
            if other != case["case"]:
                names = " and ".join(sorted((other, case["case"])))
                reasons.setdefault(case["patient"], f"{names} are both {phase} of this patient")
    return reasons


def _two_folders(ed: Case, es: Case) -> str | None:
    """Why ED and ES of one name make no indices, where they lie in two folders: they may be two patients'."""
    folders = [Path(case.get("scan") or "").parent.resolve() for case in (ed, es)]
    if folders[0] == folders[1]:
        return None
    return (
        f"{ed['case']} and {es['case']} lie in two folders, and may be two patients': move the scans of one patient"
        " into one folder"
    )


def _indices(patient: str, frames: Mapping[str, tuple[Case, int]], doubt: str | None) -> dict[str, Any]:
    """A patient's row: the cases of both phases, and the indices, unless they are withheld.

    Args:
        doubt: why the two cases may not be one examination of one patient.
    """
    withheld = doubt
    for case, _ in frames.values():
        withheld = withheld or case["withheld"]
    row = {"patient": patient, "ed": frames["ED"][0]["case"], "es": frames["ES"][0]["case"], "withheld": withheld}
    row["part"] = strongest(case.get("part") for case, _ in frames.values())
    if withheld:
        return row | clinical.indices({}, {})
    row |= clinical.indices(_of_frame(*frames["ED"]), _of_frame(*frames["ES"]))
    return row | {"trust": index_intervals(*frames["ED"], *frames["ES"])}


def _of_frame(case: Case, frame: int) -> dict[str, float]:
    """The volumes of one frame of a case."""
    return {name: volumes[frame] for name, volumes in case["volumes_ml"].items()}
