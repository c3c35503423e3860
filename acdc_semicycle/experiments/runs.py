"""One run of a table: its settings, its commands, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc_semicycle.config.locations import folder, overlay
from acdc_semicycle.experiments.grid import FOLDERS, Options, data_folder
from acdc_semicycle.experiments.methods import overlay_of_each
from acdc_semicycle.experiments.results import Cell, finished
from acdc_semicycle.runtime.errors import InputError

PYTHON = ("python", "-m", "monai.bundle")  # as a command is printed
LAUNCHER = (sys.executable, *PYTHON[1:])  # as it is run
LOG = "run.log"  # in a run's folder: what its commands print


@dataclass(frozen=True)
class Run:
    """One cell of a table, and the commands that fill it.

    Attributes:
        files: of the configuration, the bundle's train.json first.
        options: ``--KEY`` and its value in turn; all but the output folder.
        launcher: the words that run the bundle, or another program.
        program: the same words as a command shows them.
        own_steps: the words after them of each step, training first; none are the bundle's training and evaluation.
    """

    cell: Cell
    folder: Path
    files: tuple[str, ...]
    options: tuple[str, ...]
    launcher: tuple[str, ...]
    program: tuple[str, ...] = PYTHON
    own_steps: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, cell: Cell, options: Options, launcher: tuple[str, ...]) -> Run:
        """The bundle with the user's own overlays between those of the data set and of the cell.

        Raises:
            InputError: no folder of the data set is given.
        """
        data = folder_of(cell.dataset, options)
        files = [str(folder("bundles/semicycle") / "configs" / "train.json")]
        if cell.dataset != "acdc":
            files.append(overlay(cell.dataset))
        files += options.overlays
        own_overlay = overlay_of_each(options.methods)[cell.method]
        if own_overlay is not None:
            files.append(overlay(own_overlay))
        settings = ["--dataset_dir", data, "--seed", str(cell.seed)]
        labels = folder("configs") / f"labels_{cell.labels}.yaml"
        if labels.is_file():
            files.append(str(labels))
        else:
            settings += ["--labelled", _labelled(cell.labels)]
        return cls(cell, options.out / cell.subfolder, tuple(files), (*settings, *options.further), launcher)

    @property
    def name(self) -> str:
        """What it is called in a line."""
        return str(self.cell)

    def arguments(self, run_id: str) -> list[str]:
        """The words after the launcher."""
        files = list(self.files)
        if run_id == "evaluating":
            files.append(str(folder("bundles/semicycle") / "configs" / "evaluate.json"))
        config_file = json.dumps(files)  # with double quotes a shell's command stays legible
        return ["run", run_id, "--config_file", config_file, "--output_dir", str(self.folder), *self.options]

    def steps(self) -> list[list[str]]:
        """The words after the launcher of each step, training first."""
        if self.own_steps:
            return [list(words) for words in self.own_steps]
        return [self.arguments("training"), self.arguments("evaluating")]

    def command(self, words: Sequence[str]) -> str:
        """A step as a user would type it."""
        return shlex.join([*self.program, *words])

    def commands(self) -> list[str]:
        """All steps as a user would type them."""
        return [self.command(words) for words in self.steps()]

    @property
    def settings(self) -> list[str]:
        """What distinguishes this run from others, wherever its files lie and wherever it is started."""
        settings = [f"{os.path.abspath(file)} ({_fingerprint(file)})" for file in self.files]
        values = dict(zip(self.options[::2], self.options[1::2], strict=True))
        for name, value in values.items():
            settings.append(f"{name} {os.path.abspath(value) if name == '--dataset_dir' else value}")
        return settings

    def finished(self) -> bool:
        """Whether its report is there.

        Raises:
            InputError: it is that of another command.
        """
        path = self.folder / "finished.json"
        record = finished(path) if path.is_file() else None
        if record is None or not (self.folder / record["report"]).is_file():
            return False
        if record["settings"] != self.settings:
            before = _missing(record["settings"], self.settings) or "no more"
            now = _missing(self.settings, record["settings"]) or "without that, or in another order"
            raise InputError(
                f"{self.folder} was run with {before}, here it is {now}: give another --out, or the old command"
            )
        return True

    def part(self) -> float:
        """The fraction of its epochs that is done."""
        return part_done(self.folder)

    def last_line(self) -> str:
        """The last line of its log."""
        return last_line_of(self.folder)


def part_done(folder: Path) -> float:
    """The fraction of a training's epochs that is done; 0 until its log shows how many there are."""
    curve, log = folder / "learning_curve.csv", folder / LOG
    if not curve.is_file() or not log.is_file():
        return 0.0
    epochs = re.findall(r"epoch \d+/(\d+)", log.read_text(errors="replace"))
    if not epochs:
        return 0.0
    done = curve.read_text(encoding="utf-8").count("\n") - 1
    return min(1.0, max(0, done) / int(epochs[-1]))


def last_line_of(folder: Path) -> str:
    """The last line of a run's log that begins with a time of day, as a training's own lines do; empty before one."""
    path = folder / LOG
    text = path.read_text(errors="replace") if path.is_file() else ""
    lines = re.findall(r"^\d\d:\d\d:\d\d .*", text, re.MULTILINE)
    return lines[-1] if lines else ""


def folder_of(dataset: str, options: Options) -> str:
    """The folder of a data set, from the command or the environment.

    Raises:
        InputError: neither gives one.
    """
    variable = FOLDERS[dataset]
    data = options.data.get(dataset) or os.environ.get(variable)
    if not data:
        raise InputError(f"no folder of {dataset} is given: give --data {dataset}=PATH, or set {variable}")
    return data_folder(dataset, data)


def _missing(settings: list[str], others: list[str]) -> str:
    """The settings that are not among others."""
    return " ".join(setting for setting in settings if setting not in others)


def _labelled(labels: str) -> str:
    """A cell's labels as the bundle's ``labelled``: a number of patients ("3p"), or else a fraction."""
    if labels.endswith("p"):
        return labels.removesuffix("p")
    return str(round(float(labels) / 100, 8))


def _fingerprint(file: str) -> str:
    """Eight letters that depend on a file's content: an overlay that was edited makes another run."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]
