"""What is wrong with the files and keys of a command, before MONAI reads them: it would end in a traceback.

Imports nothing slow: a command looks here first.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from acdc_semicycle.config.options import options_of
from acdc_semicycle.runtime.errors import InputError

ANYTHING: Any = object()  # stands where a command sets a value: what lies below it, MONAI sees


def read(path: str | Path) -> dict[str, Any]:
    """The keys and values of a configuration's file.

    Raises:
        InputError: names the file, and the line and column where the reader says them.
    """
    import yaml  # slow: only where it is needed

    path = Path(path)
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise InputError(f"{path} is no .yaml, .yml or .json file: rename it")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}: correct it") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}{where}: {error.problem or error.context}: correct it") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}): correct it") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        what = "nothing" if content is None else f"a {type(content).__name__}"
        what = "keys that are no names" if isinstance(content, dict) else what
        raise InputError(f"{path} holds {what}: give keys and their values, such as epochs: 10")
    return content


def check_sections(files: Iterable[str | Path], options: Iterable[str]) -> None:
    """Refuse a nested key, of a file or of ``--KEY VALUE`` options, whose section nothing before it has, and a number
    or a name where a section is.

    Raises:
        InputError: names the key, and the nearest one there is.
    """
    config: dict[str, Any] = {"_meta_": ANYTHING}
    for file in files:
        for key, value in read(file).items():
            _place(config, key, value, str(file))
    for option in options_of(options):
        if option.key is not None:
            _place(config, option.key, _seen(option.value or ""), "the command")


def _seen(text: str) -> Any:
    """An option's value as far as it can be told: a number or a name stays text."""
    return ANYTHING if not text or text[0] in "$@%{[" or text in ("None", "null") else text


def _place(config: dict[str, Any], key: str, value: Any, who: str) -> None:
    """Put a value where MONAI will, as far as its sections go."""
    *sections, last = re.split("::|#", key.removeprefix("+"))
    here: Any = config
    for place, name in enumerate(sections):
        if here is ANYTHING:
            return
        known = here if isinstance(here, dict) else [str(n) for n in range(len(here))]
        if name not in known:
            rest = [*sections[place + 1 :], last]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {'::'.join([*sections[:place], *near, *rest])!r}?" if near else "take it out"
            raise InputError(f"{who} has an unknown key {key!r}: {hint}")
        here = here[name if isinstance(here, dict) else int(name)]
        if here is not ANYTHING and not isinstance(here, dict | list):
            raise InputError(
                f"{who} has an unknown key {key!r}: {'::'.join(sections[: place + 1])} is {here!r}, no section"
            )
    if isinstance(here, dict):
        section, plain = here.get(last), isinstance(value, str | int | float) and _seen(str(value)) is not ANYTHING
        if section and isinstance(section, dict) and plain:
            raise InputError(f"{who} says {key} {value!r}: give a section, such as {key}::{next(iter(section))}")
        merged = key.startswith("+") and isinstance(here.get(last), dict) and isinstance(value, dict)
        here[last] = here[last] | value if merged else value
