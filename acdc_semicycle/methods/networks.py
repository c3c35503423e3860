"""The two networks of the paper: a residual generator and a discriminator that sees one pixel at a time.

The generator is the one of Johnson et al. (2016) as CycleGAN (Zhu et al. 2017) uses it; MONAI 1.6 has neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn
from torch.nn.functional import group_norm
from torch.utils.checkpoint import checkpoint

from acdc_semicycle.methods.shapes import Image, Logits, Mask, Score


def initialise(network: nn.Module) -> nn.Module:
    """Start the weights at N(0, 0.02), batch norm's at N(1, 0.02), all biases at 0; returns the network.

    On meta there is nothing to start, and torch would load its compiler for it.
    """
    if any(weight.is_meta for weight in network.parameters()):
        return network
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        nn.init.zeros_(cast(Tensor, module.bias))
    return network


class InstanceNorm(nn.GroupNorm):
    """Instance norm without affine, in its cheapest exact form (docs/performance.md).

    Under autocast it stays in the type that it is given, as ``InstanceNorm2d`` does; ``GroupNorm`` would make all
    behind it single precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102, it must stand alone for TorchScript to pass over it
            if not x.is_meta and torch.is_autocast_enabled(x.device.type):
                with torch.autocast(x.device.type, enabled=False):
                    return group_norm(x, self.num_groups, None, None, self.eps)
        return group_norm(x, self.num_groups, None, None, self.eps)


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding; by slices where deterministic algorithms are asked for, as torch's own has none on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(x)
        n = self.padding[0]  # the same on all sides
        x = torch.cat([x[..., 1 : n + 1, :].flip(-2), x, x[..., -n - 1 : -1, :].flip(-2)], -2)
        return torch.cat([x[..., 1 : n + 1].flip(-1), x, x[..., -n - 1 : -1].flip(-1)], -1)


class ResidualBlock(nn.Module):
    """x + f(x), f being two 3x3 convolutions with instance norm; dropout between them, if any.

    Args:
        checkpointing: keep no activations for the backward pass, but compute them once more in it.
    """

    def __init__(self, channels: int, dropout: float = 0.0, checkpointing: bool = False) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.f = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
            nn.ReLU(inplace=True),  # the gradients of norms and convolutions need no output of theirs
            *([nn.Dropout(dropout)] if dropout else []),
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return x + checkpoint(self.f, x, use_reentrant=False)
        return x + self.f(x)


class ResidualGenerator(nn.Module):
    """Image to segmentation (G_IS) or segmentation to image (G_SI), fully convolutional.

    7x7 convolution, two of stride 2, ``blocks`` residual blocks at a quarter of the resolution, two transposed
    convolutions, 7x7 convolution; reflection padding, instance norm without affine.

    Args:
        in_channels, out_channels: image channels C or classes K.
        filters: channels of the first layer; the paper's 64.
        blocks: residual blocks; the paper's 9.
        dropout: probability within the blocks; the paper's 0 (the published code's default is 0.5).
        activation: the last layer, or its name to MONAI. None for G_IS, which gives logits (their softmax is the
            segmentation); ``"tanh"`` for G_SI.
        checkpointing: residual blocks compute their activations twice instead of keeping them: less memory, more time.

    Rows and columns of the input must be multiples of 4 and at least 8, else a ValueError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: int = 64,
        blocks: int = 9,
        dropout: float = 0.0,
        activation: nn.Module | str | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        n = filters
        last = get_act_layer(activation) if isinstance(activation, str) else activation
        self.layers = nn.Sequential(
            ReflectionPad(3),
            *self._layer(nn.Conv2d(in_channels, n, 7)),
            *self._layer(nn.Conv2d(n, 2 * n, 3, stride=2, padding=1)),
            *self._layer(nn.Conv2d(2 * n, 4 * n, 3, stride=2, padding=1)),
            *(ResidualBlock(4 * n, dropout, checkpointing) for _ in range(blocks)),
            *self._layer(nn.ConvTranspose2d(4 * n, 2 * n, 3, stride=2, padding=1, output_padding=1)),
            *self._layer(nn.ConvTranspose2d(2 * n, n, 3, stride=2, padding=1, output_padding=1)),
            ReflectionPad(3),
            nn.Conv2d(n, out_channels, 7),
            *([last] if last is not None else []),
        )
        initialise(self)

    @staticmethod
    def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
        """A convolution with its norm and its activation."""
        return convolution, InstanceNorm(convolution.out_channels), nn.ReLU(inplace=True)

    def forward(self, x: Image | Mask) -> Logits | Image:
        height, width = x.shape[-2:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise ValueError(f"the generator got {height} x {width} pixels: give multiples of 4, at least 8 x 8")
        return self.layers(x)


class PixelDiscriminator(nn.Module):
    """Scores each pixel by itself (D_S on masks, D_I on images): three 1x1 convolutions, no sigmoid.

    Args:
        in_channels: classes K for D_S, image channels C for D_I.
        filters: channels of the first layer; the paper's 64.
        norm: makes the norm of so many channels behind the second convolution; the paper's batch norm (the
            published code has ``torch.nn.InstanceNorm2d``).
    """

    def __init__(self, in_channels: int, filters: int = 64, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, filters, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(filters, 2 * filters, 1),
            norm(2 * filters),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * filters, 1, 1),
        )
        initialise(self)

    def forward(self, x: Image | Mask) -> Score:
        return self.layers(x)
