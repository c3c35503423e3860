"""Prepared slices in one file that any number of processes map into memory.

A NumPy ``.npy`` of one record a slice (:mod:`acdc_semicycle.data.slice_records`). The file's name is a hash of all that
decides what is in it: the bytes of every scan and mask, the transforms with their settings, this package's code that
reads, and the versions below it. A checksum follows it, which is compared each time. A file of that name is complete,
and never changes.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.data.slice_records import Slice, in_memory, write_stream
from acdc_semicycle.runtime import locks
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import move_into_place, part_file

log = logging.getLogger("semicycle")


def kept(folder: Path | None, digest: Callable[[], str | None], make: Callable[[], Iterator[Slice]]) -> NDArray:
    """The slices as an array of records: mapped from ``folder``, where they are made first if need be.

    Processes that ask at the same time wait for the first one. Without a folder, without a digest, or where the
    folder cannot be written, the slices are in memory, and the same to the bit.

    Args:
        folder: of the file, made if need be; None keeps slices in memory.
        digest: of what the slices are made of; None if that cannot be told.
        make: gives the slices.
    """
    name = digest() if folder is not None else None
    if folder is None or name is None:
        return in_memory(make)
    path = folder / f"slices-{name}.npy"
    reading = _Reading(make)
    try:
        return _mapped_or_made(path, reading)
    except OSError as error:
        if error is reading.fault:  # of a scan, not of the file
            raise
        log.warning("%s cannot be used (%s): the slices are kept in memory", path, error.strerror or error)
        return in_memory(make)


class _Reading:
    """Makes slices, and remembers the system's error that ended it: it is about a scan that is read."""

    def __init__(self, make: Callable[[], Iterator[Slice]]) -> None:
        self.make = make
        self.fault: OSError | None = None

    def __call__(self) -> Iterator[Slice]:
        """The slices."""
        try:
            yield from self.make()
        except OSError as error:
            self.fault = error
            raise


def _mapped_or_made(path: Path, make: Callable[[], Iterator[Slice]]) -> NDArray:
    """The slices of the file, which is made first if it is not there."""
    slices = _mapped(path)  # without the lock: the folder may be another user's, read only
    if slices is not None:
        log.info("%s from %s", many(len(slices), "prepared slice"), path)
        return slices
    with _alone(path):
        slices = _mapped(path)  # another process may have made it meanwhile
        return _read(_write(path, make)) if slices is None else slices


def _mapped(path: Path) -> NDArray | None:
    """The file, if there is one whose content has the checksum in its name."""
    for candidate in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        _check_file(candidate)
        with suppress(FileNotFoundError, ValueError, EOFError):
            if candidate.stem.endswith(_checksum(candidate)):
                return _read(candidate)
    return None


def _check_file(path: Path) -> None:
    """Refuse something else than a file: a folder, or a pipe that would be waited for."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is there and is no file: remove it, or give another cache_dir")


def _read(path: Path) -> NDArray:
    """The array in a file, mapped."""
    return np.load(path, mmap_mode="c")  # "c": torch wants to be allowed to write; the file stays as it is


def _checksum(path: Path) -> str:
    """A file's CRC-32 in hexadecimal."""
    checksum = 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            checksum = zlib.crc32(piece, checksum)
    return f"{checksum:08x}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder's lock; wait for a process that has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_file(path.with_name(".lock"))
    with locks.lock_file(path.with_name(".lock")) as lock:
        if not locks.try_lock(lock):
            log.info("another run prepares slices in %s: waiting for it", path.parent)
            locks.wait_and_lock(lock)
        yield


def _write(path: Path, make: Callable[[], Iterator[Slice]]) -> Path:
    """Make the slices and write them; the file with its checksum in its name."""
    damaged = list(path.parent.glob(f"{path.stem}-*{path.suffix}"))
    for each in damaged:
        log.warning("%s is damaged: it is made anew", each)
    with part_file(path) as part:
        with part.open("w+b") as stream:
            write_stream(stream, make())
        target = path.with_name(f"{path.stem}-{_checksum(part)}{path.suffix}")
        move_into_place(part, target)
    for each in set(damaged) - {target}:
        each.unlink(missing_ok=True)
    return target
