"""Files that are there whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from acdc_semicycle.runtime.errors import InputError, causes
from acdc_semicycle.runtime.leftovers import name_of_part, sweep_once

MADE_HERE = '"acdc_semicycle"'  # in every JSON file that this program wrote, which names the versions
NO_FLUSH = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR}
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that this program wrote.

    Raises:
        InputError: names the file that is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"it is a {type(content).__name__}, expected an object")
        return content
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it, or run the command that wrote it again") from error


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all: a process that dies meanwhile leaves the old file as it was."""
    write_bytes(path, text.encode(errors="surrogateescape"))  # file names need not be UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a file to write beside ``path``; once it is on the disk it replaces that one.

    Args:
        previous: what the old file is called from then on; without a name it is gone.

    Raises:
        InputError: it cannot be written; what was there is as it was, and nothing is left beside it.
    """
    with writing(path), part_file(path) as part:
        yield part
        move_into_place(part, path, previous)


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to, with its ending; a file that still has this name at the end is removed.

    The folder is made if need be. A process that is killed leaves its part, which the next one to write in the folder
    removes: see :mod:`acdc_semicycle.runtime.leftovers`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(path.parent)
    part = path.with_name(name_of_part(path.name))
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def move_into_place(part: Path, path: Path, previous: Path | None = None) -> None:
    """Flush a written part to the disk, then give it the name ``path``: a file of this name is always a whole one.

    Args:
        previous: what the old file is called from then on; without a name it is gone.
    """
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    if previous is None or not path.exists() or _linked(path, previous):
        part.replace(path)
        return
    path.replace(previous)  # until the next line this one alone is there, and whole
    try:
        part.replace(path)
    except OSError:
        previous.replace(path)
        raise


def _linked(path: Path, previous: Path) -> bool:
    """Give a file a second name, so that there is never a moment without the first; False where that cannot be.

    exFAT, many network file systems and cloud drives have no hard links.
    """
    link = previous.with_name(previous.name + ".part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        return False
    link.replace(previous)
    link.unlink(missing_ok=True)  # where a killed process had come so far, both were names of one file: nothing moves
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write ``path`` into an InputError of one line.

    Raises:
        InputError: names the file and the reason.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # SimpleITK and torch turn a full disk into the latter
        system = next((cause for cause in causes(error) if isinstance(cause, OSError) and cause.strerror), None)
        lines = str(error).strip().splitlines() or [""]
        reason = lines[-1] if system is None else system.strerror
        advice = "make room, or " if system is None or system.errno in DISK_IS_FULL else ""
        raise InputError(
            f"{path} cannot be written ({reason}): {advice}give a folder that can be written, and give the same"
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
    """Refuse to write over a file that this program did not write.

    Args:
        signs: texts that every file of this name from this program holds.

    Raises:
        InputError: another file has this name, or a folder, a link to nothing, a pipe.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file() or not all(sign.encode() in path.read_bytes() for sign in signs):
        raise InputError(f"{path} is there and is not of this program, or damaged: give another folder, or remove it")


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that they outlive a loss of power as the files' contents do.

    Some file systems flush files alone, and some network ones refuse: there is nothing more to do then.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
