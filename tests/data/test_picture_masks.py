"""From a picture's or a scan's values to classes, intensities and slices, and back to its own size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, decollate_batch
from PIL import Image

from acdc_semicycle.data import splits
from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.slices import as_dicts
from acdc_semicycle.data.transforms import LoadCheckedd, ScaleImaged
from acdc_semicycle.datasets import cityscapes, voc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.evaluation.metrics import confusion
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.picture_files import (
    COLUMNS,
    CONFIGS,
    PALETTE,
    ROOT,
    ROWS,
    VOID,
    classes,
    numbers,
    refused,
    staircase,
    voc_mask,
    write,
)


def test_pixels_nobody_annotated_are_of_no_class_in_training_and_in_the_score(tmp_path):
    mask = voc_mask()
    label = classes(write(tmp_path / "a.png", mask, PALETTE), 21, voc.VALUES, voc.COLOURS).as_tensor()
    assert label.shape == (1, ROWS, COLUMNS, 1)
    np.testing.assert_array_equal(label[0, ..., 0], mask)
    hot = one_hot(label[None, ..., 0].long(), 21)[0].numpy()
    np.testing.assert_array_equal(hot.sum(0), mask != 255)
    matrix = confusion(torch.zeros_like(label), label, 21)
    assert matrix[:, 0].tolist() == [int((mask == k).sum()) for k in range(21)]
    assert matrix.sum() == ROWS * (COLUMNS - 1)


def test_a_value_that_is_no_class_is_refused_with_what_is_allowed(tmp_path):
    mask = voc_mask()
    mask[4, 5] = 21
    path = write(tmp_path / "a.png", mask)
    refused(lambda: classes(path, 21, voc.VALUES), str(path), "label 21", "whole numbers 0 to 20, or 255")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "whole numbers 0 to 1"),
        ({0: 0, 1: 1, 2: 1}, "whole numbers 0 to 2"),
        ({0: 0, 255: 1}, "0, 255"),
        ({128: 1, 0: 0, 255: 255}, "0, 128, 255"),
    ],
)
def test_what_a_mask_may_hold_is_said_in_words(tmp_path, values, words):
    path = write(tmp_path / "a.png", np.full((ROWS, COLUMNS), 7, np.uint8))
    with pytest.raises(InputError, match=f"label 7: expected {words}, or mask_values that"):
        classes(path, 2, values)


def test_255_is_refused_unless_mask_values_says_what_it_is(tmp_path):
    path = write(tmp_path / "a.png", np.full((ROWS, COLUMNS), 255, np.uint8))
    refused(lambda: classes(path, 2), "label 255", "0 to 1")
    assert classes(path, 2, {0: 0, 1: 1, 255: 255}).unique().tolist() == [255]


@pytest.mark.parametrize("values", [{"0": 0, "255": 1}, {0: 0, 255: 1}, ConfigParser({"v": {"0": 0, "255": 1}})["v"]])
def test_a_value_stands_for_the_class_that_mask_values_gives_it(tmp_path, values):
    mask = numbers(high=2)
    label = classes(write(tmp_path / "a.png", mask * 255), 2, values)
    np.testing.assert_array_equal(label[0, ..., 0], mask)


def test_a_palette_that_is_read_by_its_numbers_goes_through_mask_values(tmp_path):
    mask, grey = numbers(high=2), np.arange(256).repeat(3).reshape(-1, 3)
    path = write(tmp_path / "a.png", mask * 255, grey)
    label = classes(path, 2, {"0": 0, "255": 1}, [(0, 0, 0), (255, 0, 0)])
    np.testing.assert_array_equal(label[0, ..., 0], mask)


@pytest.mark.parametrize(("k", "wrong"), [(2, 2), (2, -1), (21, 254)])
def test_mask_values_naming_a_class_there_is_not_is_refused(k, wrong):
    refused(
        lambda: CheckLabeld("label", k, {0: 0, 7: wrong}), f"names the class {wrong}", f"0 to {k - 1}, or 255", "values"
    )


def test_label_ids_of_cityscapes_by_hand(tmp_path):
    table = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    table |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    mask = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint8) % 35
    mask[mask == 34] = 255  # the licence plate's -1
    label = classes(write(tmp_path / "a.png", mask), 19, cityscapes.VALUES, cityscapes.COLOURS)
    expected = [[table.get(int(value), 255) for value in row] for row in mask]
    np.testing.assert_array_equal(label[0, ..., 0], expected)


@pytest.mark.parametrize("size", [(COLUMNS, ROWS), (ROWS, COLUMNS + 1), (2 * ROWS, 2 * COLUMNS)])
def test_a_mask_of_another_size_than_its_picture_is_refused(tmp_path, size):
    path = write(tmp_path / "a.png", voc_mask())
    refused(lambda: classes(path, 21, voc.VALUES, size=size), str(path), "(18, 30, 1)", f"{(*size, 1)}", "grid")


def test_a_mask_keeps_its_name_and_its_place_in_space(tmp_path):
    scan, mask = staircase(tmp_path, "a", 3), staircase(tmp_path, "a_gt", 3)
    item = LoadCheckedd(["image", "label"])({"image": str(scan), "label": str(mask)})
    label = CheckLabeld("label", 3)(item)["label"]
    assert label.meta["filename_or_obj"] == str(mask)
    assert torch.equal(label.affine, item["image"].affine) and label.affine[2, 2] == 8


def scaled(pixels, intensity_range, tmp_path) -> np.ndarray:
    path = write(tmp_path / "scaled.png", np.asarray(pixels))
    load = LoadCheckedd("image", channels=1)
    return ScaleImaged("image", intensity_range)(load({"image": str(path)}))["image"][0, ..., 0].numpy()


def test_eight_bits_fill_minus_one_to_one_exactly(tmp_path):
    out = scaled(np.array([[0, 51, 102, 255]], np.uint8), [0, 255], tmp_path)
    np.testing.assert_allclose(out, [[-1, -0.6, -0.2, 1]], atol=1e-6)
    assert (out[0, 0], out[0, 3]) == (-1, 1)
    dark = scaled(np.array([[10, 20]], np.uint8), [0, 255], tmp_path)  # not by the picture's own range
    np.testing.assert_allclose(dark, [[20 / 255 - 1, 40 / 255 - 1]], atol=1e-6)


def test_a_range_need_not_start_at_0(tmp_path):
    out = scaled(np.array([[1000, 1500, 3000]], np.uint16), (1000, 3000), tmp_path)
    np.testing.assert_allclose(out, [[-1, -0.5, 1]], atol=1e-6)


@pytest.mark.parametrize(("pixels", "said"), [([[0, 256]], "from 0 to 256"), ([[300, 4000]], "from 300 to 4000")])
def test_intensities_above_the_range_are_refused_with_it(tmp_path, pixels, said):
    refused(
        lambda: scaled(np.array(pixels, np.uint16), (0, 255), tmp_path), "scaled.png", said, "[0, 255]", "percentiles"
    )


def test_intensities_below_the_range_are_refused_with_it(tmp_path):
    refused(lambda: scaled(np.array([[5, 20]], np.uint8), [10, 255], tmp_path), "from 5 to 20", "[10, 255]")


def test_without_a_range_each_image_is_scaled_by_its_own_percentiles(tmp_path):
    pixels = (numbers((40, 50)).astype(np.uint16) + 3000) * 3
    low, high = np.percentile(pixels, (0.5, 99.5))
    expected = np.clip((pixels - low) / (high - low), 0, 1) * 2 - 1
    np.testing.assert_allclose(scaled(pixels, None, tmp_path), expected, atol=1e-4)


def test_by_slice_every_slice_is_there_once_as_its_own_patient(tmp_path):
    a, b = staircase(tmp_path, "a", 3), staircase(tmp_path, "b", 2)
    given = [
        Record("p1_ED", "p1", a, a, phase="ED"),
        Record("p1_ES", "p1", b, None, phase="ES", part="testing"),
    ]
    assert splits.units(given, "patient") == given
    assert splits.units(given, "slice") == [
        *(Record(f"p1_ED_slice00{k}", f"p1_ED_slice00{k}", a, a, "ED", "training", k) for k in range(3)),
        *(Record(f"p1_ES_slice00{k}", f"p1_ES_slice00{k}", b, None, "ES", "testing", k) for k in range(2)),
    ]


def test_by_slice_the_right_slice_is_loaded_of_image_and_mask(tmp_path):
    record = Record("a", "a", staircase(tmp_path, "a", 4, 100), staircase(tmp_path, "a_gt", 4))
    load = LoadCheckedd(["image", "label"])
    items = [load(item) for item in as_dicts(splits.units([record], "slice"))]
    assert [item["image"].shape for item in items] == [(1, 8, 12, 1)] * 4
    assert [item["image"].unique().tolist() for item in items] == [[100], [101], [102], [103]]
    assert [item["label"].unique().tolist() for item in items] == [[0], [1], [2], [3]]
    (whole,) = (load(item) for item in as_dicts([record]))
    assert whole["image"].shape == whole["label"].shape == (1, 8, 12, 4)


def test_by_slice_pictures_stay_as_they_are():
    given = [Record("a", "p", Path("a.png"), Path("a_gt.png")), Record("b", "p", Path("b.JPG"))]
    assert splits.units(given, "slice") == splits.units(given, "patient") == given


@pytest.mark.parametrize("by", ["Slice", ""])
def test_another_unit_is_refused(by):
    refused(lambda: splits.units([], by), f"split_unit is {by!r}", "patient or slice")


def way_back(data: dict, network, size=(24, 32)) -> dict:
    """A VOC picture validated as the engine runs it, by a stub network."""
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", ROOT / "configs" / "voc.yaml"])
    parser["image_size"] = list(size)
    read, back = (parser.get_parsed_content(f"validate::{part}processing") for part in ("pre", "post"))
    batch = next(iter(DataLoader(Dataset([data], read), batch_size=1)))
    assert batch["image"].shape == (1, 3, *size, 1)
    batch["pred"] = network(batch["image"])
    return back(decollate_batch(batch)[0])


def by_redness(x: torch.Tensor) -> torch.Tensor:
    """Class 0 where a pixel is dark, 1 where it is reddish, 2 where it is red; the other classes never."""
    scores = [-30 * (x[:, :1] - middle) ** 2 for middle in (-1, 0, 1)]
    return torch.cat([*scores, torch.full_like(scores[0], -1e3).expand(-1, 18, -1, -1, -1)], 1)


def test_a_prediction_is_measured_at_the_pictures_own_size_without_ignored_pixels(tmp_path):
    truth = np.zeros((36, 40), np.uint8)
    truth[:, 20:], truth[18:, 10:20] = 2, 1
    shown = np.zeros((36, 40, 3), np.uint8)
    shown[..., 0] = np.array([0, 128, 255])[truth]
    truth[:, 19:21], truth[:4] = 255, 255
    data = {
        "image": str(write(tmp_path / "a.png", shown)),
        "label": str(write(tmp_path / "m.png", truth, PALETTE)),
    }
    out = way_back(data, by_redness)
    assert out["pred"].shape == out["label"].shape == (1, 36, 40, 1)
    assert out["pred_network"].shape == out["label_network"].shape == (1, 24, 32, 1)
    np.testing.assert_array_equal(out["label"][0, ..., 0], truth)
    assert set(out["label_network"].unique().tolist()) == {0, 1, 2, 255}
    matrix = np.zeros((21, 21), int)
    for t, p in zip(truth.ravel(), out["pred"].numpy().astype(int).ravel(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    np.testing.assert_array_equal(confusion(out["pred"].as_tensor(), out["label"].as_tensor(), 21), matrix)
    assert matrix.sum() == (truth != 255).sum() and np.trace(matrix) > 0.93 * matrix.sum(), matrix[:3, :3]


def check_real(found: list[Record], k: int, values, colours) -> None:
    load = LoadCheckedd(["image", "label"], channels=3, colours=colours)
    check = CheckLabeld("label", k, values)
    spread = np.linspace(0, len(found) - 1, 60).astype(int)
    seen = set()
    for record in (found[n] for n in spread):
        item = check(load({"image": str(record.image), "label": str(record.label)}))
        assert item["image"].shape[0] == 3 and item["image"].shape[1:] == item["label"].shape[1:]
        raw = np.asarray(Image.open(record.label))
        np.testing.assert_array_equal(item["label"][0, ..., 0], np.vectorize(values.get)(raw))
        seen |= set(item["label"].unique().tolist())
    assert 255 in seen and len(seen) > 10 and seen <= {*range(k), 255}


def test_real_masks_of_voc_are_classes_or_ignored(voc_dir):
    check_real(voc.records(voc_dir), 21, voc.VALUES, voc.COLOURS)


def test_real_masks_of_streets_are_classes_or_ignored(cityscapes_dir):
    check_real(cityscapes.records(cityscapes_dir), 19, cityscapes.VALUES, cityscapes.COLOURS)


def test_a_fraction_in_a_mask_is_refused_and_not_cut_off(tmp_path):
    path = write(tmp_path / "a.tif", np.full((ROWS, COLUMNS), 0.5, np.float32))
    refused(lambda: classes(path, 2), str(path), "label 0.5", "0 to 1")


def test_a_mask_read_by_colours_is_not_translated_by_mask_values_once_more(tmp_path):
    mask = np.full((ROWS, COLUMNS), 7, np.uint8)  # road
    palette = np.zeros((34, 3), np.uint8)
    for value, k in cityscapes.VALUES.items():
        if k != 255:
            palette[value] = cityscapes.COLOURS[k]
    for name, content in (("a.png", (mask, palette)), ("b.png", (palette[mask], None))):
        label = classes(write(tmp_path / name, *content), 19, cityscapes.VALUES, cityscapes.COLOURS)
        assert label.unique().tolist() == [0]


@pytest.mark.parametrize("values", [{"a": 0}, {"0.5": 0}])
def test_mask_values_that_are_no_whole_numbers_are_refused(values):
    refused(lambda: CheckLabeld("label", 2, values), "mask_values", "whole numbers")


def test_a_negative_value_may_stand_for_a_class_too(tmp_path):
    scan, mask = staircase(tmp_path, "a", 3), staircase(tmp_path, "a_gt", 3, first=-1)
    item = LoadCheckedd(["image", "label"])({"image": str(scan), "label": str(mask)})
    label = CheckLabeld("label", 2, {"-1": 255, "0": 0, "1": 1})(item)["label"]
    assert [label[..., k].unique().tolist() for k in range(3)] == [[255], [0], [1]]


def test_what_a_mask_of_one_value_may_hold_is_said_in_words(tmp_path):
    path = write(tmp_path / "a.png", np.zeros((ROWS, COLUMNS), np.uint8))
    with pytest.raises(InputError, match=r"label 0: expected 5, or mask_values that"):
        classes(path, 2, {5: 1})


def test_by_slice_a_damaged_scan_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    refused(lambda: splits.units([Record("a", "a", tmp_path / "a.nii.gz")], "slice"), "a.nii.gz", "copy it again")


def test_by_slice_a_mask_of_another_depth_is_refused(tmp_path):
    record = Record("a", "a", staircase(tmp_path, "a", 2), staircase(tmp_path, "a_gt", 3))
    load, check = LoadCheckedd(["image", "label"]), CheckLabeld("label", 9)
    refused(lambda: [check(load(item)) for item in as_dicts(splits.units([record], "slice"))], "a_gt.nii.gz", "grid")


@pytest.mark.parametrize("values", [{0.5: 1, 1: 0}, {0: 0.5, 1: 1}])
def test_mask_values_with_fractions_are_refused(values):
    refused(lambda: CheckLabeld("label", 2, values), "mask_values", "whole numbers")


def test_void_stays_ignored_where_values_number_classes_otherwise(tmp_path):
    mask = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    mask[:4], mask[4:8] = VOID, (255, 0, 0)
    path = write(tmp_path / "a.png", mask)
    label = classes(path, 2, {"0": 0, "255": 1}, [(0, 0, 0), (255, 0, 0)])
    assert label.unique().tolist() == [0, 1, 255]
