"""The command line: each verb is one run of the bundle, whose command it prints.

semicycle train [OVERLAY ...] [--KEY VALUE ...]      e.g.  semicycle train small --dataset_dir PATH
semicycle evaluate [OVERLAY ...] [--KEY VALUE ...]   the same overlays and keys as in training
semicycle predict SCAN_OR_FOLDER [-o FOLDER] [--KEY VALUE ...]   into predictions/ if not told otherwise
semicycle table [OVERLAY ...] --data acdc=PATH ...   Tables 1 and 2 of the paper; semicycle table --help
semicycle where                                      the folders of the bundle and of the overlays

An overlay is a file, or the name of one that is shipped; a key is any of the bundle's configuration.
"""

from __future__ import annotations

import json
import os
import shlex
import sys

from acdc_semicycle import __version__
from acdc_semicycle.places import folder, overlays_and_options


def main() -> int:
    """Run the verb of ``sys.argv``; its exit code."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help") or (verb != "table" and {"-h", "--help"} & set(rest)):
        print(__doc__)
    elif verb == "--version":
        print(__version__)
    elif verb == "where":
        print(folder("bundles/semicycle"), folder("configs"), sep="\n")
    elif verb == "table":
        from acdc_semicycle.table import command  # slow: only where it is needed

        return command.main(rest)
    elif verb in ("train", "evaluate", "predict"):
        try:
            return run(*{"train": train, "evaluate": evaluate, "predict": predict}[verb](rest))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    else:
        print(f"error: {verb!r} is no verb: say train, evaluate, predict, table or where", file=sys.stderr)
        return 2
    return 0


def train(arguments: list[str]) -> tuple[str, list[str], list[str]]:
    overlays, options = overlays_and_options(arguments)
    return "training", ["train.json", *overlays], options


def evaluate(arguments: list[str]) -> tuple[str, list[str], list[str]]:
    overlays, options = overlays_and_options(arguments)
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
    config_file = paths[0] if len(paths) == 1 else json.dumps(paths)
    command = ["python", "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *options]
    print(shlex.join(command), flush=True)
    os.execv(sys.executable, [sys.executable, *command[1:]])
