"""``semicycle train --folds``: trainings that each leave labelled patients out, and the scores of all of these."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from acdc_semicycle.artifacts.folds import FINISHED, fold_folder
from acdc_semicycle.config.command_parser import parser_of
from acdc_semicycle.config.options import options_of
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.values import check_values
from acdc_semicycle.data.folds import check_count
from acdc_semicycle.evaluation.class_names import structures_of
from acdc_semicycle.evaluation.gain import gain
from acdc_semicycle.evaluation.model_tables import write_cases
from acdc_semicycle.experiments.fold_runs import Fold, train_side_by_side
from acdc_semicycle.experiments.fold_scores import content_of, table
from acdc_semicycle.experiments.fold_trust import fitted_in_words
from acdc_semicycle.experiments.grid import whole_number
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, read_json, write_text
from acdc_semicycle.runtime.machine import cores, memory
from acdc_semicycle.runtime.provenance import plain, provenance

ALL = "leave-one-out"
MEMORY = 2 << 30  # bytes that a small training takes
OWN = ("folds", "jobs", "output_dir", "minutes")  # options that a fold is given another value of, or none


def train(overlays: Sequence[str], options: Sequence[str]) -> int:
    """Train the folds side by side, each in a process of its own, then write and print the scores of all left out.

    The same command continues where it was.

    Args:
        overlays: their files.
        options: ``--KEY VALUE`` words, ``--folds`` among them, and perhaps ``--jobs``.

    Returns:
        The exit code: that of the signal that asked to stop, else of the first fold that fails, else 0.

    Raises:
        InputError: settings that cannot be, a folder of something else, or one that another command trains in.
    """
    parser = _parser(overlays, options)
    given = {option.key: option.value for option in options_of(options)}
    output_dir = Path(given.get("output_dir") or f"{value_of(parser, 'output_dir')}-folds")
    _check_target(output_dir)
    parser["output_dir"] = output_dir
    count = _count(str(given["folds"]), parser)
    jobs = _jobs(given.get("jobs"), count)
    check_folder(output_dir)
    minutes = _minutes_of_each(value_of(parser, "minutes"), count, jobs)
    words = _words_of_each(overlays, options, minutes)
    folds = [Fold.of(number, count, output_dir, words) for number in range(count)]
    os.environ.setdefault("SEMICYCLE_CACHE", str(output_dir / "cache"))  # the slices are prepared once
    with run_lock(output_dir) as lock:
        if lock is None:
            raise InputError(f"{output_dir} is trained in by another command: wait for it, or give another output_dir")
        code, texts = train_side_by_side(folds, jobs, minutes)
    for text in texts:
        print(text, file=sys.stderr)
    if not code:
        _report(output_dir, count, *_scans_and_masks(parser))
        _tell_of_gain(output_dir, parser)
    return code


def _parser(overlays: Sequence[str], options: Sequence[str]) -> ConfigParser:
    """The configuration of the command, checked as far as nothing of it has to be evaluated."""
    given = [option for option in options_of(options) if option.key not in ("folds", "jobs")]
    if any(option.key == "split::fold" for option in given):
        raise InputError("--split::fold is given, and --folds trains each fold: remove one of the two")
    parser = parser_of(overlays, [f"--{option.key}={option.value}" for option in given])
    check_values(lambda key: value_of(parser, key))
    return parser


def _count(text: str, parser: ConfigParser) -> int:
    """How many folds ``--folds`` asks for: a number of them, or one of each labelled patient."""
    if text != ALL and not text.isdecimal():
        raise InputError(f"--folds is {text!r}: give a number of folds, or {ALL}")
    labelled = len(value_of(parser, "split").labelled)
    count = labelled if text == ALL else int(text)
    check_count(count, labelled)
    return count


def _jobs(text: str | None, count: int) -> int:
    """How many folds are trained at a time: what ``--jobs`` gives, else one for each GPU, or for each core.

    Without a GPU they are no more than the memory holds.
    """
    if text is not None:
        return min(whole_number(text, "--jobs", "2", 1), count)
    import torch  # slow

    return min(torch.cuda.device_count() or max(1, min(cores(), memory() // MEMORY)), count)


def _minutes_of_each(minutes: float | int | None, count: int, jobs: int) -> float | None:
    """The minutes of each fold, of those of all together: folds that are trained at a time share them."""
    return None if minutes is None else minutes / math.ceil(count / jobs)


def _check_target(output_dir: Path) -> None:
    """Refuse a folder with a training of its own, or with others' files."""
    if (output_dir / "split.json").exists() or (output_dir / "models").exists():
        raise InputError(f"{output_dir} holds a training without folds: give another --output_dir")
    check_ours(output_dir / FINISHED, '"folds"', MADE_HERE)
    check_ours(output_dir / "cases.csv", "fold,case,patient,phase,")


def _words_of_each(overlays: Sequence[str], options: Sequence[str], minutes: float | int | None) -> list[str]:
    """The command that all folds share."""
    words = [sys.executable, "-m", "acdc_semicycle", "train", *overlays]
    for option in options_of(options):
        if option.key not in OWN:
            words.append(f"--{option.key}={option.value}")
    return words if minutes is None else [*words, f"--minutes={minutes:g}"]


def _scans_and_masks(parser: ConfigParser) -> tuple[str | None, str | None]:
    """The folders of the scans and of their masks; no masks where these hold other numbers than class indices."""
    folders = {key: value_of(parser, key) for key in ("dataset_dir", "images", "masks") if key in parser}
    scans = folders.get("dataset_dir") or folders.get("images")
    masks = folders.get("dataset_dir") or folders.get("masks") or scans
    return scans, masks if value_of(parser, "mask_values") is None else None


def _report(output_dir: Path, count: int, data: str | None, truth: str | None) -> None:
    """Write the scores of the patients that the folds left out, fit the expected Dice on them, and print both.

    The last line is the path of the scores.
    """
    reports = []
    for number in range(count):
        reports.append(read_json(fold_folder(output_dir, number) / "validation" / "report.json"))
    content: dict[str, Any] = content_of(reports) | provenance()
    structures = structures_of(content["classes"])
    write_cases(output_dir / "cases.csv", content["cases"], structures, ("fold", "case", "patient", "phase"))
    path = output_dir / FINISHED
    write_text(path, json.dumps(plain(content), indent=1) + "\n")
    print(table(content, structures))
    print(fitted_in_words(output_dir, count, data, truth))
    print(path, flush=True)


def _tell_of_gain(output_dir: Path, parser: ConfigParser) -> None:
    """Say what was gained over the network that the folds started from, where that can be measured."""
    source = value_of(parser, "from")
    if source is None:
        return
    mended = {mask.record.patient for mask in value_of(parser, "mended_masks")}
    gained = gain(source, read_json(output_dir / FINISHED), mended)
    if gained:
        print(gained, file=sys.stderr)
