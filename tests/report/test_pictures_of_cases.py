"""The pictures of a report: which slices, how they are turned, and the outlines over them."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_folder import cards, preview, rows, words

from acdc_semicycle.imageio.orientation import displayed
from acdc_semicycle.report import cards as case_cards
from acdc_semicycle.report import drawing
from acdc_semicycle.report.case_images import Slice


def test_a_card_has_three_slices_with_both_outlines(run):
    card = preview(cards(run.write())[0])
    assert card.count("<svg") == 3
    assert card.count('<g class="prediction">') == card.count('<g class="truth">') == 3
    assert card.count("painted from the segmentation") == card.count("map of disagreement") == 3
    assert len(card) < 120_000


def shapes(card: str, group: str) -> list[str]:
    return [
        path
        for text in re.findall(f'<g class="{group}">(.*?)</g>', card, re.DOTALL)
        for path in re.findall(' d="([^"]+)"', text)
    ]


@pytest.mark.parametrize("predictions", [True, False])
def test_the_outline_of_a_truth_that_equals_the_prediction_is_the_same(run, predictions):
    """Of the panel, and of the files: so both are turned as the truth is."""
    entry = run.evaluation["cases"][0]
    entry["truth"] = entry["prediction"]
    card = next(card for card in cards(run.write(predictions=predictions)) if entry["case"] in card)
    assert len(shapes(preview(card), "prediction")) > 6
    assert shapes(card, "truth") == shapes(card, "prediction")
    moved = next(
        card for card in cards(run.write(predictions=predictions)) if run.evaluation["cases"][4]["case"] in card
    )
    assert shapes(moved, "truth") != shapes(moved, "prediction")


def test_a_truth_of_another_frame_is_not_drawn(run):
    """Of a cine whose ED is shown and whose ES was scored."""
    name = run.predictions["cases"][0]["case"]
    run.predictions["cases"][0] |= {"frames": 20, "phase": None, "phases": {"ED": 0, "ES": 9}}
    first = run.evaluation["cases"][0]
    run.evaluation["cases"][1] = first | {"phase": "ES"}
    phases = [card for card in cards(run.write()) if f"<h3>{name}</h3>" in card]
    assert sorted(("· ES" in card, '<g class="truth">' in card) for card in phases) == [(False, True), (True, False)]


def test_a_slice_is_shown_transposed_and_turned_where_its_spacing_is_one():
    plane = np.arange(6).reshape(2, 3)
    assert displayed(plane, False).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert displayed(plane, True).tolist() == [[5, 2], [4, 1], [3, 0]]


def test_an_outline_runs_along_the_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    inside = {(x, y) for x, y in corners(drawing._outline(mask))}
    assert inside == {(2, 3), (3, 2), (7, 2), (8, 3), (8, 5), (7, 6), (3, 6), (2, 5)}  # in half pixels
    assert drawing._outline(np.zeros((4, 5), bool)) == ""


def corners(path: str) -> list[tuple[int, int]]:
    start, steps = re.fullmatch(r"M(-?\d+ -?\d+)l(.*)z", path).groups()
    pairs = np.array(f"{start} {steps}".split(), int).reshape(-1, 2)
    return [tuple(point) for point in np.cumsum(pairs, axis=0).tolist()]


def test_an_evaluation_alone_is_drawn_from_its_files(run):
    page = run.write(predictions=False)
    assert all(preview(card).count("<svg") == 3 for card in cards(page))
    assert "quality" not in rows(run.out)[0] and float(rows(run.out)[0]["volume_LV_ml"]) > 0
    assert "disagreement" not in page


def test_without_the_scan_the_masks_are_drawn_on_black(run):
    run.evaluation["cases"] = [entry | {"image": None} for entry in run.evaluation["cases"]]
    card = cards(run.write(predictions=False))[0]
    picture = base64.b64decode(re.search('<image href="data:image/png;base64,([^"]+)"', card)[1])
    assert not np.asarray(Image.open(io.BytesIO(picture))).any()
    assert len(shapes(card, "prediction")) > 6


@pytest.mark.parametrize("damage", ["panel", "mask"])
def test_one_broken_picture_costs_that_picture(run, damage):
    entry, scored = run.predictions["cases"][0], run.evaluation["cases"][0]
    broken = run.out / entry[damage]
    broken.write_bytes(broken.read_bytes()[:100])
    page = run.write(predictions=damage == "panel")
    card = next(card for card in cards(page) if scored["case"] in card)
    assert "<svg" not in card and "No picture" in card and f"{scored['dice']['mean']:.3f}" in card
    assert sum("<svg" in card for card in cards(page)) == 5


def test_only_the_worst_are_drawn_and_the_page_says_so(run, monkeypatch):
    monkeypatch.setattr(case_cards, "PICTURES", 2)
    page = run.write()
    assert [("<svg" in card) for card in cards(page)] == [True] * 2 + [False] * 4
    assert "Of 6 cases only the worst 2 have pictures" in words(page)


@pytest.mark.parametrize(("corner", "start"), [((0, 0), (0, 0)), ((85, 110), (36, 56)), ((50, 60), (22, 32))])
def test_a_crop_lies_in_the_picture_wherever_the_structure_is(corner, start):
    """Of 100 x 120 pixels those 64 x 64 around a structure of 10 x 10; at an edge those beside it."""
    prediction = np.zeros((100, 120), np.uint8)
    prediction[corner[0] : corner[0] + 10, corner[1] : corner[1] + 10] = 1
    image = np.add.outer(np.arange(100), np.arange(120)).astype(np.uint8)
    rows, columns = drawing._crop([Slice(0, image, prediction)])
    assert (rows, columns) == tuple(slice(first, first + 64) for first in start)
    (picture,) = drawing.drawn([Slice(0, image, prediction)], [1])
    assert picture["size"] == (128, 128)


def test_the_crop_has_the_structures_of_prediction_and_truth_of_every_slice():
    empty = np.zeros((200, 200), np.uint8)
    prediction, truth = empty.copy(), empty.copy()
    prediction[50:55, 50:55], truth[150:155, 150:155] = 1, 1
    slices = [Slice(0, empty, empty, truth), Slice(1, empty, prediction)]
    rows, columns = drawing._crop(slices)
    assert rows == columns and rows.start < 50 and rows.stop >= 155


def test_a_photograph_is_not_cropped():
    mask = np.zeros((200, 200), np.uint8)
    mask[:5, :5] = 1
    assert drawing._crop([Slice(0, np.zeros((200, 200, 3), np.uint8), mask)]) == (slice(None), slice(None))
