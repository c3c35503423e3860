"""Clinical indices per square metre of body surface, of patients whose height and weight are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import clinical
from acdc_semicycle.report.cases import Case, resolved

INDEXED = {
    "lv_edv_ml": "LV EDVi", "lv_esv_ml": "LV ESVi", "lv_sv_ml": "LV SVi",
    "rv_edv_ml": "RV EDVi", "rv_esv_ml": "RV ESVi", "rv_sv_ml": "RV SVi", "myo_mass_g": "Myo mass",
}  # fmt: skip
"""What is indexed: volumes in ml, mass in g, each per square metre."""


def with_indexed(folder: Path, cases: Sequence[Case], patients: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The patients, with ``body_surface_m2`` and ``indexed`` where an Info.cfg beside their scans gives their size."""
    surfaces = _surfaces(folder, cases)
    result = []
    for patient in patients:
        surface = surfaces.get(str(patient["patient"]))
        if surface and not patient.get("withheld"):
            indexed = {"prediction": _indexed(patient, surface), "truth": _indexed(patient.get("truth"), surface)}
            patient = patient | {"body_surface_m2": surface, "indexed": indexed}
        result.append(patient)
    return result


def _indexed(indices: Mapping[str, Any] | None, surface_m2: float) -> dict[str, float | None]:
    """The volumes and the mass of one patient per square metre; None where there is none."""
    result: dict[str, float | None] = {}
    for key in INDEXED:
        value = (indices or {}).get(key)
        result[key] = None if value is None else value / surface_m2
    return result


def _surfaces(folder: Path, cases: Sequence[Case]) -> dict[str, float]:
    """The body surface of each patient, in square metres."""
    surfaces: dict[str, float] = {}
    for case in cases:
        patient = case.about("patient")
        if patient and patient not in surfaces:
            surface = _surface(folder, case)
            if surface is not None:
                surfaces[patient] = surface
    return surfaces


def _surface(folder: Path, case: Case) -> float | None:
    """The body surface by the Info.cfg beside the scan, or beside the truth."""
    for path in (case.predicted.get("scan"), case.scored.get("image"), case.scored.get("truth")):
        size = acdc.body_size(resolved(folder, path).parent) if path else None
        if size:
            return clinical.body_surface_m2(*size)
    return None
