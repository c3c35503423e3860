"""Keeps a few slices of every segmented scan for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acdc_semicycle.evaluation.examples import colours_of
from acdc_semicycle.evaluation.panels import panel_path
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.frames import Frame
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.files import replacing

LARGEST = 512  # pixels of a panel's longer side


def save_panel(
    folder: Path, scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume
) -> str | None:
    """Keep up to three slices of one frame for the report, end-systole if there is one.

    Of each the image, the segmentation and, with a G_SI, the image painted back and where it differs.

    Returns:
        The file below ``folder``.
    """
    number = phases.get("ES", min(frames))
    frame = frames[number]
    image = volume.layout.apply(volume.voxels[..., number])
    window = window_of(image, (0.5, 99.5))  # as the network sees it
    step = math.ceil(max(image.shape[:2]) / LARGEST)

    def show(canonical: NDArray) -> NDArray:
        """A slice as the report shows it, not larger than ``LARGEST``."""
        small = canonical[::step, ::step]
        return small if is_picture(scan.path) else volume.shown(small)

    def pixels(z: int) -> NDArray:
        """A slice in greys, or a picture in its colours."""
        if is_picture(scan.path):
            return colours_of(scan.path)
        return to_grey(image[:, :, z].astype(float), window)

    places = _places(frame.labels)
    arrays: dict[str, Any] = {"places": places, "frame": number, "turned": volume.spacing_fault is None}
    for n, z in enumerate(places.tolist()):
        arrays[f"image_{n}"] = show(pixels(z))
        arrays[f"prediction_{n}"] = show(frame.labels[..., z])
        if frame.judged.painted is not None and frame.judged.difference is not None:
            size = image.shape[:2]
            channels = [_resized(channel, size) for channel in frame.judged.painted[..., z]]
            painted = np.stack(channels, -1) if is_picture(scan.path) else np.mean(channels, axis=0)
            arrays[f"painted_{n}"] = show(((np.clip(painted, -1, 1) + 1) * 127.5).astype(np.uint8))
            difference = _resized(frame.judged.difference[..., z], size)
            arrays[f"difference_{n}"] = show((np.clip(difference, 0, 1) * 255).astype(np.uint8))
    path = panel_path(folder, scan.case)
    with replacing(path) as part:
        np.savez_compressed(part, **arrays)
    return str(path.relative_to(folder))


def _places(labels: NDArray) -> NDArray:
    """Up to three slices with structures, spread over those that have any; without any, the middle one."""
    with_structures = np.flatnonzero((labels > 0).any((0, 1)))
    if not with_structures.size:
        return np.array([labels.shape[2] // 2])
    return np.unique(np.quantile(with_structures, (0.15, 0.5, 0.85)).round().astype(int))


def _resized(picture: NDArray, size: Sequence[int]) -> NDArray:
    """A picture [h, w] at the size of the image."""
    tensor = torch.as_tensor(picture)[None, None]
    return nn.functional.interpolate(tensor, tuple(size), mode="bilinear", align_corners=False)[0, 0].numpy()
