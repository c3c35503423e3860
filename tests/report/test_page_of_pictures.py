"""The page of pictures: in their colours, without what only scans have."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from report_folder import MADE, cards, words

from acdc_semicycle.evaluation import evaluation_files
from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.report import page as report_page
from tests.evaluation.test_picture_labels import CLASSES, COLOURS, moved, truth, write


@pytest.fixture
def folder(tmp_path):
    """A picture in two colours that was predicted, and evaluated."""
    photograph = np.zeros((30, 20, 3), np.uint8)
    photograph[:15], photograph[15:] = (180, 40, 20), (10, 60, 190)
    write(tmp_path / "images" / "a.png", photograph)
    write(tmp_path / "masks" / "a.png", np.array(COLOURS, np.uint8)[truth()])
    write(tmp_path / "out" / "a_seg.png", moved(), palette=True, ours=True)
    case = {
        "case": "a", "mask": "a_seg.png", "scan": str(tmp_path / "images" / "a.png"), "patient": "a", "phase": None,
        "frames": 1, "shape": [30, 20, 1], "withheld": "a picture has no volume", "volumes_ml": None, "quality": None,
    }  # fmt: skip
    content = {"cases": [case], "classes": CLASSES, "colours": COLOURS, "failures": [], "model": {}} | MADE
    (tmp_path / "out" / "predictions.json").write_text(json.dumps(content))
    return tmp_path / "out"


def evaluated(folder) -> str:
    evaluation_files.write(compare([folder], folder.parent / "masks"), folder)
    return report_page.write(folder).read_text()


def picture(page: str) -> np.ndarray:
    import base64
    import io

    source = re.search('<image href="data:image/webp;base64,([^"]+)"', page)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))


def test_a_picture_is_shown_whole_in_its_colours_with_both_outlines(folder):
    page = evaluated(folder)
    shown = picture(page).astype(int)
    assert shown.shape == (30, 20, 3)
    assert np.abs(shown[3, 10] - (180, 40, 20)).max() < 30 and np.abs(shown[26, 10] - (10, 60, 190)).max() < 30
    (card,) = cards(page)
    assert re.search(r'<path class="c1" d="M\d+', card) and '<g class="truth"><path d="M' in card


def test_the_page_of_pictures_has_nothing_that_only_scans_have(folder):
    text = words(evaluated(folder).split("<footer>")[0])
    assert "HD95 in pixels" in text and "Size 20 × 30 pixels" in text
    for word in ("slice", "Phase", "withheld", "Grid", "mm,", "ml"):
        assert word not in text, word


def test_without_a_truth_no_picture_is_called_the_worst(folder):
    page = report_page.write(folder).read_text()
    assert "worst" not in words(page) and picture(page).shape == (30, 20, 3)


def test_a_truth_that_is_gone_costs_its_outline_alone(folder):
    evaluated(folder)
    (folder.parent / "masks" / "a.png").unlink()
    page = report_page.write(folder).read_text()
    assert '<g class="truth">' not in page and picture(page).shape == (30, 20, 3)
