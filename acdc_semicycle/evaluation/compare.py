"""Any predictions against the truth, whoever made them: overlap, distances, volumes, clinical indices.

Files are paired by name (:mod:`acdc_semicycle.evaluation.file_matching`), each pair is scored
(:mod:`acdc_semicycle.evaluation.pair_scores`), and what failed or has no partner is listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from acdc_semicycle.data.parts import in_words, strongest
from acdc_semicycle.evaluation import headline, label_maps
from acdc_semicycle.evaluation.case_names import case_patient_and_phase, frame_of, shared_names
from acdc_semicycle.evaluation.class_names import class_names
from acdc_semicycle.evaluation.file_matching import Pair, paired
from acdc_semicycle.evaluation.label_maps import LabelMap
from acdc_semicycle.evaluation.label_order import order_note
from acdc_semicycle.evaluation.manifests import Manifest, notes_of
from acdc_semicycle.evaluation.pair_scores import score_pair
from acdc_semicycle.evaluation.picture_labels import Rules
from acdc_semicycle.evaluation.summaries import Row, pair_name, patient_indices, summary, unit_notes
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.provenance import plain, provenance


def compare(
    predictions: Sequence[Path],
    truth: Path | None,
    classes: Sequence[str] | None = None,
    mask_values: Mapping[Any, Any] | None = None,
) -> dict[str, Any]:
    """Score label maps against the truth, and those of a second tool against the first's, too.

    Args:
        predictions: one folder or file, or two, of two tools. With a predictions.json in it, only its masks.
        truth: a folder in ACDC's layout, in nnU-Net's, or flat; a file; None to compare the second tool with the first
            only.
        classes: names, background first; by default those in predictions.json, ACDC's for ACDC's layout, and else the
            labels' numbers.
        mask_values: of pictures: the class of each value in a mask, 255 for not annotated; None: values are classes.

    Returns:
        The content of evaluation.json: ``cases``, ``summary`` by tool, ``patients``, ``agreement`` (and
        ``agreement_cases``), ``missing``, ``failures``, ``warnings``, ``notes``, and how it was made. Means are over
        the cases of patients who are new to the network, where there are any.

    Raises:
        InputError: nothing there, nothing paired, more than two tools, or classes that contradict each other.
    """
    roots = list(map(Path, predictions))
    truth_roots = [] if truth is None else [Path(truth)]
    tools = _tools(roots, truth_roots)
    predicted, truths, notes = _label_maps(roots, truth_roots)
    names, class_notes = class_names(classes, predicted, truths)
    rules = _picture_rules(names, predicted, mask_values)
    run = _Run(names, rules)
    manifests = {tool: Manifest(root) for tool, root in zip(tools, roots, strict=True)}
    if truth_roots:
        for tool, maps in zip(tools, predicted, strict=True):
            run.add(tool, maps, truths, manifests[tool])
    agreement = run.agreement(tools, predicted, manifests[tools[1]]) if len(tools) == 2 else []
    run.check_any(agreement)
    notes = class_notes + notes_of(manifests) + notes
    head: dict[str, Any] = {
        "truth": None if truth is None else str(truth),
        "tools": tools,
        "classes": names,
        "structures": names[1:],
        "postprocessing": {tool: manifest.postprocessing for tool, manifest in manifests.items()},
    }
    if any(is_picture(label_map.path) for label_map in truths):
        head |= {"colours": rules.colours, "mask_values": mask_values}
    return plain(head | run.content(agreement, notes) | provenance())


def _picture_rules(
    names: Sequence[str], predicted: Sequence[list[LabelMap]], mask_values: Mapping[Any, Any] | None
) -> Rules:
    """How masks that are pictures are read: by the colours in predictions.json, or by the values that are given."""
    colours = None
    for maps in predicted:
        colours = colours or (maps[0].listed or {}).get("colours")
    if not isinstance(colours, list) or len(colours) != len(names):
        colours = None
    return Rules(len(names), colours, mask_values)


def _tools(roots: Sequence[Path], truth_roots: Sequence[Path]) -> list[str]:
    """The tools' names: their folders', or the whole paths where those have one name.

    Raises:
        InputError: a path is not there, or the paths are not one or two tools, or one tool and a truth.
    """
    _check_roots(roots, truth_roots)
    first, last = roots[0].resolve(), roots[-1].resolve()
    if len(roots) == 1:
        return [first.name]
    if first == last:
        raise InputError(f"{roots[0]} is given as both tools: give two tools' predictions, or one tool's and a truth")
    if first.name == last.name:
        return [str(roots[0]), str(roots[1])]
    return [first.name, last.name]


def _check_roots(roots: Sequence[Path], truth_roots: Sequence[Path]) -> None:
    """Refuse a path that is not there, more than two tools, and one tool without a truth."""
    for path in (*roots, *truth_roots):
        if not path.exists():
            raise InputError(f"{path} is not there: give a folder of label maps, or a label map")
    if len(roots) > 2:
        raise InputError(f"{len(roots)} --pred are given: give one or two")
    if len(roots) < 2 and not truth_roots:
        raise InputError(f"{roots[0]} is given without --truth: give one, or a second --pred to compare with")


def _label_maps(
    roots: Sequence[Path], truth_roots: Sequence[Path]
) -> tuple[list[list[LabelMap]], list[LabelMap], list[str]]:
    """Each tool's label maps, the truths (where there are none the first tool's), and notes on those left out."""
    predicted = [label_maps.predicted(root, truth_roots) for root in roots]
    truths = label_maps.label_maps(truth_roots[0], label_maps.AS_TRUTH, roots) if truth_roots else predicted[0]
    _check_one_kind([*predicted, truths])
    notes: list[str] = []
    for root, maps in zip(roots, predicted, strict=True):
        notes += _left_out(root, maps, truth_roots)
    if truth_roots:
        notes += _left_out(truth_roots[0], truths, roots)
    if all(map(Path.is_file, [*roots, *truth_roots])):  # one pair, whatever the files' names are
        predicted = [[replace(maps[0], stem=truths[0].stem)] for maps in predicted]
    if truth_roots:
        truths = label_maps.with_frames(truths)
    return predicted, truths, notes


def _check_one_kind(sides: Sequence[Sequence[LabelMap]]) -> None:
    """Refuse pictures on one side and volumes on another.

    Raises:
        InputError: names one of each.
    """
    pictures = [maps[0].path for maps in sides if is_picture(maps[0].path)]
    scans = [maps[0].path for maps in sides if not is_picture(maps[0].path)]
    if pictures and scans:
        raise InputError(
            f"{pictures[0]} is a picture, and {scans[0]} a volume: give pictures, or volumes, on all sides"
        )


def _left_out(root: Path, maps: list[LabelMap], others: Sequence[Path]) -> list[str]:
    """A note where label maps of a folder are not compared, though they are named as if they were."""
    paths = label_maps.left_out(root, maps, others)
    if not paths:
        return []
    why = "predictions.json does not list it" if maps[0].listed else "another of its name is compared"
    return [f"not compared: {many(len(paths), 'label map')} of {root}, e.g. {paths[0]}: {why}"]


class _Run:
    """What an evaluation collects pair by pair."""

    def __init__(self, classes: list[str], rules: Rules) -> None:
        self.classes, self.rules = classes, rules
        self.rows: dict[str, list[Row]] = {}  # of each tool
        self.scored: dict[str, dict[LabelMap, LabelMap]] = {}  # each tool's predictions by truth, where that worked
        self.matrices: dict[str, Any] = {}  # of each tool, the sum of its confusion matrices
        self.missing: list[dict[str, str]] = []
        self.failures: list[dict[str, str]] = []
        self.notes: list[str] = []  # on truths that are not expected
        self.names: dict[LabelMap, tuple[str, str, str | None]] = {}
        self.own_truths: list[Path] = []  # the files that were scored against themselves

    def add(self, tool: str, predictions: list[LabelMap], truths: list[LabelMap], manifest: Manifest) -> None:
        """Pair a tool's predictions with the truths and score them; its manifest tells which truths are expected."""
        pairs, unmatched, ambiguous = paired(predictions, truths, manifest.expects)
        self._note_not_expected(tool, [truth for _, truth in pairs], truths, manifest)
        for reason in unmatched:
            self.missing.append({"tool": tool} | reason)
        for reason in ambiguous:
            self.failures.append({"tool": tool} | reason)
        self._score(tool, pairs)

    def _note_not_expected(self, tool: str, scored: list[LabelMap], truths: list[LabelMap], manifest: Manifest) -> None:
        """Note how many truths are left out because the prediction was asked for other parts of the data."""
        others = [truth for truth in truths if truth not in scored and not manifest.expects(truth)]
        if others and manifest.asked_for:
            patients = f"{in_words(manifest.asked_for['parts'])} patients"
            number = many(len(others), "truth")
            self.notes.append(f"{tool} was asked for the {patients} (--part): {number} of other patients left out")

    def agreement(self, tools: Sequence[str], predicted: Sequence[list[LabelMap]], manifest: Manifest) -> list[Row]:
        """Score the second tool, of this manifest, against the first: what has one truth, or else one name."""
        tool = pair_name(tools)
        if not self.scored:
            self.add(tool, predicted[1], predicted[0], manifest)
            return self.rows.pop(tool)
        first, second = self.scored[tools[0]], self.scored[tools[1]]
        pairs = []
        for truth, prediction in second.items():
            if truth in first:
                pairs.append((prediction, first[truth]))
        self._score(tool, pairs)
        return self.rows.pop(tool)

    def _score(self, tool: str, pairs: list[Pair]) -> None:
        """Score pairs under a tool's name; those that cannot be scored become failures."""
        rows = self.rows.setdefault(tool, [])
        scored = self.scored.setdefault(tool, {})
        shared = shared_names(truth for _, truth in pairs)
        for prediction, truth in tqdm(pairs, f"comparing {tool}", disable=None):
            case, patient, phase = self._names(prediction, truth, shared)
            try:
                scores, matrix = score_pair(prediction, truth, self.classes, self.rules)
            except InputError as error:
                self.failures.append({"tool": tool, "case": case, "reason": str(error)})
                continue
            about: Row = {"tool": tool, "case": case, "patient": patient, "phase": phase}
            about["frame"] = frame_of(prediction, truth)
            about["predicted_case"] = (prediction.listed or {}).get("case")
            about["part"] = strongest((label_map.listed or {}).get("part") for label_map in (prediction, truth))
            rows.append(about | scores)
            if prediction.frame == truth.frame and prediction.path.samefile(truth.path):
                self.own_truths.append(prediction.path)
            self.matrices[tool] = self.matrices.get(tool, 0) + matrix
            scored[truth] = prediction

    def _names(self, prediction: LabelMap, truth: LabelMap, shared: set[str]) -> tuple[str, str, str | None]:
        """Case, patient and phase; all tools use those of the first."""
        if truth not in self.names:
            self.names[truth] = case_patient_and_phase(prediction, truth, shared)
        return self.names.setdefault(prediction, self.names[truth])

    def _note_of_own_truths(self) -> list[str]:
        """A note where label maps were scored against themselves: such scores say nothing."""
        if not self.own_truths:
            return []
        files = many(len(self.own_truths), "label map")
        return [f"scored against itself: {files}, e.g. {self.own_truths[0]}: give other predictions, or another truth"]

    def check_any(self, agreement: list[Row]) -> None:
        """Refuse an evaluation in which no pair was scored."""
        if any(self.rows.values()) or agreement:
            return
        reason = self.failures[0]["reason"] if self.failures else "their names have nothing in common"
        raise InputError(f"nothing could be compared: {reason}")

    def content(self, agreement: list[Row], notes: list[str]) -> dict[str, Any]:
        """All that was collected, as evaluation.json has it; ``agreement`` has the rows of one tool against another."""
        structures = self.classes[1:]
        rows: list[Row] = []
        for tool_rows in self.rows.values():
            rows += tool_rows
        seen = headline.seen_cases(rows or agreement)
        case_parts = headline.parts_by_case(rows or agreement)
        summaries = {tool: summary(tool_rows, structures, seen) for tool, tool_rows in self.rows.items()}
        patients, patient_notes = patient_indices(rows, structures)
        reference = "truth" if rows else "first tool"
        order_notes = self._note_of_own_truths()
        for tool, matrix in self.matrices.items():
            against = "first tool" if tool not in self.rows else reference
            order_notes += order_note(tool, against, matrix, self.classes)
        other_notes = unit_notes(rows or agreement, reference) + patient_notes
        return {
            "summary": summaries,
            "cases": rows,
            "patients": patients,
            "agreement": summary(agreement, structures, seen) if agreement else None,
            "agreement_cases": agreement,
            "missing": self.missing,
            "failures": self.failures,
            "warnings": headline.warnings(case_parts),
            "notes": [*notes, *self.notes, *headline.notes(case_parts), *order_notes, *other_notes],
        }
