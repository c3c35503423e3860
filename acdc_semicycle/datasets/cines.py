"""Cines as data: each frame of a 4D image, with its frame of a 4D mask, is a record (M&Ms, 3D Slicer's sequences)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.runtime.errors import InputError


def with_frames(records: Iterable[Record]) -> list[Record]:
    """The records with each cine as its frames: with a mask those that are annotated, else all.

    A frame's case is that of its cine with ``_frameNN`` after it, from 01 as in ACDC.

    Raises:
        InputError: the mask of a cine is damaged or annotates no frame, or image and mask differ in their number of
            frames.
    """
    result: list[Record] = []
    for record in records:
        count = _frame_count(record.image)
        if count == 1:
            result.append(record)
            continue
        for frame in _frames(record, count):
            case = f"{record.case}_frame{frame + 1:02d}"
            result.append(replace(record, case=case, frame=frame))
    return result


def file_case(record: Record) -> str:
    """The case of a record's files: that of the cine, if the record is one of its frames."""
    if record.frame is None:
        return record.case
    return record.case.rpartition("_frame")[0] or record.case


def _frame_count(image: Path) -> int:
    """The frames of an image: 1 of a picture, and of a damaged file, which the check before training reports."""
    if is_picture(image):
        return 1
    try:
        return volumes.frame_count(image)
    except InputError:
        return 1


def _frames(record: Record, count: int) -> list[int]:
    """The frames of a cine that are data."""
    if record.label is None:
        return list(range(count))
    frames = annotated_frames(record.label)
    mask_count = volumes.frame_count(record.label)
    if mask_count != count:
        raise InputError(
            f"{record.label} has {mask_count} frames, its image {record.image.name} {count}: give a mask of as many"
            " frames, empty where none is drawn"
        )
    if not frames:
        raise InputError(
            f"{record.label} has a structure in none of its {count} frames (0 is background, {IGNORED} is not"
            " annotated): draw one, or remove the mask to have an unlabelled cine"
        )
    return frames


def annotated_frames(mask: Path) -> list[int]:
    """The frames of a 4D mask, from 0, in which a structure is drawn: a voxel is neither 0 nor 255."""
    voxels = volumes.read(mask, frames=True, mask=True).voxels
    drawn = (voxels != 0) & (voxels != IGNORED)
    return np.flatnonzero(drawn.any((0, 1, 2))).tolist()
