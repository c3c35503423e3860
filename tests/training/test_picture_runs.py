"""Whole runs on tiny data sets of pictures and scans."""

import json
import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from acdc_semicycle.datasets import cityscapes, voc
from acdc_semicycle.datasets.records import BY_SLICE
from acdc_semicycle.imageio import volumes
from tests.imageio.picture_files import CONFIGS, PALETTE, ROOT, names, numbers, refused, segment, write


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("ACDC_DIR", "VOC_DIR", "CITYSCAPES_DIR"):
        monkeypatch.delenv(name, raising=False)


TINY = {"filters": 4, "blocks": 1, "d_filters": 4, "epochs": 1, "batch_size": 2, "steps_per_epoch": 3}


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


@pytest.mark.parametrize("colours", [[[0, 0, 0]], [[0, 0, 0], [255, 0, 0], [0, 255, 0]]])
def test_another_number_of_colours_than_classes_is_refused_before_training(tmp_path, colours):
    write(tmp_path / "images" / "a.png", numbers())
    write(tmp_path / "masks" / "a.png", numbers(high=2))
    data = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "classes": ["background", "cell"]}
    refused(lambda: run("own_pictures", tmp_path / "run", colours=colours, **data), "colours", "2 classes")
    assert not (tmp_path / "run").exists()
