"""The label maps that lie in a folder, and which of its files are none.

Names end in what a file is: X_seg, X_pred are predictions, X_gt, X_mask, X_label truths; X alone may be either. Before
the word there is _, - or a dot, as in 3D Slicer's X.seg.nrrd.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets.cines import annotated_frames
from acdc_semicycle.datasets.records import MASK_ENDING
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import PICTURES, is_picture
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.search import files_below

AS_TRUTH = ("gt", "mask", "label", "seg", "")  # of several files of one name the first of these kinds counts
AS_PREDICTION = ("pred", "seg", "mask", "label", "gt", "")
SORT = {"pred": "prediction", "seg": "prediction", "gt": "truth", "mask": "truth", "label": "truth"}


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One file of labels, or one frame of it, under the name by which it finds its partner."""

    path: Path
    folder: tuple[str, ...]  # relative to the folder that was given
    stem: str
    kind: str  # by the ending of its name: pred, seg, gt, mask, label, or none
    frame: int | None = None
    listed: dict[str, Any] | None = None  # its entry in predictions.json

    @property
    def name(self) -> str:
        return "/".join((*self.folder, self.stem))


def predicted(root: Path, others: Sequence[Path]) -> list[LabelMap]:
    """The masks that predictions.json lists, with their entries there; without one, the label maps below a folder.

    Raises:
        InputError: as ``label_maps``, or a predictions.json that is damaged or empty.
    """
    manifest = root / "predictions.json"
    if not manifest.is_file():
        return label_maps(root, AS_PREDICTION, others)
    entries: dict[Path, dict[str, Any]] = {}
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        for case in content["cases"]:
            about = {"classes": content.get("classes"), "colours": content.get("colours")}
            entries[root / case["mask"]] = case | about
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{manifest} cannot be read ({error!r}): predict again, or remove it") from error
    if not entries:
        raise InputError(f"{manifest} lists no case: predict again")
    return [replace(_label_map(path, root), listed=entry) for path, entry in entries.items()]


def label_maps(root: Path, kinds: Sequence[str], others: Sequence[Path]) -> list[LabelMap]:
    """The label maps below a folder, or the one that a file is, sorted by name.

    Where any name ends as a mask's does, the files whose names do not are images. Of several files of one name the
    first of ``kinds`` counts; what lies in the folders ``others`` belongs to the other side.

    Raises:
        InputError: no label map, or two of one name and kind.
    """
    if root.is_file():
        return [_label_map(root, root)]
    result = []
    for _, same_name in sorted(_by_name(_label_maps_below(root, others), kinds).items()):
        first, *more = sorted(same_name, key=lambda label_map: kinds.index(label_map.kind))
        if more and more[0].kind == first.kind:
            raise InputError(f"{first.path} and {more[0].path} have the same name: rename or remove one")
        result.append(first)
    if not result:
        raise InputError(f"{root} holds no label map: give a folder of X_{kinds[0]}.nii.gz or X.nii.gz files")
    return result


def _by_name(below: Sequence[LabelMap], kinds: Sequence[str]) -> dict[str, list[LabelMap]]:
    """The files of these kinds by name; without those of no kind, where any other is a mask."""
    has_masks = any(label_map.kind for label_map in below)
    by_name: dict[str, list[LabelMap]] = defaultdict(list)
    for label_map in below:
        if label_map.kind in kinds and (label_map.kind or not has_masks):
            by_name[label_map.name].append(label_map)
    return by_name


def with_frames(maps: Sequence[LabelMap]) -> list[LabelMap]:
    """The label maps with each cine as those of its frames in which something is drawn, called X_frameNN from 01 on.

    A damaged file stays as it is: it is reported where it is compared.
    """
    result: list[LabelMap] = []
    for label_map in maps:
        try:
            is_cine = not is_picture(label_map.path) and volumes.frame_count(label_map.path) > 1
            frames = annotated_frames(label_map.path) if is_cine else []
        except InputError:
            frames = []
        for frame in frames:
            stem = f"{label_map.stem.removesuffix('_4d')}_frame{frame + 1:02d}"
            result.append(replace(label_map, stem=stem, frame=frame))
        if not frames:
            result.append(label_map)
    return result


def left_out(root: Path, maps: Sequence[LabelMap], others: Sequence[Path]) -> list[Path]:
    """Label maps below a folder that are not among ``maps``, though their names are of the same sort.

    These are second ones of a name, or those that predictions.json does not list.
    """
    if root.is_file():
        return []
    below = _label_maps_below(root, others)
    counted = {label_map.path for label_map in maps}
    sorts = {SORT.get(label_map.kind, "any") for label_map in below if label_map.path in counted}
    result = []
    for label_map in below:
        if label_map.path not in counted and SORT.get(label_map.kind) in sorts:
            result.append(label_map.path)
    return result


def _label_maps_below(root: Path, others: Sequence[Path]) -> list[LabelMap]:
    """All volumes below a folder, or all pictures where there is no volume; below its folders of labels, if any."""
    result, pictures = [], []
    for path in _files_below(root, others):
        if volumes.ending(path):
            result.append(_label_map(path, root))
        elif is_picture(path):
            pictures.append(_label_map(path, root))
    return result or pictures


def _label_map(path: Path, root: Path) -> LabelMap:
    """A file as a label map: its kind is the ending of its name, which is not part of its stem."""
    suffix = volumes.ending(path) or (path.suffix if is_picture(path) else "")
    if not suffix:
        raise InputError(f"{path} is no label map: give {' '.join((*volumes.SCANS, *PICTURES))}")
    whole_stem = path.name[: -len(suffix)]
    ending = MASK_ENDING.search(whole_stem)
    kind = ending.lastgroup if ending else ""
    stem = MASK_ENDING.sub("", whole_stem) or whole_stem
    stem = re.sub("(?<=.)_0000$", "", stem)  # nnU-Net's first channel
    folder = path.parent.relative_to(root).parts if path != root else ()
    return LabelMap(path, folder, unicodedata.normalize("NFC", stem), kind or "")  # macOS writes names as NFD


def _files_below(root: Path, others: Sequence[Path]) -> list[Path]:
    """The files below a folder, links followed, but those that are hidden or in folders of the other side within it."""
    inner = [folder.resolve() for folder in others if root.resolve() in folder.resolve().parents]
    paths: list[Path] = []
    for folder in _label_folders(root):
        paths += files_below(folder)
    return [path for path in paths if not _is_within(path, inner)]


def _label_folders(root: Path) -> list[Path]:
    """nnU-Net's folders of labels in ``root``, or the masks beside its images; ``root`` itself where it has none."""
    folders = [root / "labelsTr", root / "labelsTs"]
    if (root / "images").is_dir():
        folders += [root / "masks", root / "labels"]
    return list(filter(Path.is_dir, folders)) or [root]


def _is_within(path: Path, folders: Sequence[Path]) -> bool:
    """Whether the file lies in one of the folders, links resolved."""
    return any(path.resolve().is_relative_to(folder) for folder in folders)
