"""config.yaml in a run's folder: the whole configuration as the run began, below the command that makes the same run.

Imports nothing slow: a command looks here first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_semicycle.config import overlays
from acdc_semicycle.config.locations import misread
from acdc_semicycle.config.options import Option
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import check_ours, write_text

if TYPE_CHECKING:  # slow
    from monai.bundle import ConfigParser

FILE = "config.yaml"
TITLE = "# The configuration of a run of acdc_semicycle"  # by which the file is known for this program's

EXPRESSION = ("$", "@", "%")  # how a text begins that MONAI evaluates


def save(folder: Path) -> None:
    """Write config.yaml for the configuration that is being run, if one is.

    Raises:
        InputError: a file of this name is there and is not of this program.
    """
    from acdc_semicycle.config.parser import calling_parser
    from acdc_semicycle.runtime.provenance import provenance

    parser = calling_parser()
    if parser is None:
        return
    import yaml

    check(folder)
    about = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = f"{TITLE}, as it began ({versions}).\n# The same run again:\n#   {_on_a_line(about['command'])}\n"
    head += "# Its scores: semicycle evaluate --model RUN, where RUN is this folder\n"
    write_text(folder / FILE, head + yaml.safe_dump(_resolved(parser), sort_keys=False, width=120))


def check(folder: Path) -> None:
    """Refuse a folder with a config.yaml of a user's own.

    Raises:
        InputError: names the file.
    """
    check_ours(folder / FILE, TITLE)


def run_folder(model: str | Path) -> Path:
    """The folder of the run that a network belongs to, which holds the run's configuration.

    Args:
        model: the run's folder, the ``models`` in it or its model.pt.

    Raises:
        InputError: the run has no config.yaml.
    """
    path = Path(model)
    levels = {"models": "..", "model.pt": "../.."}.get(path.name, ".")
    for folder in (path, Path(os.path.normpath(path / levels))):
        if (folder / FILE).is_file():
            return folder
    raise InputError(
        f"{path} has no {FILE}, which every training leaves in its folder since 0.2: give a run's folder, or the"
        " overlays and keys of its training with --output_dir"
    )


def options_for(folder: Path) -> list[str]:
    """The ``--KEY=VALUE`` words beside a run's config.yaml: where it lies now, and paths that MONAI would misread.

    Raises:
        InputError: config.yaml cannot be read.
    """
    words = [f"--output_dir={folder}"]
    for key, value in overlays.read(folder / FILE).items():
        is_text = key != "output_dir" and isinstance(value, str) and not value.startswith(EXPRESSION)
        if is_text and misread(Option("", key, value)):
            words.append(f"--{key}={value}")
    return words


def images_of(folder: Path) -> Path:
    """The folder of the images that a run was trained on.

    Raises:
        InputError: its data set keeps masks below them, perhaps under the same names, or config.yaml cannot be read.
    """
    config = overlays.read(folder / FILE)
    if config.get("dataset") == "phantom":
        return folder / "phantom"
    images, masks = _path(config.get("images") or config.get("dataset_dir")), _path(config.get("masks"))
    names_are_alike = config.get("dataset") in ("voc", "cityscapes")
    if images is None or names_are_alike or (masks and images.resolve() in masks.resolve().parents):
        raise InputError(f"no scans are given, and the images of {folder} cannot be told from its masks: give SCANS")
    return images


def _path(value: Any) -> Path | None:
    """A value of config.yaml as a path; None of what is none, or of an expression, which is not evaluated."""
    return Path(value) if isinstance(value, str) and not value.startswith(EXPRESSION) else None


def _resolved(parser: ConfigParser) -> dict[str, Any]:
    """The configuration, of each documented setting its value where that is plain, of all else what stands there.

    A reference stays as it is, and what follows from the number of epochs, since a run may be given more.
    """
    from acdc_semicycle.config.identity import is_a_value
    from acdc_semicycle.config.settings import SECTIONS

    pinned = {"dataset", *(setting.name for settings in SECTIONS.values() for setting in settings)} - {"cache_dir"}
    config = {key: value for key, value in parser.get().items() if key != "_meta_"}
    for key in pinned.intersection(config):
        text = config[key]
        if isinstance(text, str) and text.startswith("$") and is_a_value(parser, text):
            value = parser.get_parsed_content(key)
            config[key] = value if _is_plain(value) else text
    return dict(_writable(config))


def _is_plain(value: Any) -> bool:
    """Whether YAML holds a value as it is."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str | Path)


def _writable(value: Any) -> Any:
    """A value as YAML holds it; a path that would be read as code begins with ``./``, and an object is its text."""
    if isinstance(value, Mapping):
        return {str(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    text = str(value)
    return f"./{text}" if text.startswith(EXPRESSION) else text


def _on_a_line(text: str) -> str:
    """A text with escapes in the place of characters that YAML has in no comment."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
