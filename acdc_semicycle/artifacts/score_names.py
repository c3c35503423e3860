"""The names of the scores without a truth in files of earlier versions, which stay readable.

Whoever reads a predictions.json or a quality.json passes its content through here; nothing else knows the old names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"alike": "cycle_correlation", "again": "cycle_dice", "sure": "soft_dice"}


def current_quality(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a quality.json, or of ``quality`` in a predictions.json, with the current names."""
    result = dict(content)
    for key in ("weights", "fits", "measured", "test"):
        if key in result:
            result[key] = _current_keys(result[key])
    if isinstance(result.get("fits"), dict):
        result["fits"] = {name: _current_fit(fit) for name, fit in result["fits"].items()}
    if result.get("chosen") in RENAMED:
        _rename_chosen(result)
    return result


def _current_fit(fit: Any) -> Any:
    """The fit of one score with the current names; anything else as it is."""
    return current_quality(fit) if isinstance(fit, dict) else fit


def _rename_chosen(quality: dict[str, Any]) -> None:
    """Give the chosen score its current name, also in the sentence about it."""
    former, about = quality["chosen"], quality.get("about")
    quality["chosen"] = RENAMED[former]
    if isinstance(about, str):
        quality["about"] = about.replace(f"'{former}'", f"'{RENAMED[former]}'")


def current_predictions(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a predictions.json with the current names."""
    result = dict(content)
    if isinstance(result.get("cases"), list):
        result["cases"] = [current_case(case) for case in result["cases"]]
    if isinstance(result.get("quality"), dict):
        result["quality"] = current_quality(result["quality"])
    return result


def current_case(case: Any) -> Any:
    """A case of a predictions.json with the current names."""
    if not isinstance(case, dict):
        return case
    result = dict(case)
    if isinstance(result.get("frame_scores"), list):
        result["frame_scores"] = [_current_keys(scores) for scores in result["frame_scores"]]
    if "slices" in result:
        result["slices"] = _current_keys(result["slices"])
    return result


def _current_keys(by_score: Any) -> Any:
    """A mapping by score under the current names; anything else as it is."""
    if not isinstance(by_score, dict):
        return by_score
    return {RENAMED.get(name, name): value for name, value in by_score.items()}
