"""The expected Dice of a case and the intervals of volumes and indices, as the manifest has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.evaluation import clinical, quality_fit, trust

Case = Mapping[str, Any]  # an entry of the manifest


def expected_of(case: Case, model: Model) -> dict[str, Any]:
    """``trust`` and ``quality`` of a case; of a cine those of its worst frame.

    Args:
        case: with ``frame_evidence``, ``frame_scores`` and ``volumes_ml``.

    Returns:
        ``quality`` is the expected Dice, by ``trust.json`` or by the quality.json of earlier versions; None where there
        is neither, or where a frame has no structure. ``trust`` has its interval (``dice``, ``low``, ``high``), the
        same by slice (``slices``, in the network's order of slices), the number of the worst ``frame`` in the label
        map, and by structure and frame the intervals of the volumes (``volumes_ml``); None without a trust.json.
    """
    fit, evidence = model.trust, case.get("frame_evidence")
    if fit is None or evidence is None:
        return {"quality": quality_fit.lowest(model.quality, case["frame_scores"]), "trust": None}
    frames = [trust.trust(fit, of_frame) for of_frame in evidence]
    if None in frames:
        return {"quality": None, "trust": None}
    worst = min(range(len(frames)), key=lambda number: frames[number]["dice"])  # type: ignore[index]
    result = {**frames[worst], "frame": worst, "volumes_ml": _volume_intervals(case, fit)}  # type: ignore[dict-item]
    return {"quality": result["dice"], "trust": result}


def _volume_intervals(case: Case, fit: trust.Fit) -> dict[str, list[Any]] | None:
    """By structure the interval of the volume in each frame; None where there are no volumes."""
    if case["volumes_ml"] is None:
        return None
    result: dict[str, list[Any]] = {}
    for number, (name, volumes) in enumerate(case["volumes_ml"].items()):
        intervals = []
        for evidence, ml in zip(case["frame_evidence"], volumes, strict=True):
            intervals.append(trust.volume_interval(fit, evidence, number + 1, ml))
        result[name] = intervals
    return result


def index_intervals(ed: Case, ed_frame: int, es: Case, es_frame: int) -> dict[str, list[float]]:
    """The intervals of a patient's volumes and ejection fractions by the keys of the indices, as far as there are any.

    Args:
        ed, es: the cases of both phases, and the frame of each in its label map.
    """
    result: dict[str, list[float]] = {}
    for name in ("LV", "RV"):
        own = {}
        for phase, case, frame in (("edv", ed, ed_frame), ("esv", es, es_frame)):
            intervals = ((case.get("trust") or {}).get("volumes_ml") or {}).get(name)
            if intervals and intervals[frame]:
                own[phase] = case["volumes_ml"][name][frame], intervals[frame]
                result[f"{name.lower()}_{phase}_ml"] = intervals[frame]
        if len(own) == 2:
            (edv, edv_interval), (esv, esv_interval) = own["edv"], own["esv"]
            withheld = edv < clinical.LEAST_EDV_ML or esv > edv
            ef = None if withheld else trust.ef_interval(edv, esv, edv_interval, esv_interval)
            if ef:
                result[f"{name.lower()}_ef_percent"] = ef
    return result
