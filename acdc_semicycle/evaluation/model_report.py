"""The report of an evaluation: whole images at their own resolution, as JSON, CSV, a table and pictures."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedEvaluator

from acdc_semicycle.artifacts.known_patients import EARLIER
from acdc_semicycle.artifacts.model import stored_card
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.data.parts import HELD_OUT
from acdc_semicycle.data.slices import read
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.evaluation import examples, post_processing
from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.metrics import confusion
from acdc_semicycle.evaluation.model_scores import SCORES, Case, case_scores, summary, trivial
from acdc_semicycle.evaluation.model_tables import table, write_cases, write_summary
from acdc_semicycle.evaluation.stored_report import stored_content
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_text
from acdc_semicycle.runtime.provenance import plain, provenance

log = logging.getLogger("semicycle")

OURS = (  # each file with what marks it as written here
    ("report.json", '"cases"', MADE_HERE),
    ("cases.csv", "case,patient,phase,"),
    ("summary.csv", "score,structure,mean,std"),
)


def read_share(records: Sequence[Record], transform: Callable) -> list[Any]:
    """This process's share of the volumes, every n-th of them, through ``transform``.

    Where there are more processes than volumes, some get the first volume with all its pixels unannotated and no name:
    it counts for nothing in any score, and an evaluator can have no empty data set.
    """
    share = read(records[distributed.rank() :: distributed.world()], transform)
    if not share and records:
        share = read(records[:1], transform)
        share[0]["label"][:] = 255
        share[0]["case"] = ""
    return share


@dataclass
class Report:
    """Evaluates a network and writes its scores into one folder; of several processes, the first one writes.

    ``report.json`` (``summary``, ``floor``, ``cases``, and how it was made), ``cases.csv`` (a row a volume),
    ``summary.csv`` (a row a structure), ``examples.png`` (the worst, the middle and the best), ``panel.npz`` (slices
    of the same few cases whatever the network, to lay methods side by side).

    Args:
        evaluator: whose output has ``pred`` and ``label`` on the scan's own grid, and ``pred_network`` and
            ``label_network`` at the network's resolution, all class indices [1, ...].
        network: whose weights are loaded from ``checkpoint``.
        checkpoint: model.pt.
        output_dir: the run's folder; the report goes into its sub-folder of the part's name.
        classes: names of the classes, background first.
        colours: RGB of each class.
        main: the measure that chose the network: ``dice`` for volumes, ``miou`` for pictures.
        paper_miou_without: class whose row and column the published code takes out, if any.
        part: which part of the split was evaluated.
        card: how the network is used here; model.json beside ``checkpoint`` must say the same.
        notes: what a reader of each part's scores must know.
        postprocessing: the evaluator's transforms, which are named beside the scores.
        about: anything else the reader must know: data set, method, weights, seed, split.
    """

    evaluator: SupervisedEvaluator
    network: torch.nn.Module
    checkpoint: str | Path
    output_dir: str | Path
    classes: Sequence[str]
    part: str
    colours: Sequence[Sequence[int]] | None = None
    main: str = "dice"
    paper_miou_without: int | None = None
    card: dict[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    postprocessing: Any = None

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return Path(str(self.output_dir)) / self.part

    def check(self) -> None:
        """Refuse a folder that cannot be written, or that holds others' files, before hours of work."""
        check_folder(self.folder)
        for name, *signs in OURS:
            check_ours(self.folder / name, *signs)

    def check_validation(self) -> None:
        """Refuse, before a training, images that cannot choose its best epoch: none, test patients, or empty masks.

        Raises:
            InputError: says what was given, and what to give.
        """
        if self.part != "validation":
            raise InputError(
                f"evaluated is {self.part!r} in a training, whose best epoch is chosen on the validation patients:"
                " remove it, and run semicycle evaluate for another part"
            )
        loader: Any = self.evaluator.data_loader
        dataset = loader.dataset
        if not distributed.largest(len(dataset)):
            raise InputError(
                "the split has no validation patients: no epoch could be chosen, give some, or --keep last"
            )
        if self.main in SCORES and not distributed.largest(self._has_structures(dataset)):
            structures = ", ".join(structures_of(self.classes))
            raise InputError(
                f"no mask of a validation image holds any of {structures}, so {self.main} could choose no epoch: give"
                " other validation patients, or correct classes and masks"
            )

    def _has_structures(self, dataset: Any) -> bool:
        """Whether a mask of this process's validation images holds a structure."""
        labels = torch.tensor([self.classes.index(name) for name in structures_of(self.classes)])
        return any(bool(torch.isin(torch.as_tensor(item["label"]).cpu(), labels).any()) for item in dataset)

    def keep_or_write(self) -> Path:
        """The same as ``write``, unless the report of this very network is there: that one's table is printed."""
        content = stored_content(self.folder, self._about()) if distributed.rank() == 0 else None
        if not distributed.largest(int(content is not None)):  # all processes as the first one
            return self.write()
        path = self.folder / "report.json"
        if content is not None:
            log.info("%s is of this network: it is not scored again", path)
            self._print(content)
        return path

    def write(self) -> Path:
        """Evaluate, write, and print the table; the path of report.json, the last line printed."""
        load_network(self.network, self.checkpoint)
        self._check_card()
        self.check()
        cases = self._evaluate()
        folder = self.folder
        path = folder / "report.json"
        if distributed.rank():
            return path
        content = self._content(cases)
        write_text(path, json.dumps(plain(content), indent=1) + "\n")
        write_cases(folder / "cases.csv", content["cases"], structures_of(self.classes))
        write_summary(folder / "summary.csv", content["summary"], structures_of(self.classes))
        examples.write_figure(folder / "examples.png", cases, self.classes, self.colours)
        examples.write_panel(folder / "panel.npz", cases)
        examples.write_slices(folder, cases, {row["case"]: row["dice"]["mean"] for row in content["cases"]})
        self._print(content)
        return path

    def _print(self, content: dict[str, Any]) -> None:
        """Print the table; the path of report.json is the last line."""
        print(table(content, structures_of(self.classes)))
        print(self.folder / "report.json", flush=True)

    def _check_card(self) -> None:
        """Refuse a network whose model.json says other than ``card``."""
        trained = stored_card(self.checkpoint)
        for name, value in json.loads(json.dumps(self.card)).items():
            if name in trained and trained[name] != value:
                raise InputError(
                    f"{self.checkpoint} was trained with {name} {trained[name]}, here it is {value}: give the overlays"
                    " and options of the training run"
                )

    def _evaluate(self) -> list[Case]:
        """The cases of all processes, sorted by name."""
        cases: list[Case] = []
        with self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect, cases):
            if sys.stderr.isatty() and distributed.rank() == 0:
                ProgressBar(desc="evaluating").attach(self.evaluator)
            self.evaluator.run()
        all_cases = []
        for share in distributed.gather(cases):
            all_cases += [case for case in share if case.case]  # see read_share
        return sorted(all_cases, key=lambda case: case.case)

    def _collect(self, engine: Engine, cases: list[Case]) -> None:
        """Add the cases of one batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):  # type: ignore[call-overload]
            cases.append(case_of(item, output, len(self.classes)))

    def _part_of_cases(self) -> str:
        """The part as predict gives it: ``held out`` where no epoch was chosen and no earlier network knows them."""
        chose_no_epoch = self.part == "validation" and stored_card(self.checkpoint).get("keep") == "last"
        return HELD_OUT if chose_no_epoch and not (Path(str(self.output_dir)) / EARLIER).exists() else self.part

    def _content(self, cases: Sequence[Case]) -> dict[str, Any]:
        """The content of report.json."""
        rows, part = [], self._part_of_cases()
        for case in cases:
            about = {"case": case.case, "patient": case.patient, "phase": case.phase, "part": part}
            rows.append(about | case_scores(case, structures_of(self.classes)))
        by_phase = {}
        for phase in sorted({case.phase for case in cases if case.phase}):
            by_phase[phase] = self._summary([case for case in cases if case.phase == phase])
        scores = {
            "summary": self._summary(cases) | {"by_phase": by_phase},
            "floor": self._summary([trivial(case) for case in cases]),
            "cases": rows,
        }
        return self._about() | scores | {"pictures": bool(self.card.get("pictures"))} | provenance()

    def _about(self) -> dict[str, Any]:
        """What report.json says of the network and of how it was scored; another report differs in some of it."""
        with open(self.checkpoint, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {
            "report_of": "a network, which segments whole images (semicycle train, semicycle evaluate)",
            "part": self.part,
            "note": self.notes.get(self.part),
            "postprocessing": self._label_maps_in_words(),
            **_plain_about(self.about),
            "main": self.main,
            "classes": list(self.classes),
            "colours": self.colours,
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": digest,
            "versions": provenance()["versions"],
        }

    def _label_maps_in_words(self) -> str:
        """Which label maps are scored."""
        transforms = getattr(self.postprocessing, "transforms", ())
        return post_processing.of_evaluator(getattr(self.evaluator, "inferer", None), transforms)

    def _summary(self, cases: Sequence[Case]) -> dict[str, Any]:
        """The scores of a set of cases."""
        return summary(cases, self.classes, structures_of(self.classes), self.paper_miou_without)


def _plain_about(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the reader must know, as JSON holds it: a split as its parts, a class by its own name."""
    result = dict(about)
    if is_dataclass(result.get("split")):
        result["split"] = asdict(result["split"])
    if "method" in result:
        result["method"] = result["method"].rpartition(".")[2]
    return result


def case_of(item: dict[str, Any], output: dict[str, Any], classes: int) -> Case:
    """One evaluated volume or picture: its confusion matrices, and the slice with the most foreground."""
    truth = item["label"].as_tensor()[0].cpu()
    prediction = output["pred"].as_tensor()[0].cpu()
    network_prediction = output["pred_network"].as_tensor()[0].cpu()
    network_truth = output["label_network"].as_tensor()[0].cpu()
    foreground = (truth > 0) & (truth < classes)
    z = int(foreground.sum((0, 1)).argmax())
    step = examples.step_of(truth.shape)
    return Case(
        item["case"],
        item["patient"],
        item["phase"],
        Path(item["image"].meta["filename_or_obj"]),
        z + (item.get("slice") or 0),
        prediction[::step, ::step, z].numpy().astype(np.uint8),
        truth[::step, ::step, z].numpy().astype(np.uint8),
        confusion(prediction, truth, classes),
        confusion(network_prediction, network_truth, classes),
        frame=item.get("frame") or 0,
    )
