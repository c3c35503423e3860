"""3D Slicer's segmentations (``X.seg.nrrd``): which labels their segments have, also where these lie in layers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.nrrd_meta_header import LONGEST_HEADER
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

FIELD = re.compile(rb"^Segment(\d{1,4})_(ID|LabelValue|Layer):=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE)
EXPORT = "export the segmentation from 3D Slicer as a label map"


class Segment(NamedTuple):
    """The value of a segment's voxels, and the layer in which they lie."""

    value: int
    layer: int


def segments(path: Path) -> list[Segment]:
    """The segments that an NRRD's header names, in their order; none where it is no segmentation.

    Where a header gives neither value nor layer, as those of 3D Slicer 4, each segment is a layer of zeros and ones.

    Raises:
        InputError: a value or a layer is no whole number.
    """
    with path.open("rb") as stream:
        head = stream.read(LONGEST_HEADER).split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0]
    fields: dict[int, dict[bytes, bytes]] = {}
    for number, name, value in FIELD.findall(head):
        fields.setdefault(int(number), {})[name] = value
    result: list[Segment] = []
    for position, number in enumerate(sorted(fields)):
        value, layer = fields[number].get(b"LabelValue", b"1"), fields[number].get(b"Layer", b"%d" % position)
        if not (value.isdigit() and layer.isdigit() and len(value) < 6 and len(layer) < 6):
            raise InputError(f"{path} has a segment whose LabelValue or Layer is no whole number: {EXPORT}")
        result.append(Segment(int(value), int(layer)))
    return result


def label_map(path: Path, layers: NDArray, present: list[Segment]) -> NDArray:
    """One label map [X, Y, Z] of layers [X, Y, Z, layers].

    A segment keeps its value where no other has the same; else all are numbered in their order, from 1.

    Raises:
        InputError: two segments share a voxel, or a voxel belongs to none.
    """
    values = [segment.value for segment in present]
    if len(set(values)) < len(values) or 0 in values:
        values = list(range(1, len(present) + 1))
        log.warning("%s: %d segments in layers share values, so they are numbered in their order", path, len(present))
    labels = np.zeros(layers.shape[:3], np.uint16)
    covered = np.zeros(layers.shape[:3], np.uint8)
    for segment, value in zip(present, values, strict=True):
        if segment.layer >= layers.shape[3]:
            raise InputError(f"{path} has a segment in layer {segment.layer}, and {layers.shape[3]} layers: {EXPORT}")
        mask = layers[..., segment.layer] == segment.value
        labels[mask] = value
        covered += mask
    shared = int((covered > 1).sum())
    if shared:
        raise InputError(f"{path} has {shared:,} voxels in two segments, and a voxel has one class: {EXPORT}")
    if np.count_nonzero(layers) != np.count_nonzero(covered):
        raise InputError(f"{path} has voxels of a value that belongs to no segment: {EXPORT}")
    return labels
