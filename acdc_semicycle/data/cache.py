"""Prepared slices, compact, in one file that any number of processes map into memory.

A NumPy ``.npy`` of one record a slice: ``image`` [C, H, W] int16 (its value is ``scale`` * stored + ``offset``, wrong
by half a step of 65,535 between the slice's own lowest and highest value at most) and ``label`` [1, H, W] uint8, with
the place of the file among those that were given (``record``) and of the slice in it, from 0. The file's name is a hash
of all that decides what is in it: the bytes of every scan and mask, the transforms with their settings, this package's
code that reads, and the versions below it, and behind that a checksum, which is looked at each time. A file of that
name is complete, and never changes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.data.splits import Split
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import nrrd_meta, volumes
from acdc_semicycle.runtime import environment, locks
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import move_into_place, part_file, remove_leftovers
from acdc_semicycle.runtime.versions import versions

log = logging.getLogger("semicycle")

STEPS = 65535
PASSING = (np.random.RandomState, threading.local)  # what MONAI's transforms hold that is no setting of theirs
BELOW = ("torch", "monai", "numpy", "scipy", "pillow", "nibabel", "simpleitk")  # whose versions matter
Slice = Mapping[str, Tensor]  # image [C, H, W] and label [1, H, W], or the image alone


def kept(folder: Path | None, digest: Callable[[], str | None], make: Callable[[], Iterator[Slice]]) -> NDArray:
    """The slices as an array of records: mapped from ``folder``, where they are made first if need be.

    Processes that ask at the same time wait for the first one. Without a folder, without a digest, or where the
    folder cannot be written, the slices are in memory, and the same to the bit.

    Args:
        folder: of the file, made if need be; None keeps slices in memory.
        digest: of what the slices are made of; None if that cannot be told.
        make: gives the slices.
    """
    called = digest() if folder is not None else None
    if folder is None or called is None:
        return _in_memory(make)
    path = folder / f"slices-{called}.npy"
    unread: list[OSError] = []  # not the file's own faults, but what is to be in it

    def slices() -> Iterator[Slice]:
        try:
            yield from make()
        except OSError as error:
            unread.append(error)
            raise

    try:
        if (found := _mapped(path)) is not None:  # without the lock: it may be another user's, read only
            log.info("%s from %s", many(len(found), "prepared slice"), path)
            return found
        with _alone(path):
            if (found := _mapped(path)) is None:  # nobody made it meanwhile
                found = _read(_write(path, slices))
        return found
    except OSError as error:
        if error in unread:
            raise
        log.warning("%s cannot be used (%s): the slices are kept in memory", path, error.strerror or error)
        return _in_memory(make)


def _mapped(path: Path) -> NDArray | None:
    """The file, if there is one whose content has the checksum in its name."""
    for made in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        _check_file(made)
        with suppress(FileNotFoundError, ValueError, EOFError):
            if made.stem.endswith(_checksum(made)):
                return _read(made)
    return None


def _check_file(path: Path) -> None:
    """Refuse what is there and is no file, a pipe that would be waited for, or a folder."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is there and is no file: take it away, or give another cache_dir")


def _read(path: Path) -> NDArray:
    return np.load(path, mmap_mode="c")  # "c": torch wants to be allowed to write; the file stays as it is


def _checksum(path: Path) -> str:
    found = 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            found = zlib.crc32(piece, found)
    return f"{found:08x}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_file(path.with_name(".lock"))
    with locks.lock_file(path.with_name(".lock")) as lock:
        if not locks.try_lock(lock):
            log.info("another run prepares slices in %s: waiting for it", path.parent)
            locks.wait_and_lock(lock)
        yield


def _write(path: Path, make: Callable[[], Iterator[Slice]]) -> Path:
    damaged = list(path.parent.glob(f"{path.stem}-*{path.suffix}"))
    for each in damaged:
        log.warning("%s is damaged: it is made anew", each)
    remove_leftovers(path.parent, "slices-*.npy")
    with part_file(path) as part:
        with part.open("w+b") as stream:
            _stream(stream, make())
        made = path.with_name(f"{path.stem}-{_checksum(part)}{path.suffix}")
        move_into_place(part, made)
    for each in set(damaged) - {made}:
        each.unlink(missing_ok=True)
    return made


def _in_memory(make: Callable[[], Iterator[Slice]]) -> NDArray:
    stream = io.BytesIO()
    _stream(stream, make())
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _stream(stream: io.BufferedIOBase, slices: Iterator[Slice]) -> None:
    """Write one slice after the other; the header, rewritten at the end, has room for any number of them."""
    kind, count = np.dtype([]), 0
    for item in slices:
        packed = pack(item)
        if not count:
            kind = packed.dtype
            _header(stream, kind, 0)
        if packed.dtype != kind:
            given, first = (tuple(d["image"].shape) for d in (packed.dtype, kind))
            raise InputError(f"slices have the shapes {first} and {given}: let the transforms give all the same")
        stream.write(packed.tobytes())
        count += 1
    stream.seek(0)
    _header(stream, kind, count)


def _header(stream: io.BufferedIOBase, kind: np.dtype, count: int) -> None:
    about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_2_0(stream, about)


def pack(item: Slice) -> NDArray:
    """One slice as a record."""
    image = item["image"].numpy().astype(np.float64)
    low, high = image.min(), image.max()
    fields: dict[str, Any] = {
        "image": (np.round((image - low) * (STEPS / (high - low or 1.0))) - 2**15).astype("<i2"),
        "scale": np.float32((high - low) / STEPS),
        "offset": np.float32(low + (high - low) / STEPS * 2**15),
        "record": np.int32(item.get("record", 0)),
        "slice": np.int32(item.get("slice", 0)),
    }
    if "label" in item:
        fields["label"] = item["label"].numpy().astype(np.uint8)
        if not np.array_equal(fields["label"], item["label"].numpy()):
            raise InputError("masks hold more than whole numbers 0 to 255: let the transforms give class indices")
    kind = np.dtype([(key, value.dtype, value.shape) for key, value in fields.items()], align=True)
    record = np.zeros((), kind)
    for key, value in fields.items():
        record[key] = value
    return record


def unpacked(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Records [B] as a batch: ``image`` [B, C, H, W] float, and ``label`` [B, 1, H, W] uint8 if there are any."""
    scale, offset = (rows[key].view(-1, 1, 1, 1) for key in ("scale", "offset"))
    image = torch.addcmul(offset, rows["image"].float(), scale)
    return {"image": image} | ({"label": rows["label"]} if "label" in rows else {})


def digest_of(records: Sequence[Record], transform: Any, keys: Sequence[str]) -> str | None:
    """A hash of all that decides what these records' slices are; None where a file is missing or a transform cannot be
    described.

    Where files lie makes no difference, and neither do their times.
    """
    files = [file for record in records for file in _files(record, keys)]
    try:
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            contents = list(pool.map(_hash, files))
        code = [_hash(path) for path in sorted(_code())]
        about = [contents, [r.slice for r in records], list(keys), description(transform), code]
    except OSError:
        return None  # reading it says what is wrong
    except (TypeError, ValueError, RuntimeError) as error:  # a RecursionError is one, too
        log.warning("the slices are kept in memory only: %s", error)
        return None
    about += [versions(*BELOW), environment.chosen()]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=12).hexdigest()


def contents(split: Split, records: Sequence[Record]) -> dict[str, str]:
    """A hash of each file that a training sees, by what it is there: ``"mask of patient001_frame01"``.

    The masks of the unlabelled are not looked at. Where files lie makes no difference.
    """
    seen: dict[Path, str] = {}
    for part in ("labelled", "validation", "unlabelled"):
        for record in split.records(part, records):
            seen.setdefault(record.image, f"image of {record.case}")
            if record.label is not None and part != "unlabelled":
                seen.setdefault(record.label, f"mask of {record.case}")
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda path: "".join(map(_hash, [path, *_voxels_of(path)])), seen)
        return dict(zip(seen.values(), hashes, strict=True))


def _code() -> list[Path]:
    """The modules of this package that decide what a prepared slice is."""
    package = Path(__file__).parents[1]
    return [path for folder in ("imageio", "datasets", "data") for path in (package / folder).glob("*.py")]


def _files(record: Record, keys: Sequence[str]) -> list[Path]:
    given = [Path(path) for key in keys if (path := getattr(record, key)) is not None]
    return [*given, *(file for path in given for file in _voxels_of(path))]


def _voxels_of(path: Path) -> list[Path]:
    """The files beside a header that hold its voxels."""
    return [path.parent / name for name in nrrd_meta.detached(path)] if path.name.lower().endswith(volumes.ITK) else []


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, changed: int) -> str:
    """Once a process: the check before a training and both its data sets ask for the same files."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def description(value: Any) -> Any:
    """A transform and its settings in plain words, the same in every process.

    Only of MONAI's classes and this package's are the settings all there is to tell; what a function computes may hang
    on anything.

    Raises:
        TypeError: something in it cannot be described.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes | os.PathLike):
        return repr(value)
    if isinstance(value, Mapping):
        return [[description(key), description(item)] for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(repr(description(item)) for item in value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(description, value)]
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, type | torch.dtype | torch.device | np.dtype):
        return repr(value)
    kind = type(value)
    if kind.__module__.split(".")[0] not in ("monai", "acdc_semicycle") or not hasattr(value, "__dict__"):
        raise TypeError(f"a {kind.__name__} among the transforms is none of MONAI's or of this package")
    set_up = {name: each for name, each in vars(value).items() if not isinstance(each, PASSING)}
    return [repr(kind), description(set_up)]
