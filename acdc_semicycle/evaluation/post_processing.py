"""What was made of a network's label maps before they were scored, in words: two scores of one test set may differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NONE = "the network's label maps as they are"
STEPS = {  # by the settings of predict
    "flips": "mean over mirror images (flips)",
    "largest": "largest component of each structure (largest)",
    "holes": "holes filled (holes)",
}


def of_settings(settings: Mapping[str, Any]) -> str:
    """The steps of these settings in words."""
    steps = [words for name, words in STEPS.items() if settings.get(name)]
    return f"the network's label maps with {', '.join(steps)}" if steps else NONE


def of_evaluator(inferer: Any, transforms: Iterable[Any]) -> str:
    """The steps of an evaluator in words, by the ``flips`` of its inferer and the ``settings`` of its transforms."""
    settings = {"flips": getattr(inferer, "flips", False)}
    for transform in transforms:
        settings |= getattr(transform, "settings", {})
    return of_settings(settings)
