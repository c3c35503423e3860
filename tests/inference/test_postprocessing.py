"""Largest components, holes and flips do what their names say, and nothing else."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd, Flip, Invertd, Resized

from acdc_semicycle.inference.postprocessing import (
    AT_ONCE,
    FlipInferer,
    OnOwnGridd,
    Refined,
    without_holes,
)
from acdc_semicycle.runtime.errors import InputError


def heart() -> np.ndarray:
    """A cavity (3) in a ring (2) beside a ventricle (1), in four slices."""
    x, y = np.meshgrid(np.arange(24) - 12, np.arange(24) - 10, indexing="ij")
    radius = np.hypot(x, y)
    plane = np.where(radius < 3, 3, np.where(radius < 6, 2, 0))
    plane[(np.abs(x) < 3) & (y > 6) & (y < 10)] = 1
    return np.repeat(plane[..., None], 4, axis=2).astype(np.uint8)


def test_a_hole_gets_the_label_around_it_and_the_ring_keeps_its_cavity():
    labels = heart()
    labels[12, 10, 1] = 0  # in the cavity
    labels[12, 14, 2] = 0  # in the wall
    np.testing.assert_array_equal(without_holes(labels), heart())


def test_what_is_open_to_the_outside_is_no_hole():
    labels = heart()
    labels[12, 10:, 1] = 0
    np.testing.assert_array_equal(without_holes(labels), labels)


def test_a_ring_without_a_cavity_is_filled_slice_by_slice():
    labels = heart()
    labels[labels == 3] = 0
    assert (without_holes(labels) == np.where(heart() == 3, 2, heart())).all()


def test_switches_are_off_by_default_and_an_empty_map_stays_empty():
    labels = heart()
    labels[0, 0, 0], labels[12, 10, 1] = 3, 0
    given = {"pred": torch.as_tensor(labels)[None]}
    assert torch.equal(torch.as_tensor(Refined("pred")(given)["pred"]), given["pred"])
    both = Refined("pred", largest=True, holes=True)
    np.testing.assert_array_equal(both(given)["pred"][0], heart())
    empty = {"pred": torch.zeros(1, 8, 8, 2, dtype=torch.uint8)}
    assert not both(empty)["pred"].any()
    assert not Refined("pred", largest=True, adjacent=True)(empty)["pred"].any()


def test_of_structures_side_by_side_the_largest_component_of_all_together_comes_first():
    """Of a structure whose larger part lies in another place, the part beside the others stays."""
    labels = np.zeros((20, 20, 3), np.uint8)
    labels[4:9, 4:9] = 2
    labels[9:11, 5:7, 1] = 1  # beside 2, and smaller than
    labels[15:19, 15:19, 1] = 1  # this one
    given = {"pred": torch.as_tensor(labels)[None]}
    expected = labels.copy()
    expected[15:, 15:] = 0
    np.testing.assert_array_equal(Refined("pred", largest=True, adjacent=True)(given)["pred"][0], expected)
    expected = labels.copy()
    expected[9:11] = 0
    np.testing.assert_array_equal(Refined("pred", largest=True)(given)["pred"][0], expected)
    assert torch.equal(torch.as_tensor(Refined("pred", adjacent=True)(given)["pred"]), given["pred"])


def test_a_speck_in_the_cavity_becomes_cavity_with_both_switches():
    labels = heart()
    labels[12, 10, 1] = 1
    both = Refined("pred", largest=True, holes=True)
    np.testing.assert_array_equal(both({"pred": torch.as_tensor(labels)[None]})["pred"][0], heart())


def test_flips_are_the_mean_over_the_four_mirror_images():
    """The slow twin: each mirror image by itself, turned back, and the mean of the probabilities."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    x = torch.randn(1, 1, 8, 12, 3)
    inferer = FlipInferer(flips=True, roi_size=[8, 12], sw_batch_size=2, spatial_dim=2)
    found = inferer(x, network).softmax(1)
    total = torch.zeros(3, 8, 12, 3)
    for z in range(3):
        for axes in ([], [1], [2], [1, 2]):
            logits = network(x[0, :, :, :, z].flip(axes)[None])[0]
            total[..., z] += logits.softmax(0).flip(axes) / 4
    torch.testing.assert_close(found[0], total)
    assert inferer.votes.shape == (4, 8, 12, 3)
    assert torch.equal(
        inferer.votes[0], FlipInferer(roi_size=[8, 12], sw_batch_size=2, spatial_dim=2)(x, network)[0].argmax(0)
    )


def test_without_flips_it_is_monais_slice_inferer():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    x = torch.randn(1, 1, 8, 12, 3)
    inferer = FlipInferer(roi_size=[8, 12], sw_batch_size=2, spatial_dim=2)
    expected = torch.stack([network(x[..., z]) for z in range(3)], -1)
    torch.testing.assert_close(inferer(x, network), expected)
    assert inferer.votes is None


@pytest.mark.parametrize("size", [(12, 16), (21, 30)])
def test_back_on_the_own_grid_labels_are_what_monais_own_transforms_make_them(size):
    """Softmax, the resizing undone, argmax: MONAI's chain, on more slices than are carried back at once."""
    torch.manual_seed(0)
    resized = Compose([Resized("image", (12, 16, -1), mode="trilinear")])
    affine = torch.diag(torch.tensor([1.4, 1.6, 9.0, 1.0], dtype=torch.float64))
    data = resized({"image": MetaTensor(torch.rand(1, *size, AT_ONCE + 3), affine=affine)})
    data["pred"] = MetaTensor(torch.randn(4, 12, 16, AT_ONCE + 3), affine=data["image"].affine)
    slow = Compose([
        Activationsd("pred", softmax=True),
        CopyItemsd("pred", names="pred_network"),
        Invertd("pred", transform=resized, orig_keys="image", nearest_interp=False),
        CopyItemsd("pred", names="probabilities"),
        AsDiscreted("pred", argmax=True),
    ])(data)  # fmt: skip
    found = OnOwnGridd("pred", probabilities=True)(data)
    assert torch.equal(found["pred"].as_tensor(), slow["pred"].as_tensor().byte())
    for key in ("pred_network", "probabilities"):
        torch.testing.assert_close(found[key], slow[key].as_tensor())
    torch.testing.assert_close(found["pred"].affine, affine)
    assert "probabilities" not in OnOwnGridd("pred")(data)


def test_a_volume_that_was_not_resized_alone_is_refused():
    item = {"image": Flip(0)(MetaTensor(torch.rand(1, 8, 10, 3))), "pred": torch.rand(4, 8, 10, 3)}
    with pytest.raises(InputError, match="went through Flip: only one Resized can be undone"):
        OnOwnGridd("pred")(item)
