"""What a scan's header says of its geometry, what is wrong with that, and whether two scans share a grid."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from acdc_semicycle.data.volumes import IN_MM, NIFTI, Volume, ending
from acdc_semicycle.errors import InputError

FINEST_MM, COARSEST_MM = 0.1, 50.0  # of the spacings that a patient is scanned with
CONFLICT_MM = 1.0  # between the places where qform and sform put one corner of a volume
OFF_GRID = 0.1  # of the smallest spacing: how far a corner of two grids may be apart
UNITS = {1: "metres", 3: "microns"}  # by NIfTI's codes, as in IN_MM


def geometry(path: Path, affine: Any) -> tuple[Any, list[tuple[str, str]]]:
    """A scan's spacing in mm, None where that is a fault, and what is wrong with it, as (severity, text).

    Args:
        path: the scan; of NIfTI the header is read as it is stored, because nibabel mends some faults in silence.
        affine: to mm, as the scan was read; for formats other than NIfTI.
    """
    if ending(path) not in NIFTI:
        return _absurd(np.linalg.norm(affine[:3, :3], axis=0))
    header = _header(path)
    axes = min(int(header["dim"][0]), 3)
    stored = header["pixdim"][1 : axes + 1].astype(float)
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        return None, [("fault", f"has a spacing of {words(stored)} in its header: restore it from its source")]
    unit = int(header["xyzt_units"]) & 7
    spacing = np.linalg.norm(header.get_best_affine()[:3, :3], axis=0) * IN_MM.get(unit, 1.0)
    said = _absurd(spacing)[1]
    if unit in UNITS:
        said = [("warning", f"says its spacing is in {UNITS[unit]}, so {words(spacing)} mm: store millimetres")]
    apart = _conflict(header) * IN_MM.get(unit, 1.0)
    if not apart <= CONFLICT_MM:
        text = f"has a qform and an sform that disagree by {apart:.3g} mm, and programs differ in which they take"
        said.append(("warning", f"{text}: keep one"))
    return spacing, said


def _absurd(spacing: Any) -> tuple[Any, list[tuple[str, str]]]:
    if spacing.min() >= FINEST_MM and spacing.max() <= COARSEST_MM:
        return spacing, []
    text = f"has a spacing of {words(spacing)} mm, not between {FINEST_MM:g} and {COARSEST_MM:g}: check its unit"
    return spacing, [("warning", text)]


def _header(path: Path) -> Any:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        block = stream.read(nibabel.Nifti2Header.sizeof_hdr)
    first = nibabel.Nifti1Header.sizeof_hdr
    if first in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")):
        return nibabel.Nifti1Header(block[:first], check=False)
    return nibabel.Nifti2Header(block, check=False)


def _conflict(header: Any) -> float:
    """The largest distance between a corner of the volume by its qform and sform; NaN of a bad qform."""
    try:
        qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    except ValueError:
        return float("nan")
    if qform is None or sform is None:
        return 0.0
    ends = [(0, n - 1) for n in (*header.get_data_shape(), 1, 1)[:3]]
    corners = np.array([[*corner, 1] for corner in product(*ends)])
    return float(np.linalg.norm(((qform - sform) @ corners.T)[:3], axis=0).max())


def words(numbers: Iterable[Any]) -> str:
    """Numbers as 1.5 x 1.5 x 10."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def shear(affine: Any) -> str | None:
    """Why distances along the axes are not the patient's, if so."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return None if np.allclose(directions.T @ directions, np.eye(3), atol=1e-3) else "its axes are not at right angles"


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
