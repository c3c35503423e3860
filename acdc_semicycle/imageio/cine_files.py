"""A cine that is read frame by frame: the last ones stay in memory, so that each file is read once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.imageio.volumes import Volume

HEADERS = (".hdr", ".nhdr", ".mhd")  # their voxels lie in a second file, whose changes the header does not show


def read_cine(path: str | Path, mask: bool = False) -> Volume:
    """The whole cine, as :func:`volumes.read` gives it; the last image and its mask are not read again.

    Its voxels are for reading only: the next caller gets the same array.

    Raises:
        InputError: as :func:`volumes.read`.
    """
    path, policy = Path(path), from_environment()
    if not path.is_file() or path.name.lower().endswith(HEADERS):
        return volumes.read(path, frames=True, mask=mask, policy=policy)
    status = path.stat()
    return _kept(path, mask, policy, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # an image and its mask
def _kept(path: Path, mask: bool, policy: ReadingPolicy, size: int, changed: int) -> Volume:
    """The same, once for each state of a file."""
    return volumes.read(path, frames=True, mask=mask, policy=policy)
