"""Files that are there whole or not at all."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from acdc_semicycle.runtime.errors import InputError

_held: list[IO[str]] = []  # closed, a lock would be free
MADE_HERE = '"acdc_semicycle"'  # the versions that a JSON file of ours names


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of ours.

    Raises:
        InputError: names the file that is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"it is a {type(content).__name__}, expected an object")
        return content
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it, or make it again") from error


def write_text(path: Path, text: str) -> None:
    """Write beside, then replace: a process that dies meanwhile leaves the old file as it was."""
    write_bytes(path, text.encode(errors="surrogateescape"))  # names of files need not be UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    with replacing(path) as beside:
        beside.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written beside ``path``; once it is on the disk it takes that one's place.

    Raises:
        InputError: it cannot be written; what was there is as it was, and nothing is left beside it.
    """
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            with beside.open("rb") as stream:
                os.fsync(stream.fileno())
            beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say the system's refusal to write ``path`` as one line.

    Raises:
        InputError: names the file and the reason.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # SimpleITK turns a full disk into the latter
        *_, last = ["", *str(error).strip().splitlines()]
        reason = getattr(error, "strerror", None) or last
        raise InputError(
            f"{path} cannot be written ({reason}): make room, or give a folder that can be written, and give the same"
            " command again"
        ) from error


def check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before hours of work."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for what is written")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def check_ours(path: Path, *signs: str) -> None:
    """Refuse to write over what was not written here.

    Args:
        signs: what every file of this name that was written here holds.

    Raises:
        InputError: something else is there, or no file at all.
    """
    if os.path.lexists(path) and not (path.is_file() and all(sign.encode() in path.read_bytes() for sign in signs)):
        raise InputError(
            f"{path} is there and is not of this program, or damaged: give another folder, or take it away"
        )


@cache
def claimed(folder: Path) -> bool:
    """Whether this process, until it ends, is the only one that has claimed the folder; made if need be."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    _held.append(lock)
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
