"""From the Cityscapes layout to sorted records, its table, and what is said of a folder that is not one."""

import random
import re
from pathlib import Path

import pytest
from PIL import Image

from acdc_semicycle.datasets import cityscapes
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError


def write_street(root: Path, part: str, stem: str, image: str | None = ".png", mask=True) -> tuple[Path, Path]:
    """One image, with its mask; the city is the stem's first word, as in the official names."""
    city = stem.split("_")[0]
    shown = root / "leftImg8bit" / part / city / f"{stem}_leftImg8bit{image}"
    drawn = root / "gtFine" / part / city / f"{stem}_gtFine_labelIds.png"
    for path, wanted in ((shown, image), (drawn, mask)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted:
            Image.new("L", (8, 8)).save(path)
    return shown, drawn


def test_classes_and_colours_are_the_published_ones_by_hand():
    colours = dict(zip(cityscapes.CLASSES, cityscapes.COLOURS, strict=True))
    assert len(colours) == 19
    assert cityscapes.CLASSES[:2] == ("road", "sidewalk") and cityscapes.CLASSES[-1] == "bicycle"
    assert colours["road"] == (128, 64, 128)
    assert colours["sky"] == (70, 130, 180)
    assert colours["person"] == (220, 20, 60)
    assert colours["car"] == (0, 0, 142)


@pytest.mark.parametrize(
    ("value", "name"),
    [(7, "road"), (8, "sidewalk"), (11, "building"), (17, "pole"), (19, "traffic light"), (24, "person"), (26, "car"),
     (28, "bus"), (31, "train"), (33, "bicycle")],
)  # fmt: skip
def test_a_label_id_is_the_published_class(value, name):
    assert cityscapes.CLASSES[cityscapes.VALUES[value]] == name


def test_the_table_by_hand():
    assert (cityscapes.VALUES[7], cityscapes.VALUES[26], cityscapes.VALUES[33]) == (0, 13, 18)
    assert set(cityscapes.VALUES) == {*range(34), 255}
    ignored = {value for value, meaning in cityscapes.VALUES.items() if meaning == IGNORED}
    assert ignored == {0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255}


def test_one_image_gives_a_record_with_every_field(tmp_path):
    image, mask = write_street(tmp_path, "train", "aachen_000001_000019")
    held, truth = write_street(tmp_path, "val", "ulm_000002_000019")
    assert cityscapes.records(str(tmp_path)) == [
        Record("aachen_000001_000019", "aachen_000001_000019", image, mask, None, "training"),
        Record("ulm_000002_000019", "ulm_000002_000019", held, truth, None, "testing"),
    ]


def test_images_may_be_jpeg(tmp_path):
    images = [
        write_street(tmp_path, "train", "aachen_1", ".jpg")[0],
        write_street(tmp_path, "train", "bonn_1", ".jpeg")[0],
        write_street(tmp_path, "val", "ulm_1", ".JPG")[0],
    ]
    records = cityscapes.records(tmp_path)
    assert [r.image for r in records] == images and all(r.label for r in records)


def test_records_are_sorted_whatever_the_order_of_the_file_system(tmp_path, monkeypatch):
    for city in ("ulm", "bonn", "zurich", "aachen"):
        write_street(tmp_path, "train", f"{city}_2")
        write_street(tmp_path, "train", f"{city}_1")
        write_street(tmp_path, "val", f"{city}_3")
    expected = cityscapes.records(tmp_path)
    assert [r.case for r in expected] == sorted(r.case for r in expected)
    plain = Path.glob

    def shuffled(folder, pattern):
        found = list(plain(folder, pattern))
        random.Random(4).shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "glob", shuffled)
    assert cityscapes.records(tmp_path) == expected


def test_other_files_and_the_test_part_are_left_alone(tmp_path, caplog):
    image, mask = write_street(tmp_path, "train", "aachen_1")
    write_street(tmp_path, "val", "ulm_1")
    write_street(tmp_path, "test", "berlin_1", mask=False)
    for path in (image, mask):
        path.with_name(f"._{path.name}").touch()
    image.with_suffix(".txt").touch()
    mask.with_name("aachen_1_gtFine_color.png").touch()
    assert [r.case for r in cityscapes.records(tmp_path)] == ["aachen_1", "ulm_1"]
    assert not caplog.records


def test_a_training_image_without_a_mask_is_unlabelled_and_counted(tmp_path, caplog):
    write_street(tmp_path, "train", "aachen_1")
    write_street(tmp_path, "train", "aachen_2", mask=False)
    write_street(tmp_path, "val", "ulm_1")
    assert [r.label is None for r in cityscapes.records(tmp_path)] == [False, True, False]
    assert [r.getMessage().split(" in ")[0] for r in caplog.records] == ["1 of 2 training images have no mask"]


def test_masks_without_an_image_are_counted_and_left_alone(tmp_path, caplog):
    write_street(tmp_path, "train", "aachen_1")
    write_street(tmp_path, "train", "bonn_1", image=None)
    write_street(tmp_path, "train", "bonn_2", image=None)
    write_street(tmp_path, "val", "ulm_1")
    assert [r.case for r in cityscapes.records(tmp_path)] == ["aachen_1", "ulm_1"]
    (warning,) = caplog.records
    assert "2 masks" in warning.getMessage() and "bonn_1_gtFine_labelIds.png" in warning.getMessage()


def test_real_streets_have_every_image_with_its_mask(cityscapes_dir):
    records = cityscapes.records(cityscapes_dir)
    sizes = [sum(r.part == part for r in records) for part in ("training", "testing")]
    assert sizes in ([367, 101], [2975, 500])  # shared/data, Cityscapes
    assert all(r.image.is_file() and r.label and r.label.is_file() for r in records)
    with Image.open(records[0].label) as mask, Image.open(records[0].image) as image:
        assert mask.size == image.size
        assert {value for _, value in mask.getcolors()} <= set(cityscapes.VALUES)


def refused(root, *words: str) -> None:
    """Given, expected, what to do: every word is in the message."""
    with pytest.raises(InputError, match=re.escape(words[0])) as caught:
        cityscapes.records(root)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("root", [None, ""])
def test_no_root_is_refused(root):
    refused(root, "is empty", "give the folder that holds leftImg8bit and gtFine")


def test_a_missing_root_is_refused(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path / 'nowhere'} is not a folder", "leftImg8bit", "dataset_dir")


@pytest.mark.parametrize("missing", ["leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val"])
def test_a_missing_part_is_refused(tmp_path, missing):
    write_street(tmp_path, "train", "aachen_1")
    write_street(tmp_path, "val", "ulm_1")
    (tmp_path / missing).rename(tmp_path / "away")
    refused(tmp_path, f"{tmp_path / missing} is not there", "unpack", "dataset_dir")


@pytest.mark.parametrize("empty", ["train", "val"])
def test_a_part_without_images_is_refused(tmp_path, empty):
    for part in ("train", "val"):
        write_street(tmp_path, part, f"{part}_1", image=None if part == empty else ".png")
    refused(tmp_path, f"{tmp_path / 'leftImg8bit' / empty} holds no CITY/STEM_leftImg8bit.png", "unpack")


def test_an_image_of_val_without_a_mask_is_refused(tmp_path):
    write_street(tmp_path, "train", "aachen_1")
    image, _ = write_street(tmp_path, "val", "ulm_1", mask=False)
    refused(tmp_path, f"{image} has no mask in {tmp_path / 'gtFine'}", "1 such", "restore")


def test_no_mask_at_all_is_refused(tmp_path):
    write_street(tmp_path, "train", "aachen_1", mask=False)
    write_street(tmp_path, "val", "ulm_1")
    refused(tmp_path, "none of the 1 training images has a mask", str(tmp_path / "gtFine"), "nothing to learn from")


def test_an_image_in_both_parts_is_refused(tmp_path):
    write_street(tmp_path, "train", "ulm_1")
    write_street(tmp_path, "val", "ulm_1")
    refused(tmp_path, "ulm_1 is there twice", "training", "testing", "keep one")


def test_an_image_in_two_formats_is_refused(tmp_path):
    write_street(tmp_path, "train", "aachen_1")
    write_street(tmp_path, "train", "aachen_1", ".jpg")
    write_street(tmp_path, "val", "ulm_1")
    refused(tmp_path, "aachen_1 is there twice", "aachen_1_leftImg8bit.jpg", "aachen_1_leftImg8bit.png")
