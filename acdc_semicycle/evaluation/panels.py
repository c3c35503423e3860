"""Where the slices of a case lie that are kept for the report's page."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PANELS = ".panels"


def panel_path(folder: Path, case: str) -> Path:
    """The file of a case's slices in a folder of results; a case's own name may be too long for a file."""
    name = hashlib.sha256(os.fsencode(case)).hexdigest()[:16]
    return folder / PANELS / f"{name}.npz"
