"""Scans as files store them: NIfTI, NRRD, MetaImage and DICOM in, label maps of the same grid out."""

from __future__ import annotations

import logging
import os
import re
import zlib
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from acdc_semicycle.imageio import nifti, nrrd_meta
from acdc_semicycle.imageio.checks import check_affine
from acdc_semicycle.imageio.nifti_geometry import IN_MM
from acdc_semicycle.imageio.orientation import Layout, displayed, layout
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

if TYPE_CHECKING:
    from acdc_semicycle.imageio.dicom_series import Series

log = logging.getLogger("semicycle")

NIFTI = (".nii", ".nii.gz", ".hdr")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
SCANS = (*NIFTI, *ITK)
FORMATS = (".nii.gz", ".nrrd", ".mha")  # that label maps are written in
FINEST_MM, COARSEST_MM = 0.1, 50.0  # of the spacings that a patient is scanned with
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's patient axes
STEPS = 2**20  # of single precision's 2^24, that an image may be away from zero, in units of its range
MARK = "acdc_semicycle label map"  # in the header of what is written here
GEOMETRY = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
GEOMETRY += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]

# what nibabel, gzip and NumPy raise for a damaged file; TypeError is NumPy's for colours
DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan of one frame or of many.

    Attributes:
        voxels: [X, Y, Z, frames] in the order of storage, as numbers (slope and intercept applied).
        affine: voxel indices to the patient's RAS axes, in mm.
        header: of a NIfTI file, whose geometry a label map takes over field by field.
        path: what was read, for messages.
        doubt: why the affine is not to be believed in full, if so.
    """

    voxels: NDArray
    affine: NDArray[np.float64]
    header: Any = None
    path: str = ""
    doubt: str | None = None

    @property
    def layout(self) -> Layout:
        """From the stored axes to the network's."""
        return layout(self.affine, self.voxels.shape[:3])

    def shown(self, canonical: NDArray) -> NDArray:
        """A canonical slice [H, W] as a picture [rows, columns], in the radiologist's view if that is known."""
        return displayed(canonical, turned=self.spacing_fault is None)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along the stored axes."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    @property
    def voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def spacing_fault(self) -> str | None:
        """Why nothing in millimetres is to be believed; None where the spacing is one."""
        if self.doubt:
            return self.doubt
        if np.allclose(self.spacing_mm, 1, atol=1e-6):
            return "its spacing is 1 x 1 x 1 mm, as of files that have lost theirs"
        if min(self.spacing_mm) < FINEST_MM or max(self.spacing_mm) > COARSEST_MM:
            spacing = " x ".join(f"{n:.4g}" for n in self.spacing_mm)
            return f"its spacing of {spacing} mm is not between {FINEST_MM:g} and {COARSEST_MM:g}"
        return None


def ending(path: str | Path) -> str:
    """What a scan's name ends in, in lower case (``.nii.gz`` whole); empty where it is no scan's."""
    name = str(path).lower()
    return next((end for end in sorted(SCANS, key=len, reverse=True) if name.endswith(end)), "")


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


def save(target: Path, voxels: NDArray, like: Volume) -> None:
    """Write voxels on the grid of ``like`` and nothing else of its header; the file appears whole or not at all.

    Args:
        target: ends in one of FORMATS.
        voxels: [X, Y, Z] or with a fourth axis (frames, or classes of probabilities), in the order of storage.

    Raises:
        InputError: NRRD or MetaImage of a sheared grid, which they cannot hold.
    """
    if voxels.shape[:3] != like.voxels.shape[:3]:
        raise ValueError(f"{voxels.shape} voxels for a scan of {like.voxels.shape}")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".part-*-{escape(target.name)}"):  # by a process that was killed
        left.unlink(missing_ok=True)
    beside = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        if ending(target) in NIFTI:
            _save_nifti(beside, voxels, like)
        else:
            _save_itk(beside, target, voxels, like)
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _save_nifti(path: Path, voxels: NDArray, like: Volume) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header["descrip"] = MARK.encode()
    affine = like.affine
    if isinstance(like.header, nibabel.Nifti1Header):  # NIfTI-2's is one, too
        for name in GEOMETRY:  # as they are: to compute them anew fails where one of them is odd
            header[name] = like.header[name]
        header["pixdim"][:4] = like.header["pixdim"][:4]
        units = int(like.header["xyzt_units"])
        unit = units & 7
        header["xyzt_units"] = unit if unit in (1, 2, 3) else 0
        if voxels.shape[3:] == like.voxels.shape[3:]:  # frames, and not classes
            header["pixdim"][4] = like.header["pixdim"][4]
            header["xyzt_units"] = int(header["xyzt_units"]) | (units & 24 if units & 24 in (8, 16, 24) else 0)
        affine = affine.copy()
        affine[:3] /= IN_MM.get(unit, 1.0)
        image = nibabel.Nifti1Image(voxels, affine, header)
    else:
        image = nibabel.Nifti1Image(voxels, affine, header)
        image.set_sform(affine, code=1)
        sheared = not orthogonal(affine)  # which a qform cannot be
        image.set_qform(affine, code=0 if sheared else 1, strip_shears=True)
        image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def orthogonal(affine: NDArray) -> bool:
    """Whether the axes are at right angles."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-3))


def _save_itk(path: Path, target: Path, voxels: NDArray, like: Volume) -> None:
    import SimpleITK as sitk

    affine = LPS @ like.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    if not orthogonal(affine):
        raise InputError(
            f"{like.path} has a sheared grid, which {target.name} cannot hold: write NIfTI (--format nii.gz)"
        )
    if voxels.ndim == 3:
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose()))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        image.SetDirection(direction.ravel().tolist())
    else:
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose()), isVector=False)
        image.SetSpacing([*spacing.tolist(), 1.0])
        image.SetOrigin([*affine[:3, 3].tolist(), 0.0])
        whole = np.eye(4)
        whole[:3, :3] = direction
        image.SetDirection(whole.ravel().tolist())
    image.SetMetaData("Software", MARK)
    sitk.WriteImage(image, str(path), useCompression=True)


def ours(path: Path) -> bool:
    """Whether a label map was written here."""
    try:
        if ending(path) in NIFTI:
            header: Any = nibabel.load(path).header
            return bytes(header["descrip"]).rstrip(b"\0") == MARK.encode()
        with path.open("rb") as stream:
            return MARK.encode() in stream.read(1 << 12)
    except (*DAMAGE, KeyError):
        return False
