"""What is wrong with a configuration: keys that nothing uses, numbers out of range, paths that MONAI reads as code."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import pydoc
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser
from monai.utils.misc import MAX_SEED

from acdc_semicycle.config.locations import folder, misread
from acdc_semicycle.config.options import options_of
from acdc_semicycle.data.splits import Split
from acdc_semicycle.runtime.errors import InputError

Rule = tuple[str, Callable[[Any], bool]]


def _whole(least: int, *others: None) -> Rule:
    words = f"a whole number of at least {least}" + (", or null" if others else "")
    return words, lambda value: value in others or (type(value) is int and value >= least)


def _real(words: str, within: Callable[[float], bool], count: int = 0) -> Rule:
    def kept(value: Any) -> bool:
        values = value if count and isinstance(value, list | tuple) else [value]
        return len(values) == (count or 1) and all(type(v) in (int, float) and within(v) for v in values)

    return words, kept


OWN = {*ConfigComponent.non_arg_keys, ConfigParser.meta_key}  # MONAI's, of any component or configuration
PARTS = [part.name for part in fields(Split)]
CODE = ("$", "@", "%")  # begins what MONAI evaluates
SWITCH: Rule = "True or False", lambda value: isinstance(value, bool)
AMOUNT = _real("a number of at least 0", lambda v: 0 <= v < math.inf)
PAIR = _real("two numbers", math.isfinite, 2)
SEED: Rule = f"a whole number of 0 to {MAX_SEED - 1}", lambda value: type(value) is int and 0 <= value < MAX_SEED
PROBABILITY = _real("a probability, 0 to 1", lambda v: 0 <= v <= 1)
RULES: dict[str, Rule] = {  # of what stands there as it is; an expression shows itself only later
    "amp": SWITCH,
    "deterministic": SWITCH,
    "checkpointing": SWITCH,
    "filters": _whole(1),
    "d_filters": _whole(1),
    "blocks": _whole(0),
    "history_size": _whole(0),
    "num_workers": _whole(0),
    "seed": SEED,
    "history_seed": SEED,
    "constant_epochs": _whole(0),
    "steps_an_epoch": _whole(1, None),
    "check": (
        f"a list of the split's parts: {PARTS}",
        lambda value: isinstance(value, list | tuple) and all(part in PARTS for part in value),
    ),
    "evaluated": (f"a part of the split: {', '.join(PARTS)}", lambda value: value in PARTS),
    "learning_rate": _real("a number above 0", lambda v: 0 < v < math.inf),
    "dropout": _real("a number of at least 0 and below 1", lambda v: 0 <= v < 1),
    "betas": _real("two numbers of at least 0 and below 1", lambda v: 0 <= v < 1, 2),
    "intensity_range": (
        "the lowest and the highest intensity, or null",
        lambda value: value is None or (PAIR[1](value) and value[0] < value[1]),
    ),
    "train::augment::flips": _real("two probabilities, of rows and of columns", lambda v: 0 <= v <= 1, 2),
    **{f"train::augment::{name}": AMOUNT for name in ("rotate", "scale", "shift", "elastic", "gain", "offset")},
    **{f"train::augment::{name}": PROBABILITY for name in ("geometry", "intensity")},
}

LOCATOR = ComponentLocator()  # one: each looks through all of MONAI for itself


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
    if len(sizes) != 2 or any(not isinstance(n, int) or n < 8 or n % 4 for n in sizes):
        raise InputError(f"image_size is {image_size}: give rows and columns, multiples of 4 of at least 8: [200, 200]")


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
            if name == "weights":  # compared with the method's terms
                continue
            if value.get("_target_", expected.get("_target_")) != expected.get("_target_"):
                expected = {}  # another component, which has its own arguments
            _check(value, taken | expected, used, name + "::")


def _check_value(name: str, value: Any, expected: Any) -> None:
    """Refuse what stands at a key, if it can be seen before it is evaluated."""
    if isinstance(value, str) and value[:1] in CODE:
        return
    words, kept = RULES.get(name, ("", None))
    if kept and not kept(value):
        raise InputError(f"{name} is {value!r}: give {words}")
    if isinstance(expected, int | float) and isinstance(value, str):
        raise InputError(f"{name} is the text {value!r}: give a number, as in the bundle ({expected})")
    if isinstance(expected, dict) and not isinstance(value, dict) and (value is not None or "_target_" not in expected):
        raise InputError(f"{name} is {value!r}: give a section, such as {name}::{next(iter(expected))}")


def _check_weights(weights: dict[str, Any], method: dict[str, Any]) -> None:
    """Refuse a weight of no term of the method; a term without weight the trainer refuses."""
    target = _target(method)
    if wrong := sorted(set(weights) - set(target.terms)):
        raise InputError(f"weights has {wrong[0]}: {target.__name__} has {', '.join(target.terms)}")
    for name, value in weights.items():
        if str(value)[:1] not in CODE and not AMOUNT[1](value):
            raise InputError(f"weights::{name} is {value!r}: give {AMOUNT[0]}")


def _target(component: dict[str, Any]) -> Any:
    """The class or function that a component's ``_target_`` names."""
    return pydoc.locate(ConfigComponent(component, locator=LOCATOR).resolve_module_name())


def _arguments(component: dict[str, Any]) -> list[str]:
    """Names of the arguments of a component's ``_target_``."""
    target = _target(component)
    return list(inspect.signature(target).parameters) if callable(target) else []


def _check_text(item: Any, name: str) -> None:
    """Refuse numbers given as text, wherever they stand; the bundle's metadata may hold versions."""
    if isinstance(item, str) and _is_number(item):
        raise InputError(f"{name} is the text {item!r}: give a number (YAML reads 2e-4 as text; write 2.0e-4)")
    pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in pairs:
        if key != "_meta_":
            _check_text(value, f"{name}::{key}" if name else str(key))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
