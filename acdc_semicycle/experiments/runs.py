"""One run of a table: its settings, its commands, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from acdc_semicycle.config.locations import folder, overlay
from acdc_semicycle.experiments.grid import FOLDERS, Options, data_folder
from acdc_semicycle.experiments.paper import ABLATIONS
from acdc_semicycle.experiments.results import Cell, finished
from acdc_semicycle.runtime.errors import InputError

PYTHON = ("python", "-m", "monai.bundle")  # as a command is printed
LAUNCHER = (sys.executable, *PYTHON[1:])  # as it is run
OVERLAYS = {"full": "partial", "partial": "partial", "hung": "hung"} | {name: f"ablation_{name}" for name in ABLATIONS}


@dataclass(frozen=True)
class Run:
    """One cell of a table, and the commands that fill it."""

    cell: Cell
    folder: Path
    files: tuple[str, ...]
    options: tuple[str, ...]  # all but the output folder
    launcher: tuple[str, ...]

    @classmethod
    def of(cls, cell: Cell, options: Options, launcher: tuple[str, ...]) -> Run:
        """The bundle with the cell's overlays around the user's own."""
        variable = FOLDERS[cell.dataset]
        data = options.data.get(cell.dataset) or os.environ.get(variable)
        if not data:
            raise InputError(f"no folder of {cell.dataset} is given: say --data {cell.dataset}=PATH, or set {variable}")
        names = [] if cell.dataset == "acdc" else [cell.dataset]
        method = OVERLAYS.get(cell.method)
        files = [*map(overlay, names), *options.overlays, *([overlay(method)] if method else [])]
        settings = ["--dataset_dir", data_folder(cell.dataset, data), "--seed", str(cell.seed)]
        labels = folder("configs") / f"labels_{cell.labels}.yaml"
        if labels.is_file():
            files.append(str(labels))
        else:
            count = cell.labels.removesuffix("p")
            settings += ["--labelled", count if count != cell.labels else str(round(float(count) / 100, 8))]
        train = str(folder("bundles/semicycle") / "configs" / "train.json")
        return cls(cell, options.out / cell.place, (train, *files), (*settings, *options.further), launcher)

    def arguments(self, run_id: str) -> list[str]:
        """What the bundle is called with."""
        last = [str(folder("bundles/semicycle") / "configs" / "evaluate.json")] if run_id == "evaluating" else []
        files = json.dumps([*self.files, *last])  # double quotes: a shell's command stays legible
        return ["run", run_id, "--config_file", files, "--output_dir", str(self.folder), *self.options]

    def commands(self) -> list[str]:
        """Training and evaluation as a user would type them."""
        return [shlex.join([*PYTHON, *self.arguments(run_id)]) for run_id in ("training", "evaluating")]

    @property
    def settings(self) -> list[str]:
        """What makes this run this one, wherever it is written and from wherever it is called."""
        values = dict(zip(self.options[::2], self.options[1::2], strict=True))
        if "--dataset_dir" in values:
            values["--dataset_dir"] = os.path.abspath(values["--dataset_dir"])
        files = [f"{os.path.abspath(file)} ({_fingerprint(file)})" for file in self.files]
        return [*files, *(f"{name} {value}" for name, value in values.items())]

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
            there = [word for word in record["settings"] if word not in self.settings]
            here = [word for word in self.settings if word not in record["settings"]]
            raise InputError(
                f"{self.folder} was run with {' '.join(there) or 'no more'}, here it is"
                f" {' '.join(here) or 'without that, or in another order'}: give another --out, or the old command"
            )
        return True

    def part(self) -> float:
        """What part of its epochs is done; 0 while nobody knows how many there are."""
        curve, log = self.folder / "learning_curve.csv", self.folder / "run.log"
        if not curve.is_file() or not log.is_file():
            return 0.0
        of = re.findall(r"epoch \d+/(\d+)", log.read_text(errors="replace"))
        return min(1.0, max(0, curve.read_text(encoding="utf-8").count("\n") - 1) / int(of[-1])) if of else 0.0


def _fingerprint(file: str) -> str:
    """What a file holds, in eight letters: an overlay that was edited makes another run."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]
