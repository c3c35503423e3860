"""The report of an evaluation: whole images at their own resolution, as JSON, CSV, a table and pictures."""

from __future__ import annotations

import csv
import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedEvaluator
from torch import Tensor

from acdc_semicycle.artifacts.model import stored_card
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.data.slices import read
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.evaluation.metrics import confusion, counts, dice, iou, mean_and_std, without_class
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import intensities, is_picture, read_picture
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, replacing, write_text
from acdc_semicycle.runtime.provenance import plain, provenance

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from acdc_semicycle.evaluation.figures import Example

log = logging.getLogger("semicycle")

SCORES = {"dice": dice, "iou": iou}
OURS = (  # and by what they are known
    ("report.json", '"cases"', MADE_HERE),
    ("cases.csv", "case,patient,phase,"),
    ("summary.csv", "score,structure,mean,std"),
)
LARGEST = 512  # pixels of a picture's longer side in figures
PANEL = 4  # cases in panel.npz


def read_share(records: Sequence[Record], transform: Callable) -> list[Any]:
    """This process's share of the volumes, every n-th of them, through ``transform``.

    Where there are more processes than volumes, some get the first volume with all its pixels unannotated and no name:
    it counts for nothing in any score, and an evaluator can have no empty data set.
    """
    mine = read(records[distributed.rank() :: distributed.world()], transform)
    if not mine and records:
        mine = read(records[:1], transform)
        mine[0]["label"][:] = 255
        mine[0]["case"] = ""
    return mine


@dataclass
class Case:
    """What is kept of one evaluated volume or picture; of its masks, one slice [H, W] to look at."""

    case: str
    patient: str
    phase: str
    image: Path
    place: int  # of that slice in the file
    prediction: np.ndarray  # class indices, every n-th pixel of a large picture
    truth: np.ndarray
    confusion: Tensor  # [K, K] on the image's own grid
    network_confusion: Tensor  # [K, K] at the network's resolution, for the paper's mIoU

    @property
    def counts(self) -> Tensor:
        """True positives, false positives and false negatives [K, 3] on the image's own grid."""
        return counts(self.confusion)


@dataclass
class Report:
    """Evaluates a network and writes what came out into one folder; of several processes, the first one writes.

    ``report.json`` (``summary``, ``floor``, ``cases``, and how it was made), ``cases.csv`` (a row a volume),
    ``summary.csv`` (a row a structure), ``examples.png`` (the worst, the middle and the best), ``panel.npz`` (slices
    of the same few cases whatever the network, to lay methods side by side).

    Args:
        evaluator: whose output has ``pred`` and ``label`` on the scan's own grid, and ``pred_network`` and
            ``label_network`` at the network's resolution, all class indices [1, ...].
        network: whose weights are loaded from ``checkpoint``.
        checkpoint: model.pt.
        folder: where the report goes.
        classes: names of the classes, background first.
        colours: RGB of each class.
        main: the measure that chose the network: ``dice`` for volumes, ``miou`` for pictures.
        paper_miou_without: class whose row and column the published code takes out, if any.
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
    colours: Sequence[Sequence[int]] | None = None
    main: str = "dice"
    paper_miou_without: int | None = None
    card: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse a folder that cannot be written, or that holds others' files, before hours of work."""
        check_folder(Path(self.folder))
        for name, *signs in OURS:
            check_ours(Path(self.folder) / name, *signs)

    def write(self) -> Path:
        """Evaluate, write, and print the table; the path of report.json, the last line printed."""
        load_network(self.network, self.checkpoint)
        self._check_card()
        self.check()
        cases = self._evaluate()
        if distributed.rank():
            return Path(self.folder) / "report.json"
        folder = Path(self.folder)
        content = self._content(cases)
        path = folder / "report.json"
        write_text(path, json.dumps(plain(content), indent=1) + "\n")
        _write_cases(folder / "cases.csv", content["cases"], self._structures)
        _write_summary(folder / "summary.csv", content["summary"], self._structures)
        self._draw(folder, cases)
        print(table(content, self._structures))
        print(path, flush=True)
        return path

    @property
    def _structures(self) -> list[str]:
        """The classes that are scored by image: not the background."""
        return [name for name in self.classes if name != "background"]

    def _check_card(self) -> None:
        trained = stored_card(self.checkpoint)
        for name, value in json.loads(json.dumps(self.card)).items():
            if name in trained and trained[name] != value:
                raise InputError(
                    f"{self.checkpoint} was trained with {name} {trained[name]}, here it is {value}: give the overlays"
                    " and options of the training run"
                )

    def _evaluate(self) -> list[Case]:
        cases: list[Case] = []
        with self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect, cases):
            if sys.stderr.isatty() and distributed.rank() == 0:
                ProgressBar(desc="evaluating").attach(self.evaluator)
            self.evaluator.run()
        found = [case for some in distributed.gather(cases) for case in some if case.case]  # see read_share
        return sorted(found, key=lambda case: case.case)

    def _collect(self, engine: Engine, cases: list[Case]) -> None:
        n = len(self.classes)
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):  # type: ignore[call-overload]
            maps = {k: output[k].as_tensor()[0].cpu() for k in ("pred", "pred_network", "label_network")}
            truth = item["label"].as_tensor()[0].cpu()
            z = int(((truth > 0) & (truth < n)).sum((0, 1)).argmax())  # the slice with the most foreground
            step = -(-max(truth.shape[:2]) // LARGEST)
            cases.append(
                Case(
                    item["case"],
                    item["patient"],
                    item["phase"],
                    Path(item["image"].meta["filename_or_obj"]),
                    z + (item.get("slice") or 0),
                    maps["pred"][::step, ::step, z].numpy().astype(np.uint8),
                    truth[::step, ::step, z].numpy().astype(np.uint8),
                    confusion(maps["pred"], truth, n),
                    confusion(maps["pred_network"], maps["label_network"], n),
                )
            )

    def _content(self, cases: Sequence[Case]) -> dict[str, Any]:
        phases = sorted({case.phase for case in cases if case.phase})
        first = len(self.classes) - len(self._structures)
        return {
            "part": self.part,
            **self.about,
            "main": self.main,
            "classes": list(self.classes),
            "colours": self.colours,
            "summary": self._summary(cases)
            | {"by_phase": {phase: self._summary([c for c in cases if c.phase == phase]) for phase in phases}},
            "floor": self._summary([_trivial(case) for case in cases]),
            "cases": [
                {"case": case.case, "patient": case.patient, "phase": case.phase}
                | {score: _by_structure(f(case.counts)[first:], self._structures) for score, f in SCORES.items()}
                for case in cases
            ],
            "checkpoint": str(self.checkpoint),
            **provenance(),
        }

    def _summary(self, cases: Sequence[Case]) -> dict[str, Any]:
        return summary(cases, self.classes, self._structures, self.paper_miou_without)

    def _draw(self, folder: Path, cases: Sequence[Case]) -> None:
        from acdc_semicycle.evaluation.figures import examples_figure

        first = len(self.classes) - len(self._structures)
        scores = {case.case: float(dice(case.counts)[first:].nanmean()) for case in cases}
        ranked = sorted(cases, key=lambda case: np.nan_to_num(scores[case.case]))
        chosen = {case.case: case for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1])}
        examples = [_example(case, f", Dice {scores[case.case]:.3f}") for case in chosen.values()]
        figure = examples_figure(examples, self.classes, self.colours)
        with replacing(folder / "examples.png") as beside:
            figure.savefig(beside, dpi=110)
        spread = np.unique(np.linspace(0, len(cases) - 1, PANEL).round().astype(int))
        shown = [_example(cases[place]) for place in spread]
        arrays = {
            f"{name}_{n}": getattr(example, name)
            for n, example in enumerate(shown)
            for name in ("image", "truth", "prediction")
        }
        with replacing(folder / "panel.npz") as beside:
            np.savez_compressed(beside, names=np.array([cases[n].case for n in spread]), **arrays)


def summary(
    cases: Sequence[Case], classes: Sequence[str], structures: Sequence[str], without: int | None = None
) -> dict[str, Any]:
    """The scores of a set of cases.

    ``dice`` and ``iou``: means over images of each structure, and ``mean`` over structures; ``std`` over images;
    ``miou``: of one confusion matrix over the whole set, all classes counted; ``paper_miou``: the paper's.
    """
    result: dict[str, Any] = {"volumes": len(cases)}
    first = len(classes) - len(structures)
    for score, f in SCORES.items():
        rows = [_by_structure(f(case.counts)[first:], structures) for case in cases]
        stats = {name: mean_and_std([row[name] for row in rows]) for name in structures}
        means = [mean for mean, _, n in stats.values() if n]
        result[score] = {"mean": float(np.mean(means)) if means else math.nan}
        result[score] |= {name: mean for name, (mean, _, _) in stats.items()}
        result[f"{score}_std"] = {"mean": mean_and_std([row["mean"] for row in rows])[1]}
        result[f"{score}_std"] |= {name: std for name, (_, std, _) in stats.items()}
        result[f"{score}_n"] = {name: n for name, (_, _, n) in stats.items()}
    pooled = iou(counts(torch.stack([case.confusion for case in cases]).sum(0)))
    result["miou"] = float(pooled.nanmean())
    result["miou_by_class"] = dict(zip(classes, pooled.tolist(), strict=True))
    at_network = torch.stack([case.network_confusion for case in cases]).sum(0)
    result["paper_miou"] = float(iou(counts(without_class(at_network, without))).nanmean())
    return result


def _by_structure(values: Tensor, structures: Sequence[str]) -> dict[str, float]:
    """Scores as a row: their mean, then each structure."""
    return {"mean": float(values.nanmean())} | dict(zip(structures, values.tolist(), strict=True))


def _trivial(case: Case) -> Case:
    """The same case, had the prediction been the first class, background as a rule, everywhere."""

    def trivial(matrix: Tensor) -> Tensor:
        first = torch.zeros_like(matrix)
        first[:, 0] = matrix.sum(1)
        return first

    return replace(case, confusion=trivial(case.confusion), network_confusion=trivial(case.network_confusion))


def table(content: dict[str, Any], structures: Sequence[str]) -> str:
    """The summary as lines of text, with the floor beside it."""
    lines = _volume_lines(content, structures) if content["main"] == "dice" else _picture_lines(content)
    lines.append(f"{'mIoU as in the paper':<22}{content['summary']['paper_miou']:8.3f}")
    lines += [content[key] for key in ("note", "protocol") if content.get(key)]
    lines += ["of the embedded phantom: a demonstration, no result"] * (content.get("dataset") == "phantom")
    return "\n".join(lines)


def _volume_lines(content: dict[str, Any], structures: Sequence[str]) -> list[str]:
    heads = ["mean", *structures]
    lines = [
        f"{content['part']}: {many(content['summary']['volumes'], 'volume')}",
        " " * 22 + "".join(f"{h:>8}" for h in heads),
    ]
    rows = {"Dice": ("dice", content["summary"]), "IoU": ("iou", content["summary"])}
    rows |= {f"Dice, {phase}": ("dice", part) for phase, part in content["summary"]["by_phase"].items()}
    rows["Dice, all background"] = ("dice", content["floor"])
    for title, (score, part) in rows.items():
        lines.append(f"{title:<22}" + "".join(f"{part[score][head]:8.3f}" for head in heads))
    return lines


def _picture_lines(content: dict[str, Any]) -> list[str]:
    scores = content["summary"]
    lines = [f"{content['part']}: {many(scores['volumes'], 'image')}, IoU of the whole set"]
    lines += [f"  {name:<20}{value:8.3f}" for name, value in scores["miou_by_class"].items()]
    lines.append(f"{'mIoU':<22}{scores['miou']:8.3f}")
    lines.append(f"{'mIoU, all ' + content['classes'][0]:<22}{content['floor']['miou']:8.3f}")
    return lines


def _write_cases(path: Path, cases: Sequence[dict], names: Sequence[str]) -> None:
    heads = [f"{score}_{name}" for score in SCORES for name in ("mean", *names)]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "patient", "phase", *heads])
        for row in cases:
            values = [f"{row[score][name]:.6f}" for score in SCORES for name in ("mean", *names)]
            writer.writerow([row["case"], row["patient"], row["phase"], *values])


def _write_summary(path: Path, content: dict, names: Sequence[str]) -> None:
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["score", "structure", "mean", "std"])
        for score in SCORES:
            for name in ("mean", *names):
                writer.writerow([score, name, f"{content[score][name]:.6f}", f"{content[score + '_std'][name]:.6f}"])


def _example(case: Case, words: str = "") -> Example:
    """One slice of a case as a radiologist, or a photographer, sees it; ``words`` stand behind its name."""
    from acdc_semicycle.evaluation.figures import Example

    title = f"{case.case} {case.phase}".strip() + words
    if is_picture(case.image):
        image = intensities(case.image, read_picture(case.image), 3)
        if image.dtype != np.uint8:  # 16 bits: from its darkest to its brightest
            low, high = image.min(), image.max()
            image = ((image - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
        step = -(-max(image.shape[:2]) // LARGEST)
        return Example(title, image[::step, ::step], case.truth, case.prediction)
    volume = volumes.read(case.image)
    image = volume.layout.apply(volume.voxels[..., 0])[..., case.place].astype(np.float32)
    step = -(-max(image.shape) // LARGEST)
    low, high = np.percentile(image, (1, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return Example(title, *(volume.shown(slice_) for slice_ in (grey[::step, ::step], case.truth, case.prediction)))
