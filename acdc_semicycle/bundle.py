"""What the bundle's configuration calls: where things are, what is wrong with it, how errors are shown."""

from __future__ import annotations

import difflib
import json
import logging
import re
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.data import phantom
from acdc_semicycle.errors import InputError
from acdc_semicycle.places import folder

log = logging.getLogger("semicycle")


def begin() -> None:
    """Before all else: errors in one line from here on, and the configuration checked."""
    sys.excepthook = show_error
    check(_running_config())


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line for what a user can mend; MONAI wraps errors in others, so their causes are looked through."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError | FloatingPointError):
            print(f"error: {cause}", file=sys.stderr)
            return
        if isinstance(cause, KeyboardInterrupt):
            print("interrupted: the same command goes on after the last whole epoch", file=sys.stderr)
            return
        cause = cause.__cause__ or cause.__context__
    traceback.print_exception(kind, error, trace)


def data_root(dataset_dir: str | Path | None, output_dir: str | Path) -> Path:
    """The data set's folder; where none is given the phantom, written below ``output_dir`` and said so."""
    if dataset_dir is not None:
        if not str(dataset_dir).strip():
            raise InputError("dataset_dir is empty: give the ACDC folder, or leave it out for the embedded phantom")
        return Path(str(dataset_dir))
    log.warning(
        "no data set found: neither --dataset_dir nor the environment's ACDC_DIR is given. Training a small network"
        " on the embedded phantom instead: a demonstration, not a result"
    )
    root = Path(output_dir) / "phantom"
    phantom.write(root)
    return root


def _running_config() -> dict[str, Any]:
    """The merged configuration of the workflow that is calling.

    MONAI hands an expression everything but the configuration it stands in; its parser is up the stack.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser.get()
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def check(config: dict[str, Any]) -> None:
    """Refuse what MONAI lets pass: keys that nothing uses, and numbers given as text.

    Raises:
        InputError: names the key, and the nearest one there is.
    """
    known: dict[str, Any] = {}
    for path in sorted((folder("bundles/semicycle") / "configs").glob("*.json")):
        if path.name != "metadata.json":
            known = _merge(known, json.loads(path.read_text()))
    used = set(re.findall(r"[@%]([\w:#]+)", json.dumps(config, default=str).replace("#", "::")))
    _check(config, known, used, "")


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
        if (
            key not in known
            and not key.startswith("_")
            and not any(u == name or u.startswith(name + "::") for u in used)
        ):
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix + near[0]!r}?" if near else "nothing uses it: take it out"
            raise InputError(f"the configuration has an unknown key {name!r}: {hint}")
        if isinstance(value, str) and _is_number(value):
            raise InputError(f"{name} is the text {value!r}: give a number (YAML reads 2e-4 as text; write 2.0e-4)")
        expected = known.get(key)
        if isinstance(expected, int | float) and isinstance(value, str) and value[:1] not in "$@%":
            raise InputError(f"{name} is the text {value!r}: give a number, as in the bundle ({expected})")
        if isinstance(value, dict) and isinstance(expected, dict) and "_target_" not in expected:
            _check(value, expected, used, name + "::")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
