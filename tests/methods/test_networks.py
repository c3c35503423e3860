"""The networks of the paper, layer by layer and parameter by parameter."""

import pytest
import torch
from torch import nn

from acdc_semicycle.methods.networks import (
    InstanceNorm,
    PixelDiscriminator,
    ReflectionPad,
    ResidualBlock,
    ResidualGenerator,
)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs: int, outputs: int, size: int) -> int:
    return inputs * outputs * size**2 + outputs


@pytest.mark.parametrize(("C", "K"), [(1, 4), (4, 1), (3, 21)])
def test_the_papers_generator_has_as_many_parameters_as_its_layers_say(C, K):
    with torch.device("meta"):
        generator = ResidualGenerator(C, K)
    encoder = convolution(C, 64, 7) + convolution(64, 128, 3) + convolution(128, 256, 3)
    blocks = 9 * 2 * convolution(256, 256, 3)
    decoder = convolution(256, 128, 3) + convolution(128, 64, 3) + convolution(64, K, 7)
    assert count(generator) == encoder + blocks + decoder
    assert (C, K) != (1, 4) or count(generator) == 11_375_044


@pytest.mark.parametrize(("channels", "parameters"), [(4, 9025), (1, 8833)])
def test_the_papers_discriminators_have_as_many_parameters_as_their_layers_say(channels, parameters):
    batch_norm = 2 * 128
    layers = convolution(channels, 64, 1) + convolution(64, 128, 1) + batch_norm + convolution(128, 1, 1)
    assert count(PixelDiscriminator(channels)) == layers == parameters


def test_the_generator_is_laid_out_as_in_the_paper():
    with torch.device("meta"):
        layers = list(ResidualGenerator(1, 4).layers)

    def kinds(place: int, length: int) -> list[type]:
        return [type(layer) for layer in layers[place : place + length]]

    assert kinds(0, 4) == [ReflectionPad, nn.Conv2d, InstanceNorm, nn.ReLU]
    assert kinds(4, 6) == 2 * [nn.Conv2d, InstanceNorm, nn.ReLU]
    assert kinds(10, 9) == 9 * [ResidualBlock]
    assert kinds(19, 6) == 2 * [nn.ConvTranspose2d, InstanceNorm, nn.ReLU]
    assert kinds(25, 9) == [ReflectionPad, nn.Conv2d]

    sizes = [
        (layer.in_channels, layer.out_channels, *layer.kernel_size, *layer.stride)
        for layer in layers
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert sizes == [
        (1, 64, 7, 7, 1, 1),
        (64, 128, 3, 3, 2, 2),
        (128, 256, 3, 3, 2, 2),
        (256, 128, 3, 3, 2, 2),
        (128, 64, 3, 3, 2, 2),
        (64, 4, 7, 7, 1, 1),
    ]


def test_a_residual_block_is_two_convolutions_and_dropout_only_if_asked_for():
    plain = [ReflectionPad, nn.Conv2d, InstanceNorm]
    assert [type(layer) for layer in ResidualBlock(4).f] == [*plain, nn.ReLU, *plain]
    dropping = ResidualBlock(4, dropout=0.3)
    assert [type(layer) for layer in dropping.f] == [*plain, nn.ReLU, nn.Dropout, *plain]
    assert dropping.f[4].p == 0.3


def test_a_residual_block_adds_to_what_it_is_given():
    block, x = ResidualBlock(2), torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(block(x) - x, block.f(x))


def test_dropout_reaches_every_block_of_the_generator():
    assert sum(isinstance(m, nn.Dropout) for m in ResidualGenerator(1, 4, 2, 3, dropout=0.5).modules()) == 3
    assert not any(isinstance(m, nn.Dropout) for m in ResidualGenerator(1, 4, 2, 3).modules())


def test_the_discriminator_is_laid_out_as_in_the_paper():
    layers = PixelDiscriminator(4).layers
    kinds = [nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.Conv2d]
    assert [type(layer) for layer in layers] == kinds
    assert layers[1].negative_slope == layers[4].negative_slope == 0.2
    assert [layers[i].out_channels for i in (0, 2, 5)] == [64, 128, 1]


def test_the_discriminator_takes_another_norm_in_the_place_of_batch_norm():
    layers = PixelDiscriminator(4, 8, norm=nn.InstanceNorm2d).layers
    kinds = [nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.InstanceNorm2d, nn.LeakyReLU, nn.Conv2d]
    assert [type(layer) for layer in layers] == kinds
    assert layers[3].num_features == 16


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 16), (20, 12)])
def test_outputs_are_as_large_as_inputs(height, width):
    assert ResidualGenerator(1, 4, 2, 1)(torch.zeros(2, 1, height, width)).shape == (2, 4, height, width)
    assert ResidualGenerator(4, 3, 2, 1)(torch.zeros(2, 4, height, width)).shape == (2, 3, height, width)
    assert PixelDiscriminator(4, 2)(torch.zeros(2, 4, height, width)).shape == (2, 1, height, width)


@pytest.mark.parametrize(("height", "width"), [(10, 8), (8, 14), (9, 9), (4, 4), (8, 4), (4, 8)])
def test_sizes_the_generator_cannot_give_back_are_refused(height, width):
    with pytest.raises(ValueError, match=f"got {height} x {width} pixels: give multiples of 4, at least 8 x 8"):
        ResidualGenerator(1, 4, 2, 1)(torch.zeros(1, 1, height, width))


def loud(network: nn.Module) -> nn.Module:
    """The same network with weights so large that activations saturate."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 3)
    return network


def test_painted_images_stay_within_minus_one_and_one_and_logits_do_not():
    torch.manual_seed(0)
    y, x = torch.rand(2, 4, 16, 16), torch.randn(2, 1, 16, 16)
    painted = loud(ResidualGenerator(4, 1, 2, 1, activation=nn.Tanh()))(y)
    assert painted.abs().max() <= 1
    assert painted.min() < -0.9 and painted.max() > 0.9
    assert loud(ResidualGenerator(1, 4, 2, 1))(x).abs().max() > 2


def test_discriminator_scores_are_not_squashed():
    torch.manual_seed(0)
    scores = loud(PixelDiscriminator(4, 4))(torch.randn(2, 4, 8, 8))
    assert scores.min() < 0 and scores.max() > 1


def test_instance_norm_has_neither_parameters_nor_statistics():
    norms = [m for m in ResidualGenerator(1, 4, 2, 2).modules() if isinstance(m, InstanceNorm)]
    assert len(norms) == 3 + 2 * 2 + 2
    assert all(not norm.state_dict() for norm in norms)


@pytest.mark.parametrize("shape", [(3, 5, 8, 12), (1, 1, 2, 2), (2, 64, 16, 16)])
def test_instance_norm_is_torchs(shape):
    torch.manual_seed(0)
    x = (3 * torch.randn(shape) + 1).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(shape)
    outputs = [norm(v) for norm, v in ((InstanceNorm(shape[1]), x), (nn.InstanceNorm2d(shape[1]), y))]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    for output in outputs:
        (output * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpointing_changes_neither_output_nor_gradients(dropout):
    x, results = torch.randn(2, 1, 8, 8), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        generator = ResidualGenerator(1, 4, 2, 2, dropout, checkpointing=checkpointing)
        output = generator(x)
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad for p in generator.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_checkpointing_computes_the_blocks_twice_and_only_when_it_learns():
    generator, calls = ResidualGenerator(1, 4, 2, 3, checkpointing=True), []
    for block in generator.modules():
        if isinstance(block, ResidualBlock):
            block.f[1].register_forward_hook(lambda *_: calls.append(1))
    generator(torch.randn(1, 1, 8, 8)).sum().backward()
    assert len(calls) == 6
    with torch.no_grad():
        generator(torch.randn(1, 1, 8, 8))
    generator.eval()(torch.randn(1, 1, 8, 8)).sum().backward()
    assert len(calls) == 6 + 3 + 3


def test_each_image_of_a_batch_goes_through_the_generator_by_itself():
    torch.manual_seed(0)
    generator, x = ResidualGenerator(1, 4, 2, 1), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(generator(x)[1:2], generator(x[1:2]))


def test_the_discriminator_sees_one_pixel_at_a_time():
    torch.manual_seed(0)
    discriminator = PixelDiscriminator(3, 4).eval()
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    discriminator(x)[1, 0, 2, 5].backward()
    assert (x.grad[1, :, 2, 5] != 0).all()
    assert (x.grad != 0).any(1).sum() == 1


def weights_and_biases(network: nn.Module, kind):
    modules = [m for m in network.modules() if isinstance(m, kind)]
    return [m.weight.detach() for m in modules], [m.bias.detach() for m in modules]


@pytest.mark.parametrize("network", [ResidualGenerator(4, 4, 12, 2), PixelDiscriminator(24, 64)])
def test_convolutions_start_at_a_standard_deviation_of_a_fiftieth(network):
    weights, biases = weights_and_biases(network, nn.Conv2d | nn.ConvTranspose2d)
    for weight in weights:
        if weight.numel() > 1000:
            assert weight.mean().abs() < 0.003
            assert 0.018 < weight.std() < 0.022
    assert sum(weight.numel() > 1000 for weight in weights) >= 2
    assert all((bias == 0).all() for bias in biases)


def test_batch_norm_starts_about_one():
    (weight,), (bias,) = weights_and_biases(PixelDiscriminator(1, 512), nn.BatchNorm2d)
    assert abs(weight.mean() - 1) < 0.003
    assert 0.018 < weight.std() < 0.022
    assert (bias == 0).all()


def test_instance_norm_stays_in_half_precision_under_autocast():
    x = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = InstanceNorm(3)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), InstanceNorm(3)(x), atol=0.05, rtol=0.05)
