"""Random changes of intensities of whole batches: what differs between scanners, and no anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

FIELD = (3, 3)  # points of a bias field
LEAST = 16  # rows and columns that a coarser image has at least
OFTEN = {"gamma": 0.7, "field": 0.5, "coarser": 0.3, "noise": 0.5}  # share of images


def standardised(image: Tensor) -> Tensor:
    """Images [B, C, H, W] with mean 0 and deviation 1, each by itself; one of a single value becomes 0."""
    axes = (1, 2, 3)
    centred = image - image.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-5)


@dataclass(frozen=True)
class Appearance:
    """Changes of gamma, resolution and noise, and a smooth field of sensitivity.

    Amounts are drawn evenly from minus to plus what is given, or from 0; changes of nnU-Net (Isensee et al. 2021), and
    the field of MONAI's ``RandBiasField``, on standardised images, which they are again at the end: that undoes any
    change of contrast and brightness.

    Args:
        gamma: the logarithm of the exponent; 0.5 is 0.61 to 1.65. For 70 % of images.
        field: deviation of the factor at 3 x 3 points, smooth between them, on intensities above the lowest. For half
            of the images.
        coarser: the factor up to which images are made smaller and larger again. For 30 %.
        noise: largest deviation of noise. For half of the images.
    """

    gamma: float | int = 0.5
    field: float | int = 0.3
    coarser: float | int = 3.0
    noise: float | int = 0.12

    def __call__(self, image: Tensor, random: Sequence[np.random.Generator]) -> Tensor:
        """Standardised images [B, C, H, W] with another appearance, each by its own generator."""
        chance = np.array([generator.random(len(OFTEN)) for generator in random])
        amount = np.array([generator.random(3) for generator in random])
        often = {name: chance[:, number] < share for number, (name, share) in enumerate(OFTEN.items())}
        exponent = np.where(often["gamma"], np.exp(self.gamma * (2 * amount[:, 0] - 1)), 1.0)
        deviation = np.where(often["noise"], self.noise * amount[:, 1], 0.0)
        factor = np.where(often["coarser"], 1 + (self.coarser - 1) * amount[:, 2], 1.0)

        lowest, highest = (getattr(image, end)((1, 2, 3), keepdim=True) for end in ("amin", "amax"))
        signal = (image - lowest) / (highest - lowest + 1e-6)
        signal = signal.clamp_min(1e-6) ** _column(exponent, image)
        signal = standardised(signal * (1 + self._fields(random, often["field"], image)))
        signal = _made_coarser(signal, factor)
        return standardised(signal + _noise(random, image) * _column(deviation, image))

    def _fields(self, random: Sequence[np.random.Generator], chosen: NDArray, image: Tensor) -> Tensor:
        """A smooth field for each image [B, 1, H, W], 0 for those that are not chosen."""
        points = np.stack([generator.standard_normal((1, *FIELD)) for generator in random])
        coarse = torch.as_tensor(points * self.field, dtype=image.dtype, device=image.device)
        fields = interpolate(coarse, size=image.shape[-2:], mode="bicubic", align_corners=True)
        return fields * _column(chosen, image)


def _made_coarser(image: Tensor, factors: NDArray) -> Tensor:
    """Images made smaller by their factors and as large again; those of factor 1 stay as they are."""
    images = list(image.split(1))
    for number in np.flatnonzero(factors > 1):
        size = [max(min(LEAST, length), int(length / factors[number])) for length in image.shape[-2:]]
        small = interpolate(images[number], size=size, mode="area")
        images[number] = interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat(images)


def _column(values: NDArray, image: Tensor) -> Tensor:
    """A number for each image [B, 1, 1, 1], on the images' device."""
    numbers = torch.as_tensor(values, dtype=image.dtype).to(image.device, non_blocking=True)
    return numbers.view(-1, 1, 1, 1)


def _noise(random: Sequence[np.random.Generator], image: Tensor) -> Tensor:
    """Normal noise of the images' shape, each image's from its own generator."""
    noise = np.stack([generator.standard_normal(image.shape[1:], dtype=np.float32) for generator in random])
    return torch.as_tensor(noise).to(image.device, image.dtype, non_blocking=True)
