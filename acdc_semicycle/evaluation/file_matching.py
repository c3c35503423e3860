"""Which prediction belongs to which truth, whoever named their files.

Files are paired by name, the relative folder only where a name is there twice::

    predictions/X_seg.nii.gz (X_pred, X_mask, X_label, X)   truth/X_gt.nii.gz (X_mask, X_label, X_seg, X), as in ACDC
    predictions/X.nii.gz or X_0000_seg.nii.gz               labelsTr/X.nii.gz of imagesTr/X_0000.nii.gz, as in nnU-Net
    predictions/X_4d_seg.nii.gz, a cine                     truth/X_frame01_gt.nii.gz, its first frame
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from acdc_semicycle.evaluation.case_names import FRAME, PHASE, phase_of
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.runtime.errors import InputError

Pair = tuple[LabelMap, LabelMap]  # a prediction and its truth
Reason = dict[str, str]  # a case, and why it has no partner


def paired(
    predictions: Sequence[LabelMap],
    truths: Sequence[LabelMap],
    expects: Callable[[LabelMap], bool] = lambda truth: True,
) -> tuple[list[Pair], list[Reason], list[Reason]]:
    """Find each prediction's truth: first by folder and name, then by a name that occurs once, then by folders' ends.

    Args:
        expects: whether a truth without a prediction is among those without a partner.

    Returns:
        The pairs, sorted by truth; the label maps without a partner; the predictions that could belong to several
        truths, or share one. Of the latter two, each with the reason.

    Raises:
        InputError: no prediction has a candidate.
    """
    predictions = _frames_of_cines(predictions, truths)
    candidates = _candidates(predictions, truths)
    claims: Counter[LabelMap] = Counter()
    for partners in candidates.values():
        claims.update(partners)
    pairs, unmatched, ambiguous = _sorted_out(candidates, claims)
    for truth in truths:
        if truth not in claims and expects(truth):
            unmatched.append(_reason(truth, "has no prediction"))
    if not pairs and not ambiguous:
        raise InputError(_nothing_in_common(predictions[0], truths[0]))
    return sorted(pairs, key=lambda pair: pair[1].name), unmatched, ambiguous


def _reason(label_map: LabelMap, words: str) -> Reason:
    """Why a label map has no partner, under its case."""
    return {"case": label_map.name, "reason": f"{label_map.path} {words}"}


def _sorted_out(
    candidates: Mapping[LabelMap, list[LabelMap]], claims: Mapping[LabelMap, int]
) -> tuple[list[Pair], list[Reason], list[Reason]]:
    """The predictions with a truth of their own, with that; those without any, and those that must share one."""
    pairs: list[Pair] = []
    unmatched, ambiguous = [], []
    for prediction, partners in candidates.items():
        if not partners:
            unmatched.append(_reason(prediction, "has no truth"))
        elif len(partners) == 1 and claims[partners[0]] == 1:
            pairs.append((prediction, partners[0]))
        else:
            rivals = " and ".join(str(truth.path) for truth in partners[:2])
            ambiguous.append(_reason(prediction, f"is one of several for {rivals}: give both folders one layout"))
    return pairs, unmatched, ambiguous


def _candidates(predictions: Sequence[LabelMap], truths: Sequence[LabelMap]) -> dict[LabelMap, list[LabelMap]]:
    """The truths that each prediction may belong to: the one of its folder and name, else those of its stem."""
    truth_by_name = {truth.name: truth for truth in truths}
    predicted_names = {prediction.name for prediction in predictions}
    stems = Counter(label_map.stem for label_map in (*predictions, *truths))
    free_truths = [truth for truth in truths if truth.name not in predicted_names]
    result: dict[LabelMap, list[LabelMap]] = {}
    for prediction in predictions:
        if prediction.name in truth_by_name:
            result[prediction] = [truth_by_name[prediction.name]]
        else:
            result[prediction] = [truth for truth in free_truths if _have_one_stem(prediction, truth, stems)]
    return result


def _have_one_stem(prediction: LabelMap, truth: LabelMap, stems: Mapping[str, int]) -> bool:
    """Whether two label maps have one stem, and no others have it, or their folders end alike."""
    if prediction.stem != truth.stem:
        return False
    return stems[truth.stem] == 2 or _end_alike(prediction.folder, truth.folder)


def _end_alike(folder: tuple[str, ...], other_folder: tuple[str, ...]) -> bool:
    """Whether the shorter of two folders is the end of the longer one."""
    depth = min(len(folder), len(other_folder))
    return depth == 0 or folder[-depth:] == other_folder[-depth:]


def _nothing_in_common(prediction: LabelMap, truth: LabelMap) -> str:
    """The error message where no name of two folders is the same."""
    root = prediction.path.parents[len(prediction.folder)]
    other_root = truth.path.parents[len(truth.folder)]
    return (
        f"{root} and {other_root} have no name in common, e.g. {prediction.path.name} and {truth.path.name}: without"
        " _gt, _seg, _mask, _label, _pred (also with - or a dot) and _0000 these are"
        f" {prediction.stem} and {truth.stem}: rename them, or give other folders"
    )


def _frames_of_cines(predictions: Sequence[LabelMap], truths: Sequence[LabelMap]) -> list[LabelMap]:
    """Predictions, a cine X or X_4d of which the truths are X_frameNN taken apart: NN counts from 1, as in ACDC.

    X_ED or X_4d_ED is the frame that the truths' Info.cfg calls so.
    """
    truth_stems = {truth.stem for truth in truths}
    frames = _stems_of_frames(truth_stems - {prediction.stem for prediction in predictions})
    phases = _stems_of_phases(truths)
    result = []
    for prediction in predictions:
        phase = PHASE.search(prediction.stem)
        cine_and_phase = PHASE.sub("", prediction.stem).removesuffix("_4d"), phase and phase[1]
        cine = prediction.stem.removesuffix("_4d")
        if phase and cine_and_phase in phases:
            result.append(replace(prediction, stem=phases[cine_and_phase]))
        elif cine in frames and prediction.stem not in truth_stems:
            for index, stem in frames[cine]:
                result.append(replace(prediction, stem=stem, frame=index))
        else:
            result.append(prediction)
    return result


def _stems_of_frames(stems: set[str]) -> dict[str, list[tuple[int, str]]]:
    """The frames of each cine X by index from 0, with their own stems X_frameNN."""
    frames: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for stem in sorted(stems):
        match = FRAME.search(stem)
        if match:
            frames[FRAME.sub("", stem)].append((int(match[1]) - 1, stem))
    return frames


def _stems_of_phases(truths: Sequence[LabelMap]) -> dict[tuple[str, str | None], str]:
    """The stems X_frameNN by cine X and phase."""
    phases = {}
    for truth in truths:
        if FRAME.search(truth.stem):
            phases[FRAME.sub("", truth.stem), phase_of(truth)] = truth.stem
    return phases
