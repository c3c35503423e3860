"""A scan in memory, and the endings of files that hold one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.checks import in_words
from acdc_semicycle.imageio.orientation import Layout, displayed, layout, reordered

NIFTI = (".nii", ".nii.gz", ".hdr")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
SCANS = (*NIFTI, *ITK)
FINEST_MM, COARSEST_MM = 0.1, 50.0  # limits of the spacings that patients are scanned with


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan of one frame or of many.

    Attributes:
        voxels: [X, Y, Z, frames] in the order of storage, as numbers (slope and intercept applied).
        affine: voxel indices to the patient's RAS axes, in mm.
        header: the NIfTI header, from which a label map copies the geometry field by field; None for other files.
        path: the file or folder that was read, for messages.
        doubt: why the affine cannot be trusted in full; None where it can.
        note: what was assumed of the files that make the scan; None where nothing was.
    """

    voxels: NDArray
    affine: NDArray[np.float64]
    header: Any = None
    path: str = ""
    doubt: str | None = None
    note: str | None = None

    @property
    def layout(self) -> Layout:
        """The way from the stored axes to the network's."""
        return layout(self.affine, self.voxels.shape[:3])

    def shown(self, canonical: NDArray) -> NDArray:
        """A canonical slice [H, W] as a picture [rows, columns], in the radiologist's view if directions are known."""
        return displayed(canonical, turned=self.spacing_fault is None)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along the stored axes."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def spacing_fault(self) -> str | None:
        """Why nothing in millimetres can be trusted; None where it can."""
        if self.doubt:
            return self.doubt
        if np.allclose(self.spacing_mm, 1, atol=1e-6):
            return "its spacing is 1 x 1 x 1 mm, as of files that have lost theirs"
        if min(self.spacing_mm) < FINEST_MM or max(self.spacing_mm) > COARSEST_MM:
            return f"its spacing of {in_words(self.spacing_mm)} mm is not between {FINEST_MM:g} and {COARSEST_MM:g}"
        return None


def ending(path: str | Path) -> str:
    """What a scan's name ends in, in lower case (``.nii.gz`` whole); empty for other files."""
    for end in SCANS:
        if str(path).lower().endswith(end):
            return end
    return ""


def orthogonal(affine: NDArray) -> bool:
    """Whether the axes are at right angles."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-3))


def in_order_of(mask: Volume, image: Volume) -> Volume:
    """A mask with its axes in the order of its image's, if it then has the image's grid; else as it is."""
    if np.allclose(mask.affine, image.affine, atol=1e-3):
        return mask
    order = reordered(mask.affine, image.affine)
    if order is None:
        return mask
    voxels, affine = order.apply(mask.voxels), order.affine(mask.affine, mask.voxels.shape)
    if voxels.shape[:3] != image.voxels.shape[:3] or not np.allclose(affine, image.affine, atol=1e-3):
        return mask
    return replace(mask, voxels=voxels, affine=affine)
