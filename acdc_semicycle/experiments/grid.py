"""What a table's command asks for: its options, and the cells of the tables."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc_semicycle.config.locations import overlays_and_options
from acdc_semicycle.config.options import options_of
from acdc_semicycle.experiments import few
from acdc_semicycle.experiments.methods import defines_a_method, in_order, overlay_of_each
from acdc_semicycle.experiments.paper import METHODS, PAPER
from acdc_semicycle.experiments.results import Cell
from acdc_semicycle.experiments.specs import listed, one_of, taken_apart
from acdc_semicycle.runtime.errors import InputError

SWITCHES = ("dry-run", "no-probe", "no-images")
FOLDERS = {"voc": "VOC_DIR", "cityscapes": "CITYSCAPES_DIR", "acdc": "ACDC_DIR"}  # the environment's variables
# keys of the bundle that each run gets from the table, and the table's own option for them
OURS = {
    "dataset_dir": "--data",
    "output_dir": "--out",
    "seed": "--seeds",
    "labelled": "--only",
    "config_file": "overlays",
}


@dataclass
class Options:
    """The options of a table's command."""

    overlays: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)  # overlays of a user's own methods
    few_patients: bool = False  # the table of few annotated patients instead of the paper's
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
    further: tuple[str, ...] = ()  # ``--KEY`` of the bundle and its value in turn

    @classmethod
    def read(cls, arguments: list[str]) -> Options:
        """The options in the words of a command.

        Raises:
            ValueError: names the word that is not understood.
        """
        overlays, rest = overlays_and_options(arguments, SWITCHES)
        methods = [file for file in overlays if defines_a_method(file) and not few.is_base(file)]
        few_patients = any(map(few.is_base, overlays))
        options = cls([file for file in overlays if file not in methods], methods, few_patients)
        options.no_probe = few_patients  # the first steps have no pseudo-labels: they say little about the others
        for option in options_of(rest, SWITCHES):
            if option.key in SWITCHES:
                setattr(options, option.key.replace("-", "_"), True)
            elif option.key and option.value:  # overlays_and_options refuses an option without either
                options._set(option.key, option.value)
        if options.report and len(arguments) > 2 + options.no_images:
            raise InputError("--report makes the tables again and takes nothing beside it: give --report FOLDER")
        return options

    def _set(self, name: str, value: str) -> None:
        """Set an option of the table, or keep a key of the bundle for its runs."""
        if name in OURS:
            raise InputError(f"--{name} is for the table to give to each run: use {OURS[name]} instead, see --help")
        match name:
            case "data":
                dataset, folder = _dataset_and_folder(value)
                self.data[dataset] = folder
            case "only":
                self.only.append(value)
            case "seeds":
                self.seeds = [whole_number(seed, "--seeds", "0,1,2", 0) for seed in value.split(",")]
            case "out":
                self.out = Path(value)
            case "report":
                self.report = value
            case "jobs":
                self.jobs = whole_number(value, "--jobs", "2", 1)
            case "submit":
                self.submit = one_of(value, ("slurm", "local"), "place to submit to")
            case "submit-options":
                self.submit_options = _parameters(value)
            case _:
                self.further += (f"--{name}", value)


def _dataset_and_folder(text: str) -> tuple[str, str]:
    """A data set's name and its folder, from ``NAME=PATH``."""
    dataset, equals, path = text.partition("=")
    if not equals and text not in FOLDERS:
        raise InputError(f"--data has {text!r}: give the data set's name, too, such as --data acdc={text}")
    return one_of(dataset, FOLDERS, "data set"), data_folder(dataset, path)


def whole_number(text: str, option: str, example: str, least: int) -> int:
    """The whole number in an option's text."""
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{option} has {text!r}: give whole numbers of at least {least}, such as {option} {example}")
    return int(text)


def data_folder(dataset: str, path: str) -> str:
    """The folder of a data set, with the user's home for a tilde.

    Raises:
        InputError: it is no folder.
    """
    if not path or not Path(path).expanduser().is_dir():
        raise InputError(f"{path!r} is no folder: give the data as --data {dataset}=PATH")
    return str(Path(path).expanduser())


def _parameters(text: str) -> dict[str, Any]:
    """``"timeout_min=600 slurm_partition=gpu"`` as a dict, with its numbers as numbers."""
    parameters: dict[str, Any] = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InputError(f"--submit-options has {text!r}: give KEY=VALUE KEY=VALUE, such as 'timeout_min=600'")
        parameters[name] = int(value) if value.isdecimal() else value
    return parameters


def cells(options: Options) -> list[Cell]:
    """The runs asked for, each once: the table's own rows, or those of each ``--only``."""
    rows = few.rows(options.only, options.methods) if options.few_patients else _rows(options)
    asked: dict[Cell, None] = {}  # a set that keeps the order
    for dataset, method, labels in rows:
        for seed in options.seeds:
            asked[Cell(dataset, labels, method, seed)] = None
    return list(asked)


def _rows(options: Options) -> list[tuple[str, str, str]]:
    """Data set, method and labels of the rows of the paper's tables, or of each ``--only``."""
    rows = []
    for spec in options.only:
        rows += specified(spec, overlay_of_each(options.methods))
    return rows if options.only else _papers_rows(options)


def _papers_rows(options: Options) -> list[tuple[str, str, str]]:
    """Data set, method and labels of each of the paper's rows of the data sets that are given."""
    datasets = set(options.data) or {name for name, variable in FOLDERS.items() if os.environ.get(variable)}
    rows = []
    for dataset in FOLDERS:
        for (method, labels), scores in PAPER.items():
            if dataset in datasets and dataset in scores:
                rows.append((dataset, method, labels))
    if not rows:
        raise InputError("no data set is given: give --data acdc=PATH, voc=PATH or cityscapes=PATH")
    return rows


def specified(spec: str, known: Collection[str]) -> list[tuple[str, str, str]]:
    """Data set, method and labels of each row of a grid such as ``"acdc labels=10,20 method=partial,semicycle"``.

    Args:
        known: names of the methods that there are.

    Raises:
        InputError: names the word that is not known.
    """
    first, texts = taken_apart(spec, "labels=20,10 or method=partial,semicycle")
    datasets = [one_of(name, FOLDERS, "data set") for name in first.split(",")]
    methods = [one_of(name, in_order(known), "method") for name in listed(texts["method"])]
    labels = [_labels(text) for text in listed(texts["labels"])]
    rows = []
    for dataset in datasets:
        for method in methods or METHODS:
            for label in _labels_of(method, labels):
                rows.append((dataset, method, label))
    return rows


def _labels_of(method: str, labels: list[str]) -> list[str]:
    """The labels that a method is run with: all for the full one, else those asked for, else the paper's, or 20 %."""
    if method == "full":
        return ["100"]
    papers_labels = [papers for name, papers in PAPER if name == method]
    return labels or papers_labels or ["20"]


def _labels(text: str) -> str:
    """A percentage, or a number of patients, in the words of a cell: ``20`` or ``3p``."""
    if re.fullmatch(r"[1-9]\d*p", text):
        return text
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 100:
        raise InputError(f"labels={text} is not understood: give a percentage (20) or a number of patients (3p)")
    return f"{float(text):g}"
