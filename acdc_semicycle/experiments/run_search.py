"""The training runs that a command's folders hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from acdc_semicycle.artifacts.folds import FINISHED, fold_folder
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.search import folders_below

SPLIT = "split.json"  # every training writes it before its first step


def runs_of(paths: Iterable[Path]) -> list[Path]:
    """The folders of the runs that these paths name or hold, in their order, each once; folds are one run.

    Args:
        paths: a run's folder, the ``models`` or the model.pt in it, a folder of folds, or a folder above runs.

    Raises:
        InputError: a path is not there, or no run lies at it or below it.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} is not there: give a run's folder, or a folder that holds runs")
        runs = _runs_at(path)
        if not runs:
            raise InputError(
                f"{path} holds no run of semicycle train: give a run's folder, or a folder that holds runs"
            )
        for run in runs:
            folders.setdefault(run.resolve(), run)
    return list(folders.values())


def fold_folders(folder: Path) -> list[Path]:
    """The folders of the folds that were begun, by their number; none where the folder holds no folds."""
    folders = []
    number = 0
    while is_single(fold_folder(folder, number)):
        folders.append(fold_folder(folder, number))
        number += 1
    return folders


def is_single(folder: Path) -> bool:
    """Whether a folder is that of one training."""
    return (folder / SPLIT).is_file() or (folder / "models" / "model.pt").is_file()


def unique_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many of those above it as tell all of one name apart."""
    absolute = [Path(os.path.abspath(folder)) for folder in folders]
    names = []
    for path in absolute:
        others = [other for other in absolute if other != path]
        parts = 1
        while parts < len(path.parts) and any(_last(other, parts) == _last(path, parts) for other in others):
            parts += 1
        names.append("/".join(_last(path, parts)))
    return names


def _last(path: Path, parts: int) -> tuple[str, ...]:
    """The last names of a path."""
    return path.parts[-parts:]


def _runs_at(path: Path) -> list[Path]:
    """The run that a path names, else those below it."""
    levels = {"models": "..", "model.pt": "../.."}.get(path.name, ".")
    folder = Path(os.path.normpath(path / levels))
    if _is_run(folder):
        return [folder]
    runs: list[Path] = []
    for below in folders_below(path)[0]:
        inside = any(run in below.parents for run in runs)
        if not inside and _is_run(below):
            runs.append(below)
    return runs


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of one training, or of folds."""
    return is_single(folder) or (folder / FINISHED).is_file() or bool(fold_folders(folder))
