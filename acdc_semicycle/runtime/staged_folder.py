"""A folder that appears complete or not at all, also where its writer is killed or several processes write it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from acdc_semicycle.runtime.leftovers import lives


@contextmanager
def staged_folder(root: Path, is_there: Callable[[], bool]) -> Iterator[Path]:
    """A hidden folder beside ``root``, not yet made, which becomes ``root`` at the end unless that is there by then.

    What killed processes of this machine left of the same folder is removed first.

    Args:
        is_there: whether another process was faster; it raises where ``root`` is something else.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{root.name}-{platform.node()}-"
    _remove_leftovers(root.parent.glob(f"{escape(prefix)}*"), prefix)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=root.parent) as scratch:
        staging = Path(scratch) / root.name
        yield staging
        if not is_there():
            _rename(staging, root, is_there)


def _rename(staging: Path, root: Path, is_there: Callable[[], bool]) -> None:
    """Give the folder its name, unless another process does so at the same moment."""
    try:
        staging.rename(root)
    except OSError:
        if not is_there():
            raise


def _remove_leftovers(folders: Iterable[Path], prefix: str) -> None:
    """Remove what killed processes of this machine have left; the process's number follows the prefix."""
    for folder in folders:
        number = folder.name.removeprefix(prefix).split("-")[0]
        if number.isdecimal() and not lives(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
