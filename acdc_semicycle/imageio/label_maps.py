"""Label maps are written on the grid of their scan, completely or not at all, and marked as written here."""

from __future__ import annotations

import os
import shutil
import tempfile
from glob import escape
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import nifti
from acdc_semicycle.imageio.checks import DAMAGE
from acdc_semicycle.imageio.nifti_geometry import IN_MM
from acdc_semicycle.imageio.volume import NIFTI, Volume, ending, orthogonal
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import move_into_place, part_file
from acdc_semicycle.runtime.leftovers import remove_leftovers

FORMATS = (".nii.gz", ".nrrd", ".mha")  # in which label maps are written
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's patient axes
MARK = "acdc_semicycle label map"  # in the header of what is written here
GEOMETRY = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
GEOMETRY += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]


def save(target: Path, voxels: NDArray, like: Volume) -> None:
    """Write voxels on the grid of ``like`` and nothing else of its header; the file appears completely or not at all.

    Args:
        target: the file, which ends in one of FORMATS.
        voxels: [X, Y, Z] or with a fourth axis (frames, or classes of probabilities), in the order of storage.

    Raises:
        InputError: the grid is sheared, which NRRD and MetaImage cannot store.
    """
    if voxels.shape[:3] != like.voxels.shape[:3]:
        raise ValueError(f"{voxels.shape} voxels for a scan of {like.voxels.shape}")
    remove_leftovers(target.parent, escape(target.name))
    with part_file(target) as part:
        if ending(target) in NIFTI:
            _save_nifti(part, voxels, like)
        else:
            _save_itk(part, target, voxels, like)
        move_into_place(part, target)


def _save_nifti(path: Path, voxels: NDArray, like: Volume) -> None:
    """Write a NIfTI on the grid of ``like``."""
    nibabel.save(nifti_image(voxels, like), path)


def nifti_image(voxels: NDArray, like: Volume) -> nibabel.Nifti1Image:
    """Voxels with the geometry of ``like``, copied field by field where ``like`` is a NIfTI, too.

    Args:
        voxels: as :func:`save` takes them.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header["descrip"] = MARK.encode()
    if isinstance(like.header, nibabel.Nifti1Header):  # of which NIfTI-2's is a subclass
        frames = voxels.shape[3:] == like.voxels.shape[3:]  # and not classes
        _copy_geometry(like.header, header, frames)
        affine = like.affine.copy()
        affine[:3] /= IN_MM.get(int(like.header["xyzt_units"]) & 7, 1.0)
        image = nibabel.Nifti1Image(voxels, affine, header)
    else:
        image = nibabel.Nifti1Image(voxels, like.affine, header)
        image.set_sform(like.affine, code=1)
        image.set_qform(like.affine, code=int(orthogonal(like.affine)), strip_shears=True)  # it cannot be sheared
        image.header.set_xyzt_units("mm")
    return image


def _copy_geometry(source: Any, target: Any, frames: bool) -> None:
    """Copy a header's geometry as it is, and for frames that of time; computing it anew fails for odd headers."""
    for name in GEOMETRY:
        target[name] = source[name]
    target["pixdim"][:4] = source["pixdim"][:4]
    space, time = int(source["xyzt_units"]) & 7, int(source["xyzt_units"]) & 24
    target["xyzt_units"] = space if space in (1, 2, 3) else 0
    if frames:
        target["pixdim"][4] = source["pixdim"][4]
        target["xyzt_units"] += time


def _save_itk(path: Path, target: Path, voxels: NDArray, like: Volume) -> None:
    """Write NRRD or MetaImage to ``path``; ``target`` is its final name, for messages."""
    import SimpleITK as sitk

    image = itk_image(voxels, like, target.name)
    if os.fsencode(path) == str(path).encode(errors="replace"):
        sitk.WriteImage(image, str(path), useCompression=True)
        return
    with tempfile.TemporaryDirectory(prefix="semicycle-") as folder:  # SimpleITK writes no name that is not UTF-8
        plain = Path(folder) / f"label_map{ending(target)}"
        sitk.WriteImage(image, str(plain), useCompression=True)
        shutil.move(plain, path)


def itk_image(voxels: NDArray, like: Volume, name: str = "a SimpleITK image") -> Any:
    """Voxels as a SimpleITK image on the grid of ``like``.

    Args:
        voxels: as :func:`save` takes them.
        name: of the image, for messages.

    Raises:
        InputError: the grid is sheared.
    """
    import SimpleITK as sitk

    if not orthogonal(like.affine):
        raise InputError(f"{like.path} has a sheared grid, which {name} cannot hold: write NIfTI (--format nii.gz)")
    affine = LPS @ like.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = np.eye(voxels.ndim)
    direction[:3, :3] = affine[:3, :3] / spacing
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose()), isVector=False)
    image.SetSpacing([*spacing.tolist(), 1.0][: voxels.ndim])
    image.SetOrigin([*affine[:3, 3].tolist(), 0.0][: voxels.ndim])
    image.SetDirection(direction.ravel().tolist())
    image.SetMetaData("Software", MARK)
    return image


def ours(path: Path) -> bool:
    """Whether a label map was written here."""
    try:
        if ending(path) in NIFTI:
            header = nifti.stored_header(path)
            return header is not None and bytes(header["descrip"]).rstrip(b"\0") == MARK.encode()
        with path.open("rb") as stream:
            return MARK.encode() in stream.read(1 << 12)
    except (*DAMAGE, KeyError):
        return False
