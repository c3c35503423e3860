"""The command line: each verb is one run of the bundle, whose command it prints.

semicycle train [OVERLAY ...] [--KEY VALUE ...]      e.g.  semicycle train small --dataset_dir PATH
semicycle evaluate [OVERLAY ...] [--KEY VALUE ...]   the same overlays and keys as in training
semicycle predict SCAN_OR_FOLDER [-o FOLDER] [--KEY VALUE ...]   into predictions/ if not told otherwise
semicycle where                                      the folder of the bundle

An overlay is a file, or the name of one that is shipped; a key is any of the bundle's configuration.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from acdc_semicycle import __version__
from acdc_semicycle.places import folder


def main() -> int:
    """Run the verb of ``sys.argv``; its exit code."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(__doc__)
    elif verb == "--version":
        print(__version__)
    elif verb == "where":
        print(folder("bundles/semicycle"))
    elif verb in ("train", "evaluate", "predict"):
        try:
            return run(*{"train": train, "evaluate": evaluate, "predict": predict}[verb](rest))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    else:
        print(f"error: {verb!r} is no verb: say train, evaluate, predict or where", file=sys.stderr)
        return 2
    return 0


def train(arguments: list[str]) -> tuple[str, list[str], list[str]]:
    overlays, options = _overlays(arguments)
    return "training", ["train.json", *overlays], options


def evaluate(arguments: list[str]) -> tuple[str, list[str], list[str]]:
    overlays, options = _overlays(arguments)
    return "evaluating", ["train.json", *overlays, "evaluate.json"], options


def predict(arguments: list[str]) -> tuple[str, list[str], list[str]]:
    options = ["--output_dir" if argument == "-o" else argument for argument in arguments]
    if not options or options[0].startswith("-"):
        raise ValueError("predict needs a scan: say semicycle predict SCAN_OR_FOLDER -o FOLDER")
    return "run", ["inference.json"], ["--input", *options]


def run(run_id: str, files: list[str], options: list[str]) -> int:
    """Become the bundle's own command, printed first."""
    configs = folder("bundles/semicycle") / "configs"
    paths = [str(configs / file) if (configs / file).is_file() else file for file in files]
    config_file = paths[0] if len(paths) == 1 else str(paths)
    command = ["python", "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *options]
    print(shlex.join(command), flush=True)
    os.execv(sys.executable, [sys.executable, *command[1:]])


def _overlays(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The leading words as overlay files, and the options behind them."""
    first = next((place for place, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return [_overlay(name) for name in arguments[:first]], arguments[first:]


def _overlay(name: str) -> str:
    shipped = folder("configs")
    for path in (Path(name), shipped / f"{name}.yaml"):
        if path.is_file():
            return str(path)
    known = ", ".join(sorted(path.stem for path in shipped.glob("*.yaml")))
    raise ValueError(f"{name!r} is no overlay: give a file, or one of those shipped ({known})")
