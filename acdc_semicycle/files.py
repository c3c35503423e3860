"""Files that are there whole or not at all."""

import fcntl
import os
from functools import cache
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []


def write_text(path: Path, text: str) -> None:
    """Write beside, then replace: a process that dies meanwhile leaves the old file as it was."""
    write_bytes(path, text.encode(errors="surrogateescape"))  # names of files need not be UTF-8


@cache
def claimed(folder: Path) -> bool:
    """Whether this process, until it ends, is the only one that has claimed the folder; made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / ".lock").open("a")
    _held.append(lock)  # closed, it would be free
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's no child inherits it
    except (BlockingIOError, PermissionError):
        return False
    return True


def flush_folder(folder: Path) -> None:
    """See to it that the names in a folder outlive a loss of power, as its files' contents do."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    beside.write_bytes(content)
    beside.replace(path)
