"""Files of weights and states: written whole or not at all, read to every checksum, nothing in them ever run."""

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
from acdc_semicycle.runtime.files import flush_folder, remove_leftovers, replacing, writing


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
    """Look before: a file that fits is written in no time, a full disk makes others fail, too."""
    needed, free = (path.stat().st_size if path.exists() else 0), shutil.disk_usage(path.parent).free
    if free < 1.2 * needed:
        raise OSError(errno.ENOSPC, f"{free / 2**20:.0f} MiB are free, {1.2 * needed / 2**20:.0f} needed", str(path))


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
        with zipfile.ZipFile(source) as packed:
            if any(entry.compress_type for entry in packed.infolist()):  # torch never does, and would unpack gigabytes
                raise zipfile.BadZipFile("compressed")
            if damaged := packed.testzip():  # torch was built not to look at the checksums
                raise zipfile.BadZipFile(damaged)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise whatever they happen to mean
        reason = type(error).__name__  # torch's own text is a page on how to trust the file after all
        raise InputError(f"{path} is no readable checkpoint ({reason}): give another, or train again") from error


def state_dict(given: Any, path: str | Path) -> dict[str, Any]:
    """What was loaded from ``path``, if it is a network's weights.

    Raises:
        InputError: it is a run's whole state, or none at all.
    """
    if isinstance(given, dict) and "settings" in given:
        raise InputError(f"{path} is a run to be gone on with, not a network: give the model.pt beside it")
    if not isinstance(given, dict):
        raise _another(path, "no state dict")
    return given


def load_network(network: nn.Module, given: str | Path | Mapping[str, Any], path: str | Path = "") -> None:
    """Load weights into a network of the same architecture.

    Args:
        given: their file, or a state dict that came from ``path``.

    Raises:
        InputError: not there, damaged, of another architecture, or not finite.
    """
    if isinstance(given, str | Path):
        path, given = given, state_dict(load(given), given)
    if differing := _first_difference(given, network.state_dict()):
        raise _another(path, differing)
    if wrong := not_finite(given):
        raise InputError(f"{path} holds NaN or infinite weights ({wrong}): give another checkpoint, or train again")
    network.load_state_dict(given)


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of the first tensor of a state dict that holds NaN or infinities."""
    tensors = {key: each for key, each in state.items() if torch.is_tensor(each) and each.is_floating_point()}
    if not tensors or torch.stack([each.isfinite().all() for each in tensors.values()]).all():
        return None
    return next(key for key, each in tensors.items() if not each.isfinite().all())


def _another(path: str | Path, differing: str) -> InputError:
    path, advice = Path(path), "give the settings it was trained with (filters, blocks, classes), or another checkpoint"
    if path.suffix == ".pt" and not path.with_suffix(".json").is_file():
        advice = f"{path.stem}.json, which says of which, is missing beside it: copy it there, too, or {advice}"
    return InputError(f"{path} is of another architecture ({differing}): {advice}")


def _first_difference(given: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first parameter that two state dicts do not share, in words; empty where there is none."""

    def kind(state: Mapping[str, Any], name: str) -> str:
        if name not in state:
            return "nothing"
        return str(tuple(state[name].shape)) if isinstance(state[name], torch.Tensor) else type(state[name]).__name__

    for name in {**expected, **given}:
        if kind(given, name) != kind(expected, name):
            return f"{name}: given {kind(given, name)}, expected {kind(expected, name)}"
    return ""
