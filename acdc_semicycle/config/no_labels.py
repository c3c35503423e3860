"""``--labelled 0`` of a training with few labels: no mask at all, which the overlay ``unannotated`` is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.config.locations import overlay
from acdc_semicycle.config.options import options_of

RECIPE, OVERLAY = "few", "unannotated"


def with_overlay(overlays: Sequence[str], options: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overlays and options of a training; ``few`` and ``--labelled 0`` become ``few unannotated``."""
    given = list(options_of(options))
    names = [Path(file).stem for file in overlays]
    counts = [option.value for option in given if option.key == "labelled"]
    if RECIPE not in names or counts[-1:] != ["0"]:
        return list(overlays), list(options)
    words = []
    for option in given:
        if option.key != "labelled":
            words.append(option.word if option.value is None else f"--{option.key}={option.value}")
    return [*overlays, *([] if OVERLAY in names else [overlay(OVERLAY)])], words
