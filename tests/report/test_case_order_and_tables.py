"""The cases of a report: in which order, with which columns and numbers."""

import json
import re

import pytest
from report_folder import STRUCTURES, cards, names, rows, words

from acdc_semicycle.report import content


def test_a_card_shows_what_was_judged_without_truth_of_the_worst_frame(run):
    case = run.predictions["cases"][0]
    case["frame_scores"] = [{"cycle": 0.91}, {"cycle": 0.43}, {"cycle": 0.77}]
    run.predictions["quality"] = run.predictions["quality"] | {"weights": {"cycle": 1.0}, "bias": 0.0}
    (card,) = (card for card in cards(run.write()) if case["case"] in card)
    assert "Without truth" in card and "cycle 0.430" in card and "0.910" not in card
    del run.predictions["quality"]["weights"]
    (card,) = (card for card in cards(run.write()) if case["case"] in card)
    assert "cycle 0.910" in card


def test_the_worst_case_comes_first_by_its_true_dice(run):
    page = run.write()
    dices = {entry["case"]: entry["dice"]["mean"] for entry in run.evaluation["cases"]}
    assert names(page) == sorted(dices, key=lambda case: dices[case])
    assert names(page) != sorted(dices)  # so that the above can fail
    assert [row["case"] for row in rows(run.out)] == names(page)


def test_without_truth_the_order_is_by_quality_and_without_that_by_name(run):
    for entry, quality in zip(run.predictions["cases"], (0.9, 0.3, 0.8, 0.1, 0.5, None), strict=True):
        entry["quality"] = quality
    cases = [entry["case"] for entry in run.predictions["cases"]]
    assert names(run.write(evaluation=False)) == [cases[n] for n in (5, 3, 1, 4, 2, 0)]
    for entry in run.predictions["cases"]:
        entry["quality"] = None
    run.predictions["cases"].reverse()
    assert names(run.write(evaluation=False)) == sorted(cases)


def test_a_case_without_a_score_comes_before_the_worst(run):
    entry = run.evaluation["cases"][0]
    entry["dice"] = dict.fromkeys(entry["dice"])
    page = run.write()
    assert names(page)[0] == entry["case"]
    assert rows(run.out)[0]["dice_mean"] == ""
    assert not {"NaN", "nan", "None", "null"} & set(re.findall(r"\w+", words(page)))


def test_a_case_in_which_nothing_was_found_is_to_be_checked(run):
    for entry, value in zip(run.predictions["cases"], (None, 0.9, None, 0.9, 0.9, 0.9), strict=True):
        entry["quality"] = value
    run.predictions["cases"][0]["frame_scores"] = [{"cycle": 0.9}, {"cycle": None}]
    page = run.write(evaluation=False)
    assert "to check (expected Dice below 0.75, or nothing found) 1 " in words(page)
    assert [">to check<" in card for card in cards(page)] == [True, False, False, False, False, False]


def test_the_csv_says_what_the_summary_says(run):
    page = run.write()
    first = rows(run.out)[0]
    case = next(entry for entry in run.predictions["cases"] if entry["case"] == first["case"])
    scores = next(entry for entry in run.evaluation["cases"] if entry["case"] == first["case"])
    assert float(first["volume_LV_ml"]) == pytest.approx(case["volumes_ml"]["LV"][0])
    assert float(first["dice_MYO"]) == pytest.approx(scores["dice"]["MYO"])
    assert float(first["hd95_mean"]) == scores["hd95"]["mean"]
    assert float(first["seconds"]) == pytest.approx(sum(case["seconds"].values()))
    body = page[page.index('<tr id="row-1">') : page.index('<tr id="row-2">')]
    assert [float(value) for value in re.findall('data-value="([0-9.e-]+)"', body)] == pytest.approx(
        [float(value) for value in first.values() if re.fullmatch("[0-9.e-]+", value)]
    )
    report = json.loads((run.out / "report.json").read_text())
    assert report["cases"][0]["dice_MYO"] == scores["dice"]["MYO"]
    assert report["patients"][0]["lv_edv_ml"] == run.predictions["patients"][0]["lv_edv_ml"]


def test_a_withheld_ejection_fraction_says_why(run):
    reason = "LV: end-diastole of 0.03 ml is below 10 ml"
    assert "is withheld (–)" not in run.write()
    run.predictions["patients"][0] |= {"lv_ef_percent": None, "ef_withheld": reason}
    page = run.write()
    assert "An ejection fraction is withheld (–)" in page[page.index('id="patients"') : page.index('id="pictures"')]
    assert f"withheld: {reason}" in page[page.index('id="pictures"') :]


def test_withheld_indices_say_why(run):
    reason = "its spacing is 1 x 1 x 1 mm, as of files that have lost theirs"
    run.predictions["patients"][0] = {"patient": "patient001", "withheld": reason}
    run.predictions["cases"][0] |= {"withheld": reason, "volumes_ml": None}
    page = run.write(evaluation=False)
    assert f"withheld: {reason}" in page[page.index('id="patients"') : page.index('id="pictures"')]
    assert f"withheld: {reason}" in page[page.index('id="pictures"') :]
    assert "withheld for 1 of 3 patients" in words(page)
    assert (
        rows(run.out)[[row["case"] for row in rows(run.out)].index(run.predictions["cases"][0]["case"])]["volume_LV_ml"]
        == ""
    )


def test_distances_in_voxels_are_said_to_be(run):
    for entry in run.evaluation["cases"]:
        entry["unit"] = "voxels"
    assert "HD95 voxels" in words(run.write())
    run.evaluation["cases"][0]["unit"] = "mm"
    run.write()
    assert {row["unit"] for row in rows(run.out)} == {"mm", "voxels"}


def test_a_cine_shows_both_of_its_phases(run):
    entry = run.predictions["cases"][0]
    entry |= {"frames": 3, "phases": {"ED": 0, "ES": 2}, "volumes_ml": {n: [100.0, 70.0, 50.5] for n in STRUCTURES}}
    page = run.write(evaluation=False)
    row = next(row for row in rows(run.out) if row["case"] == entry["case"])
    assert (row["volume_LV_ml"], row["volume_LV_es_ml"]) == ("100.0", "50.5")
    assert "100.0 → 50.5" in page


def test_scores_of_a_version_with_other_names_are_shown_under_the_current_ones(run):
    case = run.predictions["cases"][0]
    case["frame_scores"] = [{"sure": 0.91}, {"sure": 0.43}]
    run.predictions["quality"] |= {"weights": {"sure": 1.0}, "bias": 0.0}
    (card,) = (card for card in cards(run.write()) if case["case"] in card)
    assert "soft_dice 0.430" in card


@pytest.mark.parametrize("sides", [("predicted", None), (None, "scored"), ("predicted", "scored")])
def test_indices_that_either_side_withholds_are_withheld(sides):
    predicted, scored = ({"patients": [{"patient": "p", "tool": "A", "withheld": why}]} for why in sides)
    (patient,) = content._patients(predicted, scored, "A")
    assert patient["withheld"] == next(filter(None, sides))
