"""The ranges of sizes, spacings and intensities that a network was trained on, and what in a scan lies far outside.

A length is far outside beyond 1.5 times the training's largest one, or below two thirds of its smallest one. Scans are
scaled by their own percentiles, so intensities are far outside only where they are negative, as in CT, and those of the
training were not. What is unknown, of the training or of the scan, is not compared. Slices are segmented one by one:
their number is not compared either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acdc_semicycle.data.fingerprint import percentiles
from acdc_semicycle.imageio.volume import Volume
from acdc_semicycle.runtime.files import write_text

FILE = "fingerprint.json"  # beside model.json
FACTOR = 1.5
NEGATIVE = 0.05  # of the span of intensities, below 0: less is rounding, or an interpolation that overshoots
LENGTHS = {  # names, and what is told of a value
    "rows": "{:.0f} rows",
    "columns": "{:.0f} columns",
    "in_plane_mm": "pixels of {:.3g} mm",
    "between_slices_mm": "slices {:.3g} mm apart",
}


class Facts(NamedTuple):
    """What is compared of one image.

    Attributes:
        size: rows, columns and slices, as a network sees them.
        spacing_mm: along them; None where it is unknown.
        intensities: at :data:`acdc_semicycle.data.fingerprint.PERCENTILES`.
    """

    size: Sequence[int]
    spacing_mm: Sequence[float] | None
    intensities: Sequence[float]

    def lengths(self) -> dict[str, float | None]:
        """The lengths that are compared, by their names; None where one is unknown."""
        in_plane = between = None
        if self.spacing_mm is not None:
            in_plane = float(max(self.spacing_mm[:2]))
            between = float(self.spacing_mm[2]) if self.size[2] > 1 else None
        sides = {"rows": float(self.size[0]), "columns": float(self.size[1])}
        return {**sides, "in_plane_mm": in_plane, "between_slices_mm": between}

    @property
    def negative(self) -> bool:
        """Whether there are negative intensities."""
        _, low, _, high, _ = self.intensities
        return low < -NEGATIVE * (high - low)


def facts_of(volume: Volume, picture: bool) -> Facts:
    """The facts of a scan that is read, or of a ``picture``; of a cine those of all its frames."""
    layout, shape = volume.layout, volume.voxels.shape[:3]
    if picture:
        return Facts(shape, None, percentiles(volume.voxels))
    size = layout.apply(np.broadcast_to(np.uint8(0), shape)).shape
    spacing = None
    if volume.spacing_fault is None:
        affine = layout.affine(volume.affine, shape)
        spacing = [float(length) for length in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)]
    return Facts(size, spacing, percentiles(volume.voxels))


def ranges_of(images: Iterable[Facts]) -> dict[str, Any]:
    """The least and the most of each length, and whether intensities are negative; of at least one image."""
    images = list(images)
    ranges: dict[str, Any] = {"images": len(images), "negative": any(image.negative for image in images)}
    for name in LENGTHS:
        lengths = [image.lengths()[name] for image in images]
        values = [length for length in lengths if length is not None]
        ranges[name] = [min(values), max(values)] if values else None
    return ranges


def joined(several: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The ranges of several networks that are used together; None where those of one are unknown."""
    result: dict[str, Any] | None = None
    for ranges in several:
        if ranges is None:
            return None
        result = dict(ranges) if result is None else _joined(result, ranges)
    return result


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges of two networks together."""
    result: dict[str, Any] = {"images": max(first["images"], second["images"])}
    result["negative"] = first["negative"] or second["negative"]
    for name in LENGTHS:
        ends = [*(first[name] or ()), *(second[name] or ())]
        result[name] = [min(ends), max(ends)] if ends else None
    return result


def is_complete(ranges: Mapping[str, Any]) -> bool:
    """Whether stored ranges have all that is compared, as numbers."""
    for name in LENGTHS:
        span = ranges.get(name, ())
        if span is not None and not _is_span(span):
            return False
    return type(ranges.get("images")) is int and isinstance(ranges.get("negative"), bool)


def outside(ranges: Mapping[str, Any], image: Facts) -> list[str]:
    """What of an image lies far outside of the training's ranges, a phrase each."""
    phrases: list[str] = []
    for name, value in image.lengths().items():
        span = ranges[name]
        if value is None or span is None:
            continue
        low, high = span
        if value < low / FACTOR or value > high * FACTOR:
            phrases.append(f"{LENGTHS[name].format(value)}, in training {_in_words(low, high)}")
    if image.negative and not ranges["negative"]:
        phrases.append("negative intensities, as of CT, in training none")
    return phrases


def remember_ranges(ranges: Mapping[str, Any] | None, ckpt_dir: str | Path) -> None:
    """Write the ranges beside the network that is trained on them; nothing where they are not known."""
    if ranges is not None:
        write_text(Path(str(ckpt_dir)) / FILE, json.dumps(dict(ranges), indent=1) + "\n")


def _is_span(span: Any) -> bool:
    """Whether a value is two numbers above 0."""
    return isinstance(span, list) and len(span) == 2 and all(type(end) in (int, float) and end > 0 for end in span)


def _in_words(low: float | int, high: float | int) -> str:
    """A range in words."""
    ends = [f"{end:.0f}" if end >= 100 else f"{end:.3g}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
