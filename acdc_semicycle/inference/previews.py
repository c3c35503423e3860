"""A few slices of every segmented scan to look at, kept for the report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acdc_semicycle.evaluation.quality import Judged
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.inputs import Scan
from acdc_semicycle.runtime.files import replacing

PANELS = ".panels"
LARGEST = 512  # pixels of a panel's longer side


@dataclass
class Frame:
    """One frame as segmented."""

    labels: NDArray  # class indices, canonical [H, W, slices]
    probabilities: NDArray | None  # [K, H, W, slices], if they are asked for
    judged: Judged


def save_panel(
    folder: Path, scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume
) -> str | None:
    """Up to three slices of one frame to look at: image, segmentation, image painted back, and where they differ."""
    number = phases.get("ES", min(frames))
    frame = frames[number]
    held = np.flatnonzero((frame.labels > 0).any((0, 1)))
    middle = frame.labels.shape[2] // 2
    places = np.unique(np.quantile(held, (0.15, 0.5, 0.85)).round().astype(int)) if held.size else np.array([middle])
    image = volume.layout.apply(volume.voxels[..., number])
    window = window_of(image, (0.5, 99.5))  # as the network sees it
    step = -(-max(image.shape[:2]) // LARGEST)

    def show(canonical: NDArray) -> NDArray:
        if is_picture(scan.path):
            return canonical[::step, ::step]
        return volume.shown(canonical[::step, ::step])

    arrays: dict[str, Any] = {"places": places, "frame": number, "turned": volume.spacing_fault is None}
    for n, z in enumerate(places):
        arrays[f"image_{n}"] = show(to_grey(image[:, :, z].astype(float), window))
        arrays[f"prediction_{n}"] = show(frame.labels[..., z])
        if frame.judged.painted is not None and frame.judged.difference is not None:
            size = image.shape[:2]
            painted = _resized(frame.judged.painted[..., z].mean(0), size)
            arrays[f"painted_{n}"] = show(((np.clip(painted, -1, 1) + 1) * 127.5).astype(np.uint8))
            difference = _resized(frame.judged.difference[..., z], size)
            arrays[f"difference_{n}"] = show((np.clip(difference, 0, 1) * 255).astype(np.uint8))
    name = hashlib.sha256(os.fsencode(scan.case)).hexdigest()[:16]  # a case's own name may not be a file's
    path = folder / PANELS / f"{name}.npz"
    with replacing(path) as beside:
        np.savez_compressed(beside, **arrays)
    return str(path.relative_to(folder))


def _resized(picture: NDArray, size: Sequence[int]) -> NDArray:
    tensor = torch.as_tensor(picture)[None, None]
    return nn.functional.interpolate(tensor, tuple(size), mode="bilinear", align_corners=False)[0, 0].numpy()
