"""The network as a function: whatever a scan comes as, its labels are those that ``semicycle predict`` writes."""

import doctest
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import documents
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from PIL import Image
from predicting import OBLIQUE, cine, manifest_of, run, volume

import acdc_semicycle
from acdc_semicycle import InputError, Segmentation, Segmenter
from acdc_semicycle.artifacts import bundle_folder
from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.inference import segmenter as segmenter_module
from acdc_semicycle.methods.networks import ResidualGenerator
from tests.imageio.dicom_files import COLUMNS, ROWS, slice_file

SHAPE = (20, 28, 5)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small network of a heart in a run's folder, not trained, with a fit of its quality."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "acdc-few" / "models" / "model.pt"
    weight_files.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    path.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    return path


@pytest.fixture(scope="module")
def segment(model) -> Segmenter:
    return Segmenter(model)


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory) -> Path:
    """A small network of colour pictures."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "model.pt"
    weight_files.save(path, ResidualGenerator(3, 3, filters=2, blocks=1).state_dict())
    card = {"filters": 2, "blocks": 1, "image_size": [24, 32], "in_channels": 3, "intensity_range": [0, 255]}
    card |= {"pictures": True, "classes": ["background", "cat", "dog"], "colours": [[0, 0, 0], [9, 0, 0], [0, 9, 0]]}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def predicted(scan: Path, model: Path, **more) -> tuple[np.ndarray, dict]:
    """What ``semicycle predict`` makes of a scan, with its defaults for a heart: the label map, its case."""
    output = scan.parent / "predicted"
    run(scan, output, model, **({"largest": True} | more))
    (case,) = manifest_of(output)["cases"]
    path = output / case["mask"]
    if path.suffix == ".png":
        return np.asarray(Image.open(path)), case
    if path.suffix == ".gz":
        return np.asarray(nibabel.load(path).dataobj), case
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(), case


def stored_as(path: Path, layout: Layout, affine=OBLIQUE) -> Path:
    """A scan whose file stores the axes in another order and other directions."""
    voxels = np.random.default_rng(2).integers(0, 900, SHAPE).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(layout.apply(voxels), layout.affine(affine, SHAPE)), path)
    return path


ODD = [Layout(), Layout((2, 0, 1), (True, False, True)), Layout((1, 0, 2), (False, True, False))]


@pytest.mark.parametrize("layout", ODD)
def test_whatever_a_scan_comes_as_its_labels_are_those_of_predict(tmp_path, model, segment, layout):
    path = stored_as(tmp_path / "scan.nii.gz", layout)
    expected, case = predicted(path, model)
    assert len(np.unique(expected)) > 2
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    tensor = torch.as_tensor(voxels)
    results = {
        "text": segment(str(path)),
        "path": segment(path),
        "nibabel": segment(image),
        "nibabel in memory": segment(nibabel.Nifti1Image(voxels, image.affine)),
        "array": segment(voxels, affine=image.affine),
        "array of another type": segment(voxels.astype(float), affine=image.affine.tolist()),
        "tensor": segment(tensor, affine=torch.as_tensor(image.affine)),
        "tensor with a channel": segment(tensor[None].float(), affine=image.affine),
        "tensor that learns": segment(tensor.float().requires_grad_(), affine=image.affine),
        "MetaTensor": segment(MetaTensor(tensor[None].float(), affine=torch.as_tensor(image.affine))),
    }
    for name, result in results.items():
        np.testing.assert_array_equal(result.labels, expected, name)
        assert (result.labels.dtype, result.labels.shape) == (np.uint8, voxels.shape), name
        assert result.trust == pytest.approx(case["quality"], abs=1e-6) and 0 < result.trust < 1, name
        volumes_ml = {name: ml for name, (ml,) in case["volumes_ml"].items()}
        assert result.volumes_ml == pytest.approx(volumes_ml, abs=1e-4) and result.withheld is None, name
        assert list(result.remarks) == case["remarks"], name


@pytest.mark.parametrize("layout", ODD)
def test_simpleitks_images_have_their_axes_backwards_and_left_is_not_right(tmp_path, model, segment, layout):
    path = stored_as(tmp_path / "scan.nii.gz", layout)
    expected, case = predicted(path, model)
    image = sitk.ReadImage(str(path))
    result = segment(image)
    np.testing.assert_array_equal(result.labels, expected.transpose())
    assert result.labels.shape == sitk.GetArrayFromImage(image).shape
    assert result.volumes_ml == pytest.approx({name: ml for name, (ml,) in case["volumes_ml"].items()}, abs=1e-3)
    back = result.to_simpleitk()
    assert back.GetSize() == image.GetSize()
    for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, geometry)(), getattr(image, geometry)(), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), result.labels)


@pytest.mark.parametrize("end", [".nrrd", ".mha"])
def test_nrrd_and_metaimage_are_segmented_as_predict_does(tmp_path, model, segment, end):
    voxels = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
    path = tmp_path / f"scan{end}"
    volumes.save(path, voxels, volumes.Volume(voxels[..., None], OBLIQUE))
    raw = path.read_bytes().replace(volumes.MARK.encode(), b"x" * len(volumes.MARK))  # else it is a label map
    path.write_bytes(raw)
    expected, _ = predicted(path, model)
    np.testing.assert_array_equal(segment(path).labels, expected)
    np.testing.assert_array_equal(segment(sitk.ReadImage(str(path))).labels, expected.transpose())


def test_a_dicom_series_is_segmented_as_predict_does(tmp_path, model, segment):
    folder = tmp_path / "series"
    folder.mkdir()
    random = np.random.default_rng(0)
    for z in range(4):
        (folder / f"{z}.dcm").write_bytes(slice_file(8 * z, pixels=random.bytes(2 * ROWS * COLUMNS)))
    expected, case = predicted(folder, model)
    result = segment(folder)
    np.testing.assert_array_equal(result.labels, expected)
    assert result.labels.shape == tuple(case["shape"]) and result.volumes_ml


def test_a_cine_has_its_frames_last_and_a_volume_in_each(tmp_path, model, segment):
    path = cine(tmp_path / "cine.nii.gz")
    expected, case = predicted(path, model)
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    assert expected.shape == (*SHAPE, 4)
    for scan, more in ((path, {}), (image, {}), (voxels, {"affine": image.affine})):
        result = segment(scan, **more)
        np.testing.assert_array_equal(result.labels, expected)
        for name, volumes_ml in case["volumes_ml"].items():
            assert len(volumes_ml) == 4 and result.volumes_ml[name] == pytest.approx(volumes_ml, abs=1e-4)
        assert result.trust == pytest.approx(case["quality"], abs=1e-6)
        assert list(result.remarks) == case["remarks"]
    assert result.probabilities().shape == (4, *SHAPE, 4)
    itk = sitk.ReadImage(str(path))
    result = segment(itk)
    np.testing.assert_array_equal(result.labels, expected.transpose())
    assert result.to_simpleitk().GetSize() == itk.GetSize()
    assert result.to_nibabel().shape == voxels.shape


def test_probabilities_are_those_that_predict_writes(tmp_path, model, segment):
    layout = ODD[1]
    path = stored_as(tmp_path / "scan.nii.gz", layout)
    predicted(path, model, probabilities=True)
    written = np.asarray(nibabel.load(tmp_path / "predicted" / "scan_prob.nii.gz").dataobj)
    result = segment(path)
    probabilities = result.probabilities()
    assert probabilities.dtype == np.float32 and probabilities.shape == (4, *result.labels.shape)
    np.testing.assert_array_equal(np.moveaxis(probabilities, 0, -1), written)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    backwards = segment(sitk.ReadImage(str(path))).probabilities()
    np.testing.assert_allclose(backwards, probabilities.transpose(0, 3, 2, 1), atol=1e-5)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_picture_is_segmented_as_predict_does(tmp_path, of_pictures, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (18, 30, 3)).astype(np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).convert(mode).save(path)
    expected, _ = predicted(path, of_pictures, largest=False)
    segment, picture = Segmenter(of_pictures), Image.open(path)
    array = np.asarray(picture.convert("RGB") if mode == "P" else picture)
    channels_first = torch.as_tensor(array.copy()).movedim(-1, 0) if array.ndim == 3 else torch.as_tensor(array.copy())
    for scan in (path, picture, array, channels_first):
        result = segment(scan)
        np.testing.assert_array_equal(result.labels, expected)
        assert result.labels.shape == (18, 30) and result.probabilities().shape == (3, 18, 30)
        assert result.volumes_ml is None and result.withheld == "a picture has no volume"
    result.save(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == (tmp_path / "predicted" / "picture_seg.png").read_bytes()
    with pytest.raises(InputError, match=r"no place in a patient"):
        result.to_nibabel()


def test_a_saved_label_map_is_the_one_that_predict_writes(tmp_path, model, segment):
    path = stored_as(tmp_path / "scan.nii.gz", ODD[1])
    predicted(path, model)
    result = segment(path)
    result.save(tmp_path / "new" / "labels.nii.gz")
    saved, written = (nibabel.load(tmp_path / name) for name in ("new/labels.nii.gz", "predicted/scan_seg.nii.gz"))
    assert saved.header == written.header
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(written.dataobj))
    np.testing.assert_array_equal(result.to_nibabel().affine, nibabel.load(path).affine)
    with pytest.raises(InputError, match=r"labels\.txt is no name for this label map: give one that ends in \.nii, "):
        result.save(tmp_path / "labels.txt")
    mine = volume(tmp_path / "mine.nii.gz")
    content = mine.read_bytes()
    with pytest.raises(InputError, match="was not written by this program"):
        result.save(mine)
    assert mine.read_bytes() == content


def test_options_are_those_of_predict(tmp_path, model):
    path = volume(tmp_path / "scan.nii.gz")
    options = {"largest": False, "holes": True, "flips": True, "cycle": False}
    expected, case = predicted(path, model, **options)
    result = Segmenter(model, device="cpu", amp=False, **options)(path)
    np.testing.assert_array_equal(result.labels, expected)
    assert result.trust == pytest.approx(case["quality"], abs=1e-6)
    assert not np.array_equal(result.labels, Segmenter(model)(path).labels)


def test_a_nifti_in_memory_is_read_by_its_header_as_its_file_is(tmp_path, model, segment):
    path = tmp_path / "metres.nii"
    image = nibabel.load(volume(tmp_path / "in" / "scan.nii"))
    affine = image.affine.copy()
    affine[:3] /= 1000
    metres = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    metres.header.set_xyzt_units("meter")
    nibabel.save(metres, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -10], "<f4").tobytes()  # slope and intercept
    path.write_bytes(raw)
    expected, case = predicted(path, model)
    result = segment(nibabel.load(path))
    np.testing.assert_array_equal(result.labels, expected)
    assert result.volumes_ml == pytest.approx({name: ml for name, (ml,) in case["volumes_ml"].items()})
    np.testing.assert_array_equal(result.to_nibabel().affine, nibabel.load(path).affine)
    moved = image.affine.copy()
    moved[0, 3] += 30
    image.set_qform(moved, 1)
    with pytest.raises(InputError, match=r"has a qform and an sform that disagree by 30 mm"):
        segment(image)


def test_a_result_and_a_segmenter_tell_of_themselves_in_a_line(model, segment):
    result = segment(VOXELS, affine=OBLIQUE)
    assert repr(result).startswith("Segmentation(20 x 28 x 5, RV ") and f"trust {result.trust:.2f}" in repr(result)
    assert repr(segment) == f"Segmenter('{model}': background, RV, MYO, LV)"
    assert segment.classes == result.classes == ("background", "RV", "MYO", "LV")


def test_folds_a_zip_and_a_runs_folder_are_networks(tmp_path, model):
    path = volume(tmp_path / "scan.nii.gz")
    bundle_folder.lay_out(tmp_path / "bundle", open_model(model))
    zipped = Segmenter(bundle_folder.pack(tmp_path / "bundle", tmp_path / "bundle.zip"))
    expected, _ = predicted(path, model)
    np.testing.assert_array_equal(Segmenter(str(model.parents[1]))(path).labels, expected)
    np.testing.assert_array_equal(zipped(path).labels, expected)
    assert zipped(path).trust == pytest.approx(Segmenter(model)(path).trust)
    for number in range(2):
        shutil.copytree(model.parent, tmp_path / "folds" / f"fold_{number}" / "models")
    folds = Segmenter(tmp_path / "folds")
    np.testing.assert_array_equal(folds(path).labels, expected)  # the mean of two that are the same
    assert folds(path).trust is None and str(tmp_path / "folds") in repr(folds)


def test_without_a_spacing_there_are_no_volumes_and_without_a_fit_no_trust(tmp_path, model):
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE)
    bare = tmp_path / "bare" / "model.pt"
    bare.parent.mkdir()
    for path in (model, model.with_suffix(".json")):
        (bare.parent / path.name).write_bytes(path.read_bytes())
    result = Segmenter(bare)(voxels, spacing=(1, 1, 1))
    assert (result.volumes_ml, result.trust) == (None, None)
    assert result.withheld == "its spacing is 1 x 1 x 1 mm, as of files that have lost theirs"
    result = Segmenter(bare)(voxels, spacing=[1.5, 1.5, 8])
    assert result.withheld is None and result.remarks[0].startswith("its directions are not known")
    assert result.volumes_ml["LV"] == pytest.approx((result.labels == 3).sum() * 1.5 * 1.5 * 8 / 1000)
    flat = Segmenter(bare)(voxels[..., 0], spacing=(1.5, 1.5))
    assert flat.labels.shape == SHAPE[:2] and flat.probabilities().shape == (4, *SHAPE[:2])
    assert flat.volumes_ml is None and flat.withheld.startswith("a single slice")


def test_nothing_is_written_nothing_is_said_and_no_random_state_is_changed(tmp_path, model, monkeypatch, capfd):
    path = volume(tmp_path / "in" / "scan.nii.gz")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(file for folder in (tmp_path, model.parents[1]) for file in folder.rglob("*"))
    torch.manual_seed(3), np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    Segmenter(model)(path).probabilities()
    assert torch.equal(torch.get_rng_state(), states[0]) and np.random.get_state()[1].tolist() == states[1]
    assert sorted(file for folder in (tmp_path, model.parents[1]) for file in folder.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_what_is_given_is_not_changed(segment):
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.float32)
    copy = voxels.copy()
    voxels.flags.writeable = False
    result = segment(voxels, affine=OBLIQUE)
    np.testing.assert_array_equal(voxels, copy)
    result.labels[:] = 9  # the user's own by now
    assert np.asarray(result.to_nibabel().dataobj).max() < 4
    assert segment(voxels, affine=OBLIQUE).labels.max() < 4


def test_several_threads_and_several_segmenters_give_what_one_gives(tmp_path, model, segment):
    random = np.random.default_rng(5)
    scans = [random.integers(0, 900, (20 + n % 3, 28, 3 + n % 4)) for n in range(12)]
    expected = [segment(scan, affine=OBLIQUE) for scan in scans]
    other = Segmenter(model, flips=True, largest=False)
    of_other = [other(scan, affine=OBLIQUE) for scan in scans]

    def one(number: int) -> tuple[Segmentation, Segmentation]:
        return segment(scans[number], affine=OBLIQUE), other(scans[number], affine=OBLIQUE)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(len(scans))))
    for number, (first, second) in enumerate(results):
        for result, alone in ((first, expected[number]), (second, of_other[number])):
            np.testing.assert_array_equal(result.labels, alone.labels)
            np.testing.assert_array_equal(result.probabilities(), alone.probabilities())
            assert (result.trust, result.volumes_ml) == (alone.trust, alone.volumes_ml)


def test_after_a_scan_that_is_refused_the_next_one_is_segmented(segment):
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE)
    expected = segment(voxels, affine=OBLIQUE).labels
    broken = segment._frame_segmenter.collector.network
    hook = broken.register_forward_hook(lambda *_: torch.full((5, 4, 24, 32), torch.nan))
    with pytest.raises(InputError, match="the array: the network gave NaN"):
        segment(voxels, affine=OBLIQUE)
    hook.remove()
    np.testing.assert_array_equal(segment(voxels, affine=OBLIQUE).labels, expected)


VOXELS = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.float32)


def with_nan() -> np.ndarray:
    voxels = VOXELS.copy()
    voxels[0, 0, 0] = np.nan
    return voxels


def vector_image():
    return sitk.GetImageFromArray(np.zeros((5, 28, 20, 3), np.uint8), isVector=True)


REFUSED = {
    "an array without geometry": (VOXELS, {}, "the array does not say where its voxels lie: give affine="),
    "a tensor without geometry": (torch.as_tensor(VOXELS), {}, "the tensor does not say where its voxels lie"),
    "two geometries": (VOXELS, {"affine": OBLIQUE, "spacing": (1, 1, 9)}, "affine and spacing are given"),
    "a small affine": (
        VOXELS,
        {"affine": np.eye(3)},
        r"no 4 x 4 matrix with the last row 0 0 0 1, but of shape \(3, 3\)",
    ),
    "a spacing of one number": (VOXELS, {"spacing": 1.5}, "the spacing of the array is 1.5: give three numbers"),
    "a spacing of nothing": (VOXELS, {"spacing": (1.5, 0, 8)}, "give three numbers above 0"),
    "a spacing in words": (VOXELS, {"spacing": "fine"}, "the spacing of the array is 'fine'"),
    "a flat affine": (VOXELS, {"affine": np.diag([1.0, 1, 0, 1])}, "the array has no usable affine"),
    "an affine with NaN": (VOXELS, {"affine": np.full((4, 4), np.nan)}, "the affine of the array is no 4 x 4 matrix"),
    "NaN": (with_nan(), {"affine": OBLIQUE}, "the array holds 1 NaN or infinite voxels"),
    "constant": (np.ones(SHAPE), {"affine": OBLIQUE}, "the array is constant"),
    "a mask": (VOXELS.astype(int) % 3, {"affine": OBLIQUE}, "the array holds nothing but the labels 0 to 2"),
    "one axis": (VOXELS[0, 0], {"affine": OBLIQUE}, r"the array has shape \(5,\): give a 3D volume"),
    "five axes": (np.zeros((2, 2, 2, 2, 2)), {"affine": OBLIQUE}, "give a 3D volume"),
    "no voxels": (VOXELS[:0], {"affine": OBLIQUE}, r"the array has shape \(0, 28, 5\)"),
    "channels first": (VOXELS[None], {"affine": OBLIQUE}, r"give array\[0\] if the first is of channels"),
    "a batch": (torch.zeros(2, 1, 4, 4, 4), {"affine": OBLIQUE}, "give one scan"),
    "several channels": (torch.zeros(3, 4, 4, 4), {"affine": OBLIQUE}, "or with one channel"),
    "complex numbers": (VOXELS * 1j, {"affine": OBLIQUE}, "the array holds complex"),
    "a list": (VOXELS.tolist(), {}, "a list is given as scan: give a path, a NumPy array"),
    "nothing": (None, {}, "a NoneType is given as scan"),
    "a Pillow image": (Image.new("RGB", (30, 20)), {}, "a Image is given as scan"),
    "an image with a second geometry": (nibabel.Nifti1Image(VOXELS, OBLIQUE), {"affine": OBLIQUE}, "its own geometry"),
    "an image without a place": (nibabel.Nifti1Image(VOXELS, None), {}, "does not say where it lies"),
    "colours": (vector_image(), {}, "the SimpleITK image has 3 numbers a voxel"),
    "two axes": (sitk.Image(20, 28, sitk.sitkInt16), {}, "the SimpleITK image has 2 axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_scan_is_refused_in_a_line(segment, name):
    scan, more, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        segment(scan, **more)
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError)


def test_a_path_that_is_no_scan_is_refused_in_a_line(tmp_path, segment):
    for name in "ab":
        volume(tmp_path / "two" / f"{name}.nii.gz")
    Image.new("RGB", (30, 20)).save(tmp_path / "picture.png")
    (tmp_path / "damaged.nii.gz").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for path, words in {
        tmp_path / "nowhere.nii.gz": "nowhere.nii.gz is not there",
        tmp_path / "two": r"two holds 2 scans \(a, b\): give one",
        tmp_path / "picture.png": "is none of what this network was trained on",
        tmp_path / "damaged.nii.gz": "truncated, damaged or not in NIfTI format|damaged",
        tmp_path / "empty": "holds no .nii",
    }.items():
        with pytest.raises(InputError, match=words):
            segment(path)
    with pytest.raises(InputError, match=r"a\.nii\.gz has its own geometry: leave it out"):
        segment(tmp_path / "two" / "a.nii.gz", spacing=(1, 1, 1))


def test_what_is_no_picture_is_refused_by_a_network_of_pictures(of_pictures, tmp_path):
    segment = Segmenter(of_pictures)
    scan = volume(tmp_path / "scan.nii.gz")
    for value, words in (
        (nibabel.load(scan), "was trained on pictures: give a path, a Pillow image"),
        (scan, "is none of what this network was trained on"),
        (VOXELS, r"the picture has shape \(20, 28, 5\): give an array \[rows, columns\]"),
        (np.zeros((4, 4, 3)), "the picture holds float64 numbers: give greys, or colours of 8 bits"),
        (np.full((4, 4), np.nan), "the picture holds NaN"),
        (np.full((4, 4), 300), "the picture holds intensities from 300 to 300"),
    ):
        with pytest.raises(InputError, match=words):
            segment(value)
    with pytest.raises(InputError, match="this network was trained on pictures: leave it out"):
        segment(np.zeros((4, 4), np.uint8), spacing=(1, 1))


def test_what_is_no_network_is_refused_in_a_line(tmp_path, model):
    (tmp_path / "text.pt").write_text("x")
    for path, words in ((tmp_path / "nowhere", "is not a file"), (tmp_path, "holds no models/model.pt")):
        with pytest.raises(InputError, match=words):
            Segmenter(path)
    with pytest.raises(InputError, match="no readable checkpoint"):
        Segmenter(tmp_path / "text.pt")
    with pytest.raises(InputError, match="device is 'cuda:77', which this machine does not have"):
        Segmenter(model, device="cuda:77")
    card = json.loads(model.with_suffix(".json").read_text()) | {"flips": False}
    (tmp_path / "model.pt").write_bytes(model.read_bytes())
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="was not trained on mirror images"):
        Segmenter(tmp_path / "model.pt", flips=True)
    with pytest.raises(TypeError, match="largets"):
        Segmenter(model, largets=True)


def test_the_readers_permissions_are_those_of_files(monkeypatch, segment):
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    assert segment(with_nan(), affine=OBLIQUE).labels.shape == SHAPE
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    assert segment(nibabel.Nifti1Image(VOXELS, None)).volumes_ml is None  # its spacing is lost


@pytest.fixture
def worked_example(tmp_path, model, monkeypatch) -> dict:
    """A folder with what examples name: a run and a scan."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "acdc-few").symlink_to(model.parents[1])
    volume(tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    return {}


def test_the_examples_of_the_docstrings_run(worked_example):
    results = []
    for example in doctest.DocTestFinder(recurse=True).find(segmenter_module, "segmenter"):
        if example.examples:
            results.append(doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example))
    assert [result.failed for result in results] == [0] and results[0].attempted > 10


def test_the_examples_of_the_page_run(worked_example, tmp_path):
    (section,) = [part for part in documents.sections(documents.ROOT / "docs/predict.md") if part.startswith("From Py")]
    examples = [code for language, code in documents.FENCE.findall(section) if language == "python"]
    assert len(examples) >= 2
    for code in examples:
        exec(code, worked_example)
    assert isinstance(worked_example["result"], Segmentation)


def test_the_public_interface_is_small_and_imports_nothing_until_it_is_used():
    assert acdc_semicycle.__all__ == ["InputError", "Segmentation", "Segmenter", "__version__"]
    assert set(acdc_semicycle.__all__) <= set(dir(acdc_semicycle))
    code = (
        "import sys, acdc_semicycle; dir(acdc_semicycle); from acdc_semicycle import InputError;"
        "print(sorted({'torch', 'yaml', 'numpy', 'nibabel', 'monai', 'acdc_semicycle.inference'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    names: dict = {}
    exec("from acdc_semicycle import *", names)
    assert names["Segmenter"] is Segmenter and set(acdc_semicycle.__all__) <= set(names)
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        _ = acdc_semicycle.Segmentor
