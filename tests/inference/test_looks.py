"""Two looks at a scan: where the second one looks, what it sees there, and what is outside."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.data.appearance import standardised
from acdc_semicycle.inference import FlipInferer
from acdc_semicycle.inference.looks import structures_box, two_looks

WINDOW = (32, 40)


class Striped(nn.Module):
    """Sees a structure where an image is not grey, as far as a window's mean is grey; keeps what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return torch.cat([10 * (0.4 - x.abs()), 10 * (x.abs() - 0.4)], 1)


def scan(*boxes, shape=(96, 120), slices=3) -> torch.Tensor:
    """Grey, with structures of black and white stripes."""
    image = torch.rand(1, 1, *shape, slices, generator=torch.Generator().manual_seed(0)) * 0.02
    stripes = torch.ones(shape)
    stripes[:, ::2] = -1
    for rows, columns in boxes:
        image[0, 0, slice(*rows), slice(*columns)] = stripes[slice(*rows), slice(*columns), None]
    return image


def labels(probabilities: torch.Tensor) -> np.ndarray:
    return probabilities[0].argmax(0).numpy()


def test_the_second_look_is_a_window_around_the_structures_at_full_resolution():
    image, network = scan(((40, 52), (60, 75))), Striped()
    result = two_looks(image, network, WINDOW, at_once=2)
    assert [tuple(seen.shape[-2:]) for seen in network.seen] == [WINDOW] * 4  # two looks of three slices, two at once
    fine = torch.cat(network.seen[2:])
    part = image[0].movedim(-1, 0)[..., 30:62, 48:88]
    assert any(
        torch.allclose(fine, standardised(image[0].movedim(-1, 0)[..., r : r + 32, c : c + 40]), atol=1e-4)
        for r in range(26, 36)
        for c in range(44, 52)
    ), part.shape
    assert result.shape == (1, 2, 96, 120, 3)
    torch.testing.assert_close(result.sum(1), torch.ones(1, 96, 120, 3))
    assert (labels(result)[40:52, 60:75] == 1).all() and labels(result).sum() == 12 * 15 * 3


def test_outside_the_windows_all_is_background():
    image = scan(((40, 52), (60, 75)), ((2, 4), (2, 4)))  # the speck is a tenth of the other and less
    result = two_looks(image, Striped(), WINDOW)
    assert labels(result).sum() == 12 * 15 * 3
    assert (result[0, 0, :10, :10] == 1).all()


@pytest.mark.parametrize("box", [((10, 90), (10, 110)), ((0, 96), (0, 30)), ((50, 96), (100, 120))])
def test_structures_larger_than_a_window_or_at_the_edge_are_covered(box):
    image = scan(box)
    result = two_looks(image, Striped(), WINDOW)
    expected = np.zeros((96, 120, 3))
    expected[slice(*box[0]), slice(*box[1])] = 1
    assert (labels(result) == expected).mean() > 0.97


def test_a_scan_without_structures_stays_as_the_first_look_saw_it():
    network = Striped()
    result = two_looks(torch.zeros(1, 1, 96, 120, 2), network, WINDOW)
    assert len(network.seen) == 1 and labels(result).sum() == 0


def test_a_slice_that_fits_into_a_window_is_seen_once():
    image, network = scan(((5, 20), (8, 20)), shape=(30, 40)), Striped()
    result = two_looks(image, network, WINDOW)
    assert len(network.seen) == 1 and result.shape == (1, 2, 30, 40, 3)
    assert (labels(result)[6:19, 9:19] == 1).all()


def test_the_box_leaves_out_components_of_less_than_a_tenth_of_the_largest():
    volume = np.zeros((4, 30, 40), np.uint8)
    volume[:3, 5:15, 20:30] = 1  # 300
    volume[1:, 20:25, 0:3] = 2  # 45
    volume[0, 29, 39] = 1
    assert structures_box(volume) == [(5, 25), (0, 30)]
    assert structures_box(volume, noise=0.0) == [(5, 30), (0, 40)]
    assert structures_box(np.zeros((2, 5, 5))) is None


@pytest.mark.parametrize("flips", [False, True])
def test_the_inferer_looks_twice_for_a_network_of_windows(flips):
    image, network = scan(((40, 52), (60, 75))), Striped()
    inferer = FlipInferer(flips=flips, window=WINDOW, roi_size=(96, 120), sw_batch_size=4, spatial_dim=2)
    result = inferer(image, network)
    assert labels(result).sum() == 12 * 15 * 3
    assert (inferer.votes is not None) == flips
    if flips:
        assert (inferer.votes.numpy() == labels(result)).all()
    assert {tuple(seen.shape[-2:]) for seen in network.seen} == {WINDOW}
