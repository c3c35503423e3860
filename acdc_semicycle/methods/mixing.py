"""Boxes of one image put into another, and of its mask with it: CutMix (Yun et al. 2019).

MONAI's ``CutMix`` puts the boxes of a batch at one corner, and draws from a random state that no checkpoint keeps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from acdc_semicycle.methods.shapes import Known


def boxes(count: int, height: int, width: int, share: float, area: tuple[float, float] = (0.1, 0.4)) -> Known:
    """1 in a random box of some images, else 0: [count, 1, height, width], drawn from torch's global random state.

    Args:
        share: probability that an image has a box at all.
        area: smallest and largest part of the image in a box; its sides differ by a factor of up to 1.8.
    """
    inside = torch.zeros(count, 1, height, width)
    chance, size, stretch, down, across = torch.rand(5, count).tolist()
    for number in range(count):
        if chance[number] >= share:
            continue
        side = math.sqrt(area[0] + (area[1] - area[0]) * size[number])
        aspect = math.exp(0.3 * (2 * stretch[number] - 1))
        rows, columns = (
            min(length, round(length * part)) for length, part in ((height, side * aspect), (width, side / aspect))
        )
        top, left = round((height - rows) * down[number]), round((width - columns) * across[number])
        inside[number, :, top : top + rows, left : left + columns] = 1
    return inside


def mixed(inside: Known, pasted: Tensor, image: Tensor) -> Tensor:
    """``pasted`` [B, C, H, W] where ``inside`` is 1, ``image`` elsewhere."""
    return torch.where(inside.bool(), pasted, image)
