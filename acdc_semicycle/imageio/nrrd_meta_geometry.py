"""Where an NRRD or a MetaImage says that it lies: what its header lacks is made up only where the user takes that."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.nrrd_meta_header import is_nrrd, one_number
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

RESTORE = "restore it from its source"
SPACES = {  # NRRD's that are a patient's, and what leads from each to RAS
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
SPACES |= {"".join(word[0] for word in name.split("-")): signs for name, signs in SPACES.items()}
ITK = "lps"  # DICOM's, too
NRRD = ("space directions", "space origin")
META = {"TransformMatrix": ("rotation", "orientation"), "Offset": ("position", "origin"),
        "ElementSpacing": ("elementsize",)}  # with the other names of each  # fmt: skip
UNITS = {1.0: "mm millimeter millimeters millimetre millimetres ?", 0.001: "um µm μm micron microns", 10.0: "cm"}
IN_MM = {"": 1.0, "m": 1000.0} | {word: factor for factor, words in UNITS.items() for word in words.split()}
NOT_ONE = 1e-3  # as much longer or shorter may a direction be
LONGEST = 1000  # characters of a field
UNKNOWN = ("???", "none")  # kinds of axes that say nothing
FRAMES = ("list", "time")
ONE_NUMBER = (*UNKNOWN, *FRAMES, "domain", "space")  # all others are of several numbers a voxel
VECTOR = re.compile(r"none|\([^()]*\)")  # ``none`` is the direction of an axis that is none of space's
Vector = NDArray[np.float64]


def place(
    path: Path, said: dict[str, str], sizes: tuple[int, ...], policy: ReadingPolicy
) -> tuple[NDArray[np.float64], int | None]:
    """The affine to RAS in mm of the axes that are space's, in their order, and the axis of the frames.

    Args:
        said: the header's fields, names in lower case and without spaces.
        sizes: of the axes.
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: the header says no place and the user takes none that is made up, or one that cannot be.
    """
    nrrd = is_nrrd(path)
    space = _space(said) if nrrd else ITK
    if not nrrd:
        said = {_key(name): said[other] for name, others in META.items() for other in others if other in said} | said
    _check_spacings(path, said, "spacings" if nrrd else "elementspacing")
    needed = NRRD if nrrd else tuple(META)
    missing = [name for name in needed if _key(name) not in said] + ([] if space in SPACES else ["anatomical space"])
    kinds = _kinds(path, said, sizes)
    if missing and not policy.geometry:
        raise InputError(
            f"{path} does not say where it lies in the patient (no {', no '.join(missing)}): {RESTORE}, or set"
            f" {environment.GEOMETRY} to sform, and left may be right"
        )
    steps = _nrrd_steps(path, said, kinds) if nrrd else _meta_steps(path, said, len(sizes))
    origin = _origin(path, said, needed[1], steps)
    frames, in_space = _split(path, steps, needed)
    if frames is not None and frames == 0 and kinds[0] in UNKNOWN:
        one_number(path, sizes[0])  # as colours are stored
    if any(kinds[axis] in FRAMES for axis in in_space):
        raise InputError(f"{path} has directions in space for an axis that is a list or time: {RESTORE}")
    affine = np.eye(4)
    for column, axis in enumerate(in_space):
        affine[:3, column] = _padded(steps[axis])
    if len(in_space) == 2 and len(origin) > 2:  # a slice in space, of no thickness
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    affine[:3, 3] = _padded(origin)
    affine[:3] *= _unit_mm(path, said, len(origin))
    return np.diag([*SPACES.get(space, SPACES[ITK]), 1.0]) @ affine, frames


def _key(name: str) -> str:
    return name.lower().replace(" ", "")


def _space(said: dict[str, str]) -> str:
    """Of an NRRD; ITK names none where it writes two or four axes."""
    if "space" in said:
        return said["space"].lower().removesuffix("-time").removesuffix("t")
    return ITK if said.get("spacedimension") in ("2", "4") else ""


def _kinds(path: Path, said: dict[str, str], sizes: tuple[int, ...]) -> list[str]:
    """Of the axes; refused are those of several numbers a voxel."""
    kinds = said.get("kinds", "")[:LONGEST].lower().split() if is_nrrd(path) else []
    kinds = kinds or [UNKNOWN[0]] * len(sizes)
    if len(kinds) != len(sizes):
        raise _wrong_count(path, "kinds")
    for kind, size in zip(kinds, sizes, strict=True):
        if kind not in ONE_NUMBER:
            one_number(path, size)
    return kinds


def _nrrd_steps(path: Path, said: dict[str, str], kinds: list[str]) -> list[Vector | None]:
    """Along each axis from one voxel to the next, in space; None where the axis is none of space's."""
    axes, spacings = len(kinds), [float(word) for word in said.get("spacings", "").split()]
    if "spacings" in said and len(spacings) != axes:
        raise _wrong_count(path, "spacings")
    if "spacedirections" not in said:  # and the user takes what is made up
        lists = [axis for axis, kind in enumerate(kinds) if kind in FRAMES]
        frames = None if axes < 4 else lists[0] if len(lists) == 1 else axes - 1
        in_space = [axis for axis in range(axes) if axis != frames]
        of_one = np.nan_to_num(spacings or [1.0] * axes, nan=1.0)
        unit = np.eye(max(len(in_space), 2))
        return [None if axis == frames else of_one[axis] * unit[in_space.index(axis)] for axis in range(axes)]
    text = said["spacedirections"][: LONGEST + 1]
    if len(text) > LONGEST or VECTOR.sub("", text).strip():
        raise InputError(f"{path} has other than finite numbers in its {NRRD[0]}: {RESTORE}")
    steps = [None if word == "none" else _numbers(path, word, NRRD[0]) for word in VECTOR.findall(text)]
    lengths = {len(step) for step in steps if step is not None}
    with_time = said.get("space", "").lower().endswith(("-time", "rast", "last", "lpst"))
    numbers = said.get("spacedimension", "4" if with_time else "3")
    if len(steps) != axes or {str(length) for length in lengths} != {numbers}:
        raise _wrong_count(path, ", ".join(NRRD))
    pairs = zip(spacings, steps, strict=True) if spacings else []
    if any(step is not None and not np.isnan(spacing) for spacing, step in pairs):
        raise InputError(f"{path} has both spacings and space directions: {RESTORE}")
    return steps


def _meta_steps(path: Path, said: dict[str, str], axes: int) -> list[Vector | None]:
    given = [_numbers(path, said[_key(name)], name) if _key(name) in said else None for name in META]
    matrix = np.eye(axes).ravel() if given[0] is None else given[0]
    spacing = np.ones(axes) if given[2] is None else given[2]
    if [len(matrix), len(spacing)] != [axes**2, axes]:
        raise _wrong_count(path, ", ".join(META))
    directions = matrix.reshape(axes, axes)  # each along one axis of the image
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > NOT_ONE:
        raise InputError(f"{path} has directions in its TransformMatrix that are not of length 1: {RESTORE}")
    return list(directions * spacing[:, None])


def _origin(path: Path, said: dict[str, str], name: str, steps: list[Vector | None]) -> Vector:
    length = next((len(step) for step in steps if step is not None), 0)
    origin = _numbers(path, said[_key(name)], name) if _key(name) in said else np.zeros(length)
    if len(origin) != length:
        raise _wrong_count(path, ", ".join(NRRD if is_nrrd(path) else META))
    return origin


def _split(path: Path, steps: list[Vector | None], needed: tuple[str, ...]) -> tuple[int | None, list[int]]:
    """The axis of the frames, if there is one, and those of space."""
    beside = [axis for axis, step in enumerate(steps) if step is None or (len(step) > 3 and not step[:3].any())]
    in_space = [axis for axis in range(len(steps)) if axis not in beside]
    if len(in_space) != min(len(steps), 3):
        raise _wrong_count(path, ", ".join(needed))
    if any(step is not None and step[3:].any() for axis, step in enumerate(steps) if axis in in_space):
        raise InputError(f"{path} has directions that are of space and of time at once: {RESTORE}")
    return (beside[0] if beside else None), in_space


def _padded(vector: Vector | None) -> Vector:
    assert vector is not None
    return np.pad(vector[:3], (0, max(0, 3 - len(vector))))


def _check_spacings(path: Path, said: dict[str, str], name: str) -> None:
    for word in said.get(name, "")[:LONGEST].split():
        try:
            spacing = float(word)
        except ValueError:  # not repeated: it may name the patient
            raise InputError(f"{path} has a spacing that is no number: {RESTORE}") from None
        if not (spacing > 0 or (is_nrrd(path) and math.isnan(spacing))):  # for axes that are none of space's
            raise InputError(f"{path} has a spacing of {spacing:g} in its header: {RESTORE}")
    if len(said.get(name, "")) > LONGEST:
        raise _wrong_count(path, name)


def _numbers(path: Path, text: str, name: str) -> Vector:
    """All of a field."""
    words = [word for word in re.split(r"[\s,()]+", text[: LONGEST + 1]) if word]
    try:
        found = np.array(words, float)
    except ValueError:
        found = np.array([np.nan])
    if len(text) > LONGEST or not np.isfinite(found).all():
        raise InputError(f"{path} has other than finite numbers in its {name}: {RESTORE}")
    return found


def _wrong_count(path: Path, names: str) -> InputError:
    return InputError(f"{path} has too few or too many numbers in its {names}: {RESTORE}")


def _unit_mm(path: Path, said: dict[str, str], axes: int) -> float:
    """What lengths are multiplied by; of NRRD's units one for each axis of space."""
    words = [said.get("distanceunits", "")[:LONGEST]]
    if "spaceunits" in said:
        words = re.findall(r'"([^"]*)"', said["spaceunits"][:LONGEST])
        if len(words) != axes:
            raise _wrong_count(path, "space units")
    found = {IN_MM.get(word.strip().lower()) for word in words[:3]}
    if len(found) > 1 or None in found:
        raise InputError(f"{path} has lengths in units that differ or are not known: store millimetres")
    return float(found.pop() or 1)
