"""``semicycle plan``: what it says of a data set, the overlay it writes, and what it refuses."""

import json
import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from acdc_semicycle import cli
from acdc_semicycle.config import plan, plan_file, plan_time
from acdc_semicycle.config.command_parser import parser_of
from acdc_semicycle.config.locations import overlay
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.plan_sizes import sizes
from acdc_semicycle.data.fingerprint import CaseFacts
from acdc_semicycle.datasets import phantom
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError


@pytest.fixture
def semicycle(monkeypatch, capsys, tmp_path):
    """Run ``semicycle plan`` with words, its steps taken for half a second; the exit code, and what it printed."""
    monkeypatch.delenv("ACDC_DIR", raising=False)
    monkeypatch.setattr(plan_time, "time_of", lambda *_: plan_time.Time(0.5, 200, 60, 120.0))
    monkeypatch.chdir(tmp_path)

    def run(*words) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["semicycle", "plan", *map(str, words)])
        code = cli.main()
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def scans(root: Path, images: str, masks: str, count: int, labelled: int, values=(0, 1), ending: str = "") -> Path:
    """Volumes of noise, and masks of small boxes for the first of them."""
    (root / images).mkdir(parents=True)
    (root / masks).mkdir(parents=True)
    for n in range(count):
        voxels = np.random.default_rng(n).uniform(0, 100, (32, 32, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 8, 1])), root / images / f"s{n}{ending}.nii.gz")
        labels = np.full((32, 32, 4), values[0], np.uint8)
        for place, value in enumerate(values[1:]):
            labels[8 * place + n : 8 * place + n + 6, 4:12] = value
        if n < labelled:
            nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2, 8, 1])), root / masks / f"s{n}.nii.gz")
    return root


def written(path: Path = Path("plan.yaml")) -> dict:
    return yaml.safe_load(path.read_text())


def test_acdc_needs_its_folder_and_what_differs_from_the_recipe(semicycle, phantom_dir):
    code, text = semicycle(phantom_dir)
    assert code == 0, text
    assert written() == {"dataset_dir": str(phantom_dir), "image_size": [32, 32], "window": [32, 32]}
    assert text.startswith(f"ACDC: {phantom_dir}\n  images       16: 16 with a mask, of 8 patients; none without\n")
    assert "5 labelled, 0 unlabelled, 1 validated, 2 tested: by patient" in text
    assert "about 102: 60 epochs of 200 steps, 0.50 s a step" in text
    assert text.endswith("plan.yaml can be edited; then\nsemicycle train few plan.yaml\n")


def test_the_training_takes_the_plan(semicycle, phantom_dir):
    assert semicycle(phantom_dir)[0] == 0
    parser = parser_of([overlay("few"), "plan.yaml"], [])
    assert len(value_of(parser, "split").labelled) == 5
    assert value_of(parser, "image_size") == [32, 32] and value_of(parser, "class_count") == 4


def test_a_plan_that_was_edited_is_left_as_it_is(semicycle, phantom_dir):
    assert semicycle(phantom_dir)[0] == semicycle(phantom_dir)[0] == 0, "one as it was written is replaced"
    edited = Path("plan.yaml").read_text().replace("[32, 32]", "[64, 64]")
    Path("plan.yaml").write_text(edited)
    code, text = semicycle(phantom_dir)
    assert (code, text) == (
        2,
        "error: plan.yaml was edited, or is no plan: it is left as it is, give another --output\n",
    )
    assert Path("plan.yaml").read_text() == edited
    assert semicycle(phantom_dir, "-o", "second.yaml")[0] == 0 and written(Path("second.yaml"))["image_size"] == [
        32,
        32,
    ]


def test_a_plan_of_other_data_is_left_as_it_is(semicycle, phantom_dir, tmp_path):
    assert semicycle(phantom_dir)[0] == 0
    before = Path("plan.yaml").read_bytes()
    code, text = semicycle(scans(tmp_path / "my", "images", "masks", 3, 3))
    assert code == 2 and f"plan.yaml is a plan of {phantom_dir}: give another --output" in text
    assert Path("plan.yaml").read_bytes() == before


@pytest.mark.parametrize(("name", "words"), [("plan.txt", "name of a .yaml file"), ("folder.yaml", "is a folder")])
def test_a_name_that_is_no_overlays_is_refused_before_anything_is_read(semicycle, tmp_path, name, words):
    (tmp_path / "folder.yaml").mkdir()
    code, text = semicycle("nowhere", "-o", name)
    assert code == 2 and words in text and text.count("\n") == 1


def test_nnunets_layout_gives_folders_classes_and_who_is_unlabelled(semicycle, tmp_path):
    root = scans(tmp_path / "Dataset001", "imagesTr", "labelsTr", 4, 3, (0, 1, 2), "_0000")
    labels = {"background": 0, "RV": 1, "LV": 2}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "channel_names": {"0": "MR"}}))
    code, text = semicycle(root)
    assert code == 0 and text.startswith("nnU-Net's layout: ")
    plan = written()
    assert plan["images"] == str(root / "imagesTr") and plan["masks"] == str(root / "labelsTr")
    assert plan["classes"] == ["background", "RV", "LV"] and plan["dataset"] == "own_scans" and "labelled" not in plan
    assert "3 labelled, 1 unlabelled, 0 validated, 0 tested: fewer than five with masks" in text
    assert "--folds leave-one-out scores each" in text and "no classes are given" not in text
    parser = parser_of([overlay("few"), "plan.yaml"], [])
    assert value_of(parser, "split").unlabelled == ("s3_0000",)


def test_without_names_classes_are_called_by_their_number_and_a_line_says_so(semicycle, tmp_path):
    root = scans(tmp_path / "my", "imagesTr", "labelsTr", 3, 3, (0, 1, 2))
    code, text = semicycle(root)
    assert code == 0 and "note: no classes are given: they are called background, class_1, class_2; give" in text
    assert written()["classes"] == ["background", "class_1", "class_2"]
    assert semicycle(root, "--classes", "background", "liver", "spleen")[0] == 0
    assert written()["classes"] == ["background", "liver", "spleen"]


def test_values_that_do_not_tell_their_classes_are_asked_for(semicycle, tmp_path):
    root = scans(tmp_path / "my", "images", "masks", 3, 3, (0, 255))
    code, text = semicycle(root)
    assert code == 2 and """give --mask_values "{'0':0,'255':1}" if that is their order""" in text
    assert text.count("\n") == 1 and not Path("plan.yaml").exists()
    assert semicycle(root, "--mask_values", "{'0':0,'255':1}")[0] == 0
    assert written()["mask_values"] == {"0": 0, "255": 1} and written()["classes"] == ["background", "class_1"]


def test_255_beside_classes_is_not_annotated_and_a_line_says_so(semicycle, tmp_path):
    code, text = semicycle(scans(tmp_path / "my", "images", "masks", 3, 3, (0, 1, 255)))
    assert code == 0 and "note: 255 in the masks is taken for not annotated" in text
    assert written()["mask_values"] == {"0": 0, "1": 1, "255": 255}


@pytest.mark.parametrize(
    ("grey", "bits", "channels", "span"), [(True, 8, 1, [0, 255]), (False, 8, 3, [0, 255]), (True, 16, 1, None)]
)
def test_pictures_tell_their_channels_and_their_range(semicycle, tmp_path, grey, bits, channels, span):
    for part in ("images", "masks"):
        (tmp_path / "my" / part).mkdir(parents=True)
    for n in range(4):
        random = np.random.default_rng(n)
        colour = random.integers(0, 255, (48, 48, 3), np.uint8)
        image = colour[..., 0] if grey else colour
        Image.fromarray(image.astype(np.uint16) * 200 if bits == 16 else image).save(tmp_path / f"my/images/p{n}.png")
        mask = np.zeros((48, 48), np.uint8)
        mask[n : n + 9, 3:9] = 1
        Image.fromarray(mask).save(tmp_path / f"my/masks/p{n}.png")
    code, text = semicycle(tmp_path / "my", "--classes", "background", "cell")
    assert code == 0, text
    plan = written()
    assert (plan["dataset"], plan["channels"], plan["intensity_range"]) == ("own_pictures", channels, span)
    assert "spacing" not in text


def test_minutes_and_labelled_are_kept_in_the_plan(semicycle, phantom_dir):
    code, text = semicycle(phantom_dir, "--minutes", "30", "--labelled", "2")
    assert code == 0 and "30: about 16 epochs of 200 steps" in text and "2 labelled, 3 unlabelled" in text
    assert written()["minutes"] == 30 and written()["labelled"] == 2
    assert "give a number above 0" in semicycle(phantom_dir, "--minutes", "soon")[1]
    code, text = semicycle(phantom_dir, "--minutes", "2", "-o", "short.yaml")
    assert code == 2 and "error: --minutes is 2: give at least 3.7" in text and not Path("short.yaml").exists()
    assert "labelled is 99 patients: give 1 to 5" in semicycle(phantom_dir, "--labelled", "99")[1]


def test_one_patient_with_a_mask_is_planned_and_told_that_nobody_is_scored(semicycle, tmp_path):
    code, text = semicycle(scans(tmp_path / "my", "images", "masks", 3, 1), "--classes", "background", "liver")
    assert code == 0 and "1 labelled, 2 unlabelled, 0 validated" in text
    assert "none: one patient with masks cannot be scored" in text


def test_a_class_that_one_patient_has_alone_is_named(semicycle, tmp_path):
    root = scans(tmp_path / "my", "images", "masks", 3, 3)
    labels = nib.load(root / "masks/s1.nii.gz")
    voxels = np.asarray(labels.dataobj).copy()
    voxels[20:25, 20:25] = 2
    nib.save(nib.Nifti1Image(voxels, labels.affine), root / "masks/s1.nii.gz")
    code, text = semicycle(root, "--classes", "background", "liver", "tumour")
    assert code == 0 and "note: tumour is drawn in s1 alone" in text and "liver is drawn" not in text


def refused(semicycle, root) -> str:
    """What a data set with faults is told; nothing is written."""
    code, text = semicycle(root)
    assert code == 2 and not Path("plan.yaml").exists()
    return text


def test_faults_are_named_a_line_each_and_nothing_is_written(semicycle, tmp_path, phantom_dir):
    none = scans(tmp_path / "none", "images", "masks", 2, 0)
    assert "there is nothing to learn from" in refused(semicycle, none)
    other = scans(tmp_path / "other", "images", "masks", 2, 2)
    nib.save(nib.Nifti1Image(np.ones((16, 16, 4), np.uint8), np.eye(4)), other / "masks/s0.nii.gz")
    assert "s0.nii.gz" in refused(semicycle, other)
    twice = tmp_path / "twice"
    for part in ("training", "testing"):
        shutil.copytree(phantom_dir / "training/patient001", twice / part / "patient001")
    assert "patient001" in refused(semicycle, twice)
    copies = scans(tmp_path / "copies", "images", "masks", 3, 2)
    shutil.copy(copies / "images/s0.nii.gz", copies / "images/s2.nii.gz")
    assert "has the same voxels as" in refused(semicycle, copies)
    assert "no data set is given" in semicycle()[1] and "is not a folder" in semicycle("--images", "nowhere")[1]
    (tmp_path / "a#b").mkdir()
    assert "has a name that a plan cannot hold" in refused(semicycle, tmp_path / "a#b")


def test_keys_that_are_none_of_data_are_refused_with_those_that_are(semicycle, phantom_dir):
    code, text = semicycle(phantom_dir, "--epochs", "3")
    assert code == 2 and "--epochs says nothing of the data: semicycle plan takes a folder, -o" in text


def facts(size, structures) -> CaseFacts:
    record = Record("a", "a", Path("a.nii.gz"), Path("a_gt.nii.gz"))
    return CaseFacts(record, (*size, 10), None, (0.0, 0.0, 1.0, 2.0, 2.0), structures=structures)


@pytest.mark.parametrize(
    ("size", "structures", "image_size", "window"),
    [
        ((256, 216), (90, 80), (256, 256), (128, 128)),  # ACDC: as few has
        ((512, 512), (100, 100), (512, 512), (128, 128)),
        ((512, 512), (150, 140), (512, 512), (160, 160)),
        ((512, 512), (384, 300), (256, 256), (192, 192)),  # half the size: 192 of 256
        ((96, 96), (30, 30), (96, 96), (96, 96)),
        ((160, 320), (160, 320), (96, 192), (96, 192)),  # all of the picture
        ((1024, 2048), (100, 100), (512, 512), (128, 128)),
        ((256, 256), None, (256, 256), (128, 128)),
        ((20, 20), (5, 5), (32, 32), (32, 32)),
    ],
)
def test_slices_keep_their_resolution_and_windows_hold_the_structures(size, structures, image_size, window):
    chosen = sizes([facts(size, structures)], (256, 256), (128, 128))
    assert (chosen.image_size, chosen.window) == (image_size, window)
    assert all(side % 16 == 0 for side in chosen.image_size + chosen.window)


def test_the_minutes_are_those_of_steps_validations_and_the_start():
    assert plan_time.Time(step=0.5, steps=200, epochs=60, around=300.0).minutes == 105
    with pytest.raises(InputError, match=r"--minutes is 6: give at least 6\.7"):
        plan._minutes(plan_time.Time(0.5, 200, 60, 300.0), 6)


def test_a_plan_knows_whether_it_was_edited(tmp_path):
    path = tmp_path / "p.yaml"
    plan_file.write(path, "DATA", "COMMAND", {"window": [64, 64], "patient": "^(.+?)_"}, {"window": "why"})
    assert "# why\nwindow: [64, 64]\n" in path.read_text() and plan_file.is_as_written(path)
    path.write_text(path.read_text().replace("why", "because"))
    assert not plan_file.is_as_written(path)


@pytest.mark.slow
def test_the_time_of_a_step_is_measured_on_some_patients_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    root = tmp_path / "phantom"
    phantom.write(root, patients=6, size=(32, 32, 6), unlabelled=["patient006"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["semicycle", "plan", str(root)])
    assert cli.main() == 0
    text = capsys.readouterr().out
    assert re.search(r"about \d+: 80 epochs of 200 steps, \d+\.\d\d s a step", text), text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phantom", "plan.yaml"]
