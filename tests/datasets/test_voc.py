"""From a devkit to sorted records, with SBD's masks and without, and what is said of a folder that is not one."""

import re
from pathlib import Path

import pytest
from PIL import Image

from acdc_semicycle.datasets import voc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError


def write_voc(root: Path, train=("a", "b"), val=("c",), masks=("a", "b", "c"), aug=None) -> Path:
    """VOC2012 below a folder: its lists, their images, the devkit's masks and, where given, SBD's."""
    home = root / "VOCdevkit" / "VOC2012"
    for name in {*train, *val, *masks, *(aug or ())}:
        write(home / "JPEGImages" / f"{name}.jpg", "RGB")
    for name in masks:
        write(home / "SegmentationClass" / f"{name}.png", "P")
    for name in aug or ():
        write(home / "SegmentationClassAug" / f"{name}.png", "L")
    write_list(home, "train", *train)
    write_list(home, "val", *val)
    return home


def write(path: Path, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8)).save(path)


def write_list(home: Path, name: str, *lines: str) -> Path:
    path = home / "ImageSets" / "Segmentation" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def parts(records: list[Record]) -> dict[str, str]:
    return {r.case: r.part for r in records}


def test_colours_are_the_published_ones_by_hand():
    colours = dict(zip(voc.CLASSES, voc.COLOURS, strict=True))
    assert len(colours) == 21
    assert colours["background"] == (0, 0, 0)
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["bicycle"] == (0, 128, 0)
    assert colours["cat"] == (64, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)


def test_a_value_is_its_class_and_255_is_ignored():
    assert {value: value for value in range(21)} | {255: IGNORED} == voc.VALUES


def test_one_image_gives_a_record_with_every_field(tmp_path):
    home = write_voc(tmp_path)
    assert voc.records(tmp_path) == [
        Record(name, name, home / f"JPEGImages/{name}.jpg", home / f"SegmentationClass/{name}.png", None, part)
        for name, part in {"a": "training", "b": "training", "c": "testing"}.items()
    ]


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_any_of_the_three_folders(tmp_path, below):
    home = write_voc(tmp_path)
    assert [r.image for r in voc.records(str(tmp_path / below))] == [home / f"JPEGImages/{name}.jpg" for name in "abc"]


def test_records_are_sorted_whatever_the_order_of_the_lists_and_the_file_system(tmp_path, monkeypatch):
    home = write_voc(tmp_path, aug="dab", val="c")
    expected = voc.records(tmp_path)
    assert [r.case for r in expected] == ["a", "b", "c", "d"]
    plain = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: sorted(plain(folder, pattern), reverse=True))
    assert voc.records(tmp_path) == expected
    write_list(home, "trainaug", "d", "b", "a")
    assert voc.records(tmp_path) == expected


def test_without_sbd_the_augmented_list_is_left_alone(tmp_path):
    write_list(write_voc(tmp_path), "trainaug", "a", "b", "d")
    assert parts(voc.records(tmp_path)) == {"a": "training", "b": "training", "c": "testing"}


@pytest.mark.parametrize("name", ["trainaug", "train_aug"])
def test_with_sbd_the_augmented_list_is_trained_on(tmp_path, name):
    write_list(write_voc(tmp_path, aug="abcde"), name, "a", "d")
    assert parts(voc.records(tmp_path)) == {"a": "training", "c": "testing", "d": "training"}


def test_with_sbd_but_no_list_every_mask_outside_val_is_trained_on(tmp_path):
    home = write_voc(tmp_path, aug="abcd")
    (home / "SegmentationClassAug" / "._a.png").touch()
    assert parts(voc.records(tmp_path)) == {"a": "training", "b": "training", "c": "testing", "d": "training"}


def test_training_takes_the_masks_of_sbd_and_val_those_of_the_devkit(tmp_path):
    home = write_voc(tmp_path, val="ce", aug="abcde")
    folders = {r.case: r.label.parent for r in voc.records(tmp_path)}
    devkit, sbd = home / "SegmentationClass", home / "SegmentationClassAug"
    assert folders == {"a": sbd, "b": sbd, "c": devkit, "d": sbd, "e": sbd}  # the devkit has no e


def test_lists_may_be_written_as_deeplab_does_with_blank_lines_and_repeats(tmp_path):
    home = write_voc(tmp_path)
    write_list(home, "train", "/JPEGImages/b.jpg /SegmentationClassAug/b.png", "", "  a  1", "a")
    write_list(home, "val", "JPEGImages/c.jpg SegmentationClass/c.png\r")
    assert parts(voc.records(tmp_path)) == {"a": "training", "b": "training", "c": "testing"}


def test_a_training_image_without_a_mask_is_unlabelled_and_counted(tmp_path, caplog):
    write_voc(tmp_path, train="abde", masks="ac")
    assert [r.case for r in voc.records(tmp_path) if r.label is None] == ["b", "d", "e"]
    assert [r.getMessage().split(" in ")[0] for r in caplog.records] == ["3 of 4 training images have no mask"]


def test_a_complete_data_set_gives_no_warning(tmp_path, caplog):
    write_voc(tmp_path)
    voc.records(tmp_path)
    assert not caplog.records


def test_real_voc_has_every_image_with_its_mask(voc_dir):
    records = voc.records(voc_dir)
    sizes = [sum(r.part == part for r in records) for part in ("training", "testing")]
    assert sizes in ([528, 255], [1464, 1449], [10582, 1449])  # shared/data, the devkit, with SBD
    assert all(r.image.is_file() and r.label and r.label.is_file() for r in records)
    first = next(r for r in records if r.part == "testing")
    with Image.open(first.label) as mask, Image.open(first.image) as image:
        assert mask.size == image.size
        assert {value for _, value in mask.getcolors()} <= set(voc.VALUES)
        assert tuple(mask.getpalette()[: 3 * 21]) == sum(voc.COLOURS, ())


def refused(root, *words: str) -> None:
    """Given, expected, what to do: every word is in the message."""
    with pytest.raises(InputError, match=re.escape(words[0])) as caught:
        voc.records(root)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("root", [None, "", "  "])
def test_no_root_is_refused(root):
    refused(root, "is empty", "give the folder that holds VOCdevkit")


def test_a_missing_root_is_refused(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path / 'nowhere'} is not a folder", "VOCdevkit", "dataset_dir")


def test_a_root_without_a_devkit_is_refused(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no VOCdevkit/VOC2012/JPEGImages", "give the folder")


def test_a_devkit_without_masks_is_refused(tmp_path):
    home = write_voc(tmp_path, masks=())
    refused(tmp_path, f"{home} has no SegmentationClass folder", "unpack")


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_missing_list_is_refused(tmp_path, name):
    home = write_voc(tmp_path)
    path = home / "ImageSets" / "Segmentation" / f"{name}.txt"
    path.unlink()
    refused(tmp_path, f"{path} is not there", "restore it")


@pytest.mark.parametrize("name", ["train", "val"])
def test_an_empty_list_is_refused(tmp_path, name):
    path = write_list(write_voc(tmp_path), name, "", " ")
    refused(tmp_path, f"{path} is empty", "a name a line")


def test_an_sbd_folder_of_nothing_but_val_is_refused(tmp_path):
    home = write_voc(tmp_path, aug="c")
    refused(tmp_path, f"{home / 'SegmentationClassAug'} holds no mask of an image outside val.txt", "unpack")


@pytest.mark.parametrize("entry", ["../a", "/JPEGImages/../../b.jpg /SegmentationClass/b.png", ".."])
def test_an_entry_that_climbs_out_is_refused(tmp_path, entry):
    path = write_list(write_voc(tmp_path), "train", "a", entry)
    refused(tmp_path, f"{path} lists {entry.split()[0]}", "without '..'")


@pytest.mark.parametrize("entry", ["/elsewhere/d.jpg", "elsewhere/d.jpg", "d"])
def test_of_an_entry_that_is_a_path_only_the_name_counts(tmp_path, entry):
    home = write_voc(tmp_path)
    write(tmp_path / "elsewhere" / "d.jpg", "RGB")
    write_list(home, "train", "a", entry.replace("/elsewhere", str(tmp_path / "elsewhere")))
    refused(tmp_path, f"{home / 'JPEGImages' / 'd.jpg'} is not there, but listed for training", "restore it")


@pytest.mark.parametrize(("name", "part"), [("a", "training"), ("c", "testing")])
def test_a_listed_image_that_is_not_there_is_refused(tmp_path, name, part):
    image = write_voc(tmp_path) / "JPEGImages" / f"{name}.jpg"
    image.unlink()
    refused(tmp_path, f"{image} is not there, but listed for {part}", "restore it")


def test_all_that_is_wrong_with_the_lists_is_named_at_once(tmp_path):
    home = write_voc(tmp_path)
    write_list(home, "train", "a", "x", "y")
    refused(tmp_path, "2 faults in ", "x.jpg is not there", "y.jpg is not there")
    write_list(home, "train", "../a", "..b")
    refused(tmp_path, "train.txt lists ../a, ..b: give names of images")
    write_voc(tmp_path / "both", train="abcd", val="cd", masks="abcd")
    refused(tmp_path / "both", "2 faults in the data set", "c is there twice", "d is there twice")


def test_an_image_of_val_without_a_mask_is_refused(tmp_path):
    home = write_voc(tmp_path, val="cde", masks="abc")
    refused(tmp_path, f"{home / 'JPEGImages' / 'd.jpg'} has no mask", "2 such", "scored", "restore")


def test_a_training_list_without_any_mask_is_refused(tmp_path):
    write_voc(tmp_path, masks="c")
    refused(tmp_path, "none of the 2 training images has a mask", "SegmentationClass", "nothing to learn from")


def test_a_name_in_both_lists_is_refused(tmp_path):
    write_voc(tmp_path, train="abc")
    refused(tmp_path, "c is there twice", "training", "testing", "never both trained on and scored")
