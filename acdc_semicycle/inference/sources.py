"""What a :class:`acdc_semicycle.Segmenter` is given, of whichever type: read, and checked as ``predict`` does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acdc_semicycle.imageio.in_memory import Axes, volume_of
from acdc_semicycle.imageio.picture_in_memory import picture_of
from acdc_semicycle.imageio.pictures import intensities
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference import reading
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError, some


class Source(NamedTuple):
    """What is segmented.

    Attributes:
        volume: of a picture its greys.
        axes: how the labels are given back.
        items: the frames, to be prepared for the network.
    """

    volume: Volume
    axes: Axes
    items: list[dict[str, Any]]


def read(scan: Any, affine: Any, spacing: Any, card: Mapping[str, Any]) -> Source:
    """A scan or a picture, checked.

    Args:
        scan, affine, spacing: as :class:`acdc_semicycle.Segmenter` is called with them.
        card: of the network.

    Raises:
        InputError: it cannot be segmented.
    """
    is_file, has_geometry = isinstance(scan, str | os.PathLike), not (affine is None and spacing is None)
    if is_file and has_geometry:
        raise InputError(f"affine or spacing is given, and {scan} has its own geometry: leave it out")
    if card["pictures"] and has_geometry:
        raise InputError("affine or spacing is given, and this network was trained on pictures: leave it out")
    if is_file:
        return _read_file(Path(scan), card)
    if card["pictures"]:
        return _read_picture(scan)
    volume, axes = volume_of(scan, affine, spacing)
    reading.check_content(volume.path, volume, len(card["classes"]))
    return Source(volume, axes, _frames_of(volume))


def _read_file(path: Path, card: Mapping[str, Any]) -> Source:
    """The one scan or picture at a path."""
    volume = reading.read(_only_scan(path, card), card)
    shape = volume.voxels.shape
    if card["pictures"]:
        return Source(volume, Axes(shape[:2]), [{"image": volume.path}])
    return Source(volume, Axes(shape if shape[3] > 1 else shape[:3]), _frames_of(volume))


def _only_scan(path: Path, card: Mapping[str, Any]) -> Scan:
    """The one scan at a path, as ``predict`` takes it: a file, or a folder of one DICOM series.

    Raises:
        InputError: it is not there, or a folder of no scan or of several.
    """
    nowhere = Path(os.devnull) / "labels"  # no label map is written, and no file can be there
    listed = Scans(path, nowhere, card, frames="all").listed
    if len(listed) > 1:
        names = some([scan.case for scan in listed], 3)
        raise InputError(f"{path} holds {len(listed)} scans ({names}): give one, or give all to semicycle predict")
    reading.check_there(listed[0])
    return listed[0]


def _read_picture(scan: Any) -> Source:
    """A picture in memory."""
    picture = picture_of(scan)
    grey = np.asarray(intensities(Path("the picture"), picture, 1))  # [rows, columns, 1]
    volume = Volume(grey[..., None], np.eye(4), path="the picture")
    return Source(volume, Axes(grey.shape[:2]), [{"image": picture}])


def _frames_of(volume: Volume) -> list[dict[str, Any]]:
    """The frames of a volume as items to prepare."""
    return [{"image": volume, "frame": number} for number in range(volume.voxels.shape[3])]
