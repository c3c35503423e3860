"""What is wrong with a configuration as it is written: unknown keys, numbers out of range, paths that read as code."""

from __future__ import annotations

import inspect
import json
import pydoc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser

from acdc_semicycle.config.locations import PATHS, folder, misread
from acdc_semicycle.config.options import nearest, options_of
from acdc_semicycle.config.positions import check_positions
from acdc_semicycle.config.settings import AMOUNT, RULES
from acdc_semicycle.runtime.errors import InputError

OWN = {*ConfigComponent.non_arg_keys, ConfigParser.meta_key}  # MONAI's, of any component or configuration
CODE = ("$", "@", "%")  # begins what MONAI evaluates
REFERENCE = re.compile(r"@(?:(?:#|::)*\w+)+")  # to another key, as a whole text
OPEN = {  # sections whose parts a user may name
    "train::deterministic_transforms",
    "train::random_transforms",
    "train::views",
    "train::handler",
    "presets",
}
OF_OVERLAYS = {"images", "masks", "patient"}  # keys that own_scans and own_pictures bring
LOCATOR = ComponentLocator()  # one: each looks through all of MONAI for itself


def check_paths(arguments: Sequence[str], config: dict[str, Any] | None = None) -> None:
    """Refuse paths given as text that MONAI would read as code or as keys of the configuration.

    Raises:
        InputError: names the option and the path.
    """
    for option in options_of(arguments):
        value = (config or {}).get(str(option.key))
        if isinstance(value, str | None) and misread(option):
            raise InputError(
                f"--{option.key} is {option.value!r}, which MONAI reads as code or as a key of its own: rename the"
                " folder, or use semicycle train, evaluate or predict, which take any name"
            )


def check_derived(config: Mapping[str, Any]) -> None:
    """Refuse ``steps`` as a number: it would change schedules that count steps, and no training's length.

    Raises:
        InputError: names the keys that set the length.
    """
    if not isinstance(config.get("steps", ""), str):
        raise InputError("steps follows from epochs and steps_per_epoch: give --epochs or --steps_per_epoch")


def check(config: dict[str, Any]) -> None:
    """Refuse what MONAI lets pass: keys that nothing uses, and numbers given as text.

    Raises:
        InputError: names the key, and the nearest one there is.
    """
    check_positions(config)
    for name, text in _texts(config):
        _check_text(name, text)
    references = re.findall(r"[@%]([\w:#]+)", json.dumps(config, default=str).replace("#", "::"))
    _check_section(config, _bundle_of(config), _with_sections(references), "")
    if isinstance(config.get("weights"), dict):
        _check_weights(config["weights"], config["objective_def"])


def _bundle_of(config: dict[str, Any]) -> dict[str, Any]:
    """The bundle's own configuration of the same kind: all keys that are known."""
    names = ["inference.json"] if "scans" in config else ["train.json", "evaluate.json", "multi_gpu_train.json"]
    bundle: dict[str, Any] = {}
    for name in names:
        text = (folder("bundles/semicycle") / "configs" / name).read_text(encoding="utf-8")
        bundle = _merge(bundle, json.loads(text))
    return bundle


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both dicts' keys, sections into sections; a plain number wins over text."""
    result = dict(base)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value)
        elif not isinstance(result.get(key), int | float):
            result[key] = value
    return result


def _with_sections(names: Iterable[str]) -> set[str]:
    """Names of keys, and of all sections that they lie in."""
    result = set()
    for name in names:
        parts = name.split("::")
        for length in range(1, len(parts) + 1):
            result.add("::".join(parts[:length]))
    return result


def _check_section(section: dict[str, Any], known: dict[str, Any], used: set[str], prefix: str) -> None:
    """Refuse unknown keys and wrong values of a section, and of all sections in it.

    Args:
        known: what the bundle has there.
        used: names of all keys that something refers to.
        prefix: of the section's keys: ``train::dataset::``.
    """
    for key, value in section.items():
        name = prefix + key
        _check_key(key, known, used, prefix)
        expected = known.get(key)
        _check_value(name, value, expected)
        named_by_the_user = name in OPEN or name == "weights"  # the weights are compared with the method's terms
        if isinstance(value, dict) and isinstance(expected, dict) and not named_by_the_user:
            _check_section(value, _known_below(value, expected), used, name + "::")


def _check_key(key: str, known: dict[str, Any], used: set[str], prefix: str) -> None:
    """Refuse a key that neither the bundle nor MONAI has, and that nothing refers to."""
    name = prefix + key
    if key not in known and key not in OWN and name not in used:
        hint = _hint(key, {*known, *_keys_used(used, prefix)}, prefix)
        raise InputError(f"the configuration has an unknown key {name!r}: {hint}")


def _hint(key: str, names: set[str], prefix: str) -> str:
    """What may be meant by an unknown key of a section: one of its names, or one that an overlay would bring."""
    meant = []
    near = nearest(key, names)
    if near:
        meant.append(repr(prefix + near))
    of_overlay = None if prefix else nearest(key, OF_OVERLAYS - names)
    if of_overlay and of_overlay.startswith(key):
        meant.insert(0, f"{of_overlay!r}, with the overlay own_scans or own_pictures before it")
    return f"did you mean {', or '.join(meant)}?" if meant else "nothing uses it: remove it"


def _keys_used(used: set[str], prefix: str) -> set[str]:
    """The keys of a section that something refers to, such as those that an overlay brings."""
    keys = set()
    for name in used:
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and "::" not in key:
            keys.add(key)
    return keys


def _known_below(section: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The keys that a section may have: the bundle's, and all arguments of a component, which its signature names."""
    if "_target_" not in section:
        return expected
    arguments = dict.fromkeys(_arguments(section))
    if "_target_" not in expected or target_of(section) is not target_of(expected):  # names differ: old ones are read
        return arguments  # of another component
    return arguments | expected


def _check_value(name: str, value: Any, expected: Any) -> None:
    """Refuse what stands at a key, if that shows before it is evaluated."""
    if isinstance(value, str) and value.startswith(CODE):
        return
    rule = RULES.get(name)
    if rule and not rule.holds(value):
        raise InputError(f"{name} is {value!r}: give {rule.words}")
    _check_kind(name, value, expected)


def _check_kind(name: str, value: Any, expected: Any) -> None:
    """Refuse a text in the place of a number, and what is no section in the place of a section."""
    if isinstance(expected, int | float) and isinstance(value, str):
        raise InputError(f"{name} is the text {value!r}: give a number, as in the bundle ({expected})")
    if isinstance(expected, dict) and not _may_replace(name, value, expected):
        raise InputError(f"{name} is {value!r}: give a section, such as {name}::{next(iter(expected), 'NAME')}")


def _may_replace(name: str, value: Any, section: dict[str, Any]) -> bool:
    """Whether a value may stand where the bundle has a section: another one, unnamed parts, or null for a component."""
    if isinstance(value, list):
        return name in OPEN
    return isinstance(value, dict) or (value is None and "_target_" in section)


def _check_weights(weights: dict[str, Any], method: dict[str, Any]) -> None:
    """Refuse a weight of no term of the method; a term without weight the trainer refuses."""
    target = target_of(method)
    foreign = sorted(set(weights) - set(target.terms))
    if foreign:
        raise InputError(f"weights has {foreign[0]}: {target.__name__} has {', '.join(target.terms)}")
    for name, value in weights.items():
        if not str(value).startswith(CODE) and not AMOUNT.holds(value):
            raise InputError(f"weights::{name} is {value!r}: give {AMOUNT.words}")


def target_of(component: dict[str, Any]) -> Any:
    """The class or function that a component's ``_target_`` names."""
    return pydoc.locate(ConfigComponent(component, locator=LOCATOR).resolve_module_name())


def _arguments(component: dict[str, Any]) -> list[str]:
    """Names of the arguments of a component's ``_target_``."""
    target = target_of(component)
    return list(inspect.signature(target).parameters) if callable(target) else []


def _texts(item: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a configuration with its key, but for the bundle's metadata, which may hold versions."""
    if isinstance(item, str):
        yield name, item
    elif isinstance(item, dict | list):
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            if key != ConfigParser.meta_key:
                yield from _texts(value, f"{name}::{key}" if name else str(key))


def _check_text(name: str, text: str) -> None:
    """Refuse a number given as text, and text that looks like a reference and is none to MONAI."""
    if _is_number(text):
        raise InputError(f"{name} is the text {text!r}: give a number (YAML reads 2e-4 as text; write 2.0e-4)")
    is_path = name.rpartition("::")[2] in PATHS
    if text.startswith("@") and not is_path and not REFERENCE.fullmatch(text):
        raise InputError(f"{name} is the text {text!r}, which MONAI does not look up: write '${text}'")


def _is_number(text: str) -> bool:
    """Whether Python reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
