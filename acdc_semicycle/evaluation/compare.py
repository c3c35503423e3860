"""Any predictions against the truth, whoever made them: overlap, distances, volumes, clinical indices.

Files are paired by name (:mod:`acdc_semicycle.evaluation.file_matching`) and laid out alike before they are
compared, whatever the order in which they store the axes, but never resampled: the grids must be one. Empty
structures follow nnU-Net: no score where neither has the structure, the worst one where only one of them has it.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import clinical, file_matching
from acdc_semicycle.evaluation.file_matching import LabelMap, Pair
from acdc_semicycle.evaluation.metrics import confusion, counts, dice, iou, mean_and_std
from acdc_semicycle.evaluation.surface_distance import distances
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.geometry import check_grids, shear
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_text
from acdc_semicycle.runtime.provenance import plain, provenance

OVERLAPS, FAR = ("dice", "iou"), ("hd95", "assd")
SCORES = (*OVERLAPS, *FAR)
SIDES = ("truth", "prediction")
NOT_WHOLE = 1e-3  # what a slope and its rounding make of a whole number
OURS = (  # and by what they are known
    ("evaluation.json", '"cases"', MADE_HERE),
    ("cases.csv", "tool,case,patient,phase,unit,"),
    ("summary.csv", "tool,phase,score,structure,"),
    ("patients.csv", "tool,patient,truth_"),
)
SHOWN = 10  # lines of failures in the table

Row = dict[str, Any]  # a case, as in evaluation.json, but with NaN for null


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
    roots, given = [Path(path) for path in predictions], [] if truth is None else [Path(truth)]
    tools = _tools(roots, given)
    found = [file_matching.predicted(root, given) for root in roots]
    known = file_matching.label_maps(given[0], file_matching.AS_TRUTH, roots) if given else found[0]
    left_out = [note for root, maps in zip(roots, found, strict=True) for note in _left_out(root, maps, given)]
    left_out += _left_out(given[0], known, roots) if given else []
    if all(path.is_file() for path in (*roots, *given)):
        found = [[replace(maps[0], stem=known[0].stem)] for maps in found]  # whatever they are called
    names, notes = _classes(classes, found, known)
    run = _Run(names)
    for tool, maps in zip(tools, found, strict=True) if given else ():
        run.add(tool, maps, known)
    both = run.agreement(tools, found) if len(tools) == 2 else []
    if not any(run.rows.values()) and not both:
        reasons = [failure["reason"] for failure in run.failures] or ["their names have nothing in common"]
        raise InputError(f"nothing could be compared: {reasons[0]}")
    head = {"truth": str(truth) if given else None, "tools": tools, "classes": names, "structures": names[1:]}
    return plain(head | run.content(both, notes + left_out) | provenance())


def _tools(roots: Sequence[Path], given: Sequence[Path]) -> list[str]:
    """What to call those whose predictions these are, once all that is given is there."""
    if gone := [path for path in (*roots, *given) if not path.exists()]:
        raise InputError(f"{gone[0]} is not there: give a folder of label maps, or one")
    if len(roots) > 2:
        raise InputError(f"{len(roots)} --pred are given: give one or two")
    if not given and len(roots) < 2:
        raise InputError(f"{roots[0]} is given without --truth: give one, or a second --pred to compare with")
    if len({root.resolve() for root in roots}) < len(roots):
        raise InputError(f"{roots[0]} is given as both tools: give the predictions of two, or of one with a truth")
    names = [root.resolve().name for root in roots]
    return names if len(set(names)) == len(names) else [str(root) for root in roots]


def _both(tools: Sequence[str]) -> str:
    return " against ".join(reversed(tools))


def _left_out(root: Path, maps: list[LabelMap], others: Sequence[Path]) -> list[str]:
    """A note where label maps of a folder are not compared, though they are named as if they were."""
    if not (paths := file_matching.left_out(root, maps, others)):
        return []
    why = "predictions.json does not list it" if maps[0].listed else "another of its name is"
    return [f"not compared: {many(len(paths), 'label map')} of {root}, e.g. {paths[0]}: {why}"]


def _classes(
    given: Sequence[str] | None, tools: list[list[LabelMap]], known: list[LabelMap]
) -> tuple[list[str], list[str]]:
    """The classes' names, and a note where nobody gave them."""
    listed = [maps[0].listed["classes"] for maps in tools if maps[0].listed and maps[0].listed["classes"]]
    if given is None and len({tuple(names) for names in listed}) > 1:
        raise InputError(f"the tools' classes are {listed[0]} and {listed[1]}: give classes if their labels are one")
    names = given or (listed[0] if listed else None)
    if names is None and all((one.path.parent / "Info.cfg").is_file() for one in known):
        names = acdc.CLASSES
    if names is None:
        last = 1
        for one in tqdm(known, "looking for labels", disable=None):
            with contextlib.suppress(InputError):  # a failure when its turn comes
                voxels = volumes.read(one.path, frames=True, mask=True).voxels
                last = int(np.rint(voxels[voxels < IGNORED].max(initial=last)))
        return [str(k) for k in range(last + 1)], ["no class names are given: structures are called by their labels"]
    if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORED or "mean" in names:
        raise InputError(f"classes are {list(names)}: give 2 to {IGNORED} names, each once, background first")
    return list(names), []


class _Run:
    """What piles up over the pairs of an evaluation."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.rows: dict[str, list[Row]] = {}  # of each tool
        self.scored: dict[str, dict[LabelMap, LabelMap]] = {}  # each tool's predictions by truth, where that worked
        self.missing: list[dict[str, str]] = []
        self.failures: list[dict[str, str]] = []
        self.names: dict[LabelMap, tuple[str, str, str | None]] = {}

    def add(self, tool: str, predictions: list[LabelMap], truths: list[LabelMap]) -> None:
        """Score what belongs together."""
        pairs, alone, torn = file_matching.paired(predictions, truths)
        self.missing += [{"tool": tool} | one for one in alone]
        self.failures += [{"tool": tool} | one for one in torn]
        self._score(tool, pairs)

    def agreement(self, tools: Sequence[str], found: Sequence[list[LabelMap]]) -> list[Row]:
        """Score the second tool against the first: what has one truth, or one name where there is no truth."""
        if not self.scored:
            self.add(_both(tools), found[1], found[0])
        else:
            first, second = (self.scored[tool] for tool in tools)
            self._score(_both(tools), [(one, first[truth]) for truth, one in second.items() if truth in first])
        return self.rows.pop(_both(tools))

    def _score(self, tool: str, pairs: list[Pair]) -> None:
        rows, scored = self.rows.setdefault(tool, []), self.scored.setdefault(tool, {})
        times = Counter(truth.stem for _, truth in pairs)
        for prediction, truth in tqdm(pairs, f"comparing {tool}", disable=None):
            names = file_matching.names(prediction, truth, times[truth.stem] == 1)
            names = self.names.setdefault(truth, names)  # all tools have those of the first
            case, patient, phase = self.names.setdefault(prediction, names)
            try:
                scores = _scores(prediction, truth, self.classes)
            except InputError as error:
                self.failures.append({"tool": tool, "case": case, "reason": str(error)})
            else:
                rows.append({"tool": tool, "case": case, "patient": patient, "phase": phase} | scores)
                scored[truth] = prediction

    def content(self, both: list[Row], notes: list[str]) -> dict[str, Any]:
        structures, rows = self.classes[1:], [row for rows in self.rows.values() for row in rows]
        patients, without = _patients(rows, structures)
        return {
            "summary": {tool: summary(own, structures) for tool, own in self.rows.items()},
            "cases": rows,
            "patients": patients,
            "agreement": summary(both, structures) if both else None,
            "agreement_cases": both,
            "missing": self.missing,
            "failures": self.failures,
            "notes": notes + _unit_notes(rows or both, "truth" if rows else "first tool") + without,
        }


def _scores(prediction: LabelMap, truth: LabelMap, classes: Sequence[str]) -> Row:
    ours, theirs = _read(prediction, classes), _read(truth, classes, IGNORED)
    check_grids(ours, theirs)
    known, scan, mm = theirs.voxels[..., 0] != IGNORED, file_matching.image(prediction, truth), theirs.doubt is None
    one, other = (np.where(known, side.voxels[..., 0], 0) for side in (ours, theirs))
    found = counts(confusion(torch.from_numpy(one), torch.from_numpy(other), len(classes)))[1:]
    far = distances(one, other, len(classes), theirs.spacing_mm if mm else (1.0, 1.0, 1.0))
    scores = zip(SCORES, (dice(found).tolist(), iou(found).tolist(), *far), strict=True)
    ml = [clinical.volumes_ml(labels, theirs.voxel_ml, classes) for labels in (other, one)]
    return {
        "prediction": str(prediction.path),
        "sha256": hashlib.sha256(prediction.path.read_bytes()).hexdigest(),
        "truth": str(truth.path),
        "image": None if scan is None else str(scan),
        "unit": "mm" if mm else "voxels",
        **{score: _by_structure(values, classes[1:]) for score, values in scores},
        "volumes_ml": dict(zip(SIDES, ml, strict=True)) if mm else None,
        "withheld": theirs.doubt,
    }


def _by_structure(values: list[float], structures: Sequence[str]) -> dict[str, float]:
    return {"mean": mean_and_std(values)[0]} | dict(zip(structures, values, strict=True))


def _read(one: LabelMap, classes: Sequence[str], ignored: int | None = None) -> Volume:
    """A label map [H, W, slices, 1], laid out as all are; its ``doubt`` says why there are no millimetres."""
    volume = volumes.read(one.path, frames=True, mask=True)
    frames = volume.voxels.shape[3]
    if one.frame is None and frames > 1:
        raise InputError(f"{one.path} has {frames} frames: give a 3D label map, or a truth X_frameNN for each")
    if (one.frame or 0) >= frames:
        raise InputError(f"{one.path} has {frames} frames, none of them is that of {one.name}: give the whole cine")
    labels = _class_indices(one.path, volume.voxels[..., one.frame or 0], len(classes), ignored)
    affine = volume.layout.affine(volume.affine, labels.shape)
    doubt = volume.spacing_fault or shear(affine)
    return Volume(volume.layout.apply(labels)[..., None], affine, path=str(one.path), doubt=doubt)


def _class_indices(path: Path, voxels: NDArray, classes: int, ignored: int | None) -> NDArray[np.uint8]:
    """Voxels as class indices, once they are whole numbers below ``classes``, or ``ignored``."""
    whole = np.rint(voxels)
    if np.abs(voxels - whole).max() > NOT_WHOLE:
        raise InputError(f"{path} holds numbers that are not whole, as probabilities are: give class indices")
    strange = (whole < 0) | ((whole >= classes) & (whole != ignored))
    if strange.any():
        raise InputError(
            f"{path} holds the label {whole[strange][0]:.0f}: give names for more than {classes} classes, or correct it"
        )
    return whole.astype(np.uint8)


def summary(rows: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    """Means over cases of each structure, ``mean`` over structures; standard deviations (ddof 1) and numbers of cases.

    A case without the structure does not count. Where only some cases have millimetres, distances are theirs.
    """
    parts = {phase: [row for row in rows if row["phase"] == phase] for phase in acdc.PHASES}
    by_phase = {phase: _statistics(part, structures) for phase, part in parts.items() if part}
    return _statistics(rows, structures) | {"by_phase": by_phase}


def _statistics(rows: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    unit = "mm" if any(row["unit"] == "mm" for row in rows) or not rows else "voxels"
    result: dict[str, Any] = {"volumes": len(rows), "unit": unit}
    for score in SCORES:
        counted = [row[score] for row in rows if score in OVERLAPS or row["unit"] == unit]
        stats = {name: mean_and_std([row[name] for row in counted]) for name in ("mean", *structures)}
        for place, key in enumerate((score, f"{score}_std", f"{score}_n")):
            result[key] = {name: each[place] for name, each in stats.items()}
        result[score]["mean"] = mean_and_std([stats[name][0] for name in structures])[0]
    return result


def _patients(rows: Sequence[Row], structures: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Clinical indices of each tool's patients with ED, ES and a spacing; a note where some lack a phase."""
    beats: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows if set(clinical.STRUCTURES) & set(structures) else ():
        beats[row["tool"], row["patient"]].append(row)
    found, without = [], set()
    for (tool, patient), own in beats.items():
        pair = [row for phase in acdc.PHASES for row in own if row["phase"] == phase]
        if [row["phase"] for row in pair] != list(acdc.PHASES):
            without.add(patient)
        elif all(row["volumes_ml"] for row in pair):
            sides = {side: clinical.indices(*(row["volumes_ml"][side] for row in pair)) for side in SIDES}
            found.append({"tool": tool, "patient": patient} | sides)
    example = min(without, default="")
    note = f"no clinical indices of {many(len(without), 'patient')} without one ED and one ES, e.g. {example}"
    return found, [note] if without else []


def _unit_notes(rows: Sequence[Row], reference: str) -> list[str]:
    """Which comparisons are without millimetres, and why."""
    mixed = len({row["unit"] for row in rows}) == 2
    return [
        f"{times} of {many(len(rows), 'comparison')} {'is' if times == 1 else 'are'} in voxels, without volumes or"
        f" clinical indices, because the {reference}'s {fault.removeprefix('its ')}"
        for fault, times in Counter(row["withheld"] for row in rows).items()
        if fault
    ] + ["means of distances are over the cases in mm only"] * mixed


def check_current(folder: Path, content: dict[str, Any]) -> None:
    """Refuse an evaluation of label maps that are others by now.

    Raises:
        InputError: names the first of them.
    """
    for row in [*content["cases"], *(content.get("agreement_cases") or ())]:
        path = Path(row.get("prediction") or "")
        path = path if path.is_file() else folder / path
        if row.get("sha256") and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise InputError(f"{path} is another than was evaluated in {folder}: say semicycle evaluate again")


def check_target(folder: Path, truth: Path | str | None) -> None:
    """Refuse a folder for the results that cannot be written, that is the truth's, or that holds others' files."""
    if truth and Path(truth).resolve() == folder.resolve():
        raise InputError(f"{folder} is the folder of the truth: say with -o where the results should go")
    if folder.exists():
        check_folder(folder)
    for name, *signs in OURS:
        check_ours(folder / name, *signs)


def write(content: dict[str, Any], folder: Path) -> Path:
    """evaluation.json, cases.csv, summary.csv and patients.csv, each whole or not at all; the first one's path."""
    check_target(folder, content["truth"])
    path, heads = Path(folder) / "evaluation.json", ("mean", *content["structures"])
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(path.with_name("cases.csv"), _csv(_case_rows(content, heads)))
    write_text(path.with_name("summary.csv"), _csv(_summary_rows(content, heads)))
    write_text(path.with_name("patients.csv"), _csv(_patient_rows(content)))
    return path


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    cells = ([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    csv.writer(stream, lineterminator="\n").writerows(cells)  # None is an empty cell
    return stream.getvalue()


def _case_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    first = ["tool", "case", "patient", "phase", "unit"]
    scores, ml = list(product(SCORES, heads)), list(product(SIDES, content["structures"]))
    yield [*first, *(f"{score}_{name}" for score, name in scores), *(f"{side}_{name}_ml" for side, name in ml)]
    for row in content["cases"] + content["agreement_cases"]:
        volumes_ml = row["volumes_ml"] or {side: {} for side in SIDES}
        values = [row[score][name] for score, name in scores] + [volumes_ml[side].get(name) for side, name in ml]
        yield [*(row[name] for name in first), *values]


def _summary_rows(content: dict[str, Any], heads: Sequence[str]) -> Iterable[list[Any]]:
    yield ["tool", "phase", "score", "structure", "mean", "std", "n", "unit"]
    for tool, whole in _summaries(content):
        for phase, part in {"": whole, **whole["by_phase"]}.items():
            for score, name in product(SCORES, heads):
                values = [part[key][name] for key in (score, f"{score}_std", f"{score}_n")]
                yield [tool, phase, score, name, *values, part["unit"] if score in FAR else ""]


def _patient_rows(content: dict[str, Any]) -> Iterable[list[Any]]:
    names = list(product(SIDES, clinical.indices({}, {})))
    yield ["tool", "patient", *(f"{side}_{name}" for side, name in names)]
    for row in content["patients"]:
        yield [row["tool"], row["patient"], *(row[side][name] for side, name in names)]


def _summaries(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each tool's summary under its name, and that of their agreement."""
    between = [(_both(content["tools"]), content["agreement"])] if content["agreement"] else []
    return [*content["summary"].items(), *between]


def table(content: dict[str, Any]) -> str:
    """What to print: scores by tool and phase, how many have no partner, failures and notes."""
    lines: list[str] = []
    for tool, whole in _summaries(content):
        lines += [f"{tool}: {many(whole['volumes'], 'volume')}", *_scores_of(whole, ("mean", *content["structures"]))]
    alone: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in content["missing"]:
        path, _, what = one["reason"].rpartition(" has no ")
        alone[f"{one['tool']}: " if len(content["tools"]) > 1 else "", what].append(path)
    for (tool, what), paths in alone.items():
        side = many(len(paths), "truth" if what == "prediction" else "prediction")
        lines.append(f"{tool}{side} without a {what}, e.g. {paths[0]}")
    if failures := content["failures"]:
        lines.append(f"failures: {len(failures)}")
        lines += [f"  {one['case']}: {one['reason']}" for one in failures[:SHOWN]]
        lines += [f"  and {len(failures) - SHOWN} more, in evaluation.json"] if len(failures) > SHOWN else []
    return "\n".join([*lines, *content["notes"]])


def _scores_of(whole: dict[str, Any], heads: Sequence[str]) -> list[str]:
    """The lines of one tool: Dice, of each phase too, IoU and distances."""
    phases = [(f"Dice, {phase}", "dice", part) for phase, part in whole["by_phase"].items()]
    far = [(f"{score.upper()}, {whole['unit']}", score, whole) for score in FAR]
    rows = [["", *heads, "n"]]
    for title, score, part in [("Dice", "dice", whole), *phases, ("IoU", "iou", whole), *far]:
        values, digits = [part[score][head] for head in heads], 3 if score in OVERLAPS else 2
        cells = ("-" if value is None else f"{value:.{digits}f}" for value in values)
        rows.append([title, *cells, part[f"{score}_n"]["mean"]])
    wide = max(8, *(len(head) + 2 for head in heads))
    return [f"{title:<22}" + "".join(f"{cell:>{wide}}" for cell in cells) for title, *cells in rows]
