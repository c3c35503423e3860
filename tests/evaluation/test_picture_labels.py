"""PNG label maps against PNG truths: read as a training reads masks, scored in pixels."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from acdc_semicycle import cli
from acdc_semicycle.evaluation import evaluation_files, picture_labels
from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.evaluation.evaluation_table import table
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError

COLOURS = [[0, 0, 0], [200, 30, 30], [30, 200, 30]]
CLASSES = ["background", "cell", "dust"]


def truth() -> np.ndarray:
    """30 x 20 pixels: 5 x 5 of class 1, 4 x 4 of class 2."""
    labels = np.zeros((30, 20), np.uint8)
    labels[2:7, 2:7], labels[20:24, 10:14] = 1, 2
    return labels


def moved() -> np.ndarray:
    """The same with class 1 one row lower: 20 of 25 pixels are common."""
    labels = truth()
    labels[2:8, 2:7], labels[3:8, 2:7] = 0, 1
    return labels


def write(path: Path, pixels: np.ndarray, palette: bool = False, ours: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, about = Image.fromarray(pixels), PngImagePlugin.PngInfo()
    if palette:
        picture = picture.convert("P")
        picture.putpalette(np.array(COLOURS, np.uint8).tobytes())
    if ours:
        about.add_text("Software", volumes.MARK)
    picture.save(path, pnginfo=about)
    return path


def predicted(folder: Path, labels: np.ndarray) -> Path:
    """A folder as predict leaves it for one picture."""
    write(folder / "a_seg.png", labels, palette=True, ours=True)
    write(folder / "legend.png", np.zeros((9, 9, 3), np.uint8))
    case = {"case": "a", "mask": "a_seg.png", "scan": "a.jpg", "patient": "a", "phase": None, "frames": 1}
    content = {"cases": [case], "classes": CLASSES, "colours": COLOURS}
    (folder / "predictions.json").write_text(json.dumps(content))
    return folder


def stored_as(kind: str) -> tuple[np.ndarray, dict | None]:
    """The truth as classes, as colours, or as other values; and the mask_values of these."""
    if kind == "colours":
        return np.array(COLOURS, np.uint8)[truth()], None
    if kind == "values":
        return np.array([0, 128, 255], np.uint8)[truth()], {"0": 0, "128": 1, "255": 2}
    return truth(), None


@pytest.mark.parametrize("kind", ["classes", "colours", "values"])
def test_png_label_maps_are_scored_against_png_truths_in_pixels(tmp_path, kind):
    pixels, values = stored_as(kind)
    write(tmp_path / "masks" / "a.png", pixels)
    content = compare([predicted(tmp_path / "out", moved())], tmp_path / "masks", None, values)
    (row,) = content["cases"]
    assert content["classes"] == CLASSES and not content["missing"] and not content["failures"]
    assert row["dice"]["cell"] == pytest.approx(0.8) and row["dice"]["dust"] == 1
    assert (row["unit"], row["hd95"]["cell"], row["hd95"]["dust"]) == ("pixels", 1.0, 0.0)
    assert row["withheld"] is None and row["volumes_ml"] is None
    assert content["summary"]["out"]["unit"] == "pixels"
    assert not [note for note in content["notes"] if "volume" in note or "voxel" in note]
    assert table(content).startswith("out: 1 picture\n")


def test_pixels_that_nobody_annotated_do_not_count(tmp_path):
    labels = truth()
    labels[:12] = 255
    write(tmp_path / "masks" / "a.png", labels)
    values = {"0": 0, "1": 1, "2": 2, "255": 255}
    (row,) = compare([predicted(tmp_path / "out", moved())], tmp_path / "masks", None, values)["cases"]
    assert row["dice"]["dust"] == 1 and np.isnan(float("nan" if row["dice"]["cell"] is None else row["dice"]["cell"]))


def test_other_tools_pictures_are_scored_too_and_the_whole_data_set_has_its_masks(tmp_path):
    write(tmp_path / "theirs" / "a.png", moved())
    write(tmp_path / "data" / "images" / "a.png", np.full((30, 20, 3), 77, np.uint8))
    write(tmp_path / "data" / "masks" / "a.png", truth())
    content = compare([tmp_path / "theirs"], tmp_path / "data", CLASSES)
    assert content["cases"][0]["dice"]["cell"] == pytest.approx(0.8)
    assert content["cases"][0]["image"] == str(tmp_path / "data" / "images" / "a.png")
    assert compare([tmp_path / "theirs"], tmp_path / "data")["classes"] == ["0", "1", "2"]


def test_a_mask_of_0_and_255_gets_the_flag_to_paste(tmp_path):
    mask = write(tmp_path / "masks" / "a.png", np.where(truth() == 1, 255, 0).astype(np.uint8))
    with pytest.raises(InputError) as caught:
        picture_labels.read(mask, picture_labels.Rules(2))
    assert "holds the label 255" in str(caught.value)
    assert str(caught.value).endswith("give --mask_values \"{'0': 0, '255': 1}\"")
    with pytest.raises(InputError, match=r"annotated give --mask_values \"\{'0': 0, '1': 1, '2': 2, '255': 255\}\"$"):
        picture_labels.read(mask, picture_labels.Rules(3))
    rules = picture_labels.Rules(2, None, picture_labels.values_of("{'0': 0, '255': 1}"))
    assert picture_labels.read(mask, rules).sum() == 25


def test_a_truth_of_another_size_or_a_jpeg_is_a_failure_with_its_reason(tmp_path):
    predicted(tmp_path / "out", moved())
    write(tmp_path / "masks" / "a.png", np.zeros((30, 21), np.uint8))
    with pytest.raises(InputError, match=r"nothing could be compared: .*a_seg.png is 30 x 20"):
        compare([tmp_path / "out"], tmp_path / "masks")
    (tmp_path / "masks" / "a.png").unlink()
    Image.fromarray(truth()).save(tmp_path / "masks" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is a JPEG, which changes a mask's numbers"):
        compare([tmp_path / "out"], tmp_path / "masks")


@pytest.mark.parametrize("text", ["{", "3", "{}", "__import__('os')"])
def test_mask_values_that_are_no_mapping_are_refused(text):
    with pytest.raises(InputError, match=r"mask_values is .*such as \{'0': 0, '255': 1\}"):
        picture_labels.values_of(text)


def test_the_command_line_takes_mask_values(tmp_path, monkeypatch, capsys):
    pixels, values = stored_as("values")
    write(tmp_path / "masks" / "a.png", pixels)
    out = predicted(tmp_path / "out", moved())
    words = ["semicycle", "evaluate", "--pred", out, "--truth", tmp_path / "masks", "--mask_values", values]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert "HD95" in printed and "pixels" in printed
    content = json.loads((out / "evaluation.json").read_text())
    assert content["mask_values"] == values and content["colours"] == COLOURS
    evaluation_files.check_current(out, content)


def test_a_predicted_mask_that_another_program_saved_is_read_as_any_mask(tmp_path):
    """It may keep the mark of predict, and have 16 bits or colours."""
    rules = picture_labels.Rules(3, COLOURS)
    coloured = write(tmp_path / "colours.png", np.array(COLOURS, np.uint8)[truth()], ours=True)
    assert np.array_equal(picture_labels.read(coloured, rules), truth())
    deep = write(tmp_path / "deep.png", truth().astype(np.uint16) * 256, ours=True)
    with pytest.raises(InputError, match="holds the label 256: expected whole numbers 0 to 2"):
        picture_labels.read(deep, rules)


def test_only_the_value_255_is_told_to_be_a_structure_or_not_annotated(tmp_path):
    mask = write(tmp_path / "a.png", truth().astype(np.uint16) * 2550)
    with pytest.raises(InputError, match="holds the label 2550") as caught:
        picture_labels.read(mask, picture_labels.Rules(2))
    assert "--mask_values" not in str(caught.value)


@pytest.mark.parametrize("colours", [5, "red", [[0, 0, 0]]])
def test_colours_that_are_none_in_a_manifest_are_left_out(tmp_path, colours):
    folder = predicted(tmp_path / "A", truth())
    manifest = folder / "predictions.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"colours": colours}))
    write(tmp_path / "truth" / "a_gt.png", truth())
    assert compare([folder], tmp_path / "truth")["colours"] is None


def test_the_classes_of_masks_without_names_go_up_to_the_largest_label_that_is_annotated(tmp_path):
    labels = truth()
    labels[:2] = 255
    write(tmp_path / "theirs" / "a.png", truth())
    write(tmp_path / "masks" / "a.png", labels)
    values = {"0": 0, "1": 1, "2": 2, "255": 255}
    content = compare([tmp_path / "theirs"], tmp_path / "masks", None, values)
    assert content["classes"] == ["0", "1", "2"] and not content["failures"]


def test_a_predicted_label_that_is_no_class_is_refused(tmp_path):
    mask = write(tmp_path / "a_seg.png", truth(), ours=True)
    with pytest.raises(InputError, match="holds the label 2: give names for more than 2 classes, or predict again"):
        picture_labels.read(mask, picture_labels.Rules(2))
