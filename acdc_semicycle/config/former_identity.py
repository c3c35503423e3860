"""The settings of states that version 0.2 saved while it compared fewer of them, as they would be saved now."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from acdc_semicycle.config.identity import counts, full_name
from acdc_semicycle.config.validate import LOCATOR

LATER = {  # not compared at first: such a state does not say what they were
    *("environment", "evaluated", "train::handler", "train::handlers", "train::inferer", "train::trainer"),
    *("validate", "checkpoints"),
}
FOLLOWED = ("@preset",)  # begins references that counted as their text


def as_saved_now(stored: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a state, with those that it does not hold because of its age taken from the run of now.

    Args:
        stored: of the state; returned as they are where they are not older than ``environment`` among them.
        settings: of this run.
    """
    if "environment" in stored:
        return stored
    result = _section_as_now(stored, settings, "")
    if "split" in stored:  # the patients, where the configuration has what led to them
        result["split"] = stored["split"]
    return result


def _as_now(stored: Any, settings: Any, name: str) -> Any:
    """What an older state holds at a key, spelt as this run spells it where it is the same."""
    if isinstance(stored, Mapping):
        return _section_as_now(stored, settings if isinstance(settings, Mapping) else {}, name)
    if isinstance(stored, list) and isinstance(settings, list) and len(stored) == len(settings):
        items = []
        for number, item in enumerate(stored):
            items.append(_as_now(item, settings[number], f"{name}::{number}"))
        return items
    if not isinstance(stored, str):
        return stored
    is_same_class = name.endswith("::_target_") and full_name(_loaded(stored), stored) == settings
    if is_same_class or stored.startswith(FOLLOWED):
        return settings
    return stored


def _section_as_now(stored: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The items of a section that count, and those that are compared since."""
    prefix = f"{name}::" if name else ""
    section = {}
    for key, item in stored.items():
        if counts(prefix + key, item):
            section[key] = _as_now(item, settings.get(key), prefix + key)
    for key, item in settings.items():
        if prefix + key in LATER:
            section.setdefault(key, item)
    return section


def _loaded(name: str) -> Any:
    """The class or function of a name, if its module is loaded: a state must not say which modules to import."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name:  # one of MONAI's
        names = LOCATOR.get_component_module_name(name)
        module_name = str(names[0] if isinstance(names, list) else names)
    return getattr(sys.modules.get(module_name), attribute, None)
