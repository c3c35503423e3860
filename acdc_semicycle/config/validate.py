"""What is wrong with a configuration: keys that nothing uses, numbers out of range, paths that MONAI reads as code."""

from __future__ import annotations

import difflib
import inspect
import json
import pydoc
import re
from collections.abc import Callable, Sequence
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser

from acdc_semicycle.config.locations import PATHS, folder, misread
from acdc_semicycle.config.options import options_of
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
LOCATOR = ComponentLocator()  # one: each looks through all of MONAI for itself


def check_values(value_of: Callable[[str], Any]) -> None:
    """Refuse values that only show themselves once expressions are evaluated.

    Args:
        value_of: gives the value of a key.

    Raises:
        InputError: names the setting, the value and what is expected.
    """
    check_classes(value_of("classes"), value_of("colours"))
    numbers = [value_of(name) for name in ("image_size", "epochs", "val_interval", "batch_size")]
    check_numbers(*numbers)
    check_schedule(value_of("constant_epochs"), value_of("epochs"))


def check_numbers(image_size: Any, epochs: Any, val_interval: Any, batch_size: Any) -> None:
    """Refuse sizes and counts that would fail only after all data have been read.

    Raises:
        InputError: names the setting, what was given and what is expected.
    """
    counts = {"epochs": epochs, "val_interval": val_interval, "batch_size": batch_size}
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}: give a whole number of at least 1")
    if val_interval > epochs:
        raise InputError(f"val_interval is {val_interval}, more than the {epochs} epochs: no network would be chosen")
    sizes = image_size if isinstance(image_size, list | tuple) else [image_size]
    if len(sizes) != 2 or any(type(n) is not int or n < 8 for n in sizes):
        raise InputError(f"image_size is {image_size}: give rows and columns of at least 8, such as [200, 200]")


def check_schedule(constant_epochs: Any, epochs: int) -> None:
    """Refuse a constant learning rate for more epochs than there are, or for none that can be counted.

    Raises:
        InputError: says what was given and what is expected.
    """
    if type(constant_epochs) is not int or not 0 <= constant_epochs <= epochs:
        raise InputError(f"constant_epochs is {constant_epochs!r}: give a whole number of 0 to {epochs}, the epochs")


def check_paths(arguments: Sequence[str], config: dict[str, Any] | None = None) -> None:
    """Refuse paths that MONAI would read as code or as keys of the configuration; those given as paths it leaves alone.

    Raises:
        InputError: names the option and the path.
    """
    for option in options_of(arguments):
        given = (config or {}).get(str(option.key))
        if isinstance(given, str | None) and misread(option):
            raise InputError(
                f"--{option.key} is {option.value!r}, which MONAI reads as code or as a key of its own: rename the"
                " folder, or say semicycle train, evaluate or predict, which take any name"
            )


def check_classes(classes: Any, colours: Any) -> None:
    """Refuse class names that are no names, and colours that are not one for each.

    Raises:
        InputError: says what was given.
    """
    if not isinstance(classes, list | tuple) or len(classes) < 2 or not all(isinstance(c, str) for c in classes):
        raise InputError(f"classes is {classes!r}: give two names or more, the background first")
    if len(set(classes)) < len(classes) or "background" in [name.lower() for name in classes[1:]]:
        raise InputError(f"classes is {list(classes)}: give each its own name, and background, if there is one, first")
    if colours is not None and len(colours) != len(classes):
        raise InputError(
            f"colours has {len(colours)} entries for {len(classes)} classes: give one RGB for each, or null"
        )


def check(config: dict[str, Any]) -> None:
    """Refuse what MONAI lets pass: keys that nothing uses, and numbers given as text.

    Raises:
        InputError: names the key, and the nearest one there is.
    """
    known: dict[str, Any] = {}
    for name in ["inference.json"] if "scans" in config else ["train.json", "evaluate.json", "multi_gpu_train.json"]:
        text = (folder("bundles/semicycle") / "configs" / name).read_text(encoding="utf-8")
        known = _merge(known, json.loads(text))
    _check_text(config, "")
    _check_references(config, "")
    used = set(re.findall(r"[@%]([\w:#]+)", json.dumps(config, default=str).replace("#", "::")))
    _check(config, known, used, "")
    if isinstance(config.get("weights"), dict):
        _check_weights(config["weights"], config["objective_def"])


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both dicts' keys, sections into sections; a plain number wins over text."""
    result = dict(base)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value)
        elif not isinstance(result.get(key), int | float):
            result[key] = value
    return result


def _check(given: dict[str, Any], known: dict[str, Any], used: set[str], prefix: str) -> None:
    for key, value in given.items():
        name = prefix + key
        if key not in known and key not in OWN and not any(u == name or u.startswith(name + "::") for u in used):
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix + near[0]!r}?" if near else "nothing uses it: take it out"
            raise InputError(f"the configuration has an unknown key {name!r}: {hint}")
        expected = known.get(key)
        _check_value(name, value, expected)
        if isinstance(value, dict) and isinstance(expected, dict):
            # what a component takes beyond what the bundle gives it, its signature says
            taken = dict.fromkeys(_arguments(value)) if "_target_" in value else {}
            if name == "weights" or name in OPEN:  # the former are compared with the method's terms
                continue
            if value.get("_target_", expected.get("_target_")) != expected.get("_target_"):
                expected = {}  # another component, which has its own arguments
            _check(value, taken | expected, used, name + "::")


def _check_value(name: str, value: Any, expected: Any) -> None:
    """Refuse what stands at a key, if it can be seen before it is evaluated."""
    if isinstance(value, str) and value[:1] in CODE:
        return
    rule = RULES.get(name)
    if rule and not rule.holds(value):
        raise InputError(f"{name} is {value!r}: give {rule.words}")
    if isinstance(expected, int | float) and isinstance(value, str):
        raise InputError(f"{name} is the text {value!r}: give a number, as in the bundle ({expected})")
    if name in OPEN and isinstance(value, list):  # unnamed parts in their order
        return
    if isinstance(expected, dict) and not isinstance(value, dict) and (value is not None or "_target_" not in expected):
        raise InputError(f"{name} is {value!r}: give a section, such as {name}::{next(iter(expected), 'NAME')}")


def _check_weights(weights: dict[str, Any], method: dict[str, Any]) -> None:
    """Refuse a weight of no term of the method; a term without weight the trainer refuses."""
    target = target_of(method)
    if wrong := sorted(set(weights) - set(target.terms)):
        raise InputError(f"weights has {wrong[0]}: {target.__name__} has {', '.join(target.terms)}")
    for name, value in weights.items():
        if str(value)[:1] not in CODE and not AMOUNT.holds(value):
            raise InputError(f"weights::{name} is {value!r}: give {AMOUNT.words}")


def target_of(component: dict[str, Any]) -> Any:
    """The class or function that a component's ``_target_`` names."""
    return pydoc.locate(ConfigComponent(component, locator=LOCATOR).resolve_module_name())


def _arguments(component: dict[str, Any]) -> list[str]:
    """Names of the arguments of a component's ``_target_``."""
    target = target_of(component)
    return list(inspect.signature(target).parameters) if callable(target) else []


def _check_text(item: Any, name: str) -> None:
    """Refuse numbers given as text, wherever they stand; the bundle's metadata may hold versions."""
    if isinstance(item, str) and _is_number(item):
        raise InputError(f"{name} is the text {item!r}: give a number (YAML reads 2e-4 as text; write 2.0e-4)")
    pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in pairs:
        if key != "_meta_":
            _check_text(value, f"{name}::{key}" if name else str(key))


def _check_references(item: Any, name: str) -> None:
    """Refuse text that looks like a reference and is none to MONAI, such as ``@objective.teacher``."""
    if isinstance(item, str) and item.startswith("@") and name.rpartition("::")[2] not in PATHS:
        if not REFERENCE.fullmatch(item):
            raise InputError(f"{name} is the text {item!r}, which MONAI does not look up: write '${item}'")
        return
    pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in pairs:
        if key != "_meta_":
            _check_references(value, f"{name}::{key}" if name else str(key))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
