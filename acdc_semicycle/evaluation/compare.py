"""Any predictions against the truth, whoever made them: overlap, distances, volumes, clinical indices.

Files are paired by name (:mod:`acdc_semicycle.evaluation.file_matching`), each pair is scored
(:mod:`acdc_semicycle.evaluation.pair_scores`), and what failed or has no partner is listed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import file_matching, label_maps
from acdc_semicycle.evaluation.case_names import case_patient_and_phase
from acdc_semicycle.evaluation.file_matching import Pair
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.pair_scores import score_pair
from acdc_semicycle.evaluation.summaries import Row, pair_name, patient_indices, summary, unit_notes
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.provenance import plain, provenance


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
    found = [label_maps.predicted(root, given) for root in roots]
    known = label_maps.label_maps(given[0], label_maps.AS_TRUTH, roots) if given else found[0]
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


def _left_out(root: Path, maps: list[LabelMap], others: Sequence[Path]) -> list[str]:
    """A note where label maps of a folder are not compared, though they are named as if they were."""
    if not (paths := label_maps.left_out(root, maps, others)):
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
            self.add(pair_name(tools), found[1], found[0])
        else:
            first, second = (self.scored[tool] for tool in tools)
            self._score(pair_name(tools), [(one, first[truth]) for truth, one in second.items() if truth in first])
        return self.rows.pop(pair_name(tools))

    def _score(self, tool: str, pairs: list[Pair]) -> None:
        rows, scored = self.rows.setdefault(tool, []), self.scored.setdefault(tool, {})
        times = Counter(truth.stem for _, truth in pairs)
        for prediction, truth in tqdm(pairs, f"comparing {tool}", disable=None):
            names = case_patient_and_phase(prediction, truth, times[truth.stem] == 1)
            names = self.names.setdefault(truth, names)  # all tools have those of the first
            case, patient, phase = self.names.setdefault(prediction, names)
            try:
                scores = score_pair(prediction, truth, self.classes)
            except InputError as error:
                self.failures.append({"tool": tool, "case": case, "reason": str(error)})
            else:
                rows.append({"tool": tool, "case": case, "patient": patient, "phase": phase} | scores)
                scored[truth] = prediction

    def content(self, both: list[Row], notes: list[str]) -> dict[str, Any]:
        structures, rows = self.classes[1:], [row for rows in self.rows.values() for row in rows]
        patients, without = patient_indices(rows, structures)
        return {
            "summary": {tool: summary(own, structures) for tool, own in self.rows.items()},
            "cases": rows,
            "patients": patients,
            "agreement": summary(both, structures) if both else None,
            "agreement_cases": both,
            "missing": self.missing,
            "failures": self.failures,
            "notes": notes + unit_notes(rows or both, "truth" if rows else "first tool") + without,
        }
