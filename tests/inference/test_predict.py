"""New scans: what is found, where the label maps go, and that they lie on the scans' own grids."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigWorkflow

from acdc_semicycle import cli
from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.evaluation import compare, quality
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.inference.inputs import Scan, Scans
from acdc_semicycle.inference.manifest import Journal, Ledger
from acdc_semicycle.inference.manifest import _patients as patients_of
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError, causes
from acdc_semicycle.runtime.files import claimed

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "bundles" / "semicycle" / "configs" / "inference.json"


@pytest.fixture
def model(tmp_path) -> Path:
    """A small network with its card, as training leaves them; not trained."""
    torch.manual_seed(0)
    path = tmp_path / "models" / "model.pt"
    weight_files.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
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


def run(source, output, model, **more) -> None:
    flow = ConfigWorkflow(
        str(CONFIG),
        workflow_type="infer",
        logging_file=False,
        input=[str(path) for path in source] if isinstance(source, list) else str(source),
        output_dir=str(output),
        checkpoint=str(model),
        **({"largest": False} | more),
    )
    flow.initialize()
    flow.run()


def made(folder: Path) -> list[str]:
    """The files in it that are meant for a user's eyes, the ledger aside."""
    files = (
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "predictions.json"
    )
    return sorted(str(path) for path in files if path.parts[0] != ".panels")


def ledger(folder: Path) -> dict:
    return json.loads((folder / "predictions.json").read_text())


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
    assert made(tmp_path / "out") == [
        "a/patient001/patient001_frame01_seg.nii.gz",
        "a/patient001/patient001_frame10_seg.nii.gz",
        "b/frame_seg.nii.gz",
    ]


def test_a_second_run_into_the_inputs_folder_does_not_segment_its_own_output(tmp_path, model):
    volume(tmp_path / "in" / "scan.nii.gz")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "in", model)
    assert made(tmp_path / "in") == ["scan.nii.gz", "scan_seg.nii.gz"]


def test_a_mask_is_no_scan(tmp_path, model, phantom_dir):
    folder = phantom_dir / "training" / "patient001"
    with pytest.raises(RuntimeError) as caught:
        run(folder / "patient001_frame01_gt.nii.gz", tmp_path / "out", model)
    assert "nothing but the labels 0 to 3: give a scan, no mask" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


@pytest.mark.parametrize("value", [0, -1024])
def test_a_scan_of_one_number_in_all_voxels_is_left_out(value, tmp_path, model):
    voxels = np.full((20, 28, 5), value, np.float64)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), tmp_path / "scan.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "scan.nii.gz", tmp_path / "out", model)
    assert "scan.nii.gz is constant" in str(caught.value.__cause__) and made(tmp_path / "out") == []


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


def test_a_device_that_is_not_there_is_named_before_any_work(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model, device="cuda:77")
    said = next(str(cause) for cause in causes(caught.value) if isinstance(cause, InputError))
    assert "device is 'cuda:77', which is not to be had here" in said and "give cpu" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named_before_any_work(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model)
    assert "out is a file: give a folder" in str(caught.value.__cause__) and (tmp_path / "out").read_text() == "mine"


HOLD = """
import sys
from pathlib import Path
from acdc_semicycle.runtime.files import claimed
print(claimed(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_writes_is_refused_as_long_as_it_does(tmp_path, model):
    scan, command = volume(tmp_path / "scan.nii.gz"), [sys.executable, "-c", HOLD, tmp_path / "out" / ".panels"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(RuntimeError) as caught:
            run(scan, tmp_path / "out", model)
        assert "out is being written by another process" in str(caught.value.__cause__)
        assert not (tmp_path / "out" / "predictions.json").exists()
        other.stdin.close()
        other.wait()
    claimed.cache_clear()  # what a new process would find
    run(scan, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["scan_seg.nii.gz"]


def test_the_output_may_lie_above_the_input(tmp_path, model):
    scan = volume(tmp_path / "all" / "in" / "scan.nii.gz")
    run(scan.parent, tmp_path / "all", model)
    assert made(tmp_path / "all") == ["in/scan.nii.gz", "scan_seg.nii.gz"]


def test_a_cine_keeps_the_time_between_its_frames(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    image = nibabel.load(path)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 30
    nibabel.save(image, path)
    run(path, tmp_path / "out", model, probabilities=True)
    made_of = nibabel.load(tmp_path / "out" / "a_seg.nii.gz").header
    assert made_of.get_zooms()[3] == 30 and made_of.get_xyzt_units() == ("mm", "msec")


def test_nothing_that_was_written_here_is_taken_for_a_scan(tmp_path, model):
    cine(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "b.nrrd.nii.gz")
    for frames in ("ed_es", "all", None):
        run(tmp_path / "in", tmp_path / "in", model, frames=frames, probabilities=True)
        assert {case["scan"] for case in ledger(tmp_path / "in")["cases"]} == {
            str(tmp_path / "in" / name) for name in ("a.nii.gz", "b.nrrd.nii.gz")
        }


def test_another_format_is_another_label_map(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    for format in (None, "mha"):
        run(scan, tmp_path / "out", model, format=format)
    assert made(tmp_path / "out") == ["scan_seg.mha", "scan_seg.nii.gz"]


def test_one_bad_scan_costs_one_line_and_not_the_others(tmp_path, model):
    good = volume(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "cut.nii.gz").write_bytes(good.read_bytes()[:300])
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    message = str(caught.value.__cause__)
    assert "1 of 2 files" in message and "cut.nii.gz" in message and "truncated" in message
    assert made(tmp_path / "out") == ["good_seg.nii.gz"]
    assert [each["scan"] for each in ledger(tmp_path / "out")["failures"]] == [str(tmp_path / "in" / "cut.nii.gz")]


def test_two_scans_of_one_name_get_two_label_maps(tmp_path, model):
    volume(tmp_path / "in" / "a.nii")
    volume(tmp_path / "in" / "a.nii.gz", (24, 24, 3))
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_nii_gz_seg.nii.gz", "a_nii_seg.nii.gz"]
    assert nibabel.load(tmp_path / "out" / "a_nii_seg.nii.gz").shape == (20, 28, 5)
    assert nibabel.load(tmp_path / "out" / "a_nii_gz_seg.nii.gz").shape == (24, 24, 3)


def test_two_names_of_one_scan_in_a_folder_get_two_label_maps(tmp_path, model):
    scan = volume(tmp_path / "in" / "b.nii.gz")
    for name in "ac":
        (tmp_path / "in" / f"{name}.nii.gz").symlink_to(scan)
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.nii.gz", "c_seg.nii.gz"]
    assert [case["case"] for case in ledger(tmp_path / "out")["cases"]] == ["a", "b", "c"]


def test_what_is_given_twice_is_segmented_once_and_under_another_folders_name_said_to_be(tmp_path, model, caplog):
    scan = volume(tmp_path / "in" / "a.nii.gz")
    found = Scans([scan.parent, scan, tmp_path / "in" / ".." / "in"], tmp_path / "out", model_files.CARD).found
    assert [one.path for one in found] == [scan] and "under another name" in caplog.text
    caplog.clear()
    Scans([scan.parent, scan], tmp_path / "out", model_files.CARD)
    assert not caplog.text


def test_a_path_that_is_no_file_costs_its_own_line_and_not_the_others(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run([tmp_path / "in", tmp_path / "typo", tmp_path / "pipe.nii.gz"], tmp_path / "out", model)
    said = str(caught.value.__cause__)
    assert "2 of 3 files left out" in said
    assert f"{tmp_path / 'typo'} is not there: " in said and f"{tmp_path / 'pipe.nii.gz'} is no file: " in said
    assert made(tmp_path / "out") == ["in/a_seg.nii.gz"]
    reasons = {failure["scan"] for failure in ledger(tmp_path / "out")["failures"]}
    assert reasons == {str(tmp_path / "typo"), str(tmp_path / "pipe.nii.gz")}
    (tmp_path / "pipe.nii.gz").rename(tmp_path / "in" / "pipe.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert f"{tmp_path / 'in' / 'pipe.nii.gz'} is no file: " in str(caught.value.__cause__)


def test_a_path_that_is_not_there_is_told_of_whatever_part_is_asked_for(tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"test": ["a"]}))
    given = [tmp_path / "in", tmp_path / "typo"]
    found = Scans(given, tmp_path / "out", model_files.CARD, part="test", split=tmp_path / "split.json").found
    assert [one.path.name for one in found] == ["a.nii.gz", "typo"]
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match=r"split\.json is damaged"):
        Scans(given, tmp_path / "out", model_files.CARD, part="test", split=tmp_path / "split.json")
    with pytest.raises(InputError, match="typo is not there"):
        Scans(tmp_path / "typo", tmp_path / "out", model_files.CARD)


def test_links_to_folders_are_followed_once_and_never_round(tmp_path):
    volume(tmp_path / "in" / "z" / "a.nii.gz")
    volume(tmp_path / "elsewhere" / "deep" / "b.nii.gz")
    volume(tmp_path / "in" / ".hidden" / "c.nii.gz")
    volume(tmp_path / "other.nii.gz")
    for name, target in [("linked", "elsewhere"), ("again", "in/z"), ("round", "in"), ("up", ".")]:
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    found = Scans(tmp_path / "in", tmp_path / "out", model_files.CARD).found
    assert [one.case for one in found] == ["linked/deep/b", "z/a"]


def test_a_folder_that_cannot_be_listed_costs_its_own_line(tmp_path, monkeypatch):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "lost+found").mkdir()
    scan = os.scandir

    def scandir(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)  # a superuser may list all
    one, closed = Scans(tmp_path / "in", tmp_path / "out", model_files.CARD).found
    assert one.case == "a" and one.fault is None
    assert closed.path.name == "lost+found" and "cannot be listed (Permission denied)" in closed.fault


def test_what_is_given_and_holds_nothing_costs_its_own_line(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "IM1.DCM").write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        run([tmp_path / "in", tmp_path / "empty", tmp_path / "IM1.DCM"], tmp_path / "out", model)
    said = str(caught.value.__cause__)
    assert "2 of 3 files left out" in said
    assert f"{tmp_path / 'empty'} holds no .nii, " in said and "and no DICOM series: give" in said
    assert f"{tmp_path / 'IM1.DCM'} is one file of a DICOM series: give its folder" in said
    assert made(tmp_path / "out") == ["in/a_seg.nii.gz"]


def test_scans_of_formats_that_are_not_read_are_said_to_be_left_out(tmp_path, caplog):
    volume(tmp_path / "in" / "c.nii.gz")
    for name in ("a.mgz", "b.nii.bz2"):
        (tmp_path / "in" / name).write_bytes(b"")
    assert len(Scans(tmp_path / "in", tmp_path / "out", model_files.CARD).found) == 1
    assert f"{tmp_path / 'in' / 'a.mgz'} and 1 more left out: " in caplog.text


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
    assert made(tmp_path / "in" / "out") == ["a_seg.nii.gz"]


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
    assert model_files.newest_model("bundle", tmp_path / "runs").parts[-3] == "real"
    run(volume(tmp_path / "scan.nii"), tmp_path / "out", path)
    assert "trained on the phantom" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_an_input_that_is_none_is_refused(tmp_path, model, content):
    path = tmp_path / "scan.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeError) as caught:
        run(path, tmp_path / "out", model)
    assert "scan.nii.gz" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


def test_a_folder_without_scans_and_no_input_at_all_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        Scans(tmp_path / "empty", tmp_path, model_files.CARD)
    with pytest.raises(InputError, match="--input"):
        Scans(None, tmp_path, model_files.CARD)


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
    assert model_files.newest_model("bundle", tmp_path) == Path("bundle/models/model.pt")
    for age, name in enumerate(("old", "new")):
        path = tmp_path / name / "models" / "model.pt"
        weight_files.save(path, {"weight": torch.zeros(1)})
        os.utime(path, (age, age))
    assert model_files.newest_model("bundle", tmp_path).parts[-3] == "new"


def test_a_network_that_is_not_there_is_named_before_all_else(tmp_path, model):
    run_folder = tmp_path / "run"
    (run_folder / "models").mkdir(parents=True)
    (run_folder / "models" / "model.pt").write_bytes(b"")
    for path, words in ((run_folder, r"did you mean .*models/model.pt\?"), (tmp_path / "no.pt", "train first")):
        with pytest.raises(InputError, match=words):
            model_files.check_network(path)
    model_files.check_network(model)


# --- one volume, however it is stored ---


def segmented(scan: Path, folder: Path, model: Path, **more) -> dict:
    run(scan, folder, model, **more)
    (case,) = ledger(folder)["cases"]
    return case


def in_the_patient(path: Path) -> np.ndarray:
    """A label map as the network laid it out."""
    found = volumes.read(path)
    return found.layout.apply(found.voxels[..., 0])


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


# --- cines ---


def cine(path: Path, frames=4) -> Path:
    """A cine whose every frame is another volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(1).integers(0, 900, (20, 28, 5, frames)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), path)
    return path


def test_every_frame_of_a_cine_is_segmented_as_if_it_were_alone(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    case = segmented(path, tmp_path / "out", model)
    assert case["frames"] == 4 and len(case["volumes_ml"]["LV"]) == 4
    whole = np.asarray(nibabel.load(tmp_path / "out" / "a_seg.nii.gz").dataobj)
    assert whole.shape == (20, 28, 5, 4)
    for n in range(4):
        alone = nibabel.load(path).slicer[..., n]
        nibabel.save(alone, tmp_path / f"frame{n}.nii.gz")
        run(tmp_path / f"frame{n}.nii.gz", tmp_path / "alone", model)
        found = np.asarray(nibabel.load(tmp_path / "alone" / f"frame{n}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(found, whole[..., n])


def test_a_cine_whose_frames_are_stored_first_is_segmented_as_any_other(tmp_path, model):
    """3D Slicer's NRRD."""
    given = volumes.read(cine(tmp_path / "a.nii.gz"), frames=True)
    steps = [f"({','.join(map(repr, step.tolist()))})" for step in given.affine[:3, :3].T]
    head = ["NRRD0004", "type: short", "dimension: 4", "space: RAS", "sizes: 4 20 28 5", "endian: little"]
    head += [f"space directions: none {' '.join(steps)}", "kinds: list domain domain domain", "encoding: raw"]
    head += [f"space origin: ({','.join(map(repr, given.affine[:3, 3].tolist()))})", "", ""]
    voxels = np.moveaxis(given.voxels, -1, 0).tobytes("F")
    (tmp_path / "b.nrrd").write_bytes("\n".join(head).encode() + voxels)
    for name in ("a.nii.gz", "b.nrrd"):
        run(tmp_path / name, tmp_path / "out", model)
    one, other = (volumes.read(tmp_path / "out" / name, frames=True) for name in ("a_seg.nii.gz", "b_seg.nrrd"))
    np.testing.assert_array_equal(one.voxels, other.voxels)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_ed_and_es_are_the_largest_and_the_smallest_lv_of_the_segmentation(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    run(path, tmp_path / "all", model)
    whole = np.asarray(nibabel.load(tmp_path / "all" / "a_seg.nii.gz").dataobj)
    sizes = (whole == 3).sum((0, 1, 2))
    assert len(set(sizes)) > 2
    assert ledger(tmp_path / "all")["cases"][0]["phases"] == {"ED": sizes.argmax(), "ES": sizes.argmin()}
    run(path, tmp_path / "two", model, frames="ed_es")
    assert made(tmp_path / "two") == ["a_ED_seg.nii.gz", "a_ES_seg.nii.gz"]
    for phase, n in (("ED", sizes.argmax()), ("ES", sizes.argmin())):
        found = np.asarray(nibabel.load(tmp_path / "two" / f"a_{phase}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(found, whole[..., n])
    for folder in ("all", "two"):
        (patient,) = ledger(tmp_path / folder)["patients"]
        voxel_ml = abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000
        assert patient["lv_edv_ml"] == pytest.approx(sizes.max() * voxel_ml, rel=1e-4)
        assert patient["lv_ef_percent"] == pytest.approx(100 * (1 - sizes.min() / sizes.max()), rel=1e-6)


def test_info_cfg_names_the_phases_where_it_is(tmp_path, model):
    folder = tmp_path / "in" / "patient001"
    cine(folder / "patient001_4d.nii.gz")
    (folder / "Info.cfg").write_text("ED: 2\nES: 4\n")
    run(tmp_path / "in", tmp_path / "out", model, frames="ed_es")
    assert made(tmp_path / "out") == [f"patient001/patient001_4d_{phase}_seg.nii.gz" for phase in ("ED", "ES")]
    run(folder / "patient001_4d.nii.gz", tmp_path / "all", model)
    assert ledger(tmp_path / "all")["cases"][0]["phases"] == {"ED": 1, "ES": 3}
    whole = np.asarray(nibabel.load(tmp_path / "all" / "patient001_4d_seg.nii.gz").dataobj)
    es = np.asarray(nibabel.load(tmp_path / "out" / "patient001" / "patient001_4d_ES_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(es, whole[..., 3])


@pytest.mark.parametrize("es", [5, 12])
def test_an_info_cfg_that_names_no_frame_of_the_cine_is_refused(tmp_path, model, es):
    cine(tmp_path / "in" / "patient001" / "patient001_4d.nii.gz")
    (tmp_path / "in" / "patient001" / "Info.cfg").write_text(f"ED: 1\nES: {es}\n")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert f"has 4 frames, and its Info.cfg names ED 1, ES {es}: restore" in str(caught.value.__cause__)


def test_nnunets_channel_is_no_part_of_patient_and_phase(tmp_path):
    for name in ("X_ED_0000", "X_ES_0000", "Y_0000", "Z-ES"):
        volume(tmp_path / "in" / f"{name}.nii")
    found = Scans(tmp_path / "in", tmp_path / "out", model_files.CARD).found
    assert [(scan.patient, scan.phase) for scan in found] == [("X", "ED"), ("X", "ES"), ("Y_0000", None), ("Z", "ES")]


def test_a_patients_indices_are_of_single_frames_where_there_is_a_cine_too():
    about = {"patient": "p", "phases": None, "withheld": None}
    cine = about | {"case": "p_sax", "phase": None, "phases": {"ED": 0, "ES": 1}}
    cases = [cine | {"volumes_ml": {"LV": [100.0, 50.0], "RV": [1.0, 1.0], "MYO": [1.0, 1.0]}}]
    for phase, ml in (("ED", 150.0), ("ES", 60.0)):
        cases.append(about | {"case": phase, "phase": phase, "volumes_ml": {"LV": [ml], "RV": [1.0], "MYO": [1.0]}})
    for order in itertools.permutations(cases):
        (row,) = patients_of(order)
        assert (row["ed"], row["es"], row["lv_edv_ml"], row["lv_esv_ml"]) == ("ED", "ES", 150, 60)


def test_a_label_map_of_which_a_journal_tells_is_its_scans(tmp_path, model):
    """Two scans of one label map, the first of them noted by a process that was killed."""
    network, mine, other = (
        model_files.open_model(model),
        *(volume(tmp_path / name / "a.nii.gz") for name in ("in", "new")),
    )
    target = volume(tmp_path / "out" / "a_seg.nii.gz")
    case = {"case": "a", "mask": target.name, "files": [target.name], "parts": 1, "stamp": [str(mine), 1, 1]}
    case |= {"frame_scores": [], "patient": "a", "phase": None, "phases": None}
    Journal(tmp_path / "out", network, {}, 1).add([case])
    book = Ledger(tmp_path / "out", network, {})
    book.take_up(failures=False)
    book.check(Scan(mine, "a", target, "a"), claim=False)
    with pytest.raises(
        InputError, match=r"a_seg\.nii\.gz is the label map of .*in/a\.nii\.gz, not of .*new/a\.nii\.gz"
    ):
        book.check(Scan(other, "a", target, "a"))


# --- what is found, and how it is called ---


def test_several_scans_keep_their_places_below_their_common_folder(tmp_path, model):
    scans = [volume(tmp_path / "in" / name / "img.nii.gz") for name in ("p1", "p2")]
    run(scans, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["p1/img_seg.nii.gz", "p2/img_seg.nii.gz"]


@pytest.mark.parametrize("name", ["a b", "$HOME", "@x", "50%", "a,b", "{}", "ü 心", "x#y", "-o", "a\nb"])
def test_a_file_may_be_called_as_it_likes(tmp_path, model, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["semicycle", "predict", str(tmp_path / "in"), "-o", str(tmp_path / "$out")])
    volume(tmp_path / "in" / name / f"{name}.nii")
    paths = {"input": [tmp_path / "in"], "output_dir": tmp_path / "$out", "checkpoint": model}
    cli.run_here(None, ["inference.json"], paths, {})
    assert made(tmp_path / "$out") == [f"{name}/{name}_seg.nii.gz"]


def test_scans_of_one_name_in_several_containers_are_cases_of_their_own(tmp_path, model):
    voxels = np.random.default_rng(0).integers(0, 900, (20, 28, 5)).astype(np.int16)
    for end in (".nii.gz", ".nrrd", ".mha"):
        volumes.save(tmp_path / "in" / f"a{end}", voxels, volumes.Volume(voxels[..., None], OBLIQUE))
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.mha", "a_seg.nii.gz", "a_seg.nrrd"]
    cases = ledger(tmp_path / "out")["cases"]
    assert [case["case"] for case in cases] == ["a_mha", "a_nii_gz", "a_nrrd"]
    assert len({case["panel"] for case in cases}) == 3


def test_a_name_as_long_as_a_name_can_be_gets_a_shorter_one(tmp_path, model):
    long = "心" * 80  # 240 bytes
    for name in (long + "a", long + "b"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert len(made(tmp_path / "out")) == 2 and {case["case"] for case in ledger(tmp_path / "out")["cases"]} == {
        long + "a",
        long + "b",
    }


def test_only_patients_of_a_part_are_segmented(tmp_path, model, phantom_dir):
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["patient002"], "test": ["patient009"]}))
    run(phantom_dir, tmp_path / "out", model, part="validation")
    assert {case["patient"] for case in ledger(tmp_path / "out")["cases"]} == {"patient002"}
    for part, words in (("test", "none of 16 scans"), ("tset", "give one of validation, test")):
        with pytest.raises(RuntimeError) as caught:
            run(phantom_dir, tmp_path / "out", model, part=part)
        assert words in str(caught.value.__cause__)


def test_a_one_slice_volume_stays_a_volume_wherever_its_slice_is(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz", (1, 20, 28))
    case = segmented(scan, tmp_path / "out", model)
    assert nibabel.load(tmp_path / "out" / "scan_seg.nii.gz").shape == (1, 20, 28)
    assert case["shape"] == [1, 20, 28]


# --- the ledger ---


def test_the_ledger_says_what_was_made_of_what(tmp_path, model, phantom_dir):
    run(phantom_dir / "training" / "patient001", tmp_path / "out", model)
    found = ledger(tmp_path / "out")
    assert [case["phase"] for case in found["cases"]] == ["ED", "ES"]
    case = found["cases"][0]
    labels = np.asarray(nibabel.load(tmp_path / "out" / case["mask"]).dataobj)
    spacing = np.array(case["spacing_mm"])
    for k, name in enumerate(("RV", "MYO", "LV"), start=1):
        assert case["volumes_ml"][name] == [pytest.approx((labels == k).sum() * spacing.prod() / 1000, rel=1e-4)]
    assert found["patients"][0]["ed"] == case["case"]
    assert set(case["seconds"]) == {"read", "prepare", "network", "back", "judge", "write"}
    assert found["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        assert panel["image_0"].shape == panel["prediction_0"].shape == (32, 32)


def test_without_spacing_volumes_are_withheld_and_the_ledger_says_why(tmp_path, model):
    scan = volume(tmp_path / "scan.nii", affine=np.eye(4))
    case = segmented(scan, tmp_path / "out", model)
    assert case["volumes_ml"] is None and "1 x 1 x 1 mm" in case["withheld"]


def test_given_again_only_what_is_new_or_changed_is_segmented(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    folder = tmp_path / "in"
    for name in ("a", "b"):
        volume(folder / f"{name}.nii.gz")
    run(folder, tmp_path / "out", model)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    volume(folder / "b.nii.gz", (24, 24, 3))
    volume(folder / "c.nii.gz")
    (tmp_path / "out" / "a_seg.nii.gz").touch()
    run(folder, tmp_path / "out", model)
    assert "1 of them are done" in caplog.text
    assert nibabel.load(tmp_path / "out" / "b_seg.nii.gz").shape == (24, 24, 3)
    assert [case["case"] for case in ledger(tmp_path / "out")["cases"]] == ["a", "b", "c"]
    assert before.keys() == {"a_seg.nii.gz", "b_seg.nii.gz"}
    run(folder, tmp_path / "out", model, largest=True)  # other settings: all of them again
    assert ledger(tmp_path / "out")["settings"]["largest"] and len(ledger(tmp_path / "out")["cases"]) == 3


def test_a_label_map_that_is_gone_is_made_again(tmp_path, model):
    scan = volume(tmp_path / "in" / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    (tmp_path / "out" / "a_seg.nii.gz").unlink()
    run(scan, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz"]


def test_a_network_that_gives_no_numbers_makes_no_mask(tmp_path, model):
    weights = torch.load(model, weights_only=True)
    weight_files.save(model, {name: torch.full_like(value, 3e38) for name, value in weights.items()})
    with pytest.raises(RuntimeError) as caught:
        run(volume(tmp_path / "scan.nii.gz"), tmp_path / "out", model)
    assert "NaN" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


def test_the_cycle_is_there_where_the_run_left_its_painter(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    assert set(segmented(scan, tmp_path / "without", model)["frame_scores"][0]) <= {"soft_dice", "entropy"}
    painter = ResidualGenerator(4, 1, filters=2, blocks=1, activation=torch.nn.Tanh())
    weight_files.save(model.with_name("painter.pt"), painter.state_dict())
    case = segmented(scan, tmp_path / "with", model, flips=True)
    assert {"cycle", "cycle_correlation", "cycle_dice", "flips"} <= set(case["frame_scores"][0])
    assert len(case["slices"]["cycle"]) == 5
    with np.load(tmp_path / "with" / case["panel"]) as panel:
        assert {"painted_0", "difference_0"} <= set(panel.files)


def test_every_frame_of_a_cine_has_its_own_probabilities(tmp_path, model):
    run(cine(tmp_path / "a.nii.gz"), tmp_path / "out", model, probabilities=True)
    labels = np.asarray(nibabel.load(tmp_path / "out" / "a_seg.nii.gz").dataobj)
    for n in range(4):
        found = volumes.read(tmp_path / "out" / f"a_frame{n + 1:02d}_prob.nii.gz", frames=True).voxels
        np.testing.assert_array_equal(found.argmax(-1), labels[..., n])


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


def test_a_users_own_file_is_not_overwritten_by_probabilities(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    mine = volume(tmp_path / "out" / "a_prob.nii.gz")
    before = mine.read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model, probabilities=True)
    assert "was not written by this program" in str(caught.value.__cause__)
    assert mine.read_bytes() == before


def test_a_scan_that_changes_while_it_is_segmented_is_done_again(tmp_path, model, monkeypatch):
    scan = volume(tmp_path / "a.nii.gz")
    read = volumes.read

    def read_and_change(*given, **more):
        found = read(*given, **more)
        volume(scan, (24, 24, 3))
        return found

    monkeypatch.setattr(volumes, "read", read_and_change)
    run(scan, tmp_path / "out", model)
    monkeypatch.setattr(volumes, "read", read)
    run(scan, tmp_path / "out", model)
    assert nibabel.load(tmp_path / "out" / "a_seg.nii.gz").shape == (24, 24, 3)


def test_a_part_is_of_whole_names_not_of_their_beginnings(tmp_path, model):
    for name in ("p1", "p10"):
        volume(tmp_path / "in" / name / f"{name}.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"test": ["p1"]}))
    run(tmp_path / "in", tmp_path / "out", model, part="test")
    assert made(tmp_path / "out") == ["p1/p1_seg.nii.gz"]


def test_what_is_hidden_is_no_scan(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "._a.nii.gz").write_bytes(b"what a Mac leaves")
    volume(tmp_path / "in" / ".trash" / "b.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz"]


def test_a_scan_whose_name_ends_like_a_masks_is_a_scan_where_it_is_alone(tmp_path, model):
    volume(tmp_path / "in" / "without_label.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["without_label_seg.nii.gz"]


def test_a_cine_beside_its_frames_is_segmented_where_cines_are_asked_for(tmp_path, model):
    folder = tmp_path / "in" / "patient001"
    cine(folder / "patient001_4d.nii.gz")
    (folder / "Info.cfg").write_text("ED: 1\nES: 3\n")
    for n in (1, 3):
        volume(folder / f"patient001_frame{n:02d}.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model, frames="all")
    assert "patient001/patient001_4d_seg.nii.gz" in made(tmp_path / "out")


@pytest.mark.parametrize("setting", ["largest", "flips"])
def test_with_another_setting_a_scan_is_segmented_again(tmp_path, model, setting):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model, **{setting: True})
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)
    found, expected = (ledger(tmp_path / name)["cases"][0]["frame_scores"][0] for name in ("out", "new"))
    assert found == pytest.approx(expected)


def test_with_another_network_a_scan_is_segmented_again(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    weight_files.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    run(scan, tmp_path / "out", model)
    run(scan, tmp_path / "new", model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_a_quality_that_was_fitted_since_is_given_to_what_was_segmented_before(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    assert segmented(scan, tmp_path / "out", model)["quality"] is None
    model.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    case = segmented(scan, tmp_path / "out", model)
    assert case["quality"] == pytest.approx(0.1 + 0.5 * case["frame_scores"][0]["soft_dice"])


def test_a_cines_quality_is_that_of_its_worst_frame_whenever_it_was_fitted(tmp_path, model):
    scan = cine(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "before", model)
    scores = [frame["soft_dice"] for frame in ledger(tmp_path / "before")["cases"][0]["frame_scores"]]
    assert len(scores) == 4 and min(scores) < scores[0]
    model.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    for folder in ("before", "after"):
        case = segmented(scan, tmp_path / folder, model)
        assert case["quality"] == pytest.approx(0.1 + 0.5 * min(scores))


def test_a_ledger_of_an_earlier_version_is_made_anew(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    path = tmp_path / "out" / "predictions.json"
    path.write_text(path.read_text().replace('"frame_scores"', '"scores"'))
    assert len(segmented(scan, tmp_path / "out", model)["frame_scores"]) == 1
    network = model_files.open_model(model)
    (tmp_path / "new").mkdir()
    Journal(tmp_path / "new", network, {}, 1).add([{"case": "a", "mask": "a", "scores": {}}])
    book = Ledger(tmp_path / "new", network, {})
    book.take_up(failures=False)
    assert book.content["cases"] == []


def test_scans_of_a_version_with_other_names_of_scores_are_not_segmented_again(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    before = segmented(scan, tmp_path / "out", model)
    path = tmp_path / "out" / "predictions.json"
    path.write_text(path.read_text().replace('"soft_dice"', '"sure"'))
    model.with_name("quality.json").write_text('{"weights": {"sure": 0.5}, "bias": 0.1}')
    after = segmented(scan, tmp_path / "out", model)
    assert after["quality"] == pytest.approx(0.1 + 0.5 * before["frame_scores"][0]["soft_dice"])
    assert {key: after[key] for key in before if key != "quality"} == {k: before[k] for k in before if k != "quality"}
    path.rename(path.with_name("before.json"))
    network = model_files.open_model(model)
    old = after | {"frame_scores": [{"sure": 0.9}], "slices": {"sure": [0.9]}}
    Journal(tmp_path / "out", network, {}, 1).add([old])  # of a process that was killed
    book = Ledger(tmp_path / "out", network, {})
    book.take_up(failures=False)
    (case,) = book.content["cases"]
    assert (case["frame_scores"], case["slices"]) == ([{"soft_dice": 0.9}], {"soft_dice": [0.9]})


def test_a_quality_is_a_dice_between_0_and_1(tmp_path, model):
    for bias, expected in ((7.0, 1.0), (-7.0, 0.0)):
        model.with_name("quality.json").write_text(json.dumps({"weights": {"soft_dice": 0.5}, "bias": bias}))
        assert segmented(volume(tmp_path / "a.nii.gz"), tmp_path / "out", model)["quality"] == expected


def test_a_scan_that_was_changed_and_kept_its_size_is_segmented_again(tmp_path, model):
    scan = volume(tmp_path / "a.nii")
    run(scan, tmp_path / "out", model)
    image = nibabel.load(scan)
    voxels = np.asarray(image.dataobj)[::-1].copy()
    size = scan.stat().st_size
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), scan)
    assert scan.stat().st_size == size
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_another_scan_of_one_name_is_neither_taken_for_done_nor_written_over_the_first(tmp_path, model):
    scans = [volume(tmp_path / "in" / name / "img.nii") for name in ("p1", "p2")]
    for scan in scans:
        os.utime(scan, (1, 1))
    run(scans[0].parent, tmp_path / "out", model)
    before = (tmp_path / "out" / "img_seg.nii.gz").read_bytes()
    for settings in ({}, {"flips": True}):  # whose it is does not depend on how it was made
        with pytest.raises(RuntimeError) as caught:
            run(scans[1].parent, tmp_path / "out", model, **settings)
        assert f"is the label map of {scans[0]}, not of {scans[1]}" in str(caught.value.__cause__)
    assert (tmp_path / "out" / "img_seg.nii.gz").read_bytes() == before


def test_a_panel_of_a_cine_shows_the_frame_that_is_segmented_in_it(tmp_path, model):
    """Frames that get brighter: the panel's greys are those of its frame alone."""
    folder = tmp_path / "in" / "patient001"
    path = cine(folder / "patient001_4d.nii.gz")
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).astype(np.int16) + 2000 * np.arange(4, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    (folder / "Info.cfg").write_text("ED: 2\nES: 4\n")
    case = segmented(path, tmp_path / "out", model)
    frame = volumes.Volume(voxels[..., 3:], image.affine)
    grey = frame.layout.apply(frame.voxels[..., 0]).astype(float)
    low, high = np.percentile(grey, (0.5, 99.5))
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        assert panel["frame"] == 3
        for n, z in enumerate(panel["places"]):
            expected = frame.shown(np.clip((grey[..., z] - low) / (high - low), 0, 1) * 255)
            np.testing.assert_allclose(panel[f"image_{n}"], expected, atol=1)


def test_what_is_painted_back_lies_over_its_image_in_the_panel(tmp_path, model):
    painter = ResidualGenerator(4, 1, filters=2, blocks=1, activation=torch.nn.Tanh())
    weight_files.save(model.with_name("painter.pt"), painter.state_dict())
    scan = volume(tmp_path / "scan.nii.gz", (24, 32, 4))  # as large as the network's images: nothing is resampled
    case = segmented(scan, tmp_path / "out", model)
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        shapes = {panel[f"{name}_0"].shape for name in ("image", "prediction", "painted", "difference")}
        assert len(shapes) == 1
        painted, image = (panel[f"{name}_0"].astype(float) for name in ("painted", "image"))
        gap = np.abs(painted - image) / 255 * 2  # both from [-1, 1]
        np.testing.assert_allclose(np.clip(gap, 0, 1), panel["difference_0"] / 255, atol=0.02)


@pytest.mark.parametrize(("gone", "more"), [("a_ES_seg.nii.gz", {"frames": "ed_es"}), ("a_frame02_prob.nii.gz", {})])
def test_any_file_that_is_gone_is_made_again(tmp_path, model, gone, more):
    scan = cine(tmp_path / "a.nii.gz")
    more = more | {"probabilities": True}
    run(scan, tmp_path / "out", model, **more)
    before = made(tmp_path / "out")
    (tmp_path / "out" / gone).unlink()
    run(scan, tmp_path / "out", model, **more)
    assert made(tmp_path / "out") == before


def test_a_changed_card_is_another_network(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    model.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [48, 64]}))
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_what_fails_now_is_no_longer_a_case(tmp_path, model):
    scan = volume(tmp_path / "a.nii")
    run(scan, tmp_path / "out", model)
    scan.write_bytes(b"damaged")
    with pytest.raises(RuntimeError):
        run(scan, tmp_path / "out", model)
    assert ledger(tmp_path / "out")["cases"] == [] and len(ledger(tmp_path / "out")["failures"]) == 1


def test_a_quality_of_other_weights_is_none(tmp_path, model, caplog):
    fitted = {"weights": {"soft_dice": 1.0}, "bias": 0.0, "model_sha256": "another"}
    model.with_name("quality.json").write_text(json.dumps(fitted))
    assert segmented(volume(tmp_path / "a.nii"), tmp_path / "out", model)["quality"] is None
    assert "fitted on other weights" in caplog.text


def test_ed_and_es_of_a_cine_are_held_against_the_frames_of_the_challenge(tmp_path, model, phantom_dir):
    folder = tmp_path / "in" / "patient001"
    shutil.copytree(phantom_dir / "training" / "patient001", folder)
    frames = {n: nibabel.load(folder / f"patient001_frame{n:02d}.nii.gz") for n in (1, 10)}
    whole = np.stack([np.asarray(frames[10 if n == 10 else 1].dataobj) for n in range(1, 11)], -1)
    nibabel.save(nibabel.Nifti1Image(whole, frames[1].affine, frames[1].header), folder / "patient001_4d.nii.gz")
    run(folder / "patient001_4d.nii.gz", tmp_path / "out", model, frames="ed_es")
    content = compare.compare([tmp_path / "out"], folder)
    assert [(row["phase"], Path(row["truth"]).name) for row in content["cases"]] == [
        ("ED", "patient001_frame01_gt.nii.gz"), ("ES", "patient001_frame10_gt.nii.gz"),
    ]  # fmt: skip


def test_two_series_of_one_folder_are_two_scans_and_done_once(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    (tmp_path / "in" / "scan").mkdir(parents=True)
    for number in (3, 4):
        for z in range(5):
            plane = sitk.GetImageFromArray(
                np.random.default_rng(z + number).integers(0, 900, (28, 20)).astype(np.int16)
            )
            plane.SetSpacing((1.4, 1.6))
            tags = {"0008|0060": "MR", "0020|000e": f"1.2.3.{number}", "0020|0011": str(number), "0020|0013": str(z)}
            tags |= {"0008|0018": f"1.2.3.{number}.{z}", "0020|0032": f"0\\0\\{9 * z}", "0010|0010": "ZEBEDEE^JANE"}
            tags |= {"0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "9"}
            for tag, value in tags.items():
                plane.SetMetaData(tag, value)
            path = tmp_path / "in" / "scan" / f"{number}_{z}.dcm"
            writer.SetFileName(str(path))
            writer.Execute(plane)
            os.utime(path, (1, 1))
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["scan/series003_seg.nii.gz", "scan/series004_seg.nii.gz"]
    assert "2 of them are done" in caplog.text
    for path in (tmp_path / "in" / "scan").glob("4_*"):
        path.unlink()
    for root in (tmp_path / "in", tmp_path / "in" / "scan"):
        (only,) = Scans(root, tmp_path / "out", model_files.CARD).found
        assert (only.case, only.target.name) == ("scan", "scan_seg.nii.gz")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"ZEBEDEE" in path.read_bytes()]
    found = volumes.read(tmp_path / "out" / "scan" / "series003_seg.nii.gz")
    assert found.voxels.shape == (20, 28, 5, 1) and found.spacing_mm == pytest.approx((1.4, 1.6, 9))


def test_what_fails_in_reading_segmenting_or_writing_costs_its_own_scan_and_no_other(tmp_path, model, monkeypatch):
    """Each in another thread, while other scans are on their way."""
    for name in "abcde":
        volume(tmp_path / "in" / f"{name}.nii.gz", (20, 28, 3 if name == "c" else 5))
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"damaged")
    save, judge = volumes.save, quality.judge

    def full_disk(target, *given):
        if target.name.startswith("d"):
            raise OSError(28, "No space left on device", str(target))
        save(target, *given)

    def no_memory(x, *given):
        if x.shape[-1] == 3:
            raise MemoryError
        return judge(x, *given)

    monkeypatch.setattr(volumes, "save", full_disk)
    monkeypatch.setattr(quality, "judge", no_memory)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    found = ledger(tmp_path / "out")
    assert [case["case"] for case in found["cases"]] == ["a", "e"]
    assert [Path(failure["scan"]).name for failure in found["failures"]] == ["b.nii.gz", "c.nii.gz", "d.nii.gz"]
    for failure, words in zip(found["failures"], ("damaged", "fit in memory", "No space left"), strict=True):
        assert f"/{Path(failure['scan']).name[0]}" in failure["reason"] and words in failure["reason"]
    assert "3 of 5 files" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == ["a_seg.nii.gz", "e_seg.nii.gz"]


def a_file(path: Path) -> None:
    path.write_text('{"cases": [{"case": "mine"}]}')


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [a_file, a_link_to_nothing, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["predictions.json", "a_seg.nii.gz"])
def test_what_is_not_of_this_program_is_not_written_over_nor_waited_for(tmp_path, model, make, name):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / name)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert re.search(
        f"{name} is there and (is not of|was not written by) this program(, or damaged)?: give",
        str(caught.value.__cause__),
    )
    assert name == "a_seg.nii.gz" or not list((tmp_path / "out").glob("*_seg*"))
    if make is a_file:
        assert "mine" in (tmp_path / "out" / name).read_text()


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(tmp_path, model, monkeypatch):
    volume(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "b.nii.gz")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    said = next(str(cause) for cause in causes(caught.value) if isinstance(cause, InputError))
    assert said.startswith(f"{tmp_path / 'out' / 'predictions.json'} cannot be written (No space left on device): ")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]


def itks_full_disk(*_):
    raise RuntimeError("Exception thrown in SimpleITK:\nReason: No space left on device")


@pytest.mark.parametrize("fault", [full_disk, itks_full_disk])
def test_a_label_map_that_cannot_be_written_is_the_one_that_is_named(tmp_path, model, monkeypatch, fault):
    volume(tmp_path / "in" / "a.nii.gz")
    monkeypatch.setattr(volumes, "save", fault)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    target = tmp_path / "out" / "a_seg.nii.gz"
    assert re.search(f"{target} cannot be written .*No space left on device", str(caught.value.__cause__))


def test_a_phase_of_a_cine_and_a_scan_of_its_name_do_not_write_over_each_other(tmp_path, model):
    """The scan is looked at before the cine's phases are written."""
    cine(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "a_ED.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model, frames="ed_es")
    assert f"is the label map of {tmp_path / 'in' / 'a.nii.gz'}, not of" in str(caught.value.__cause__)
    assert nibabel.load(tmp_path / "out" / "a_ED_seg.nii.gz").shape == (20, 28, 5)
    assert {case["scan"] for case in ledger(tmp_path / "out")["cases"]} == {str(tmp_path / "in" / "a.nii.gz")}
