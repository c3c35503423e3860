"""Prepared slices as compact records of a NumPy array: one record a slice.

``image`` [C, H, W] int16 (its value is ``scale`` * stored + ``offset``, wrong by half a step of 65,535 between the
slice's own lowest and highest value at most), ``label`` [1, H, W] uint8, the number of the file among those that were
given (``record``) and that of the slice in it (``slice``), both from 0.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.runtime.errors import InputError

STEPS = 65535
Slice = Mapping[str, Tensor]  # image [C, H, W] and label [1, H, W], or the image alone


def pack(item: Slice) -> NDArray:
    """One slice as a record.

    Raises:
        InputError: a mask holds more than whole numbers from 0 to 255.
    """
    image = item["image"].numpy().astype(np.float64)
    lowest, highest = image.min(), image.max()
    fields: dict[str, Any] = {
        "image": (np.round((image - lowest) * (STEPS / (highest - lowest or 1.0))) - 2**15).astype("<i2"),
        "scale": np.float32((highest - lowest) / STEPS),
        "offset": np.float32(lowest + (highest - lowest) / STEPS * 2**15),
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
    batch = {"image": torch.addcmul(offset, rows["image"].float(), scale)}
    if "label" in rows:
        batch["label"] = rows["label"]
    return batch


def in_memory(make: Callable[[], Iterator[Slice]]) -> NDArray:
    """The slices as an array of records."""
    stream = io.BytesIO()
    write_stream(stream, make())
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def write_stream(stream: io.BufferedIOBase, slices: Iterator[Slice]) -> None:
    """Write one slice after the other as a ``.npy``; its header, rewritten at the end, has room for any number of them.

    Raises:
        InputError: slices of several shapes.
    """
    kind, count = np.dtype([]), 0
    for item in slices:
        record = pack(item)
        if not count:
            kind = record.dtype
            _write_header(stream, kind, 0)
        if record.dtype != kind:
            shape, first = (tuple(each["image"].shape) for each in (record.dtype, kind))
            raise InputError(f"slices have the shapes {first} and {shape}: let the transforms give all the same")
        stream.write(record.tobytes())
        count += 1
    stream.seek(0)
    _write_header(stream, kind, count)


def _write_header(stream: io.BufferedIOBase, kind: np.dtype, count: int) -> None:
    """Write the header of so many records."""
    about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_2_0(stream, about)
