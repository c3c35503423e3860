"""Label maps, written on the grid of their scan: whole or not at all, and marked as written here."""

from __future__ import annotations

import os
from glob import escape
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.checks import DAMAGE
from acdc_semicycle.imageio.nifti_geometry import IN_MM
from acdc_semicycle.imageio.volume import NIFTI, Volume, ending, orthogonal
from acdc_semicycle.runtime.errors import InputError

FORMATS = (".nii.gz", ".nrrd", ".mha")  # that label maps are written in
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's patient axes
MARK = "acdc_semicycle label map"  # in the header of what is written here
GEOMETRY = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
GEOMETRY += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]


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
