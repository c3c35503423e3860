"""Files of weights and states: written whole or not at all, read with every checksum, and nothing in them is run."""

from __future__ import annotations

import errno
import io
import shutil
import zipfile
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import flush_folder, replacing, writing
from acdc_semicycle.runtime.leftovers import remove_leftovers


def save(path: Path, state: Any, previous: Path | None = None) -> None:
    """Write a state whole or not at all, and flush the folder, too: the file outlives a loss of power.

    Args:
        previous: what the old file is called from then on; without a name it is gone.

    Raises:
        InputError: it cannot be written; the old file is as it was.
    """
    with replacing(path, previous) as part:
        remove_leftovers(path.parent, escape(path.name))
        path.with_name(path.name + ".part").unlink(missing_ok=True)  # as an earlier version called them
        _check_room(path)
        with part.open("wb") as stream:
            torch.save(state, stream)
    with writing(path):
        flush_folder(path.parent)


def _check_room(path: Path) -> None:
    """Refuse to write where the file of before would not fit again: a full disk makes other programs fail, too."""
    needed = 1.2 * path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free / 2**20:.0f} MiB are free, {needed / 2**20:.0f} needed", str(path))


def load(path: str | Path, content: bytes | None = None) -> Any:
    """A saved state, on the CPU; tensors and plain values only, every byte of them as it was written.

    Args:
        path: the file, or what to call it where its ``content`` is given.

    Raises:
        InputError: no such file, or damaged.
    """
    if content is None and not Path(path).is_file():
        raise InputError(f"{path} is not there: train first, or give the checkpoint of a training run")
    try:
        source = path if content is None else io.BytesIO(content)
        _check_members(source)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        reason = type(error).__name__  # torch's own text is a page on how to trust the file after all
        raise InputError(f"{path} is no readable checkpoint ({reason}): give another, or train again") from error


def _check_members(source: str | Path | io.BytesIO) -> None:
    """Refuse what torch does not check.

    Raises:
        BadZipFile: a compressed member, which may unpack to gigabytes and which torch never writes; or a wrong
            checksum, which torch was built not to look at.
    """
    with zipfile.ZipFile(source) as packed:
        if any(entry.compress_type for entry in packed.infolist()):
            raise zipfile.BadZipFile("compressed")
        damaged = packed.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)


def state_dict(state: Any, path: str | Path) -> dict[str, Any]:
    """The state that was loaded from ``path``, if it is a network's weights.

    Raises:
        InputError: it is a run's whole state, or no state dict.
    """
    if not isinstance(state, dict):
        raise _other_architecture(path, "no state dict")
    if "settings" in state:
        raise InputError(f"{path} is the state of a training run, not a network: give the model.pt beside it")
    return state


def load_network(network: nn.Module, weights: str | Path | Mapping[str, Any], path: str | Path = "") -> None:
    """Load weights into a network of the same architecture.

    Args:
        weights: their file, or a state dict that came from ``path``.

    Raises:
        InputError: not there, damaged, of another architecture, or not finite.
    """
    if isinstance(weights, str | Path):
        path, weights = weights, state_dict(load(weights), weights)
    difference = _first_difference(weights, network.state_dict())
    if difference:
        raise _other_architecture(path, difference)
    name = not_finite(weights)
    if name:
        raise InputError(f"{path} holds NaN or infinite weights ({name}): give another checkpoint, or train again")
    network.load_state_dict(weights)


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of the first tensor of a state dict that holds NaN or infinities."""
    finite = {}
    for name, tensor in state.items():
        if torch.is_tensor(tensor) and tensor.is_floating_point():
            finite[name] = tensor.isfinite().all()
    if not finite or torch.stack(list(finite.values())).all():  # one question to the device, not one a tensor
        return None
    return next(name for name, whole in finite.items() if not whole)


def _other_architecture(path: str | Path, difference: str) -> InputError:
    """The error for weights that do not fit the network."""
    path, advice = Path(path), "give the settings it was trained with (filters, blocks, classes), or another checkpoint"
    if path.suffix == ".pt" and not path.with_suffix(".json").is_file():
        advice = f"{path.stem}.json, which describes it, is missing beside it: copy it there, too, or {advice}"
    return InputError(f"{path} is of another architecture ({difference}): {advice}")


def _first_difference(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first parameter that two state dicts do not share, in words; empty if there is none."""
    for name in {**expected, **weights}:
        kind, expected_kind = _kind(weights, name), _kind(expected, name)
        if kind != expected_kind:
            return f"{name}: given {kind}, expected {expected_kind}"
    return ""


def _kind(state: Mapping[str, Any], name: str) -> str:
    """The shape of a state dict's tensor, or the type of what it holds instead."""
    if name not in state:
        return "nothing"
    value = state[name]
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
