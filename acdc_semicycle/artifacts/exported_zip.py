"""Reads an exported zip, after a look at every member: its name, its size, its checksum."""

from __future__ import annotations

import hashlib
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from acdc_semicycle.artifacts.checkpoint import check_network
from acdc_semicycle.runtime.errors import InputError

SUMS = "SHA256SUMS"
NETWORK = "models/model.pt"
# Weights hardly shrink: a member that does is not of an export, and might fill the memory.
LARGEST, SUSPICIOUS, RATIO = 2 << 30, 10 << 20, 200
COPY_AGAIN = "copy the zip again from its source"
GIVE_EXPORT = "give a zip that `semicycle export` has made"


def read_member(path: Path, name: str) -> bytes | None:
    """A file of an exported zip's models/, after a look at its size and its checksum; None if it is not there."""
    with _opened(path) as (archive, members, sums):
        member = f"models/{name}"
        if member not in members:
            return None
        content = archive.read(members[member])
        _compare(path, member, hashlib.sha256(content).hexdigest(), sums)
        return content


def check_zip(path: Path) -> None:
    """Compare every member of an exported zip with its checksum: a zip that passes may be handed on.

    Raises:
        InputError: names the first member that is missing, changed, or not of the export.
    """
    with _opened(path) as (archive, members, sums):
        missing = sorted(sums.keys() - members.keys())
        if missing:
            raise InputError(f"{path}: {missing[0]} is missing, which {SUMS} lists: {COPY_AGAIN}")
        for name in sorted(members.keys() - {SUMS}):
            with archive.open(members[name]) as stream:
                _compare(path, name, hashlib.file_digest(stream, "sha256").hexdigest(), sums)  # type: ignore[arg-type]


def _compare(path: Path, name: str, digest: str, sums: dict[str, str]) -> None:
    """Refuse a member whose digest is not the one that the zip lists for it."""
    if name not in sums:
        raise InputError(f"{path}: {SUMS} does not list {name}: {COPY_AGAIN}")
    if sums[name] != digest:
        raise InputError(f"{path}: {name} is not what {SUMS} says: {COPY_AGAIN}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, dict[str, ZipInfo], dict[str, str]]]:
    """An exported zip, its members and their checksums, both by the name below the bundle's folder."""
    check_network(path)
    try:
        with ZipFile(path) as archive:
            members = _members(path, archive)
            yield archive, members, _checksums(archive.read(members[SUMS]).decode())
    except (BadZipFile, OSError, EOFError, RuntimeError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} is no readable zip ({error}): copy it again, or export the model again") from error


def _checksums(text: str) -> dict[str, str]:
    """The digests of a SHA256SUMS file by name."""
    sums = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
    return sums


def _members(path: Path, archive: ZipFile) -> dict[str, ZipInfo]:
    """The members by their name below the bundle's folder, none too large for the memory.

    All are checked: a user who learns that a zip is a network may unpack it.

    Raises:
        InputError: it is no bundle's zip, or would unpack to more than it should, or elsewhere.
    """
    for info in archive.infolist():
        _check_member(path, info)
    root = _root(path, archive.namelist())
    files = [(info.filename.removeprefix(root), info) for info in archive.infolist() if not info.is_dir()]
    for name, times in Counter(name for name, _ in files).items():
        if times > 1:
            raise InputError(f"{path} holds {name} twice: {GIVE_EXPORT}")
    return dict(files)


def _root(path: Path, names: list[str]) -> str:
    """The bundle's folder in a zip, with its slash; empty where the bundle lies at the top."""
    roots = {name.removesuffix(NETWORK) for name in names if f"/{name}".endswith(f"/{NETWORK}")}
    if len(roots) != 1:
        raise InputError(f"{path} holds no {NETWORK}: {GIVE_EXPORT}")
    root = roots.pop()
    if root + SUMS not in names:
        raise InputError(f"{path} holds no {root + SUMS}: {GIVE_EXPORT}")
    return root


def _check_member(path: Path, info: ZipInfo) -> None:
    """Refuse a member that would be written outside its folder, or is too large."""
    if _lies_outside(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(f"{path}: {info.filename!r} is a link or lies outside: {GIVE_EXPORT}")
    if _may_fill_the_disk(info):
        raise InputError(
            f"{path}: {info.filename} would unpack from {info.compress_size} to {info.file_size} bytes, which no"
            f" network does: {GIVE_EXPORT}"
        )


def _lies_outside(name: str) -> bool:
    """Whether a member of this name may be written outside the folder that the zip is unpacked in."""
    path = name.replace("\\", "/")
    return path.startswith("/") or ".." in path.split("/") or ":" in path


def _may_fill_the_disk(info: ZipInfo) -> bool:
    """Whether a member unpacks to more than a network needs, or in a way whose size is not known."""
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile does not limit the size of what others unpack
        return True
    ratio = info.file_size / max(info.compress_size, 1)
    return info.file_size > LARGEST or (info.file_size > SUSPICIOUS and ratio > RATIO)
