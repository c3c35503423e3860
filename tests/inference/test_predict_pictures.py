"""Segmenting new pictures: label maps of their own size, in the colours of the classes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.card import CARD
from acdc_semicycle.datasets import voc
from acdc_semicycle.evaluation import evaluation_files
from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.inference.label_maps import save_picture_map
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.report import page as report_page
from tests.imageio.picture_files import COLUMNS, PALETTE, ROWS, names, numbers, refused, segment, staircase, write


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("ACDC_DIR", "VOC_DIR", "CITYSCAPES_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small network of pictures with its card, as training leaves them; not trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "model.pt"
    network = ResidualGenerator(3, 21, filters=2, blocks=1)
    weights.save(path, network.state_dict())
    card = {"filters": 2, "blocks": 1, "image_size": [24, 32], "in_channels": 3, "intensity_range": [0, 255]}
    card |= {"pictures": True, "classes": list(voc.CLASSES), "colours": voc.COLOURS, "dataset": "voc"}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_a_label_map_is_a_palette_png_of_the_pictures_own_size(tmp_path, model):
    write(tmp_path / "in" / "a.v1.jpg", numbers((ROWS, COLUMNS, 3)))
    write(tmp_path / "in" / "deep" / "b.PNG", numbers((41, 23, 4)))
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "in" / "turned.png", numbers((ROWS, COLUMNS, 3)), exif=exif)
    write(tmp_path / "in" / "grey.tif", numbers((20, 20)))
    segment(tmp_path / "in", tmp_path / "out", model)
    sizes = {"a.v1_seg.png": (30, 18), "deep/b_seg.png": (23, 41), "turned_seg.png": (18, 30), "grey_seg.png": (20, 20)}
    assert names(tmp_path / "out") == sorted([*sizes, "legend.png"])
    for name, size in sizes.items():
        with Image.open(tmp_path / "out" / name) as made:
            assert (made.format, made.mode, made.size) == ("PNG", "P", size)
            assert made.getpalette()[:63] == PALETTE[:21].ravel().tolist()
            assert np.asarray(made).max() <= 20


def test_predicted_pictures_are_evaluated_and_reported_in_colour(tmp_path, model):
    """Against the masks that were predicted themselves, once as class numbers and once as colours."""
    pixels = np.kron(numbers((6, 8, 3)), np.ones((4, 4, 1), np.uint8))
    write(tmp_path / "in" / "a.png", pixels)
    out = tmp_path / "out"
    segment(tmp_path / "in", out, model)
    case = json.loads((out / "predictions.json").read_text())["cases"][0]
    with np.load(out / case["panel"]) as panel:
        np.testing.assert_array_equal(panel["image_0"], pixels)
        labels = panel["prediction_0"]
    for mask in (labels, PALETTE[labels].astype(np.uint8)):
        write(tmp_path / "masks" / "a.png", mask)
        content = compare([out], tmp_path / "masks")
        assert content["cases"][0]["dice"]["mean"] == 1 and content["cases"][0]["unit"] == "pixels"
    evaluation_files.write(content, out)
    page = report_page.write(out).read_text()
    assert "data:image/webp" in page and '<g class="truth">' in page and "slice 1" not in page


def test_a_label_map_is_the_argmax_of_the_network_pixel_by_pixel(tmp_path, model):
    # at the network's own resolution nothing is resampled: the plain call must give the same classes
    pixels = np.kron(numbers((6, 8, 3)), np.ones((4, 4, 1), np.uint8))
    segment(write(tmp_path / "a.png", pixels), tmp_path / "out", model)
    network = ResidualGenerator(3, 21, filters=2, blocks=1)
    network.load_state_dict(torch.load(model, weights_only=True))
    x = torch.tensor(pixels / 255 * 2 - 1, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network.eval()(x)[0].argmax(0).numpy()
    assert len(np.unique(expected)) > 2
    with Image.open(tmp_path / "out" / "a_seg.png") as made:
        assert (np.asarray(made) == expected).mean() > 0.99


@pytest.mark.parametrize("colours", [None, [(10, 20, 30), (40, 50, 60), (250, 1, 2)]])
def test_a_map_stores_the_classes_and_shows_their_colours(tmp_path, colours):
    labels = np.array([[0, 1, 2, 2], [2, 1, 0, 0], [1, 1, 1, 2]])
    card = CARD | {"classes": ["a", "b", "c"], "colours": colours}
    save_picture_map(labels, tmp_path / "deep" / "a.png", card)
    with Image.open(tmp_path / "deep" / "a.png") as made:
        np.testing.assert_array_equal(np.asarray(made), labels)
        palette = np.array(colours or [(0, 0, 0), (31, 119, 180), (174, 199, 232)])
        np.testing.assert_array_equal(np.asarray(made.convert("RGB")), palette[labels])
    assert names(tmp_path) == ["deep/a.png"]


@pytest.mark.parametrize("output", ["out", "in/out"])
def test_a_second_run_over_pictures_replaces_its_own_maps_and_segments_none_of_them(tmp_path, model, output):
    for shape in ((ROWS, COLUMNS), (20, 26)):
        write(tmp_path / "in" / "a.png", numbers((*shape, 3)))
        segment(tmp_path / "in", tmp_path / output, model)
        assert names(tmp_path / output) == ["a_seg.png", "legend.png"]
        with Image.open(tmp_path / output / "a_seg.png") as made:
            assert made.size == shape[::-1]


@pytest.mark.parametrize("mine", ["a_seg.png", "legend.png"])
@pytest.mark.parametrize("content", [b"my own", None], ids=["text", "picture"])
def test_a_picture_of_the_users_own_is_not_overwritten(tmp_path, model, mine, content):
    write(tmp_path / "in" / "a.jpg", numbers((ROWS, COLUMNS, 3)))
    path = write(tmp_path / "out" / mine, numbers())
    if content is not None:
        path.write_bytes(content)
    before = path.read_bytes()
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", model), str(path), "not written by this program")
    assert path.read_bytes() == before


def test_a_picture_of_the_users_own_may_be_called_legend(tmp_path, model):
    write(tmp_path / "in" / "legend.png", numbers((ROWS, COLUMNS, 3)))
    segment(tmp_path / "in", tmp_path / "out", model)
    assert names(tmp_path / "out") == ["legend.png", "legend_seg.png"]


def test_a_scan_for_a_network_of_pictures_is_refused(tmp_path, model):
    scan = staircase(tmp_path / "in", "a", 3)
    said = ".png, .jpg"
    refused(lambda: segment(scan, tmp_path / "out", model), str(scan), "none of what this network was trained on", said)
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", model), f"{tmp_path / 'in'} holds no", said)


def test_one_bad_picture_costs_one_line_and_not_the_others(tmp_path, model):
    good = write(tmp_path / "in" / "good.png", numbers((ROWS, COLUMNS, 3)))
    (tmp_path / "in" / "cut.png").write_bytes(good.read_bytes()[:300])
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", model), "1 of 2 files", "cut.png", "truncated")
    assert names(tmp_path / "out") == ["good_seg.png", "legend.png"]


def test_two_pictures_of_one_name_get_two_label_maps(tmp_path, model):
    write(tmp_path / "in" / "a.jpg", numbers((ROWS, COLUMNS, 3)))
    write(tmp_path / "in" / "a.png", numbers((20, 20, 3)))
    segment(tmp_path / "in", tmp_path / "out", model)
    for name, size in (("a_jpg_seg.png", (COLUMNS, ROWS)), ("a_png_seg.png", (20, 20))):
        with Image.open(tmp_path / "out" / name) as made:
            assert made.size == size


def test_a_legend_beside_the_pictures_is_not_segmented_in_a_second_run(tmp_path, model):
    write(tmp_path / "a.png", numbers((ROWS, COLUMNS, 3)))
    for _ in range(2):
        segment(tmp_path, tmp_path, model)
    assert names(tmp_path) == ["a.png", "a_seg.png", "legend.png"]


def test_a_legend_of_the_users_own_is_seen_before_anything_is_written(tmp_path, model):
    write(tmp_path / "in" / "a.png", numbers((ROWS, COLUMNS, 3)))
    path = write(tmp_path / "out" / "legend.png", numbers())
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", model), str(path), "not written by this program")
    assert names(tmp_path / "out") == ["legend.png"]


def test_one_picture_beyond_the_networks_range_costs_one_line_and_not_the_others(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    weights.save(path, ResidualGenerator(1, 2, filters=2, blocks=1).state_dict())
    card = {"filters": 2, "blocks": 1, "image_size": [24, 32], "intensity_range": [0, 255]}
    card |= {"pictures": True, "classes": ["background", "cell"]}
    path.with_suffix(".json").write_text(json.dumps(card))
    write(tmp_path / "in" / "a.png", numbers().astype(np.uint16) * 200)
    write(tmp_path / "in" / "b.png", numbers())
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", path), "1 of 2 files", "a.png", "intensity_range")
    assert names(tmp_path / "out") == ["b_seg.png", "legend.png"]


def test_one_scan_beyond_the_networks_range_costs_one_line_and_not_the_others(tmp_path):
    staircase(tmp_path / "in", "a", 3, first=99)
    staircase(tmp_path / "in", "b", 3)
    path = tmp_path / "models" / "model.pt"
    weights.save(path, ResidualGenerator(1, 2, filters=2, blocks=1).state_dict())
    card = {
        "filters": 2,
        "blocks": 1,
        "image_size": [8, 8],
        "classes": ["background", "a"],
        "intensity_range": [0, 100],
    }
    path.with_suffix(".json").write_text(json.dumps(card))
    refused(lambda: segment(tmp_path / "in", tmp_path / "out", path), "1 of 2 files", "a.nii.gz", "from 99 to 101")
    assert names(tmp_path / "out") == ["b_seg.nii.gz"]
