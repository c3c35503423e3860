"""Two looks at a scan: at whole slices, to find the structures, and at windows around them at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from acdc_semicycle.data.appearance import standardised
from acdc_semicycle.methods.objective import softmax

ROOM = 1.1  # of the structures' box, which the second look covers


def two_looks(
    inputs: Tensor, network: Any, window: Sequence[int], at_once: int = 4, noise: float | int = 0.1
) -> Tensor:
    """Probabilities [1, K, H, W, slices] of a scan by a network that was trained on windows of this size.

    Where the structures do not fit into a window, windows overlap by half, with Gaussian weights. Outside the windows
    all is background.

    Args:
        inputs: the scan [1, C, H, W, slices].
        network: gives logits.
        window: rows and columns (:class:`acdc_semicycle.data.windows.Windows`).
        at_once: windows that go through the network at once.
        noise: share of the largest component: smaller ones of the first look are not looked at again.
    """
    slices = inputs[0].movedim(-1, 0)
    first = partial(_probabilities, network)
    whole = interpolate(slices, size=tuple(window), mode="bilinear", align_corners=False)
    coarse = torch.cat([first(few) for few in whole.split(at_once)])
    if all(length <= side for length, side in zip(slices.shape[-2:], window, strict=True)):
        return _as_scan(interpolate(coarse, size=slices.shape[-2:], mode="bilinear", align_corners=False))
    box = structures_box(coarse.argmax(1).cpu().numpy(), noise)
    if box is None:
        return _as_scan(interpolate(coarse, size=slices.shape[-2:], mode="bilinear", align_corners=False))
    rows, columns = (
        _covered(low * length / side, high * length / side, side, length)
        for (low, high), side, length in zip(box, window, slices.shape[-2:], strict=True)
    )
    fine = sliding_window_inference(
        slices[..., rows, columns],
        tuple(window),
        at_once,
        first,
        overlap=0.5,
        mode="gaussian",
        padding_mode="replicate",
    )
    result = torch.zeros(len(slices), coarse.shape[1], *slices.shape[-2:], dtype=coarse.dtype, device=coarse.device)
    result[:, 0] = 1
    result[..., rows, columns] = torch.as_tensor(fine)
    return _as_scan(result)


def structures_box(labels: NDArray, noise: float | int = 0.1) -> list[tuple[int, int]] | None:
    """First row and the one after the last, the same of columns, of the structures in class indices [slices, H, W].

    Components in 3D of less than this share of the largest are left out. None where all is background.
    """
    components, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    if not count:
        return None
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    kept = np.isin(components, np.flatnonzero(sizes >= max(1, noise * sizes.max())))
    _, rows, columns = ndimage.find_objects(kept.astype(np.uint8))[0]
    return [(rows.start, rows.stop), (columns.start, columns.stop)]


def _probabilities(network: Any, window: Tensor) -> Tensor:
    """The network's probabilities [B, K, h, w] of windows [B, C, h, w]."""
    return softmax(network(standardised(window)))


def _covered(low: float, high: float, side: int, length: int) -> slice:
    """The rows (or columns) that the second look covers: at least a window's side, if the slice has as many."""
    covered = min(length, max(side, round((high - low) * ROOM)))
    start = min(max(0, round((low + high - covered) / 2)), length - covered)
    return slice(start, start + covered)


def _as_scan(probabilities: Tensor) -> Tensor:
    """Probabilities [slices, K, H, W] as those of a scan [1, K, H, W, slices]."""
    return probabilities.movedim(0, -1)[None]
