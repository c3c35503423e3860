"""The report of an evaluation: whole volumes at their own resolution, as JSON, CSV, a table and a picture."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedEvaluator
from torch import Tensor

from acdc_semicycle import __version__
from acdc_semicycle.checkpoints import load_network
from acdc_semicycle.errors import InputError
from acdc_semicycle.files import write_text
from acdc_semicycle.metrics import counts, dice, iou, mean_and_std

log = logging.getLogger("semicycle")

SCORES = {"dice": dice, "iou": iou}
PACKAGES = ("monai", "torch", "pytorch-ignite", "nibabel", "numpy")


@dataclass
class Case:
    """What is kept of one evaluated volume."""

    case: str
    patient: str
    phase: str
    image: Path
    prediction: np.ndarray  # class indices on the scan's own grid
    truth: np.ndarray
    counts: Tensor  # [K, 3] on that grid
    network_counts: Tensor  # [K, 3] at the network's resolution, for the paper's mIoU


@dataclass
class Report:
    """Evaluates a network and writes what came out into one folder.

    ``report.json`` (``summary``, ``floor``, ``cases``, and how it was made), ``cases.csv`` (a row a volume),
    ``summary.csv`` (a row a structure), ``examples.png`` (the worst, the middle and the best volumes).

    Args:
        evaluator: whose output has ``pred`` and ``label`` on the scan's own grid, and ``pred_network`` and
            ``label_network`` at the network's resolution, all class indices [1, ...].
        network: whose weights are loaded from ``checkpoint``.
        checkpoint: model.pt.
        folder: where the report goes.
        classes: names of the classes, background first.
        part: which part of the split was evaluated.
        card: how the network is used here; model.json beside ``checkpoint`` must say the same.
        about: anything else the reader must know (plain values): data set, seed, preset, labelled patients.
    """

    evaluator: SupervisedEvaluator
    network: torch.nn.Module
    checkpoint: str | Path
    folder: str | Path
    classes: Sequence[str]
    part: str
    card: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Path:
        """Evaluate, write, and print the table; the path of report.json, the last line printed."""
        load_network(self.network, self.checkpoint)
        self._check_card()
        cases = self._evaluate()
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = self._content(cases)
        path = folder / "report.json"
        write_text(path, json.dumps(_plain(content), indent=1) + "\n")
        _write_cases(folder / "cases.csv", content["cases"], self.classes[1:])
        _write_summary(folder / "summary.csv", content["summary"], self.classes[1:])
        _draw(folder / "examples.png", cases, self.classes)
        print(table(content, self.classes[1:]))
        print(path, flush=True)
        return path

    def _check_card(self) -> None:
        path = Path(self.checkpoint).with_suffix(".json")
        trained = json.loads(path.read_text()) if path.is_file() else {}
        for name, value in self.card.items():
            if name in trained and trained[name] != value:
                raise InputError(
                    f"{self.checkpoint} was trained with {name} {trained[name]}, here it is {value}: give the overlays"
                    " and options of the training run"
                )

    def _evaluate(self) -> list[Case]:
        cases: list[Case] = []
        with self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect, cases):
            if sys.stderr.isatty():
                ProgressBar(desc="evaluating").attach(self.evaluator)
            self.evaluator.run()
        return sorted(cases, key=lambda case: case.case)

    def _collect(self, engine: Engine, cases: list[Case]) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):  # type: ignore[call-overload]
            volumes = {k: output[k].as_tensor()[0].cpu() for k in ("pred", "pred_network", "label_network")}
            truth = item["label"].as_tensor()[0].cpu()
            n = len(self.classes)
            cases.append(
                Case(
                    item["case"],
                    item["patient"],
                    item["phase"],
                    Path(item["image"].meta["filename_or_obj"]),
                    volumes["pred"].numpy().astype(np.uint8),
                    truth.numpy().astype(np.uint8),
                    counts(volumes["pred"], truth, n),
                    counts(volumes["pred_network"], volumes["label_network"], n),
                )
            )

    def _content(self, cases: Sequence[Case]) -> dict[str, Any]:
        names = self.classes[1:]
        phases = sorted({case.phase for case in cases if case.phase})
        return {
            "part": self.part,
            **self.about,
            "summary": summary(cases, names)
            | {"by_phase": {phase: summary([c for c in cases if c.phase == phase], names) for phase in phases}},
            "floor": summary([_all_background(case) for case in cases], names),
            "cases": [
                {"case": case.case, "patient": case.patient, "phase": case.phase}
                | {score: _by_structure(f(case.counts), names) for score, f in SCORES.items()}
                for case in cases
            ],
            "checkpoint": str(self.checkpoint),
            **provenance(),
        }


def summary(cases: Sequence[Case], names: Sequence[str]) -> dict[str, Any]:
    """Means over volumes: each structure, and ``mean`` over structures; ``std`` over volumes; the paper's mIoU."""
    result: dict[str, Any] = {"volumes": len(cases)}
    for score, f in SCORES.items():
        rows = [_by_structure(f(case.counts), names) for case in cases]
        stats = {name: mean_and_std([row[name] for row in rows]) for name in names}
        result[score] = {"mean": float(np.nanmean([mean for mean, _, _ in stats.values()]))}
        result[score] |= {name: mean for name, (mean, _, _) in stats.items()}
        result[f"{score}_std"] = {"mean": mean_and_std([row["mean"] for row in rows])[1]}
        result[f"{score}_std"] |= {name: std for name, (_, std, _) in stats.items()}
        result[f"{score}_n"] = {name: n for name, (_, _, n) in stats.items()}
    result["paper_miou"] = float(iou(torch.stack([case.network_counts for case in cases]).sum(0)).nanmean())
    return result


def _by_structure(values: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Scores [K] as a row: the foreground's mean, then each structure."""
    foreground = values[1:]
    return {"mean": float(foreground.nanmean())} | dict(zip(names, foreground.tolist(), strict=True))


def _all_background(case: Case) -> Case:
    """The same case, had the prediction been background everywhere."""

    def trivial(counted: Tensor) -> Tensor:
        truth = counted[:, 0] + counted[:, 2]  # voxels of each class
        background = torch.zeros_like(counted)
        background[0, 0], background[0, 1], background[1:, 2] = truth[0], truth[1:].sum(), truth[1:]
        return background

    return Case(**{**vars(case), "counts": trivial(case.counts), "network_counts": trivial(case.network_counts)})


def provenance() -> dict[str, Any]:
    """The command, the versions and the machine's size."""
    versions = {"acdc_semicycle": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a package laid beside the code rather than installed
            versions[package] = "unknown"
    arguments = [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()  # type: ignore[assignment]
    return {"command": shlex.join(arguments), "versions": versions, "machine": machine}


def table(content: dict[str, Any], names: Sequence[str]) -> str:
    """The summary as lines of text, with the floor beside it."""
    heads = ["mean", *names]
    lines = [
        f"{content['part']}: {content['summary']['volumes']} volumes",
        " " * 22 + "".join(f"{h:>8}" for h in heads),
    ]
    rows = {"Dice": ("dice", content["summary"]), "IoU": ("iou", content["summary"])}
    rows |= {f"Dice, {phase}": ("dice", part) for phase, part in content["summary"]["by_phase"].items()}
    rows["Dice, all background"] = ("dice", content["floor"])
    for title, (score, part) in rows.items():
        lines.append(f"{title:<22}" + "".join(f"{part[score][head]:8.3f}" for head in heads))
    lines.append(f"{'mIoU as in the paper':<22}{content['summary']['paper_miou']:8.3f}")
    if note := content.get("note"):
        lines.append(note)
    return "\n".join(lines)


def _write_cases(path: Path, cases: Sequence[dict], names: Sequence[str]) -> None:
    heads = [f"{score}_{name}" for score in SCORES for name in ("mean", *names)]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "patient", "phase", *heads])
        for row in cases:
            values = [f"{row[score][name]:.6f}" for score in SCORES for name in ("mean", *names)]
            writer.writerow([row["case"], row["patient"], row["phase"], *values])


def _write_summary(path: Path, content: dict, names: Sequence[str]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["score", "structure", "mean", "std"])
        for score in SCORES:
            for name in ("mean", *names):
                writer.writerow([score, name, f"{content[score][name]:.6f}", f"{content[score + '_std'][name]:.6f}"])


def _draw(path: Path, cases: Sequence[Case], classes: Sequence[str]) -> None:
    from acdc_semicycle.figures import Example, examples_figure

    ranked = sorted(cases, key=lambda case: float(dice(case.counts)[1:].nanmean().nan_to_num(0)))
    chosen = {case.case: case for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1])}
    examples = []
    for case in chosen.values():
        z = int(np.argmax((case.truth > 0).sum((0, 1))))  # the slice with the most heart
        image = np.asarray(nibabel.load(case.image).dataobj)[:, :, z]  # type: ignore[attr-defined]
        score = float(dice(case.counts)[1:].nanmean())
        examples.append(
            Example(
                f"{case.case} {case.phase}, Dice {score:.3f}", image.T, case.truth[..., z].T, case.prediction[..., z].T
            )
        )
    examples_figure(examples, classes).savefig(path, dpi=110)


def _plain(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
