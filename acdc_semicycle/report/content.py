"""What a report says in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from acdc_semicycle.data.parts import PARTS, in_words
from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import headline, post_processing
from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.figures import colours_of
from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.evaluation.summaries import pair_name
from acdc_semicycle.report.agreement import INDICES, Agreement, against_truth, of_index, patients_by_tool, table_of
from acdc_semicycle.report.body_size import INDEXED, with_indexed
from acdc_semicycle.report.cards import is_flagged
from acdc_semicycle.report.case_table import columns_of, row_of, shown, unit_of
from acdc_semicycle.report.cases import Case, cases_of
from acdc_semicycle.report.titles import default_title

MEASURES = {"dice": ("Dice", 3), "iou": ("IoU", 3), "hd95": ("HD95", 1), "assd": ("ASSD", 2)}
HINTS = {
    "dice": "overlap of both masks, from 0 (nothing in common) to 1 (equal): higher is better",
    "iou": "common part of both masks together, from 0 to 1 (equal): higher is better",
    "hd95": "95th percentile of the distances between both surfaces, 0 for equal masks: lower is better",
    "assd": "mean distance between both surfaces, 0 for equal masks: lower is better",
}


def content_of(
    folder: Path, predicted: dict[str, Any], evaluated: dict[str, Any], title: str | None = None
) -> dict[str, Any]:
    """All the page says in words and numbers.

    Args:
        title: by default the data set and the network.
        predicted, evaluated: the contents of predictions.json and of evaluation.json, or empty.
    """
    evaluated = _of_two(evaluated)
    tools = list(evaluated.get("tools") or [folder.resolve().name])
    cases = sorted(cases_of(predicted, evaluated, tools), key=lambda case: case.worst_first)
    classes = list(predicted.get("classes") or evaluated.get("classes") or acdc.CLASSES)
    structures = structures_of(classes)
    columns = columns_of(cases, structures, tools)
    sources = list(filter(None, (predicted, evaluated)))
    missing = evaluated.get("missing") or []
    case_parts = [case.part for case in cases]
    unpredicted = [entry for entry in missing if str(entry["reason"]).endswith(" has no prediction")]
    return {
        "title": title or default_title(folder, predicted, evaluated),
        "folder": folder.resolve().name,
        "written": datetime.now().astimezone().isoformat(" ", "minutes"),
        "predicted": predicted,
        "evaluated": evaluated,
        "sources": sources,
        "tools": tools,
        "reference": evaluated.get("reference") or "truth",
        "structures": structures,
        "colours": _colours(classes, predicted.get("colours")),
        "classes": classes,
        "unit": unit_of(cases),
        "measures": _measures(cases),
        "hints": HINTS,
        "indices": INDICES,
        "cases": cases,
        "order": _order(cases),
        "columns": columns,
        "shown_columns": shown(columns, cases),
        "rows": [row_of(case, structures) for case in cases],
        "patients": with_indexed(folder, cases, _patients(predicted, evaluated, tools[0])),
        "indexed": INDEXED,
        "agreement": table_of(evaluated),
        "ef_error": _ef_error(evaluated, tools[0]),
        "without_truth": _without_truth(cases),
        "failures": _failures(sources),
        "nothing_found": _count(cases, "nothing_found"),
        "unlike_training": _count(cases, "unlike_training"),
        "missing": missing,
        "warnings": headline.warnings(case_parts),
        "postprocessing": _postprocessing(predicted, evaluated),
        "unpredicted": unpredicted,
        "score_meanings": SCORES,
        **_scores(evaluated, tools),
        **_quality(predicted.get("trust") or predicted.get("quality") or {}, cases),
    }


def _count(cases: Iterable[Case], key: str) -> int:
    """The number of cases of which a prediction says this."""
    return sum(bool(case.predicted.get(key)) for case in cases)


def _postprocessing(predicted: Mapping[str, Any], evaluated: Mapping[str, Any]) -> dict[str, str]:
    """What was made of each tool's label maps, in words, where that is known."""
    words = dict(evaluated.get("postprocessing") or {})
    settings = predicted.get("settings")
    if not words and settings:
        words["predict"] = post_processing.of_settings(settings)
    return {tool: text for tool, text in words.items() if text}


def _without_truth(cases: Sequence[Case]) -> int:
    """How many cases have no truth, where others have one."""
    missing = [case for case in cases if not case.scored]
    return len(missing) if len(missing) < len(cases) else 0


def _measures(cases: Sequence[Case]) -> dict[str, tuple[str, int]]:
    """The measures on the page: Dice and the distances, or IoU where no case has distances."""
    has_distances = any(case.scored.get("hd95") for case in cases)
    names = ("dice", "hd95", "assd") if has_distances else ("dice", "iou")
    return {name: MEASURES[name] for name in names}


def _order(cases: Sequence[Case]) -> str:
    """How the cases are ordered, in words."""
    scored = any(case.score("dice") is not None or case.quality is not None for case in cases)
    return "The worst case is first." if scored else "The cases are in the order of their names."


def _ef_error(evaluated: dict[str, Any], tool: str) -> Agreement | None:
    """How well a tool's ejection fractions of the left ventricle agree with the true ones."""
    patients_of = patients_by_tool(evaluated)
    patients = patients_of.get(tool) or patients_of.get("None") or {}
    return of_index(against_truth(patients.values()), "lv_ef_percent")


def _failures(sources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The failures of the prediction, then of the evaluation."""
    failures: list[dict[str, Any]] = []
    for source in sources:
        failures += source.get("failures") or []
    return failures


def _colours(classes: Sequence[str], colours: Sequence[Sequence[int]] | None) -> list[str]:
    """The colour of each class as a page writes it: the prediction's own, ACDC's for its classes, or matplotlib's."""
    if not colours and tuple(classes) == acdc.CLASSES:
        colours = acdc.COLOURS
    return list(map(to_hex, colours_of(len(classes), colours or None)))


def _of_two(evaluated: dict[str, Any]) -> dict[str, Any]:
    """Two tools that were compared without a truth, as one that was evaluated against the other."""
    if evaluated.get("truth") or not evaluated.get("agreement_cases"):
        return evaluated
    first, _ = evaluated["tools"]
    tool = pair_name(evaluated["tools"])
    return evaluated | {
        "tools": [tool],
        "cases": evaluated["agreement_cases"],
        "summary": {tool: evaluated["agreement"]},
        "reference": first,
    }


def _patients(predicted: dict[str, Any], evaluated: dict[str, Any], tool: str) -> list[dict[str, Any]]:
    """Each patient's indices: predicted, true, and why they are withheld."""
    patients: dict[Any, dict[str, Any]] = {}
    for entry in predicted.get("patients") or []:
        patients[entry["patient"]] = dict(entry)
    for entry in evaluated.get("patients") or []:
        if entry.get("tool") in (None, tool):
            _add_truth(patients, entry)
    return [patients[name] for name in sorted(patients, key=str)]


def _add_truth(patients: dict[Any, dict[str, Any]], entry: dict[str, Any]) -> None:
    """Give a patient the true indices of an entry in evaluation.json; add the patient who is new."""
    name = entry["patient"]
    patient = patients.setdefault(name, {"patient": name} | (entry.get("prediction") or {}))
    patient["truth"] = entry.get("truth") or {}
    patient["withheld"] = patient.get("withheld") or entry.get("withheld")


def _scores(evaluated: dict[str, Any], tools: Sequence[str]) -> dict[str, Any]:
    """Mean scores of each tool, and of the second against the first: over the cases that count, by phase and part."""
    summaries = evaluated.get("summary") or {}
    if len(tools) > 1:
        summaries = summaries | {pair_name(tools): evaluated.get("agreement")}
        tools = [*tools, pair_name(tools)]
    by_tool, phases, parts = {}, set(), set()
    for tool in tools:
        summary = summaries.get(tool)
        if summary:
            by_phase = summary.get("by_phase") or {}
            by_part = summary.get("by_part") or {}
            by_tool[tool] = {"all": summary} | by_phase | by_part
            phases |= set(by_phase)
            parts |= set(by_part)
    first = summaries.get(tools[0]) or {}
    return {
        "summary": by_tool,
        "phases": ["all", *sorted(phases - {"all"}), *(part for part in PARTS if part in parts)],
        "mean_dice_of": in_words(first.get("parts") or []),
        "mean_dice": (first.get("dice") or {}).get("mean"),
    }


def _quality(quality: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """How the quality was made, its mean over new patients where there are any, and how many cases it flags."""
    values, flagged = [], 0
    counted_parts = headline.counted_parts([case.part for case in cases])
    for case in cases:
        flagged += is_flagged(case, quality)
        if case.quality is not None and case.part in counted_parts:
            values.append(case.quality)
    mean = sum(values) / len(values) if values else None
    return {"quality": quality, "mean_quality": mean, "flagged": flagged}
