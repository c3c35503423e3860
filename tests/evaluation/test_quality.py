"""A segmentation is judged without truth, and how far that can be trusted is measured."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.evaluation import calibrate, quality
from acdc_semicycle.runtime.errors import InputError

SIZE = (16, 20, 3)


class Painter(nn.Module):
    """Paints every class in a brightness of its own."""

    tones = torch.tensor([-1.0, -0.2, 0.4, 1.0])

    def forward(self, s):
        return torch.einsum("bkhw,k->bhw", s, self.tones)[:, None]


class Reader(nn.Module):
    """Reads those brightnesses back."""

    def forward(self, x):
        return -100 * (x - Painter.tones.view(1, 4, 1, 1)) ** 2


@pytest.fixture
def seen():
    """An image, and the probabilities of its true labels."""
    labels = torch.zeros(SIZE, dtype=torch.long)
    labels[4:12, 4:12] = 2
    labels[6:10, 6:10] = 3
    labels[5:9, 13:17] = 1
    s = torch.nn.functional.one_hot(labels, 4).movedim(-1, 0).float()
    x = Painter.tones[labels][None]
    return x, s


def judged(x, s, votes=None):
    return quality.judge(x, s, Reader(), Painter(), votes)


def test_a_perfect_cycle_scores_one_everywhere(seen):
    found = judged(*seen)
    assert found.scores == pytest.approx(dict.fromkeys(("cycle", "alike", "again", "sure", "entropy"), 1.0), abs=1e-5)
    assert found.painted.shape == (1, *SIZE) and found.difference.shape == SIZE
    assert np.abs(found.difference).max() < 1e-6


def test_each_score_is_what_its_definition_says(seen):
    """The slow twin, in NumPy, on a segmentation that is unsure and wrong in places."""
    x, s = seen
    s = s.roll(2, dims=1) * 0.7 + 0.075
    found = judged(x, s)
    labels = s.argmax(0).numpy()
    near = np.zeros(SIZE, bool)
    wide = max(SIZE[:2]) // 16
    for i, j, z in np.argwhere(labels > 0):
        near[max(i - wide, 0) : i + wide + 1, max(j - wide, 0) : j + wide + 1, z] = True
    painted = np.einsum("khwz,k->hwz", s.numpy(), Painter.tones.numpy())
    image = x[0].numpy()
    assert found.scores["cycle"] == pytest.approx(1 - np.abs(image - painted)[near].mean(), abs=1e-5)
    assert found.scores["alike"] == pytest.approx(np.corrcoef(image[near], painted[near])[0, 1], abs=1e-5)
    again = np.abs(painted[..., None] - Painter.tones.numpy()).argmin(-1)
    dices = [2 * ((again == k) & (labels == k)).sum() / ((again == k).sum() + (labels == k).sum()) for k in (1, 2, 3)]
    assert found.scores["again"] == pytest.approx(np.mean(dices), abs=1e-5)
    p = s.numpy()
    sure = [2 * p[k][labels == k].sum() / (p[k].sum() + (labels == k).sum()) for k in (1, 2, 3)]
    assert found.scores["sure"] == pytest.approx(np.mean(sure), abs=1e-5)
    entropy = -(p * np.log(p)).sum(0) / math.log(4)
    assert found.scores["entropy"] == pytest.approx(1 - entropy[near].mean(), abs=1e-5)


def test_a_structure_that_was_not_found_has_no_part_in_how_sure_it_is(seen):
    x, s = seen
    s[0], s[1] = s[0] + s[1], 0
    s = s * 0.7 + 0.075
    own = [
        2 * 0.775 * n / (0.775 * n + 0.075 * (960 - n) + n) for n in ((s.argmax(0) == k).sum().item() for k in (2, 3))
    ]
    assert judged(x, s).scores["sure"] == pytest.approx(np.mean(own), abs=1e-5)


def test_around_is_a_sixteenth_of_the_longer_side():
    for shape in ((16, 48, 1), (48, 16, 1)):
        found = torch.zeros(shape, dtype=torch.bool)
        found[8, 8] = True
        assert quality._around(found).sum() == 7 * 7


def test_the_scores_of_a_slice_are_those_of_a_volume_of_that_slice(seen):
    x, s = seen
    s = s * torch.tensor([0.9, 0.7, 0.5]) + torch.tensor([0.025, 0.075, 0.125])
    found = judged(x, s)
    for z in range(3):
        alone = judged(x[..., z : z + 1], s[..., z : z + 1])
        assert {name: values[z] for name, values in found.slices.items()} == pytest.approx(alone.scores)


def test_a_segmentation_that_is_moved_scores_lower_in_the_cycle(seen):
    x, s = seen
    good, bad = judged(x, s).scores, judged(x, s.roll(4, dims=1)).scores
    assert bad["cycle"] < good["cycle"] - 0.1 and bad["alike"] < good["alike"] - 0.1


def test_mirror_images_that_disagree_lower_the_flips(seen):
    x, s = seen
    votes = s.argmax(0)[None].repeat(4, 1, 1, 1)
    assert judged(x, s, votes).scores["flips"] == pytest.approx(1)
    votes[2] = 0
    assert judged(x, s, votes).scores["flips"] == pytest.approx(0.75)


def test_an_empty_segmentation_has_no_scores_and_no_crash(seen):
    x, _ = seen
    s = torch.zeros(4, *SIZE)
    s[0] = 1
    found = judged(x, s)
    assert set(found.scores.values()) == {None} and found.slices["sure"] == [None] * 3


def test_without_a_painter_there_is_no_cycle(seen):
    found = quality.judge(*seen, Reader(), None)
    assert set(found.scores) == {"sure", "entropy"} and found.painted is None and found.difference is None


# --- the fit ---


def cases(n=40, seed=0, of="alike") -> list[dict]:
    """Cases of two phases whose Dice follows one score, the other being noise."""
    random = np.random.default_rng(seed)
    true = random.uniform(0.3, 0.9, n)
    found = []
    for k, dice in enumerate(true):
        scores = {"cycle": random.uniform(), "alike": random.uniform()} | {
            of: 0.2 + 0.5 * dice + random.normal(0, 0.005)
        }
        found.append({"case": f"c{k}", "patient": f"p{k // 2}", "scores": scores, "dice": float(dice)})
    return found


@pytest.mark.parametrize("of", ["alike", "cycle"])
def test_the_score_that_tells_is_chosen_and_predicts_dice(of):
    fitted = quality.fit(cases(of=of))
    assert fitted["chosen"] in (of, "sum") and fitted["measured"][of]["spearman"] > 0.97
    other = "cycle" if of == "alike" else "alike"
    assert fitted["measured"][other]["spearman"] < 0.5
    for case in cases(seed=1, of=of):
        expected = quality.expected_dice(fitted, case["scores"])
        assert expected == pytest.approx(case["dice"], abs=0.06)


def test_no_case_is_judged_by_a_fit_on_its_own_patient():
    """One patient's wild case must not be predicted from itself, nor from its other phase."""
    found = cases()
    for case in found[:2]:
        case["dice"] = 0.0
    truth = np.array([case["dice"] for case in found])
    table = np.array([[case["scores"]["alike"]] for case in found])
    patients = np.array([case["patient"] for case in found])
    left_out = quality._left_out(table, truth, patients)
    weights, bias = quality._ridge(table[2:], truth[2:])
    np.testing.assert_allclose(left_out[:2], table[:2] @ weights + bias)


def test_one_score_is_fitted_by_least_squares_and_several_are_shrunk():
    random = np.random.default_rng(0)
    table, truth = random.random((30, 2)), random.random(30)
    weights, bias = quality._ridge(table[:, :1], truth)
    np.testing.assert_allclose([*weights, bias], np.polyfit(table[:, 0], truth, 1), rtol=1e-6)
    weights, bias = quality._ridge(table, truth)
    units = (table - table.mean(0)) / table.std(0)
    w = weights * table.std(0)
    np.testing.assert_allclose(units.T @ (truth - truth.mean() - units @ w), quality.RIDGE * w, rtol=1e-5)
    assert bias + table.mean(0) @ weights == pytest.approx(truth.mean())


def test_the_threshold_is_of_what_is_expected_and_not_of_the_truth():
    """Of scores that tell nothing about the mean is expected of every case."""
    found = cases()
    for case in found:
        case["scores"] = {"cycle": np.random.default_rng(int(case["case"][1:])).uniform()}
    dices = [case["dice"] for case in found]
    assert np.quantile(dices, 0.1) < 0.4 < np.mean(dices) - 0.1 < quality.fit(found)["threshold"]


@pytest.mark.parametrize(("n", "worst"), [(8, 1), (14, 1), (16, 2), (28, 3)])
def test_a_tenth_is_rounded_and_one_at_least(n, worst):
    values = np.linspace(0, 1, n)
    assert quality.agreement(values, values)["worst"] == worst


def test_the_worst_tenth_is_counted():
    truth = np.linspace(0.1, 0.9, 20)
    assert quality.agreement(truth, truth)["worst_tenth_found"] == 1
    assert quality.agreement(-truth, truth)["worst_tenth_found"] == 0
    half = truth.copy()
    half[1], half[10] = 0.95, 0.0
    assert quality.agreement(half, truth)["worst_tenth_found"] == 0.5


def test_too_few_cases_and_a_missing_score_give_no_quality():
    with pytest.raises(InputError, match="at least 8 of 3"):
        quality.fit(cases(6))
    fitted = quality.fit(cases())
    assert quality.expected_dice(fitted, dict.fromkeys(fitted["weights"])) is None
    assert quality.expected_dice(None, {"alike": 0.5}) is None


def _predicted(case, folder):
    stamp = [str(folder / case["case"]), 1, 1]
    return {"case": case["case"], "patient": case["patient"], "frame_scores": [case["scores"]], "stamp": stamp}


EMPTY = dict.fromkeys(("cycle", "alike"))


def test_a_case_in_which_nothing_was_found_has_no_part_in_the_fit():
    found = cases()
    empty = {"case": "e", "patient": "e", "scores": EMPTY, "dice": 0.0}
    fitted = quality.fit([*found, empty])
    assert fitted == quality.fit(found) | {"nothing_found": 1}
    assert quality.expected_dice(fitted, EMPTY) is None
    with pytest.raises(InputError, match=r"7 cases of 4 patients .*\(1 more have none, as nothing was found\)"):
        quality.fit([*found[:7], empty])


def test_cases_without_a_score_in_common_are_refused():
    found = cases()
    found[0]["scores"] |= {"alike": None}
    found[1]["scores"] |= {"cycle": None}
    with pytest.raises(InputError, match="no score is there of all 40 cases: predict them all with the same switches"):
        quality.fit(found)


def test_a_cine_is_as_good_as_its_worst_frame_and_an_empty_frame_has_no_quality():
    fitted = {"weights": {"sure": 1.0}, "bias": 0.0}
    for frames, expected in (((0.9, 0.4), 0.4), ((None, 0.4), None), ((0.9, None), None), ((None,), None)):
        assert quality.lowest(fitted, [{"sure": value} for value in frames]) == expected
    assert quality.lowest(None, [{"sure": 0.9}]) is None


def write(folder, found, sha="a"):
    folder.mkdir(parents=True)
    model = folder.parent / "models" / "model.pt"
    model.parent.mkdir(exist_ok=True)
    model.write_bytes(b"weights")
    (folder / "predictions.json").write_text(
        json.dumps(
            {"model": {"path": str(model), "sha256": sha}, "cases": [_predicted(case, folder) for case in found]}
        )
    )
    rows = [{"tool": "A", "case": case["case"], "dice": {"mean": case["dice"]}} for case in found]
    (folder / "evaluation.json").write_text(json.dumps({"tools": ["A"], "cases": rows}))
    return folder


def test_calibrating_stores_the_fit_beside_the_network_and_says_how_good_it_is(tmp_path):
    validation, test = write(tmp_path / "v", cases()), write(tmp_path / "t", cases(seed=1))
    text = calibrate.calibrate(validation, test)
    stored = json.loads((tmp_path / "models" / "quality.json").read_text())
    assert "\nsum: the scores above together, each with a weight of its own\n" in text
    assert stored["about"] in text and "40 validation cases of 20 patients" in stored["about"]
    assert stored["test"][stored["chosen"]]["spearman"] > 0.9 and stored["model_sha256"] == "a"
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
    stored = json.loads((tmp_path / "models" / "quality.json").read_text())
    assert stored["test"]["cases"] == 30 and stored["test"][stored["chosen"]]["spearman"] < -0.9


def test_what_is_flagged_rightly_is_of_the_worst_tenth_of_the_truth(tmp_path):
    others = cases(seed=1)
    for case in others:
        case["dice"] = (1 - case["dice"]) / 3  # below all that is expected, and the other way round
    calibrate.calibrate(write(tmp_path / "v", cases()), write(tmp_path / "t", others))
    test = json.loads((tmp_path / "models" / "quality.json").read_text())["test"]
    assert test["flagged"] > 0 and test["flagged_rightly"] == 0


def test_the_quality_is_fitted_on_the_first_tools_dice(tmp_path):
    folder = write(tmp_path / "v", cases())
    content = json.loads((folder / "evaluation.json").read_text())
    content["tools"].append("B")
    content["cases"] += [case | {"tool": "B", "dice": {"mean": 0.1}} for case in content["cases"]]
    (folder / "evaluation.json").write_text(json.dumps(content))
    calibrate.calibrate(folder)
    stored = json.loads((tmp_path / "models" / "quality.json").read_text())
    assert stored["measured"][stored["chosen"]]["spearman"] > 0.97


def test_empty_segmentations_are_counted_beside_the_fit_and_the_test(tmp_path):
    empty = {"case": "e", "patient": "e", "scores": EMPTY, "dice": 0.0}
    others = [case | {"case": f"t{n}"} for n, case in enumerate(cases(seed=1))]
    text = calibrate.calibrate(write(tmp_path / "v", [*cases(), empty]), write(tmp_path / "t", [*others, empty, empty]))
    assert "40 validation cases of 20 patients, without 1 in which nothing was found (each" in text
    assert "on 40 test cases, without 2 in which nothing was found:" in text
    with pytest.raises(InputError, match="nothing was found in any of 1 test case"):
        calibrate.calibrate(tmp_path / "v", write(tmp_path / "n", [empty]))


def test_a_ledger_of_an_earlier_version_is_refused(tmp_path):
    folder = write(tmp_path / "v", cases())
    text = (folder / "predictions.json").read_text()
    (folder / "predictions.json").write_text(text.replace('"frame_scores"', '"scores"'))
    with pytest.raises(InputError, match="predicted by an earlier version: predict and evaluate it again"):
        calibrate.calibrate(folder)


@pytest.mark.parametrize("by", ["scan", "truth", "label map"])
def test_a_test_case_on_which_was_fitted_is_refused(tmp_path, by):
    validation, test = write(tmp_path / "v", cases()), write(tmp_path / "t", cases(seed=1))
    name = "predictions.json" if by == "scan" else "evaluation.json"
    mark = {"truth": {"truth": str(tmp_path / "gt")}, "label map": {"sha256": "ab12"}}.get(by)
    for folder, place in ((validation, 3), (test, 5)):
        content = json.loads((folder / name).read_text())
        content["cases"][place] |= mark or {"stamp": [str(tmp_path / "scan"), 1, folder.name == "t"]}
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the test case c5 of .*t is c3 of .*v, on which the quality is fitted: give"):
        calibrate.calibrate(validation, test)
    with pytest.raises(InputError, match=r"the test case c0 of .*v is c0 of .*v"):
        calibrate.calibrate(validation, validation)
    assert not (tmp_path / "models" / "quality.json").exists()


def test_two_empty_label_maps_are_not_one_case(tmp_path):
    folders = [write(tmp_path / name, cases(seed=n)) for n, name in enumerate("vt")]
    for folder in folders:
        for name, mark in (("predictions", {"frame_scores": [EMPTY]}), ("evaluation", {"sha256": "ab12"})):
            content = json.loads((folder / f"{name}.json").read_text())
            content["cases"][0] |= mark
            (folder / f"{name}.json").write_text(json.dumps(content))
    calibrate.calibrate(*folders)
