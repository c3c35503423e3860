"""How long a planned training takes on this machine: its steps are timed on some of its patients."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_semicycle.config import tasks
from acdc_semicycle.config.command_parser import parser_of
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.startup import seed
from acdc_semicycle.data.fingerprint import CaseFacts
from acdc_semicycle.data.splits import Split
from acdc_semicycle.runtime.machine import cores, memory

SLICES = 8  # of a part that is timed: two batches
log = logging.getLogger("semicycle")


@dataclass(frozen=True)
class Time:
    """What a training is made of, in seconds.

    Attributes:
        around: to start, to validate and to report.
    """

    step: float
    steps: int
    epochs: int
    around: float

    @property
    def minutes(self) -> float:
        """Of the whole training."""
        return (self.step * self.steps * self.epochs + self.around) / 60


def machine() -> str:
    """The machine, in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    count = cores()
    used = "" if threads == count else f" ({threads} used)"
    return f"{count} core{'s' * (count > 1)}{used}, {memory() / 2**30:.0f} GiB of memory, {gpu}"


def time_of(files: Sequence[str], cases: Sequence[CaseFacts], split: Split, reading_seconds: float | int) -> Time:
    """Time the steps of a training on some patients, and one validation image; nothing is kept.

    Args:
        files: overlays.
        cases: all of the data set.
        reading_seconds: what reading all of them took, which a training does twice: it checks and prepares them.
    """
    labelled, unlabelled = _some(split.labelled, cases), _some(split.unlabelled, cases)
    validation = _some(split.validation, cases)
    with tempfile.TemporaryDirectory(prefix="semicycle") as folder, _quiet():
        parser = parser_of(files, [])
        parser["data"] = tuple(case.record for case in cases)  # are known: nothing is searched again
        parser.update(_lists(Path(folder), [*labelled, *unlabelled], validation))
        parser.update(
            {"labelled": len(labelled), "minutes": None, "output_dir": folder, "cache_dir": f"{folder}/cache"}
        )
        seed(value_of(parser, "seed"))
        trainer, evaluator = value_of(parser, "train::trainer"), value_of(parser, "validate::evaluator")
        parts = tasks.measured(trainer, evaluator, value_of(parser, "val_interval"))
        value_of(parser, "writer").close()
        epochs = value_of(parser, "epochs")
    seconds = _validation_seconds(parts["validation_seconds"], validation, split.validation, cases)
    steps = value_of(parser, "steps_per_epoch") or parts["epoch_steps"]
    around = 2 * reading_seconds + (parts["validations"] + bool(split.validation)) * seconds
    return Time(parts["step_seconds"], steps, epochs, around)


def _validation_seconds(
    seconds: float | int, timed: Sequence[str], patients: Sequence[str], cases: Iterable[CaseFacts]
) -> float:
    """What validating all patients takes, of what some of them take."""
    number = dict.fromkeys(patients, 0)
    for case in cases:
        if case.record.patient in number:
            number[case.record.patient] += 1
    images = sum(number[name] for name in timed)
    return seconds / images * sum(number.values()) if images else 0.0


def _some(patients: Sequence[str], cases: Sequence[CaseFacts]) -> list[str]:
    """The first patients of a part, as many as have some slices."""
    slices: dict[str, int] = {}
    for case in cases:
        slices[case.record.patient] = slices.get(case.record.patient, 0) + case.size[2]
    chosen: list[str] = []
    total = 0
    for name in patients:
        if total >= SLICES:
            break
        chosen.append(name)
        total += slices[name]
    return chosen


def _lists(folder: Path, train: Sequence[str], validation: Sequence[str]) -> dict[str, Any]:
    """The lists of patients of a training, as files in a folder."""
    paths: dict[str, Any] = {"validation_list": None, "test_list": None}
    for key, patients in (("train_list", train), ("validation_list", validation)):
        if patients:
            paths[key] = str(folder / f"{key}.txt")
            Path(paths[key]).write_text("\n".join(patients) + "\n", encoding="utf-8")
    return paths


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notices of a training, which is none yet."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
