"""What a network sees in its deepest layer."""

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from acdc_semicycle.annotation.bottleneck import pooled
from acdc_semicycle.methods.networks import ResidualGenerator


class Halves(nn.Module):
    """A network whose deepest layer is the mean over blocks of two by two."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.up(self.down(x))


def test_the_features_are_the_mean_over_the_structures():
    slices = torch.arange(32.0).reshape(2, 1, 4, 4)
    structures = torch.zeros(2, 4, 4, dtype=torch.bool)
    structures[0, :2, :2] = structures[1, 2:, 2:] = True
    expected = (slices[0, 0, :2, :2].mean() + slices[1, 0, 2:, 2:].mean()) / 2
    assert pooled(Halves(), slices, structures) == pytest.approx([float(expected)])


def test_without_structures_the_mean_is_over_all():
    slices = torch.arange(32.0).reshape(2, 1, 4, 4)
    assert pooled(Halves(), slices, torch.zeros(2, 4, 4, dtype=torch.bool)) == pytest.approx([15.5])


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (ResidualGenerator(1, 3, filters=2, blocks=1), 8),
        (BasicUNet(2, 1, 3, features=(4, 4, 4, 4, 12, 4)), 12),
    ],
)
def test_the_deepest_layer_is_found_in_any_network(network, channels):
    network.eval()
    features = pooled(network, torch.rand(5, 1, 32, 32), torch.ones(5, 32, 32, dtype=torch.bool))
    assert features.shape == (channels,)
    assert not any(module._forward_hooks for module in network.modules())  # nothing listens any longer
