"""The switch `deterministic`: no operation that torch has no deterministic form of, and the same training."""

import os
import sys

import pytest
import torch
from tiny import batch_of
from torch import nn

from acdc_semicycle.config import startup
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.hung import FullyConvolutionalDiscriminator, Hung, enlarged
from acdc_semicycle.methods.losses import weigh
from acdc_semicycle.methods.networks import PixelDiscriminator, ReflectionPad, ResidualGenerator
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.methods.supervised import Supervised
from tests.config.test_bundle import train

K = 3
# What torch 2.13's documentation of `use_deterministic_algorithms` says to raise on CUDA when gradients are computed.
RAISES = ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool3D", "CtcLoss", "Cumsum", "EmbeddingBag", "FractionalMaxPool")
RAISES += ("GridSampler", "Histc", "Kthvalue", "MaxUnpool", "Median", "NllLoss", "Put", "ReflectionPad", "Resize")
RAISES += ("UpsampleBicubic", "UpsampleBilinear", "UpsampleLinear", "UpsampleTrilinear")


@pytest.fixture(autouse=True)
def switched_off_afterwards(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield
    torch.use_deterministic_algorithms(False)


def method(name: str):
    torch.manual_seed(0)
    G_IS = ResidualGenerator(1, K, 2, 1)
    if name == "semicycle":
        G_SI = ResidualGenerator(K, 1, 2, 1, activation=nn.Tanh())
        return SemiCycle(G_IS, G_SI, PixelDiscriminator(K, 4), PixelDiscriminator(1, 4))
    return Supervised(G_IS) if name == "supervised" else Hung(G_IS, FullyConvolutionalDiscriminator(K, 2), 0)


def one_step(name: str) -> list[torch.Tensor]:
    """What is minimised in one training step: the generators' sum and, if there are any, the discriminators'."""
    objective, random = method(name), torch.Generator().manual_seed(1)
    x, u = (torch.rand(2, 1, 32, 32, generator=random) * 2 - 1 for _ in "xu")
    y = one_hot(torch.randint(K + 1, (2, 1, 32, 32), generator=random), K)
    terms, made = objective.generator_terms(batch_of(x, y, u))
    both = [terms, objective.discriminator_terms(batch_of(x, y, u), made)]
    assert {name for each in both for name in each} == set(objective.terms)
    return [weigh(each, dict.fromkeys(each, 1.0)) for each in both if each]


def operations(loss: torch.Tensor) -> set[str]:
    """The names of all that is computed on the way back from a loss."""
    seen, names, todo = set(), set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.add(node.name())
            todo += [after for after, _ in node.next_functions]
    return names


def forbidden(losses: list[torch.Tensor]) -> set[str]:
    return {name for loss in losses for name in operations(loss) if name.startswith(RAISES)}


@pytest.mark.parametrize("name", ["semicycle", "supervised", "hung"])
def test_no_step_back_is_one_that_cuda_cannot_repeat(name):
    found = forbidden(one_step(name))
    assert "ReflectionPad2DBackward0" in found  # so this test can fail
    assert ("UpsampleBilinear2DBackward0" in found) == (name == "hung")
    torch.use_deterministic_algorithms(True)
    assert not forbidden(one_step(name))


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: nn.functional.cross_entropy(x, torch.zeros(2, 8, 8, dtype=torch.long)), "NllLoss2DBackward0"),
        (
            lambda x: nn.functional.grid_sample(x, torch.zeros(2, 4, 4, 2), align_corners=False),
            "GridSampler2DBackward0",
        ),
        (lambda x: nn.functional.adaptive_avg_pool2d(x, 3), "AdaptiveAvgPool2DBackward0"),
        (lambda x: x.cumsum(-1), "CumsumBackward0"),
    ],
)
def test_a_step_back_that_cuda_cannot_repeat_is_found(operation, name):
    assert forbidden([operation(torch.zeros(2, 3, 8, 8, requires_grad=True) * 1)]) == {name}


@pytest.mark.parametrize("name", ["semicycle", "supervised", "hung"])
def test_losses_are_the_same_with_and_without(name):
    plain = one_step(name)
    torch.use_deterministic_algorithms(True)
    torch.testing.assert_close(one_step(name), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [
        (ReflectionPad(1), nn.ReflectionPad2d(1), (2, 3, 2, 5)),
        (ReflectionPad(3), nn.ReflectionPad2d(3), (2, 3, 4, 9)),
        (lambda x: enlarged(x, (64, 40)), nn.Upsample((64, 40), mode="bilinear"), (2, 3, 2, 1)),
        (lambda x: enlarged(x, (7, 9)), nn.Upsample((7, 9), mode="bilinear"), (2, 3, 5, 4)),
    ],
)
def test_a_deterministic_form_is_torchs_own_forwards_and_backwards(ours, torchs, shape):
    def of(operation):
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out = operation(x)
        (out * torch.rand(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
        return out, x.grad

    expected = of(torchs)
    assert [torch.equal(a, b) for a, b in zip(of(ours), expected, strict=True)] == [True, True]
    torch.use_deterministic_algorithms(True)
    assert not forbidden([ours(torch.rand(shape, requires_grad=True)).sum()])
    torch.testing.assert_close(of(ours), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [8, 32])
def test_the_weights_have_the_same_names(size):
    names = list(ResidualGenerator(1, K, size, 2).state_dict())
    torch.use_deterministic_algorithms(True)
    assert list(ResidualGenerator(1, K, size, 2).state_dict()) == names


@pytest.mark.slow
def test_the_bundles_switch_is_heard_and_two_runs_are_one(tmp_path, phantom_dir):
    for name in "ab":
        train(tmp_path / name, dataset_dir=str(phantom_dir), deterministic=True)
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
        assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
    one, other = (torch.load(tmp_path / name / "models" / "model.pt", weights_only=True) for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    startup.seed(0)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_workspace_that_was_chosen_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    startup.seed(3, True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8" and torch.initial_seed() == 3
