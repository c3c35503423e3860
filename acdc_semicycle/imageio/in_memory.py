"""Scans that lie in memory, as other libraries hold them: NumPy, torch, nibabel and SimpleITK.

What is checked of their voxels and their geometry is what the readers of files check.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from nibabel.analyze import AnalyzeHeader
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.imageio.checks import DAMAGE, check_affine
from acdc_semicycle.imageio.label_maps import LPS
from acdc_semicycle.imageio.nifti_geometry import affine_of
from acdc_semicycle.imageio.policy import from_environment
from acdc_semicycle.imageio.volume import Volume
from acdc_semicycle.imageio.volumes import checked_voxels
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

KINDS = "a path, a NumPy array, a torch tensor, a nibabel or a SimpleITK image"
ASSUMED = "its directions are not known: its axes are taken as to the patient's right, front and head"
GEOMETRY = "affine= (4 x 4, voxel indices to RAS in mm) or spacing= (mm along each axis)"


class Axes(NamedTuple):
    """How the array of an input holds a volume's axes.

    Attributes:
        shape: of the input's array, without an axis of channels.
        backwards: whether they are [frames, Z, Y, X], as SimpleITK's arrays have them, and not [X, Y, Z, frames].
    """

    shape: tuple[int, ...]
    backwards: bool = False

    def as_input(self, voxels: NDArray) -> NDArray:
        """Voxels [X, Y, Z, frames] in the order and the shape of the input."""
        ordered = voxels.transpose() if self.backwards else voxels
        return np.array(ordered, order="C").reshape(self.shape)  # a copy, which the user may change


def volume_of(scan: Any, affine: Any = None, spacing: Any = None) -> tuple[Volume, Axes]:
    """A scan in memory as a volume, and how its array holds the axes.

    Args:
        scan: a NumPy array [X, Y], [X, Y, Z] or [X, Y, Z, frames]; a torch tensor [X, Y, Z], or [1, X, Y, Z] with its
            axis of channels; a nibabel image; a SimpleITK image of three axes, or of four with frames.
        affine: of an array or a tensor: [4, 4], voxel indices to the patient's RAS axes, in mm. A MONAI MetaTensor has
            its own.
        spacing: of an array or a tensor, instead: mm along each axis.

    Raises:
        InputError: another type or number of axes, no geometry or two, or what the readers of files refuse.
    """
    if isinstance(scan, SpatialImage) or _is_simpleitk(scan):
        if not (affine is None and spacing is None):
            raise InputError(f"a {type(scan).__name__} has its own geometry, and another is given: leave out affine")
        return _of_nibabel(scan) if isinstance(scan, SpatialImage) else _of_simpleitk(scan)
    if isinstance(scan, Tensor):
        if affine is None and spacing is None:
            affine = getattr(scan, "affine", None)  # of MONAI's MetaTensor
        return _of_array("the tensor", _without_channel(scan), affine, spacing)
    if isinstance(scan, np.ndarray):
        _check_no_channel(scan)
        return _of_array("the array", scan, affine, spacing)
    raise InputError(f"a {type(scan).__name__} is given as scan: give {KINDS}")


def as_numpy(tensor: Tensor) -> NDArray:
    """A tensor's numbers, without gradient, from whichever device."""
    plain = tensor.detach().cpu().as_subclass(Tensor)
    if plain.dtype == torch.bfloat16:  # NumPy has no such numbers
        plain = plain.float()
    return plain.numpy()


def _is_simpleitk(scan: Any) -> bool:
    """Whether a value is a SimpleITK image, without importing SimpleITK, which takes a while."""
    library = sys.modules.get("SimpleITK")
    return library is not None and isinstance(scan, library.Image)


def _check_no_channel(voxels: NDArray) -> None:
    """Refuse an array that has an axis of channels first, as it seems: it would be a cine of one row."""
    if voxels.ndim == 4 and voxels.shape[0] == 1 and min(voxels.shape[1:3]) > 1:
        raise InputError(
            f"the array has shape {voxels.shape}, and its axes are X, Y, Z and frames: give array[0] if the first is of"
            " channels"
        )


def _without_channel(tensor: Tensor) -> NDArray:
    """The voxels of a tensor without its axis of channels.

    Raises:
        InputError: several channels, or a batch.
    """
    voxels = as_numpy(tensor)
    if voxels.ndim > 2 and voxels.shape[0] == 1:
        voxels = voxels[0]
    if voxels.ndim > 3:
        raise InputError(
            f"the tensor has shape {tuple(tensor.shape)}: give one scan [X, Y, Z], or with one channel [1, X, Y, Z]; a"
            " cine as a NumPy array [X, Y, Z, frames]"
        )
    return voxels


def _of_array(name: str, voxels: NDArray, affine: Any, spacing: Any) -> tuple[Volume, Axes]:
    """An array as a volume, by its affine or its spacing."""
    if affine is None and spacing is None:
        raise InputError(f"{name} does not say where its voxels lie: give {GEOMETRY}")
    if affine is not None and spacing is not None:
        raise InputError(f"affine and spacing are given for {name}: give one of them")
    note = None
    if affine is None:
        matrix = np.diag([*_checked_spacing(name, spacing, voxels.ndim), 1.0])
        note = ASSUMED
    else:
        matrix = _checked_affine(name, affine)
    return _checked_volume(name, voxels, matrix, None, note), Axes(voxels.shape)


def _checked_spacing(name: str, spacing: Any, axes: int) -> NDArray[np.float64]:
    """Three spacings in mm; the third of a single slice with two of them is 1."""
    numbers = _numbers(spacing)
    if axes == 2 and numbers.shape == (2,):
        numbers = np.append(numbers, 1.0)
    if numbers.shape != (3,) or not np.isfinite(numbers).all() or numbers.min() <= 0:
        raise InputError(f"the spacing of {name} is {spacing!r}: give three numbers above 0, mm along each axis")
    return numbers


def _checked_affine(name: str, affine: Any) -> NDArray[np.float64]:
    """A 4 x 4 affine."""
    matrix = _numbers(affine)
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InputError(
            f"the affine of {name} is no 4 x 4 matrix with the last row 0 0 0 1, but of shape {matrix.shape}: give the"
            " one from voxel indices to RAS in mm"
        )
    return matrix


def _numbers(value: Any) -> NDArray[np.float64]:
    """A value as an array of numbers; an empty one where it is none."""
    if isinstance(value, Tensor):
        value = as_numpy(value)
    try:
        return np.array(value, float)
    except (ValueError, TypeError):
        return np.empty(0)


def _checked_volume(name: str, voxels: NDArray, affine: NDArray, header: Any = None, note: str | None = None) -> Volume:
    """A volume whose voxels and affine have passed the checks of the readers."""
    checked = checked_voxels(name, voxels, False, from_environment())
    check_affine(name, affine)
    return Volume(checked, np.asarray(affine, float), header, name, None, note)


def _of_nibabel(image: Any) -> tuple[Volume, Axes]:
    """A nibabel image as a volume; of a NIfTI's header as the reader of files takes it."""
    name = image.get_filename() or f"the {type(image).__name__}"
    header, policy = image.header, from_environment()
    try:
        voxels = np.asanyarray(image.dataobj)
    except (*DAMAGE, RuntimeError) as error:
        raise InputError(f"{name} cannot be read ({error}): copy it again from its source") from error
    if isinstance(header, nibabel.Nifti1Header):
        affine = affine_of(Path(name), header, policy)
        return _checked_volume(name, voxels, affine, header), Axes(voxels.shape)
    if image.affine is None or (isinstance(header, AnalyzeHeader) and policy.geometry is None):
        raise InputError(
            f"{name} does not tell left from right: give a NIfTI image, or set {environment.GEOMETRY} to sform"
        )
    return _checked_volume(name, voxels, image.affine), Axes(voxels.shape)


def _of_simpleitk(image: Any) -> tuple[Volume, Axes]:
    """A SimpleITK image as a volume: its axes backwards, and its geometry from LPS to RAS."""
    name, axes, numbers = "the SimpleITK image", image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if numbers != 1:
        raise InputError(f"{name} has {numbers} numbers a voxel: give a scan of one real number a voxel")
    if axes not in (3, 4):
        raise InputError(f"{name} has {axes} axes: give one of three (sitk.JoinSeries makes one of a slice), or a cine")
    voxels = sys.modules["SimpleITK"].GetArrayFromImage(image)
    affine = LPS @ _matrix(image.GetDirection(), image.GetSpacing(), image.GetOrigin())
    return _checked_volume(name, voxels.transpose(), affine), Axes(voxels.shape, backwards=True)


def _matrix(direction: Sequence[float], spacing: Sequence[float], origin: Sequence[float]) -> NDArray[np.float64]:
    """The affine of the three axes in space, to the axes that SimpleITK's geometry has."""
    axes = len(spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (axes, axes))[:3, :3] * np.array(spacing[:3])
    affine[:3, 3] = origin[:3]
    return affine
