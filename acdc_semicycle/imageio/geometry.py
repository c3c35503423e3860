"""What is odd about a scan's geometry, and whether two scans share a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.imageio import nifti
from acdc_semicycle.imageio.checks import in_words
from acdc_semicycle.imageio.nifti_geometry import corner_distance
from acdc_semicycle.imageio.volume import COARSEST_MM, FINEST_MM, NIFTI, Volume, ending, orthogonal
from acdc_semicycle.runtime.errors import InputError

OFF_GRID = 0.1  # of the smallest spacing: how far a corner of two grids may be apart
UNITS = {1: "metres", 3: "microns"}  # by NIfTI's codes, as in IN_MM


def geometry(path: Path, affine: Any) -> tuple[Any, list[tuple[str, str]]]:
    """A scan's spacing in mm, and what is odd about it, as (severity, text); the reader has refused all faults.

    Args:
        path: the scan.
        affine: voxel indices to mm, as the reader gave it.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if ending(path) in NIFTI:
        header = nifti.stored_header(path)
        unit = 0 if header is None else int(header["xyzt_units"]) & 7
        if unit in UNITS:
            text = f"says its spacing is in {UNITS[unit]}, so {in_words(spacing)} mm: store millimetres"
            return spacing, [("warning", text)]
    if spacing.min() >= FINEST_MM and spacing.max() <= COARSEST_MM:
        return spacing, []
    text = f"has a spacing of {in_words(spacing)} mm, not between {FINEST_MM:g} and {COARSEST_MM:g}: check its unit"
    return spacing, [("warning", text)]


def shear(affine: Any) -> str | None:
    """Why distances along the axes are not the patient's; None where they are."""
    return None if orthogonal(affine) else "its axes are not at right angles"


def check_grids(volume: Volume, reference: Volume) -> None:
    """Refuse a volume whose voxels do not lie where the reference's lie, and say what differs."""
    close = np.allclose(volume.spacing_mm, reference.spacing_mm, rtol=0.01)
    if volume.voxels.shape != reference.voxels.shape or not close:
        raise InputError(
            f"{volume.path} is {_grid(volume)}, but {reference.path} is {_grid(reference)}: give label maps on the"
            " scan's own grid"
        )
    apart_mm = corner_distance(volume.voxels.shape[:3], volume.affine, reference.affine)
    if apart_mm > OFF_GRID * min(reference.spacing_mm):
        shifted = np.allclose(volume.affine[:3, :3], reference.affine[:3, :3], atol=1e-3)
        what = "origin" if shifted else "axes' directions"
        raise InputError(
            f"{volume.path} lies up to {apart_mm:.4g} mm off {reference.path} (another {what} in the affine): give"
            " label maps on the scan's own grid"
        )


def _grid(volume: Volume) -> str:
    """A volume's size and spacing, in words."""
    return f"{in_words(volume.voxels.shape[:3])} voxels of {in_words(volume.spacing_mm)} mm"
