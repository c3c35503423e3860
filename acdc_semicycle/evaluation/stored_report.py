"""The report of a network that has not changed since: it is taken as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json

FILES = ("report.json", "cases.csv", "summary.csv", "examples.png", "panel.npz")


def stored_content(folder: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of a folder's report.json; None where a file of the report is missing, or it is about another one.

    Args:
        about: what the report has to hold: the digest of the network, the versions, the notes.
    """
    if not all((folder / name).is_file() for name in FILES):
        return None
    try:
        content = read_json(folder / "report.json")
    except InputError:  # damaged: it is written again
        return None
    for name, value in json.loads(json.dumps(about)).items():
        if name not in content or content[name] != value:
            return None
    for name in ("summary", "floor"):
        content[name] = _with_nan(content.get(name))
    return content


def _with_nan(value: Any) -> Any:
    """A value with NaN where JSON, which has none, holds null."""
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    return math.nan if value is None else value
