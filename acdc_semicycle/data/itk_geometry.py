"""Where an NRRD or a MetaImage says that it lies: what its header lacks, SimpleITK makes up and says nothing of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.data import switches
from acdc_semicycle.errors import InputError

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


def stated(path: Path, said: dict[str, str], axes: int) -> NDArray[np.float64] | None:
    """The affine to RAS in mm, as the header says it; None where it does not, and the user takes what is made up.

    Args:
        said: the header's fields, names in lower case and without spaces.
        axes: of the image.

    Raises:
        InputError: it says none, or one that cannot be.
    """
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    space = _space(said) if nrrd else ITK
    said = {_key(name): said[other] for name, others in META.items() for other in others if other in said} | said
    needed = NRRD if nrrd else tuple(META)
    missing = [name for name in needed if _key(name) not in said] + ([] if space in SPACES else ["anatomical space"])
    if missing:
        if switches.geometry():
            return None
        raise InputError(
            f"{path} does not say where it lies in the patient (no {', no '.join(missing)}): {RESTORE}, or set"
            f" {switches.NAMES[1]} to sform, and left may be right"
        )
    matrix, origin = (_numbers(path, said, name) for name in needed[:2])
    spacing = np.ones(axes) if nrrd else _numbers(path, said, needed[2])
    if [len(each) for each in (matrix, origin, spacing)] != [axes**2, axes, axes]:
        raise InputError(f"{path} has too few or too many numbers in its {', '.join(needed)}: {RESTORE}")
    steps = matrix.reshape(axes, axes)  # each along one axis of the image
    if not nrrd and np.abs(np.linalg.norm(steps, axis=1) - 1).max() > NOT_ONE:
        raise InputError(f"{path} has directions in its TransformMatrix that are not of length 1: {RESTORE}")
    affine, k = np.eye(4), min(axes, 3)
    affine[:k, :k], affine[:k, 3] = (steps * spacing[:, None])[:k, :k].T, origin[:k]
    affine[:3] *= _unit_mm(path, said, k)
    return np.diag([*SPACES[space], 1.0]) @ affine


def _key(name: str) -> str:
    return name.lower().replace(" ", "")


def _space(said: dict[str, str]) -> str:
    """Of an NRRD; ITK names none where it writes two or four axes."""
    if "space" in said:
        return said["space"].lower().removesuffix("-time").removesuffix("t")
    return ITK if said.get("spacedimension") in ("2", "4") else ""


def _numbers(path: Path, said: dict[str, str], name: str) -> NDArray[np.float64]:
    """All of a field; ``none`` is the direction of an axis that is none of space's."""
    words = [word for word in re.split(r"[\s,()]+|none", said[_key(name)]) if word]
    try:
        found = np.array(words, float)
    except ValueError:
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise InputError(f"{path} has other than finite numbers in its {name}: {RESTORE}")
    return found


def _unit_mm(path: Path, said: dict[str, str], axes: int) -> float:
    words = re.findall(r'"([^"]*)"', said.get("spaceunits", ""))[:axes] or [said.get("distanceunits", "")]
    found = {IN_MM.get(word.strip().lower()) for word in words}
    if len(found) > 1 or None in found:
        raise InputError(f"{path} has lengths in {', '.join(words)}: store millimetres")
    return float(found.pop() or 1)
