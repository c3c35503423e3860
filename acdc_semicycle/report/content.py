"""What a report says in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation.figures import colours_of
from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.report.cards import is_flagged
from acdc_semicycle.report.case_table import columns_of, row_of, unit_of
from acdc_semicycle.report.cases import Case, cases_of
from acdc_semicycle.report.plots import INDICES

MEASURES = {"dice": ("Dice", 3), "hd95": ("HD95", 1), "assd": ("ASSD", 2)}


def content_of(folder: Path, predicted: dict[str, Any], evaluated: dict[str, Any]) -> dict[str, Any]:
    """All the page says in words and numbers."""
    evaluated = _of_two(evaluated)
    tools = list(evaluated.get("tools") or [folder.resolve().name])
    cases = sorted(cases_of(predicted, evaluated, tools), key=lambda case: case.worst_first)
    classes = list(predicted.get("classes") or evaluated.get("classes") or acdc.CLASSES)
    structures = [name for name in classes if name != "background"]
    colours = predicted.get("colours") or (acdc.COLOURS if tuple(classes) == acdc.CLASSES else None)
    sources = [source for source in (predicted, evaluated) if source]
    return {
        "title": folder.resolve().name,
        "written": datetime.now().astimezone().isoformat(" ", "minutes"),
        "predicted": predicted,
        "evaluated": evaluated,
        "sources": sources,
        "tools": tools,
        "reference": evaluated.get("reference") or "truth",
        "structures": structures,
        "colours": [to_hex(colour) for colour in colours_of(len(classes), colours)],
        "classes": classes,
        "unit": unit_of(cases),
        "measures": MEASURES,
        "indices": INDICES,
        "cases": cases,
        "columns": list(columns_of(cases, structures, tools)),
        "rows": [row_of(case, structures) for case in cases],
        "patients": _patients(predicted, evaluated, tools[0]),
        "failures": [failure for source in sources for failure in source.get("failures") or []],
        "missing": evaluated.get("missing") or [],
        "judged": SCORES,
        **_scores(evaluated, tools),
        **_quality(predicted.get("quality") or {}, cases),
    }


def _of_two(evaluated: dict[str, Any]) -> dict[str, Any]:
    """Two tools that were compared without a truth, as one that was evaluated against the other."""
    if evaluated.get("truth") or not evaluated.get("agreement_cases"):
        return evaluated
    first, second = evaluated["tools"]
    both = f"{second} against {first}"
    told = {"tools": [both], "cases": evaluated["agreement_cases"], "summary": {both: evaluated["agreement"]}}
    return evaluated | told | {"reference": first}


def _patients(predicted: dict[str, Any], evaluated: dict[str, Any], tool: str) -> list[dict[str, Any]]:
    """Each patient's indices: predicted, true, and why they are withheld."""
    found = {entry["patient"]: dict(entry) for entry in predicted.get("patients") or []}
    for entry in evaluated.get("patients") or []:
        if entry.get("tool") in (None, tool):
            mine = found.setdefault(entry["patient"], {"patient": entry["patient"]} | (entry.get("prediction") or {}))
            mine["truth"] = entry.get("truth") or {}
            mine["withheld"] = mine.get("withheld") or entry.get("withheld")
    return [found[name] for name in sorted(found, key=str)]


def _scores(evaluated: dict[str, Any], tools: Sequence[str]) -> dict[str, Any]:
    """Mean scores of each tool, and of the second against the first: over all cases and by phase."""
    parts = {tool: (evaluated.get("summary") or {}).get(tool) for tool in tools}
    if len(tools) > 1:
        parts[f"{tools[1]} against {tools[0]}"] = evaluated.get("agreement")
    summary = {name: {"all": part} | (part.get("by_phase") or {}) for name, part in parts.items() if part}
    return {
        "summary": summary,
        "phases": ["all", *sorted({phase for by_phase in summary.values() for phase in by_phase} - {"all"})],
        "mean_dice": ((parts[tools[0]] or {}).get("dice") or {}).get("mean"),
    }


def _quality(quality: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """How the quality was made, its mean, and how many cases it flags."""
    known = [case.quality for case in cases if case.quality is not None]
    return {
        "quality": quality,
        "mean_quality": sum(known) / len(known) if known else None,
        "flagged": sum(is_flagged(case, quality) for case in cases),
    }
