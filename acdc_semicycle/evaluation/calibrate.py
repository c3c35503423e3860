"""How far a quality without truth can be trusted: fitted on validation cases, measured on others, and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.artifacts.score_names import current_predictions
from acdc_semicycle.evaluation import quality_fit
from acdc_semicycle.evaluation.evaluation_files import check_current
from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import read_json, write_text

QUALITY = "quality.json"


def calibrate(folder: Path, test: Path | None = None) -> str:
    """Fit on one predicted and evaluated folder, measure on another, write quality_fit.json beside the network.

    Args:
        folder: of validation cases; the network was chosen on them, but has not learnt from them.
        test: of cases that had no part in anything, if there are any.

    Returns:
        A table of what each score is worth, for people.

    Raises:
        InputError: a folder has not been predicted and evaluated, or the two are of different networks or have a case
            in common.
    """
    ledger, cases = _cases(folder)
    model = Path(ledger["model"]["path"])
    if model.suffix == ".zip" or not model.is_file():
        raise InputError(f"{model} is no model.pt, beside which the quality is kept: predict with the run's own")
    fitted = quality_fit.fit(cases)
    if test is not None:
        other, others = _cases(test)
        if other["model"]["sha256"] != ledger["model"]["sha256"]:
            raise InputError(f"{test} was predicted by another network than {folder}: predict both with one")
        _check_apart(folder, cases, test, others)
        fitted["test"] = _tested(fitted, others)
    fitted["model_sha256"] = ledger["model"]["sha256"]
    fitted["about"] = about(fitted)
    write_text(model.with_name(QUALITY), json.dumps(fitted, indent=1) + "\n")
    return _table(fitted) + f"\n{model.with_name(QUALITY)}"


def about(fitted: Mapping[str, Any]) -> str:
    """One sentence on how good the quality is."""

    def words(found: Mapping[str, Any]) -> str:
        return (
            f"rank correlation with the true Dice {found['spearman']:.2f}, mean error {found['mean_error']:.3f}, of the"
            f" worst tenth {round(found['worst_tenth_found'] * found['worst'])} of {found['worst']:.0f} found"
        )

    chosen = fitted["chosen"]
    text = (
        f"Expected mean Dice by '{chosen}', fitted on {fitted['cases']} validation cases of"
        f" {fitted['patients']} patients{_empty(fitted)} (each left out in turn: {words(fitted['measured'][chosen])})"
    )
    if "test" in fitted:
        test = fitted["test"]
        text += f"; on {many(test['cases'], 'test case')}{_empty(test)}: {words(test[chosen])}"
    return text + "."


def _empty(found: Mapping[str, Any]) -> str:
    return f", without {found['nothing_found']} in which nothing was found" if found["nothing_found"] else ""


def _cases(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ledger, and its cases that were evaluated, with the true mean Dice."""
    content = []
    for name, verb in (("predictions.json", "predict"), ("evaluation.json", "evaluate --pred OUT --truth TRUTH")):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is not there: say semicycle {verb} first")
        content.append(read_json(path))
    ledger, evaluation = current_predictions(content[0]), content[1]
    check_current(folder, evaluation)
    first = evaluation["tools"][0]
    rows = {row["case"]: row for row in evaluation["cases"] if row["tool"] == first and row["dice"]["mean"] is not None}
    cases = [case for case in ledger["cases"] if case["case"] in rows]
    if not cases:
        raise InputError(f"{folder} holds no case that is both predicted and evaluated: evaluate it again")
    if any("frame_scores" not in case for case in cases):
        raise InputError(f"{folder} was predicted by an earlier version: predict and evaluate it again")
    # a cine's frames are evaluated under names of their own, so these have one
    return ledger, [_joined(case, rows[case["case"]]) for case in cases]


def _joined(case: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A case with its first frame's scores, its true mean Dice, and the ``marks`` by which it is known elsewhere.

    These are its scan, its truth and, as a copy of a scan gets the same label map, that one's content.
    """
    found = {"dice": row["dice"]["mean"], "scores": case["frame_scores"][0]}
    marks = {str(Path(path).resolve()) for path in (case.get("stamp", [None])[0], row.get("truth")) if path}
    if not quality_fit.nothing_found(found["scores"]):
        marks |= {row["sha256"]} if row.get("sha256") else set()
    return {**case, **found, "marks": marks}


def _check_apart(
    folder: Path, cases: Sequence[Mapping[str, Any]], test: Path, others: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse test cases that are among those of the fit."""
    owners = {mark: case["case"] for case in cases for mark in case["marks"]}
    for other in others:
        if known := sorted(other["marks"] & owners.keys()):
            raise InputError(
                f"the test case {other['case']} of {test} is {owners[known[0]]} of {folder}, on which the quality is"
                " fitted: give a test of others"
            )


def _tested(fitted: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each score, and the fitted quality, on cases that had no part in the fit."""
    given, cases = len(cases), [case for case in cases if not quality_fit.nothing_found(case["scores"])]
    if not cases:
        raise InputError(f"nothing was found in any of {many(given, 'test case')}: give others")
    truth = np.array([case["dice"] for case in cases])
    expected = np.array([quality_fit.expected_dice(fitted, case["scores"]) for case in cases], float)
    found: dict[str, Any] = {
        "cases": len(cases),
        "nothing_found": given - len(cases),
        "patients": len({case["patient"] for case in cases}),
    }
    for name, one in fitted["fits"].items():
        values = np.array([quality_fit.expected_dice(one, case["scores"]) for case in cases], float)
        if np.isfinite(values).all():
            found[name] = quality_fit.agreement(values, truth)
    if fitted["chosen"] not in found:
        raise InputError(
            f"a test case lacks the score {fitted['chosen']!r}: predict both folders with the same switches"
        )
    flagged, worst = expected < fitted["threshold"], truth <= np.quantile(truth, 0.1)
    return found | {"flagged": int(flagged.sum()), "flagged_rightly": int((flagged & worst).sum())}


def _table(fitted: Mapping[str, Any]) -> str:
    heads = ("spearman", "pearson", "worst_tenth_found", "mean_error")
    lines = [f"{'':<30}" + "".join(f"{head:>19}" for head in heads)]
    for part, rows in (("validation", fitted["measured"]), ("test", fitted.get("test", {}))):
        for name, found in rows.items():
            if isinstance(found, Mapping):
                values = "".join(f"{found[head]:19.3f}" for head in heads)
                lines.append(f"{part + ' ' + name:<30}{values}")
    scores = SCORES | {"sum": "the scores above together, each with a weight of its own"}
    lines += [f"{name}: {words}" for name, words in scores.items() if name in fitted["measured"]]
    return "\n".join([*lines, about(fitted)])
