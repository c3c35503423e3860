"""The table of few annotated patients: which runs it has. Each of them is ``semicycle train few METHOD``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.config.locations import folder
from acdc_semicycle.experiments.methods import in_order, shipped_methods
from acdc_semicycle.experiments.specs import listed, one_of, taken_apart
from acdc_semicycle.runtime.errors import InputError

NAME = "few"  # of the overlay that every run begins with, and of the method that it holds itself
DATASETS = ("acdc",)
METHODS = ("partial", "mean_teacher", "unimatch", "bcp", NAME)  # by default
PATIENTS = ("3", "7", "14")  # annotated, by default
EXAMPLE = "labels=3,7,14 or method=partial,few"


def is_base(file: str | Path) -> bool:
    """Whether an overlay is the shipped ``few``, which makes a table one of few annotated patients."""
    return Path(file).resolve() == (folder("configs") / f"{NAME}.yaml").resolve()


def overlay_of_each(own: Sequence[str] = ()) -> dict[str, str | None]:
    """The overlay that each method adds to ``few`` by its name: the shipped ones, and a user's own."""
    files: dict[str, str | None] = dict(shipped_methods())
    files[NAME] = None
    for file in own:
        files[Path(file).stem] = str(file)
    return files


def rows(specs: Sequence[str], own: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """Data set, method and labels of each row of the grids that ``--only`` gives, or of the usual one.

    Args:
        specs: such as ``"acdc labels=3,7 method=partial,few"``; labels are numbers of annotated patients.
        own: overlays of a user's own methods.

    Raises:
        InputError: names the word that is not understood.
    """
    result = []
    for spec in specs or DATASETS:
        result += _rows_of(spec, own)
    return result


def _rows_of(spec: str, own: Sequence[str]) -> list[tuple[str, str, str]]:
    """The rows of one grid."""
    known = in_order(overlay_of_each(own))
    first, texts = taken_apart(spec, EXAMPLE)
    datasets = [one_of(name, DATASETS, "data set of the table of few annotated patients") for name in first.split(",")]
    methods = [one_of(name, known, "method that follows few") for name in listed(texts["method"])]
    labels = [_labels(text) for text in listed(texts["labels"]) or PATIENTS]
    result = []
    for dataset in datasets:
        for label in labels:
            for method in methods or METHODS:
                result.append((dataset, method, label))
    return result


def _labels(text: str) -> str:
    """A number of annotated patients in the words of a cell: ``3p``."""
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"labels={text} is not understood: after few give numbers of annotated patients (3)")
    return f"{int(text)}p"
