"""From a user's folders to sorted records, and what is said of folders that do not fit together."""

import os
import random
import re
from pathlib import Path

import pytest
from PIL import Image

from acdc_semicycle.datasets import folder
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError


def write(parent: Path, *names: str) -> Path:
    """Pictures of 8 x 8; ``records`` opens none, so scans are empty files."""
    parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith(folder.PICTURES):
            Image.new("L", (8, 8)).save(path)
        else:
            path.touch()
    return parent


def pairs(records: list[Record]) -> dict[str, str | None]:
    """Each case with the name of its mask."""
    return {r.case: r.label and r.label.name for r in records}


def test_one_picture_gives_a_record_with_every_field(tmp_path):
    images, masks = write(tmp_path / "images", "a/x.jpg"), write(tmp_path / "masks", "a/x.png")
    expected = [Record("a/x", "a/x", images / "a" / "x.jpg", masks / "a" / "x.png", None, "training")]
    assert folder.records(str(images), str(masks)) == expected


@pytest.mark.parametrize(
    ("image", "mask", "case"),
    [
        ("x.nii.gz", "x.nii.gz", "x"),
        ("x.nii", "x.nii.gz", "x"),
        ("x.PNG", "x.png", "x"),
        ("x.jpeg", "x.tif", "x"),
        ("x_0000.nii.gz", "x.nii.gz", "x_0000"),
        ("x_0000.png", "x_0000.png", "x_0000"),
        ("deep/er/x.webp", "deep/er/x_mask.bmp", "deep/er/x"),
        ("x.y.nii.gz", "x.y_gt.nii.gz", "x.y"),
        ("x.tiff", "x_seg.png", "x"),
        ("x.png", "x_label.png", "x"),
        ("x_0000.nii.gz", "x_gt.nii.gz", "x_0000"),
        ("x_gt.png", "x_gt.png", "x_gt"),
        ("x_gt_0000.png", "x_gt.png", "x_gt_0000"),
    ],
)
def test_a_mask_finds_its_image_by_name(tmp_path, image, mask, case):
    images, masks = write(tmp_path / "images", image), write(tmp_path / "masks", mask)
    assert pairs(folder.records(images, masks)) == {case: Path(mask).name}


def test_the_same_name_goes_before_a_word_behind_it(tmp_path):
    images = write(tmp_path / "images", "x.png", "x_gt.png", "y.png", "y_0000.png")
    masks = write(tmp_path / "masks", "x.png", "x_gt.png", "y.png")
    assert pairs(folder.records(images, masks)) == {
        "x": "x.png", "x_gt": "x_gt.png", "y": "y.png", "y_0000": None,
    }  # fmt: skip


def test_images_without_a_mask_are_unlabelled_and_counted(tmp_path, caplog):
    images, masks = write(tmp_path / "images", "a.png", "b.png", "c.png"), write(tmp_path / "masks", "b.png")
    assert pairs(folder.records(images, masks)) == {"a": None, "b": "b.png", "c": None}
    assert [r.getMessage().split(" in ")[0] for r in caplog.records] == ["2 of 3 training images have no mask"]


def test_records_are_sorted_whatever_the_order_of_the_file_system(tmp_path, monkeypatch):
    names = ("b/2.png", "a.png", "b/10.png", "b.png", "c/a.png")
    images, masks = write(tmp_path / "images", *names), write(tmp_path / "masks", *names)
    expected = folder.records(images, masks)
    assert [r.case for r in expected] == sorted(name[:-4] for name in names)
    plain, draw = Path.iterdir, random.Random(4)

    def shuffled(parent):
        paths = list(plain(parent))
        draw.shuffle(paths)
        return iter(paths)

    monkeypatch.setattr(Path, "iterdir", shuffled)
    assert [path.name for path in images.iterdir()] != sorted(path.name for path in images.iterdir())
    assert folder.records(images, masks) == expected


def test_hidden_and_other_files_are_left_alone(tmp_path):
    images = write(tmp_path / "images", "x.png", "._x.png", ".cache/y.png", "notes.txt", "x.json")
    (images / "folder.png").mkdir()
    masks = write(tmp_path / "masks", "x.png", ".x.png", "dataset.json")
    assert pairs(folder.records(images, masks)) == {"x": "x.png"}


def test_linked_folders_are_searched_like_any_other_and_each_once(tmp_path):
    images, masks = write(tmp_path / "images", "a/1.png"), write(tmp_path / "masks", "a/1.png")
    for side in ("images", "masks"):
        write(tmp_path / "store" / side, "2.png", "below/3.png", ".hidden/4.png")
        for link, target in (("b", f"../store/{side}"), ("again", f"../store/{side}/below"), ("up", "..")):
            (tmp_path / side / link).symlink_to(target)
    (masks / "to_images").symlink_to(images / "a")
    (images / "to_masks").symlink_to(masks)
    assert pairs(folder.records(images, masks)) == {"a/1": "1.png", "again/3": "3.png", "b/2": "2.png"}


def test_a_folder_of_masks_may_be_linked_into_that_of_the_images(tmp_path):
    images = write(tmp_path / "images", "1.png", "2.png")
    (images / "masks").symlink_to(write(tmp_path / "masks", "1.png"))
    for masks in (images / "masks", tmp_path / "masks"):
        assert pairs(folder.records(images, masks)) == {"1": "1.png", "2": None}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    images, masks = write(tmp_path / "images", "a.png", "below/b.png"), write(tmp_path / "masks", "a.png")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("below"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    refused(images, masks, "images/below cannot be listed (Permission denied)", "give a folder that can be read")


@pytest.mark.parametrize("given", [None, "", "."])
def test_masks_may_lie_beside_their_images(tmp_path, given):
    images = write(tmp_path, "p1_frame01.nii.gz", "p1_frame01_gt.nii.gz", "a/p2.nii.gz", "a/p2_seg.nii.gz", "p3.nii.gz")
    records = folder.records(images, images / given if given else given)
    assert pairs(records) == {"a/p2": "p2_seg.nii.gz", "p1_frame01": "p1_frame01_gt.nii.gz", "p3": None}


def test_masks_may_lie_in_a_folder_inside(tmp_path, monkeypatch):
    images = write(tmp_path / "data", "x.png", "y.png", "z.png", "z_gt.png", "masks/x.png", "masks/y_mask.png")
    expected = {"x": "x.png", "y": "y_mask.png", "z": "z_gt.png"}
    assert pairs(folder.records(images, images / "masks")) == expected
    monkeypatch.chdir(tmp_path)
    assert pairs(folder.records("data", images / "masks")) == expected
    assert pairs(folder.records(images, "data/../data/masks")) == expected


def test_the_paths_are_kept_as_they_are_given(tmp_path, monkeypatch):
    write(tmp_path / "images", "x.png")
    write(tmp_path / "masks", "x.png")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    (record,) = folder.records("link", "masks")
    assert (str(record.image), str(record.label)) == ("link/x.png", "masks/x.png")


def test_the_patient_is_the_group_of_the_expression(tmp_path):
    names = ("p1_a.png", "p1_b.png", "p2_a.png", "site/p7_a.png")
    images, masks = write(tmp_path / "images", *names), write(tmp_path / "masks", *names)
    assert [r.patient for r in folder.records(images, masks, r"(p\d)_")] == ["p1", "p1", "p2", "p7"]
    assert {r.case: r.patient for r in folder.records(images, masks, r"^([^_]+)_")}["site/p7_a"] == "site/p7"


@pytest.mark.parametrize(
    ("names", "patient", "words"),
    [
        (["a/p1_x", "b/p1_y"], r"(p\d)_", "1 patient lies in several folders, e.g. p1 in a and in b: each"),
        (["p1_x", "b/p1_y"], r"(p\d)_", "e.g. p1 in . and in b"),
        (["a/p1/x", "b/p1/x"], r"(p\d)/", "e.g. p1 in a and in b"),
        (["p1/ED/x", "p1/ES/x"], r"(p\d)/", None),
        (["a/p1_x", "b/p1_y"], r"^(.*p\d)_", None),
        (["p1_ED", "p1_ES"], None, "p1_ED and p1_ES may be one patient's, and each image is a patient of its own"),
        (["p1", "p1_frame01", "p1_frame12"], None, "p1_frame01 and p1_frame12 may be one patient's"),
        (["a/p1-ed", "b/p1-es"], None, None),
        (["p1_a", "p1_b"], None, None),
    ],
)
def test_doubts_whose_images_are_whose_are_a_warning_and_change_nothing(tmp_path, caplog, names, patient, words):
    files = [f"{name}.png" for name in names]
    images, masks = write(tmp_path / "images", *files), write(tmp_path / "masks", *files)
    records = folder.records(images, masks, patient)
    assert len({record.patient for record in records}) == (1 if patient and "*" not in patient else len(names))
    assert caplog.text.count("WARNING") == (words is not None) and (words or "") in caplog.text


def test_the_expression_that_is_offered_keeps_phases_and_frames_together(tmp_path, caplog):
    names = ("a/p1_ED.png", "a/p1_ES.png", "a/p2_frame01.png", "a/p2_frame12.png", "b/p1.png")
    images, masks = write(tmp_path / "images", *names), write(tmp_path / "masks", *names)
    patients = [record.patient for record in folder.records(images, masks, folder.SAME_PATIENT)]
    assert patients == ["a/p1", "a/p1", "a/p2", "a/p2", "b/p1"] and not caplog.text


def refused(images, masks, *words: str, patient: str | None = None) -> None:
    """Given, expected, what to do: every word is in the message."""
    with pytest.raises(InputError, match=re.escape(words[0])) as caught:
        folder.records(images, masks, patient)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("images", [None, ""])
def test_no_images_folder_is_refused(tmp_path, images):
    refused(images, tmp_path, "images is empty", "give the folder of your scans or pictures")


def test_a_missing_folder_is_refused(tmp_path):
    images, away = write(tmp_path / "images", "x.png"), tmp_path / "away"
    refused(away, images, f"{away} is not a folder", "as images")
    refused(images, away, f"{away} is not a folder", "as masks")


def test_a_folder_without_images_is_refused(tmp_path):
    images, masks = write(tmp_path / "images", "x.txt"), write(tmp_path / "masks", "x.png")
    refused(images, masks, f"{images} holds no image", ".nii.gz", ".png")


@pytest.mark.parametrize(
    ("images", "masks"), [(("x.nii.gz", "y.png"), ("x.nii.gz",)), (("x.nii.gz",), ("x.png",)), (("x.jpg",), ("x.nii",))]
)
def test_scans_among_pictures_are_refused(tmp_path, images, masks):
    write(tmp_path / "images", *images)
    write(tmp_path / "masks", *masks)
    refused(tmp_path / "images", tmp_path / "masks", "is a scan and", "a picture", "give folders of one kind")


def test_two_images_of_one_name_are_refused(tmp_path):
    images, masks = write(tmp_path / "images", "x.png", "x.jpg"), write(tmp_path / "masks", "x.png")
    refused(images, masks, f"{images / 'x.jpg'} and {images / 'x.png'} have one name", "rename one")


def test_two_masks_of_one_name_are_refused(tmp_path):
    images, masks = write(tmp_path / "images", "x.png"), write(tmp_path / "masks", "x.png", "x.bmp")
    refused(images, masks, f"{masks / 'x.bmp'} and {masks / 'x.png'} have one name", "rename one")


def test_two_masks_of_one_image_are_refused(tmp_path):
    images, masks = write(tmp_path / "images", "x.png"), write(tmp_path / "masks", "x.png", "x_gt.png")
    refused(images, masks, f"{images / 'x.png'} has two masks", "x_gt.png", "keep one")


def test_masks_that_match_no_image_are_refused_and_three_named(tmp_path):
    images = write(tmp_path / "images", "x.png")
    masks = write(tmp_path / "masks", "x.png", "y1.png", "y2.png", "y3.png", "y4.png")
    refused(images, masks, "4 masks match no image", "y1.png", "y3.png", "give each the name of its image")
    with pytest.raises(InputError, match=r"^(?!.*y4)"):
        folder.records(images, masks)


def test_a_mask_in_another_subfolder_matches_no_image(tmp_path):
    images, masks = write(tmp_path / "images", "a/x.png"), write(tmp_path / "masks", "b/x.png")
    refused(images, masks, "1 masks match no image", str(masks / "b" / "x.png"), "relative to the folder")


@pytest.mark.parametrize("beside", [True, False])
def test_no_mask_at_all_is_refused(tmp_path, beside):
    images, masks = write(tmp_path / "images", "x.png", "y.png"), write(tmp_path / "masks")
    given = None if beside else masks
    refused(images, given, "none of the 2 training images has a mask", str(given or images), "nothing to learn from")


def test_a_second_channel_is_refused(tmp_path):
    images = write(tmp_path / "images", "x_0000.nii.gz", "x_0001.nii.gz")
    masks = write(tmp_path / "masks", "x.nii.gz")
    refused(images, masks, f"{images / 'x_0001.nii.gz'} is a second channel", "x_0000.nii.gz", "keep one channel")


@pytest.mark.parametrize("behind", ["", "_gt"])
def test_frames_with_numbers_are_no_channels(tmp_path, behind):
    images = write(tmp_path / "images", "x_0000.png", "x_0001.png")
    masks = write(tmp_path / "masks", *(f"{case}{behind}.png" for case in ("x_0000", "x_0001")))
    assert pairs(folder.records(images, masks)) == {case: f"{case}{behind}.png" for case in ("x_0000", "x_0001")}


@pytest.mark.parametrize(
    ("patient", "words"),
    [
        ("(p", ("patient is '(p', no regular expression", "unterminated", "correct it")),
        ("p1", ("patient is 'p1' with 0 groups", "give one")),
        ("(p)(1)", ("patient is '(p)(1)' with 2 groups", "give one")),
        ("(q)", ("p1 has no patient by '(q)'", "give an expression")),
        ("(q)?p", ("p1 has no patient by '(q)?p'",)),
    ],
)
def test_an_expression_that_finds_no_patient_is_refused(tmp_path, patient, words):
    images, masks = write(tmp_path / "images", "p1.png"), write(tmp_path / "masks", "p1.png")
    refused(images, masks, *words, patient=patient)


ENDINGS = ["_gt", "-label", "_labels", "_Segmentation", ".seg", "-label.seg", "_pred", "-mask", "_masks", "_GT", "-seg"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".png"])
def test_a_mask_beside_its_image_is_paired_whatever_word_ends_its_name(tmp_path, ending, suffix):
    write(tmp_path, f"a/x{suffix}", f"a/x{ending}{suffix}", f"a/y_0000{suffix}", f"a/y{ending}{suffix}")
    expected = {"a/x": f"x{ending}{suffix}", "a/y_0000": f"y{ending}{suffix}"}
    assert pairs(folder.records(tmp_path)) == expected


def test_a_prediction_beside_a_mask_is_left_out_and_named(tmp_path, caplog):
    write(tmp_path, "x.nrrd", "x.seg.nrrd", "x_pred.nrrd", "y.nrrd", "y_pred.nrrd")
    assert pairs(folder.records(tmp_path)) == {"x": "x.seg.nrrd", "y": "y_pred.nrrd"}
    [text] = caplog.messages
    assert str(tmp_path / "x_pred.nrrd") in text and "prediction by its name" in text


def test_two_masks_of_one_image_are_refused_under_whatever_names(tmp_path):
    write(tmp_path, "x.nrrd", "x.seg.nrrd", "x-label.nrrd")
    refused(tmp_path, None, "x.nrrd has two masks", "x-label.nrrd", "x.seg.nrrd", "keep one")


@pytest.mark.parametrize(
    ("name", "kind"), [("x.gif", "PNG"), ("x_mask.GIF", "PNG"), ("x.pgm", "PNG"), ("x.mgz", "NIfTI")]
)
def test_masks_of_a_kind_that_is_not_read_are_named(tmp_path, name, kind):
    images, masks = write(tmp_path / "images", "x.png"), tmp_path / "masks"
    masks.mkdir()
    (masks / name).touch()
    refused(images, masks, f"{masks} holds no mask that is read", str(masks / name), f"convert to {kind}")


def test_images_of_a_kind_that_is_not_read_are_named(tmp_path, caplog):
    images, masks = write(tmp_path / "images", "x.png"), write(tmp_path / "masks", "x.png")
    for name in (".hidden.gif", "y.gif"):
        (images / name).touch()
    assert pairs(folder.records(images, masks)) == {"x": "x.png"}
    assert (
        ".hidden" not in caplog.text
        and f"{images / 'y.gif'} left out: of a format that is not read, convert to PNG" in caplog.text
    )
    (images / "x.png").unlink()
    refused(images, masks, "holds no image", "y.gif", "convert to PNG")


def test_no_image_needs_a_mask_where_mended_ones_are_given(tmp_path):
    images = write(tmp_path / "images", "a.png", "b.png")
    with pytest.raises(InputError, match="none of the 2 training images has a mask"):
        folder.records(images)
    assert pairs(folder.records(images, mended=tmp_path)) == {"a": None, "b": None}
