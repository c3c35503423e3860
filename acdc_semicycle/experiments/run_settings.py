"""The settings in which runs differ: those that make a run another one, by their keys in the configuration.

Expressions of a configuration are not evaluated: they are compared as text, but for a plain reference to a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acdc_semicycle.config.identity import counts
from acdc_semicycle.config.run_config import EXPRESSION
from acdc_semicycle.experiments.run_record import RunRecord

UNKNOWN, ABSENT = "?", "–"  # in the place of a value: of a run without config.yaml, and where a key is not set
FROM_CARD = {  # the key of a configuration: where model.json has its value
    "image_size": "image_size",
    "window": "window",
    "channels": "in_channels",
    "intensity_range": "intensity_range",
    "classes": "classes",
    "keep": "keep",
}
IN_COLUMNS = {"dataset", "presets"}  # the first has a column, the second are what other keys take their values from
REFERENCE = re.compile(r"@([\w:#]+)")
OF_PRESET = re.compile(r"\$@preset\['(\w+)'\]")
MOST = 20  # references on the way to a value
TARGET = "_target_"


@dataclass(frozen=True)
class Difference:
    """A setting in which runs differ.

    Attributes:
        key: in the configuration.
        values: of each run, as texts; ``UNKNOWN`` where it is not known, ``ABSENT`` where the key is not there.
    """

    key: str
    values: list[str]


def differences(runs: Sequence[RunRecord]) -> list[Difference]:
    """The settings in which runs differ, in the order of the first configuration; none of one run alone.

    A run without a config.yaml counts with what its model.json and report.json tell. Networks are compared by their
    model.json where all runs have one.
    """
    networks_known = all(isinstance(run.card.get("network"), dict) for run in runs)
    configs = [_config(run, networks_known) for run in runs]
    result = []
    for key in _keys(configs):
        values = []
        for run, config in zip(runs, configs, strict=True):
            values.append(config.get(key, ABSENT if run.config else UNKNOWN))
        if key not in IN_COLUMNS:
            result += _differences(key, values, configs)
    return result


def _config(run: RunRecord, networks_known: bool) -> dict[str, Any]:
    """The configuration of a run, as far as it is known."""
    config = dict(run.config) or _told_by_reports(run)
    if networks_known:
        network = run.card["network"]
        config["network_def"] = {TARGET: network.get("class"), **(network.get("arguments") or {})}
    return config


def _told_by_reports(run: RunRecord) -> dict[str, Any]:
    """What model.json and report.json tell of a run's configuration."""
    settings: dict[str, Any] = {}
    for key, name in FROM_CARD.items():
        if name in run.card:
            settings[key] = run.card[name]
    for key in ("seed", "weights"):
        if run.report.get(key) is not None:
            settings[key] = run.report[key]
    return settings


def _keys(sections: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all sections, each once, in the order of the first."""
    keys: dict[str, None] = {}  # a set that keeps the order
    for section in sections:
        keys |= dict.fromkeys(section)
    return list(keys)


def _differences(name: str, values: Sequence[Any], configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The differences at a key, or at the keys below it where it is one section in all runs."""
    known = [value for value in values if value != UNKNOWN]
    if not known or not counts(name, known[0]) or all(value == known[0] for value in known):
        return []
    if _are_one_section(known):
        result = []
        for key in _keys(known):
            below = [value if value == UNKNOWN else value.get(key, ABSENT) for value in values]
            result += _differences(f"{name}::{key}", below, configs)
        return result
    texts = []
    for value, config in zip(values, configs, strict=True):
        texts.append(_as_text(name, _resolved(config, value)))
    return [Difference(name, texts)] if len(set(texts) - {UNKNOWN}) > 1 else []


def _are_one_section(values: Sequence[Any]) -> bool:
    """Whether values are sections with names as keys, all of the same class if they are of any."""
    if not all(isinstance(value, Mapping) and all(map(str.isidentifier, map(str, value))) for value in values):
        return False
    return len({str(value.get(TARGET)) for value in values}) == 1


def _resolved(config: Mapping[str, Any], value: Any) -> Any:
    """The plain value that a reference leads to; the value itself where it is none, or leads elsewhere."""
    current = value
    for _ in range(MOST):
        target = _target(config, current)
        if target is ABSENT:
            break
        current = target
    is_plain = not isinstance(current, Mapping) and not str(current).startswith(EXPRESSION)
    return current if is_plain else value


def _target(config: Mapping[str, Any], value: Any) -> Any:
    """What stands at the key that a reference names; ``ABSENT`` where it is none."""
    reference, of_preset = REFERENCE.fullmatch(str(value)), OF_PRESET.fullmatch(str(value))
    if of_preset:
        preset = "demonstration" if config.get("demo") is True else "paper"
        return _at(config, f"presets::{preset}::{of_preset[1]}")
    return _at(config, reference[1]) if reference else ABSENT


def _at(config: Mapping[str, Any], path: str) -> Any:
    """What stands at a path of sections; ``ABSENT`` where there is nothing."""
    section: Any = config
    for name in path.replace("#", "::").split("::"):
        if not isinstance(section, Mapping) or name not in section:
            return ABSENT
        section = section[name]
    return section


def _as_text(name: str, value: Any) -> str:
    """A value as a reader sees it; an object as its class with the arguments that make a run another one."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return json.dumps(value, default=str, ensure_ascii=False)
    words = []
    for key, item in value.items():
        if key != TARGET and counts(f"{name}::{key}", item):
            words.append(f"{key}={_as_text(f'{name}::{key}', item)}")
    class_name = str(value.get(TARGET, "")).rpartition(".")[2]
    return f"{class_name}({', '.join(words)})"
