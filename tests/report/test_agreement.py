"""Agreement with intervals, and the error of the ejection fraction in the headline."""

import numpy as np
import pytest
from report_folder import words

from acdc_semicycle.report import agreement

DIFFERENCES = np.array([1.0, -1.0, 3.0, 1.0])  # mean 1, standard deviation sqrt(8 / 3)


def test_bias_and_limits_have_the_intervals_of_bland_and_altman():
    of = agreement.of_differences(DIFFERENCES)
    spread = np.sqrt(8 / 3)
    assert of.bias == pytest.approx(1.0)
    assert of.limits == pytest.approx((1 - 1.96 * spread, 1 + 1.96 * spread))
    t = 3.182446  # 97.5 % of Student's t with 3 degrees of freedom
    assert of.bias_interval == pytest.approx((1 - t * spread / 2, 1 + t * spread / 2), abs=1e-5)
    half = t * spread * np.sqrt(1 / 4 + 1.96**2 / 6)
    low, high = of.limit_intervals
    assert low == pytest.approx((of.limits[0] - half, of.limits[0] + half), abs=1e-5)
    assert high == pytest.approx((of.limits[1] - half, of.limits[1] + half), abs=1e-5)


def test_two_patients_have_a_bias_and_nothing_else():
    of = agreement.of_differences(np.array([1.0, 3.0]))
    assert of.bias == 2 and of.limits is None and of.bias_interval is None and of.limit_intervals is None


def test_the_page_has_a_table_of_agreement_with_its_intervals(plotted):
    page = plotted.write()
    table = page[page.index('id="agreement"') : page.index('id="pictures"')]
    assert "95 % confidence interval" in words(table)
    entries = plotted.evaluation["patients"]
    differences = [entry["prediction"]["lv_ef_percent"] - entry["truth"]["lv_ef_percent"] for entry in entries]
    of = agreement.of_differences(np.array(differences))
    signed = f"{of.bias:+.1f} ({of.bias_interval[0]:+.1f} to {of.bias_interval[1]:+.1f})".replace("-", "−")
    assert f"LV EF, % 3 {signed}" in words(table)


def test_the_headline_has_the_error_of_the_ejection_fraction(plotted):
    entries = plotted.evaluation["patients"]
    errors = [abs(entry["prediction"]["lv_ef_percent"] - entry["truth"]["lv_ef_percent"]) for entry in entries]
    head = words(plotted.write().split("</header>")[0])
    assert f"mean error of the LV ejection fraction, percentage points (n = 3) {np.mean(errors):.1f}" in head


def test_without_true_indices_there_is_no_error_and_no_agreement(run):
    page = run.write()
    assert "error of the LV ejection fraction" not in page and 'id="agreement"' not in page


def test_patients_whom_the_network_knows_do_not_count(plotted):
    entries = plotted.evaluation["patients"]
    for entry, part in zip(entries, ("test", "labelled", "test"), strict=True):
        entry["part"] = part
    head = words(plotted.write().split("</header>")[0])
    errors = [abs(entry["prediction"]["lv_ef_percent"] - entry["truth"]["lv_ef_percent"]) for entry in entries[::2]]
    assert f"percentage points (n = 2) {np.mean(errors):.1f}" in head


def test_the_difference_is_the_second_less_the_first_of_the_pairs_that_have_both():
    pairs = [({"ef": 50.0}, {"ef": 57.0}), ({"ef": 40.0}, {"ef": 41.0}), ({"ef": 1.0}, {"ef": None}), ({}, {"ef": 2.0})]
    of = agreement.of_index(pairs, "ef")
    assert (of.n, of.bias, of.absolute_error) == (2, 4.0, 4.0)
    assert agreement.of_index(pairs[2:], "ef") is None


def test_where_the_network_knows_all_patients_all_of_them_count():
    entries = [{"tool": "A", "patient": "p", "part": "labelled"}, {"tool": "A", "patient": "q", "part": "validation"}]
    assert agreement.patients_by_tool({"patients": entries})["A"].keys() == {"p", "q"}
    entries.append({"tool": "B", "patient": "p", "part": "new"})  # known to one of the networks
    entries.append({"tool": "B", "patient": "r", "part": None})
    assert agreement.patients_by_tool({"patients": entries}) == {"B": {"r": entries[-1]}}
