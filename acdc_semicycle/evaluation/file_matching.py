"""Which label map is held against which, whoever named them.

Files are paired by name, the relative folder only where a name is there twice::

    predictions/X_seg.nii.gz (X_pred, X_mask, X_label, X)   truth/X_gt.nii.gz (X_mask, X_label, X_seg, X), as in ACDC
    predictions/X.nii.gz or X_0000_seg.nii.gz               labelsTr/X.nii.gz of imagesTr/X_0000.nii.gz, as in nnU-Net
    predictions/X_4d_seg.nii.gz, a cine                     truth/X_frame01_gt.nii.gz, its first frame
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets import acdc
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
PHASE = re.compile(r"(?:^|_)(E[DS])(?=_|$)")
FRAME = re.compile(r"_frame(\d+)$", re.IGNORECASE)


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


Pair = tuple[LabelMap, LabelMap]  # the prediction, and what it is held against
Reason = dict[str, str]  # a case, and why it has no partner


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


def paired(
    predictions: Sequence[LabelMap], truths: Sequence[LabelMap]
) -> tuple[list[Pair], list[Reason], list[Reason]]:
    """What belongs together, sorted by truth; what is alone, and what could belong to several, each with the reason.

    First what has folder and name in common; then names that are there once; then those whose folders end alike.
    """
    predictions = _frames_of_cines(predictions, truths)
    names, times = {one.name for one in predictions}, Counter(one.stem for one in (*predictions, *truths))
    exact = {one.name: [one] for one in truths}
    free = [one for one in truths if one.name not in names]

    def fits(one: LabelMap, other: LabelMap) -> bool:
        return one.stem == other.stem and (times[one.stem] == 2 or _alike(one.folder, other.folder))

    found = {one: exact.get(one.name) or [other for other in free if fits(one, other)] for one in predictions}
    claims = Counter(other for others in found.values() for other in others)
    pairs = [(one, others[0]) for one, others in found.items() if [claims[other] for other in others] == [1]]
    done, torn = {one for one, _ in pairs}, []
    for one, others in found.items():
        if others and one not in done:
            rivals = " and ".join(str(other.path) for other in others[:2])
            reason = f"{one.path} is one of several for {rivals}: give both one layout"
            torn.append({"case": one.name, "reason": reason})
    alone = [{"case": one.name, "reason": f"{one.path} has no truth"} for one in predictions if not found[one]]
    alone += [{"case": one.name, "reason": f"{one.path} has no prediction"} for one in truths if one not in claims]
    if not pairs and not torn:
        raise InputError(_strangers(predictions[0], truths[0]))
    return sorted(pairs, key=lambda pair: pair[1].name), alone, torn


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether folders end alike."""
    n = min(len(one), len(other))
    return n == 0 or one[-n:] == other[-n:]


def _strangers(one: LabelMap, other: LabelMap) -> str:
    roots = " and ".join(str(each.path.parents[len(each.folder)]) for each in (one, other))
    return (
        f"{roots} have no name in common, e.g. {one.path.name} and {other.path.name}: without _gt, _seg,"
        f" _mask, _label, _pred and _0000 these are {one.stem} and {other.stem}: rename them, or give other folders"
    )


def _frames_of_cines(predictions: Sequence[LabelMap], truths: Sequence[LabelMap]) -> list[LabelMap]:
    """Predictions, a cine X or X_4d of which the truths are X_frameNN taken apart: NN counts from 1, as in ACDC.

    X_ED or X_4d_ED is the frame that the truths' Info.cfg calls so.
    """
    theirs = {one.stem for one in truths}
    phases = {(FRAME.sub("", one.stem), _phase(one)): one.stem for one in truths if FRAME.search(one.stem)}
    frames = defaultdict(list)
    for stem in sorted(theirs - {one.stem for one in predictions}):
        if found := FRAME.search(stem):
            frames[FRAME.sub("", stem)].append((stem, int(found[1]) - 1))
    result = []
    for one in predictions:
        named = PHASE.search(one.stem)
        if named and (its := phases.get((PHASE.sub("", one.stem).removesuffix("_4d"), named[1]))):
            result.append(replace(one, stem=its))
            continue
        apart = frames.get(one.stem.removesuffix("_4d"), []) if one.stem not in theirs else []
        result += [replace(one, stem=stem, frame=frame) for stem, frame in apart] or [one]
    return result


def names(prediction: LabelMap, truth: LabelMap, once: bool) -> tuple[str, str, str | None]:
    """Case, patient and phase: as predictions.json has them, else from Info.cfg and the names.

    ``once`` says that the name alone, without its folder, tells which case is meant.
    """
    listed = prediction.listed or truth.listed or {}
    case = str(listed.get("case") or prediction.name) if prediction.frame is None else prediction.name
    phase = listed.get("phase") or _phase(truth) or _phase(prediction)
    for name, frame in (listed.get("phases") or {}).items():
        phase = name if prediction.frame is not None and frame == prediction.frame else phase
    bare = PHASE.sub("", FRAME.sub("", truth.stem)).strip("_")
    whose = (bare or truth.path.parent.name) if once else "/".join((*truth.folder, bare)).strip("/")
    return case, str(listed.get("patient") or whose), phase


def _phase(one: LabelMap) -> str | None:
    """ED or ES by the Info.cfg beside it, or by its name."""
    if (frame := FRAME.search(one.stem)) and (one.path.parent / "Info.cfg").is_file():
        try:
            frames = acdc.frames(one.path.parent)
        except InputError:  # it names no phases: what is compared does not depend on it
            return None
        return next((phase for phase, number in frames.items() if number == int(frame[1])), None)
    return next(iter(PHASE.findall(one.stem)), None)


def image(prediction: LabelMap, truth: LabelMap) -> Path | None:
    """The scan: as predictions.json has it, beside the truth, or in nnU-Net's folder of images."""
    scan = Path(str((prediction.listed or {}).get("scan") or ""))
    if scan.is_file() and prediction.frame is None:
        return scan
    folder = truth.path.parent
    beside = [folder, folder.with_name(re.sub("^(labels|masks)", "images", folder.name))]
    parts = (f"{truth.stem}{part}{end}" for part in ("_0000", "") for end in volumes.SCANS)
    paths = (place / part for part in parts for place in beside)
    return next((path for path in paths if path.is_file() and path != truth.path), None)
