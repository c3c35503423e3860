"""Masks that came back: whose they are, which of their slices are truth, and what is refused in a line."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from acdc_semicycle.datasets import drafts, mended, mended_table
from acdc_semicycle.datasets.drafts import Draft
from acdc_semicycle.datasets.mended import MendedMask
from acdc_semicycle.datasets.records import Mended, Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError

SHAPE = (8, 6, 4)
CLASSES = ["background", "RV", "LV"]
AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def records_in(folder: Path, *cases: str, shape: tuple[int, ...] = SHAPE) -> list[Record]:
    """Scans without masks."""
    noise = np.random.default_rng(0)
    records = []
    for case in cases:
        path = save(folder / f"{case}.nii.gz", noise.integers(0, 99, shape).astype(np.int16))
        records.append(Record(case, case[:2], path))
    return records


def drawn() -> np.ndarray:
    """A draft with both structures in all slices."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 1:5], labels[4:7, 2:5] = 1, 2
    return labels


def drafted(folder: Path, records: list[Record], slices_to_mend: tuple[int, ...] = ()) -> Path:
    """A folder of drafts of these scans, and its drafts.json."""
    known = []
    for record in records:
        save(folder / f"{record.case}.nii.gz", drawn())
        known.append(
            Draft(record.case, record.patient, str(record.image), f"{record.case}.nii.gz", drawn(), slices_to_mend)
        )
    drafts.save(folder, "run", CLASSES, known)
    return folder


def mend(path: Path, *slices: int) -> Path:
    """Save over a draft: LV grows by a row and RV loses two voxels in these slices."""
    labels = drawn()
    labels[7, 2:5, slices] = 2
    labels[1, 1:3, slices] = 0
    return save(path, labels)


def taken(records: list[Record], folder: Path, **settings) -> dict[str, MendedMask]:
    return {mask.record.case: mask for mask in mended.masks(records, folder, CLASSES, **settings)}


def annotated(mask: MendedMask) -> tuple[int, ...] | None:
    assert mask.record.mended is not None
    return mask.record.mended.annotated


def test_no_folder_is_no_mask(tmp_path):
    records = records_in(tmp_path / "images", "p1")
    assert mended.masks(records, None, CLASSES) == [] and mended.with_mended(records, []) == records


def test_a_changed_slice_and_those_to_be_mended_are_truth_and_an_unchanged_draft_is_none(tmp_path, caplog):
    records = records_in(tmp_path / "images", "p1", "p2", "p3")
    folder = drafted(tmp_path / "drafts", records, slices_to_mend=(3,))
    mend(folder / "p1.nii.gz", 1)
    with caplog.at_level(logging.INFO, "semicycle"):
        masks = taken(records, folder)
    assert list(masks) == ["p1"] and annotated(masks["p1"]) == (1, 3)
    assert masks["p1"].record.label == folder / "p1.nii.gz"
    assert masks["p1"].changes == {1: (32, 30, 0, 2), 2: (36, 39, 3, 0)}
    assert f"1 mended mask from {folder}: 1 of images without a mask, 0 in place" in caplog.text
    assert "2 masks are no truth, as nobody changed the draft, e.g. " in caplog.text
    changed = mended.with_mended(records, list(masks.values()))
    assert [record.label for record in changed] == [folder / "p1.nii.gz", None, None]
    assert [record.original for record in changed] == records


def test_accepted_drafts_are_truth_in_all_slices(tmp_path):
    records = records_in(tmp_path / "images", "p1", "p2")
    folder = drafted(tmp_path / "drafts", records, slices_to_mend=(3,))
    mend(folder / "p1.nii.gz", 1)
    masks = taken(records, folder, accept_drafts=True)
    assert {case: annotated(mask) for case, mask in masks.items()} == {"p1": None, "p2": None}


def test_a_draft_that_is_not_there_leaves_its_scan_as_it_is(tmp_path, caplog):
    records = records_in(tmp_path / "images", "p1", "p2")
    folder = drafted(tmp_path / "drafts", records)
    mend(folder / "p1.nii.gz", 0)
    (folder / "p2.nii.gz").unlink()
    with caplog.at_level(logging.INFO, "semicycle"):
        assert list(taken(records, folder)) == ["p1"]
    assert f"1 draft of {folder / 'drafts.json'} without a mask, e.g. p2" in caplog.text


def test_without_drafts_a_mask_is_truth_but_for_what_is_255(tmp_path):
    records = records_in(tmp_path / "images", "p1", "p2")
    part = drawn()
    part[..., [0, 2, 3]] = 255
    save(tmp_path / "masks" / "p1.nii.gz", part)
    save(tmp_path / "masks" / "p2_seg.nii.gz", drawn())
    masks = taken(records, tmp_path / "masks")
    assert annotated(masks["p1"]) == (1,) and annotated(masks["p2"]) is None
    assert masks["p1"].changes is None


def test_a_slice_made_255_is_not_annotated_and_counts_as_no_change_of_a_structure(tmp_path):
    records = records_in(tmp_path / "images", "p1")
    folder = drafted(tmp_path / "drafts", records)
    labels = drawn()
    labels[..., 0], labels[7, 2:5, 1] = 255, 2
    save(folder / "p1.nii.gz", labels)
    masks = taken(records, folder)
    assert annotated(masks["p1"]) == (1,) and masks["p1"].changes == {1: (24, 24, 0, 0), 2: (27, 30, 3, 0)}


@pytest.mark.parametrize("name", ["p1.nii", "p1_seg.nii.gz", "a/b/p1_label.nii.gz", "P/p1.mha", "p1.nrrd", "p1_gt.NII"])
def test_a_mask_has_the_name_of_its_image_as_in_a_folder_of_masks(tmp_path, name):
    records = records_in(tmp_path / "images", "p1")
    path = tmp_path / "masks" / name
    if name.endswith(("mha", "nrrd")):
        path.parent.mkdir(parents=True)
        volumes.save(path, drawn(), volumes.read(records[0].image))
    else:
        save(path, drawn())
    assert annotated(taken(records, tmp_path / "masks")["p1"]) is None


def test_an_image_in_folders_and_one_of_nnunet_are_found_by_their_file(tmp_path):
    images = tmp_path / "images"
    records = records_in(images, "a/x_0000", "b/y")
    save(tmp_path / "masks" / "x.nii.gz", drawn())
    save(tmp_path / "masks" / "round_1" / "b" / "y.nii.gz", drawn())
    assert list(taken(records, tmp_path / "masks")) == ["a/x_0000", "b/y"]


def test_a_name_that_two_images_have_needs_their_folder(tmp_path):
    records = records_in(tmp_path / "images", "a/x", "b/x")
    save(tmp_path / "masks" / "a" / "x.nii.gz", drawn())
    assert list(taken(records, tmp_path / "masks")) == ["a/x"]
    save(tmp_path / "others" / "x.nii.gz", drawn())
    with pytest.raises(
        InputError, match=r"1 mended mask fits no image, e\.g\. .*others/x\.nii\.gz: give each the name"
    ):
        taken(records, tmp_path / "others")


def test_another_mask_beside_its_draft_counts_and_two_of_them_are_refused(tmp_path):
    records = records_in(tmp_path / "images", "p1")
    folder = drafted(tmp_path / "drafts", records)
    mend(folder / "p1_seg.nii.gz", 2)
    assert taken(records, folder)["p1"].record.label == folder / "p1_seg.nii.gz"
    mend(folder / "p1.nii.gz", 1)
    with pytest.raises(
        InputError, match=r"p1\.nii\.gz has two mended masks, .*p1\.nii\.gz and .*p1_seg\.nii\.gz: keep"
    ):
        taken(records, folder)


def test_rounds_in_folders_have_a_drafts_json_each(tmp_path):
    records = records_in(tmp_path / "images", "p1", "p2")
    for number, record in enumerate(records, start=1):
        folder = drafted(tmp_path / "rounds" / str(number), [record])
        mend(folder / f"{record.case}.nii.gz", number)
    masks = taken(records, tmp_path / "rounds")
    assert {case: annotated(mask) for case, mask in masks.items()} == {"p1": (1,), "p2": (2,)}


@pytest.mark.parametrize("where", ["parent", "given"])
def test_masks_in_a_folder_of_their_own_are_compared_with_their_drafts(tmp_path, where):
    records = records_in(tmp_path / "images", "p1", "p2")
    folder = drafted(tmp_path / "drafts", records)
    own = folder / "mended" if where == "parent" else tmp_path / "mended"
    mend(own / "p1.nii.gz", 2)
    save(own / "p2.nii.gz", drawn())
    settings = {} if where == "parent" else {"drafts": folder / "drafts.json"}
    masks = taken(records, own, **settings)
    assert {case: annotated(mask) for case, mask in masks.items()} == {"p1": (2,)}


def test_a_mask_that_stores_its_axes_in_another_order_is_compared_in_that_of_its_image(tmp_path):
    records = records_in(tmp_path / "images", "p1")
    folder = drafted(tmp_path / "drafts", records)
    labels = drawn()
    labels[0, 0, 1] = 1
    turned = np.moveaxis(labels, 2, 0)[::-1]
    affine = AFFINE[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 0] * (SHAPE[2] - 1)
    affine[:, 0] *= -1
    save(folder / "p1.nii.gz", turned, affine)
    assert annotated(taken(records, folder)["p1"]) == (1,)


def test_a_mask_that_replaces_the_data_set_s_own_is_counted(tmp_path, caplog):
    [record] = records_in(tmp_path / "images", "p1")
    own = save(tmp_path / "own" / "p1.nii.gz", drawn())
    record = Record("p1", "p1", record.image, own)
    save(tmp_path / "masks" / "p1.nii.gz", drawn())
    with caplog.at_level(logging.INFO, "semicycle"):
        [mask] = mended.masks([record], tmp_path / "masks", CLASSES)
    assert mask.record.mended == Mended(None, own) and mask.record.original == record
    assert "0 of images without a mask, 1 in place of the data set's own" in caplog.text


def test_a_frame_of_a_cine_is_mended_by_a_cine_or_by_a_volume_of_its_own(tmp_path):
    [cine] = records_in(tmp_path / "images", "p1", shape=(*SHAPE, 3))
    records = [Record(f"p1_frame0{frame + 1}", "p1", cine.image, frame=frame) for frame in range(3)]
    voxels = np.zeros((*SHAPE, 3), np.uint8)
    voxels[..., 1] = drawn()
    save(tmp_path / "masks" / "p1.nii.gz", voxels)
    assert list(taken(records, tmp_path / "masks")) == ["p1_frame02"]
    save(tmp_path / "others" / "p1_frame03.nii.gz", drawn())
    assert list(taken(records, tmp_path / "others")) == ["p1_frame03"]


def test_pictures_are_compared_by_their_classes(tmp_path):
    colours = [[0, 0, 0], [0, 0, 255], [255, 0, 0]]
    records, known = [], []
    for case in ("a", "b"):
        path = tmp_path / "images" / f"{case}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 8)).save(path)
        records.append(Record(case, case, path))
        known.append(Draft(case, case, str(path), f"{case}.png", drawn()[..., :1]))
    folder = tmp_path / "drafts"
    folder.mkdir()
    drafts.save(folder, "run", CLASSES, known)
    labels = drawn()[..., 0]
    Image.fromarray(labels).save(folder / "a.png")
    shown = np.array(colours, np.uint8)[labels]
    shown[0, 0] = colours[1]
    Image.fromarray(shown).save(folder / "b.png")
    Image.new("RGB", (90, 80)).save(folder / "overview.png")  # of all drafts, beside drafts.json
    masks = taken(records, folder, colours=colours)
    assert list(masks) == ["b"] and annotated(masks["b"]) is None
    assert masks["b"].changes == {1: (8, 9, 1, 0), 2: (9, 9, 0, 0)}


def bad_folder(tmp_path: Path, records: list[Record], how: str) -> Path:
    """A folder of masks of which something is wrong."""
    folder = tmp_path / "masks"
    if how == "empty":
        folder.mkdir()
    elif how == "stranger":
        save(folder / "p9.nii.gz", drawn())
    elif how == "unchanged":
        drafted(folder, records)
    elif how == "damaged drafts.json":
        drafted(folder, records)
        (folder / "drafts.json").write_text("{")
    elif how == "other classes":
        drafted(folder, records)
        drafts.save(folder, "run", ["background", "liver"], [])
    elif how == "other scans":
        save(folder / "p1.nii.gz", drawn())
        drafts.save(folder, "run", CLASSES, [Draft("q7", "q7", "q7.nii.gz", "q7.nii.gz", drawn())])
    elif how == "255 alone":
        save(folder / "p1.nii.gz", np.full(SHAPE, 255, np.uint8))
    elif how == "0 and 255":
        save(folder / "p1.nii.gz", (drawn() == 1).astype(np.uint8) * 255)
    elif how == "other size":
        drafted(folder, records)
        save(folder / "p1.nii.gz", drawn()[:4])
    elif how == "cut":
        path = save(folder / "p1.nii.gz", drawn())
        path.write_bytes(path.read_bytes()[:60])
    return folder


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", r"masks is not a folder: give the folder of mended masks as mended"),
        ("empty", r"masks holds no mask: give a folder of \.nii, "),
        (
            "stranger",
            r"1 mended mask fits no image, e\.g\. .*p9\.nii\.gz: give each the name of its image, such as p1,",
        ),
        ("unchanged", r"the masks in .* are 2 drafts that nobody changed, and so no truth: mend some of their slices,"),
        ("damaged drafts.json", r"drafts\.json is damaged \("),
        ("other classes", r"drafts of the classes background, liver, and this training has background, RV, LV: "),
        ("other scans", r"drafts\.json is of other scans, e\.g\. q7: give their data set, or remove"),
        ("255 alone", r"p1\.nii\.gz holds no structure, and 255, which means not annotated: "),
        ("0 and 255", r"p1\.nii\.gz holds no structure, and 255, which means not annotated: "),
        ("other size", r"p1\.nii\.gz has the shape \(4, 6, 4\), and its draft \(8, 6, 4\): give a mask on its"),
        ("cut", r"p1\.nii\.gz is truncated, damaged"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, how, words):
    records = records_in(tmp_path / "images", "p1", "p2")
    folder = bad_folder(tmp_path, records, how)
    with pytest.raises(InputError, match=words) as caught:
        taken(records, folder)
    assert "\n" not in str(caught.value)


def test_a_training_may_have_more_classes_than_the_drafts(tmp_path):
    records = records_in(tmp_path / "images", "p1")
    folder = drafted(tmp_path / "drafts", records)
    mend(folder / "p1.nii.gz", 1)
    [mask] = mended.masks(records, folder, [*CLASSES, "scar"])
    assert annotated(mask) == (1,)


def test_what_was_changed_is_shown_and_kept(tmp_path, caplog):
    records = records_in(tmp_path / "images", "p1", "p2")
    folder = drafted(tmp_path / "drafts", records[:1])
    mend(folder / "p1.nii.gz", 1, 2)
    save(folder / "p2.nii.gz", drawn())
    masks = mended.masks(records, folder, CLASSES)
    with caplog.at_level(logging.INFO, "semicycle"):
        mended_table.remember(masks, CLASSES, tmp_path / "run")
    text = (tmp_path / "run" / "mended.csv").read_text().splitlines()
    assert text[0] == ",".join(mended_table.COLUMNS)
    assert text[1] == f"p1,p1,{folder / 'p1.nii.gz'},4,2 3,RV,32,28,0,4"
    assert text[2] == f"p1,p1,{folder / 'p1.nii.gz'},4,2 3,LV,36,42,6,0"
    assert text[3] == f"p2,p2,{folder / 'p2.nii.gz'},4,1 2 3 4,,,,,"
    assert "  p1  2 of 4 slices     RV +0 -4, LV +6 -0\n  p2  4 of 4 slices     no draft" in caplog.text
    mended_table.remember([], CLASSES, tmp_path / "run")
    assert not (tmp_path / "run" / "mended.csv").exists()
