"""Reads a scan, and refuses what a network cannot segment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.intensities import constancy
from acdc_semicycle.imageio.pictures import PICTURES, intensities, read_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError

SAMPLED = 10000  # voxels


def in_words(suffixes: tuple[str, ...]) -> str:
    """Endings in words: .nii, .nii.gz or .hdr."""
    return " or ".join((", ".join(suffixes[:-1]), suffixes[-1]))


def check_there(scan: Scan) -> None:
    """Refuse a scan that was found to be none, or whose file is not there."""
    if scan.fault:
        raise InputError(scan.fault)
    if isinstance(scan.source, Path) and not scan.path.is_file():
        state = "no file" if scan.path.exists() else "not there"
        raise InputError(f"{scan.path} is {state}: give a file or a folder")


def read(scan: Scan, card: Mapping[str, Any]) -> Volume:
    """The volume of a scan; of a picture the grey values only, as one slice.

    Args:
        card: of the network.

    Raises:
        InputError: of another kind than the network's images, constant, a mask, or a cine without the frames that its
            Info.cfg names; or what :func:`acdc_semicycle.imageio.volumes.read` raises.
    """
    suffixes = PICTURES if card["pictures"] else volumes.SCANS
    if isinstance(scan.source, Path) and not scan.path.name.lower().endswith(suffixes):
        raise InputError(f"{scan.path} is none of what this network was trained on: give {in_words(suffixes)}")
    if card["pictures"]:
        grey = np.asarray(intensities(scan.path, read_picture(scan.path), 1))  # [rows, columns, 1]
        return Volume(grey[..., None], np.eye(4), path=str(scan.path))
    volume = volumes.read(scan.source, frames=True)
    _check_phases(scan, volume)
    check_content(scan.path, volume, len(card["classes"]))
    return volume


def check_content(name: Any, volume: Volume, classes: int) -> None:
    """Refuse a scan in which nothing can be seen, or that is a mask.

    Args:
        name: of the scan, for messages.
        classes: of the network.

    Raises:
        InputError: a frame is constant, or all voxels are class indices.
    """
    _check_intensities(name, volume)
    _check_no_mask(name, volume, classes)


def _check_phases(scan: Scan, volume: Volume) -> None:
    """Refuse a cine that does not have the frames of its phases."""
    count = volume.voxels.shape[3]
    if count > 1 and scan.phases and max(scan.phases.values()) >= count:
        named = ", ".join(f"{phase} {n + 1}" for phase, n in scan.phases.items())
        raise InputError(f"{scan.path} has {count} frames, and its Info.cfg names {named}: restore both")


def _check_intensities(name: Any, volume: Volume) -> None:
    """Refuse a scan, or a cine with a frame, of one number in all voxels or in all but a few."""
    frames = volume.voxels.shape[3]
    for n in range(frames):
        fault = constancy(volume.voxels[..., n])
        if fault and volume.voxels[..., n].size > 1:
            frame = f" frame {n + 1}" if frames > 1 else ""
            raise InputError(f"{name}{frame} is {fault}: nothing can be seen in it, give a scan")


def _check_no_mask(name: Any, volume: Volume, classes: int) -> None:
    """Refuse a scan that holds only class indices; some voxels are looked at first, as all of them take longer."""
    labels = np.arange(classes)
    sample = volume.voxels.ravel()[:: max(1, volume.voxels.size // SAMPLED)]
    if not np.isin(sample, labels).all():
        return
    values = np.unique(volume.voxels)
    if np.isin(values, labels).all():
        raise InputError(f"{name} holds nothing but the labels {values[0]:g} to {values[-1]:g}: give a scan, no mask")
