"""Clinical indices: what a cardiologist reads off a segmented heart, in ml, per cent and gram.

Those of the ACDC challenge (Bernard et al. 2018, IEEE TMI 37(11), "Deep learning techniques for automatic MRI cardiac
multi-structures segmentation and diagnosis"): volumes of both ventricles at end-diastole (EDV) and end-systole (ESV),

    stroke volume      SV = EDV - ESV
    ejection fraction  EF = 100 SV / EDV
    myocardial mass    1.05 g/ml times the myocardium at end-diastole

1.05 g/ml is the density of myocardium of the guideline of Schulz-Menger et al. (2020, JCMR 22:19), as in ACDC.
Papillary muscles count as they are drawn: in ACDC as part of the cavity.

An ejection fraction is withheld where end-diastole is below 10 ml, a few voxels rather than a ventricle, or where
end-systole is the larger one: the segmentation, or the order of the phases, is then wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MYOCARDIUM_G_PER_ML = 1.05
LEAST_EDV_ML = 10.0  # of an ejection fraction
STRUCTURES = ("LV", "RV", "MYO")  # the names by which structures are known here
SINGLE_SLICE = "a single slice is no volume: give the whole stack"
FULL_SIZE = 0.8  # the least part of its largest area at which a structure has its full size in a slice


def volumes_ml(labels: NDArray, voxel_ml: float, classes: Sequence[str]) -> dict[str, float]:
    """The volume of each class but the first, the background.

    Args:
        labels: [X, Y, Z] class indices, in any order of the axes.
        voxel_ml: volume of one voxel.
        classes: names of the classes, background first.
    """
    voxels = np.bincount(labels.ravel().astype(np.int64), minlength=len(classes))
    return {name: float(voxels[k] * voxel_ml) for k, name in enumerate(classes) if k}


def cut_off(labels: NDArray, classes: Sequence[str]) -> str | None:
    """Which structures have their full size in the first or the last slice, in words; None where none has.

    The stack may not reach over such a structure, and its volume be too small. In a heart's stack that begins at the
    valves this is usual on that side.

    Args:
        labels: [H, W, slices] class indices; of fewer than three slices nothing is known.
        classes: names of the classes, background first.
    """
    if labels.shape[2] < 3:
        return None
    parts = []
    for label, name in enumerate(classes):
        areas = (labels == label).sum((0, 1))
        ends = [end for end, area in (("first", areas[0]), ("last", areas[-1])) if area >= FULL_SIZE * areas.max()]
        if label and ends and areas.any():
            parts.append(f"{name} in the {' and the '.join(ends)} slice")
    if not parts:
        return None
    return f"at full size: {', '.join(parts)}: the stack may not reach over it, and volumes be too small"


def indices(ed: Mapping[str, float], es: Mapping[str, float]) -> dict[str, Any]:
    """The indices of one patient.

    Args:
        ed, es: volumes in ml by structure at end-diastole and end-systole; other names than LV, RV and MYO are left
            alone.

    Returns:
        ``lv_edv_ml``, ``lv_esv_ml``, ``lv_sv_ml``, ``lv_ef_percent``, the same of ``rv``, ``myo_mass_g``; None where
        a structure is not among the names, and for EF where it is withheld. ``ef_withheld`` says why, or is None.
    """
    result: dict[str, Any] = {}
    faults: list[str] = []
    for name in ("LV", "RV"):
        edv, esv = ed.get(name), es.get(name)
        sv = None if edv is None or esv is None else edv - esv
        ef = None
        if edv is not None and esv is not None:
            fault = _ef_fault(edv, esv)
            if fault:
                faults.append(f"{name}: {fault}")
            else:
                ef = 100 * (edv - esv) / edv
        key = name.lower()
        result |= {f"{key}_edv_ml": edv, f"{key}_esv_ml": esv, f"{key}_sv_ml": sv, f"{key}_ef_percent": ef}
    myo = ed.get("MYO")
    mass = None if myo is None else MYOCARDIUM_G_PER_ML * myo
    return result | {"myo_mass_g": mass, "ef_withheld": "; ".join(faults) or None}


def _ef_fault(edv: float, esv: float) -> str | None:
    """Why two volumes in ml make no ejection fraction, if so."""
    if edv < LEAST_EDV_ML:
        return f"end-diastole of {edv:.2f} ml is below {LEAST_EDV_ML:g} ml"
    if esv > edv:
        return f"end-systole of {esv:.1f} ml is larger than end-diastole of {edv:.1f} ml"
    return None


def body_surface_m2(height_cm: float, weight_kg: float) -> float:
    """The body's surface by Mosteller (1987, N Engl J Med 317:1098): the root of height times weight over 3600."""
    return math.sqrt(height_cm * weight_kg / 3600)


def extremes(lv_ml: Sequence[float]) -> tuple[int, int]:
    """The frames (from 0) of the largest and of the smallest left ventricle, the first of equals: ED and ES."""
    return int(np.argmax(lv_ml)), int(np.argmin(lv_ml))
