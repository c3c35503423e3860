"""How examples, legends and scores of pictures are drawn and counted."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_semicycle.datasets import voc
from acdc_semicycle.evaluation import figures, model_scores
from acdc_semicycle.evaluation.examples import example
from acdc_semicycle.evaluation.metrics import confusion
from tests.imageio.picture_files import COLUMNS, ROWS, numbers, write


def test_a_class_that_neither_truth_nor_prediction_holds_does_not_count_in_the_miou():
    truth, prediction = torch.tensor([0, 0, 1, 1, 255]), torch.tensor([0, 1, 1, 1, 2])
    matrix = confusion(prediction, truth, 3)
    case = model_scores.Case("a", "a", "", Path("a.png"), 0, prediction.numpy(), truth.numpy(), matrix, matrix)
    summary = model_scores.summary([case], ["background", "cell", "dust"], ["cell", "dust"])
    assert summary["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert summary["miou_by_class"] == pytest.approx({"background": 1 / 2, "cell": 2 / 3, "dust": np.nan}, nan_ok=True)


def test_classes_have_the_colours_they_are_given():
    np.testing.assert_allclose(figures.colours_of(21, voc.COLOURS) * 255, voc.COLOURS)
    own = figures.colours_of(5)
    assert own.shape == (5, 3) and not own[0].any() and len({tuple(colour) for colour in own.tolist()}) == 5


def texts(figure) -> list[str]:
    figure.savefig(io.BytesIO(), format="png")
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_coloured_examples_show_their_colours_and_name_the_classes_that_occur():
    truth, prediction = np.zeros((2, ROWS, COLUMNS), int)
    truth[2:9, 4:9], truth[12:], prediction[3:9, 5:20] = 20, 255, 7
    shown = numbers((ROWS, COLUMNS, 3))
    figure = figures.examples_figure([figures.Example("a", shown, truth, prediction)] * 2, voc.CLASSES, voc.COLOURS)
    assert texts(figure) == [voc.CLASSES[7], voc.CLASSES[20]]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), shown)
    faces = [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()]
    np.testing.assert_allclose(np.array(faces) * 255, [voc.COLOURS[7], voc.COLOURS[20]])


def test_an_example_of_nothing_but_background_is_drawn():
    nothing = np.zeros((ROWS, COLUMNS), int)
    figure = figures.examples_figure([figures.Example("a", numbers(), nothing, nothing)], ["background", "cell"])
    assert texts(figure) == []


def test_the_legend_has_the_number_and_the_name_of_every_class():
    listed = texts(figures.legend_figure(voc.CLASSES, voc.COLOURS))
    assert sorted(listed) == sorted(f"{k}  {name}" for k, name in enumerate(voc.CLASSES))


def test_an_example_of_sixteen_bits_is_drawn_from_dark_to_bright(tmp_path):
    ramp = np.linspace(500, 60000, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint16)
    path, mask = write(tmp_path / "a.png", ramp), np.zeros((ROWS, COLUMNS), np.uint8)
    matrix = torch.eye(2, dtype=torch.long)
    drawn = example(model_scores.Case("a", "a", "", path, 0, mask, mask, matrix, matrix)).image
    assert drawn.dtype == np.uint8 and drawn.shape == (ROWS, COLUMNS, 3)
    assert (np.diff(drawn[..., 0].ravel().astype(int)) >= 0).all() and drawn.min() < 10 and drawn.max() > 245
