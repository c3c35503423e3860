"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write beside, then replace: a process that dies meanwhile leaves the old file as it was."""
    write_bytes(path, text.encode(errors="surrogateescape"))  # names of files need not be UTF-8


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
