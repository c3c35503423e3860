"""The expected Dice and what each score is worth: fitted on validation cases, measured on others, and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.artifacts.known_patients import names_of
from acdc_semicycle.artifacts.model import TRUST, open_model
from acdc_semicycle.artifacts.score_names import current_predictions
from acdc_semicycle.data.parts import TRAINED_ON
from acdc_semicycle.evaluation import quality_fit, trust, trust_fit
from acdc_semicycle.evaluation.evaluation_files import check_current
from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.evaluation.quality_fit import agreement, expected_dice, nothing_found, with_structures
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import read_json, write_text

TRUST_SCORE = "trust"  # in tables, the expected Dice
TRUSTED = {TRUST_SCORE: "the expected Dice by the probabilities at the fitted temperature"}
COLUMNS = ("spearman", "pearson", "worst_tenth_found", "mean_error")

Case = Mapping[str, Any]


def calibrate(folder: Path, test: Path | None = None) -> str:
    """Fit on one predicted and evaluated folder, measure on another, write trust.json beside the network.

    Args:
        folder: of validation cases; the network was chosen on them, but has not learnt from them.
        test: of cases that had no part in training or fit, if there are any.

    Returns:
        A table of what each score is worth, for people.

    Raises:
        InputError: a folder has not been predicted and evaluated, it holds patients whom the network was trained on, or
            the two are of different networks or have a case in common.
    """
    model, cases = _evaluated_cases(folder)
    path = Path(model["path"])
    split = path.parent.parent / "split.json"
    _check_not_trained_on(folder, cases, split)
    if path.suffix == ".zip" or not path.is_file():
        raise InputError(f"{path} is no model.pt beside which {TRUST} can be stored: predict with a run's model.pt")
    fitted = fit(cases)
    if test is not None:
        test_model, test_cases = _evaluated_cases(test)
        if test_model["sha256"] != model["sha256"]:
            raise InputError(f"{test} was predicted by another network than {folder}: predict both with the same")
        _check_not_trained_on(test, test_cases, split)
        _check_apart(folder, cases, test, test_cases)
        fitted["test"] = _tested(fitted, test_cases)
    store(fitted, path.with_name(TRUST), model["sha256"])
    return _table(fitted) + f"\n{path.with_name(TRUST)}"


def calibrate_folds(folder: Path, label_maps: Sequence[Path]) -> str:
    """Fit on the patients whom the folds of a folder left out, and write trust.json into it.

    Args:
        label_maps: of each fold the folder of its own label maps, predicted and evaluated.

    Returns:
        One sentence on how good the expected Dice is.

    Raises:
        InputError: a folder has not been predicted and evaluated, holds patients whom its fold was trained on, or all
            together have too few patients.
    """
    cases: list[Case] = []
    for own in label_maps:
        model, own_cases = _evaluated_cases(own)
        _check_not_trained_on(own, own_cases, Path(model["path"]).parent.parent / "split.json")
        cases += own_cases
    fitted = fit(cases)
    store(fitted, folder / TRUST, open_model(folder).sha256)
    return about(fitted)


def fit(cases: Sequence[Case]) -> dict[str, Any]:
    """The fit of the expected Dice, with what it and each score are worth on patients who are left out.

    Returns:
        What :func:`acdc_semicycle.evaluation.trust_fit.fit` gives; ``threshold``, below which a case belongs to the
        worst tenth; ``nothing_found``, the number of cases without a structure; ``measured``, what the expected Dice
        (``trust``) is worth and, of enough cases, each score, whose lines are in ``fits``.
    """
    fitted = trust_fit.fit(cases)
    judged = trust_fit.with_evidence(cases)
    expected, truth = trust_fit.left_out_dice(cases), np.array([case["dice"] for case in judged])
    scores = quality_fit.fit(judged) if len(judged) >= quality_fit.FEWEST else {"fits": {}, "measured": {}}
    return fitted | {
        "threshold": float(np.quantile(expected, 0.1)),
        "nothing_found": len(cases) - len(judged),
        "fits": scores["fits"],
        "measured": {TRUST_SCORE: agreement(expected, truth)} | scores["measured"],
    }


def store(fitted: dict[str, Any], path: Path, model_sha256: str) -> None:
    """Write a fit as the trust.json of a network."""
    content = fitted | {"model_sha256": model_sha256, "about": about(fitted)}
    write_text(path, json.dumps(content, indent=1) + "\n")


def about(fitted: Mapping[str, Any]) -> str:
    """One sentence on how good the expected Dice is."""
    text = (
        f"Expected mean Dice by the probabilities at temperature {fitted['temperature']:.2f}, with an interval of 80 %,"
        f" fitted on {fitted['cases']} cases of {fitted['patients']} patients{_without_empty(fitted)}"
        f" (each left out in turn: {_in_words(fitted['measured'][TRUST_SCORE])})"
    )
    if "test" in fitted:
        test = fitted["test"]
        text += f"; on {many(test['cases'], 'test case')}{_without_empty(test)}: {_in_words(test[TRUST_SCORE])}"
        text += f", {test['within']} of {test['cases']} in their interval"
    return text + "."


def _in_words(measured: Mapping[str, Any]) -> str:
    """What a score is worth, as part of a sentence."""
    hits = round(measured["worst_tenth_found"] * measured["worst"])
    return (
        f"rank correlation with the true Dice {measured['spearman']:.2f}, mean error {measured['mean_error']:.3f},"
        f" of the worst tenth {hits} of {measured['worst']:.0f} found"
    )


def _without_empty(counted: Mapping[str, Any]) -> str:
    """How many cases took no part because nothing was found in them, as part of a sentence."""
    number = counted["nothing_found"]
    return f", without {number} in which nothing was found" if number else ""


def _evaluated_cases(folder: Path) -> tuple[dict[str, Any], list[Case]]:
    """The model that predicted a folder, and its cases that were evaluated, with the true mean Dice."""
    manifest = current_predictions(_read(folder / "predictions.json", "predict"))
    evaluation = _read(folder / "evaluation.json", "evaluate --pred OUT --truth TRUTH")
    check_current(folder, evaluation)
    rows = _scored_rows(evaluation)
    cases = []
    for case in manifest["cases"]:
        if case["case"] not in rows:  # a cine's frames are evaluated under names of their own
            continue
        if "frame_evidence" not in case or "dice_by_slice" not in rows[case["case"]]:
            raise InputError(f"{folder} was predicted by an earlier version: predict and evaluate it again")
        cases.append(_joined(case, rows[case["case"]]))
    if not cases:
        raise InputError(f"{folder} holds no case that is both predicted and evaluated: evaluate it again")
    return manifest["model"], cases


def _scored_rows(evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The first tool's rows of evaluation.json that have a mean Dice, by case."""
    rows = {}
    for row in evaluation["cases"]:
        if row["tool"] == evaluation["tools"][0] and row["dice"]["mean"] is not None:
            rows[row["case"]] = row
    return rows


def _read(path: Path, verb: str) -> dict[str, Any]:
    """A file that ``semicycle`` with this verb writes."""
    if not path.is_file():
        raise InputError(f"{path} is not there: run semicycle {verb} first")
    return read_json(path)


def _joined(case: Mapping[str, Any], row: Mapping[str, Any]) -> Case:
    """A case with its only frame's scores and evidence, what is true of it, and the ``marks`` that tell it from others.

    These are its scan, its truth and, as a copy of a scan gets the same label map, that one's checksum.
    """
    scores = case["frame_scores"][0]
    marks = set()
    for path in (case.get("stamp", [None])[0], row.get("truth")):
        if path:
            marks.add(str(Path(path).resolve()))
    if row.get("sha256") and not nothing_found(scores):
        marks.add(row["sha256"])
    truth = {"dice": row["dice"]["mean"], "dice_by_slice": row["dice_by_slice"], "volume_ratio": row["volume_ratio"]}
    return {**case, **truth, "scores": scores, "evidence": case["frame_evidence"][0], "marks": marks}


def _check_not_trained_on(folder: Path, cases: Sequence[Case], split: Path) -> None:
    """Refuse cases of the patients whom the network was trained on, by its run's split.json, if that is there."""
    if not split.is_file():
        return
    parts = read_json(split)
    patients = {*parts.get("labelled", ()), *parts.get("unlabelled", ())}
    trained_on = []
    for case in cases:
        if case.get("part") in TRAINED_ON or not patients.isdisjoint(names_of(case)):
            trained_on.append(case["case"])
    if trained_on:
        raise InputError(
            f"{len(trained_on)} of {many(len(cases), 'case')} of {folder}, e.g. {trained_on[0]}, are of patients whom"
            f" the network was trained on ({split}): predict with --part validation, or test, and evaluate again"
        )


def _check_apart(folder: Path, cases: Sequence[Case], test: Path, test_cases: Sequence[Case]) -> None:
    """Refuse test cases that are among those of the fit."""
    case_of_mark = {}
    for case in cases:
        case_of_mark.update(dict.fromkeys(case["marks"], case["case"]))
    for case in test_cases:
        common = sorted(case["marks"] & case_of_mark.keys())
        if common:
            raise InputError(
                f"the test case {case['case']} of {test} is {case_of_mark[common[0]]} of {folder}, on which the trust"
                " is fitted: give other test cases"
            )


def _tested(fitted: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """The expected Dice, its intervals and each score on cases that had no part in the fit."""
    judged = [case for case in with_structures(cases) if case["evidence"]["scan"] is not None]
    if not judged:
        raise InputError(f"nothing was found in any of {many(len(cases), 'test case')}: give other cases")
    truth = np.array([case["dice"] for case in judged])
    result: dict[str, Any] = {
        "cases": len(judged),
        "nothing_found": len(cases) - len(judged),
        "patients": len({case["patient"] for case in judged}),
    }
    for name, candidate in fitted["fits"].items():
        expected = _expected(candidate, judged)
        if np.isfinite(expected).all():
            result[name] = agreement(expected, truth)
    trusted = [trust.trust(fitted, case["evidence"]) or {} for case in judged]
    low, expected, high = (np.array([item[key] for item in trusted]) for key in ("low", "dice", "high"))
    result |= {TRUST_SCORE: agreement(expected, truth), "within": int(((low <= truth) & (truth <= high)).sum())}
    flagged = expected < fitted["threshold"]
    worst = truth <= np.quantile(truth, 0.1)
    return result | {"flagged": int(flagged.sum()), "flagged_rightly": int((flagged & worst).sum())}


def _expected(line: Mapping[str, Any], cases: Sequence[Case]) -> np.ndarray:
    """The Dice of each case on the line of a score; NaN where it lacks the score."""
    return np.array([expected_dice(line, case["scores"]) for case in cases], float)


def _table(fitted: Mapping[str, Any]) -> str:
    """What each score is worth, what it is, and how good the chosen one is."""
    lines = [" " * 30 + "".join(f"{column:>19}" for column in COLUMNS)]
    for name, measured in fitted["measured"].items():
        lines.append(_line(f"validation {name}", measured))
    for name, measured in fitted.get("test", {}).items():
        if name in fitted["measured"]:
            lines.append(_line(f"test {name}", measured))
    for name, words in (TRUSTED | SCORES | {"sum": "the scores together, each with a weight of its own"}).items():
        if name in fitted["measured"]:
            lines.append(f"{name}: {words}")
    return "\n".join([*lines, about(fitted)])


def _line(title: str, measured: Mapping[str, float]) -> str:
    """A title and what a score is worth."""
    return f"{title:<30}" + "".join(f"{measured[column]:19.3f}" for column in COLUMNS)
