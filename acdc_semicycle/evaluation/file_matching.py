"""Which label map is held against which, whoever named them.

Files are paired by name, the relative folder only where a name is there twice::

    predictions/X_seg.nii.gz (X_pred, X_mask, X_label, X)   truth/X_gt.nii.gz (X_mask, X_label, X_seg, X), as in ACDC
    predictions/X.nii.gz or X_0000_seg.nii.gz               labelsTr/X.nii.gz of imagesTr/X_0000.nii.gz, as in nnU-Net
    predictions/X_4d_seg.nii.gz, a cine                     truth/X_frame01_gt.nii.gz, its first frame
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError

PHASE = re.compile(r"(?:^|_)(E[DS])(?=_|$)")
FRAME = re.compile(r"_frame(\d+)$", re.IGNORECASE)

Pair = tuple[LabelMap, LabelMap]  # the prediction, and what it is held against
Reason = dict[str, str]  # a case, and why it has no partner


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
    if not folder.name:  # a relative path within the working directory
        folder = folder.resolve()
    beside = [folder, folder.parent / re.sub("^(labels|masks)", "images", folder.name)]
    parts = (f"{truth.stem}{part}{end}" for part in ("_0000", "") for end in volumes.SCANS)
    paths = (place / part for part in parts for place in beside)
    return next((path for path in paths if path.is_file() and path != truth.path), None)
