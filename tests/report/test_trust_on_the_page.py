"""The expected Dice on the page: bars by slice, intervals, and the case to look at first."""

import pytest

from acdc_semicycle.report.charts import HEIGHT, WIDTH, bars


def trust_of(dice: float, slices: int) -> dict:
    """A trust whose lowest slice is the second; nothing is found in the first."""
    own = [None, {"dice": 0.2, "low": 0.1, "high": 0.4}]
    own += [{"dice": dice, "low": dice - 0.1, "high": dice + 0.05}] * (slices - 2)
    return {"dice": dice, "low": dice - 0.1, "high": dice + 0.05, "slices": own, "frame": 0, "volumes_ml": None}


@pytest.fixture
def trusted(run):
    run.predictions["trust"] = {"about": "Fitted on 6 cases.", "threshold": 0.5}
    for number, entry in enumerate(run.predictions["cases"]):
        entry["trust"] = trust_of(0.85 - 0.1 * number, entry["shape"][2])
        entry["quality"] = entry["trust"]["dice"]
    return run


def test_a_bar_is_as_high_as_its_dice_with_a_whisker_from_low_to_high():
    drawn = bars([None, {"dice": 0.5, "low": 0.25, "high": 0.75}])
    (bar,) = drawn["bars"]
    assert (bar["index"], bar["x"]) == (1, WIDTH * 0.75)
    assert (bar["low"], bar["dice"], bar["high"]) == (HEIGHT * 0.75, HEIGHT * 0.5, HEIGHT * 0.25)


def test_the_page_has_a_bar_for_each_slice_and_marks_the_lowest(trusted):
    page = trusted.write()
    cases = trusted.predictions["cases"]
    assert page.count('class="trust-bar') == sum(entry["shape"][2] - 1 for entry in cases)
    assert page.count('class="trust-bar worst"') == len(cases)
    assert "the lowest is slice 2" in page and "slice 2: 0.20, slice 3:" in page
    assert "Fitted on 6 cases." in page and "expected Dice below 0.50" in page
    assert "80 % interval" in page and "0.75 to 0.90" in page


def test_without_a_truth_the_lowest_expected_dice_comes_first(trusted):
    page = trusted.write(evaluation=False)
    names = [entry["case"] for entry in reversed(trusted.predictions["cases"])]
    places = [page.index(f'<th scope="row" data-value="{name}">') for name in names]
    assert places == sorted(places)


def test_a_page_without_a_fit_has_no_bars(run):
    assert 'class="trust-bar' not in run.write()
