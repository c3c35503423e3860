"""``semicycle check`` takes what a training is told of its data, in the same words."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_semicycle import cli
from acdc_semicycle.config import overlays
from acdc_semicycle.config.data_check import READERS
from acdc_semicycle.config.data_keys import KEYS
from acdc_semicycle.config.locations import folder
from acdc_semicycle.data.check_layout import KINDS

COLOURS = [[0, 0, 0], [200, 30, 30]]


@pytest.fixture
def semicycle(monkeypatch, capsys):
    """Run ``semicycle check`` with words; its exit code, and what it printed."""
    monkeypatch.delenv("ACDC_DIR", raising=False)

    def run(*words) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["semicycle", "check", *map(str, words)])
        code = cli.main()
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def pictures(root: Path, values: tuple[int, ...], coloured: bool = False) -> list:
    """Three pictures of noise, and masks of squares of these values, or in colours; the options that name both."""
    for n in range(3):
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(n).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(root / "images" / f"p{n}_a.png")
        mask = np.full((16, 16), values[0], np.uint8)
        for place, value in enumerate(values[1:]):
            mask[3 * place + n : 3 * place + n + 4, 2:9] = value
        if coloured:
            mask = np.array(COLOURS, np.uint8)[(mask > 0).astype(int)]
        Image.fromarray(mask).save(root / "masks" / f"p{n}_a.png")
    return ["--images", root / "images", "--masks", root / "masks"]


CLASSES = ["--classes", "['background','cell']"]


def test_the_values_of_masks_are_said_as_to_a_training(semicycle, tmp_path):
    data = pictures(tmp_path, (0, 255))
    code, text = semicycle("own_pictures", *data, *CLASSES)
    assert code == 1 and "holds the label 255: expected whole numbers 0 to 1, or mask_values" in text
    code, text = semicycle("own_pictures", *data, *CLASSES, "--mask_values", "{'0': 0, '255': 1}")
    assert (code, text) == (0, "a folder of images: 3 images, 3 masks\nnothing found\n")
    assert semicycle("own_pictures", *data, *CLASSES, "--mask_values={'0': 0, '255': 1}") == (code, text)
    code, text = semicycle("own_pictures", *data, *CLASSES, "--mask_values", "{'0': 0, '128': 1}")
    assert code == 1 and "holds the label 255: expected 0, 128, or mask_values" in text


def test_a_folder_takes_the_same_keys_and_classes_in_both_spellings(semicycle, tmp_path):
    data = pictures(tmp_path, (0, 100))
    _, images, masks_key, masks = data
    values = ["--mask_values", "{'0': 0, '100': 1}"]
    nothing = (0, "a folder of images: 3 images, 3 masks\nnothing found\n")
    for classes in (CLASSES, ["--classes", "background", "cell"], ['--classes=["background", "cell"]']):
        assert semicycle(images, masks_key, masks, *classes, *values) == nothing
        assert semicycle(*data, *classes, *values) == nothing
        assert semicycle("own_pictures", *data, *classes, *values) == nothing
    code, text = semicycle(images, masks_key, masks, *CLASSES)
    assert code == 1 and "holds the label 100" in text
    code, text = semicycle(images, masks_key, masks, "--patient", "^(p)[0-9]", *values)
    assert code == 0 and text.startswith("a folder of images: 1 patient, 3 images, 3 masks")


def test_a_folder_of_masks_may_be_named_as_a_number(semicycle, tmp_path, monkeypatch):
    pictures(tmp_path, (0, 1))
    (tmp_path / "masks").rename(tmp_path / "2024")
    monkeypatch.chdir(tmp_path)
    nothing = (0, "a folder of images: 3 images, 3 masks\nnothing found\n")
    for words in (["images"], ["--images", "images"], ["own_pictures", "--images", "images"]):
        assert semicycle(*words, "--masks", "2024", *CLASSES) == nothing


def test_the_range_of_intensities_is_the_one_that_is_given(semicycle, tmp_path):
    """The pictures are of 0 to 255."""
    data = ["own_pictures", *pictures(tmp_path, (0, 1)), *CLASSES]
    assert semicycle(*data)[1].endswith("nothing found\n")
    assert "nothing found" not in semicycle(*data, "--intensity_range", "[900,1000]")[1]


def test_classes_values_and_colours_are_taken_from_a_file(semicycle, tmp_path):
    data, mine = pictures(tmp_path, (0, 7), coloured=True), tmp_path / "mine.yaml"
    mine.write_text(json.dumps({"classes": ["background", "cell"], "colours": COLOURS, "epochs": 3}))
    nothing = (0, "a folder of images: 3 images, 3 masks\nnothing found\n")
    assert semicycle("own_pictures", mine, *data) == nothing
    assert semicycle("own_pictures", *data, *CLASSES, "--colours", COLOURS) == nothing
    assert semicycle(*data, *CLASSES, "--colours", COLOURS) == nothing
    assert semicycle("own_pictures", *data, *CLASSES)[0] == 1, "colours are no class numbers"
    mine.write_text(json.dumps({"classes": ["background", "cell"], "colours": COLOURS[:1]}))
    code, text = semicycle("own_pictures", mine, *data)
    assert code == 2 and "colours has 1 entries for 2 classes" in text and text.count("\n") == 1


def test_classes_may_be_left_out_as_the_masks_show_them(semicycle, tmp_path):
    code, text = semicycle("own_pictures", *pictures(tmp_path, (0, 1)))
    assert code == 0 and "no classes are given, so their number is taken from the masks: 2" in text


def test_classes_that_a_training_will_ask_for_are_named_where_only_values_are_given(semicycle, tmp_path):
    data, values = pictures(tmp_path, (0, 255)), ("--mask_values", "{'0': 0, '255': 1}")
    code, text = semicycle("own_pictures", *data, *values)
    assert code == 0 and "no classes are given: a training needs --classes" in text and "nothing else found" in text
    assert "no classes" not in semicycle("own_pictures", *data, *values, *CLASSES)[1]


def test_a_public_data_set_is_checked_by_its_overlay_and_its_key(semicycle, phantom_dir):
    expected = semicycle(phantom_dir)
    assert expected[1].startswith("ACDC: ")
    assert semicycle("--dataset_dir", phantom_dir) == semicycle("small", "--dataset_dir", phantom_dir) == expected
    code, text = semicycle("--dataset_dir", phantom_dir, "--classes", "['background','heart']", "--colours", "null")
    assert code == 1 and "hold the labels 2, 3" in text
    wall = ["--classes", "['background','wall']", "--colours", "null", "--mask_values", "{0: 0, 1: 255, 2: 1, 3: 255}"]
    code, text = semicycle("--dataset_dir", phantom_dir, *wall)
    assert code == 0, text
    code, text = semicycle("voc", "--dataset_dir", phantom_dir)
    assert code == 1 and "JPEGImages" in text, "it is read as the overlay says, not as its layout shows"


def test_data_that_an_overlay_reads_by_itself_are_checked_as_it_reads_them(semicycle, tmp_path):
    pictures(tmp_path, (0, 9))
    mine = tmp_path / "mine.yaml"
    expression = f"$bundle.folder.records({str(tmp_path / 'images')!r}, {str(tmp_path / 'masks')!r})[:2]"
    mine.write_text(json.dumps({"dataset": "mine", "data": expression, "channels": 3, "colours": None}))
    words = [mine, *CLASSES]
    code, text = semicycle(*words, "--mask_values", "{0: 0, 9: 1}")
    assert (code, text) == (0, "a folder of images: 2 images, 2 masks\nnothing found\n")
    code, text = semicycle(*words)
    assert code == 1 and "holds the label 9" in text
    reader = {"_target_": "acdc_semicycle.datasets.folder.records", "images": str(tmp_path / "images")}
    data = reader | {"masks": str(tmp_path / "masks")}
    mine.write_text(json.dumps({"dataset": "mine", "data": data, "channels": 3, "colours": None}))
    assert semicycle(*words, "--mask_values", "{0: 0, 9: 1}") == (
        0,
        "a folder of images: 3 images, 3 masks\nnothing found\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["own_pictures", "--images", "IMAGES", "--epochs", "3"], "--epochs says nothing of the data: semicycle check"),
        (["IMAGES", "--labelled=3"], "--labelled says nothing of the data: semicycle check takes overlays, --dataset"),
        (["own_scans", "--image", "IMAGES"], "--image says nothing of the data: did you mean --images? semicycle"),
        (["IMAGES", "--mask_value", "{}"], "--mask_value says nothing of the data: did you mean --mask_values?"),
        (["nowhere"], "nowhere is neither a folder nor an overlay: give one of the two"),
        (["IMAGES", "own_scans"], "'own_scans' follows the folder IMAGES: give one folder, or overlays and --images"),
        (["IMAGES", "--images", "IMAGES"], "--images IMAGES is a second folder beside IMAGES: give one of the two"),
        (["own_scans"], "no data set is given: give its folder, --images FOLDER, or overlays that name it"),
        (["small"], "no data set is given: give its folder, --dataset_dir FOLDER, or overlays that name it"),
        ([], "no data set is given: give its folder"),
        (["IMAGES", "--mask_values", "3"], "mask_values is 3: give whole numbers, such as"),
        (["own_scans", "--images", "IMAGES", "--mask_values", "3"], "mask_values is 3: give whole numbers"),
        (["IMAGES", "--intensity_range", "[5,1]"], "intensity_range is [5, 1]: give the lowest and the highest"),
        (["own_scans", "--images", "IMAGES", "--intensity_range", "[5,1]"], "intensity_range is [5, 1]: give the"),
        (["IMAGES", "--classes", "cell"], "classes is ['cell']: give two names or more, the background first"),
        (["IMAGES", "--colours", "3"], "colours is 3: give [red, green, blue] of each class, from 0 to 255, or null"),
        (["IMAGES", "--classes", "a", "b", "--colours", "[[0,0,0],[0,0,256]]"], "colours is [[0, 0, 0], [0, 0, 256]]"),
        (
            ["own_scans", "--images", "IMAGES", "--classes", "['a','b']", "--colours", "[3]"],
            "colours is [3]: give [red",
        ),
        (["IMAGES", "--channels", "2"], "channels is 2: give 1 or 3"),
    ],
)
def test_what_is_not_taken_is_one_line(semicycle, tmp_path, words, message):
    images = str(pictures(tmp_path, (0, 1))[1])
    code, text = semicycle(*(word.replace("IMAGES", images) for word in words))
    assert code == 2 and text.count("\n") == 1 and message.replace("IMAGES", images) in text


def test_every_shipped_way_to_read_data_is_known_and_every_key_is_one_of_the_bundle():
    files = [folder("bundles/semicycle") / "configs" / "train.json", *folder("configs").glob("*.yaml")]
    configs = [overlays.read(file) for file in files]
    readers = {config["data"] for config in configs if "data" in config}
    assert {reader for reader in readers if "pretraining" not in reader} == set(READERS), "what is drawn is no data set"
    assert set(READERS.values()) == set(KINDS)
    assert set(KEYS) <= {key for config in configs for key in config}
