"""Any predictions against the truth, whoever made them: overlap, distances, volumes, clinical indices.

Files are paired by name, the relative folder only where a name is there twice::

    predictions/X_seg.nii.gz (X_pred, X_mask, X_label, X)   truth/X_gt.nii.gz (X_mask, X_label, X_seg, X), as in ACDC
    predictions/X.nii.gz or X_0000_seg.nii.gz               labelsTr/X.nii.gz of imagesTr/X_0000.nii.gz, as in nnU-Net
    predictions/X_4d_seg.nii.gz, a cine                     truth/X_frame01_gt.nii.gz, its first frame

Both are laid out alike before they are compared, whatever the order in which their files store the axes, but never
resampled: the grids must be one. Empty structures follow nnU-Net: no score where neither has the structure, the worst
one where only one of them has it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle import clinical
from acdc_semicycle.data import acdc, volumes
from acdc_semicycle.data.records import IGNORED, PICTURES
from acdc_semicycle.errors import InputError
from acdc_semicycle.files import write_text
from acdc_semicycle.metrics import confusion, counts, dice, iou, mean_and_std
from acdc_semicycle.surfaces import distances

SCORES = ("dice", "iou", "hd95", "assd")
ENDING = re.compile(r"_(?:(gt)|(mask)|(label)s?|(seg)(?:mentation)?|(pred)(?:iction|icted)?)$", re.IGNORECASE)
AS_TRUTH = ("gt", "mask", "label", "seg", "")  # which of one name's files is meant, the first that is there
AS_PREDICTION = ("pred", "seg", "mask", "label", "gt", "")
PHASE = re.compile(r"(?:^|_)(E[DS])(?=_|$)")
FRAME = re.compile(r"_frame(\d+)$", re.IGNORECASE)
OFF_GRID = 0.1  # of the smallest spacing: how far a corner of two grids may be apart
NOT_WHOLE = 1e-3  # what a slope and its rounding make of a whole number
SHOWN = 10  # lines of failures in the table

Names = tuple[str, str, str | None]  # case, patient, phase


@dataclass(frozen=True)
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


def compare(predictions: Sequence[Path], truth: Path | None, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Score label maps against the truth, and those of a second tool against the first's, too.

    Args:
        predictions: one folder (or one file), or two: of two tools. With a predictions.json in it, only its masks.
        truth: a folder in ACDC's layout, in nnU-Net's, or flat; a file; None to hold the second tool against the
            first, only.
        classes: names, background first; by default those in predictions.json, ACDC's for ACDC's layout, and else the
            labels' numbers.

    Returns:
        The content of evaluation.json: ``cases``, ``summary`` by tool, ``patients``, ``agreement`` (and
        ``agreement_cases``), ``missing``, ``failures``, ``notes``, and how it was made.

    Raises:
        InputError: nothing there, nothing paired, more than two tools, or classes that contradict each other.
    """
    roots = [Path(path) for path in predictions]
    if not 1 <= len(roots) <= 2 or (truth is None and len(roots) < 2):
        raise InputError(f"{len(roots)} predictions are given: give one or two with a truth, or two without one")
    tools = [root.resolve().name for root in roots]
    if len(set(tools)) < len(tools):
        tools = [str(root) for root in roots]
    found = [_predicted(root, truth) for root in roots]
    known = found[0] if truth is None else _label_maps(Path(truth), AS_TRUTH, roots)
    if all(path.is_file() for path in (*roots, known[0].path if truth is None else Path(truth))):
        found = [[replace(one, stem=known[0].stem) for one in maps] for maps in found]  # whatever they are called
    names, notes = _classes(classes, found, known)
    run = _Run(list(names))
    paired = []
    for tool, root, maps in zip(tools, roots, found, strict=True) if truth is not None else ():
        paired.append(run.pair(tool, maps, known, f"{root} and {truth}"))
        run.rows += run.score(tool, paired[-1])
    both = []
    if len(roots) == 2:
        tool = " against ".join(reversed(tools))
        pairs = _common(*paired) if paired else run.pair(tool, found[1], found[0], f"{roots[1]} and {roots[0]}")
        both = run.score(tool, [pair for pair in pairs if not run.failed & {one.path for one in pair}])
    parts = {tool: [row for row in run.rows if row["tool"] == tool] for tool in tools} if paired else {}
    return {
        "truth": None if truth is None else str(truth),
        "tools": tools,
        "summary": {tool: summary(rows, run.structures) for tool, rows in parts.items()},
        **run.content(both, notes),
    }


class _Run:
    """What piles up over the pairs of an evaluation."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.structures = classes[1:]
        self.rows: list[dict[str, Any]] = []
        self.missing: list[dict[str, str]] = []
        self.failures: list[dict[str, str]] = []
        self.failed: set[Path] = set()
        self.names: dict[tuple[Path, int | None], Names] = {}

    def content(self, both: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
        from acdc_semicycle.evaluate import provenance  # slow: only where it is needed

        patients, withheld = _patients(self.rows)
        return {
            "classes": self.classes,
            "structures": self.structures,
            "cases": self.rows,
            "patients": patients,
            "agreement": summary(both, self.structures) if both else None,
            "agreement_cases": both,
            "missing": self.missing,
            "failures": self.failures,
            "notes": notes + _unit_notes(self.rows or both) + withheld,
            **provenance(),
        }

    def pair(self, tool: str, predictions: list[LabelMap], truths: list[LabelMap], where: str) -> list[Pair]:
        pairs, alone, torn = _paired(_frames_of_cines(predictions, truths), truths)
        if not pairs and not torn:
            one, other = predictions[0], truths[0]
            raise InputError(
                f"{where} have no name in common, e.g. {one.path.name} and {other.path.name}: without _gt, _seg, _mask,"
                f" _label, _pred and _0000 these are {one.stem} and {other.stem}: rename them, or give other folders"
            )
        self.missing += [{"tool": tool} | one for one in alone]
        self.failures += [{"tool": tool} | one for one in torn]
        return pairs

    def score(self, tool: str, pairs: list[Pair]) -> list[dict[str, Any]]:
        rows = []
        times = Counter(truth.stem for _, truth in pairs)
        for prediction, truth in tqdm(pairs, f"comparing {tool}", disable=None):
            names = _names(prediction, truth, times[truth.stem] == 1)
            names = self.names.setdefault((truth.path, truth.frame), names)  # all tools have those of the first
            self.names.setdefault((prediction.path, prediction.frame), names)
            case, patient, phase = names
            try:
                scores = self._scores(prediction, truth)
            except InputError as error:
                self.failures.append({"tool": tool, "case": case, "reason": str(error)})
                self.failed.add(prediction.path)
            else:
                rows.append({"tool": tool, "case": case, "patient": patient, "phase": phase} | scores)
        return rows

    def _scores(self, prediction: LabelMap, truth: LabelMap) -> dict[str, Any]:
        ours, theirs = self._read(prediction), self._read(truth, IGNORED)
        _check_grids(prediction.path, ours, truth.path, theirs)
        n, image, mm = len(self.classes), _image(prediction, truth), theirs.fault is None
        known = theirs.labels != IGNORED
        one, other = (np.where(known, grid.labels, 0).astype(np.uint8) for grid in (ours, theirs))
        found = counts(confusion(torch.from_numpy(one), torch.from_numpy(other), n))[1:]
        hd95, assd = distances(one, other, n, theirs.spacing if mm else (1.0, 1.0, 1.0))
        scores = {"dice": dice(found).tolist(), "iou": iou(found).tolist(), "hd95": hd95, "assd": assd}
        ml = {
            side: clinical.volumes_ml(labels, theirs.voxel_ml, self.classes)
            for side, labels in (("truth", other), ("prediction", one))
        }
        return {
            "prediction": str(prediction.path),
            "truth": str(truth.path),
            "image": None if image is None else str(image),
            "unit": "mm" if mm else "voxels",
            **{score: self._by_structure(values) for score, values in scores.items()},
            "volumes_ml": ml if mm else None,
            "withheld": theirs.fault,
        }

    def _by_structure(self, values: list[float]) -> dict[str, float | None]:
        return {"mean": _mean(values)} | dict(zip(self.structures, map(_number, values), strict=True))

    def _read(self, one: LabelMap, ignored: int | None = None) -> _Grid:
        volume = volumes.read(one.path, frames=True)
        frames = volume.voxels.shape[3]
        if one.frame is None and frames > 1:
            raise InputError(f"{one.path} has {frames} frames: give a 3D label map, or a truth X_frameNN for each")
        if (one.frame or 0) >= frames:
            raise InputError(f"{one.path} has {frames} frames, none of them is that of {one.name}: give the whole cine")
        labels = _class_indices(one.path, volume.voxels[..., one.frame or 0], len(self.classes), ignored)
        affine = volume.layout.affine(volume.affine, labels.shape)
        return _Grid(volume.layout.apply(labels), affine, volume.voxel_ml, volume.spacing_fault or _shear(affine))


@dataclass(frozen=True, eq=False)
class _Grid:
    labels: NDArray[np.uint8]  # [H, W, slices]
    affine: NDArray[np.float64]
    voxel_ml: float
    fault: str | None  # why there are no millimetres

    @property
    def spacing(self) -> tuple[float, ...]:
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    def __str__(self) -> str:
        steps = " x ".join(f"{step:.4g}" for step in self.spacing)
        return f"{' x '.join(map(str, self.labels.shape))} voxels of {steps} mm"


def _class_indices(path: Path, voxels: NDArray, classes: int, ignored: int | None) -> NDArray[np.uint8]:
    """Voxels as class indices, once they are whole numbers below ``classes``, or ``ignored``."""
    whole = np.rint(voxels) if voxels.dtype.kind == "f" else voxels
    if voxels.dtype.kind == "f" and np.abs(voxels - whole).max() > NOT_WHOLE:
        raise InputError(f"{path} holds numbers that are not whole, as probabilities are: give class indices")
    strange = (whole < 0) | ((whole >= classes) & (whole != ignored))
    if strange.any():
        raise InputError(
            f"{path} holds the label {whole[strange][0]:.0f}: give names for more than {classes} classes, or correct it"
        )
    return whole.astype(np.uint8)


def _shear(affine: NDArray[np.float64]) -> str | None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return None if np.allclose(directions.T @ directions, np.eye(3), atol=1e-3) else "its axes are not at right angles"


def _check_grids(path: Path, one: _Grid, other_path: Path, other: _Grid) -> None:
    close = one.labels.shape == other.labels.shape and np.allclose(one.spacing, other.spacing, rtol=0.01)
    if not close:
        raise InputError(f"{path} is {one}, but {other_path} is {other}: give label maps on the scan's own grid")
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in one.labels.shape))])
    apart = np.linalg.norm((corners @ (one.affine - other.affine).T), axis=1).max()
    if apart > OFF_GRID * min(other.spacing):
        shifted = np.allclose(one.affine[:3, :3], other.affine[:3, :3], atol=1e-3)
        what = "origin" if shifted else "axes' directions"
        raise InputError(
            f"{path} lies up to {apart:.4g} mm off {other_path} (another {what} in the affine): give label maps on the"
            " scan's own grid"
        )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def summary(rows: Sequence[dict[str, Any]], structures: Sequence[str]) -> dict[str, Any]:
    """Means over cases of each structure, ``mean`` over structures; standard deviations (ddof 1) and numbers of cases.

    A case without the structure does not count. Where only some cases have millimetres, distances are theirs.
    """
    phases = [phase for phase in acdc.PHASES if any(row["phase"] == phase for row in rows)]
    parts = {phase: _statistics([row for row in rows if row["phase"] == phase], structures) for phase in phases}
    return _statistics(rows, structures) | {"by_phase": parts}


def _statistics(rows: Sequence[dict[str, Any]], structures: Sequence[str]) -> dict[str, Any]:
    unit = "mm" if any(row["unit"] == "mm" for row in rows) or not rows else "voxels"
    result: dict[str, Any] = {"volumes": len(rows), "unit": unit}
    for score in SCORES:
        counted = [row for row in rows if score in ("dice", "iou") or row["unit"] == unit]
        stats = {}
        for name in ("mean", *structures):
            stats[name] = mean_and_std([row[score][name] for row in counted if row[score][name] is not None])
        result[score] = {"mean": _mean(stats[name][0] for name in structures)}
        result[score] |= {name: _number(stats[name][0]) for name in structures}
        result[f"{score}_std"] = {name: _number(std) for name, (_, std, _) in stats.items()}
        result[f"{score}_n"] = {name: n for name, (_, _, n) in stats.items()}
    return result


def _patients(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Clinical indices of each tool's patients with ED, ES and a spacing; a note where some are withheld."""
    beats: dict[tuple[str, str], dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in (row for row in rows if set(clinical.STRUCTURES) & set(row["dice"])):
        beats[row["tool"], row["patient"]][row["phase"]].append(row)
    found, withheld = [], set()
    for (tool, patient), phases in beats.items():
        pair = [phases[phase] for phase in acdc.PHASES]
        if any(len(each) != 1 for each in pair):
            withheld.add(patient)
        elif all(row["volumes_ml"] for (row,) in pair):
            sides = {
                side: clinical.indices(*(row["volumes_ml"][side] for (row,) in pair))
                for side in ("truth", "prediction")
            }
            found.append({"tool": tool, "patient": patient} | sides)
    if not withheld:
        return found, []
    example = sorted(withheld)[0]
    return found, [f"{len(withheld)} patients, e.g. {example}, have no one ED and one ES: no clinical indices of them"]


def _unit_notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    faults = Counter(row["withheld"] for row in rows)
    notes = [
        f"{times} of {len(rows)} comparisons are without millimetres ({fault}): distances are in voxels, volumes and"
        " clinical indices are withheld"
        for fault, times in faults.items()
        if fault
    ]
    if len({row["unit"] for row in rows}) == 2:
        notes.append("means of distances are over the cases in mm only")
    return notes


def _predicted(root: Path, truth: Path | None) -> list[LabelMap]:
    """The masks that predictions.json lists; without one, the label maps there."""
    sheet = root / "predictions.json"
    if not sheet.is_file():
        return _label_maps(root, AS_PREDICTION, [] if truth is None else [Path(truth)])
    try:
        content = json.loads(sheet.read_text())
        cases = {root / case["mask"]: case | {"classes": content.get("classes")} for case in content["cases"]}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{sheet} cannot be read ({error!r}): predict again, or take it away") from error
    if not cases:
        raise InputError(f"{sheet} lists no case: predict again")
    return [replace(_label_map(path, root)[0], listed=case) for path, case in cases.items()]


def _label_map(path: Path, root: Path) -> tuple[LabelMap, str]:
    """A label map, and its kind by the ending of its name."""
    end = volumes.ending(path)
    if not end:
        raise InputError(f"{path} is no volume: only {' '.join(volumes.SCANS)} are compared here")
    stem = path.name[: -len(end)]
    ending = ENDING.search(stem)
    kind = next((kind for kind in ending.groups() if kind), "").lower() if ending else ""
    stem = re.sub("(?<=.)_0000$", "", ENDING.sub("", stem) or stem)
    return LabelMap(path, path.parent.relative_to(root).parts if path != root else (), stem), kind


def _label_maps(root: Path, kinds: Sequence[str], others: Sequence[Path]) -> list[LabelMap]:
    """The label maps below a folder, sorted, without images and what lies in folders of the other side's.

    Where any name says that it is a mask's, the others are images. Of one name's files the first of ``kinds`` counts.
    """
    if root.is_file():
        return [_label_map(root, root)[0]]
    files = [_label_map(path, root) for path in _volumes(root, others)]
    if any(kind for _, kind in files):
        files = [(one, kind) for one, kind in files if kind in kinds and kind]
    best: dict[tuple[tuple[str, ...], str], tuple[int, LabelMap]] = {}
    for one, kind in files:
        rank, other = best.get((one.folder, one.stem), (len(kinds), one))
        if kinds.index(kind) == rank:
            raise InputError(f"{other.path} and {one.path} have one name: rename one, or keep one")
        if kinds.index(kind) < rank:
            best[one.folder, one.stem] = kinds.index(kind), one
    if not best:
        raise InputError(f"{root} holds no label map: give a folder of X_{kinds[0]}.nii.gz or X.nii.gz files")
    return [one for _, one in sorted(best.values(), key=lambda ranked: ranked[1].name)]


def _volumes(root: Path, others: Sequence[Path]) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root} is not there: give a folder of label maps, or one")
    within = [other.resolve() for other in others if other.resolve() != root.resolve()]
    within = [other for other in within if other.is_relative_to(root.resolve())]
    parts = [folder for name in ("labelsTr", "labelsTs") if (folder := root / name).is_dir()]
    below = sorted(path for part in parts or [root] for path in part.rglob("*") if path.is_file())
    below = [path for path in below if not any(part[0] == "." for part in path.relative_to(root).parts)]
    below = [path for path in below if not any(path.resolve().is_relative_to(other) for other in within)]
    found = [path for path in below if volumes.ending(path)]
    if not found and (pictures := [path for path in below if path.suffix.lower() in PICTURES]):
        raise InputError(f"{root} holds pictures, e.g. {pictures[0].name}: give volumes ({' '.join(volumes.SCANS)})")
    return found


def _classes(
    given: Sequence[str] | None, tools: list[list[LabelMap]], known: list[LabelMap]
) -> tuple[Sequence[str], list[str]]:
    """The classes' names, and a note where nobody gave them."""
    listed = [one.listed["classes"] for maps in tools for one in maps[:1] if one.listed and one.listed["classes"]]
    if given is None and len({tuple(names) for names in listed}) > 1:
        raise InputError(
            f"the tools' classes are {listed[0]} and {listed[1]}: give classes if their labels are the same"
        )
    names = given or (listed[0] if listed else None)
    if names is None and all((one.path.parent / "Info.cfg").is_file() for one in known):
        names = acdc.CLASSES
    if names is not None:
        if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORED or "mean" in names:
            raise InputError(f"classes are {list(names)}: give 2 to {IGNORED} names, each once, background first")
        return names, []
    last = max(_last_label(one) for one in tqdm(known, "looking for labels", disable=None))
    return [str(k) for k in range(last + 1)], ["no class names are given: structures are called by their labels"]


def _last_label(one: LabelMap) -> int:
    try:
        voxels = volumes.read(one.path, frames=True).voxels
    except InputError:  # a failure when its turn comes
        return 1
    labels = voxels[voxels < IGNORED]
    return max(1, int(np.rint(labels.max())) if labels.size else 1)


def _frames_of_cines(predictions: list[LabelMap], truths: list[LabelMap]) -> list[LabelMap]:
    """Predictions, a cine X or X_4d of which the truths are X_frameNN taken apart: NN counts from 1, as in ACDC."""
    cines = {one.stem for one in predictions} - {one.stem for one in truths}
    frames: dict[str, set[str]] = defaultdict(set)
    for stem in {one.stem for one in truths} - {one.stem for one in predictions}:
        if FRAME.search(stem):
            frames[FRAME.sub("", stem)].add(stem)
    result = []
    for one in predictions:
        stems = frames.get(one.stem.removesuffix("_4d"), ()) if one.stem in cines else ()
        apart = [replace(one, stem=stem, frame=int(FRAME.findall(stem)[0]) - 1) for stem in sorted(stems)]
        result += apart or [one]
    return result


def _paired(
    predictions: list[LabelMap], truths: list[LabelMap]
) -> tuple[list[Pair], list[dict[str, str]], list[dict[str, str]]]:
    """What belongs together; what is alone, and what could belong to several, each with the reason.

    First what has folder and name in common; then names that are there once; then those whose folders end alike.
    """
    exact = {(one.folder, one.stem): one for one in truths}
    pairs = [(one, exact.pop(key)) for one in predictions if (key := (one.folder, one.stem)) in exact]
    taken = {id(one) for pair in pairs for one in pair}
    times = [Counter(one.stem for one in maps) for maps in (predictions, truths)]
    fits: list[tuple[LabelMap, list[LabelMap]]] = []
    for one in predictions:
        if id(one) not in taken:
            once = all(count[one.stem] == 1 for count in times)
            same = [other for other in exact.values() if other.stem == one.stem]
            fits.append((one, [other for other in same if once or _alike(one, other)]))
    claims = Counter(id(other) for _, others in fits for other in others)
    alone, torn = [], []
    for one, others in fits:
        if len(others) == 1 and claims[id(others[0])] == 1:
            pairs.append((one, others[0]))
        elif others:
            rivals = " and ".join(str(other.path) for other in others[:2])
            torn.append(
                {"case": one.name, "reason": f"{one.path} is one of several for {rivals}: give both one layout"}
            )
        else:
            alone.append({"case": one.name, "reason": f"{one.path} has no truth"})
    done = {id(other) for _, other in pairs} | set(claims)
    alone += [{"case": one.name, "reason": f"{one.path} has no prediction"} for one in truths if id(one) not in done]
    return sorted(pairs, key=lambda pair: pair[1].name), alone, torn


def _alike(one: LabelMap, other: LabelMap) -> bool:
    n = min(len(one.folder), len(other.folder))
    return n == 0 or one.folder[-n:] == other.folder[-n:]


def _common(first: list[Pair], second: list[Pair]) -> list[Pair]:
    """The second tool's label maps with the first's of the same truth."""
    of_first = {truth.path: prediction for prediction, truth in first}
    return [(prediction, of_first[truth.path]) for prediction, truth in second if truth.path in of_first]


def _names(prediction: LabelMap, truth: LabelMap, once: bool) -> Names:
    """Case, patient and phase: as predictions.json has them, else from Info.cfg and the names.

    Args:
        once: whether the name alone, without its folder, says which case is meant.
    """
    listed = prediction.listed or truth.listed or {}
    case = str(listed.get("case") or prediction.name) if prediction.frame is None else prediction.name
    phase = listed.get("phase") or _phase(truth) or _phase(prediction)
    for name, frame in (listed.get("phases") or {}).items():
        phase = name if prediction.frame is not None and frame == prediction.frame else phase
    bare = PHASE.sub("", FRAME.sub("", truth.stem)).strip("_")
    whose = bare or truth.path.parent.name
    patient = listed.get("patient") or (whose if once else "/".join((*truth.folder, bare)).strip("/"))
    return case, str(patient), phase


def _phase(one: LabelMap) -> str | None:
    """ED or ES by the Info.cfg beside it, or by its name."""
    if (frame := FRAME.search(one.stem)) and (one.path.parent / "Info.cfg").is_file():
        try:
            frames = acdc.frames(one.path.parent)
        except InputError:  # it names no phases: what is compared does not depend on it
            return None
        return next((phase for phase, number in frames.items() if number == int(frame[1])), None)
    found = PHASE.search(one.stem)
    return found[1] if found else None


def _image(prediction: LabelMap, truth: LabelMap) -> Path | None:
    """The scan: as predictions.json has it, beside the truth, or in nnU-Net's folder of images."""
    scan = Path(str((prediction.listed or {}).get("scan") or ""))
    if scan.is_file() and prediction.frame is None:
        return scan
    folder = truth.path.parent
    beside = [folder, folder.with_name(re.sub("^(labels|masks)", "images", folder.name))]
    names = (f"{truth.stem}{part}{end}" for part in ("_0000", "") for end in volumes.SCANS)
    paths = (place / name for name in names for place in beside)
    return next((path for path in paths if path.is_file() and path != truth.path), None)


def write(content: dict[str, Any], folder: Path) -> Path:
    """evaluation.json, cases.csv, summary.csv and patients.csv, each whole or not at all; the first one's path."""
    path = Path(folder) / "evaluation.json"
    heads = ("mean", *content["structures"])
    write_text(path.with_name("cases.csv"), _csv(_case_rows(content, heads)))
    write_text(path.with_name("summary.csv"), _csv(_summary_rows(content, heads)))
    write_text(path.with_name("patients.csv"), _csv(_patient_rows(content)))
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    for row in rows:
        cells = ["" if cell is None else f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row]
        csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _case_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    first, sides = ["tool", "case", "patient", "phase", "unit"], ("truth", "prediction")
    scores = [(score, name) for score in SCORES for name in heads]
    ml = [(side, name) for side in sides for name in content["structures"]]
    yield [*first, *("_".join(pair) for pair in scores), *(f"{side}_{name}_ml" for side, name in ml)]
    for row in content["cases"] + content["agreement_cases"]:
        volumes_ml = row["volumes_ml"] or {side: {} for side in sides}
        values = [row[score][name] for score, name in scores] + [volumes_ml[side].get(name) for side, name in ml]
        yield [*(row[name] for name in first), *values]


def _summary_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    yield ["tool", "phase", "score", "structure", "mean", "std", "n", "unit"]
    for tool, whole in _summaries(content):
        for phase, part in {"": whole, **whole["by_phase"]}.items():
            for score, name in ((score, name) for score in SCORES for name in heads):
                unit = part["unit"] if score in ("hd95", "assd") else ""
                values = [part[score][name], part[f"{score}_std"][name], part[f"{score}_n"][name]]
                yield [tool, phase, score, name, *values, unit]


def _patient_rows(content: dict[str, Any]) -> Iterable[list[Any]]:
    names = list(clinical.indices({}, {}))
    yield ["tool", "patient", *(f"{side}_{name}" for side in ("truth", "prediction") for name in names)]
    for row in content["patients"]:
        yield [row["tool"], row["patient"], *(row[side][name] for side in ("truth", "prediction") for name in names)]


def _summaries(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each tool's summary under its name, and that of their agreement."""
    between = [(" against ".join(reversed(content["tools"])), content["agreement"])] if content["agreement"] else []
    return [*content["summary"].items(), *between]


def table(content: dict[str, Any]) -> str:
    """What to print: scores by tool and phase, what is missing, failures and notes."""
    heads = ("mean", *content["structures"])
    wide = max(8, *(len(head) + 2 for head in heads))
    lines: list[str] = []
    for tool, whole in _summaries(content):
        lines += [f"{tool}: {whole['volumes']} volumes", " " * 22 + "".join(f"{h:>{wide}}" for h in (*heads, "n"))]
        lines += [f"{title:<22}{_cells(part, score, heads, wide)}" for title, score, part in _titles(whole)]
    for key in ("missing", "failures"):
        if found := content[key]:
            lines.append(f"{key}: {len(found)}")
            lines += [f"  {one['case']}: {one['reason']}" for one in found[:SHOWN]]
            lines += [f"  and {len(found) - SHOWN} more, in evaluation.json"] if len(found) > SHOWN else []
    return "\n".join([*lines, *content["notes"]])


def _titles(whole: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    phases = [(f"Dice, {phase}", "dice", part) for phase, part in whole["by_phase"].items()]
    far = [(f"{score.upper()}, {whole['unit']}", score, whole) for score in ("hd95", "assd")]
    return [("Dice", "dice", whole), *phases, ("IoU", "iou", whole), *far]


def _cells(part: dict[str, Any], score: str, heads: Sequence[str], wide: int) -> str:
    values = [part[score][head] for head in heads]
    digits = 3 if score in ("dice", "iou") else 2
    shown = ["-" if value is None else f"{value:.{digits}f}" for value in values]
    return "".join(f"{cell:>{wide}}" for cell in (*shown, part[f"{score}_n"]["mean"]))
