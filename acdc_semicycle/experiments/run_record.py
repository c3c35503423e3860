"""A training run as its folder tells it: configuration, patients, length, scores, learning curve, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from acdc_semicycle.artifacts.folds import FINISHED
from acdc_semicycle.config import overlays, run_config
from acdc_semicycle.datasets.case_patients import load_images
from acdc_semicycle.experiments.run_curves import Curve, mean_curve, read_curve
from acdc_semicycle.experiments.run_scores import Scores, read_scores
from acdc_semicycle.experiments.run_search import SPLIT, fold_folders
from acdc_semicycle.experiments.run_times import minutes_without_pauses
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json

REPORTED = ("test", "validation")  # the folders of a run's reports, the most telling one first
FOLDS = "folds"

Content = dict[str, Any]
T = TypeVar("T")


@dataclass
class RunRecord:
    """What a run's folder holds. What is damaged or not there is empty.

    Attributes:
        name: by which the run is told from the others.
        folder: of the run, or of its folds.
        folds: how many folds were begun; 0 of a training by itself.
        config: config.yaml, of the first fold where there are folds.
        card: model.json, the same.
        splits: split.json, of each fold.
        images: the digest of each image that was read, by its case.
        contents: the report of each folder in ``REPORTED``, or folds.json as ``FOLDS``.
        scores: the same by patient.
        curve: the learning curve, the mean of those of folds.
        minutes: of training, without pauses, all folds together; None where that is not known.
        faults: what is damaged, a line each.
    """

    name: str
    folder: Path
    folds: int = 0
    config: Content = field(default_factory=dict)
    card: Content = field(default_factory=dict)
    splits: list[Content] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    curve: Curve = field(default_factory=Curve)
    minutes: float | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def report(self) -> Content:
        """What the first report holds beside the scores; empty where there is none."""
        return next(iter(self.contents.values()), {})

    @property
    def dataset(self) -> str | None:
        """The name of the data set."""
        return _text(self.config.get("dataset")) or _text(self.card.get("dataset")) or _text(self.report.get("dataset"))

    @property
    def method(self) -> str | None:
        """The class of the method, by its own name."""
        objective = self.config.get("objective_def")
        target = objective.get("_target_") if isinstance(objective, dict) else None
        method = _text(self.report.get("method")) or _text(target)
        return method.rpartition(".")[2] if method else None

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes, the background first."""
        for source in (self.report, self.card, self.config):
            if isinstance(source.get("classes"), list):
                return list(map(str, source["classes"]))
        return None

    def patients(self, part: str) -> int | None:
        """How many patients a part of the split has; of folds the fewest."""
        splits: list[Any] = self.splits or [self.report.get("split")]
        counts = []
        for split in splits:
            if isinstance(split, dict) and isinstance(split.get(part), list):
                counts.append(len(split[part]))
        return min(counts, default=None)

    @property
    def epochs(self) -> int | None:
        """How many epochs are over."""
        return self.curve.last or _count(self.card.get("epoch"))

    @property
    def planned_epochs(self) -> int | None:
        """How many epochs the whole training has."""
        return _count(self.card.get("epochs")) or _count(self.config.get("epochs"))

    @property
    def steps_per_epoch(self) -> float | None:
        """The steps of an epoch; None of networks of before 0.2."""
        steps, epochs = _count(self.card.get("steps")), _count(self.card.get("epochs"))
        if steps and epochs:
            return steps / epochs
        return _count(self.config.get("steps_per_epoch"))

    @property
    def steps(self) -> int | None:
        """How many steps were made in the epochs that are over."""
        if self.epochs is None or self.steps_per_epoch is None:
            return None
        return round(self.epochs * self.steps_per_epoch)


def read_run(folder: Path, name: str) -> RunRecord:
    """The record of a run's folder, or of a folder of folds; what is damaged becomes a fault."""
    members = fold_folders(folder)
    run = RunRecord(name, folder, folds=len(members))
    members = members or [folder]
    first = members[0]
    run.config = _read(run, first / run_config.FILE, overlays.read)
    run.card = _read(run, first / "models" / "model.json", read_json)
    for member in members:
        split = _read(run, member / SPLIT, read_json)
        run.splits += [split] if split else []
        run.images |= _read(run, member / SPLIT, load_images)
    reports = {part: folder / part / "report.json" for part in REPORTED}
    if run.folds or (folder / FINISHED).is_file():
        reports = {FOLDS: folder / FINISHED}
    for part, path in reports.items():
        result = _read(run, path, read_scores)
        if result:
            run.scores[part], run.contents[part] = result
    run.curve = mean_curve([read_curve(member / "learning_curve.csv") for member in members])
    run.minutes = _minutes(members)
    return run


def _read(run: RunRecord, path: Path, read: Callable[[Path], T]) -> T | Any:
    """What a file holds; empty where it is not there or cannot be read, which becomes a fault of the run."""
    if not path.is_file():
        return {}
    try:
        return read(path)
    except InputError as error:
        run.faults.append(str(error))
    except OSError as error:
        run.faults.append(f"{path} cannot be read ({error.strerror}): give the rights to read it")
    return {}


def _minutes(members: Sequence[Path]) -> float | None:
    """The minutes of all folds together; None where those of one are not known."""
    total = 0.0
    for member in members:
        minutes = minutes_without_pauses(member)
        if minutes is None:
            return None
        total += minutes
    return total


def _text(value: Any) -> str | None:
    """A text that is none of MONAI's expressions; None of anything else."""
    return value if isinstance(value, str) and not value.startswith(run_config.EXPRESSION) else None


def _count(value: Any) -> int | None:
    """A whole number; None of anything else."""
    return value if type(value) is int else None
