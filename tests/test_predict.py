"""New scans: what is found, where the label maps go, and that they lie on the scans' own grids."""

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigWorkflow

from acdc_semicycle import checkpoints, predict
from acdc_semicycle.errors import InputError
from acdc_semicycle.networks import ResidualGenerator

CONFIG = Path(__file__).parents[1] / "bundles" / "semicycle" / "configs" / "inference.json"


@pytest.fixture
def model(tmp_path) -> Path:
    """A small network with its card, as training leaves them; not trained."""
    torch.manual_seed(0)
    path = tmp_path / "models" / "model.pt"
    checkpoints.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    return path


def volume(path: Path, shape=(20, 28, 5), affine=None, dtype=np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(0, 900, shape).astype(dtype)
    image = nibabel.Nifti1Image(voxels, OBLIQUE if affine is None else affine)
    image.header["descrip"] = b"Jane Doe"
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def _oblique() -> np.ndarray:
    a, b = np.cos(0.5), np.sin(0.5)
    rotation = np.array([[a, -b, 0], [b * a, a * a, -b], [b * b, a * b, a]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * [1.4, 1.6, 9.0]
    affine[:3, 3] = [-70, 33, 12]
    return affine


OBLIQUE = _oblique()


def run(source, output, model) -> None:
    flow = ConfigWorkflow(
        str(CONFIG),
        workflow_type="infer",
        logging_file=False,
        input=str(source),
        output_dir=str(output),
        checkpoint=str(model),
    )
    flow.initialize()
    flow.run()


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


def test_a_folder_keeps_its_tree_and_masks_and_cines_are_left_alone(tmp_path, model, phantom_dir):
    folder = tmp_path / "in"
    shutil.copytree(phantom_dir / "training" / "patient001", folder / "a" / "patient001")
    volume(folder / "a" / "patient001" / "patient001_4d.nii.gz", (32, 32, 6, 2))
    volume(folder / "b" / "frame.nii")
    run(folder, tmp_path / "out", model)
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == [
        "a/patient001/patient001_frame01_seg.nii.gz",
        "a/patient001/patient001_frame10_seg.nii.gz",
        "b/frame_seg.nii.gz",
    ]


def test_a_second_run_into_the_inputs_folder_does_not_segment_its_own_output(tmp_path, model):
    volume(tmp_path / "in" / "scan.nii.gz")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "in", model)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["scan.nii.gz", "scan_seg.nii.gz"]


def test_one_bad_scan_costs_one_line_and_not_the_others(tmp_path, model):
    good = volume(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "cut.nii.gz").write_bytes(good.read_bytes()[:300])
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    message = str(caught.value.__cause__)
    assert "1 of 2 files" in message and "cut.nii.gz" in message and "truncated" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good_seg.nii.gz"]


def test_two_scans_of_one_name_are_not_written_over_each_other(tmp_path, model):
    volume(tmp_path / "in" / "a.nii")
    volume(tmp_path / "in" / "a.nii.gz", (24, 24, 3))
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert "have one name" in str(caught.value.__cause__)
    assert nibabel.load(tmp_path / "out" / "a_seg.nii.gz").shape == (20, 28, 5)


def test_a_users_own_file_is_not_overwritten(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    mine = volume(tmp_path / "in" / "a_seg.nii.gz")
    before = mine.read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "in", model)
    assert "was not written by this program" in str(caught.value.__cause__)
    assert mine.read_bytes() == before


def test_what_lies_below_the_output_folder_is_no_scan(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "in" / "out", model)
    assert [path.name for path in (tmp_path / "in" / "out").iterdir()] == ["a_seg.nii.gz"]


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


def test_a_network_of_the_phantom_comes_last_and_is_named(tmp_path, model, caplog):
    for age, name in enumerate(("real", "phantom")):
        path = tmp_path / "runs" / name / "models" / "model.pt"
        shutil.copytree(model.parent, path.parent)
        card = json.loads(model.with_suffix(".json").read_text()) | {"dataset": name}
        path.with_suffix(".json").write_text(json.dumps(card))
        os.utime(path, (age, age))
    assert predict.newest_model("bundle", tmp_path / "runs").parts[-3] == "real"
    run(volume(tmp_path / "scan.nii"), tmp_path / "out", path)
    assert "trained on the phantom" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_an_input_that_is_none_is_refused(tmp_path, model, content):
    path = tmp_path / "scan.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"scan\.nii\.gz"):
        predict.Scans(path, tmp_path)


def test_a_folder_without_scans_and_no_input_at_all_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        predict.Scans(tmp_path / "empty", tmp_path)
    with pytest.raises(InputError, match="--input"):
        predict.Scans(None, tmp_path)


def test_nothing_of_the_inputs_text_is_copied(tmp_path, model):
    run(volume(tmp_path / "scan.nii"), tmp_path / "out", model)
    header = nibabel.load(tmp_path / "out" / "scan_seg.nii.gz").header
    assert b"Jane" not in header.binaryblock


def test_a_checkpoint_of_another_architecture_is_refused_and_nothing_written(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    model.with_suffix(".json").write_text(json.dumps({"filters": 4, "blocks": 1, "image_size": [24, 32]}))
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model)
    assert "another architecture" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_the_newest_model_below_runs_is_taken(tmp_path):
    assert predict.newest_model("bundle", tmp_path) == Path("bundle/models/model.pt")
    for age, name in enumerate(("old", "new")):
        path = tmp_path / name / "models" / "model.pt"
        checkpoints.save(path, {"weight": torch.zeros(1)})
        os.utime(path, (age, age))
    assert predict.newest_model("bundle", tmp_path).parts[-3] == "new"


def test_a_network_that_is_not_there_is_named_before_all_else(tmp_path, model):
    run_folder = tmp_path / "run"
    (run_folder / "models").mkdir(parents=True)
    (run_folder / "models" / "model.pt").write_bytes(b"")
    for path, words in ((run_folder, r"did you mean .*models/model.pt\?"), (tmp_path / "no.pt", "train first")):
        with pytest.raises(InputError, match=words):
            predict.check_network(path)
    predict.check_network(model)
