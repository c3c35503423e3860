"""A scan far outside of what the network was trained on is named: in a line, in predictions.json and on the page."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from predicting import OBLIQUE, segmented, volume

from acdc_semicycle import Segmenter
from acdc_semicycle.artifacts.bundle_folder import lay_out
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.data import training_ranges
from acdc_semicycle.data.training_ranges import facts_of, ranges_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.report import page
from acdc_semicycle.runtime.errors import InputError


@pytest.fixture
def trained(model, tmp_path) -> Path:
    """The network with the ranges of one scan, as its training would have left them."""
    scan = volume(tmp_path / "training" / "a.nii.gz")
    training_ranges.remember_ranges(ranges_of([facts_of(volumes.read(scan), False)]), model.parent)
    return model


def ct(path: Path) -> Path:
    """A scan of the same grid with the intensities of a CT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(-1000, 900, (20, 28, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), path)
    return path


def test_a_scan_like_those_of_the_training_is_not_named(trained, tmp_path, caplog):
    case = segmented(tmp_path / "training" / "a.nii.gz", tmp_path / "out", trained)
    assert case["unlike_training"] == [] and "unlike" not in caplog.text
    page.write(tmp_path / "out")
    assert "nlike the training" not in (tmp_path / "out" / "report.html").read_text()


def test_a_ct_is_named_in_a_line_in_the_manifest_and_on_the_page(trained, tmp_path, caplog):
    scan = ct(tmp_path / "ct" / "b.nii.gz")
    case = segmented(scan, tmp_path / "out", trained)
    phrase = "negative intensities, as of CT, in training none"
    assert case["unlike_training"] == [phrase]
    (record,) = [record for record in caplog.records if "unlike" in record.getMessage()]
    assert record.getMessage() == f"{scan}: unlike the scans of the training: {phrase}"
    assert record.levelname == "WARNING"
    page.write(tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "1 of 1 cases is far outside of what the network was trained on" in text and phrase in text


def test_large_pixels_and_slices_far_apart_are_named(trained, tmp_path):
    scan = volume(tmp_path / "coarse.nii.gz", affine=np.diag([5.0, 5.0, 30.0, 1.0]))
    case = segmented(scan, tmp_path / "out", trained)
    assert case["unlike_training"] == ["pixels of 5 mm, in training 1.6", "slices 30 mm apart, in training 9"]


def test_the_python_door_has_the_same_as_remarks(trained, tmp_path):
    result = Segmenter(trained)(ct(tmp_path / "b.nii.gz"))
    assert "unlike the scans of the training: negative intensities, as of CT, in training none" in result.remarks


def test_a_network_of_before_has_no_ranges_and_names_nothing(model, tmp_path, caplog):
    assert open_model(model).ranges is None
    assert segmented(ct(tmp_path / "b.nii.gz"), tmp_path / "out", model)["unlike_training"] == []
    assert "unlike" not in caplog.text


def test_an_export_carries_the_ranges(trained, tmp_path):
    lay_out(tmp_path / "bundle", open_model(trained))
    stored = json.loads((tmp_path / "bundle" / "models" / "fingerprint.json").read_text())
    assert stored == open_model(trained).ranges == open_model(tmp_path / "bundle" / "models" / "model.pt").ranges


def test_damaged_ranges_are_refused_in_a_line(trained):
    trained.with_name("fingerprint.json").write_text('{"rows": 3}')
    with pytest.raises(InputError, match=r"fingerprint\.json lacks ranges: restore it, or remove it"):
        open_model(trained)
