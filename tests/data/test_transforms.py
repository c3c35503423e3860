"""From a file to normalised slices and back to the scan's own grid, with the bundle's own lists of transforms."""

import gzip
import itertools
import random
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Resize

from acdc_semicycle.artifacts.card import CARD
from acdc_semicycle.config.locations import folder
from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.slices import as_dicts
from acdc_semicycle.data.transforms import AntiAliasd, LoadCheckedd, ScaleImaged
from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.evaluation.metrics import confusion, counts, dice
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.runtime.errors import InputError

OBLIQUE = np.array([[1.2, 0.5, -3.0, 10], [-0.6, 1.3, 2.0, -40], [0.4, -0.2, 8.5, 7], [0, 0, 0, 1.0]])


@lru_cache
def parser(size: tuple[int, int], config: str) -> ConfigParser:
    """The bundle's configuration for a network of this size; lists taken from one of them know each other."""
    read = ConfigParser()
    read.read_config(folder("bundles/semicycle") / "configs" / config)
    if config == "train.json":
        read["image_size"] = list(size)
    else:
        read["card"] = CARD | {"image_size": list(size)}
    return read


def configured(name: str, size: tuple[int, int], config: str = "train.json"):
    """A list of transforms as the bundle runs it, e.g. ``train::preprocessing``."""
    return parser(size, config).get_parsed_content(name)


def train(size: tuple[int, int], data: dict) -> dict:
    return configured("train::preprocessing", size)(data)


def save(path: Path, voxels: np.ndarray, affine=OBLIQUE) -> str:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return str(path)


def pair(folder: Path, image: np.ndarray, label: np.ndarray, affine=OBLIQUE) -> dict[str, str]:
    return {
        "image": save(folder / "scan.nii.gz", image.astype(np.int16), affine),
        "label": save(folder / "scan_gt.nii.gz", label.astype(np.uint8), affine),
    }


@pytest.fixture(scope="module")
def heart(tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of one phantom, 64 x 64 x 6."""
    root = tmp_path_factory.mktemp("heart") / "phantom"
    phantom.write(root, patients=1, size=(64, 64, 6))
    record = acdc.records(root)[0]
    return tuple(np.asarray(nib.load(path).dataobj) for path in (record.image, record.label))


def refused(call, *words: str) -> None:
    """MONAI wraps what its transforms raise; a user is shown the cause, which has to say all the words."""
    with pytest.raises(Exception) as caught:
        call()
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    assert error is not None, f"no InputError behind {caught.value!r}"
    assert all(word in str(error) for word in words), error


# --- reading ---


@pytest.fixture
def scan(tmp_path) -> Path:
    voxels = np.random.default_rng(0).integers(0, 900, (16, 18, 5))
    return Path(save(tmp_path / "scan.nii.gz", voxels.astype(np.int16)))


def test_a_good_file_gives_its_shape(scan):
    assert volumes.read(scan).voxels.shape == (16, 18, 5, 1)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, -8, -4, -1])
def test_a_truncated_gz_is_refused(scan, part):
    whole = scan.read_bytes()
    scan.write_bytes(whole[: int(part * len(whole)) if part >= 0 else int(part)])
    refused(lambda: volumes.read(scan), str(scan), "copy it again")


def test_a_flipped_bit_in_a_gz_is_refused_or_harmless(scan):
    whole, expected = scan.read_bytes(), np.asarray(nib.load(scan).dataobj)
    draw, found = random.Random(0), 0
    flips = [(byte, bit) for byte in range(12) for bit in range(8)]  # gzip's own header, and
    flips += [(draw.randrange(12, len(whole)), draw.randrange(8)) for _ in range(20)]
    for byte, bit in flips:
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << bit
        scan.write_bytes(damaged)
        try:
            volumes.read(scan)
        except InputError as error:
            assert str(scan) in str(error)
            found += 1
        else:
            assert byte < 12, f"bit {bit} of byte {byte}"
            np.testing.assert_array_equal(nib.load(scan).dataobj, expected)
    assert found >= 40


@pytest.mark.parametrize("part", [0, 100, 347, 352, 1000, -1])
def test_a_truncated_nii_is_refused(scan, part):
    plain = scan.with_suffix("")
    plain.write_bytes(gzip.decompress(scan.read_bytes())[:part])
    refused(lambda: volumes.read(plain), str(plain), "copy it again")


@pytest.mark.parametrize(
    ("byte", "value", "what"),
    [(70, 5, "data type"), (42, 0, "no rows"), (41, 9, "dimensions"), (344, 0, "magic")],
)
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_a_damaged_header_is_refused(scan, tmp_path, byte, value, what, end):
    raw = bytearray(gzip.decompress(scan.read_bytes()))
    raw[byte : byte + 2] = bytes([value, 0])
    damaged = tmp_path / f"damaged{end}"
    damaged.write_bytes(gzip.compress(bytes(raw)) if end == ".nii.gz" else bytes(raw))
    refused(lambda: volumes.read(damaged), str(damaged))


def test_a_header_of_an_enormous_volume_is_refused(scan):
    raw = bytearray(gzip.decompress(scan.read_bytes()))
    for at in (42, 44, 46):
        raw[at : at + 2] = (32767).to_bytes(2, "little")
    plain = scan.with_suffix("")
    plain.write_bytes(bytes(raw))
    refused(lambda: volumes.read(plain), str(plain))


def test_colours_are_refused(tmp_path):
    rgb = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = Path(save(tmp_path / "rgb.nii.gz", rgb))
    refused(lambda: volumes.read(path), str(path))


@pytest.mark.parametrize("shape", [(6, 7, 4, 3), (6,), (6, 7, 4, 2, 3)])
def test_what_is_not_three_dimensional_is_refused(tmp_path, shape):
    path = Path(save(tmp_path / "cine.nii.gz", np.zeros(shape, np.int16)))
    refused(lambda: volumes.read(path), str(path), f"shape {shape}", "give a 3D volume")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, value):
    voxels = np.ones((4, 5, 3), np.float32)
    voxels[3, 4, 2] = value
    path = Path(save(tmp_path / "scan.nii", voxels))
    refused(lambda: volumes.read(path), str(path), "NaN or infinite", "repair it")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.NII.GZ", "scan.nrrd", "scan.mha", "scan.MHD"])
def test_a_file_that_is_no_nifti_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"patient,age\n1,62\n" * 200)
    refused(lambda: volumes.read(tmp_path / name), name, "copy it again")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(lambda: volumes.read(tmp_path / "scan.nii.gz"), "scan.nii.gz is not a file", "give a .nii")
    refused(lambda: volumes.read(tmp_path), f"{tmp_path}")


@pytest.mark.parametrize("key", ["image", "label"])
def test_the_bundle_reads_through_the_check(tmp_path, heart, key):
    data = pair(tmp_path, *heart)
    path = Path(data[key])
    path.write_bytes(path.read_bytes()[:-6])  # the checksum: nibabel alone would read this
    assert nib.load(path).get_fdata().shape == (64, 64, 6)
    for name in ("train::preprocessing", "validate::preprocessing"):
        refused(lambda name=name: configured(name, (48, 48))(data), str(path), "copy it again")


@pytest.mark.parametrize("voxels", [np.full((8, 9, 3), np.nan, np.float32), np.zeros((8, 9, 3, 2), np.int16)])
def test_the_bundle_refuses_what_the_check_refuses(tmp_path, voxels):
    """MONAI tries its own readers one after the other where ours refuses."""
    path = save(tmp_path / "scan.nii.gz", voxels)
    for name, config in (("train::preprocessing", "train.json"), ("preprocessing", "inference.json")):
        refused(lambda name=name, config=config: configured(name, (8, 9), config)({"image": path}), path)


def test_what_is_loaded_is_what_nibabel_reads(scan):
    image = LoadCheckedd("image")({"image": str(scan)})["image"]
    np.testing.assert_array_equal(image[0], nib.load(scan).get_fdata())
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


# --- image and mask belong together ---


def test_a_mask_of_the_images_grid_passes_unchanged(tmp_path):
    label = np.arange(6 * 7 * 2).reshape(6, 7, 2) % 4
    item = train((6, 7), pair(tmp_path, np.arange(84).reshape(6, 7, 2), label))
    np.testing.assert_array_equal(item["label"][0], label)


def test_a_mask_of_another_shape_is_refused(tmp_path, heart):
    image, label = heart
    data = pair(tmp_path, image, label[:, :, :5])
    refused(lambda: train((48, 48), data), data["label"], "(64, 64, 5)", "(64, 64, 6)", "image's grid")


@pytest.mark.parametrize(("value", "shown"), [(4, "label 4"), (1.5, "label 1.5"), (-1, "label -1"), (255, "label 255")])
def test_a_mask_with_a_value_that_is_no_class_is_refused(tmp_path, heart, value, shown):
    image, label = heart
    data = pair(tmp_path, image, label)
    wrong = label.astype(np.float32)
    wrong[3, 4, 5] = value
    save(Path(data["label"]), wrong)
    refused(lambda: train((48, 48), data), data["label"], shown, "whole numbers 0 to 3")


@pytest.mark.parametrize("at", [(0, 3), (1, 1), (2, 2)])
def test_a_mask_elsewhere_in_space_is_refused(tmp_path, heart, at):
    data = pair(tmp_path, *heart)
    moved = OBLIQUE.copy()
    moved[at] += 0.1
    save(Path(data["label"]), heart[1], moved)
    refused(lambda: train((48, 48), data), data["label"], "elsewhere in space", "same affine")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True), (False, True, False)])
def test_a_mask_in_another_order_of_storage_lies_where_it_lay(tmp_path, order, flipped):
    image, label = np.arange(84).reshape(6, 7, 2), np.arange(84).reshape(6, 7, 2) % 4
    data = pair(tmp_path, image, label)
    expected = train((6, 7), data)
    stored = Layout(order, flipped)
    save(Path(data["label"]), stored.apply(label.astype(np.uint8)), stored.affine(OBLIQUE, label.shape))
    item = train((6, 7), data)
    assert torch.equal(item["label"], expected["label"]) and torch.equal(item["image"], expected["image"])


def test_a_mask_in_another_order_and_elsewhere_is_refused(tmp_path):
    data, stored = pair(tmp_path, np.arange(84).reshape(6, 7, 2), np.zeros((6, 7, 2))), Layout((1, 0, 2))
    moved = stored.affine(OBLIQUE, (6, 7, 2))
    moved[0, 3] += 1
    save(Path(data["label"]), np.zeros((7, 6, 2), np.uint8), moved)
    refused(lambda: train((6, 7), data), data["label"], "elsewhere in space")


def test_rounding_of_the_affine_is_no_other_place(tmp_path, heart):
    data = pair(tmp_path, *heart)
    save(Path(data["label"]), heart[1], OBLIQUE + 1e-4)
    assert "label" in train((48, 48), data)


def test_the_check_of_masks_knows_the_number_of_classes(tmp_path):
    item = configured("train::preprocessing", (6, 7)).transforms[0](
        pair(tmp_path, np.ones((6, 7, 2)), np.full((6, 7, 2), 2))
    )
    assert (CheckLabeld("label", classes=3)(item)["label"] == item["label"]).all()
    refused(lambda: CheckLabeld("label", classes=2)(item), "label 2", "0 to 1")


def test_an_image_without_a_mask_passes(tmp_path, heart):
    data = pair(tmp_path, *heart)
    with_mask, without = train((48, 48), data), train((48, 48), {"image": data["image"]})
    assert "label" not in without
    assert torch.equal(with_mask["image"], without["image"])


# --- what the network sees ---


def by_hand_percentile(values: np.ndarray, percent: float) -> float:
    """Linear between the neighbours in the sorted list."""
    ordered = sorted(values.ravel().tolist())
    place = percent / 100 * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def twin_normalised(image: np.ndarray) -> np.ndarray:
    """[0.5 %, 99.5 %] of the whole volume to [-1, 1], the rest clipped."""
    low, high = by_hand_percentile(image, 0.5), by_hand_percentile(image, 99.5)
    return np.clip((image.astype(float) - low) / (high - low), 0, 1) * 2 - 1


def test_what_comes_out_is_as_the_networks_take_it(tmp_path, heart):
    item = train((40, 48), pair(tmp_path, *heart))
    image, label = item["image"], item["label"]
    assert image.shape == label.shape == (1, 40, 48, 6)
    assert image.dtype == label.dtype == torch.float32
    assert -1 - 1e-5 <= image.min() < -0.9 and 0.9 < image.max() <= 1 + 1e-5
    assert label.unique().tolist() == [0, 1, 2, 3]


def test_normalised_values_equal_the_slow_twin(tmp_path, heart):
    image, label = heart
    item = train((64, 64), pair(tmp_path, image, label))
    np.testing.assert_allclose(item["image"][0], twin_normalised(image), atol=1e-4)
    np.testing.assert_array_equal(item["label"][0], label)


@pytest.mark.parametrize(("gain", "offset"), [(3, 0), (1, 500), (5, -300)])
def test_brightness_and_contrast_of_the_scanner_do_not_matter(tmp_path, heart, gain, offset):
    image, label = heart
    plain = train((48, 48), pair(tmp_path, image, label))["image"]
    other = train((48, 48), pair(tmp_path, gain * image.astype(int) + offset, label))["image"]
    torch.testing.assert_close(other.as_tensor(), plain.as_tensor(), atol=1e-4, rtol=0)


def test_a_few_bright_voxels_do_not_darken_the_rest(tmp_path, heart):
    image, label = heart
    bright = image.copy()
    bright[0, :3, 0] = 32000
    plain, other = (train((64, 64), pair(tmp_path, voxels, label))["image"] for voxels in (image, bright))
    assert (plain - other).abs().median() < 0.02


def test_an_even_image_gives_numbers_in_range(tmp_path):
    image = train((8, 8), pair(tmp_path, np.full((9, 9, 2), 7), np.zeros((9, 9, 2))))["image"]
    assert torch.isfinite(image).all() and image.abs().max() <= 1


def test_an_image_of_which_one_value_holds_nearly_all_is_scaled_by_the_rest(tmp_path):
    """A crop in a padded field: as dark and as bright as the crop alone, where the padding is black."""
    crop = np.random.default_rng(0).integers(100, 30000, (20, 20, 1))
    voxels = np.zeros((300, 300, 1), int)
    voxels[40:60, 70:90] = crop
    found = scaled(save(tmp_path / "padded.nii.gz", voxels.astype(np.int16)))
    alone = scaled(save(tmp_path / "alone.nii.gz", crop.astype(np.int16)))
    np.testing.assert_allclose(np.sort(found[voxels > 0]), np.sort(alone.ravel()), atol=1e-5)
    assert set(found[voxels == 0]) == {-1.0} and (found.min(), found.max()) == (-1, 1)


@pytest.mark.parametrize("value", [-500, 30000])
def test_two_values_are_the_ends_of_the_range_however_rare_one_of_them_is(tmp_path, value, recwarn):
    voxels = np.zeros((100, 100, 1), np.int16)
    voxels[5, 5:25] = value
    found = scaled(save(tmp_path / "scan.nii.gz", voxels))
    assert set(found[voxels == value]) == {np.sign(value)} and set(found[voxels == 0]) == {-np.sign(value)}
    assert not [warning for warning in recwarn if "Divide by zero" in str(warning.message)]


def scaled(path: str) -> np.ndarray:
    """The scan's intensities as a network gets them, at its own resolution, as they are stored."""
    image = ScaleImaged("image")(LoadCheckedd("image")({"image": path}))["image"]
    return volumes.read(path).layout.undo(image.as_tensor()[0].numpy())


def test_slice_k_of_the_output_is_slice_k_of_the_volume(tmp_path):
    depth = np.broadcast_to(np.arange(7), (20, 30, 7))
    item = train((16, 12), pair(tmp_path, 100 * depth, depth % 4))
    expected = twin_normalised(100 * depth)[0, 0]
    for k in range(7):  # away from the border, which MONAI's smoothing mixes with 0
        np.testing.assert_allclose(item["image"][0, 2:-2, 2:-2, k], expected[k], atol=1e-3)
        assert (item["label"][0, :, :, k] == k % 4).all()


@pytest.mark.parametrize("size", [(24, 21), (60, 90), (40, 52)])
def test_masks_are_resized_by_the_nearest_voxels_middle(tmp_path, heart, size):
    label = heart[1][:40, :52]
    out = train(size, pair(tmp_path, heart[0][:40, :52], label))["label"][0]
    rows, columns = ([int((i + 0.5) * n / m) for i in range(m)] for n, m in zip((40, 52), size, strict=True))
    np.testing.assert_array_equal(out, label[np.ix_(rows, columns)])


@pytest.mark.parametrize("size", [(24, 21), (20, 90), (60, 90)])
def test_smoothing_before_shrinking_is_monais_own(size):
    image = MetaTensor(torch.rand(3, 50, 64, 2), meta={"filename_or_obj": "a"})
    ours = Resize((*size, -1), mode="trilinear")(AntiAliasd("image", size)({"image": image})["image"])
    theirs = Resize((*size, -1), mode="trilinear", anti_aliasing=True)(image)
    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(24, 21), (60, 90)])
def test_a_ramp_stays_where_it_is_when_images_are_resized(tmp_path, axis, size):
    shape = (40, 52, 3)
    ramp = np.broadcast_to(np.arange(shape[axis]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1)), shape) * 10
    out = train(size, pair(tmp_path, ramp, np.zeros(shape)))["image"][0]
    low, high = by_hand_percentile(ramp, 0.5), by_hand_percentile(ramp, 99.5)
    places = (np.arange(size[axis]) + 0.5) * shape[axis] / size[axis] - 0.5
    expected = (10 * places - low) / (high - low) * 2 - 1
    inner = slice(5, -5)
    np.testing.assert_allclose(np.moveaxis(out.numpy(), axis, 0)[inner, 9, 1], expected[inner], atol=2e-3)


def test_a_pattern_finer_than_the_networks_grid_turns_grey(tmp_path):
    stripes = np.broadcast_to((np.arange(120) % 2).reshape(-1, 1, 1) * 800, (120, 12, 2))
    out = train((44, 12), pair(tmp_path, stripes, np.zeros(stripes.shape)))["image"][0, 6:-6]
    assert out.abs().max() < 0.3


def test_training_validation_and_prediction_see_the_same_image(tmp_path, heart):
    data = pair(tmp_path, heart[0][:40, :52], heart[1][:40, :52])
    images = [
        configured("train::preprocessing", (48, 36))(data)["image"],
        configured("validate::preprocessing", (48, 36))(data)["image"],
        configured("preprocessing", (48, 36), "inference.json")({"image": data["image"]})["image"],
    ]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_validation_keeps_the_mask_on_the_scans_own_grid(tmp_path, heart):
    label = heart[1][:40, :52]
    item = configured("validate::preprocessing", (48, 36))(pair(tmp_path, heart[0][:40, :52], label))
    np.testing.assert_array_equal(item["label"][0], label)


# --- the way back ---


def way_back(data: dict, size: tuple[int, int], network) -> dict:
    """Validation as the engine runs it: collated, predicted, taken apart, brought back to the scan's grid."""
    batch = next(iter(DataLoader(Dataset([data], configured("validate::preprocessing", size)), batch_size=1)))
    batch["pred"] = network(batch["image"])
    return configured("validate::postprocessing", size)(decollate_batch(batch)[0])


def by_brightness(image: torch.Tensor) -> torch.Tensor:
    """A network that looks at one voxel at a time: four classes from dark to bright."""
    return torch.cat([-30 * (image - middle) ** 2 for middle in (-0.8, -0.2, 0.3, 0.8)], dim=1)


@pytest.mark.parametrize("size", [(48, 48), (56, 44), (80, 96)])
@pytest.mark.parametrize("shape", [(64, 64), (52, 60)])
def test_the_truth_at_the_networks_resolution_comes_back_to_the_scans_grid(tmp_path, heart, shape, size):
    top, left = (64 - shape[0]) // 2, (64 - shape[1]) // 2
    image, label = (voxels[top : top + shape[0], left : left + shape[1]] for voxels in heart)
    data = pair(tmp_path, image, label)
    coarse = train(size, data)["label"].as_tensor()[0].long()
    out = way_back(data, size, lambda _: 20 * torch.nn.functional.one_hot(coarse, 4).movedim(-1, 0)[None].float())
    assert out["pred"].shape == out["label"].shape == (1, *shape, 6)
    np.testing.assert_allclose(out["pred"].affine, nib.load(data["image"]).affine, atol=1e-5)
    scores = dice(counts(confusion(out["pred"], torch.tensor(label)[None], 4)))
    assert (scores > 0.9).all(), scores
    for k in range(6):  # and slice by slice
        there = torch.tensor(label[..., k] > 0)
        assert (((out["pred"][0, ..., k] > 0) & there).sum() >= 0.9 * there.sum()).all()


def test_a_prediction_comes_back_over_what_it_was_made_of(tmp_path, heart):
    """Non-square and oblique: what is bright in the scan is bright in its label map."""
    image, label = (voxels[8:48, 6:58] for voxels in heart)
    data = pair(tmp_path, image, label)
    out = way_back(data, (48, 48), by_brightness)["pred"][0]
    direct = by_brightness(torch.tensor(twin_normalised(image))[None, None]).argmax(1)[0]
    assert (out == direct).float().mean() > 0.75
    for axis, step in itertools.product((0, 1, 2), (-1, 1)):
        assert (out == direct.roll(step, axis)).float().mean() < (out == direct).float().mean()


@pytest.mark.parametrize(
    "stored",
    [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v[:, :, ::-1], lambda v: v.transpose(1, 0, 2)],
    ids=["left-right", "up-down", "base-apex", "transposed"],
)
def test_a_scan_stored_the_other_way_round_gets_its_mask_the_other_way_round(tmp_path, heart, stored):
    image, label = (voxels[4:56, 8:60] for voxels in heart)
    plain = way_back(pair(tmp_path, image, label), (48, 48), by_brightness)["pred"][0].numpy()
    other = way_back(pair(tmp_path, stored(image), stored(label)), (48, 48), by_brightness)["pred"][0].numpy()
    assert (other == stored(plain)).mean() > 0.999  # but for rounding at a tie


def test_both_resolutions_are_measured_against_their_own_truth(tmp_path, heart):
    data = pair(tmp_path, *heart)
    coarse = train((48, 48), data)["label"]
    out = way_back(data, (48, 48), by_brightness)
    assert out["pred_network"].shape == out["label_network"].shape == (1, 48, 48, 6)
    np.testing.assert_array_equal(out["label_network"], coarse)
    np.testing.assert_array_equal(out["label"][0], heart[1])
    seen = configured("validate::preprocessing", (48, 48))(data)["image"].as_tensor()[None]
    np.testing.assert_array_equal(out["pred_network"], by_brightness(seen).argmax(1))


def test_a_real_scan_goes_there_and_back(acdc_dir):
    record = acdc.records(acdc_dir)[0]
    (data,) = as_dicts([record])
    item = train((96, 96), data)
    assert item["image"].shape[1:3] == (96, 96) and item["image"].abs().max() <= 1 + 1e-5
    coarse = item["label"].as_tensor()[0].long()
    out = way_back(data, (96, 96), lambda _: 20 * torch.nn.functional.one_hot(coarse, 4).movedim(-1, 0)[None].float())
    truth = torch.tensor(np.asarray(nib.load(record.label).dataobj)[None])
    assert out["pred"].shape == truth.shape
    assert (dice(counts(confusion(out["pred"], truth, 4))) > 0.85).all()
