"""What was asked for: the options of the command, and the cells of the tables."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc_semicycle.config.locations import overlays_and_options
from acdc_semicycle.config.options import options_of
from acdc_semicycle.experiments.paper import ABLATIONS, METHODS, PAPER
from acdc_semicycle.experiments.results import Cell
from acdc_semicycle.runtime.errors import InputError

SWITCHES = ("dry-run", "no-probe", "no-images")
FOLDERS = {"voc": "VOC_DIR", "cityscapes": "CITYSCAPES_DIR", "acdc": "ACDC_DIR"}  # from the environment
OURS = {"dataset_dir": "--data", "output_dir": "--out", "seed": "--seeds", "labelled": "--only", "config_file": "words"}


@dataclass
class Options:
    """The command, read."""

    overlays: list[str] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    out: Path = Path("results")
    report: str = ""
    jobs: int = 0
    submit: str = ""
    submit_options: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    no_probe: bool = False
    no_images: bool = False
    further: tuple[str, ...] = ()  # keys of the bundle

    @classmethod
    def read(cls, arguments: list[str]) -> Options:
        """Take the command apart.

        Raises:
            ValueError: names the word that cannot be understood.
        """
        overlays, rest = overlays_and_options(arguments, SWITCHES)
        options = cls(overlays)
        for option in options_of(rest, SWITCHES):
            if option.key in SWITCHES:
                setattr(options, option.key.replace("-", "_"), True)
            elif option.key and option.value:  # which overlays_and_options has seen to
                options._take(option.key, option.value)
        if options.report and len(arguments) > 2 + options.no_images:
            raise InputError("--report makes the tables again and takes nothing beside it: give --report FOLDER")
        return options

    def _take(self, name: str, value: str) -> None:
        if name == "data":
            dataset, equals, path = value.partition("=")
            if not equals and value not in FOLDERS:
                raise InputError(f"--data has {value!r}: give the data set's name, too, such as --data acdc={value}")
            self.data[_known(dataset, FOLDERS, "data set")] = data_folder(dataset, path)
        elif name == "only":
            self.only.append(value)
        elif name == "seeds":
            self.seeds = [_whole(seed, "--seeds", "0,1,2", 0) for seed in value.split(",")]
        elif name == "out":
            self.out = Path(value)
        elif name == "report":
            self.report = value
        elif name == "jobs":
            self.jobs = _whole(value, "--jobs", "2", 1)
        elif name == "submit":
            self.submit = _known(value, ("slurm", "local"), "place to submit to")
        elif name == "submit-options":
            self.submit_options = _parameters(value)
        elif name in OURS:
            raise InputError(f"--{name} is for the table to give to each run: say it by {OURS[name]}, see --help")
        else:
            self.further += (f"--{name}", value)


def _known(name: str, known: Any, kind: str) -> str:
    if name not in known:
        raise InputError(f"{name!r} is no {kind}: give one of {', '.join(known)}")
    return name


def _whole(text: str, option: str, example: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{option} has {text!r}: give whole numbers of at least {least}, such as {option} {example}")
    return int(text)


def data_folder(dataset: str, path: str) -> str:
    """The folder of a data set, as it was given.

    Raises:
        InputError: there is none.
    """
    if not path or not Path(path).expanduser().is_dir():
        raise InputError(f"{path!r} is no folder: give the data as --data {dataset}=PATH")
    return str(Path(path).expanduser())


def _parameters(text: str) -> dict[str, Any]:
    """``"timeout_min=600 slurm_partition=gpu"`` with its numbers as numbers."""
    pairs = [word.partition("=") for word in shlex.split(text)]
    if not all(name and equals for name, equals, _ in pairs):
        raise InputError(f"--submit-options has {text!r}: give KEY=VALUE KEY=VALUE, such as 'timeout_min=600'")
    return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def cells(options: Options) -> list[Cell]:
    """The runs asked for, each once: the paper's own rows, or those of each ``--only``."""
    if options.only:
        rows = [row for spec in options.only for row in specified(spec)]
    else:
        given = options.data or {name for name, variable in FOLDERS.items() if os.environ.get(variable)}
        rows = [(name, *row) for name in FOLDERS if name in given for row in PAPER if name in PAPER[row]]
        if not rows:
            raise InputError("no data set is given: say --data acdc=PATH, voc=PATH or cityscapes=PATH")
    return list(
        dict.fromkeys(Cell(name, labels, method, seed) for name, method, labels in rows for seed in options.seeds)
    )


def specified(spec: str) -> list[tuple[str, str, str]]:
    """Data set, method and labels of each row of a grid such as ``"acdc labels=10,20 method=partial,semicycle"``.

    Raises:
        InputError: names what is not known.
    """
    first, *rest = spec.split() or [""]
    given = {"labels": "", "method": ""}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in given or not value:
            raise InputError(f"--only {spec!r} has {word!r}: give labels=20,10 or method=partial,semicycle")
        given[key] = value
    datasets = [_known(name, FOLDERS, "data set") for name in first.split(",")]
    methods = [_known(name, METHODS + ABLATIONS, "method") for name in given["method"].split(",") if name] or METHODS
    labels = [_labels(text) for text in given["labels"].split(",") if text]
    return [
        (dataset, method, label)
        for dataset in datasets
        for method in methods
        for label in (["100"] if method == "full" else labels or [of for name, of in PAPER if name == method])
    ]


def _labels(text: str) -> str:
    if re.fullmatch(r"[1-9]\d*p", text):
        return text
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 100:
        raise InputError(f"labels={text} is not understood: give a percentage (20) or a number of patients (3p)")
    return f"{float(text):g}"
