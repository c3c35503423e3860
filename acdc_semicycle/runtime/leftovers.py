"""The names of files that are being written, and the removal of those that killed processes left.

A part is called ``.part-MACHINE-PROCESS-NAME``, so that the next process can tell whether it is still being written.
"""

from __future__ import annotations

import os
import platform
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PART = ".part-"
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
NAME = re.compile(rf"{re.escape(PART)}(?:([0-9a-f]{{8}})-)?(\d+)-.")  # an earlier version named no machine
FOREIGN_SECONDS = 24 * 3600.0  # after which a part that another machine began is left
BEGAN = time.time() - 3  # this process, or the one that it was forked from; some file systems round times by 2 seconds

_swept: set[Path] = set()  # the folders in which this process has written


def name_of_part(name: str) -> str:
    """What a file is called while this process writes it."""
    return f"{PART}{MACHINE}-{os.getpid()}-{name}"


def sweep(folder: Path) -> None:
    """Remove the parts that killed processes left in a folder and below it; those still being written stay.

    A part of this machine is left where no process has its number. One of another machine is left after a day: whether
    its process lives cannot be told.
    """
    _remove_if_left(folder.rglob(f"{PART}*"))


def sweep_once(folder: Path) -> None:
    """The same, in the folder alone, before this process writes in it for the first time."""
    if folder not in _swept:
        _swept.add(folder)
        _remove_if_left(folder.glob(f"{PART}*"))


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove the parts of files whose names match ``pattern``, whichever process began them.

    Only for a process that writes these files alone: the part of another one that still writes would be removed, too.
    """
    for part in folder.glob(f"{PART}*-{pattern}"):
        part.unlink(missing_ok=True)


def _remove_if_left(parts: Iterator[Path]) -> None:
    """Remove those parts that no process is still writing."""
    for part in parts:
        with suppress(OSError):  # another process was faster, or the folder cannot be written
            if _is_left(part):
                part.unlink()


def _is_left(part: Path) -> bool:
    """Whether a file is a part that no process is still writing."""
    name = NAME.match(part.name)
    if name is None or not part.is_file():
        return False
    changed = part.stat().st_mtime
    if name[1] != MACHINE:
        return changed < time.time() - FOREIGN_SECONDS
    if int(name[2]) == os.getpid():
        return changed < BEGAN  # of an earlier process of this number
    return not lives(int(name[2]))


def lives(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
