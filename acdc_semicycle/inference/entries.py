"""The entries of the manifest: one a label map, and one a patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.evaluation import clinical, quality
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.previews import Frame
from acdc_semicycle.inference.scan import Scan


def known_as(scan: Scan) -> str:
    """The scan's file, or its folder and which of the series in it."""
    path = str(scan.path.absolute())
    return path if isinstance(scan.source, Path) else f"{path} ({scan.source.name})"


def stamp(scan: Scan) -> list[Any]:
    """What tells a scan from another, and from itself after a change."""
    files = [scan.path] if isinstance(scan.source, Path) else [file for frame in scan.source.files for file in frame]
    known = [(path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, files)]
    return [known_as(scan), sum(size for size, _ in known), max(changed for _, changed in known)]


def entry(
    scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, model: Model
) -> dict[str, Any]:
    """What the manifest says of one label map."""
    card, ordered = model.card, [frames[n] for n in sorted(frames)]
    scores = [frame.judged.scores for frame in ordered]
    withheld = "a picture has no volume" if card["pictures"] else volume.spacing_fault
    sizes = [clinical.volumes_ml(frame.labels, volume.voxel_ml, card["classes"]) for frame in ordered]
    return {
        "case": scan.case,
        "scan": str(scan.path),
        "patient": scan.patient,
        "phase": scan.phase,
        "frames": len(ordered),
        "phases": dict(phases) or None,
        "shape": list(volume.voxels.shape[:3]),
        "spacing_mm": None if withheld else [round(mm, 6) for mm in volume.spacing_mm],
        "withheld": withheld,
        "volumes_ml": None if withheld else {name: [size[name] for size in sizes] for name in sizes[0]},
        "quality": quality.lowest(model.quality, scores),
        "frame_scores": scores,
        "slices": ordered[0].judged.slices if len(ordered) == 1 else None,
    }


def patients_of(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Clinical indices of every patient of whom both phases are there."""
    phases: dict[str, dict[str, tuple[Mapping[str, Any], int]]] = {}
    for case in cases:
        if case["phase"]:
            phases.setdefault(case["patient"], {})[case["phase"]] = case, 0
        for phase, n in (case["phases"] or {}).items():
            phases.setdefault(case["patient"], {}).setdefault(phase, (case, n))
    result = []
    for patient, found in sorted(phases.items()):
        if {"ED", "ES"} <= found.keys():
            withheld = next((case["withheld"] for case, _ in found.values() if case["withheld"]), None)
            sizes = {
                phase: {name: of[n] for name, of in case["volumes_ml"].items()} if not withheld else {}
                for phase, (case, n) in found.items()
            }
            row = {"patient": patient, "ed": found["ED"][0]["case"], "es": found["ES"][0]["case"], "withheld": withheld}
            result.append(row | clinical.indices(sizes["ED"], sizes["ES"]))
    return result
