"""A label map lies on its scan's own grid, however the scan is stored."""

import itertools
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from predicting import OBLIQUE, in_the_patient, made, run, segmented, volume

from acdc_semicycle.artifacts.chosen_model import model_for
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.methods.networks import ResidualGenerator


@pytest.mark.parametrize("shape", [(20, 28, 5), (31, 17, 3), (20, 28, 1)])
def test_a_label_map_lies_on_the_scans_own_grid(tmp_path, model, shape):
    scan = volume(tmp_path / "in" / "case.v1.nii.gz", shape)
    run(scan, tmp_path / "out", model)
    target = tmp_path / "out" / "case.v1_seg.nii.gz"
    given, made = nibabel.load(scan), nibabel.load(target)
    assert made.shape == given.shape and made.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(made.affine, given.affine)
    np.testing.assert_allclose(made.header.get_zooms(), given.header.get_zooms())
    assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (
        int(given.header["qform_code"]),
        int(given.header["sform_code"]),
    )
    given, made = sitk.ReadImage(str(scan)), sitk.ReadImage(str(target))
    assert made.GetSize() == given.GetSize()
    for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(made, geometry)(), getattr(given, geometry)(), atol=1e-5)
    assert set(np.unique(sitk.GetArrayFromImage(made))) <= {0, 1, 2, 3}


def test_the_label_map_is_the_argmax_of_the_network_slice_by_slice(tmp_path, model):
    # at the network's own resolution nothing is resampled: the plain loop must give the same labels
    scan = volume(tmp_path / "scan.nii.gz", (24, 32, 4))
    run(scan, tmp_path / "out", model)
    network = ResidualGenerator(1, 4, filters=2, blocks=1)
    network.load_state_dict(torch.load(model, weights_only=True))
    voxels = nibabel.load(scan).get_fdata()
    low, high = np.percentile(voxels, (0.5, 99.5))
    scaled = torch.tensor(np.clip((voxels - low) / (high - low), 0, 1) * 2 - 1, dtype=torch.float32)
    with torch.no_grad():
        labels = [network.eval()(scaled[None, None, :, :, z])[0].argmax(0).numpy() for z in range(4)]
    made = np.asarray(nibabel.load(tmp_path / "out" / "scan_seg.nii.gz").dataobj)
    assert (made == np.stack(labels, -1)).mean() > 0.999


def test_what_the_network_was_trained_on_and_how_good_it_is_is_said(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    card = json.loads(model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(card | {"dataset": "acdc", "validation": {"dice": 0.0289}}))
    run(volume(tmp_path / "scan.nii.gz"), tmp_path / "out", model)
    assert f"1 image, network {model} (acdc, validation Dice 0.029)" in caplog.text


def test_one_voxel_is_not_constant(tmp_path, model):
    volume(tmp_path / "in" / "scan.nii.gz", (1, 1, 1))
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["scan_seg.nii.gz"]


def test_an_odd_header_is_carried_over_as_it_is(tmp_path, model):
    """A quaternion that is none, not in use, and a unit that NIfTI does not know."""
    path = volume(tmp_path / "scan.nii")
    image = nibabel.load(path)
    header = image.header.copy()
    for name, value in {"qform_code": 0, "quatern_b": 3.0, "xyzt_units": 5}.items():
        header[name] = value
    nibabel.save(nibabel.Nifti1Image(np.array(image.dataobj), None, header), path)
    run(path, tmp_path / "out", model)
    made = nibabel.load(tmp_path / "out" / "scan_seg.nii.gz")
    np.testing.assert_array_equal(made.affine, nibabel.load(path).affine)
    assert int(made.header["qform_code"]) == 0


def test_a_network_of_the_phantom_comes_after_all_others_and_is_named(tmp_path, model, caplog):
    for age, name in enumerate(("real", "phantom")):
        path = tmp_path / "runs" / name / "models" / "model.pt"
        shutil.copytree(model.parent, path.parent)
        card = json.loads(model.with_suffix(".json").read_text()) | {"dataset": name}
        path.with_suffix(".json").write_text(json.dumps(card))
        os.utime(path, (age, age))
    assert model_for("bundle", runs=tmp_path / "runs").parts[-3] == "real"
    run(volume(tmp_path / "scan.nii"), tmp_path / "out", path)
    assert "trained on the phantom" in caplog.text


def test_nothing_of_the_inputs_text_is_copied(tmp_path, model):
    run(volume(tmp_path / "scan.nii"), tmp_path / "out", model)
    header = nibabel.load(tmp_path / "out" / "scan_seg.nii.gz").header
    assert b"Jane" not in header.binaryblock


@pytest.mark.slow
def test_the_mask_is_the_same_in_all_48_orders_of_storage(tmp_path, model):
    voxels = np.random.default_rng(0).integers(0, 900, (20, 28, 5)).astype(np.int16)
    scans = {}
    for order in itertools.permutations(range(3)):
        for flipped in itertools.product((False, True), repeat=3):
            stored = Layout(order, flipped)
            name = "".join(map(str, order)) + "".join("-" if flip else "+" for flip in flipped)
            image = nibabel.Nifti1Image(stored.apply(voxels), stored.affine(OBLIQUE, voxels.shape))
            (tmp_path / "in").mkdir(exist_ok=True)
            nibabel.save(image, tmp_path / "in" / f"{name}.nii")
            scans[name] = image
    run(tmp_path / "in", tmp_path / "out", model)
    expected = in_the_patient(tmp_path / "out" / "012+++_seg.nii.gz")
    assert len(scans) == 48 and len(np.unique(expected)) > 1
    for name, image in scans.items():
        path = tmp_path / "out" / f"{name}_seg.nii.gz"
        np.testing.assert_array_equal(in_the_patient(path), expected, name)
        assert nibabel.load(path).shape == image.shape
        np.testing.assert_allclose(nibabel.load(path).affine, image.affine, atol=1e-5)


def test_the_mask_is_the_same_in_every_container_and_type(tmp_path, model):
    values = np.random.default_rng(0).integers(0, 120, (20, 28, 5)) * 2
    (tmp_path / "in").mkdir()
    like = volumes.Volume(values[..., None], OBLIQUE)
    for kind in (np.uint8, np.int16, np.uint16, np.float32):
        for end in (".nii", ".nii.gz", ".nrrd", ".mha"):
            volumes.save(tmp_path / "in" / f"{kind.__name__}{end}", values.astype(kind), like)
    for slope, inter in ((2.0, 0.0), (0.5, -10.0), (1.0, 3.0)):
        image = nibabel.Nifti1Image(((values - inter) / slope).astype(np.int16), OBLIQUE)
        image.header.set_slope_inter(slope, inter)
        path = tmp_path / "in" / f"slope {slope} {inter}.nii"
        nibabel.save(image, path)
        raw = bytearray(path.read_bytes())  # nibabel resets what it writes
        raw[112:120] = np.array([slope, inter], "<f4").tobytes()
        start = int(np.frombuffer(raw[108:112], "<f4")[0])
        raw[start:] = ((values - inter) / slope).astype("<i2").tobytes(order="F")
        path.write_bytes(raw)
    detached = sitk.ReadImage(str(tmp_path / "in" / "int16.nrrd"))
    sitk.WriteImage(detached, str(tmp_path / "in" / "detached.mhd"))
    run(tmp_path / "in", tmp_path / "out", model)
    found = made(tmp_path / "out")
    assert len(found) == 20
    expected = in_the_patient(tmp_path / "out" / "int16_nii_seg.nii.gz")
    assert len(np.unique(expected)) > 1
    for name in found:
        np.testing.assert_array_equal(in_the_patient(tmp_path / "out" / name), expected, name)
    assert {"int16_seg.nrrd", "int16_seg.mha", "detached_seg.mha"} <= set(found)


@pytest.mark.parametrize("format", ["nii.gz", "nrrd", "mha"])
def test_a_format_can_be_asked_for(tmp_path, model, format):
    scan = volume(tmp_path / "scan.nii.gz")
    run(scan, tmp_path / "out", model, format=format)
    run(scan, tmp_path / "plain", model)
    assert made(tmp_path / "out") == [f"scan_seg.{format}"]
    found = volumes.read(tmp_path / "out" / f"scan_seg.{format}")
    expected = volumes.read(tmp_path / "plain" / "scan_seg.nii.gz")
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)


def test_an_unknown_format_is_refused(tmp_path, model):
    with pytest.raises(RuntimeError) as caught:
        run(volume(tmp_path / "scan.nii"), tmp_path / "out", model, format="dcm")
    assert "give nii.gz, nrrd or mha" in str(caught.value.__cause__)


def test_probabilities_are_those_the_labels_come_from(tmp_path, model):
    run(volume(tmp_path / "scan.nii.gz"), tmp_path / "out", model, probabilities=True)
    labels = volumes.read(tmp_path / "out" / "scan_seg.nii.gz").voxels[..., 0]
    probabilities = volumes.read(tmp_path / "out" / "scan_prob.nii.gz", frames=True).voxels
    assert probabilities.shape == (20, 28, 5, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-3)
    np.testing.assert_array_equal(probabilities.argmax(-1), labels)


def test_a_one_slice_volume_stays_a_volume_wherever_its_slice_is(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz", (1, 20, 28))
    case = segmented(scan, tmp_path / "out", model)
    assert nibabel.load(tmp_path / "out" / "scan_seg.nii.gz").shape == (1, 20, 28)
    assert case["shape"] == [1, 20, 28]


@pytest.mark.parametrize("flipped", [(True, False, False), (False, True, False), (False, False, True)])
def test_probabilities_lie_over_their_labels_however_the_scan_is_stored(tmp_path, model, flipped):
    stored = Layout((2, 0, 1), flipped)
    shape, affine = (20, 28, 5), np.diag([1.4, 1.6, 9.0, 1.0])
    voxels = np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(stored.apply(voxels), stored.affine(affine, shape)), tmp_path / "a.nii")
    run(tmp_path / "a.nii", tmp_path / "out", model, probabilities=True)
    labels = volumes.read(tmp_path / "out" / "a_seg.nii.gz").voxels[..., 0]
    probabilities = volumes.read(tmp_path / "out" / "a_prob.nii.gz", frames=True).voxels
    np.testing.assert_array_equal(probabilities.argmax(-1), labels)
