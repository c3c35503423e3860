"""Names of the configuration that have changed: the former ones are understood for one release, with a line each."""

from __future__ import annotations

import inspect
import json
import logging
import re
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.config import overlays
from acdc_semicycle.config.former_keys import KEYS
from acdc_semicycle.config.locations import folder
from acdc_semicycle.config.validate import target_of
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

EXPORTED = {  # of bundles exported before a card described any network
    "network_def": "$bundle.build_network(@card['network'])",
    "painter": "$bundle.build_image_generator(@model, @device) if @cycle else None",
}
IMPORTS = {  # what expressions could call before all calls went through one module
    "acdc": "$import acdc_semicycle.datasets.acdc as acdc",
    "cache": "$import acdc_semicycle.data.digests as cache",
    "check": "$import acdc_semicycle.data.check as check",
    "dataclasses": "$import dataclasses",
    "distributed": "$import acdc_semicycle.runtime.distributed as distributed",
    "from_engine": "$from monai.handlers import from_engine",
    "history": "$import acdc_semicycle.methods.image_pool as history",
    "models": "$import acdc_semicycle.bundle as models",
    "os": "$import os",
    "pairs": "$import acdc_semicycle.data.pairs as pairs",
    "places": "$import acdc_semicycle.config.locations as places",
    "records": "$import acdc_semicycle.datasets.records as records",
    "settings": "$import acdc_semicycle.config.values as settings",
    "splits": "$import acdc_semicycle.data.splits as splits",
    "trainer": "$import acdc_semicycle.methods.schedules as trainer",
    "transforms": "$import acdc_semicycle.imageio.pictures as transforms",
}


def understand(parser: ConfigParser) -> None:
    """Put what the configuration says under former names where it belongs now, and parse it anew.

    Raises:
        InputError: the present name has another value already, or the method does not take the argument.
    """
    config = parser.get()
    former = [key for key in KEYS if key in config]
    imports = _missing_imports(config)
    exported = config.pop("painter_def", None)
    if not former and not imports and not exported:
        return
    if exported:
        config.update(EXPORTED)
    for key in former:
        log.warning("%s is now called %s: the former name is understood until 0.3", key, " and ".join(KEYS[key]))
        for target in _targets(config, key):
            _check_target(parser, key, target)
            parser.set(config[key], target)
        if not _refers(config, key):
            del config[key]
    config.setdefault("imports", []).extend(imports)
    parser.parse(reset=True)


def _targets(config: dict[str, Any], key: str) -> list[str]:
    """Where the value of a former key goes: not into a section that is not there, or that looks it up by itself."""
    sections = _sections(config) | {"": None}
    targets = []
    for target in KEYS[key]:
        section = target.rpartition("::")[0]
        if section in sections and not _refers(sections[section], key):
            targets.append(target)
    return targets


def _check_target(parser: ConfigParser, key: str, target: str) -> None:
    """Refuse to write over another value than the bundle's, and to give a component what it does not take.

    Raises:
        InputError: names the former key, which is what the user wrote.
    """
    value, present = parser.get(key), parser.get(target, None)
    if present not in (None, value, *_defaults(target)):
        raise InputError(f"{key} is {value!r} and {target} {present!r}: {key} is the former name, remove it")
    section, _, argument = target.rpartition("::")
    component = parser.get(section) if section else {}
    if "_target_" not in component:
        return
    taker = target_of(component)
    if callable(taker) and not _takes(taker, argument):
        raise InputError(f"{key} is now {target}, which {taker.__name__} does not take: remove {key}")


def _defaults(target: str) -> list[Any]:
    """What the bundle's own files have at a key."""
    configs = folder("bundles/semicycle") / "configs"
    return [overlays.read(configs / name).get(target) for name in ("train.json", "multi_gpu_train.json")]


def _takes(target: Any, argument: str) -> bool:
    """Whether a class or function has an argument of this name, or takes any."""
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return takes_any or argument in parameters


def _refers(item: Any, key: str) -> bool:
    """Whether something in an item looks a key up."""
    return re.search(rf"@{key}\b(?!::)", json.dumps(item, default=str)) is not None


def _sections(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """All sections of a configuration by their names: ``train``, ``train::dataset``, ..."""
    sections: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            sections |= {prefix + key: value, **_sections(value, f"{prefix}{key}::")}
    return sections


def _missing_imports(config: dict[str, Any]) -> list[str]:
    """The import statements of modules that an expression calls and nothing imports."""
    text = json.dumps(config, default=str)
    missing = []
    for name, statement in IMPORTS.items():
        imported = re.search(rf"\$(import|from) [^\"]*\b{name}\"", text)
        called = re.search(rf"\"\$[^\"]*(?<![\w.'@:]){name}[.(]", text)
        if called and not imported:
            missing.append(statement)
    return missing
