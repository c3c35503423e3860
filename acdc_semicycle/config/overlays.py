"""What is wrong with the files and keys of a command, before MONAI reads them: it would end in a traceback.

Imports nothing slow: a command looks here first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from acdc_semicycle.config.former_keys import check_given_once
from acdc_semicycle.config.options import NULLS, nearest, options_of
from acdc_semicycle.config.positions import NAMES_SINCE
from acdc_semicycle.runtime.errors import InputError

ANYTHING: Any = object()  # stands for a value that a command sets and only MONAI evaluates
ADVICE = "give keys and their values, such as epochs: 10"


def read(path: str | Path) -> dict[str, Any]:
    """The keys and values of a configuration's file.

    Raises:
        InputError: names the file, and the line and column where the reader gives them.
    """
    path = Path(path)
    content = _content(path)
    if content is None:
        raise InputError(f"{path} holds nothing: {ADVICE}")
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}: {ADVICE}")
    if not all(isinstance(key, str) for key in content):
        raise InputError(f"{path} holds keys that are no names: {ADVICE}")
    return content


def _content(path: Path) -> Any:
    """What a JSON or YAML file holds.

    Raises:
        InputError: names the file, and the line and column where the reader gives them.
    """
    import yaml  # slow: only where it is needed

    ending = path.suffix.lower()
    if ending not in (".json", ".yaml", ".yml"):
        raise InputError(f"{path} is no .yaml, .yml or .json file: rename it")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if ending == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}: correct it") from error
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path}{_place_and_problem(error)}: correct it") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}): correct it") from error


def _place_and_problem(error: Any) -> str:
    """What YAML's reader reports, after the line and the column where it gives them."""
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{place}: {error.problem or error.context}"


def check_sections(files: Iterable[str | Path], options: Iterable[str]) -> None:
    """Refuse a nested key whose section nothing before it has, and a number or a name in the place of a section.

    Args:
        files: of the configuration, in their order.
        options: the ``--KEY VALUE`` words after them.

    Raises:
        InputError: names the key, and the nearest one there is; or a key that is given under its former name, too.
    """
    config: dict[str, Any] = {"_meta_": ANYTHING}
    keys: set[str] = set()  # that are given, beside the bundle's own
    for number, file in enumerate(files):
        content = read(file)
        keys |= set(content) if number else set()
        for key, value in content.items():
            _put(config, key, value, str(file))
    for option in options_of(options):
        if option.key is not None:
            keys.add(option.key)
            _put(config, option.key, _visible(option.value or ""), "the command")
    check_given_once(keys)


def _visible(text: str) -> Any:
    """An option's value as far as it shows: a number or a name stays text."""
    if not text or text[0] in "$@%{[" or text in NULLS:
        return ANYTHING
    return text


def _put(config: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Put a value where MONAI will, as far as the sections go; ``source`` names the file or the command."""
    *sections, last = re.split("::|#", key.removeprefix("+"))
    section = _section(config, sections, last, f"{source} has an unknown key {key!r}")
    if not isinstance(section, dict):
        return
    former = section.get(last)
    if isinstance(former, dict):
        value = _in_place_of(former, key, value, source)
    section[last] = value


def _in_place_of(former: dict[str, Any], key: str, value: Any, source: str) -> Any:
    """What a key holds that was a section: another value, or with a ``+`` both; a number or a name is refused."""
    is_plain = isinstance(value, str | int | float) and _visible(str(value)) is not ANYTHING
    if former and is_plain:
        raise InputError(f"{source} says {key} {value!r}: give a section, such as {key}::{next(iter(former))}")
    if key.startswith("+") and isinstance(value, dict):
        return former | value
    return value


def _section(config: dict[str, Any], sections: list[str], last: str, fault: str) -> Any:
    """What lies at a path of sections; ``ANYTHING`` below a value that only MONAI sees.

    Args:
        last: the key in the section, for the hint.
        fault: how the message begins where there is no such section.
    """
    section: Any = config
    for depth, name in enumerate(sections):
        items = _items(section)
        if name not in items:
            raise InputError(f"{fault}: {_advice(sections, depth, items, last)}")
        section = items[name]
        if section is ANYTHING:
            return ANYTHING
        if not isinstance(section, dict | list):
            raise InputError(f"{fault}: {'::'.join(sections[: depth + 1])} is {section!r}, no section")
    return section


def _advice(sections: list[str], depth: int, items: Iterable[str], last: str) -> str:
    """What to do about a name in a path of sections that is not among the items there."""
    near = nearest(sections[depth], items)
    if near:
        path = "::".join([*sections[:depth], near, *sections[depth + 1 :], last])
        return f"did you mean {path!r}?"
    if sections[depth].isdecimal():
        return f"{NAMES_SINCE}: give one, such as train::handler::decay"
    return "remove it"


def _items(section: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """The items of a section by the names that a key gives them: those of a list have numbers."""
    if isinstance(section, dict):
        return section
    return {str(number): item for number, item in enumerate(section)}
