"""How far a judgement without truth can be trusted is measured, patient by patient left out."""

import numpy as np
import pytest
from evaluated_cases import EMPTY, cases

from acdc_semicycle.evaluation import quality_fit
from acdc_semicycle.runtime.errors import InputError


@pytest.mark.parametrize("of", ["cycle_correlation", "cycle"])
def test_the_score_that_tells_predicts_dice(of):
    fitted = quality_fit.fit(cases(of=of))
    assert fitted["measured"][of]["spearman"] > 0.97
    noise = "cycle" if of == "cycle_correlation" else "cycle_correlation"
    assert fitted["measured"][noise]["spearman"] < 0.5
    for case in cases(seed=1, of=of):
        expected = quality_fit.expected_dice(fitted["fits"][of], case["scores"])
        assert expected == pytest.approx(case["dice"], abs=0.06)


def test_no_case_is_judged_by_a_fit_on_its_own_patient():
    """One patient's wild case must not be predicted from itself, nor from its other phase."""
    sample = cases()
    for case in sample[:2]:
        case["dice"] = 0.0
    truth = np.array([case["dice"] for case in sample])
    table = np.array([[case["scores"]["cycle_correlation"]] for case in sample])
    patients = np.array([case["patient"] for case in sample])
    left_out = quality_fit._left_out(table, truth, patients)
    weights, bias = quality_fit._ridge(table[2:], truth[2:])
    np.testing.assert_allclose(left_out[:2], table[:2] @ weights + bias)


def test_one_score_is_fitted_by_least_squares_and_several_are_shrunk():
    random = np.random.default_rng(0)
    table, truth = random.random((30, 2)), random.random(30)
    weights, bias = quality_fit._ridge(table[:, :1], truth)
    np.testing.assert_allclose([*weights, bias], np.polyfit(table[:, 0], truth, 1), rtol=1e-6)
    weights, bias = quality_fit._ridge(table, truth)
    units = (table - table.mean(0)) / table.std(0)
    w = weights * table.std(0)
    np.testing.assert_allclose(units.T @ (truth - truth.mean() - units @ w), quality_fit.RIDGE * w, rtol=1e-5)
    assert bias + table.mean(0) @ weights == pytest.approx(truth.mean())


@pytest.mark.parametrize(("n", "worst"), [(8, 1), (14, 1), (16, 2), (28, 3)])
def test_a_tenth_is_rounded_and_one_at_least(n, worst):
    values = np.linspace(0, 1, n)
    assert quality_fit.agreement(values, values)["worst"] == worst


def test_the_worst_tenth_is_counted():
    truth = np.linspace(0.1, 0.9, 20)
    assert quality_fit.agreement(truth, truth)["worst_tenth_found"] == 1
    assert quality_fit.agreement(-truth, truth)["worst_tenth_found"] == 0
    half = truth.copy()
    half[1], half[10] = 0.95, 0.0
    assert quality_fit.agreement(half, truth)["worst_tenth_found"] == 0.5


def test_too_few_cases_and_a_missing_score_give_no_quality():
    with pytest.raises(InputError, match="at least 8 cases of 3 patients"):
        quality_fit.fit(cases(6))
    fitted = quality_fit.fit(cases())
    line = fitted["fits"]["sum"]
    assert quality_fit.expected_dice(line, dict.fromkeys(line["weights"])) is None
    assert quality_fit.expected_dice(None, {"cycle_correlation": 0.5}) is None


def test_a_case_in_which_nothing_was_found_has_no_part_in_the_fit():
    sample = cases()
    empty = {"case": "e", "patient": "e", "scores": EMPTY, "dice": 0.0}
    fitted = quality_fit.fit([*sample, empty])
    assert fitted == quality_fit.fit(sample)
    assert quality_fit.expected_dice(fitted["fits"]["sum"], EMPTY) is None
    with pytest.raises(InputError, match=r"7 cases of 4 patients .*\(1 more have no scores, as nothing was found\)"):
        quality_fit.fit([*sample[:7], empty])


def test_cases_without_a_score_in_common_are_refused():
    sample = cases()
    sample[0]["scores"] |= {"cycle_correlation": None}
    sample[1]["scores"] |= {"cycle": None}
    with pytest.raises(InputError, match="no score exists for all 40 cases: predict them all with the same switches"):
        quality_fit.fit(sample)


def test_a_cine_is_as_good_as_its_worst_frame_and_an_empty_frame_has_no_quality():
    fitted = {"weights": {"soft_dice": 1.0}, "bias": 0.0}
    for frames, expected in (((0.9, 0.4), 0.4), ((None, 0.4), None), ((0.9, None), None), ((None,), None)):
        assert quality_fit.lowest(fitted, [{"soft_dice": value} for value in frames]) == expected
    assert quality_fit.lowest(None, [{"soft_dice": 0.9}]) is None
