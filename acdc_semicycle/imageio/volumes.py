"""Scans are read here, from NIfTI, NRRD, MetaImage and DICOM, and label maps written on the same grid."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import nifti, nrrd_meta, slicer_segments
from acdc_semicycle.imageio.checks import DAMAGE, check_affine
from acdc_semicycle.imageio.label_maps import FORMATS, MARK, ours, save
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.imageio.volume import ITK, NIFTI, SCANS, Volume, ending
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

if TYPE_CHECKING:
    from acdc_semicycle.imageio.dicom_series import Series

__all__ = [
    "DAMAGE",
    "FORMATS",
    "ITK",
    "MARK",
    "NIFTI",
    "SCANS",
    "Volume",
    "checked_voxels",
    "ending",
    "frame_count",
    "ours",
    "read",
    "save",
]

log = logging.getLogger("semicycle")

STEPS = 2**20  # how far from zero an image may be, in units of its range; single precision resolves 2^24


def read(
    path: str | Path | Series, frames: bool = False, mask: bool = False, policy: ReadingPolicy | None = None
) -> Volume:
    """Read a scan, complete and finite; a folder is read as a DICOM series.

    Args:
        path: a .nii, .nii.gz, .hdr, .nrrd, .nhdr, .mha or .mhd file, a folder of one DICOM series, or a series.
        frames: whether a cine may have more than one frame.
        mask: whether it holds labels, which are never repaired.
        policy: what the user allows beyond what is safe; None reads it from the environment.

    Raises:
        InputError: the file is missing, truncated, damaged, of another kind, holds NaN, or is not three-dimensional;
            its range is one that networks cannot see, or its geometry is in doubt.
    """
    if isinstance(path, str):
        path = Path(path)
    if policy is None:
        policy = from_environment()
    header, doubt, note = None, None, None
    if not isinstance(path, Path) or path.is_dir():
        from acdc_semicycle.imageio import dicom_series

        series = dicom_series.only(path) if isinstance(path, Path) else path
        voxels, affine, doubt = dicom_series.read(series, policy)
        note = series.stacked
    else:
        voxels, affine, header = _read_file(path, policy)
        if not mask and path.suffix.lower() in (".nrrd", ".nhdr") and slicer_segments.segments(path):
            raise InputError(f"{path} is a segmentation of 3D Slicer: give it as a mask, and the scan as an image")
    voxels = checked_voxels(str(path), voxels, mask, policy)
    check_affine(str(path), affine)
    if voxels.shape[3] > 1 and not frames:
        raise InputError(
            f"{path} has shape {voxels.shape}: give a 3D volume (rows, columns, slices), one frame of a cine"
        )
    return Volume(voxels, np.asarray(affine, float), header, str(path), doubt, note)


def frame_count(path: Path, policy: ReadingPolicy | None = None) -> int:
    """The number of frames of a scan: of a NIfTI from its header, else from the whole file.

    Raises:
        InputError: as :func:`read`.
    """
    if path.is_file() and ending(path) in NIFTI:
        try:
            header = nifti.stored_header(path)
        except (*DAMAGE, RuntimeError) as error:
            raise _damaged(path, error) from error
        if header is not None:
            shape = header.get_data_shape()
            return max(1, int(shape[3])) if len(shape) > 3 else 1
    return read(path, frames=True, mask=True, policy=policy).voxels.shape[3]  # an image or a mask


def _read_file(path: Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray, Any]:
    """Voxels, affine and header of one file; whatever libraries raise for a damaged one becomes an InputError."""
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a {' '.join(SCANS)} volume")
    if not ending(path):
        raise InputError(f"{path} is not named like a scan: give a {' '.join(SCANS)} volume")
    reader = nifti if ending(path) in NIFTI else nrrd_meta
    try:
        return reader.read(path, policy)
    except InputError:
        raise
    except (*DAMAGE, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    """The error that a library raised as one for the user, without what it quotes of the file."""
    reason = getattr(error, "strerror", None)
    if reason:  # the system refuses, whatever is in the file
        return InputError(f"{path} cannot be read ({reason}): check that you may read it and that it is complete")
    kind = "NIfTI" if ending(path) in NIFTI else ending(path)[1:].upper()
    lines = re.sub(r'".*"', "...", str(error)).strip().splitlines()  # what is quoted may name the patient
    reason = lines[-1] if lines else type(error).__name__
    return InputError(f"{path} is truncated, damaged or not in {kind} format ({reason}): copy it again from its source")


def checked_voxels(name: str, voxels: NDArray, mask: bool, policy: ReadingPolicy) -> NDArray:
    """Voxels [X, Y, Z, frames] once they are real numbers, finite, and of a range that networks can see.

    Args:
        name: of what holds them, for messages.
        mask: whether they are labels, which are never repaired.

    Raises:
        InputError: they are not.
    """
    voxels = _as_volumes(name, voxels)
    if voxels.dtype.kind not in "iufb":
        raise InputError(f"{name} holds {voxels.dtype} voxels: give a scan of one real number a voxel")
    if voxels.dtype.kind == "f":
        voxels = _finite(name, voxels, mask, policy)
    if not mask:
        _check_range(name, voxels)
    return voxels


def _as_volumes(name: str, voxels: NDArray) -> NDArray:
    """Voxels [X, Y, Z, frames] of an array with fewer axes, or with more of length 1."""
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 2:
        voxels = voxels[..., None]
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise InputError(
            f"{name} has shape {voxels.shape}: give a 3D volume (rows, columns, slices), or a cine of such frames"
        )
    return voxels if voxels.ndim == 4 else voxels[..., None]


def _finite(name: str, voxels: NDArray, mask: bool, policy: ReadingPolicy) -> NDArray:
    """The voxels, finite in single precision as networks use it: repaired where the policy allows, else refused."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(voxels.astype(np.float32, copy=False))
    if finite.all():
        return voxels
    _check_representable(name, voxels, finite)
    wrong = finite.size - np.count_nonzero(finite)
    if mask or not policy.repair or not finite.any():
        way_out = "" if mask else f"; with {environment.REPAIR}=1 they become the lowest number"
        raise InputError(f"{name} holds {wrong:,} NaN or infinite voxels: repair it, or leave the case out{way_out}")
    log.warning("%s: %d NaN or infinite voxels become the lowest number", name, wrong)
    return np.where(finite, voxels, voxels[finite].min())


def _check_representable(name: str, voxels: NDArray, finite: NDArray[np.bool_]) -> None:
    """Refuse finite numbers that are not ``finite`` in single precision: no repair makes them intensities."""
    too_large = np.count_nonzero(np.isfinite(voxels) & ~finite)
    if too_large:
        raise InputError(
            f"{name} holds {too_large:,} finite numbers beyond {np.finfo(np.float32).max:.2g}, which single precision"
            " cannot represent: scale them, or correct the voxels that are wrong"
        )


def _check_range(name: str, voxels: NDArray) -> None:
    """Refuse intensities that single precision, in which networks compute, cannot represent or tell apart."""
    if voxels.dtype.itemsize < 4:
        return
    low, high = voxels.min(), voxels.max()
    span = float(np.longdouble(high) - np.longdouble(low))
    farthest = max(-float(low), float(high))
    single = np.finfo(np.float32)
    if span and not max(float(single.tiny), farthest / STEPS) <= span <= float(single.max):
        raise InputError(
            f"{name} holds intensities from {low} to {high}, which single precision cannot represent or tell apart:"
            " shift or scale them"
        )
