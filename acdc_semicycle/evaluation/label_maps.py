"""The label maps that lie in a folder, and which of its files are none.

Names end in what a file is: X_seg, X_pred are predictions, X_gt, X_mask, X_label truths; X alone may be either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import PICTURES
from acdc_semicycle.runtime.errors import InputError

ENDING = re.compile(
    "_(?:(?P<gt>gt)|(?P<mask>mask)|(?P<label>labels?)|(?P<seg>seg(?:mentation)?)|(?P<pred>pred(?:iction|icted)?))$",
    re.IGNORECASE,
)
AS_TRUTH = ("gt", "mask", "label", "seg", "")  # which of one name's files is meant, the first that is there
AS_PREDICTION = ("pred", "seg", "mask", "label", "gt", "")
SORTS = ({"pred", "seg"}, {"gt", "mask", "label"})  # names of a prediction, and of a truth


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One file of labels, or one frame of it, under the name by which it finds its partner."""

    path: Path
    folder: tuple[str, ...]  # relative to what was given
    stem: str
    frame: int | None = None
    listed: dict[str, Any] | None = None  # its entry in predictions.json

    @property
    def name(self) -> str:
        return "/".join((*self.folder, self.stem))


def predicted(root: Path, others: Sequence[Path]) -> list[LabelMap]:
    """The masks that predictions.json lists, with what it says of them; without one, the label maps there.

    Raises:
        InputError: as ``label_maps``, or a predictions.json that is damaged or empty.
    """
    sheet = root / "predictions.json"
    if not sheet.is_file():
        return label_maps(root, AS_PREDICTION, others)
    try:
        content = json.loads(sheet.read_text(encoding="utf-8"))
        cases = {root / case["mask"]: case | {"classes": content.get("classes")} for case in content["cases"]}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{sheet} cannot be read ({error!r}): predict again, or take it away") from error
    if not cases:
        raise InputError(f"{sheet} lists no case: predict again")
    return [replace(_label_map(path, root)[0], listed=case) for path, case in cases.items()]


def label_maps(root: Path, kinds: Sequence[str], others: Sequence[Path]) -> list[LabelMap]:
    """The label maps below a folder, or the one that a file is, sorted.

    Where any name says that it is a mask's, the files whose names do not are images. Of one name's files the first of
    ``kinds`` counts; what lies in the folders ``others`` is the other side's.

    Raises:
        InputError: no label map, or two of one name and kind.
    """
    if root.is_file():
        return [_label_map(root, root)[0]]
    files = [_label_map(path, root) for path in _volumes(root, others)]
    if any(kind for _, kind in files):
        files = [(one, kind) for one, kind in files if kind in kinds and kind]
    files.sort(key=lambda file: (file[0].name, kinds.index(file[1])))
    result = []
    for _, same in groupby(files, lambda file: file[0].name):
        (one, kind), *more = same
        if more and more[0][1] == kind:
            raise InputError(f"{one.path} and {more[0][0].path} have one name: rename one, or keep one")
        result.append(one)
    if not result:
        raise InputError(f"{root} holds no label map: give a folder of X_{kinds[0]}.nii.gz or X.nii.gz files")
    return result


def left_out(root: Path, maps: Sequence[LabelMap], others: Sequence[Path]) -> list[Path]:
    """The label maps below a folder that are named as those which count, ``maps``, and do not: second ones of a name,
    or what predictions.json does not list."""
    if root.is_file():
        return []
    files = [_label_map(path, root) for path in _volumes(root, others)]
    counted = {one.path for one in maps}
    kinds = {kind for one, kind in files if one.path in counted}
    alike = {kind for sort in SORTS if sort & kinds for kind in sort}
    return [one.path for one, kind in files if one.path not in counted and kind in alike]


def _label_map(path: Path, root: Path) -> tuple[LabelMap, str]:
    """A label map, and its kind by the ending of its name."""
    end = volumes.ending(path)
    if not end:
        raise InputError(f"{path} is no volume: only {' '.join(volumes.SCANS)} are compared here")
    stem = path.name[: -len(end)]
    ending = ENDING.search(stem)
    stem = re.sub("(?<=.)_0000$", "", ENDING.sub("", stem) or stem)
    folder = path.parent.relative_to(root).parts if path != root else ()
    return LabelMap(path, folder, stem), (ending and ending.lastgroup) or ""


def _volumes(root: Path, others: Sequence[Path]) -> list[Path]:
    """The volumes below a folder, in nnU-Net's layout below its folders of labels."""
    within = [other.resolve() for other in others]
    within = [other for other in within if other != root.resolve() and other.is_relative_to(root.resolve())]
    parts = [folder for name in ("labelsTr", "labelsTs") if (folder := root / name).is_dir()]
    below = sorted(path for part in parts or [root] for path in part.rglob("*") if path.is_file())
    below = [path for path in below if not any(part[0] == "." for part in path.relative_to(root).parts)]
    below = [path for path in below if not any(path.resolve().is_relative_to(other) for other in within)]
    found = [path for path in below if volumes.ending(path)]
    if not found and (pictures := [path for path in below if path.suffix.lower() in PICTURES]):
        raise InputError(f"{root} holds pictures, e.g. {pictures[0].name}: give volumes ({' '.join(volumes.SCANS)})")
    return found
