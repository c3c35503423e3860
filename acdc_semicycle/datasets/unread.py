"""Files of images in formats that are not read: they are named, never passed over silently."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.runtime.errors import some

log = logging.getLogger("semicycle")

SCANS = (".mgz", ".mgh", ".mnc", ".nii.bz2", ".nii.xz", ".nii.zst", ".hdr.gz", ".img.gz", ".gipl", ".par")
PICTURES = (".gif", ".jp2", ".tga", ".pgm", ".ppm", ".pbm", ".heic", ".avif")


def warn(paths: Sequence[Path]) -> None:
    """Say in one line which files are left out, and to what they can be converted."""
    if paths:
        log.warning("%s left out: %s", some(paths, 1), advice(paths[0]))


def advice(path: Path) -> str:
    """What to convert a file of this name to."""
    kind = "PNG" if path.name.lower().endswith(PICTURES) else "NIfTI"
    return f"of a format that is not read, convert to {kind}"
