"""The command that runs the bundle: printed, and then run in this process or in its place."""

from __future__ import annotations

import ast
import gc
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from acdc_semicycle.config.locations import folder, is_shipped, misread
from acdc_semicycle.config.options import nearest, options_of
from acdc_semicycle.config.overlays import check_sections
from acdc_semicycle.runtime.console import shell_line

# MONAI warns of every configuration that it may run code; this package's own is as trusted as the package
TRUSTED = "ignore:parsing config_file:UserWarning"

QUIET = "acdc_semicycle.config.quiet_bundle"  # what runs in the place of monai.bundle, the same but for a warning

VERBOSE = ("-v", "--verbose")


def with_notices(arguments: list[str]) -> list[str]:
    """The words of a command, ``-v`` or ``--verbose`` as the option of MONAI that shows its own notices."""
    others = [word for word in arguments if word not in VERBOSE]
    return others if len(others) == len(arguments) else [*others, "--logging_file", verbose_logging()]


def verbose_logging() -> str:
    """The file that has MONAI's own notices logged."""
    return str(folder("configs") / "verbose.conf")


def settings_of(arguments: list[str], switches: Iterable[str] = ()) -> dict[str, Any]:
    """``--KEY VALUE`` and ``--KEY=VALUE`` as the bundle's command line reads them.

    Raises:
        ValueError: names the word that is neither, and the nearest of the ``switches``, which have no value.
    """
    values = {}
    for option in options_of(arguments):
        if option.key is None or option.value is None or option.value.startswith("--"):
            raise ValueError(_not_understood(option.word if option.key is None else f"--{option.key}", switches))
        values[option.key] = value_of_text(option.value)
    return values


def paths_and_settings(options: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``--KEY VALUE`` words as paths that MONAI would take for code, and all other values."""
    settings = settings_of(options)
    names = [option.key for option in options_of(options) if misread(option)]
    paths = {name: Path(str(settings.pop(name))) for name in dict.fromkeys(names) if name is not None}
    return paths, settings


def _not_understood(word: str, switches: Iterable[str]) -> str:
    """What is wrong with a word that is no option with a value: perhaps a misspelt switch."""
    near = nearest(word.removeprefix("--"), switches)
    hint = f"did you mean --{near}?" if near else "give --KEY VALUE pairs of the bundle's configuration"
    return f"{word!r} is not understood: {hint}"


def value_of_text(text: str) -> Any:
    """A value as JSON or Python writes it, else the text."""
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError):
            return read(text)
    return text


def run_here(run_id: str | None, files: list[str], paths: dict[str, Any], options: dict[str, Any]) -> int:
    """Run the bundle in this process, its command printed first.

    Files that the user names reach the configuration as paths, which MONAI leaves as they are. In text, MONAI would
    read a ``$`` or an ``@`` of a name as its own.
    """
    words = [f"--{key}={_text(value)}" for key, value in (paths | options).items()]
    config_files = _announce(run_id, files, words)[0]
    gc.disable()  # imports make no garbage, and looking for it takes a fifth of their time
    from acdc_semicycle.config.startup import run

    gc.enable()
    run(config_files, paths | options, run_id)
    return 0


def _text(value: Any) -> str:
    """A value as the printed command shows it."""
    if isinstance(value, list):
        return str(value[0]) if len(value) == 1 else str([str(item) for item in value])
    return str(value)


def become(run_id: str, files: list[str], options: list[str]) -> int:
    """Replace this process by the bundle's command; run it here where MONAI would take a path for code."""
    if any(misread(option) for option in options_of(options)):
        return run_here(run_id, files, *paths_and_settings(options))
    config_files, command = _announce(run_id, files, options)
    if all(map(is_shipped, config_files)):
        filters = [*filter(None, [os.environ.get("PYTHONWARNINGS")]), TRUSTED]
        os.environ["PYTHONWARNINGS"] = ",".join(filters)
    if not any(option.key == "logging_file" for option in options_of(options)):
        command[2] = QUIET
    os.execv(sys.executable, [sys.executable, *command[1:]])


def _announce(run_id: str | None, files: list[str], options: list[str]) -> tuple[list[str], list[str]]:
    """Print the bundle's command; the paths of its configuration's files, and its words."""
    configs = folder("bundles/semicycle") / "configs"
    paths = [str(configs / file) if (configs / file).is_file() else file for file in files]
    check_sections(paths, options)
    config_file = paths[0] if len(paths) == 1 else json.dumps(paths)
    command = ["python", "-m", "monai.bundle", "run", *([run_id] if run_id else []), "--config_file", config_file]
    command += options
    print(shell_line(command), flush=True)
    return paths, command
