"""What makes a run this run and no other: its resolved configuration, less what may differ when it continues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.config.parser import calling_parser
from acdc_semicycle.data.splits import Split
from acdc_semicycle.runtime.errors import InputError

MAY_DIFFER = (
    # where things are
    ("imports", "_meta_", "bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "cache_dir", "checkpoint")
    # who is trained on, whatever led to it: the split itself and the files' contents are compared instead
    + ("data", "records", "split", "labelled", "validation", "test", "train_list", "validation_list")
    + ("test_list", "images", "masks", "patient")
    + ("data_root",)  # a key of configurations that were exported before 0.2
    # how long: a run may be given more epochs
    + ("minutes", "epochs", "constant_epochs", "steps", "val_interval", "presets", "preset", "demo")
    # the machine, and how numbers are computed on it
    + ("device", "amp", "amp_kwargs", "scaler", "deterministic", "checkpointing", "num_workers", "pool_seed")
    # what is shown, checked and reported
    + ("train::handler", "train::handlers", "train::trainer", "train::inferer", "writer", "check", "checking")
    + ("evaluated", "protocol", "notes", "validate", "card", "checkpoints", "report", "method")
    # what is run
    + ("initialize", "training", "probing", "evaluating", "finalize", "run")
)
# What follows from the number of epochs counts as its text, and no data are read for a comparison.
NOT_EVALUATED = {"epochs", "constant_epochs", "steps", "data_root", "data", "records", "split"}
REFERENCE = re.compile(r"@([\w:]+)")
CODE = ("$", "@", "%")


def identity(split: Split) -> dict[str, Any]:
    """The configuration that is being run as plain values, for a comparison when the run continues.

    Every key counts but those in ``MAY_DIFFER``. An expression counts as its value where that is plain, a class or a
    function as its name, and all else as the text that stands in the configuration.

    Args:
        split: the patients of each part, which count instead of the fractions that led to them.

    Raises:
        InputError: no configuration is being run.
    """
    parser = calling_parser()
    if parser is None:
        raise InputError("identity() was called outside a configuration: call it in an expression of one")
    settings = _described(parser, "", parser.get())
    return settings | {"split": asdict(split)}


def _described(parser: ConfigParser, name: str, value: Any) -> Any:
    """What stands at a key, with all below it that counts."""
    if isinstance(value, Mapping):
        return _described_section(parser, name, value)
    if isinstance(value, list | tuple):
        return [_described(parser, f"{name}::{number}", item) for number, item in enumerate(value)]
    if _begins_with(value, ("$",)) and _is_a_value(parser, value, set()):
        return _plain(parser.get_parsed_content(name), value)
    return _plain(value, str(value))


def _described_section(parser: ConfigParser, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The items of a section that count, each as it is described."""
    parts = {}
    for key, item in section.items():
        item_name = f"{name}::{key}" if name else str(key)
        if item_name not in MAY_DIFFER:
            parts[str(key)] = _described(parser, item_name, item)
    return parts


def _begins_with(value: Any, marks: tuple[str, ...]) -> bool:
    """Whether a value is a text that MONAI evaluates or looks up, by the mark it begins with."""
    return isinstance(value, str) and value.startswith(marks)


def _is_a_value(parser: ConfigParser, item: Any, seen: set[str]) -> bool:
    """Whether an item can be evaluated without making anything: it is no component, and refers to none and to no data.

    Args:
        seen: the references that were looked up; those of the item are added.
    """
    if isinstance(item, Mapping):
        return "_target_" not in item
    if not _begins_with(item, CODE):
        return True
    references = set(REFERENCE.findall(item)) - seen
    seen |= references
    return references.isdisjoint(NOT_EVALUATED) and all(
        _is_a_value(parser, parser.get(reference), seen) for reference in references
    )


def _plain(value: Any, text: str) -> Any:
    """The value where JSON can hold it, the name of a class or function, else the text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, text) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, text) for key, item in value.items()}
    name = getattr(value, "__qualname__", "<")
    if name.isidentifier():  # neither a local function nor an object
        return f"{value.__module__}.{name}"
    return text
