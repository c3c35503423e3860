"""The name of a run's folder: what was trained, so that another method, part of labels or seed has another folder."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from acdc_semicycle.config import overlays
from acdc_semicycle.config.locations import folder, overlay
from acdc_semicycle.config.options import NULLS, options_of
from acdc_semicycle.runtime.errors import InputError

RUNS = "runs"  # where output_dir is by default


def run_name(dataset: str, command: Sequence[str] | None = None) -> str:
    """Data set, overlays, and ``labelled``, ``mended`` and ``seed`` where the command gives them, as in
    ``acdc-few-labelled_7-mended_DRAFTS-seed_1``.

    An overlay of a data set has the data set's name. Seed 0 is what a command without a seed has.

    Args:
        command: the words of ``semicycle train`` or ``evaluate``, or of MONAI's ``run``; by default this process's own.
    """
    words = sys.argv if command is None else command
    values = {option.key: option.value for option in options_of(words)}
    names = [dataset]
    for file in _overlay_files(words, values.get("config_file")):
        if "dataset" not in overlays.read(file):
            names.append(Path(file).stem)
    if values.get("labelled"):
        names.append(f"labelled_{values['labelled']}")
    if values.get("mended") not in (None, *NULLS):
        names.append(f"mended_{Path(str(values['mended'])).name}")
    if values.get("seed") not in (None, "0"):
        names.append(f"seed_{values['seed']}")
    return "-".join(re.sub(r"[^\w.-]+", "_", name) for name in names)


def with_folder(options: Sequence[str]) -> list[str]:
    """The words of a training's options, ``--name WORD`` as the ``--output_dir`` that it stands for, in ``runs/``.

    Raises:
        InputError: the name is no folder's name, or an output_dir is given, too.
    """
    names = [option.value for option in options_of(options) if option.key == "name"]
    if not names:
        return list(options)
    name = names[-1] or ""
    if not name.strip() or name.startswith(".") or set(name) & set("/\\"):
        raise InputError(f"--name is {name!r}: give the name of a folder in {RUNS}/, such as baseline, without slashes")
    words = []
    for option in options_of(options):
        if option.key == "output_dir":
            raise InputError("--name and --output_dir are both given: remove one of them")
        if option.key != "name":
            words.append(f"--{option.key}={option.value}")
    return [*words, f"--output_dir={RUNS}/{name}"]


def _overlay_files(words: Sequence[str], config_file: str | None) -> list[str]:
    """The overlays of a command: words after the verb, or the files that are not the bundle's own."""
    if config_file is None:
        if words[1:2] not in (["train"], ["evaluate"]):
            return []
        names = list(takewhile(lambda word: not word.startswith("-"), words[2:]))
        with suppress(InputError):  # of another program's words
            return [overlay(name) for name in names]
        return []
    files = config_file
    with suppress(ValueError, SyntaxError):
        files = ast.literal_eval(config_file)
    bundle_configs = (folder("bundles/semicycle") / "configs").resolve()
    paths = [files] if isinstance(files, str) else list(files)
    return [path for path in paths if Path(path).resolve().parent != bundle_configs]
