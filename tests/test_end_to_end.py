"""The user's own commands, in processes of their own: train on the phantom, evaluate, segment a scan."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
TRAIN = "bundles/semicycle/configs/train.json"
EVALUATE = "['bundles/semicycle/configs/train.json','bundles/semicycle/configs/evaluate.json']"


def bundle(run_id: str | None, config: str, *options: str, cwd: Path = ROOT, check: bool = True, **environment: str):
    command = [sys.executable, "-m", "monai.bundle", "run", *([run_id] if run_id else []), "--config_file", config]
    names = {name: value for name, value in os.environ.items() if name != "ACDC_DIR"}
    done = subprocess.run([*command, *options], cwd=cwd, capture_output=True, text=True, env=names | environment)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The first command of README, whole."""
    output = tmp_path_factory.mktemp("demo")
    return output, bundle("training", TRAIN, "--output_dir", str(output))


@pytest.mark.slow
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


@pytest.mark.slow
def test_training_leaves_what_one_looks_for(demo):
    output, _ = demo
    expected = "learning_curve.csv learning_curve.png split.json models/last.pt models/model.pt models/model.json"
    expected += " validation/cases.csv validation/summary.csv validation/examples.png phantom/truth.csv"
    assert not [name for name in expected.split() if not (output / name).is_file()]
    assert list((output / "tensorboard").glob("events.*"))


@pytest.mark.slow
def test_evaluating_reports_on_test_patients(demo):
    output, _ = demo
    done = bundle("evaluating", EVALUATE, "--output_dir", str(output))
    path = Path(done.stdout.splitlines()[-1])
    report = json.loads(path.read_text())
    assert path == output / "test" / "report.json"
    assert {case["patient"] for case in report["cases"]} == set(report["split"]["test"])
    assert report["summary"]["dice"]["mean"] >= 0.75


@pytest.mark.slow
def test_the_trained_network_segments_a_scan(demo, tmp_path):
    output, _ = demo
    patient = json.loads((output / "split.json").read_text())["test"][0]
    scan = output / "phantom" / "training" / patient / f"{patient}_frame01.nii.gz"
    checkpoint = str(output / "models" / "model.pt")
    bundle(
        None,
        "bundles/semicycle/configs/inference.json",
        *("--input", str(scan), "--output_dir", str(tmp_path), "--checkpoint", checkpoint),
    )
    made = nibabel.load(tmp_path / f"{patient}_frame01_seg.nii.gz")
    truth = nibabel.load(scan.with_name(f"{patient}_frame01_gt.nii.gz"))
    np.testing.assert_array_equal(made.affine, truth.affine)
    lv = [np.asarray(image.dataobj) == 3 for image in (made, truth)]
    assert 2 * (lv[0] & lv[1]).sum() / (lv[0].sum() + lv[1].sum()) > 0.8


def semicycle(*words: object, check: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "acdc_semicycle", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_scans_go_in_and_a_report_comes_out(demo, tmp_path):
    run, _ = demo
    data, split = run / "phantom", json.loads((run / "split.json").read_text())
    for part in ("validation", "test"):
        out = tmp_path / part
        semicycle("predict", data, "-o", out, "--model", run, "--part", part, "--no-largest")
        semicycle("evaluate", "--pred", out, "--truth", data)
        found = json.loads((out / "predictions.json").read_text())
        assert {case["patient"] for case in found["cases"]} == set(split[part]) and found["failures"] == []
    # the two ways to a score of one network on the same patients agree
    report = json.loads((run / "validation" / "report.json").read_text())
    evaluation = json.loads((tmp_path / "validation" / "evaluation.json").read_text())
    for measure in ("dice", "iou"):
        found = evaluation["summary"][evaluation["tools"][0]][measure]
        assert found == pytest.approx(report["summary"][measure], abs=1e-6)
    assert "Expected mean Dice" in semicycle("calibrate", tmp_path / "validation", "--test", tmp_path / "test").stdout
    done = semicycle("predict", data, "-o", tmp_path / "test", "--model", run, "--part", "test", "--no-largest")
    assert "of them are done: continuing" in done.stderr
    found = json.loads((tmp_path / "test" / "predictions.json").read_text())
    assert all(0 <= case["quality"] <= 1 for case in found["cases"])
    page = Path(semicycle("report", tmp_path / "test").stdout.splitlines()[-1]).read_text()
    assert split["test"][0] in page and "Expected mean Dice" in page
    (run / "models" / "quality.json").unlink()


@pytest.mark.slow
def test_a_model_that_was_handed_on_segments_the_same(demo, tmp_path):
    run, _ = demo
    patient = json.loads((run / "split.json").read_text())["test"][0]
    scans = run / "phantom" / "training" / patient
    done = semicycle("export", "--model", run, "-o", tmp_path / "given", "--scans", scans / f"{patient}_frame01.nii.gz")
    (zipped,) = (tmp_path / "given").glob("*.zip")
    assert str(zipped) in done.stdout and "largest difference" in done.stdout
    for name, model in (("run", run), ("zip", zipped)):
        semicycle("predict", scans, "-o", tmp_path / name, "--model", model)
    for made in (tmp_path / "run").glob("*.nii.gz"):
        other = tmp_path / "zip" / made.name
        np.testing.assert_array_equal(nibabel.load(made).dataobj, nibabel.load(other).dataobj)


@pytest.mark.slow
def test_a_prediction_that_was_killed_goes_on(demo, tmp_path):
    run, _ = demo

    def made() -> list[Path]:  # whole ones: a hidden part of one that is being written is none
        return sorted((tmp_path / "out").rglob("[!.]*_seg.nii.gz"))

    words = ["predict", run / "phantom", "-o", tmp_path / "out", "--model", run]
    broken = subprocess.Popen(
        [sys.executable, "-m", "acdc_semicycle", *map(str, words)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(made()) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    broken.kill()
    broken.wait()
    before = {path: path.stat().st_mtime_ns for path in made()}
    assert 5 <= len(before) < 80, "it was over before the kill"
    done = semicycle(*words)
    after = made()
    assert len(after) == 80 and all(nibabel.load(path).shape for path in after)
    kept = [path for path, when in before.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= len(before) - 1 and f"{len(kept)} of them are done" in done.stderr


def test_it_runs_from_inside_the_bundle_and_a_wrong_folder_is_one_line(tmp_path):
    done = bundle(
        "training",
        "configs/train.json",
        *("--dataset_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")),
        cwd=ROOT / "bundles" / "semicycle",
        check=False,
        PYTHONPATH=str(ROOT),
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(errors) == 1 and "holds no patientNNN folder" in errors[0]
    assert not (tmp_path / "out" / "models").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_is_asked_to_stop_before_it_has_begun_stops_once_it_can(tmp_path, number):
    command = [sys.executable, "-m", "acdc_semicycle", "train", "--output_dir", tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        assert asked.stdout.readline().startswith("python -m monai.bundle")
        asked.send_signal(number)
        assert asked.wait(60) == 75 and f"{number.name}: ended; the same command" in asked.stderr.read()
    assert not any(tmp_path.iterdir())


TINY = ["--image_size", "[32,32]", "--filters", "2", "--blocks", "1", "--d_filters", "2", "--epochs", "4"]


def test_a_killed_run_goes_on_to_the_same_weights(phantom_dir, tmp_path):
    options = [*TINY, "--dataset_dir", str(phantom_dir), "--num_workers", "0"]
    bundle("training", TRAIN, *options, "--output_dir", str(tmp_path / "whole"))

    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", TRAIN, *options]
    broken = subprocess.Popen(
        [*command, "--output_dir", str(tmp_path / "broken")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "ACDC_DIR"},
    )
    last = tmp_path / "broken" / "models" / "last.pt"
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    broken.kill()
    broken.wait()
    assert torch.load(last, weights_only=True)["progress"]["epoch"] < 4, "it was over before the kill"
    bundle("training", TRAIN, *options, "--output_dir", str(tmp_path / "broken"))

    states = [
        torch.load(tmp_path / name / "models" / "last.pt", weights_only=True)["objective"]
        for name in ("whole", "broken")
    ]
    for name, weights in states[0].items():
        if isinstance(weights, torch.Tensor):
            assert torch.equal(weights, states[1][name]), name
    curves = [(tmp_path / name / "learning_curve.csv").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]
