"""Titles, hints, the order of cases, all slices, indexed volumes and volume-time curves."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_folder import STRUCTURES, cards, names, rows, words

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import clinical
from acdc_semicycle.imageio import volumes
from acdc_semicycle.report import all_slices, charts
from acdc_semicycle.report.titles import default_title


@pytest.mark.parametrize(
    ("model", "truth", "scans", "tools", "title"),
    [
        ("runs/few/models/model.pt", "data/acdc/training", [], ["OUT"], "acdc, segmented by few"),
        ("runs/few/models/model.pt", None, ["d/hearts/p1/a.nii", "d/hearts/p2/b.nii"], [], "hearts, segmented by few"),
        ("heart.zip", None, ["hearts/imagesTr/a.nii", "hearts/imagesTr/b.nii"], [], "hearts, segmented by heart"),
        (None, "data/acdc/training", [], ["ours", "theirs"], "acdc, segmented by ours and theirs"),
        ("runs/few/models/model.pt", "acdc", [], ["ours", "theirs"], "acdc, segmented by ours and theirs"),
        ("model.pt", None, [], [], "OUT"),
        (None, None, [], [], "OUT"),
    ],
)
def test_a_page_is_called_after_the_data_set_and_the_network(tmp_path, model, truth, scans, tools, title):
    predicted = {"model": {"path": model}, "cases": [{"scan": scan} for scan in scans]}
    assert default_title(tmp_path / "OUT", predicted, {"truth": truth, "tools": tools}) == title


def test_a_title_that_is_given_is_the_title(run):
    page = run.write(title="Hearts & more")
    assert "<h1>Hearts &amp; more</h1>" in page and "<title>Hearts &amp; more" in page
    assert json.loads((run.out / "report.json").read_text())["title"] == "Hearts & more"


def test_scores_say_what_they_are_on_hover_and_in_a_line(run):
    page = run.write()
    for name, better in (("Dice", "higher is better"), ("HD95", "lower is better"), ("ASSD", "lower is better")):
        assert re.search(f'<abbr title="{name}: [^"]+{better}">{name}</abbr>', page)
        assert re.search(f"{name} (in mm)?: [^.]+{better}", words(page[page.index('id="scores"') :]))


def test_cases_without_a_truth_come_last_and_the_page_says_so(run):
    first, last = run.evaluation["cases"][0]["case"], run.evaluation["cases"][5]["case"]
    run.evaluation["cases"] = run.evaluation["cases"][1:5]
    page = run.write()
    assert set(names(page)[4:]) == {first, last}
    assert "The worst case is first. The 2 without a truth come last." in words(page)


def test_without_any_score_the_page_calls_none_the_worst(run):
    for case in run.predictions["cases"]:
        case["quality"] = None
    page = words(run.write(evaluation=False))
    assert "The cases are in the order of their names." in page and "worst case is first" not in page


def test_all_slices_are_there_with_their_dice(run):
    entry = run.evaluation["cases"][2]
    card = next(card for card in cards(run.write()) if f"<h3>{entry['case']}</h3>" in card)
    truth, prediction = (
        volume.layout.apply(volume.voxels[..., 0])
        for volume in (volumes.read(Path(entry["truth"])), volumes.read(run.out / entry["prediction"]))
    )
    viewer = card[card.index('class="viewer"') :]
    assert viewer.count("<figure") == truth.shape[2] + 1 and viewer.count(" hidden>") == truth.shape[2] - 1
    z = truth.shape[2] // 2
    both = [(truth[..., z] == k, prediction[..., z] == k) for k in (1, 2, 3)]
    dices = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in both]
    numbers = ", ".join(f"{name} {dice:.2f}" for name, dice in zip(STRUCTURES, dices, strict=True))
    assert f"slice {z + 1} of {truth.shape[2]} Dice {numbers}" in words(viewer)


def test_of_many_slices_those_with_structures_are_shown():
    masks = np.zeros((4, 4, 400), np.uint8)
    masks[1, 1, 100:300] = 1
    stack = all_slices.Stack(masks, masks, None, False)
    shown = all_slices._shown(stack)
    assert len(shown) == all_slices.MOST and (shown[0], shown[-1]) == (99, 300)
    assert all_slices._shown(stack._replace(prediction=masks[..., :12])) == list(range(12))
    as_many = stack._replace(prediction=masks[..., 90 : 90 + all_slices.MOST])
    assert all_slices._shown(as_many) == list(range(all_slices.MOST)), "structures begin at the tenth"


def test_dice_of_a_slice_leaves_out_what_nobody_annotated():
    prediction, truth = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    prediction[:2], truth[:1], truth[1:2, :2] = 1, 1, 255
    shown = all_slices.Slice(0, prediction, prediction, truth)
    assert all_slices._dice(shown, [1, 2]) == {1: 2 * 4 / (6 + 4)}, "two of the eight pixels do not count"


def info(folder: Path, text: str) -> tuple[float, float] | None:
    (folder / "Info.cfg").write_text(f"ED: 1\nES: 10\n{text}")
    return acdc.body_size(folder)


def test_height_and_weight_are_those_of_people(tmp_path):
    assert acdc.body_size(tmp_path) is None
    assert info(tmp_path, "Group: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n") == (184.0, 95.0)
    assert info(tmp_path, "Height: 184.0\n") is None
    assert info(tmp_path, "Height: 1.84\nWeight: 95.0\n") is None
    assert info(tmp_path, "Height: 184.0\nWeight: nan\n") is None


def test_a_man_of_180_cm_and_80_kg_has_two_square_metres():
    assert clinical.body_surface_m2(180.0, 80.0) == 2.0


def test_volumes_are_indexed_where_height_and_weight_are_known(run, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for case in run.predictions["cases"]:
        case["scan"] = str(scans / "scan.nii.gz") if case["patient"] == "patient001" else str(tmp_path / "lost.nii.gz")
    assert info(scans, "Height: 180\nWeight: 80\n")
    text = words(run.write(evaluation=False))
    edv = run.predictions["patients"][0]["lv_edv_ml"]
    assert f"patient001 2.00 {edv / 2:.1f}" in text and "Indexed to the body's surface" in text
    first, second = json.loads((run.out / "report.json").read_text())["patients"][:2]
    assert first["indexed"]["prediction"]["lv_edv_ml"] == edv / 2 and "indexed" not in second


def test_nothing_is_indexed_without_a_height(run):
    for case in [*run.predictions["cases"], *run.evaluation["cases"]]:
        case |= {"scan": "lost.nii.gz", "image": None, "truth": None}
    assert "Indexed to" not in run.write()


def test_a_cine_has_its_volumes_over_time(run):
    entry = run.predictions["cases"][0]
    volumes_ml = {name: [100.0, 70.0, 50.0, 90.0] for name in STRUCTURES}
    entry |= {"frames": 4, "phases": {"ED": 0, "ES": 2}, "volumes_ml": volumes_ml}
    card = next(card for card in cards(run.write(evaluation=False)) if entry["case"] in card)
    assert "Volume in ml over the 4 frames of the cine" in words(card) and "RV from 50 to 100 ml" in card
    assert ">ED 1</text>" in card and ">ES 3</text>" in card
    others = [card for card in cards(run.write(evaluation=False)) if "frames of the cine" in words(card)]
    assert len(others) == 1


def test_a_line_is_interrupted_where_a_number_is_missing():
    drawn = charts.chart({1: [0.5, None, 1.0, 0.0]}, 1.0)
    assert drawn["lines"][1] == "M37.5 48.0M187.5 0.0L262.5 96.0" and len(drawn["points"][1]) == 3
    assert [charts._round_up(value) for value in (0.0, 0.7, 12.0, 151.0, 999.0)] == [1, 0.75, 15, 200, 1000]


def test_a_patient_that_each_case_names_has_no_column_on_the_page(run):
    page = run.write()
    table = page[page.index('id="cases"') :].split("</table>")[0]
    assert ">Patient</button>" not in table and ">Phase</button>" in table
    assert rows(run.out)[0]["patient"] and rows(run.out)[0]["phase"]
    run.predictions["cases"][0]["patient"] = run.evaluation["cases"][0]["patient"] = "somebody"
    page = run.write()
    assert ">Patient</button>" in page[page.index('id="cases"') :].split("</table>")[0]


@pytest.mark.parametrize("key", ["image", "truth"])
def test_the_height_lies_beside_the_image_or_the_truth(run, tmp_path, key):
    scans = tmp_path / "scans"
    scans.mkdir()
    assert info(scans, "Height: 180\nWeight: 80\n")
    for case in [*run.predictions["cases"], *run.evaluation["cases"]]:
        case |= {"scan": "lost.nii.gz", "image": None, "truth": None} | {key: str(scans / "scan.nii.gz")}
    assert "Indexed to the body's surface" in words(run.write())
