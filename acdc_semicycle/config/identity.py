"""What makes a run this run and no other: its resolved configuration, less what may differ when it continues.

A value counts as the text in the configuration where evaluating it would make networks or read data, where it follows
from the number of epochs, and where it is an object that JSON cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.config.parser import calling_parser
from acdc_semicycle.config.validate import CODE, REFERENCE, target_of
from acdc_semicycle.data.splits import Split
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

# Where things are: what the files hold is compared instead (digests.contents).
LOCATIONS = {
    *("imports", "_meta_", "bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "cache_dir", "checkpoint"),
    *(
        "images",
        "masks",
        "mended",
        "drafts",
        "checkpoints::folder",
        "train::dataset::cache_dir",
        "train::unlabelled_dataset::cache_dir",
    ),
    "data_root",  # a key of configurations that were exported before 0.2
}
# Who is trained on, whatever led to it: the split itself is compared instead.
PATIENTS = {
    *("data", "records", "split", "patient", "labelled", "validation", "test"),
    *("train_list", "validation_list", "test_list", "mended_masks", "accept_drafts"),
}
# How long: a run may be given more epochs, and a schedule that reaches to their end.
EPOCHS = {
    *("minutes", "schedule", "epochs", "constant_epochs", "steps", "val_interval"),
    *("train::trainer::max_epochs", "train::handlers::0::interval"),
}
# The machine, how numbers are computed on it, and by how many processes.
MACHINE = {
    *("device", "amp", "amp_kwargs", "scaler", "deterministic", "checkpointing", "num_workers", "pool_seed"),
    *("optimizer::fused", "optimizer::foreach", "d_optimizer::fused", "d_optimizer::foreach"),
    *("train::dataloader::device", "train::dataloader::num_workers"),
    *("train::trainer::device", "train::trainer::amp", "train::trainer::amp_kwargs"),
    *("validate::dataloader::num_workers", "validate::dataloader::batch_size", "validate::inferer::sw_batch_size"),
    *("validate::inferer::sw_device", "validate::inferer::device", "validate::dataset::data::_target_"),
    *("validate::evaluator::device", "validate::evaluator::amp", "validate::evaluator::amp_kwargs"),
}
# What is only shown, checked, saved or reported.
SHOWN = {
    *("writer", "check", "checking", "protocol", "notes", "card", "report", "method"),
    *("train::handler::finite", "train::handler::log", "train::handler::balance", "train::handler::pictures"),
    *("train::handler::decay::print_lr", "train::handler::d_decay::print_lr"),
    *("validate::inferer::progress", "validate::evaluator::additional_metrics"),
    *("checkpoints::objects", "checkpoints::settings", "checkpoints::card", "checkpoints::data"),
    "checkpoints::image_generator",
}
# What other keys take their values from: these values are compared where they are taken.
SOURCES = {"presets", "preset", "demo"}
# What is run.
TASKS = {"initialize", "training", "probing", "evaluating", "finalize", "run"}

MAY_DIFFER = LOCATIONS | PATIENTS | EPOCHS | MACHINE | SHOWN | SOURCES | TASKS
NOT_FOLLOWED = LOCATIONS | PATIENTS | EPOCHS | MACHINE  # a reference to these may differ just as they may
# An expression of these counts as its text: its value follows from the number of epochs, or needs the data.
NOT_EVALUATED = {"epochs", "constant_epochs", "steps", "data_root", "data", "mended_masks", "records", "split"}
REFERENCES = re.compile(r"@([\w:]+)")  # in an expression


def identity(split: Split) -> dict[str, Any]:
    """The configuration that is being run as plain values, for a comparison when the run continues.

    Every key counts but those in ``MAY_DIFFER``. An expression counts as its value where that is plain, a class or a
    function as its full name, and all else as the text that stands in the configuration. ``environment`` holds what
    changes how files are read.

    Args:
        split: the patients of each part, which count instead of the fractions that led to them.

    Raises:
        InputError: no configuration is being run.
    """
    parser = calling_parser()
    if parser is None:
        raise InputError("identity() was called outside a configuration: call it in an expression of one")
    settings = _described_section(parser, "", parser.get())
    reading = {environment.GEOMETRY: environment.geometry(), environment.REPAIR: environment.repair()}
    return settings | {"split": asdict(split), "environment": reading}


def counts(name: str, value: Any) -> bool:
    """Whether what stands at a key makes a run another one."""
    key = name.rpartition("::")[2]
    says_nothing = key == "_desc_" or (key == "_disabled_" and value is False)
    return name not in MAY_DIFFER and not says_nothing


def full_name(target: Any, text: str) -> str:
    """The name of a class or function in the module that defines it, else the text that stands for it."""
    name = getattr(target, "__qualname__", "<")
    if name.isidentifier():  # neither a local function nor an object
        return f"{target.__module__}.{name}"
    return text


def _described(parser: ConfigParser, name: str, value: Any) -> Any:
    """What stands at a key, with all below it that counts."""
    if isinstance(value, Mapping):
        return _described_section(parser, name, value)
    if isinstance(value, list | tuple):
        return [_described(parser, f"{name}::{number}", item) for number, item in enumerate(value)]
    if _begins_with(value, ("@",)):
        return _described_reference(parser, value)
    if _begins_with(value, ("$",)) and is_a_value(parser, value):
        return _plain(parser.get_parsed_content(name), value)
    return _plain(value, str(value))


def _described_section(parser: ConfigParser, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The items of a section that count, each as it is described."""
    parts = {}
    for key, item in section.items():
        item_name = f"{name}::{key}" if name else str(key)
        if not counts(item_name, item):
            continue
        if key == "_target_" and isinstance(item, str) and not _begins_with(item, CODE):
            parts[key] = full_name(target_of(dict(section)), item)
        else:
            parts[str(key)] = _described(parser, item_name, item)
    return parts


def _described_reference(parser: ConfigParser, text: str) -> Any:
    """The plain value that a reference leads to, where it does not count at its own key; else the reference's text."""
    name = text[1:].replace("#", "::")
    if not REFERENCE.fullmatch(text) or name not in parser or _lies_in(name, NOT_FOLLOWED):
        return text
    value = parser.get(name)
    is_component = isinstance(value, Mapping) and "_target_" in value
    if is_component or not _lies_in(name, MAY_DIFFER):
        return text
    return _described(parser, name, value)


def _lies_in(name: str, sections: set[str]) -> bool:
    """Whether a key is one of these sections or lies in one."""
    return any(name == section or name.startswith(f"{section}::") for section in sections)


def _begins_with(value: Any, marks: tuple[str, ...]) -> bool:
    """Whether a value is a text that MONAI evaluates or looks up, by the mark it begins with."""
    return isinstance(value, str) and value.startswith(marks)


def is_a_value(parser: ConfigParser, expression: str) -> bool:
    """Whether an expression can be evaluated without making anything: it leads to no component and to no data."""
    seen: set[str] = set()
    waiting = set(REFERENCES.findall(expression))
    while waiting:
        if not waiting.isdisjoint(NOT_EVALUATED):
            return False
        name = waiting.pop()
        seen.add(name)
        item = parser.get(name)
        if isinstance(item, Mapping) and "_target_" in item:
            return False
        if _begins_with(item, CODE):
            waiting |= set(REFERENCES.findall(item)) - seen
    return True


def _plain(value: Any, text: str) -> Any:
    """The value where JSON can hold it, the name of a class or function, else the text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, text) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, text) for key, item in value.items()}
    return full_name(value, text)
