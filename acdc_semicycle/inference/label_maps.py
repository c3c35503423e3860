"""Label maps as files: written whole, in the scan's own order of storage, and never over another's file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import BOMB, is_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.frames import Frame
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import replacing, writing


def ours(path: Path) -> bool:
    """Whether this program wrote a file."""
    try:
        if is_picture(path):
            with Image.open(path) as picture:
                return picture.info.get("Software") == volumes.MARK
        return volumes.ours(path)
    except (*volumes.DAMAGE, *BOMB, SyntaxError):
        return False


def check_target(target: Path) -> None:
    """Refuse to write over a file that is not a label map of this program."""
    if os.path.lexists(target) and not (target.is_file() and ours(target)):
        raise InputError(f"{target} is there and was not written by this program: give another output_dir")


def write_label_maps(
    target: Path, frames: Mapping[int, Frame], volume: Volume, card: Mapping[str, Any], probabilities: bool
) -> list[Path]:
    """Write a label map, and its probabilities if they are asked for, in the scan's own order of storage.

    Args:
        frames: those in the label map, by their number in the scan.

    Returns:
        The files, the label map first.
    """
    ordered = [frames[n] for n in sorted(frames)]
    if card["pictures"]:
        check_target(target)
        save_picture_map(ordered[0].labels[..., 0], target, card)
        return [target]
    probability_files = _probability_files(target, len(ordered)) if probabilities else []
    for file in (target, *probability_files):
        check_target(file)
    labels = np.stack([volume.layout.undo(frame.labels) for frame in ordered], -1)
    _save(target, labels if len(ordered) > 1 else labels[..., 0], volume)
    for file, frame in zip(probability_files, ordered, strict=False):
        assert frame.probabilities is not None, "they are asked for"
        classes_last = np.moveaxis(frame.probabilities, 0, -1).astype(np.float32)
        _save(file, volume.layout.undo(classes_last), volume)
    return [target, *probability_files]


def _probability_files(target: Path, count: int) -> list[Path]:
    """The files of the probabilities beside a label map, one a frame."""
    ending = volumes.ending(target)
    start = target.name.removesuffix(f"_seg{ending}")
    if count == 1:
        return [target.with_name(f"{start}_prob{ending}")]
    return [target.with_name(f"{start}_frame{number:02d}_prob{ending}") for number in range(1, count + 1)]


def _save(target: Path, voxels: NDArray, volume: Volume) -> None:
    """Write voxels on the scan's grid; an error of the system names the file."""
    with writing(target):
        volumes.save(target, voxels, volume)


def save_picture_map(labels: NDArray, target: Path, card: Mapping[str, Any]) -> None:
    """Write class indices [H, W] as a PNG whose palette has the classes' colours; it appears whole or not at all."""
    from acdc_semicycle.evaluation.figures import colours_of  # matplotlib: only where something is drawn

    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    colours = colours_of(len(card["classes"]), card["colours"]) * 255
    picture.putpalette(colours.round().astype(np.uint8).tobytes())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", volumes.MARK)
    with replacing(target) as part:
        picture.save(part, "png", pnginfo=mark)


def save_legend(target: Path, card: Mapping[str, Any]) -> None:
    """Write a picture of the numbers, names and colours of the classes."""
    from acdc_semicycle.evaluation.figures import legend_figure

    figure = legend_figure(card["classes"], card["colours"])
    with replacing(target) as part:
        figure.savefig(part, dpi=110, metadata={"Software": volumes.MARK})
