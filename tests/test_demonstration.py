"""README's first command, in 8 of its 10 epochs: train on the phantom, evaluate, segment a scan, as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from processes import run

ROOT = Path(__file__).parents[1]
TRAIN = "bundles/semicycle/configs/train.json"
EVALUATE = "['bundles/semicycle/configs/train.json','bundles/semicycle/configs/evaluate.json']"

pytestmark = [pytest.mark.slow, pytest.mark.whole]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The first command of README, in 8 of its 10 epochs, of which two are validated."""
    output = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", TRAIN]
    names = {name: value for name, value in os.environ.items() if name != "ACDC_DIR"}
    command += ["--epochs", "8", "--val_interval", "4", "--output_dir", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=names)
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done


def test_the_first_command_reaches_its_dice_on_validation_patients(demo):
    output, done = demo
    path = Path(done.stdout.splitlines()[-1])
    report = json.loads(path.read_text())
    assert path == output / "validation" / "report.json"
    assert report["summary"]["dice"]["mean"] >= 0.85
    assert set(report["summary"]["iou"]) == {"mean", "RV", "MYO", "LV"}
    assert report["floor"]["dice"]["mean"] == 0
    assert {case["patient"] for case in report["cases"]} == set(report["split"]["validation"])
    assert report["part"] == "validation" and "chosen on these" in report["note"]
    assert "monai.bundle run training" in report["command"]
    said = done.stderr
    assert "no data set found" in said and "ACDC_DIR" in said
    assert said.index("no data set found") < said.index("epoch 1/")


def test_training_leaves_what_one_looks_for(demo):
    output, _ = demo
    expected = "learning_curve.csv learning_curve.png split.json models/last.pt models/model.pt models/model.json"
    expected += " validation/cases.csv validation/summary.csv validation/examples.png phantom/truth.csv"
    assert not [name for name in expected.split() if not (output / name).is_file()]
    assert list((output / "tensorboard").glob("events.*"))


def test_evaluating_reports_on_test_patients(demo):
    output, _ = demo
    done = run("-m", "monai.bundle", "run", "evaluating", "--config_file", EVALUATE, "--output_dir", output)
    path = Path(done.stdout.splitlines()[-1])
    report = json.loads(path.read_text())
    assert path == output / "test" / "report.json"
    assert {case["patient"] for case in report["cases"]} == set(report["split"]["test"])
    assert report["summary"]["dice"]["mean"] >= 0.75


def test_the_trained_network_segments_a_scan(demo, tmp_path):
    output, _ = demo
    patient = json.loads((output / "split.json").read_text())["test"][0]
    scan = output / "phantom" / "training" / patient / f"{patient}_frame01.nii.gz"
    words = ["--input", scan, "--output_dir", tmp_path, "--checkpoint", output / "models" / "model.pt"]
    run("-m", "monai.bundle", "run", "--config_file", "bundles/semicycle/configs/inference.json", *words)
    made = nibabel.load(tmp_path / f"{patient}_frame01_seg.nii.gz")
    truth = nibabel.load(scan.with_name(f"{patient}_frame01_gt.nii.gz"))
    np.testing.assert_array_equal(made.affine, truth.affine)
    lv = [np.asarray(image.dataobj) == 3 for image in (made, truth)]
    assert 2 * (lv[0] & lv[1]).sum() / (lv[0].sum() + lv[1].sum()) > 0.8
