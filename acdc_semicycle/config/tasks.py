"""What the bundle does, and the choices that its configurations leave to Python."""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.config import run_config, sizing
from acdc_semicycle.config.parser import calling_parser
from acdc_semicycle.data.splits import Split
from acdc_semicycle.datasets import case_patients, phantom
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")

STARTED = time.monotonic()
FEW = 3  # patients: a mean of fewer hangs on each of them


def claim(
    checkpoints: Any, report: Any, split: Split, output_dir: str | Path, data: Sequence[Record] | None = None
) -> None:
    """Hold the run's folder and refuse what is in the way, before anything is written or prepared.

    The split and the configuration are written, and of ``data`` the patient of each case and the digests of the images,
    by which a prediction finds the parts of the split.
    """
    if split.validation or checkpoints.keep == "best":
        report.check_validation()
    checkpoints.claim()
    checkpoints.check()
    run_config.check(Path(str(output_dir)))
    if split.validation:
        report.check()
    split.save(Path(str(output_dir)) / "split.json")
    if not _is_a_fold():  # which leaves out as few as its command asks for
        warn_of_few(split, checkpoints.keep)
    if distributed.rank() == 0:
        sizing.save(Path(str(output_dir)))
        run_config.save(Path(str(output_dir)))
    if data is not None and distributed.rank() == 0:  # configurations of 0.1 do not give them
        case_patients.save(data, Path(str(output_dir)) / case_patients.PATIENTS)
        case_patients.save_images(checkpoints.data or {}, Path(str(output_dir)) / case_patients.IMAGES)


def _is_a_fold() -> bool:
    """Whether the configuration that is run leaves a fold's patients out."""
    parser = calling_parser()
    return parser is not None and parser.get("split::fold") is not None


def warn_of_few(split: Split, keep: str) -> None:
    """Say in a line that very few patients choose the epoch, or are tested, and what to do."""
    validated, tested = len(split.validation), len(split.test)
    facts = []
    if keep == "best" and 0 < validated < FEW:
        facts.append(
            f"only {many(validated, 'validation patient')} {'chooses' if validated == 1 else 'choose'} the epoch"
        )
    if 0 < tested < FEW:
        facts.append(f"only {many(tested, 'test patient')} will tell how good it is")
    if facts:
        log.warning(
            "%s: give --folds leave-one-out to score every labelled patient, or choose the patients with --train_list,"
            " --validation_list and --test_list",
            " and ".join(facts),
        )


def train(trainer: Any, checkpoints: Any, report: Any) -> None:
    """Train, from the last checkpoint if there is one, and report on the network that was kept.

    The last line printed is the report's path; where no patient is validated, the network's.
    """
    validated = len(report.evaluator.data_loader.dataset) > 0
    checkpoints.attach(trainer)
    with warnings.catch_warnings():
        if not validated:
            warnings.filterwarnings("ignore", "`dataloader` is empty")  # as the user knows
        trainer.run()
    if validated:
        report.keep_or_write()
    elif distributed.rank() == 0:
        log.warning("no patient was left to validate: how good this network is was not measured")
        print(checkpoints.best.file, flush=True)


def in_order(parts: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    """Named components as a list, in the order in which they stand; null leaves one out."""
    named = parts.values() if isinstance(parts, Mapping) else parts
    return [part for part in named if part is not None]


def environment_value(name: str) -> str | None:
    """A variable of the environment; None where it is not set or empty."""
    return os.environ.get(name) or None


def data_root(dataset_dir: str | Path | None, output_dir: str | Path) -> Path:
    """The data set's folder; where none is given, that of the embedded phantom."""
    if dataset_dir is not None:
        if isinstance(dataset_dir, bool):
            raise InputError("--dataset_dir has no value: give --dataset_dir FOLDER")
        if not str(dataset_dir).strip():
            raise InputError("dataset_dir is empty: give the ACDC folder, or leave it out for the embedded phantom")
        return Path(str(dataset_dir))
    return _embedded_phantom(output_dir)


def _embedded_phantom(output_dir: str | Path) -> Path:
    """The phantom's folder below ``output_dir``, written by the first process; a warning says that it stands in."""
    root = Path(output_dir) / "phantom"
    if (Path(output_dir) / "split.json").exists() and not root.exists():
        raise InputError(
            f"{output_dir} holds a training on other data than the embedded phantom: give these as --dataset_dir, or in"
            " the environment's ACDC_DIR"
        )
    log.warning(
        "no data set found: neither --dataset_dir nor the environment's ACDC_DIR is given. The embedded"
        " phantom and a small network stand in: a demonstration, not a result"
    )
    if distributed.rank() == 0:
        phantom.write(root)
    distributed.wait()
    return root


def required(name: str, what: str) -> Any:
    """Stands in a configuration for a setting that has no default."""
    raise InputError(f"{name} is not given: give {what} (--{name} ...)")


def chosen(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measure that decides which epoch's network is kept."""
    if name not in metrics:
        raise InputError(f"selection_metric is {name!r}: give one of {', '.join(metrics)}")
    return {name: metrics[name]}


def others(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measures that are only shown."""
    return {key: value for key, value in metrics.items() if key != name}


def probe(trainer: Any, evaluator: Any, val_interval: int, steps: int = 3) -> None:
    """Print as JSON what a whole run is made of; nothing is kept."""
    print(json.dumps(measured(trainer, evaluator, val_interval, steps)), flush=True)


def measured(trainer: Any, evaluator: Any, val_interval: int, steps: int = 3) -> dict[str, Any]:
    """What a whole run is made of: some steps and one validation image are timed.

    A step includes making its batch. A method that begins some of its terms late has steps of two kinds, each timed;
    making pseudo-labels is not.
    """
    started = time.monotonic()
    epoch_steps, epochs = len(trainer.data_loader), trainer.state.max_epochs
    objective, all_steps = trainer.objective, epochs * epoch_steps
    _seconds(_step, trainer, cycle(trainer.data_loader))  # the first one warms up
    early_share = 1.0 if objective.start is None else min(1.0, objective.start / all_steps)
    step_seconds = 0.0
    for first_step, share in ((0, early_share), (all_steps, 1 - early_share)):
        if share:
            step_seconds += share * _step_seconds(trainer, first_step, steps)
    validation = 0.0
    if images := evaluator.state.epoch_length:
        evaluator.state.epoch_length = 1
        _seconds(evaluator.run)
        validation = _seconds(evaluator.run) * images
    return {
        "step_seconds": step_seconds,
        "steps": epochs * epoch_steps,
        "epoch_steps": epoch_steps,
        "validation_seconds": validation,
        "validations": epochs // val_interval,
        "val_interval": val_interval,
        "start_seconds": started - STARTED,
    }


def _step_seconds(trainer: Any, first_step: int, steps: int) -> float:
    """What a step takes after so many others: the median of some."""
    objective, loader = trainer.objective, trainer.data_loader
    if objective.T is not None:
        objective.T.steps = first_step
    if objective.waits_for_pseudo_labels:
        loader.pause_unlabelled()
        if first_step >= objective.start:
            loader.resume_unlabelled(np.zeros((len(loader.unlabelled), 1, *loader.unlabelled.size), np.uint8))
    batches = cycle(loader)
    return statistics.median(_seconds(_step, trainer, batches) for _ in range(steps))


def _step(trainer: Any, batches: Iterator[Any]) -> None:
    """Make a batch, and train on it."""
    trainer._iteration(trainer, next(batches))


def _seconds(work: Any, *arguments: Any) -> float:
    """How long a call takes."""
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started
