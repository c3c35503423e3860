"""Where an NRRD or a MetaImage lies: what its header lacks is assumed only where the user accepts that."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.nrrd_meta_header import Fields, is_nrrd, one_number
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

RESTORE = "restore it from its source"
SPACES = {  # the spaces of NRRD that are anatomical, and the signs that lead from each to RAS
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
ITK = "lps"  # the space of ITK and DICOM
WITH_TIME = ("-time", "rast", "last", "lpst")  # endings of the names of spaces of four axes
NRRD: tuple[str, ...] = ("space directions", "space origin")
META = {"TransformMatrix": ("rotation", "orientation"), "Offset": ("position", "origin"),
        "ElementSpacing": ("elementsize",)}  # with the other names of each  # fmt: skip
IN_MM = {
    "": 1.0, "?": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "um": 0.001, "µm": 0.001, "μm": 0.001, "micron": 0.001, "microns": 0.001, "cm": 10.0, "m": 1000.0,
}  # fmt: skip
NOT_ONE = 1e-3  # the tolerance of a direction's length
LONGEST = 1000  # characters of a field
UNKNOWN = ("???", "none")  # kinds of axes that say nothing
FRAMES = ("list", "time")
ONE_NUMBER = (*UNKNOWN, *FRAMES, "domain", "space")  # axes of all other kinds have several numbers a voxel
VECTOR = re.compile(r"none|\([^()]*\)")  # ``none`` is the direction of an axis that is not in space
Vector = NDArray[np.float64]


def affine_and_frame_axis(
    path: Path, fields: Fields, sizes: tuple[int, ...], policy: ReadingPolicy
) -> tuple[NDArray[np.float64], int | None]:
    """The affine to RAS in mm of the axes in space, in their order, and the axis of the frames.

    Args:
        fields: the header's, with names in lower case and without spaces.
        sizes: numbers of voxels along the axes.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: the header gives no place and the policy accepts no assumed one, or the place is impossible.
    """
    if is_nrrd(path):
        space, required, spacing_field = _space(fields), NRRD, "spacings"
    else:
        space, required, spacing_field = ITK, tuple(META), "elementspacing"
        fields = _with_first_names(fields)
    _check_spacings(path, fields, spacing_field)
    kinds = _axis_kinds(path, fields, sizes)
    missing = [name for name in required if _key(name) not in fields]
    if space not in SPACES:
        missing.append("anatomical space")
    if missing and not policy.geometry:
        raise InputError(
            f"{path} does not say where it lies in the patient (no {', no '.join(missing)}): {RESTORE}, or set"
            f" {environment.GEOMETRY} to sform to read it although left may be right"
        )
    steps = _nrrd_steps(path, fields, kinds) if is_nrrd(path) else _meta_steps(path, fields, len(sizes))
    origin = _origin(path, fields, required, steps)
    frame_axis, space_steps = _split(path, steps, required)
    if frame_axis == 0 and kinds[0] in UNKNOWN:
        one_number(path, sizes[0])  # colours are stored like that
    if any(kinds[axis] in FRAMES for axis in space_steps):
        raise InputError(f"{path} has directions in space for an axis that is a list or time: {RESTORE}")
    affine = _affine(list(space_steps.values()), origin)
    affine[:3] *= _unit_mm(path, fields, len(origin))
    return np.diag([*SPACES.get(space, SPACES[ITK]), 1.0]) @ affine, frame_axis


def _key(name: str) -> str:
    """A field's name as it is in the dictionary of fields."""
    return name.lower().replace(" ", "")


def _with_first_names(fields: Fields) -> Fields:
    """A MetaImage's fields; a field under an alternative name is also found under its first name."""
    renamed: Fields = {}
    for name, others in META.items():
        for other in others:
            if other in fields:
                renamed[_key(name)] = fields[other]
    return renamed | fields


def _space(fields: Fields) -> str:
    """The space of an NRRD, without its time; ITK writes none for two or four axes."""
    if "space" in fields:
        return fields["space"].lower().removesuffix("-time").removesuffix("t")
    return ITK if fields.get("spacedimension") in ("2", "4") else ""


def _axis_kinds(path: Path, fields: Fields, sizes: tuple[int, ...]) -> list[str]:
    """The kinds of an NRRD's axes; refuse those of several numbers a voxel."""
    kinds = fields.get("kinds", "")[:LONGEST].lower().split()
    if not kinds or not is_nrrd(path):
        return [UNKNOWN[0]] * len(sizes)
    if len(kinds) != len(sizes):
        raise _wrong_count(path, "kinds")
    for kind, size in zip(kinds, sizes, strict=True):
        if kind not in ONE_NUMBER:
            one_number(path, size)
    return kinds


def _nrrd_steps(path: Path, fields: Fields, kinds: list[str]) -> list[Vector | None]:
    """The step from one voxel to the next along each axis; None where the axis is not in space."""
    spacings = [float(word) for word in fields.get("spacings", "").split()]
    if "spacings" in fields and len(spacings) != len(kinds):
        raise _wrong_count(path, "spacings")
    if "spacedirections" not in fields:
        return _assumed_steps(kinds, spacings or [1.0] * len(kinds))
    steps = _directions(path, fields)
    if len(steps) != len(kinds):
        raise _wrong_count(path, ", ".join(NRRD))
    for spacing, step in zip(spacings, steps, strict=False):
        if step is not None and not math.isnan(spacing):
            raise InputError(f"{path} has both spacings and space directions: {RESTORE}")
    return steps


def _assumed_steps(kinds: list[str], spacings: list[float]) -> list[Vector | None]:
    """Assumed steps, along one axis of space after the other, for an NRRD without directions."""
    frame_axis = None
    if len(kinds) > 3:
        lists = [axis for axis, kind in enumerate(kinds) if kind in FRAMES]
        frame_axis = lists[0] if len(lists) == 1 else len(kinds) - 1
    directions = iter(np.eye(max(2, min(len(kinds), 3))))
    steps: list[Vector | None] = []
    for axis, spacing in enumerate(np.nan_to_num(spacings, nan=1.0)):
        steps.append(None if axis == frame_axis else spacing * next(directions))
    return steps


def _directions(path: Path, fields: Fields) -> list[Vector | None]:
    """The space directions of an NRRD, each of as many numbers as the space has axes; None where one is ``none``."""
    text = fields["spacedirections"]
    if len(text) > LONGEST or VECTOR.sub("", text).strip():
        raise InputError(f"{path} has other than finite numbers in its {NRRD[0]}: {RESTORE}")
    dimension = "4" if fields.get("space", "").lower().endswith(WITH_TIME) else "3"
    dimension = fields.get("spacedimension", dimension)
    steps: list[Vector | None] = []
    for word in VECTOR.findall(text):
        steps.append(None if word == "none" else _numbers(path, word, NRRD[0]))
    if {str(len(step)) for step in steps if step is not None} != {dimension}:
        raise _wrong_count(path, ", ".join(NRRD))
    return steps


def _meta_steps(path: Path, fields: Fields, axes: int) -> list[Vector | None]:
    """The step from one voxel to the next along each axis of a MetaImage."""
    matrix, spacing = np.eye(axes).ravel(), np.ones(axes)
    if "transformmatrix" in fields:
        matrix = _numbers(path, fields["transformmatrix"], "TransformMatrix")
    if "elementspacing" in fields:
        spacing = _numbers(path, fields["elementspacing"], "ElementSpacing")
    if [len(matrix), len(spacing)] != [axes**2, axes]:
        raise _wrong_count(path, ", ".join(META))
    directions = matrix.reshape(axes, axes)  # a row for each axis of the image
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > NOT_ONE:
        raise InputError(f"{path} has directions in its TransformMatrix that are not of length 1: {RESTORE}")
    return list(directions * spacing[:, None])


def _origin(path: Path, fields: Fields, required: tuple[str, ...], steps: list[Vector | None]) -> Vector:
    """Where the first voxel is, in as many numbers as the steps have; 0 is assumed where it is not given."""
    length = max((len(step) for step in steps if step is not None), default=0)
    name = required[1]
    if _key(name) not in fields:
        return np.zeros(length)
    origin = _numbers(path, fields[_key(name)], name)
    if len(origin) != length:
        raise _wrong_count(path, ", ".join(required))
    return origin


def _split(path: Path, steps: list[Vector | None], required: tuple[str, ...]) -> tuple[int | None, dict[int, Vector]]:
    """The axis of the frames, or None, and the axes in space with their steps."""
    frame_axis = None
    space_steps: dict[int, Vector] = {}
    for axis, step in enumerate(steps):
        if step is None or (len(step) > 3 and not step[:3].any()):
            frame_axis = axis
        else:
            space_steps[axis] = step
    if len(space_steps) != min(len(steps), 3):
        raise _wrong_count(path, ", ".join(required))
    if any(step[3:].any() for step in space_steps.values()):
        raise InputError(f"{path} has directions that are of space and of time at once: {RESTORE}")
    return frame_axis, space_steps


def _affine(steps: list[Vector], origin: Vector) -> NDArray[np.float64]:
    """The affine of two or three steps and an origin; a single slice in space gets a thickness of 1."""
    affine = np.eye(4)
    for column, step in enumerate(steps):
        affine[:3, column] = _padded(step)
    if len(steps) == 2 and len(origin) > 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    affine[:3, 3] = _padded(origin)
    return affine


def _padded(vector: Vector) -> Vector:
    """Three numbers of a vector of two to four: without time, and with 0 for a missing number."""
    return np.pad(vector[:3], (0, max(0, 3 - len(vector))))


def _check_spacings(path: Path, fields: Fields, name: str) -> None:
    """Refuse spacings that are not above 0; an NRRD has NaN for axes that are not in space."""
    for word in fields.get(name, "")[:LONGEST].split():
        try:
            spacing = float(word)
        except ValueError:  # the word is not quoted: it may name the patient
            raise InputError(f"{path} has a spacing that is not a number: {RESTORE}") from None
        unknown = is_nrrd(path) and math.isnan(spacing)
        if not (spacing > 0 or unknown):
            raise InputError(f"{path} has a spacing of {spacing:g} in its header: {RESTORE}")
    if len(fields.get(name, "")) > LONGEST:
        raise _wrong_count(path, name)


def _numbers(path: Path, text: str, name: str) -> Vector:
    """All numbers of a field."""
    words = re.split(r"[\s,()]+", text[: LONGEST + 1])
    try:
        numbers = np.array([word for word in words if word], float)
    except ValueError:
        numbers = np.array([np.nan])
    if len(text) > LONGEST or not np.isfinite(numbers).all():
        raise InputError(f"{path} has other than finite numbers in its {name}: {RESTORE}")
    return numbers


def _wrong_count(path: Path, names: str) -> InputError:
    """The error for fields whose count of numbers does not match the axes."""
    return InputError(f"{path} has too few or too many numbers in its {names}: {RESTORE}")


def _unit_mm(path: Path, fields: Fields, axes: int) -> float:
    """The unit of lengths in mm; an NRRD gives one for each axis of space, which must be the same."""
    words = [fields.get("distanceunits", "")[:LONGEST]]
    if "spaceunits" in fields:
        words = re.findall(r'"([^"]*)"', fields["spaceunits"][:LONGEST])
        if len(words) != axes:
            raise _wrong_count(path, "space units")
    factors = {IN_MM.get(word.strip().lower()) for word in words[:3]}
    factor = factors.pop()
    if factors or factor is None:
        raise InputError(f"{path} has lengths in units that differ or are unknown: store millimetres")
    return factor
