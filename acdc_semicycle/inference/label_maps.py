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
from acdc_semicycle.inference.previews import Frame
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import replacing, writing


def ours(path: Path) -> bool:
    """Whether a file was written here."""
    try:
        if is_picture(path):
            with Image.open(path) as picture:
                return picture.info.get("Software") == volumes.MARK
        return volumes.ours(path)
    except (*volumes.DAMAGE, *BOMB, SyntaxError):
        return False


def check_target(target: Path) -> None:
    """Refuse to write over a file that is not a label map of ours."""
    if os.path.lexists(target) and not (target.is_file() and ours(target)):
        raise InputError(f"{target} is there and was not written by this program: give another output_dir")


def write_label_maps(
    scan: Scan, frames: Mapping[int, Frame], volume: Volume, card: Mapping[str, Any], probabilities: bool
) -> list[Path]:
    """The label map, and the probabilities if they are asked for, in the scan's own order of storage; the files."""
    ordered, end, files = [frames[n] for n in sorted(frames)], volumes.ending(scan.target), [scan.target]
    if probabilities and not card["pictures"]:
        numbers = [f"_frame{place:02d}" for place in range(1, len(ordered) + 1)] if len(ordered) > 1 else [""]
        files += [scan.target.with_name(scan.target.name[: -len(f"_seg{end}")] + f"{n}_prob{end}") for n in numbers]
    for file in files:
        check_target(file)
    if card["pictures"]:
        save_picture_map(ordered[0].labels[..., 0], scan.target, card)
        return files
    stored = np.stack([volume.layout.undo(frame.labels) for frame in ordered], -1)
    with writing(scan.target):
        volumes.save(scan.target, stored if len(ordered) > 1 else stored[..., 0], volume)
    for file, frame in zip(files[1:], ordered, strict=False):
        assert frame.probabilities is not None, "they are asked for"
        classes_last = np.moveaxis(frame.probabilities, 0, -1).astype(np.float32)
        with writing(file):
            volumes.save(file, volume.layout.undo(classes_last), volume)
    return files


def save_picture_map(labels: NDArray, target: Path, card: Mapping[str, Any]) -> None:
    """Write class indices [H, W] as a PNG whose palette has the classes' colours; it appears whole or not at all."""
    from acdc_semicycle.evaluation.figures import colours_of  # matplotlib: only where something is drawn

    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette((colours_of(len(card["classes"]), card["colours"]) * 255).round().astype(np.uint8).tobytes())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", volumes.MARK)
    with replacing(target) as beside:
        picture.save(beside, "png", pnginfo=mark)


def save_legend(target: Path, card: Mapping[str, Any]) -> None:
    """A picture of the numbers, names and colours of the classes."""
    from acdc_semicycle.evaluation.figures import legend_figure

    figure = legend_figure(card["classes"], card["colours"])
    with replacing(target) as beside:
        figure.savefig(beside, dpi=110, metadata={"Software": volumes.MARK})
