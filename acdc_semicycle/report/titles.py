"""What a report is called where no title is given: the data set, and the network or the tools."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = "train(ing)?|test(ing)?|val(idation)?|images?(T[rs])?|labels?(T[rs])?|masks?|gt|truth|scans?|patient_?\\d+"
PART = re.compile(PARTS, re.IGNORECASE)  # a folder called so is a part of the data set, not the data set


def default_title(folder: Path, predicted: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str:
    """The data set and the network: ``acdc, segmented by few-seed-0``; the folder's name where neither is known.

    Args:
        folder: of the report.
        predicted, evaluated: the contents of predictions.json and of evaluation.json, or empty.
    """
    data, network = _data_set(predicted, evaluated), _segmented_by(predicted, evaluated)
    if not data:
        return network or folder.resolve().name
    return f"{data}, segmented by {network}" if network else data


def _data_set(predicted: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str:
    """The name of the folder of the truth, or of that which all scans have in common."""
    if evaluated.get("truth"):
        return _own_name(Path(evaluated["truth"]))
    folders = [os.path.dirname(case["scan"]) for case in predicted.get("cases") or [] if case.get("scan")]
    if not folders or len(set(map(os.path.isabs, folders))) > 1:
        return ""
    return _own_name(Path(os.path.commonpath(folders)))


def _own_name(path: Path) -> str:
    """The name of the data set that a folder belongs to."""
    for folder in (path, *path.parents):
        if folder.name and not PART.fullmatch(folder.name):
            return folder.name
    return path.name


def _segmented_by(predicted: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str:
    """The network's run, or its zip; the tools where it is not known, or where there are two."""
    tools = evaluated.get("tools") or []
    path = Path((predicted.get("model") or {}).get("path") or "")
    if len(tools) > 1 or not path.name:
        return " and ".join(Path(tool).name for tool in tools)
    if path.name == "model.pt":
        path = path.parent.parent if path.parent.name == "models" else path.parent
    return path.name.removesuffix(".zip")
