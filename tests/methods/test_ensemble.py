"""Several networks as one."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.inference.looks import two_looks
from acdc_semicycle.methods.ensemble import Ensemble, build
from acdc_semicycle.methods.networks import ResidualGenerator

DESCRIPTION = {
    "class": "acdc_semicycle.methods.ResidualGenerator",
    "arguments": {"in_channels": 1, "out_channels": 4, "filters": 2, "blocks": 1},
}


def members(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [ResidualGenerator(1, 4, filters=2, blocks=1).eval() for _ in range(count)]


def mean_probabilities(logits: list[np.ndarray]) -> np.ndarray:
    """The slow twin: softmax over classes, then the mean over members."""
    total = np.zeros(logits[0].shape)
    for values in logits:
        exponentials = np.exp(values.astype(float) - values.max(1, keepdims=True))
        total += exponentials / exponentials.sum(1, keepdims=True)
    return total / len(logits)


def test_the_exponential_of_the_output_is_the_mean_of_the_probabilities():
    networks, x = members(3), torch.randn(2, 1, 16, 20)
    with torch.no_grad():
        found = Ensemble(networks).eval()(x)
        expected = mean_probabilities([network(x).numpy() for network in networks])
    assert found.shape == (2, 4, 16, 20)
    np.testing.assert_allclose(found.exp().numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.softmax(1).numpy(), expected, rtol=1e-5)  # whoever takes it for logits


class Fixed(nn.Module):
    """The same logits for each pixel of every image."""

    def __init__(self, *logits: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.logits = torch.tensor(logits, dtype=dtype)[None, :, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1, *x.shape[2:])


def test_it_is_no_mean_of_logits():
    sure, unsure = Fixed(100.0, 0.0), Fixed(0.0, 1.0)  # the mean of the logits would be for the first class
    found = Ensemble([sure, unsure, unsure])(torch.zeros(1, 1, 1, 1)).exp()[0, :, 0, 0]
    second = 2 / 3 / (1 + np.exp(-1))
    np.testing.assert_allclose(found, [1 - second, second], rtol=1e-5)


def test_probabilities_that_underflow_stay_finite_and_bf16_ends_in_single_precision():
    found = Ensemble([Fixed(1e4, 0.0, dtype=torch.bfloat16)] * 2)(torch.zeros(1, 1, 2, 2))
    assert found.dtype == torch.float32 and bool(found.isfinite().all())
    assert found[0, 1, 0, 0] == pytest.approx(-1e4, rel=1e-2)


def test_a_description_makes_one_network_or_an_ensemble_of_them():
    assert isinstance(build(DESCRIPTION), ResidualGenerator)
    ensemble = build(DESCRIPTION, 2)
    names = [f"members.{number}.{name}" for number in range(2) for name in build(DESCRIPTION).state_dict()]
    assert list(ensemble.state_dict()) == names


def test_an_ensemble_of_windowed_networks_looks_twice():
    torch.manual_seed(1)
    with torch.no_grad():
        found = two_looks(torch.randn(1, 1, 32, 32, 3), Ensemble(members(2)).eval(), [16, 16])
    assert found.shape == (1, 4, 32, 32, 3)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 32, 32, 3))
