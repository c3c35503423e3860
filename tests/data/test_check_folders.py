"""A check of folders of pictures, of a devkit and of real data, which have rules of their own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_semicycle.data import check, check_findings, check_layout, check_report, check_values
from acdc_semicycle.datasets import folder as pictures_of
from acdc_semicycle.datasets import voc
from acdc_semicycle.runtime.errors import InputError
from tests.data.spoil import FAULT, WARNING, cut, gone, text_in


def pictures(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    """A picture of noise for each mask, in images and masks."""
    for n, (name, values) in enumerate(masks.items()):
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(n).integers(0, 255, (*values.shape, 3), np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{name}.png")
        Image.fromarray(values).save(folder / "masks" / f"{name}.png")
    return folder


def drawn(label: int) -> np.ndarray:
    values = np.zeros((8, 8), np.uint8)
    values[2:5, 1:label + 2] = label  # fmt: skip
    return values


def test_a_folder_without_classes_takes_their_number_from_its_masks(tmp_path):
    folder, counts = pictures(tmp_path, {"a": drawn(1), "b": drawn(2)}), check_findings.Counts()
    assert check.check(folder / "images", folder / "masks", progress=iter, counts=counts) == []
    assert "number is taken from the masks: 3 (0 in 2, 1 in 1, 2 in 1 masks)" in check_report.report([], counts)
    assert check_report.report([], counts).count("note") == 1


def test_patients_are_found_by_an_expression_as_in_a_training(tmp_path):
    folder = pictures(tmp_path, {"p1_a": drawn(1), "p1_b": drawn(2), "p2_a": drawn(3)})
    (folder / "images" / "p1_b.png").write_bytes((folder / "images" / "p1_a.png").read_bytes())
    paths, counts = (folder / "images", folder / "masks"), check_findings.Counts()
    [found] = check.check(*paths, progress=iter, counts=counts, patient="^(p[0-9])_")
    assert "of the same patient" in found.text
    assert "2 patients, 3 images, 3 masks" in check_report.report([found], counts)
    [found] = check.check(*paths, progress=iter)
    assert "of another patient" in found.text
    for patient, words in (("^(p1)_", "p2_a has no patient by"), ("(", "no regular expression")):
        [found] = check.check(*paths, progress=iter, patient=patient)
        assert found.severity == FAULT and words in found.text


def test_patients_who_may_be_one_are_a_warning_of_the_check_too(tmp_path, caplog):
    folder = pictures(tmp_path, {"p1_ED": drawn(1), "p1_ES": drawn(2)})
    (found,) = check.check(folder / "images", folder / "masks", progress=iter)
    assert found.severity == "warning" and "p1_ED and p1_ES may be one patient's" in found.text
    assert not caplog.text
    assert check.check(folder / "images", folder / "masks", progress=iter, patient=pictures_of.SAME_PATIENT) == []


@pytest.mark.parametrize("names", [("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr")])
def test_the_folder_above_images_and_masks_is_no_folder_of_images(tmp_path, names):
    folder = pictures(tmp_path / "MY", {"a": drawn(1)})
    (folder / "images").rename(folder / "kept")
    (folder / "masks").rename(folder / names[1])
    (folder / "kept").rename(folder / names[0])
    images, masks = (folder / name for name in names)
    words = f"{folder} holds {names[0]}/ and {names[1]}/: give {images} and --masks {masks}, as in"
    words += f" semicycle check {images} --masks {masks}"
    [found] = check.check(folder, progress=iter)
    assert (found.severity, found.text) == (FAULT, words)
    with pytest.raises(InputError, match="holds images"):
        pictures_of.records(folder)
    assert len(pictures_of.records(images, masks)) == 1


def test_a_folder_with_classes_has_no_others(tmp_path):
    folder, counts = pictures(tmp_path, {"a": drawn(1), "b": drawn(2)}), check_findings.Counts()
    [found] = check.check(folder / "images", folder / "masks", ["background", "cell"], None, iter, counts)
    assert found.path == folder / "masks" / "b.png" and "label 2: expected whole numbers 0 to 1" in found.text
    assert "note" not in check_report.report([], counts)


def test_a_class_that_is_in_no_mask_is_a_warning_at_a_trainings_start_too(tmp_path, caplog):
    folder, classes = pictures(tmp_path, {"a": drawn(1), "b": drawn(1)[::-1]}), ["background", "cell", "nucleus"]
    said = f"{folder / 'masks'}: no mask holds class 2, nucleus: check classes, mask_values and the masks"
    [found] = check.check(folder / "images", folder / "masks", classes, None, iter)
    assert (found.severity, found.path, found.text) == (WARNING, folder / "masks", said)
    assert not check.check(folder / "images", folder / "masks", classes[:2], None, iter)
    records = pictures_of.records(folder / "images", folder / "masks")
    rules = {"classes": classes, "colours": None, "values": None, "intensity_range": (0, 255)}
    check.before_training(records, tmp_path / "kept", "own_pictures", **rules)
    assert said in caplog.text


def test_masks_of_0_and_255_are_one_line_with_the_option_to_paste(tmp_path):
    folder = pictures(tmp_path, {f"p{n}": np.roll(drawn(1), n) * 255 for n in range(6)})
    counts = check_findings.Counts()
    found = check.check(folder / "images", folder / "masks", ["background", "cell"], None, iter, counts)
    masks = [folder / "masks" / f"p{n}.png" for n in range(6)]
    words = f"6 masks hold the label 255 (all values: 0, 255), e.g. {masks[0]}, {masks[1]}, {masks[2]} and 3 more:"
    words += " expected whole numbers 0 to 1, or mask_values that say which class each value is. Give"
    words += """ --mask_values "{'0':0,'255':1}" if that is their order"""
    assert [(finding.severity, finding.text) for finding in found] == [(FAULT, words)]
    assert "1 fault" in check_report.report(found, counts)
    records = pictures_of.records(folder / "images", folder / "masks")
    with pytest.raises(InputError) as caught:
        check.before_training(records, tmp_path / "kept", classes=["background", "cell"])
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("values", "classes", "option"),
    [
        ({0, 255}, 2, """--mask_values "{'0':0,'255':1}" if that is their order"""),
        ({0, 100, 200}, 3, """--mask_values "{'0':0,'100':1,'200':2}" if that is their order"""),
        ({0, 1, 255}, 2, """--mask_values "{'0':0,'1':1,'255':255}" if 255 means not annotated"""),
        ({0, 7, 9}, 2, None),
        ({0, 1.5}, 2, None),
        ({0, 1, 2}, 2, None),
    ],
)
def test_mask_values_are_suggested_where_the_values_tell_them(values, classes, option):
    assert check_values.suggested(values, classes) == option


def test_values_of_masks_are_read_as_in_a_training(tmp_path):
    folder = pictures(tmp_path, {"a": drawn(1) * 255, "b": drawn(2) * 100})
    counts = check_findings.Counts()
    assert check.check(folder / "images", folder / "masks", progress=iter, counts=counts) == []
    said = check_report.report([], counts).splitlines()
    assert "these are not 0 to 2: a training needs mask_values" in said[-2] and said[-1] == "nothing else found"
    [found] = check.check(folder / "images", folder / "masks", None, {"0": 0, "255": 1}, iter)
    assert found.path == folder / "masks" / "b.png" and "holds the label 200" in found.text
    with pytest.raises(InputError, match="mask_values"):
        check.check(folder / "images", folder / "masks", None, {"a": 0}, iter)


def test_linked_folders_are_checked_like_any_other_also_where_the_layout_is_at_fault(tmp_path):
    folder = pictures(tmp_path / "in", {"a": drawn(1), "b": drawn(2), "c": drawn(3)})
    for part in ("images", "masks"):
        (tmp_path / "store" / part).mkdir(parents=True)
        (folder / part / "c.png").rename(tmp_path / "store" / part / "c.png")
        (folder / part / "linked").symlink_to(tmp_path / "store" / part)
    counts = check_findings.Counts()
    assert check.check(folder / "images", folder / "masks", progress=iter, counts=counts) == []
    assert "3 images, 3 masks" in check_report.report([], counts)
    gone(folder / "images" / "a.png"), cut(tmp_path / "store" / "images" / "c.png")
    found = check.check(folder / "images", folder / "masks", progress=iter)
    assert [finding.path for finding in found] == [folder / "images", folder / "images" / "linked" / "c.png"]


def test_where_the_layout_is_at_fault_the_files_are_read_all_the_same(tmp_path):
    folder = pictures(tmp_path, {"a": drawn(1), "b": drawn(2), "c": drawn(3)})
    gone(folder / "images" / "a.png"), cut(folder / "images" / "b.png")
    counts = check_findings.Counts()
    found = check.check(folder / "images", folder / "masks", progress=iter, counts=counts)
    assert [finding.path for finding in found] == [folder / "images", folder / "images" / "b.png"]
    assert str(folder / "masks" / "a.png") in found[0].text
    assert check_report.report(found, counts).splitlines()[0] == "a folder of images: not counted", (
        "images and masks alike"
    )


def test_an_empty_folder_is_a_fault_and_none_at_all_an_error(tmp_path):
    [found] = check.check(tmp_path, progress=iter)
    assert (found.severity, found.path) == (FAULT, tmp_path) and "holds no image" in found.text
    with pytest.raises(InputError, match="is not a folder"):
        check.check(tmp_path / "nowhere", progress=iter)


def test_a_devkit_is_read_by_its_own_classes(tmp_path):
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    for n, name in enumerate("abcd"):
        noise = np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(home / "JPEGImages" / f"{name}.jpg")
        picture = Image.fromarray(drawn(n + 1) if name != "b" else drawn(1)[:4])
        picture.putpalette([value for colour in voc.COLOURS for value in colour])
        picture.save(home / "SegmentationClass" / f"{name}.png")
    Image.fromarray(drawn(22)).save(home / "SegmentationClass" / "c.png")
    text_in(home / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n")
    text_in(home / "ImageSets" / "Segmentation" / "val.txt", "c\nd\n")
    assert check_layout.kind(tmp_path) == check_layout.kind(home) == "voc"
    shape, label = check.check(tmp_path, progress=iter)
    assert shape.path.name == "b.png" and "its image (8, 8, 1)" in shape.text
    assert label.path.name == "c.png" and "label 22" in label.text


@pytest.mark.parametrize("levels", ["ACDC", "ACDC/database"])
def test_a_folder_far_above_the_patients_is_refused_and_the_right_one_named(tmp_path, levels):
    home = tmp_path / levels
    for part in ("training", "testing"):
        (home / part / "patient001").mkdir(parents=True)
    with pytest.raises(InputError, match="above ACDC") as caught:
        check.check(tmp_path)
    assert f"lies in {home}: give that folder" in str(caught.value)


def test_sites_that_each_have_patients_are_folders_of_your_own(tmp_path):
    for site in "ab":
        (tmp_path / site / "patient001").mkdir(parents=True)
    assert check_layout.dataset_below(tmp_path) is None


@pytest.mark.slow
def test_real_acdc_has_nothing_wrong_but_one_scan_under_two_names(acdc_dir):
    counts = check_findings.Counts()
    found = check.check(acdc_dir, counts=counts)
    if any(acdc_dir.glob("**/patient076")):  # the same images as patient074's, byte for byte, drawn by hand twice
        [twins] = found
        assert twins.severity == WARNING and twins.path.name == "patient076_frame01.nii.gz"
        assert "patient074_frame01.nii.gz" in twins.text
    assert check_report.status(found) == 0 and len(found) <= 1
    assert check_layout.kind(acdc_dir) == "acdc" and counts.images == counts.masks == 2 * counts.patients >= 160
    assert ("160 of 160 images have a spacing of 1 x 1 x 1 mm" in check_report.report(found, counts)) == (
        counts.lost == 160
    )


@pytest.mark.slow
def test_real_pictures_have_nothing_wrong(voc_dir, cityscapes_dir):
    assert (check_layout.kind(voc_dir), check_layout.kind(cityscapes_dir)) == ("voc", "cityscapes")
    assert check.check(voc_dir) == check.check(cityscapes_dir) == []
