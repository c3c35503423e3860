"""The runs of the table of few annotated patients: the commands of each, and the finished ones below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.config.locations import folder, is_shipped, overlay
from acdc_semicycle.experiments import few
from acdc_semicycle.experiments.grid import Options
from acdc_semicycle.experiments.results import Cell, Finished, in_table_order, run_at
from acdc_semicycle.experiments.runs import Run, folder_of
from acdc_semicycle.runtime.errors import InputError

SEMICYCLE = ("semicycle",)  # as a command is printed
LABEL_MAPS = "label_maps"  # in a run's folder: what predict and evaluate --pred write


def run_of(cell: Cell, options: Options, launcher: tuple[str, ...]) -> Run:
    """``semicycle train few METHOD`` with the user's own overlays between the two, and its scores.

    Args:
        launcher: the words that run ``semicycle``.

    Raises:
        InputError: no folder of the data set is given, or nobody is left to be scored.
    """
    own_overlay = few.overlay_of_each(options.methods)[cell.method]
    overlays = [*options.overlays] if own_overlay is None else [*options.overlays, overlay(own_overlay)]
    files = (str(folder("bundles/semicycle") / "configs" / "train.json"), *overlays)
    patients = cell.labels.removesuffix("p")
    data = folder_of(cell.dataset, options)
    settings = ("--dataset_dir", data, "--labelled", patients, "--seed", str(cell.seed), *options.further)
    target = options.out / cell.dataset / f"patients_{patients}" / cell.method / f"seed_{cell.seed}"
    names = [Path(file).stem if is_shipped(file) else file for file in overlays]
    steps = _steps([*names, "--output_dir", str(target), *settings], data, target, scored_part(options.further))
    return Run(cell, target, files, settings, launcher, SEMICYCLE, steps)


def _steps(words: Sequence[str], data: str, target: Path, part: str) -> tuple[tuple[str, ...], ...]:
    """The training, which reports on validation patients, a report on test patients, and the label maps' scores."""
    label_maps = str(target / LABEL_MAPS)
    steps: list[tuple[str, ...]] = [("train", *words)]
    if part == "test":
        steps.append(("evaluate", *words))
    steps.append(("predict", data, "-o", label_maps, "--model", str(target), "--part", part))
    steps.append(("evaluate", "--pred", label_maps, "--truth", data))
    return tuple(steps)


def scored_part(further: Sequence[str]) -> str:
    """Whom the table scores: test patients, or those of a validation list, or the drawn ones where --test is 0.

    Args:
        further: ``--KEY`` of the bundle and its value in turn.

    Raises:
        InputError: lists that leave nobody to be scored.
    """
    values = dict(zip(further[::2], further[1::2], strict=True))
    if "--test_list" in values:
        return "test"
    if "--validation_list" in values:
        return "validation"
    if "--train_list" in values:
        raise InputError("--train_list alone leaves nobody to score: give --validation_list or --test_list, too")
    return "validation" if values.get("--test") in ("0", "0.0") else "test"


def finished_runs(out: Path) -> list[Finished]:
    """All finished runs of this table below a folder, by data set, method, number of patients and seed."""
    runs: list[Finished] = []
    for path in sorted(out.glob("*/patients_*/*/seed_*/finished.json")):
        dataset, patients, method, seed = path.parent.relative_to(out).parts
        labels = f"{patients.removeprefix('patients_')}p"
        runs += run_at(path, Cell(dataset, labels, method, int(seed.removeprefix("seed_"))))
    return in_table_order(runs)
