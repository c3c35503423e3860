"""What ``semicycle check`` is asked for: a folder, or a data set in the words of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.config.command import value_of_text
from acdc_semicycle.config.command_parser import parser_of
from acdc_semicycle.config.locations import folder, overlay
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.settings import RULES
from acdc_semicycle.config.values import check_classes, check_colours
from acdc_semicycle.data import check as checking
from acdc_semicycle.data.check_findings import Counts, Finding
from acdc_semicycle.runtime.errors import InputError

READERS = {  # how an overlay reads its data, and the data set that is: a key of data.check_layout.KINDS
    "$bundle.read_acdc(bundle.data_root(@dataset_dir, @output_dir))": "acdc",
    "$bundle.voc.records(@dataset_dir)": "voc",
    "$bundle.cityscapes.records(@dataset_dir)": "cityscapes",
    "$bundle.folder.records(@images, @masks, @patient, @mended)": "folder",
}
REQUIRED = "$bundle.required("  # begins what a training asks for, and a check can do without


def findings_of(words: Sequence[str], options: Mapping[str, Any], counts: Counts) -> list[Finding]:
    """All that is wrong with a data set.

    Args:
        words: the folder, or overlays as for a training.
        options: the keys of ``data_keys.KEYS`` that are given, as text; ``classes`` as a list of words.
        counts: is filled with what was counted.

    Raises:
        InputError: there is no such folder or overlay, or a value that cannot be.
    """
    if words and Path(words[0]).is_dir():
        return _in_folder(words, options, counts)
    return _of_training(_overlays(words), options, counts)


def _in_folder(words: Sequence[str], options: Mapping[str, Any], counts: Counts) -> list[Finding]:
    """What is wrong in a folder; what is not given is taken from its layout."""
    if len(words) > 1:
        raise InputError(
            f"{words[1]!r} follows the folder {words[0]}: give one folder, or overlays and --images FOLDER"
        )
    for key in ("dataset_dir", "images"):
        if key in options:
            raise InputError(f"--{key} {options[key]} is a second folder beside {words[0]}: give one of the two")
    settings = {key: value_of_option(key, text) for key, text in options.items()}
    for key, value in settings.items():
        if key in RULES and not RULES[key].holds(value):
            raise InputError(f"{key} is {value!r}: give {RULES[key].words}")
    _check_meanings(settings)
    return checking.check(words[0], counts=counts, **settings)


def _overlays(words: Sequence[str]) -> list[str]:
    """Overlay files of a command.

    Raises:
        InputError: names the word that is neither a folder nor an overlay.
    """
    shipped = sorted(path.stem for path in folder("configs").glob("*.yaml"))
    for word in words:
        if word not in shipped and not Path(word).is_file():
            raise InputError(
                f"{word} is neither a folder nor an overlay: give one of the two, see semicycle check --help"
            )
    return [overlay(word) for word in words]


def _of_training(overlays: Sequence[str], options: Mapping[str, Any], counts: Counts) -> list[Finding]:
    """What is wrong with the data of a training."""
    if not overlays and "images" in options:  # the same as of a folder
        others = {key: value for key, value in options.items() if key != "images"}
        return _in_folder([options["images"]], others, counts)
    parser = _parser_of(overlays, options)
    settings = _settings_of_training(parser)
    counts.unnamed = "classes" not in settings
    dataset = READERS.get(str(parser.get("data")))  # an overlay's own way may be a section
    if dataset is None:
        settings["values"] = settings.pop("mask_values")
        return checking.check_records(value_of(parser, "data"), counts=counts, **settings)
    key = "dataset_dir"
    if dataset == "folder":
        key = "images"
        settings["masks"], settings["patient"] = _folder(parser, "masks"), value_of(parser, "patient")
    root = _folder(parser, key)
    if root is None:
        raise InputError(f"no data set is given: give its folder, --{key} FOLDER, or overlays that name it")
    return checking.check(root, counts=counts, dataset=dataset, **settings)


def _parser_of(overlays: Sequence[str], options: Mapping[str, Any]) -> ConfigParser:
    """The configuration of the training with these overlays and keys."""
    words = []
    for key, value in options.items():
        text = json.dumps(value_of_option(key, value)) if key == "classes" else value
        words.append(f"--{key}={text}")
    return parser_of(overlays, words)


def _settings_of_training(parser: ConfigParser) -> dict[str, Any]:
    """What the training knows of its masks and images; without ``classes`` where it would ask for them."""
    settings = {key: value_of(parser, key) for key in ("mask_values", "colours", "channels", "intensity_range")}
    if not str(parser.get("classes")).startswith(REQUIRED):
        settings["classes"] = value_of(parser, "classes")
    _check_meanings(settings)
    return settings


def _folder(parser: ConfigParser, key: str) -> Path | None:
    """A folder that the training is given, which may be named as a number; None where it is not given."""
    path = value_of(parser, key)
    return None if path is None else Path(str(path))


def value_of_option(key: str, text: Any) -> Any:
    """What an option says: paths and expressions as they are, all else as JSON or Python writes it."""
    if key in ("masks", "patient"):
        return text
    if key == "classes":
        return value_of_text(text[0]) if len(text) == 1 and text[0].startswith("[") else list(text)
    return value_of_text(text)


def _check_meanings(settings: Mapping[str, Any]) -> None:
    """Refuse names of classes that are none, colours that are not one for each, and values without classes."""
    check_colours(settings.get("colours"))
    if settings.get("classes") is not None:
        check_classes(settings["classes"], settings.get("colours"))
    mask_values = settings.get("mask_values")
    if not isinstance(mask_values, Mapping | None):
        raise InputError(f"mask_values is {mask_values!r}: give whole numbers, such as {{'0': 0, '255': 1}}")
