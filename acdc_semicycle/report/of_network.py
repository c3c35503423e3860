"""The scores of a network's own report, as ``semicycle train`` and ``semicycle evaluate`` write it, for the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc_semicycle.evaluation.panels import panel_path

SIGN = "checkpoint_sha256"  # a key that no other report.json has


def sources_of(folder: Path, report: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report of a network as contents of a predictions.json and of an evaluation.json.

    Args:
        folder: in which the report lies.
        report: the content of its report.json.
    """
    run = folder.resolve().parent.name
    about = {key: report.get(key) for key in ("command", "versions", "machine")}
    model = {"path": report["checkpoint"], "sha256": report[SIGN], "dataset": report.get("dataset")}
    model |= {"method": report.get("method"), "seed": report.get("seed")}
    predicted_cases, scored_cases = [], []
    for row in report["cases"]:
        panel = os.path.relpath(panel_path(folder, row["case"]), folder)
        predicted_cases.append({"case": row["case"], "panel": panel, "picture": report.get("pictures")})
        scored_cases.append({"tool": run} | row)
    kinds = {"classes": report["classes"], "colours": report.get("colours")}
    predicted = {"model": model, "cases": predicted_cases} | kinds | about
    notes = [report[key] for key in ("note", "protocol") if report.get(key)]
    evaluated = {"tools": [run], "cases": scored_cases, "summary": {run: report["summary"]}, "notes": notes}
    return predicted, evaluated | kinds | about


def title_of(folder: Path, report: Mapping[str, Any]) -> str:
    """The data set, the network's run, and which part of the patients was scored."""
    run, part = folder.resolve().parent.name, report.get("part") or folder.name
    data = report.get("dataset")
    return f"{data}, segmented by {run}: {part}" if data else f"{run}: {part}"
