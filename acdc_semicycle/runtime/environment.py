"""What a user may allow beyond what is safe, in the environment: the same for every command, and for all its workers.

``SEMICYCLE_MAX_VOXELS``  the most voxels that an image may have; 2^30 unless it is set, of a picture 2^27
``SEMICYCLE_GEOMETRY``    ``sform`` or ``qform``: which of a NIfTI's two to take where they disagree; either also takes
                          a file that does not say where it lies in the patient (a NIfTI without both, an NRRD
                          without an anatomical space, directions or origin, a MetaImage without TransformMatrix,
                          Offset or ElementSpacing), and Analyze files, whose sides are anybody's guess
``SEMICYCLE_REPAIR``      ``1``: NaN and infinite voxels of images become the image's lowest number
"""

import os

from acdc_semicycle.runtime.errors import InputError

NAMES = ("SEMICYCLE_MAX_VOXELS", "SEMICYCLE_GEOMETRY", "SEMICYCLE_REPAIR")


def chosen() -> dict[str, str]:
    """Those that are set, as they change what is read.

    Raises:
        InputError: one is set to what it cannot be.
    """
    most_voxels(), geometry(), repair()
    return {name: value for name in NAMES if (value := os.environ.get(name))}


def most_voxels(default: int = 2**30) -> int:
    given = os.environ.get(NAMES[0]) or str(default)
    if not given.isdecimal() or not int(given):
        raise InputError(f"{NAMES[0]} is {given!r}: give a whole number, such as {default}")
    return int(given)


def geometry() -> str | None:
    return _one_of(NAMES[1], "sform", "qform")


def repair() -> bool:
    return _one_of(NAMES[2], "1", "0") == "1"


def _one_of(name: str, *words: str) -> str | None:
    given = os.environ.get(name) or None
    if given not in (None, *words):
        raise InputError(f"{name} is {given!r}: give {' or '.join(words)}")
    return given
