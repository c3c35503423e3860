"""The names of the classes that label maps hold."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.picture_labels import largest_value
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.runtime.errors import InputError


def class_names(
    names: Sequence[str] | None, predicted: list[list[LabelMap]], truths: list[LabelMap]
) -> tuple[list[str], list[str]]:
    """The classes' names, and a note where none are given."""
    names = names or _listed_classes(predicted) or _acdc_classes(truths)
    if names is None:
        last = _largest_label(truths)
        note = "no class names are given: structures are called by their labels"
        return list(map(str, range(last + 1))), [note]
    if not _can_be_classes(names):
        raise InputError(f"classes are {list(names)}: give 2 to {IGNORED} names, each once, background first")
    return list(names), []


def _can_be_classes(names: Sequence[str]) -> bool:
    """Whether these names can be the classes of label maps, whose labels are bytes."""
    if not 2 <= len(names) <= IGNORED or len(set(names)) < len(names):
        return False
    return "mean" not in names and all(map(str.strip, names))


def structures_of(classes: Sequence[str]) -> list[str]:
    """The classes that are scored by image: not the background."""
    return [name for name in classes if name != "background"]


def _listed_classes(predicted: list[list[LabelMap]]) -> list[str] | None:
    """The classes in the tools' predictions.json, if there are any."""
    listed = []
    for maps in predicted:
        if maps[0].listed and maps[0].listed["classes"]:
            listed.append(maps[0].listed["classes"])
    if len(listed) == 2 and list(listed[0]) != list(listed[1]):
        raise InputError(
            f"the tools' classes are {listed[0]} and {listed[1]}: give --classes if their labels mean the same"
        )
    return listed[0] if listed else None


def _acdc_classes(truths: list[LabelMap]) -> Sequence[str] | None:
    """ACDC's classes where all truths lie in its layout."""
    in_layout = all((truth.path.parent / "Info.cfg").is_file() for truth in truths)
    return acdc.CLASSES if in_layout else None


def _largest_label(truths: list[LabelMap]) -> int:
    """The largest label in any truth, at least 1."""
    largest = 1
    for truth in tqdm(truths, "looking for labels", disable=None):
        with contextlib.suppress(InputError):  # it becomes a failure when its pair is scored
            if is_picture(truth.path):
                largest = max(largest, largest_value(truth.path))
                continue
            voxels = volumes.read(truth.path, frames=True, mask=True).voxels
            largest = int(np.rint(voxels[voxels < IGNORED].max(initial=largest)))
    return largest
