"""What a prepared slice is made of, as hashes: files by their content, transforms by their settings."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc_semicycle.data.splits import Split
from acdc_semicycle.datasets.case_patients import IMAGE_OF
from acdc_semicycle.datasets.cines import file_case
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import nifti, nrrd_meta, volumes
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.versions import versions

log = logging.getLogger("semicycle")

NO_SETTINGS = (np.random.RandomState, threading.local)  # what MONAI's transforms hold that is no setting of theirs
PLAIN = bool | int | float | str | bytes | os.PathLike | type | torch.dtype | torch.device | np.dtype
PACKAGES = ("torch", "monai", "numpy", "scipy", "pillow", "nibabel", "simpleitk")  # whose versions matter

FRAMES_OF = "frames of "  # the start of what the frames of a cine are called in contents
SLICES_OF = "annotated slices of "  # the same of a partly annotated image


def digest_of(records: Sequence[Record], transform: Any, keys: Sequence[str]) -> str | None:
    """A hash of all that decides what these records' slices are.

    Where files lie makes no difference, and neither do their times.

    Returns:
        None where a file is missing or a transform cannot be described.
    """
    files: list[Path] = []
    for record in records:
        files += _files(record, keys)
    try:
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            contents = list(pool.map(file_hash, files))
        code = [file_hash(path) for path in sorted(_code())]
        settings = description(transform)
    except OSError:
        return None  # reading it says what is wrong
    except (TypeError, ValueError, RuntimeError) as error:  # a RecursionError is one, too
        log.warning("the slices are kept in memory only: %s", error)
        return None
    parts = [[record.slice, record.frame, _mended(record)] for record in records]
    about = [contents, parts, list(keys), settings, code, versions(*PACKAGES), environment.chosen()]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=12).hexdigest()


def _mended(record: Record) -> list[Any] | None:
    """What of a mended mask is truth, as JSON holds it; None of the data set's own mask."""
    return None if record.mended is None else [record.mended.annotated]


def contents(split: Split, records: Sequence[Record]) -> dict[str, str]:
    """A hash of each file that a training sees, by what it is there: ``"mask of patient001_frame01"``.

    The masks of the unlabelled are not read. As they choose the frames of a cine all the same, each cine also has its
    frames, counted from 1: ``"frames of A0S9V9_sa": "1, 10"``. A partly annotated image has its annotated slices in the
    same way. Where files lie makes no difference.
    """
    names: dict[Path, str] = {}
    numbers: dict[str, set[int]] = {}
    for part in ("labelled", "validation", "unlabelled"):
        for record in split.records(part, records):
            name = file_case(record)
            names.setdefault(record.image, f"{IMAGE_OF}{name}")
            if record.label is not None and part != "unlabelled":
                names.setdefault(record.label, f"mask of {name}")
            if record.frame is not None:
                numbers.setdefault(f"{FRAMES_OF}{name}", set()).add(record.frame + 1)
            if record.mended is not None and record.mended.annotated is not None:
                slices = {index + 1 for index in record.mended.annotated}
                numbers.setdefault(f"{SLICES_OF}{record.case}", set()).update(slices)
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(names.values(), pool.map(image_digest, names), strict=True))
    for name, own in numbers.items():
        hashes[name] = ", ".join(map(str, sorted(own)))
    return hashes


def _code() -> list[Path]:
    """The modules of this package that decide what a prepared slice is."""
    package, modules = Path(__file__).parents[1], []
    for folder in ("imageio", "datasets", "data"):
        modules += list((package / folder).glob("*.py"))
    return modules


def _files(record: Record, keys: Sequence[str]) -> list[Path]:
    """The files of a record's image, mask or both, with those that hold the voxels beside a header."""
    files = []
    if record.partly_annotated:  # whose mask says which slices are unlabelled
        keys = ("image", "label")
    for key in keys:
        path = getattr(record, key)
        if path is not None:
            files += [Path(path), *voxels_of(Path(path))]
    return files


def voxels_of(path: Path) -> list[Path]:
    """The files beside a header that hold its voxels.

    Raises:
        InputError: the header is damaged.
    """
    if path.name.lower().endswith(volumes.ITK):
        return [path.parent / name for name in nrrd_meta.detached(path)]
    return [nifti.voxels_file(path)] if path.suffix.lower() == ".hdr" else []


def image_digest(path: Path) -> str:
    """The hashes of an image, or a mask, and of the files that hold its voxels, one after the other."""
    return "".join(map(file_hash, [path, *voxels_of(path)]))


def file_hash(path: Path) -> str:
    """The hash of a file's content."""
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, changed: int) -> str:
    """The same, once a process: the check before a training and both its data sets ask for the same files."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def description(value: Any) -> Any:
    """A transform and its settings in plain words, the same in every process.

    The settings of MONAI's classes and this package's are all that decides what they compute. What a function computes
    may hang on anything.

    Raises:
        TypeError: something in it cannot be described.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if value is None or isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, Mapping | set | frozenset | list | tuple):
        return _description_of_items(value)
    return _description_of_object(value)


def _description_of_object(value: Any) -> list[Any]:
    """The same of an object of one of MONAI's classes or this package's: its class and its settings."""
    kind = type(value)
    if kind.__module__.split(".")[0] not in ("monai", "acdc_semicycle") or not hasattr(value, "__dict__"):
        raise TypeError(f"a {kind.__name__} among the transforms is none of MONAI's or of this package")
    settings = {name: setting for name, setting in vars(value).items() if not isinstance(setting, NO_SETTINGS)}
    return [repr(kind), description(settings)]


def _description_of_items(items: Any) -> list[Any]:
    """The same of a dict, a set, a list or a tuple."""
    if isinstance(items, Mapping):
        return [[description(key), description(item)] for key, item in items.items()]
    if isinstance(items, set | frozenset):
        return ["set", *sorted(repr(description(item)) for item in items)]
    return [type(items).__name__, *map(description, items)]
