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
# Weights hardly shrink: what does is none of export's, and might fill the memory.
LARGEST, SUSPICIOUS, RATIO = 2 << 30, 10 << 20, 200


def read_member(path: Path, name: str) -> bytes | None:
    """A file of an exported zip's models/, after a look at its size and its checksum."""
    with _opened(path) as (archive, members, sums):
        member = f"models/{name}"
        if member not in members:
            return None
        content = archive.read(members[member])
        _compare(path, member, hashlib.sha256(content).hexdigest(), sums)
        return content


def check_zip(path: Path) -> None:
    """Compare every member of an exported zip with its checksum: who is told that it is whole may hand it on.

    Raises:
        InputError: names the first that is missing, changed, or not of the export.
    """
    with _opened(path) as (archive, members, sums):
        if missing := sorted(sums.keys() - members.keys()):
            raise InputError(f"{path}: {missing[0]} is missing, which {SUMS} lists: copy the zip again from its source")
        for name in sorted(members.keys() - {SUMS}):
            with archive.open(members[name]) as stream:
                digest = hashlib.sha256()
                while piece := stream.read(1 << 20):
                    digest.update(piece)
            _compare(path, name, digest.hexdigest(), sums)


def _compare(path: Path, name: str, digest: str, sums: dict[str, str]) -> None:
    if name not in sums:
        raise InputError(f"{path}: {SUMS} does not list {name}: copy the zip again from its source")
    if sums[name] != digest:
        raise InputError(f"{path}: {name} is not what {SUMS} says: copy the zip again from its source")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, dict[str, ZipInfo], dict[str, str]]]:
    """An exported zip, its members and their checksums, both by the name below the bundle's folder."""
    check_network(path)
    try:
        with ZipFile(path) as archive:
            members = _members(path, archive)
            lines = archive.read(members[SUMS]).decode().splitlines()
            yield archive, members, {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (BadZipFile, OSError, EOFError, RuntimeError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} is no readable zip ({error}): copy it again, or export the model again") from error


def _members(path: Path, archive: ZipFile) -> dict[str, ZipInfo]:
    """The members by their name below the bundle's folder, none too large for the memory.

    All are looked at: who is told that a zip is a network may unpack it.

    Raises:
        InputError: it is no bundle's zip, or would unpack to more than it should, or elsewhere.
    """
    for info in archive.infolist():
        _check_member(path, info)
    end = "models/model.pt"
    roots = {name.removesuffix(end) for name in archive.namelist() if ("/" + name).endswith("/" + end)}
    root = roots.pop() if len(roots) == 1 else None
    if root is None or root + SUMS not in archive.namelist():
        missing = end if root is None else root + SUMS
        raise InputError(f"{path} holds no {missing}: give a zip that `semicycle export` has made")
    files = [(info.filename.removeprefix(root), info) for info in archive.infolist() if not info.is_dir()]
    if twice := [name for name, times in Counter(name for name, _ in files).items() if times > 1]:
        raise InputError(f"{path} holds {twice[0]} twice: give a zip that `semicycle export` has made")
    return dict(files)


def _check_member(path: Path, info: ZipInfo) -> None:
    name, ratio = info.filename, info.file_size / max(info.compress_size, 1)
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(f"{path}: {name!r} is a link or lies outside: give a zip that `semicycle export` has made")
    odd = info.compress_type not in (ZIP_STORED, ZIP_DEFLATED)  # zipfile does not bound what others unpack to
    if odd or info.file_size > LARGEST or (info.file_size > SUSPICIOUS and ratio > RATIO):
        raise InputError(
            f"{path}: {name} would unpack from {info.compress_size} to {info.file_size} bytes, which no network"
            " does: give a zip that `semicycle export` has made"
        )
