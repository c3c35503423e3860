"""What the user may allow beyond what is safe, as variables of the environment that every command and worker sees.

``SEMICYCLE_MAX_VOXELS``  the most voxels that an image may have; 2^30 unless it is set, of a picture 2^27
``SEMICYCLE_GEOMETRY``    ``sform`` or ``qform``: which of a NIfTI's two to use where they disagree; either also accepts
                          a file that does not say where it lies in the patient (a NIfTI without both, an NRRD
                          without an anatomical space, directions or origin, a MetaImage without TransformMatrix,
                          Offset or ElementSpacing), and Analyze files, whose left and right are unknown
``SEMICYCLE_REPAIR``      ``1``: NaN and infinite voxels of images become the image's lowest number

Readers do not look at them: :func:`acdc_semicycle.imageio.policy.from_environment` makes one object of them.
"""

import getpass
import os

from acdc_semicycle.runtime.errors import InputError

MAX_VOXELS, GEOMETRY, REPAIR = "SEMICYCLE_MAX_VOXELS", "SEMICYCLE_GEOMETRY", "SEMICYCLE_REPAIR"
NAMES = (MAX_VOXELS, GEOMETRY, REPAIR)


def name_user() -> None:
    """Give a user whose number has no name one in the environment: importing MONAI fails without.

    A container that is started with ``--user 1234`` has such a user.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user{os.getuid()}"


def chosen() -> dict[str, str]:
    """The variables that are set, as they change what is read.

    Raises:
        InputError: one is set to what it cannot be.
    """
    max_voxels(), geometry(), repair()
    values = {name: os.environ.get(name) for name in NAMES}
    return {name: value for name, value in values.items() if value}


def max_voxels() -> int | None:
    """The most voxels that an image may have; None where the variable is not set."""
    value = os.environ.get(MAX_VOXELS)
    if not value:
        return None
    if not value.isdecimal() or not int(value):
        raise InputError(f"{MAX_VOXELS} is {value!r}: give a whole number, such as {2**30}")
    return int(value)


def geometry() -> str | None:
    """The form of a NIfTI to take, ``"sform"`` or ``"qform"``; None where the variable is not set."""
    return _one_of(GEOMETRY, "sform", "qform")


def repair() -> bool:
    """Whether NaN and infinite voxels are repaired."""
    return _one_of(REPAIR, "1", "0") == "1"


def _one_of(name: str, *words: str) -> str | None:
    """The variable's value, one of these words; None where it is not set."""
    value = os.environ.get(name) or None
    if value not in (None, *words):
        raise InputError(f"{name} is {value!r}: give {' or '.join(words)}")
    return value
