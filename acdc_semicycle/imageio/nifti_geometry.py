"""Where a NIfTI lies: by its qform or its sform, where both agree or the user has chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from acdc_semicycle.imageio.checks import COPY, check_affine, in_words
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

IN_MM = {1: 1000.0, 3: 0.001}  # NIfTI's codes of metres and microns
CONFLICT_MM = 1.0  # between the places where qform and sform put one corner of a volume


def affine_of(path: Path, header: Any, policy: ReadingPolicy) -> NDArray[np.float64]:
    """The affine to RAS in mm, by the form whose code is set.

    Raises:
        InputError: no form is set, or the two disagree, and the policy chooses none; or one of them is impossible.
    """
    _check_spacing(path, header)
    forms = _forms(path, header)
    if not forms:
        if policy.geometry is None:
            raise InputError(
                f"{path} does not say where it lies in the patient (qform_code and sform_code are 0): restore it from"
                f" its source, or set {environment.GEOMETRY} to sform to read it although left may be right"
            )
        return _in_mm(header, header.get_base_affine())
    if policy.geometry in forms:
        return forms[policy.geometry]
    affines = list(forms.values())
    apart_mm = corner_distance(header.get_data_shape(), affines[0], affines[-1])  # of one with itself where it is alone
    if apart_mm > CONFLICT_MM:
        raise InputError(
            f"{path} has a qform and an sform that disagree by {apart_mm:.3g} mm, and programs differ in which they"
            f" use: keep one, or set {environment.GEOMETRY} to sform or qform"
        )
    return affines[0]


def _check_spacing(path: Path, header: Any) -> None:
    """Refuse spacings that are not finite numbers above 0."""
    axes = min(int(header["dim"][0]), 3)
    spacing = header["pixdim"][1 : axes + 1].astype(float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise InputError(f"{path} has a spacing of {in_words(spacing)} in its header: restore it from its source")


def _forms(path: Path, header: Any) -> dict[str, NDArray[np.float64]]:
    """The affines of the forms whose codes are set, the sform's first."""
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    for name, code in codes.items():
        if not 0 <= code <= 5:
            raise InputError(f"{path} has the unknown {name}_code {code}: {COPY}")
    return {name: _form(path, header, name) for name, code in codes.items() if code}


def _form(path: Path, header: Any, name: str) -> NDArray[np.float64]:
    """The affine of one form; it must be finite even if the other is used, because a label map copies both."""
    try:
        affine = header.get_sform() if name == "sform" else header.get_qform()
    except (HeaderDataError, ValueError):
        numbers = [float(header[f"quatern_{axis}"]) for axis in "bcd"]
        raise InputError(f"{path} has a qform that is no rotation (quaternion {numbers}): {COPY}") from None
    if not np.isfinite(affine).all():
        check_affine(path, affine)
    return _in_mm(header, affine)


def _in_mm(header: Any, affine: NDArray) -> NDArray[np.float64]:
    """An affine in the header's unit as one in mm."""
    unit_mm = IN_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.diag([unit_mm, unit_mm, unit_mm, 1.0]) @ affine


def corner_distance(shape: Sequence[int], first: NDArray, second: NDArray) -> float:
    """The largest distance between the places where two affines put one corner of a volume of this shape."""
    ends = np.array((*shape, 1, 1)[:3]) - 1
    corners = np.ones((4, 8))
    corners[:3] = np.indices((2, 2, 2)).reshape(3, 8) * ends[:, None]
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())
