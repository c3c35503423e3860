"""One process at a time: a lock on a file, held until it is closed or its process ends, however it ends.

The lock is the kernel's ``flock``, which belongs to the open file. A forked child (a worker of a ``DataLoader``) closes
its copy at once, so it does not keep the lock of a parent that was killed. A program that is started keeps the lock
only if it is handed the file (``pass_fds``), as a table's runner does with its trainings.

``filelock`` is not used: it keeps the open file to itself, so it could not be handed on. ``fcntl.lockf`` is not used:
no child can inherit such a lock, and closing any other file of the same name in the process frees it.

On a file system without locks (some of Lustre's and NFS's mounts) all goes on unlocked, with one warning.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from acdc_semicycle.runtime.files import writing

log = logging.getLogger("semicycle")

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

_open: set[IO[str]] = set()  # the lock files of this process
_claimed: dict[Path, IO[str]] = {}  # by folder, until the process ends
_warned: list[str] = []  # the file of the warning that this process has given


@contextmanager
def lock_file(path: Path) -> Iterator[IO[str]]:
    """Yield a lock file to read, write and lock; made if need be, and never removed. Closed, it is free."""
    with path.open("a+") as stream:
        _open.add(stream)
        try:
            yield stream
        finally:
            _open.discard(stream)


def try_lock(stream: IO[str]) -> bool:
    """Lock a file, unless another process has locked it; whether this one has, or no process can."""
    try:
        _lock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on some network file systems
        return False
    return True


def wait_and_lock(stream: IO[str]) -> None:
    """Lock a file once no other process has it locked."""
    _lock(stream, fcntl.LOCK_EX)


def _lock(stream: IO[str], how: int) -> None:
    """Lock a file; on a file system without locks warn, once in a process, and leave it unlocked."""
    try:
        fcntl.flock(stream, how)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if not _warned:
            _warned.append(stream.name)
            log.warning(
                "%s lies on a file system without locks (%s): start one command at a time there, nothing keeps a second"
                " one from writing over the first's files",
                Path(stream.name).parent,
                error.strerror,
            )


def claimed(folder: Path) -> bool:
    """Whether this process, until it ends, is the only one that has claimed the folder; made if need be.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        if folder in _claimed:
            return True
        stream = (folder / ".lock").open("a+")
    if not try_lock(stream):
        stream.close()
        return False
    _open.add(stream)
    _claimed[folder] = stream
    return True


def _close_in_child() -> None:
    """After a fork: the child has copies of the open files, which would keep their locks."""
    for stream in _open:
        stream.close()
    _open.clear()
    _claimed.clear()


os.register_at_fork(after_in_child=_close_in_child)
