"""What a network sees in an image: the features of its deepest layer, pooled over what it segments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BATCH = 4  # slices at once


class _Deepest:
    """Keeps the output [B, C, h, w] with the fewest pixels, of several the last one."""

    def __init__(self) -> None:
        self.features: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Look at the output of one layer."""
        if not torch.is_tensor(output) or output.ndim != 4:
            return
        area = output.shape[2] * output.shape[3]
        if area == 1:  # squeeze and excitation, which has lost the place
            return
        if self.features is None or area <= self.features.shape[2] * self.features.shape[3]:
            self.features = output


@contextmanager
def _listening(network: nn.Module) -> Iterator[_Deepest]:
    """Look at what all layers of a network give."""
    deepest = _Deepest()
    handles = []
    for module in network.modules():
        if not list(module.children()):
            handles.append(module.register_forward_hook(deepest))
    try:
        yield deepest
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def pooled(network: nn.Module, slices: Tensor, structures: Tensor) -> NDArray[np.float64]:
    """The features [C] of the deepest layer of a network, the mean over the structures of all slices.

    Args:
        slices: as the network takes them [S, C, H, W].
        structures: where something was segmented [S, H, W], true or false; where nothing is, the mean is over all.
    """
    total, weight = 0.0, 0.0
    everywhere = not bool(structures.any())
    with _listening(network) as deepest:
        for images, masks in zip(slices.split(BATCH), structures.split(BATCH), strict=True):
            deepest.features = None
            network(images)
            features = deepest.features
            assert features is not None, "every network of network_description.NETWORKS has layers of images"
            weights = torch.ones_like(masks, dtype=torch.float32) if everywhere else masks.float()
            weights = nn.functional.adaptive_avg_pool2d(weights[:, None], features.shape[2:])
            total = total + (features.float() * weights).sum((0, 2, 3)).double().cpu().numpy()
            weight += float(weights.sum())
    return np.asarray(total / weight, float)
