"""Pictures: from files to classes and back to files, each at its own size, and whole runs on tiny data sets."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import DataLoader, Dataset, decollate_batch
from PIL import Image

from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts import weights
from acdc_semicycle.data import pairs, splits
from acdc_semicycle.data.transforms import CheckLabeld, LoadCheckedd, ScaleImaged
from acdc_semicycle.datasets import cityscapes, voc
from acdc_semicycle.datasets.records import BY_SLICE, Record
from acdc_semicycle.evaluation import figures, model_scores
from acdc_semicycle.evaluation.examples import example
from acdc_semicycle.evaluation.metrics import confusion
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import read_picture
from acdc_semicycle.inference import predict
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "semicycle" / "configs"
ROWS, COLUMNS = 18, 30  # not square: height and width are not to be mixed up
VOID = (224, 224, 192)
PALETTE = np.zeros((256, 3), np.uint8)  # as in the devkit's files
PALETTE[:21], PALETTE[255] = voc.COLOURS, VOID


def numbers(shape=(ROWS, COLUMNS), high=256, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint8)


def write(path: Path, pixels: np.ndarray, palette=None, **options) -> Path:
    """Pixels [H, W], [H, W, 2 to 4] as a picture; with a palette [n, 3], they are its numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if palette is None:
        picture = Image.fromarray(pixels)
    else:
        picture = Image.frombytes("P", pixels.shape[::-1], pixels.astype(np.uint8).tobytes())
        picture.putpalette(np.asarray(palette, np.uint8).tobytes())
    picture.save(path, **options)
    return path


def image(path: Path, channels: int = 3):
    return LoadCheckedd("image", channels=channels)({"image": str(path)})["image"]


def stored(path: Path, colours=voc.COLOURS) -> np.ndarray:
    """What a mask's file says, before its values become classes."""
    label = LoadCheckedd("label", colours=colours)({"label": str(path)})["label"]
    assert label.shape == (1, *np.asarray(Image.open(path)).shape[:2], 1) and label.dtype == torch.float32
    return label[0, :, :, 0].numpy()


def classes(path: Path, k: int, values=None, colours=None, size=(ROWS, COLUMNS)):
    """The classes of a mask that belongs to an image of this size."""
    shown = write(path.parent / "shown.png", numbers((*size, 3)))
    load = LoadCheckedd(["image", "label"], channels=3, colours=colours)
    return CheckLabeld("label", k, values)(load({"image": str(shown), "label": str(path)}))["label"]


def refused(call, *words: str) -> None:
    """An InputError, below MONAI's wrappings if there are any, with all the words."""
    with pytest.raises((InputError, RuntimeError)) as caught:
        call()
    error: BaseException = caught.value
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    assert isinstance(error, InputError), caught.value
    assert all(word in str(error) for word in words), error


def voc_mask(shape=(ROWS, COLUMNS), seed=0) -> np.ndarray:
    """Every class at random, and a seam of 255."""
    mask = numbers(shape, 21, seed)
    mask[:, 3] = 255
    return mask


# --- images ---


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff"])
def test_a_picture_gives_its_very_values_and_rows_are_rows(tmp_path, name):
    pixels = numbers((ROWS, COLUMNS, 3))
    path = write(tmp_path / name, pixels)
    loaded = image(path)
    assert loaded.shape == (3, ROWS, COLUMNS, 1) and loaded.dtype == torch.float32
    np.testing.assert_array_equal(loaded[..., 0].permute(1, 2, 0), pixels)
    assert torch.equal(loaded.affine, torch.eye(4, dtype=loaded.affine.dtype))
    assert loaded.meta["filename_or_obj"] == str(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_a_compressed_picture_is_what_pillow_makes_of_it(tmp_path, name):
    path = write(tmp_path / name, numbers((ROWS, COLUMNS, 3)))
    with Image.open(path) as picture:
        np.testing.assert_array_equal(image(path)[..., 0].permute(1, 2, 0), np.asarray(picture))


def test_a_grey_picture_is_one_channel(tmp_path):
    pixels = numbers()
    loaded = image(write(tmp_path / "a.png", pixels), channels=1)
    assert loaded.shape == (1, ROWS, COLUMNS, 1)
    np.testing.assert_array_equal(loaded[0, ..., 0], pixels)


def test_a_coloured_picture_turns_grey_by_its_luma(tmp_path):
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = (255, 0, 0), (0, 255, 0), (200, 100, 50)
    grey = image(write(tmp_path / "a.png", pixels), channels=1)[0, 0, :4, 0]
    assert grey.tolist() == [76, 150, 124, 0]  # 0.299 R + 0.587 G + 0.114 B


def test_an_alpha_channel_is_left_out(tmp_path):
    pixels = numbers((ROWS, COLUMNS, 4))
    np.testing.assert_array_equal(image(write(tmp_path / "a.png", pixels))[..., 0].permute(1, 2, 0), pixels[..., :3])


def test_an_image_with_a_palette_has_the_colours_it_shows(tmp_path):
    pixels, palette = numbers(high=21), numbers((21, 3), seed=1)
    loaded = image(write(tmp_path / "a.png", pixels, palette))
    np.testing.assert_array_equal(loaded[..., 0].permute(1, 2, 0), palette[pixels])


@pytest.mark.parametrize("extra", [(), (2,)], ids=["grey", "grey with alpha"])
def test_a_grey_picture_has_three_equal_channels_for_a_network_of_three(tmp_path, extra):
    pixels = numbers((ROWS, COLUMNS, *extra))
    loaded = image(write(tmp_path / "a.png", pixels))
    grey = pixels[..., 0] if extra else pixels
    np.testing.assert_array_equal(loaded[..., 0], np.stack([grey] * 3))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_kept(tmp_path, name):
    pixels = (numbers().astype(np.uint16) << 8) + numbers(seed=1)
    loaded = image(write(tmp_path / name, pixels), channels=1)
    assert loaded.max() > 255
    np.testing.assert_array_equal(loaded[0, ..., 0], pixels)


def test_fractions_are_kept(tmp_path):
    pixels = numbers().astype(np.float32) / 7 - 3
    np.testing.assert_array_equal(image(write(tmp_path / "a.tif", pixels), channels=1)[0, ..., 0], pixels)


@pytest.mark.parametrize(("note", "quarters"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_picture_is_turned_as_its_exif_note_says(tmp_path, note, quarters):
    pixels = numbers((ROWS, COLUMNS, 3))
    exif = Image.Exif()
    exif[0x0112] = note
    path = write(tmp_path / "a.png", pixels, exif=exif)
    upright = np.rot90(pixels, quarters)
    np.testing.assert_array_equal(image(path)[..., 0].permute(1, 2, 0), upright)
    assert read_picture(path).size == upright.shape[1::-1]


@pytest.mark.parametrize("end", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("key", ["image", "label"])
def test_a_truncated_picture_is_refused(tmp_path, end, part, key):
    path = write(tmp_path / f"a.{end}", numbers((ROWS, COLUMNS, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(lambda: LoadCheckedd(key, channels=3)({key: str(path)}), str(path), "copy it again")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("content", [b"", b"patient,age\n1,62\n" * 200])
def test_a_file_that_is_no_picture_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(lambda: image(tmp_path / name), str(tmp_path / name), "no picture", "copy it again")


def test_a_missing_picture_and_a_folder_are_refused(tmp_path):
    refused(lambda: image(tmp_path / "a.png"), f"{tmp_path / 'a.png'} is not a file", "give a picture", ".jpg")
    (tmp_path / "b.png").mkdir()
    refused(lambda: image(tmp_path / "b.png"), f"{tmp_path / 'b.png'} is not a file")


def test_a_scan_for_a_network_of_three_channels_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3), np.int16), np.eye(4)), path)
    refused(lambda: image(path), str(path), "one channel", "channels is 3")
    assert image(path, channels=1).shape == (1, 4, 5, 3)


# --- masks: what they store ---


def test_a_mask_with_the_palette_of_voc_gives_its_classes(tmp_path):
    mask = voc_mask()
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, PALETTE)), mask)


@pytest.mark.parametrize("seed", range(3))
def test_a_mask_whose_palette_was_renumbered_gives_the_same_classes(tmp_path, seed):
    mask, order = voc_mask(), np.random.default_rng(seed).permutation(256)  # order[old] is the new number
    palette = np.empty_like(PALETTE)
    palette[order] = PALETTE
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", order[mask], palette)), mask)


def test_a_mask_that_pillow_saved_with_a_palette_of_its_own_gives_the_same_classes(tmp_path):
    mask = voc_mask()
    Image.fromarray(PALETTE[mask]).quantize(22).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as again:
        assert again.mode == "P" and (np.asarray(again) != mask).any()
    np.testing.assert_array_equal(stored(tmp_path / "a.png"), mask)


@pytest.mark.parametrize("colours", [None, voc.COLOURS])
@pytest.mark.parametrize(
    "palette", [np.arange(256).repeat(3).reshape(-1, 3), numbers((256, 3), seed=5)], ids=["grey ramp", "random"]
)
def test_a_mask_with_a_palette_of_other_colours_is_read_by_its_numbers(tmp_path, palette, colours):
    mask = voc_mask()
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette), colours), mask)


def test_one_colour_that_is_no_classs_makes_a_palette_read_by_its_numbers(tmp_path):
    palette = PALETTE.copy()
    palette[:21] = palette[20::-1]
    palette[9] = (1, 2, 3)
    mask = voc_mask()
    assert 9 in mask
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette)), mask)


def test_a_colour_that_no_pixel_has_does_not_matter(tmp_path):
    palette, mask = PALETTE.copy(), voc_mask()
    palette[:21] = palette[20::-1]
    palette[9], mask[mask == 9] = (1, 2, 3), 8
    expected = np.where(mask == 255, 255, 20 - mask)
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette)), expected)


def test_numbers_beyond_a_short_palette_are_read_as_they_are(tmp_path):
    mask = numbers(high=3)
    mask[0, 0], mask[0, 1] = 255, 17
    path = write(tmp_path / "a.png", mask, PALETTE)
    raw, chunk = path.read_bytes(), b"PLTE" + PALETTE[:3].tobytes()
    at = raw.index(b"PLTE") - 4
    short = (9).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)  # Pillow itself writes no such file
    path.write_bytes(raw[:at] + short + raw[at + 12 + PALETTE.size :])
    np.testing.assert_array_equal(stored(path), mask)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_mask_of_colours_gives_the_classes_that_have_them(tmp_path, alpha):
    mask = voc_mask()
    pixels = PALETTE[mask]
    pixels = np.dstack([pixels, numbers(seed=2)]) if alpha else pixels
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", pixels)), mask)


def test_a_colour_that_is_no_classs_is_refused_by_its_numbers(tmp_path):
    pixels = PALETTE[voc_mask()]
    pixels[5, 7] = (1, 2, 3)
    path = write(tmp_path / "a.png", pixels)
    refused(lambda: stored(path), str(path), "colour (1, 2, 3)", "give class indices")


def test_a_mask_of_colours_is_refused_where_no_class_has_one(tmp_path):
    path = write(tmp_path / "a.png", PALETTE[np.full((ROWS, COLUMNS), 15)])
    refused(lambda: stored(path, None), str(path), "colour (192, 128, 128)", "colours of the classes")


@pytest.mark.parametrize("values", [numbers(), numbers(high=2).astype(bool), numbers().astype(np.uint16) * 200])
def test_a_grey_mask_gives_its_values(tmp_path, values):
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", values)), values)


def test_a_mask_is_turned_as_its_exif_note_says(tmp_path):
    mask, exif = voc_mask(), Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "a.png", mask, PALETTE, exif=exif)
    label = LoadCheckedd("label", colours=voc.COLOURS)({"label": str(path)})["label"]
    np.testing.assert_array_equal(label[0, ..., 0], np.rot90(mask, -1))


# --- masks: from values to classes ---


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
        ({0: 0, 255: 1}, "whole numbers 0 to 0, or 255"),
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


# --- intensities ---


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


# --- the published code's protocol: slices as patients ---


def staircase(folder: Path, name: str, depth: int, first: int = 0) -> Path:
    """A scan whose slice k holds first + k."""
    path = folder / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.broadcast_to(first + np.arange(depth), (8, 12, depth)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2, 2, 8, 1.0])), path)
    return path


def test_by_slice_every_slice_is_there_once_as_its_own_patient(tmp_path):
    a, b = staircase(tmp_path, "a", 3), staircase(tmp_path, "b", 2)
    given = [
        Record("p1_ED", "p1", a, a, phase="ED"),
        Record("p1_ES", "p1", b, None, phase="ES", part="testing"),
    ]
    assert splits.cut(given, "patient") == given
    assert splits.cut(given, "slice") == [
        *(Record(f"p1_ED_slice00{k}", f"p1_ED_slice00{k}", a, a, "ED", "training", k) for k in range(3)),
        *(Record(f"p1_ES_slice00{k}", f"p1_ES_slice00{k}", b, None, "ES", "testing", k) for k in range(2)),
    ]


def test_by_slice_the_right_slice_is_loaded_of_image_and_mask(tmp_path):
    record = Record("a", "a", staircase(tmp_path, "a", 4, 100), staircase(tmp_path, "a_gt", 4))
    load = LoadCheckedd(["image", "label"])
    items = [load(item) for item in pairs.as_dicts(splits.cut([record], "slice"))]
    assert [item["image"].shape for item in items] == [(1, 8, 12, 1)] * 4
    assert [item["image"].unique().tolist() for item in items] == [[100], [101], [102], [103]]
    assert [item["label"].unique().tolist() for item in items] == [[0], [1], [2], [3]]
    (whole,) = (load(item) for item in pairs.as_dicts([record]))
    assert whole["image"].shape == whole["label"].shape == (1, 8, 12, 4)


def test_by_slice_pictures_stay_as_they_are():
    given = [Record("a", "p", Path("a.png"), Path("a_gt.png")), Record("b", "p", Path("b.JPG"))]
    assert splits.cut(given, "slice") == splits.cut(given, "patient") == given


@pytest.mark.parametrize("by", ["Slice", ""])
def test_another_unit_is_refused(by):
    refused(lambda: splits.cut([], by), f"by is {by!r}", "patient or slice")


# --- the way back, with the bundle's own lists of transforms ---


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


def test_a_class_that_neither_truth_nor_prediction_holds_does_not_count_in_the_miou():
    truth, prediction = torch.tensor([0, 0, 1, 1, 255]), torch.tensor([0, 1, 1, 1, 2])
    matrix = confusion(prediction, truth, 3)
    case = model_scores.Case("a", "a", "", Path("a.png"), 0, prediction.numpy(), truth.numpy(), matrix, matrix)
    summary = model_scores.summary([case], ["background", "cell", "dust"], ["cell", "dust"])
    assert summary["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert summary["miou_by_class"] == pytest.approx({"background": 1 / 2, "cell": 2 / 3, "dust": np.nan}, nan_ok=True)


# --- segmenting new pictures ---


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


def segment(source: Path, output: Path, model: Path) -> None:
    given = {"input": str(source), "output_dir": str(output), "checkpoint": str(model)}
    flow = ConfigWorkflow(str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False, **given)
    flow.initialize()
    flow.run()


def names(folder: Path) -> list[str]:
    files = [
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "predictions.json"
    ]
    return sorted(path.as_posix() for path in files if path.parts[0] != ".panels")


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
    card = model_files.CARD | {"classes": ["a", "b", "c"], "colours": colours}
    predict.save_picture_map(labels, tmp_path / "deep" / "a.png", card)
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


# --- whole runs ---

TINY = {"filters": 4, "blocks": 1, "d_filters": 4, "epochs": 1, "batch_size": 2, "steps_an_epoch": 3}


def run(overlay: str | None, output: Path, verb: str = "training", **override) -> None:
    files = [CONFIGS / "train.json", *([ROOT / "configs" / f"{overlay}.yaml"] if overlay else [])]
    files += [CONFIGS / "evaluate.json"] if verb == "evaluating" else []
    given = {"image_size": [32, 32]} | TINY | {"output_dir": str(output)} | override
    flow = ConfigWorkflow([str(file) for file in files], logging_file=False, run_id=verb, **given)
    flow.initialize()
    flow.run()


def report(output: Path, part: str = "test") -> dict:
    folder = output / part
    assert {"report.json", "cases.csv", "summary.csv", "examples.png", "panel.npz"} <= set(names(folder))
    return json.loads((folder / "report.json").read_text())


def blocks(shape: tuple[int, int], high: int, seed: int) -> np.ndarray:
    """A mask of patches of 8 x 8."""
    patches = numbers((-(-shape[0] // 8), -(-shape[1] // 8)), high, seed)
    return np.kron(patches, np.ones((8, 8), np.uint8))[: shape[0], : shape[1]]


SIZES = [(32, 40), (36, 28), (44, 32)]


@pytest.fixture(scope="module")
def voc_run(tmp_path_factory) -> tuple[Path, Path]:
    """A devkit of 12 + 3 pictures whose colours say the class, and a run that was trained and evaluated on it."""
    root = tmp_path_factory.mktemp("voc")
    home = root / "VOCdevkit" / "VOC2012"
    lists = {"train": [f"t{n:02d}" for n in range(12)], "val": ["v0", "v1", "v2"]}
    for part, listed in lists.items():
        path = home / "ImageSets" / "Segmentation" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(listed))
        for n, name in enumerate(listed):
            mask = blocks(SIZES[n % 3], 21, n + (100 if part == "val" else 0))
            write(home / "JPEGImages" / f"{name}.jpg", PALETTE[mask], quality=95)
            mask[:2] = 255
            write(home / "SegmentationClass" / f"{name}.png", mask, PALETTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        run("voc", root / "run", dataset_dir=str(root))
        run("voc", root / "run", "evaluating", dataset_dir=str(root))
    return home, root / "run"


@pytest.mark.slow
def test_voc_is_trained_on_and_scored_on_its_val(voc_run):
    _, output = voc_run
    content = report(output)
    assert (content["dataset"], content["part"], content["main"], content["protocol"]) == ("voc", "test", "miou", None)
    assert [case["case"] for case in content["cases"]] == ["v0", "v1", "v2"]
    assert list(content["summary"]["miou_by_class"]) == content["classes"] == list(voc.CLASSES)
    assert 0 <= content["summary"]["miou"] <= 1
    assert set(content["split"]["labelled"] + content["split"]["unlabelled"] + content["split"]["validation"]) == {
        f"t{n:02d}" for n in range(12)
    }
    assert report(output, "validation")["cases"]
    card = json.loads((output / "models" / "model.json").read_text())
    assert card["pictures"] and card["in_channels"] == 3 and card["intensity_range"] == [0, 255]
    panel = np.load(output / "test" / "panel.npz")
    assert panel["names"].tolist() == ["v0", "v1", "v2"]
    for n, size in enumerate(SIZES):
        assert panel[f"image_{n}"].shape == (*size, 3) and panel[f"truth_{n}"].shape == size


@pytest.mark.slow
def test_the_miou_of_voc_equals_counting_the_pixels_of_the_label_maps(voc_run, tmp_path):
    home, output = voc_run
    for name in ("v0", "v1", "v2"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jpg").write_bytes((home / "JPEGImages" / f"{name}.jpg").read_bytes())
    segment(tmp_path / "in", tmp_path / "out", output / "models" / "model.pt")
    hit, either = np.zeros(21), np.zeros(21)
    panel = np.load(output / "test" / "panel.npz")
    for n, name in enumerate(("v0", "v1", "v2")):
        t = np.asarray(Image.open(home / "SegmentationClass" / f"{name}.png"))
        p = np.asarray(Image.open(tmp_path / "out" / f"{name}_seg.png"))
        assert p.shape == t.shape == SIZES[n]
        np.testing.assert_array_equal(panel[f"prediction_{n}"], p)
        np.testing.assert_array_equal(panel[f"truth_{n}"], t)
        for k in range(21):
            hit[k] += ((p == k) & (t == k)).sum()
            either[k] += (((p == k) | (t == k)) & (t != 255)).sum()
    summary = report(output)["summary"]
    expected = [h / e if e else None for h, e in zip(hit, either, strict=True)]
    assert list(summary["miou_by_class"].values()) == pytest.approx(expected)
    assert summary["miou"] == pytest.approx(np.mean([value for value in expected if value is not None]))


@pytest.mark.slow
def test_own_grey_pictures_are_trained_on_where_half_have_a_mask(tmp_path):
    for n in range(14):
        mask = blocks((28, 36), 2, n)
        write(tmp_path / "images" / f"p{n}.png", 60 + 120 * mask + numbers((28, 36), 40, n))
        if n % 2:
            write(tmp_path / "masks" / f"p{n}_mask.png", 255 * mask)
    data = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "classes": ["background", "cell"]}
    data |= {"channels": 1, "mask_values": {"0": 0, "255": 1}}
    run("own_pictures", tmp_path / "run", **data)
    run("own_pictures", tmp_path / "run", "evaluating", **data)
    content = report(tmp_path / "run")
    assert content["dataset"] == "own_pictures" and list(content["summary"]["miou_by_class"]) == data["classes"]
    assert {f"p{n}" for n in range(0, 14, 2)} <= set(content["split"]["unlabelled"])
    segment(tmp_path / "images", tmp_path / "out", tmp_path / "run" / "models" / "model.pt")
    assert names(tmp_path / "out") == sorted([*(f"p{n}_seg.png" for n in range(14)), "legend.png"])
    with Image.open(tmp_path / "out" / "p0_seg.png") as made:
        assert made.size == (36, 28) and set(np.unique(made)) <= {0, 1}


@pytest.mark.slow
def test_own_scans_are_trained_on(tmp_path):
    for n in range(7):
        mask = np.stack([blocks((20, 24), 2, 3 * n + k) for k in range(3)], -1)
        mask[:3, :, 1], mask[3:, :, 1] = 0, 1  # the slice to look at
        mask[:, :, 2] = 255
        for folder, end, voxels in (("images", "", 200 * (mask == 1) + 50), ("masks", "_gt", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            scan = nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([2, 2, 8, 1.0]))
            nibabel.save(scan, tmp_path / folder / f"p{n}_a{end}.nii.gz")
    data = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "classes": ["background", "liver"]}
    data |= {"patient": r"^(p\d+)_", "mask_values": {"0": 0, "1": 1, "255": 255}}
    run("own_scans", tmp_path / "run", **data)
    run("own_scans", tmp_path / "run", "evaluating", **data)
    content = report(tmp_path / "run")
    assert (content["dataset"], content["main"]) == ("own_scans", "dice")
    assert [case["patient"] for case in content["cases"]] == content["split"]["test"]
    assert set(content["summary"]["dice"]) == {"mean", "liver"}
    panel = np.load(tmp_path / "run" / "test" / "panel.npz")
    mask = np.asarray(nibabel.load(tmp_path / "masks" / f"{panel['names'][0]}_gt.nii.gz").dataobj)[..., 1]
    mask = mask.T[::-1, ::-1]  # in the radiologist's view
    np.testing.assert_array_equal(panel["truth_0"], mask)
    np.testing.assert_array_equal(panel["image_0"] > 128, mask == 1)
    segment(tmp_path / "images", tmp_path / "out", tmp_path / "run" / "models" / "model.pt")
    made = np.asarray(nibabel.load(tmp_path / "out" / f"{panel['names'][0]}_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(panel["prediction_0"], made[..., 1].T[::-1, ::-1])
    assert (made[..., 0] != made[..., 1]).any()
    assert not json.loads((tmp_path / "run" / "models" / "model.json").read_text())["pictures"]


@pytest.mark.slow
def test_a_cityscapes_layout_is_trained_on_and_scored_on_its_val(tmp_path):
    for part, count in (("train", 12), ("val", 2)):
        for n in range(count):
            mask = blocks((24, 48), 34, 20 * count + n)  # no two alike
            mask[-3:] = 255
            stem = f"ulm_{part}{n:02d}"
            write(tmp_path / "leftImg8bit" / part / "ulm" / f"{stem}_leftImg8bit.png", np.dstack([mask * 7] * 3))
            write(tmp_path / "gtFine" / part / "ulm" / f"{stem}_gtFine_labelIds.png", mask)
    data = {"dataset_dir": str(tmp_path), "image_size": [16, 32]}
    run("cityscapes", tmp_path / "run", **data)
    run("cityscapes", tmp_path / "run", "evaluating", **data)
    content = report(tmp_path / "run")
    assert [case["case"] for case in content["cases"]] == ["ulm_val00", "ulm_val01"]
    assert list(content["summary"]["miou_by_class"]) == list(cityscapes.CLASSES)
    truth = np.load(tmp_path / "run" / "test" / "panel.npz")["truth_0"]
    assert truth.shape == (24, 48) and set(truth[-3:].ravel()) == {255} and truth[:-3].min() < 19


@pytest.mark.slow
def test_by_slice_a_report_says_that_it_is_not_comparable(tmp_path, phantom_dir, capsys):
    run(None, tmp_path, dataset_dir=str(phantom_dir), by="slice", labelled=4)
    run(None, tmp_path, "evaluating", dataset_dir=str(phantom_dir), by="slice", labelled=4)
    assert BY_SLICE in capsys.readouterr().out
    content = report(tmp_path)
    assert content["protocol"] == BY_SLICE
    assert all(re.fullmatch(r"patient\d+_frame\d+_slice\d\d\d", case["case"]) for case in content["cases"])
    assert len(content["split"]["labelled"]) == 4
    panel = np.load(tmp_path / "test" / "panel.npz")
    for n, name in enumerate(panel["names"].tolist()):  # the very slice, drawn as a radiologist sees it
        frame, k = name.rsplit("_slice", 1)
        (path,) = phantom_dir.rglob(f"{frame}_gt.nii.gz")
        for key, file in (("truth", path), ("image", path.with_name(path.name.replace("_gt", "")))):
            volume = volumes.read(file)
            shown = volume.shown(volume.layout.apply(volume.voxels[..., 0])[..., int(k)])
            if key == "truth":
                np.testing.assert_array_equal(panel[f"truth_{n}"], shown)
            else:
                assert np.corrcoef(panel[f"image_{n}"].ravel(), shown.ravel())[0, 1] > 0.99


# --- figures ---


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


# --- real data ---


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


# --- what is odd, and what is wrong ---


def test_sixteen_bits_are_kept_for_a_network_of_three_channels(tmp_path):
    pixels = numbers().astype(np.uint16) * 200
    loaded = image(write(tmp_path / "a.png", pixels), channels=3)
    np.testing.assert_array_equal(loaded[..., 0], np.stack([pixels] * 3))


def test_a_picture_with_pixels_that_are_no_numbers_is_refused(tmp_path):
    pixels = np.ones((ROWS, COLUMNS), np.float32)
    pixels[3, 4] = np.nan
    path = write(tmp_path / "a.tif", pixels)
    refused(lambda: image(path, channels=1), str(path), "NaN or infinite")


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


def test_a_palette_with_one_colour_twice_is_read_by_its_numbers(tmp_path):
    mask = numbers(high=3)
    black = write(tmp_path / "a.png", mask, np.zeros((3, 3)))
    np.testing.assert_array_equal(stored(black), mask)


def test_the_colour_of_a_class_wins_over_that_of_nobody_annotated(tmp_path):
    mask = numbers(high=2)
    colours = [(0, 0, 0), VOID]
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", np.array(colours, np.uint8)[mask]), colours), mask)


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
    refused(lambda: splits.cut([Record("a", "a", tmp_path / "a.nii.gz")], "slice"), "a.nii.gz", "copy it again")


def test_by_slice_a_mask_of_another_depth_is_refused(tmp_path):
    record = Record("a", "a", staircase(tmp_path, "a", 2), staircase(tmp_path, "a_gt", 3))
    load, check = LoadCheckedd(["image", "label"]), CheckLabeld("label", 9)
    refused(
        lambda: [check(load(item)) for item in pairs.as_dicts(splits.cut([record], "slice"))], "a_gt.nii.gz", "grid"
    )


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


@pytest.mark.parametrize("colours", [[[0, 0, 0]], [[0, 0, 0], [255, 0, 0], [0, 255, 0]]])
def test_another_number_of_colours_than_classes_is_refused_before_training(tmp_path, colours):
    write(tmp_path / "images" / "a.png", numbers())
    write(tmp_path / "masks" / "a.png", numbers(high=2))
    data = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "classes": ["background", "cell"]}
    refused(lambda: run("own_pictures", tmp_path / "run", colours=colours, **data), "colours", "2 classes")
    assert not (tmp_path / "run").exists()


def test_an_example_of_sixteen_bits_is_drawn_from_dark_to_bright(tmp_path):
    ramp = np.linspace(500, 60000, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint16)
    path, mask = write(tmp_path / "a.png", ramp), np.zeros((ROWS, COLUMNS), np.uint8)
    matrix = torch.eye(2, dtype=torch.long)
    drawn = example(model_scores.Case("a", "a", "", path, 0, mask, mask, matrix, matrix)).image
    assert drawn.dtype == np.uint8 and drawn.shape == (ROWS, COLUMNS, 3)
    assert (np.diff(drawn[..., 0].ravel().astype(int)) >= 0).all() and drawn.min() < 10 and drawn.max() > 245


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


@pytest.mark.parametrize("values", [{0.5: 1, 1: 0}, {0: 0.5, 1: 1}])
def test_mask_values_with_fractions_are_refused(values):
    refused(lambda: CheckLabeld("label", 2, values), "mask_values", "whole numbers")


def test_several_pages_are_not_one_picture(tmp_path):
    pages = [Image.fromarray(numbers((ROWS, COLUMNS))) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(lambda: read_picture(tmp_path / "a.tif"), "has 2 pages")


def test_a_mask_of_two_bands_is_refused_for_what_it_is(tmp_path):
    Image.fromarray(numbers((ROWS, COLUMNS))).convert("LA").save(tmp_path / "a.png")
    refused(lambda: stored(tmp_path / "a.png"), "is a LA picture")


def test_void_stays_ignored_where_values_number_classes_otherwise(tmp_path):
    mask = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    mask[:4], mask[4:8] = VOID, (255, 0, 0)
    path = write(tmp_path / "a.png", mask)
    label = classes(path, 2, {"0": 0, "255": 1}, [(0, 0, 0), (255, 0, 0)])
    assert label.unique().tolist() == [0, 1, 255]


# bombs


def bomb(path: Path, side: int) -> Path:
    """A black PNG of side x side pixels in some kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


READ = """
import resource, sys
from pathlib import Path
from acdc_semicycle.data.transforms import intensities, read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(intensities(Path(sys.argv[1]), read_picture(Path(sys.argv[1])), 1).shape)
except ValueError as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def read_alone(path: Path, **environment: str) -> tuple[str, int]:
    """What reading a picture says in a process of its own, and how many MB it took."""
    names = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, env=names, check=True)
    assert not done.stderr
    said, taken = done.stdout.splitlines()
    return said, int(taken)


@pytest.mark.slow
@pytest.mark.parametrize("side", [13000, 20000])
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_does(tmp_path, side):
    path = bomb(tmp_path / "bomb.png", side)
    assert path.stat().st_size < 60_000
    said, taken = read_alone(path)
    assert said.startswith("InputError") and "bomb.png has more than 134217728 pixels" in said
    assert "SEMICYCLE_MAX_VOXELS" in said and taken < 100


@pytest.mark.slow
def test_large_pictures_pass_and_whoever_trusts_one_can_raise_the_limit(tmp_path):
    assert read_alone(bomb(tmp_path / "a.png", 10000))[0] == "(10000, 10000, 1)"
    assert read_alone(bomb(tmp_path / "b.png", 13000), SEMICYCLE_MAX_VOXELS="200000000")[0] == "(13000, 13000, 1)"
    assert "'many'" in read_alone(tmp_path / "a.png", SEMICYCLE_MAX_VOXELS="many")[0]
    assert "more than 100 pixels" in read_alone(tmp_path / "a.png", SEMICYCLE_MAX_VOXELS="100")[0]


def test_a_file_that_pillow_would_hand_to_another_program_is_no_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.png is truncated, damaged or no picture"):
        read_picture(path)
