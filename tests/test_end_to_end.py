"""The user's own commands, one after another, in processes of their own, with a network of the tests' size."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from processes import ROOT, run, start

TRAIN = "bundles/semicycle/configs/train.json"
TINY = ["--image_size", "[32,32]", "--filters", "2", "--blocks", "1", "--d_filters", "2", "--num_workers", "0"]


def semicycle(*words: object) -> subprocess.CompletedProcess:
    return run("-m", "acdc_semicycle", *words)


@pytest.fixture(scope="module")
def trained(phantom_dir, tmp_path_factory) -> Path:
    """A run of two epochs with four patients to choose the network on. Read only."""
    output = tmp_path_factory.mktemp("trained")
    parts = ["--labelled", "1", "--validation", "0.5", "--test", "0.25"]
    where = ["--dataset_dir", phantom_dir, "--output_dir", output]
    run("-m", "monai.bundle", "run", "training", "--config_file", TRAIN, *TINY, "--epochs", "2", *parts, *where)
    return output


def test_scans_go_in_and_a_report_comes_out(trained, phantom_dir, tmp_path):
    model = tmp_path / "model" / "models"
    shutil.copytree(trained / "models", model)
    shutil.copy(trained / "split.json", model.parent)
    data, split = phantom_dir, json.loads((trained / "split.json").read_text())
    for part in ("validation", "test"):
        out = tmp_path / part
        semicycle("predict", data, "-o", out, "--model", model.parent, "--part", part, "--no-largest")
        semicycle("evaluate", "--pred", out, "--truth", data)
        found = json.loads((out / "predictions.json").read_text())
        assert {case["patient"] for case in found["cases"]} == set(split[part]) and found["failures"] == []
    # the two ways to a score of one network on the same patients agree
    report = json.loads((trained / "validation" / "report.json").read_text())
    evaluation = json.loads((tmp_path / "validation" / "evaluation.json").read_text())
    for measure in ("dice", "iou"):
        found = evaluation["summary"][evaluation["tools"][0]][measure]
        assert found == pytest.approx(report["summary"][measure], abs=1e-6)
    assert "Expected mean Dice" in semicycle("calibrate", tmp_path / "validation", "--test", tmp_path / "test").stdout
    words = ["predict", data, "-o", tmp_path / "test", "--model", model.parent, "--part", "test", "--no-largest"]
    assert "of them are done: continuing" in semicycle(*words).stderr
    found = json.loads((tmp_path / "test" / "predictions.json").read_text())
    assert all(0 <= case["quality"] <= 1 for case in found["cases"])
    page = Path(semicycle("report", tmp_path / "test").stdout.splitlines()[-1]).read_text()
    assert split["test"][0] in page and "Expected mean Dice" in page


def test_a_model_that_was_handed_on_segments_the_same(trained, phantom_dir, tmp_path):
    patient = json.loads((trained / "split.json").read_text())["test"][0]
    scans = phantom_dir / "training" / patient
    words = ["export", "--model", trained, "-o", tmp_path / "given", "--scans", scans / f"{patient}_frame01.nii.gz"]
    done = semicycle(*words)
    (zipped,) = (tmp_path / "given").glob("*.zip")
    assert str(zipped) in done.stdout and "largest difference" in done.stdout
    for name, model in (("run", trained), ("zip", zipped)):
        semicycle("predict", scans, "-o", tmp_path / name, "--model", model)
    segmented = list((tmp_path / "run").glob("*.nii.gz"))
    assert len(segmented) == 2
    for path in segmented:
        of_run, of_zip = (np.asarray(nibabel.load(tmp_path / name / path.name).dataobj) for name in ("run", "zip"))
        assert len(np.unique(of_run)) > 1
        np.testing.assert_array_equal(of_run, of_zip)


def test_a_prediction_that_was_killed_goes_on(trained, phantom_dir, tmp_path):
    scan = next(phantom_dir.rglob("*_frame01.nii.gz"))
    (tmp_path / "in").mkdir()
    for number in range(80):
        (tmp_path / "in" / f"scan{number}.nii.gz").symlink_to(scan)

    def segmented() -> list[Path]:  # whole ones: a hidden part of one that is being written is none
        return sorted((tmp_path / "out").rglob("[!.]*_seg.nii.gz"))

    words = ["predict", tmp_path / "in", "-o", tmp_path / "out", "--model", trained]
    broken = start("-m", "acdc_semicycle", *words)
    deadline = time.monotonic() + 120
    while len(segmented()) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    broken.kill()
    broken.join()
    before = {path: path.stat().st_mtime_ns for path in segmented()}
    assert 5 <= len(before) < 80, "it was over before the kill"
    done = semicycle(*words)
    after = segmented()
    assert len(after) == 80 and all(nibabel.load(path).shape for path in after)
    kept = [path for path, when in before.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= len(before) - 1 and f"{len(kept)} of them are done" in done.stderr


def test_it_runs_from_inside_the_bundle_and_a_wrong_folder_is_one_line(tmp_path):
    where = ["--dataset_dir", tmp_path, "--output_dir", tmp_path / "out"]
    words = ["run", "training", "--config_file", "configs/train.json", *where]
    done = run("-m", "monai.bundle", *words, cwd=ROOT / "bundles" / "semicycle", check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(errors) == 1 and "holds no patientNNN folder" in errors[0]
    assert not (tmp_path / "out" / "models").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_is_asked_to_stop_before_it_has_begun_stops_once_it_can(tmp_path, number):
    command = [sys.executable, "-m", "acdc_semicycle", "train", "--output_dir", tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        assert asked.stdout.readline().startswith("python -m monai.bundle")
        asked.send_signal(number)
        assert asked.wait(60) == 75 and f"{number.name}: ended; the same command" in asked.stderr.read()
    assert not any(tmp_path.iterdir())


def test_a_killed_run_goes_on_to_the_same_weights(phantom_dir, tmp_path):
    options = [*TINY, "--epochs", "4", "--dataset_dir", phantom_dir]
    words = ["run", "training", "--config_file", TRAIN, *options, "--output_dir"]
    run("-m", "monai.bundle", *words, tmp_path / "whole")
    broken = start("-m", "monai.bundle", *words, tmp_path / "broken")
    last = tmp_path / "broken" / "models" / "last.pt"
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    broken.kill()
    broken.join()
    assert torch.load(last, weights_only=True)["progress"]["epoch"] < 4, "it was over before the kill"
    run("-m", "monai.bundle", *words, tmp_path / "broken")

    states = [
        torch.load(tmp_path / name / "models" / "last.pt", weights_only=True)["objective"]
        for name in ("whole", "broken")
    ]
    for name, weights in states[0].items():
        if isinstance(weights, torch.Tensor):
            assert torch.equal(weights, states[1][name]), name
    curves = [(tmp_path / name / "learning_curve.csv").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]
