"""The expected Dice of scans and slices, and their intervals, against a slow twin and against what was drawn."""

import math

import numpy as np
import pytest
import reference
import torch
from evaluated_cases import trusted

from acdc_semicycle.evaluation import trust, trust_fit
from acdc_semicycle.runtime.errors import InputError


def probabilities(seed=0, shape=(4, 5, 6, 3)) -> np.ndarray:
    s = np.random.default_rng(seed).dirichlet((0.4,) * shape[0], shape[1:])
    return np.moveaxis(s, -1, 0)


@pytest.mark.parametrize("number", range(len(trust.TEMPERATURES)))
def test_the_evidence_is_the_expected_dice_of_the_equation_at_each_temperature(number):
    s = probabilities()
    s[:, :, :, 1] = np.array([1, 0, 0, 0])[:, None, None]  # nothing is found
    evidence, temperature = trust.evidence(s), trust.TEMPERATURES[number]
    assert evidence["scan"][number] == pytest.approx(reference.expected_dice(s, temperature, [0, 1, 2]), abs=1e-4)
    assert evidence["slices"][1] is None
    for z in (0, 2):
        assert evidence["slices"][z][number] == pytest.approx(reference.expected_dice(s, temperature, [z]), abs=1e-4)
    structures = [values[number] for values in evidence["structures"]]
    assert np.mean(structures) == pytest.approx(evidence["scan"][number], abs=1e-5)


def test_certain_probabilities_expect_a_dice_of_1_and_nothing_found_expects_none():
    s = np.zeros((3, 2, 2, 2))
    s[0] = 1
    assert trust.evidence(s) == {"scan": None, "structures": [None, None], "slices": [None, None]}
    s[:, 0, 0, 1] = [0, 0, 1]
    evidence = trust.evidence(torch.tensor(s))
    assert evidence["structures"] == evidence["slices"] == [None, evidence["scan"]]
    assert evidence["scan"] == pytest.approx([1.0] * len(trust.TEMPERATURES), abs=1e-3)


def test_a_temperature_of_1_changes_no_probability_and_a_high_one_makes_all_equal():
    s = torch.tensor(probabilities())
    torch.testing.assert_close(trust.scaled(s, 1.0), s)
    torch.testing.assert_close(trust.scaled(s, 1e9), torch.full_like(s, 1 / 4))
    torch.testing.assert_close(trust.scaled(s, 2.0).sum(0), torch.ones(s.shape[1:], dtype=s.dtype))


def test_the_temperature_that_was_drawn_is_found():
    for temperature in (1.0, 1.8, 3.0):
        fitted = trust_fit.fit(trusted(patients=12, temperature=temperature, noise=0.0))
        assert fitted["temperature"] == pytest.approx(temperature, rel=0.02)
        assert abs(fitted["scan"]["shift"]) < 0.02 and abs(fitted["scan"]["slope"]) < 0.02


def test_the_line_is_that_of_the_slow_twin():
    cases = trusted(patients=4)[1:]  # one patient with a single scan
    points = trust_fit._points([(case["patient"], case["evidence"]["scan"], case["dice"]) for case in cases])
    line = trust_fit._line(points, 1.5)
    twin = reference.line_of_trust(
        points.x[:, 1].tolist(), points.y.tolist(), points.patients.tolist(), trust_fit.STEEP
    )
    np.testing.assert_allclose([line["shift"], line["slope"], line["middle"]], twin, rtol=1e-9)


def test_a_left_out_patients_dice_does_not_change_what_is_expected_of_that_patient():
    cases = trusted(patients=5)
    changed = [case | {"dice": 0.1} if case["patient"] == "p2" else case for case in cases]
    before, after = trust_fit.left_out_dice(cases), trust_fit.left_out_dice(changed)
    own = np.array([case["patient"] == "p2" for case in cases])
    np.testing.assert_allclose(before[own], after[own], rtol=1e-12)
    assert np.abs(before[~own] - after[~own]).min() > 1e-4


@pytest.mark.parametrize(("patients", "most"), [(3, 0.95), (7, 0.9), (14, 0.88)])
def test_about_80_of_100_intervals_hold_the_truth(patients, most):
    held = []
    for seed in range(10):
        fitted = trust_fit.fit(trusted(patients, seed=seed))
        for case in trusted(10, seed=100 + seed):
            result = trust.trust(fitted, case["evidence"])
            held.append(result["low"] <= case["dice"] <= result["high"])
            assert result["low"] <= result["dice"] <= result["high"]
    assert 0.72 < np.mean(held) < most


def test_intervals_of_one_spread_are_wider_with_fewer_patients():
    fitted, widths = trust_fit.fit(trusted(4)), []
    for patients in (3, 7, 14):
        residuals = np.tile([-0.3, 0.3], patients)
        names = np.repeat([f"p{number}" for number in range(patients)], 2)
        own = trust_fit._spread(residuals, names, prior=0.3 * trust_fit.NORMAL)
        assert own["spread"] == pytest.approx(0.3 * trust_fit.NORMAL)
        result = trust.trust(fitted | {"scan": fitted["scan"] | own}, trusted(1)[0]["evidence"])
        widths.append(result["high"] - result["low"])
    assert widths[0] > widths[1] > widths[2]


def test_slices_have_an_interval_each_and_none_where_nothing_is_found():
    fitted = trust_fit.fit(trusted(5))
    evidence = trusted(1, seed=9)[0]["evidence"]
    evidence["slices"][0] = None
    slices = trust.trust(fitted, evidence)["slices"]
    assert slices[0] is None and all(item["low"] < item["dice"] < item["high"] for item in slices[1:])
    assert trust.trust(fitted, evidence | {"scan": None}) is None


def test_two_patients_are_too_few_and_empty_scans_do_not_count():
    cases = trusted(3)
    for case in cases[:2]:
        case["evidence"]["scan"] = None
    with pytest.raises(InputError, match="4 cases of 2 patients can be fitted on: give at least 3 patients"):
        trust_fit.fit(cases)


def test_a_volumes_interval_grows_with_the_error_that_is_expected_of_its_structure():
    fitted = trust_fit.fit(trusted(6))
    widths = []
    for expected in (0.98, 0.9, 0.7):
        evidence = {"structures": [[expected] * len(trust.TEMPERATURES)]}
        low, high = trust.volume_interval(fitted, evidence, 1, 100.0)
        assert low * high == pytest.approx(100.0**2)
        widths.append(math.log(high / 100))
    np.testing.assert_allclose(np.array(widths) / widths[0], np.array([0.02, 0.1, 0.3]) / 0.02, rtol=1e-6)
    assert trust.volume_interval(fitted, {"structures": [None]}, 1, 0.0) is None
    assert trust.volume_interval(fitted | {"volumes": [None]}, evidence, 1, 5.0) is None


def test_the_interval_of_an_ejection_fraction_follows_those_of_both_volumes():
    exact, wide = [100.0, 100.0], [40 / 1.5, 40 * 1.5]
    assert trust.ef_interval(100, 40, exact, wide) == pytest.approx([40.0, 100 * (1 - 0.4 / 1.5)])
    both = trust.ef_interval(100, 40, [100 / 1.5, 150.0], wide)
    assert both[0] < 40 and both[1] > 100 * (1 - 0.4 / 1.5)
    assert trust.ef_interval(100, 0, exact, [0.0, 0.0]) is None
