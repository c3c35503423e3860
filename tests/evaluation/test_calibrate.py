"""A fitted quality is stored beside its network, with what it is worth on other cases."""

import json
from types import SimpleNamespace

import pytest
from evaluated_cases import EMPTY, NO_EVIDENCE, cases, write

from acdc_semicycle.evaluation import calibrate
from acdc_semicycle.runtime.errors import InputError


def test_calibrating_stores_the_fit_beside_the_network_and_says_how_good_it_is(tmp_path):
    validation, test = write(tmp_path / "v", cases()), write(tmp_path / "t", cases(seed=1))
    text = calibrate.calibrate(validation, test)
    stored = json.loads((tmp_path / "models" / "trust.json").read_text())
    assert "\nsum: the scores together, each with a weight of its own\n" in text
    assert stored["about"] in text and "40 cases of 20 patients" in stored["about"]
    assert stored["test"]["trust"]["spearman"] > 0.9 and stored["model_sha256"] == "a"
    assert 1 <= stored["test"]["flagged_rightly"] <= stored["test"]["flagged"] <= 10


def test_two_networks_are_not_mixed_and_missing_files_are_named(tmp_path):
    validation, test = write(tmp_path / "v", cases()), write(tmp_path / "t", cases(seed=1), sha="b")
    with pytest.raises(InputError, match="another network"):
        calibrate.calibrate(validation, test)
    (validation / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match=r"evaluation\.json is damaged"):
        calibrate.calibrate(validation)
    (validation / "evaluation.json").unlink()
    with pytest.raises(InputError, match="semicycle evaluate"):
        calibrate.calibrate(validation)


def test_the_quality_is_measured_on_the_test_cases_and_not_on_those_it_was_fitted_on(tmp_path):
    others = cases(30, seed=1)
    for case in others:
        case["dice"] = 1 - case["dice"]  # the score tells the opposite of them
    calibrate.calibrate(write(tmp_path / "v", cases()), write(tmp_path / "t", others))
    stored = json.loads((tmp_path / "models" / "trust.json").read_text())
    assert stored["test"]["cases"] == 30 and stored["test"]["trust"]["spearman"] < -0.9


def test_what_is_flagged_rightly_is_of_the_worst_tenth_of_the_truth(tmp_path):
    others = cases(seed=1)
    for case in others:
        case["dice"] = (1 - case["dice"]) / 3  # below all that is expected, and the other way round
    calibrate.calibrate(write(tmp_path / "v", cases()), write(tmp_path / "t", others))
    test = json.loads((tmp_path / "models" / "trust.json").read_text())["test"]
    assert test["flagged"] > 0 and test["flagged_rightly"] == 0


def test_the_quality_is_fitted_on_the_first_tools_dice(tmp_path):
    folder = write(tmp_path / "v", cases())
    content = json.loads((folder / "evaluation.json").read_text())
    content["tools"].append("B")
    content["cases"] += [case | {"tool": "B", "dice": {"mean": 0.1}} for case in content["cases"]]
    (folder / "evaluation.json").write_text(json.dumps(content))
    calibrate.calibrate(folder)
    stored = json.loads((tmp_path / "models" / "trust.json").read_text())
    assert stored["measured"]["trust"]["spearman"] > 0.9


def test_empty_segmentations_are_counted_beside_the_fit_and_the_test(tmp_path):
    empty = {"case": "e", "patient": "e", "scores": EMPTY, "evidence": NO_EVIDENCE, "dice": 0.0}
    others = [case | {"case": f"t{n}"} for n, case in enumerate(cases(seed=1))]
    text = calibrate.calibrate(write(tmp_path / "v", [*cases(), empty]), write(tmp_path / "t", [*others, empty, empty]))
    assert "40 cases of 20 patients, without 1 in which nothing was found (each" in text
    assert "on 40 test cases, without 2 in which nothing was found:" in text
    with pytest.raises(InputError, match="nothing was found in any of 1 test case"):
        calibrate.calibrate(tmp_path / "v", write(tmp_path / "n", [empty]))


def test_a_ledger_of_an_earlier_version_is_refused(tmp_path):
    folder = write(tmp_path / "v", cases())
    text = (folder / "predictions.json").read_text()
    (folder / "predictions.json").write_text(text.replace('"frame_evidence"', '"evidence"'))
    with pytest.raises(InputError, match="predicted by an earlier version: predict and evaluate it again"):
        calibrate.calibrate(folder)


@pytest.mark.parametrize("by", ["scan", "truth", "label map"])
def test_a_test_case_on_which_was_fitted_is_refused(tmp_path, by):
    validation, test = write(tmp_path / "v", cases()), write(tmp_path / "t", cases(seed=1))
    name = "predictions.json" if by == "scan" else "evaluation.json"
    mark = {"truth": {"truth": str(tmp_path / "gt")}, "label map": {"sha256": "ab12"}}.get(by)
    for folder, index in ((validation, 3), (test, 5)):
        content = json.loads((folder / name).read_text())
        content["cases"][index] |= mark or {"stamp": [str(tmp_path / "scan"), 1, folder.name == "t"]}
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the test case c5 of .*t is c3 of .*v, on which the trust is fitted: give"):
        calibrate.calibrate(validation, test)
    with pytest.raises(InputError, match=r"the test case c0 of .*v is c0 of .*v"):
        calibrate.calibrate(validation, validation)
    assert not (tmp_path / "models" / "trust.json").exists()


@pytest.mark.parametrize("part", ["labelled", "unlabelled"])
@pytest.mark.parametrize("name", ["p3", "c7", "folder"])  # by the patient, the case, or a folder of the case
def test_cases_of_training_patients_are_refused(tmp_path, part, name):
    folder_cases = [case | {"case": f"folder/{case['case']}"} if name == "folder" else case for case in cases()]
    validation, test = write(tmp_path / "v", cases(seed=1)), write(tmp_path / "t", folder_cases)
    split = dict.fromkeys(("labelled", "unlabelled", "validation", "test"), ()) | {"validation": ["p4"], "test": ["p5"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    calibrate.calibrate(test)
    (tmp_path / "models" / "trust.json").unlink()
    (tmp_path / "split.json").write_text(json.dumps(split | {part: [name]}))
    number = {"p3": 2, "c7": 1, "folder": 40}[name]
    words = rf"{number} of 40 cases of .*t, e\.g\. \S+, are of patients whom the network was trained on .*--part valid"
    with pytest.raises(InputError, match=words):
        calibrate.calibrate(test)
    if name == "folder":
        with pytest.raises(InputError, match=words):
            calibrate.calibrate(validation, test)
    assert not (tmp_path / "models" / "trust.json").exists()


def test_two_empty_label_maps_are_not_one_case(tmp_path):
    folders = [write(tmp_path / name, cases(seed=n)) for n, name in enumerate("vt")]
    for folder in folders:
        for name, mark in (
            ("predictions", {"frame_scores": [EMPTY], "frame_evidence": [NO_EVIDENCE]}),
            ("evaluation", {"sha256": "ab12"}),
        ):
            content = json.loads((folder / f"{name}.json").read_text())
            content["cases"][0] |= mark
            (folder / f"{name}.json").write_text(json.dumps(content))
    calibrate.calibrate(*folders)


def test_predictions_of_a_version_with_other_names_of_scores_are_fitted_under_the_current_ones(tmp_path):
    folder = write(tmp_path / "v", cases())
    path = folder / "predictions.json"
    path.write_text(path.read_text().replace('"cycle_correlation"', '"alike"'))
    calibrate.calibrate(folder)
    stored = json.loads((tmp_path / "models" / "trust.json").read_text())
    assert stored["fits"].keys() == {"cycle", "cycle_correlation", "sum"}


def test_three_patients_with_six_cases_are_enough_and_their_scores_are_not_compared(tmp_path):
    text = calibrate.calibrate(write(tmp_path / "v", cases(6)), write(tmp_path / "t", cases(seed=1)))
    stored = json.loads((tmp_path / "models" / "trust.json").read_text())
    assert stored["measured"].keys() == {"trust"} and "fitted on 6 cases of 3 patients" in text
    assert f"{stored['test']['within']} of 40 in their interval" in text
    with pytest.raises(InputError, match="4 cases of 2 patients can be fitted on: give at least 3 patients"):
        calibrate.calibrate(write(tmp_path / "few", cases(4)))


def test_folds_are_fitted_together_each_without_its_own_training_patients(tmp_path, monkeypatch):
    folders = []
    for number, case_pair in enumerate(zip(*[iter(cases(6))] * 2, strict=True)):
        fold = tmp_path / f"fold_{number}"
        folders.append(write(fold / "label_maps", list(case_pair)))
        others = [f"p{other}" for other in range(3) if other != number]
        (fold / "split.json").write_text(json.dumps({"labelled": others, "unlabelled": []}))
    monkeypatch.setattr(calibrate, "open_model", lambda folder: SimpleNamespace(sha256="of all"))
    assert "fitted on 6 cases of 3 patients" in calibrate.calibrate_folds(tmp_path, folders)
    assert json.loads((tmp_path / "trust.json").read_text())["model_sha256"] == "of all"
    (tmp_path / "fold_0" / "split.json").write_text(json.dumps({"labelled": ["p0"], "unlabelled": []}))
    with pytest.raises(InputError, match=r"2 of 2 cases of .*fold_0.*, are of patients whom the network was trained"):
        calibrate.calibrate_folds(tmp_path, folders)
