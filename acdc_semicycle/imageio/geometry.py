"""What a scan's header says of its geometry, what is wrong with that, and whether two scans share a grid."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.imageio import nifti
from acdc_semicycle.imageio.volume import COARSEST_MM, FINEST_MM, NIFTI, Volume, ending, orthogonal
from acdc_semicycle.runtime.errors import InputError

OFF_GRID = 0.1  # of the smallest spacing: how far a corner of two grids may be apart
UNITS = {1: "metres", 3: "microns"}  # by NIfTI's codes, as in IN_MM


def geometry(path: Path, affine: Any) -> tuple[Any, list[tuple[str, str]]]:
    """A scan's spacing in mm, and what is odd about it, as (severity, text); faults the reader has refused.

    Args:
        path: the scan.
        affine: to mm, as the scan was read.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if ending(path) not in NIFTI:
        return _absurd(spacing)
    header = nifti.stored_header(path)
    spacing, said = _absurd(spacing)
    if header is not None and (unit := int(header["xyzt_units"]) & 7) in UNITS:
        said = [("warning", f"says its spacing is in {UNITS[unit]}, so {words(spacing)} mm: store millimetres")]
    return spacing, said


def _absurd(spacing: Any) -> tuple[Any, list[tuple[str, str]]]:
    if spacing.min() >= FINEST_MM and spacing.max() <= COARSEST_MM:
        return spacing, []
    text = f"has a spacing of {words(spacing)} mm, not between {FINEST_MM:g} and {COARSEST_MM:g}: check its unit"
    return spacing, [("warning", text)]


def words(numbers: Iterable[Any]) -> str:
    """Numbers as 1.5 x 1.5 x 10."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def shear(affine: Any) -> str | None:
    """Why distances along the axes are not the patient's, if so."""
    return None if orthogonal(affine) else "its axes are not at right angles"


def check_grids(one: Volume, other: Volume) -> None:
    """Refuse a volume whose voxels do not lie where the other's do, with what is different."""
    close = np.allclose(one.spacing_mm, other.spacing_mm, rtol=0.01)
    if one.voxels.shape != other.voxels.shape or not close:
        sizes = [f"{words(each.voxels.shape[:3])} voxels of {words(each.spacing_mm)} mm" for each in (one, other)]
        raise InputError(
            f"{one.path} is {sizes[0]}, but {other.path} is {sizes[1]}: give label maps on the scan's own grid"
        )
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in one.voxels.shape[:3]))])
    apart = np.linalg.norm((corners @ (one.affine - other.affine).T), axis=1).max()
    if apart > OFF_GRID * min(other.spacing_mm):
        shifted = np.allclose(one.affine[:3, :3], other.affine[:3, :3], atol=1e-3)
        what = "origin" if shifted else "axes' directions"
        raise InputError(
            f"{one.path} lies up to {apart:.4g} mm off {other.path} (another {what} in the affine): give label maps on"
            " the scan's own grid"
        )
