"""Scans as files store them: NIfTI, NRRD, MetaImage and DICOM in, label maps of the same grid out."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import nifti, nrrd_meta
from acdc_semicycle.imageio.checks import DAMAGE, check_affine
from acdc_semicycle.imageio.label_maps import FORMATS, MARK, ours, save
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.imageio.volume import ITK, NIFTI, SCANS, Volume, ending
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

if TYPE_CHECKING:
    from acdc_semicycle.imageio.dicom_series import Series

__all__ = ["DAMAGE", "FORMATS", "ITK", "MARK", "NIFTI", "SCANS", "Volume", "ending", "ours", "read", "save"]

log = logging.getLogger("semicycle")

STEPS = 2**20  # of single precision's 2^24, that an image may be away from zero, in units of its range


def read(
    path: str | Path | Series, frames: bool = False, mask: bool = False, policy: ReadingPolicy | None = None
) -> Volume:
    """A scan that is complete and finite; a folder is a DICOM series.

    Args:
        path: a .nii, .nii.gz, .hdr, .nrrd, .nhdr, .mha or .mhd file, a folder of one DICOM series, or a series.
        frames: whether a cine may have more than one frame.
        mask: whether it holds labels, in which nothing is ever repaired.
        policy: what the user allows beyond what is safe; None is the environment's.

    Raises:
        InputError: missing, truncated, damaged, of another kind, with NaN, not three-dimensional, an image whose range
            networks cannot see, or of a geometry that is in doubt.
    """
    path = Path(path) if isinstance(path, str) else path
    volume = _read(path, mask, from_environment() if policy is None else policy)
    if volume.voxels.shape[3] > 1 and not frames:
        shape = volume.voxels.shape
        raise InputError(f"{path} has shape {shape}: give a 3D volume (rows, columns, slices), one frame of a cine")
    return volume


def _read(path: Path | Series, mask: bool, policy: ReadingPolicy) -> Volume:
    if not isinstance(path, Path) or path.is_dir():
        from acdc_semicycle.imageio import dicom_series

        voxels, affine, doubt = dicom_series.read(path, policy)
        voxels, affine = _checked(Path(str(path)), voxels, affine, mask, policy)
        return Volume(voxels, affine, None, str(path), doubt)
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a {' '.join(SCANS)} volume")
    kind = ending(path)
    if not kind:
        raise InputError(f"{path} is no scan by its name: give a {' '.join(SCANS)} volume")
    try:
        voxels, affine, header = nifti.read(path, policy) if kind in NIFTI else nrrd_meta.read(path, policy)
    except InputError:
        raise
    except (*DAMAGE, RuntimeError) as error:
        if refused := getattr(error, "strerror", None):  # by the system, whatever is in the file
            raise InputError(f"{path} cannot be read ({refused}): see that it is yours to read, and whole") from error
        reason = re.sub(r'".*"', "...", str(error)).strip().splitlines()  # what is quoted may name the patient
        raise InputError(
            f"{path} is truncated, damaged or no {'NIfTI' if kind in NIFTI else kind[1:].upper()}"
            f" ({reason[-1] if reason else type(error).__name__}): copy it again from its source"
        ) from error
    voxels, affine = _checked(path, voxels, affine, mask, policy)
    return Volume(voxels, affine, header, str(path))


def _checked(
    path: Path, voxels: NDArray, affine: NDArray, mask: bool, policy: ReadingPolicy
) -> tuple[NDArray, NDArray[np.float64]]:
    """Voxels [X, Y, Z, frames] and affine, once the numbers are real and finite and the affine is usable."""
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 2:
        voxels = voxels[..., None]
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise InputError(
            f"{path} has shape {voxels.shape}: give a 3D volume (rows, columns, slices), or a cine of such frames"
        )
    if voxels.dtype.kind not in "iufb":
        raise InputError(f"{path} holds {voxels.dtype} voxels: give a scan of one real number a voxel")
    if voxels.dtype.kind == "f":
        voxels = _finite(path, voxels, mask, policy)
    if not mask:
        _check_range(path, voxels)
    check_affine(path, affine)
    voxels = voxels if voxels.ndim == 4 else voxels[..., None]
    return voxels, np.asarray(affine, float)


def _finite(path: Path, voxels: NDArray, mask: bool, policy: ReadingPolicy) -> NDArray:
    """The voxels, all of them finite in single precision, which is what networks see."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(voxels.astype(np.float32, copy=False))
    if finite.all():
        return voxels
    if mask or not policy.repair or not finite.any():
        raise InputError(
            f"{path} holds {finite.size - np.count_nonzero(finite):,} NaN or infinite voxels: repair it, or leave the"
            f" case out{'' if mask else f'; with {environment.REPAIR}=1 they become the lowest number'}"
        )
    log.warning("%s: %d NaN or infinite voxels become the lowest number", path, np.count_nonzero(~finite))
    return np.where(finite, voxels, voxels[finite].min())


def _check_range(path: Path, voxels: NDArray) -> None:
    """Refuse intensities whose differences single precision, which is what networks see, loses or cannot hold."""
    if voxels.dtype.itemsize < 4:
        return
    low, high = voxels.min(), voxels.max()
    span, far = float(np.longdouble(high) - np.longdouble(low)), max(-float(low), float(high))
    known = np.finfo(np.float32)
    if span and not max(float(known.tiny), far / STEPS) <= span <= float(known.max):
        raise InputError(
            f"{path} holds intensities from {low} to {high}, which single precision cannot hold, or not tell apart:"
            " move or scale them"
        )
