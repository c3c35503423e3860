"""Where the file of a network is."""

from __future__ import annotations

from pathlib import Path

from acdc_semicycle.runtime.errors import InputError


def check_network(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that is not there, before anything else fails because of it."""
    path = Path(str(checkpoint))
    if path.is_file():
        return
    below = model_within(path)
    if below is not None:
        raise InputError(f"{path} is not a file, and the network is read from it: did you mean {below}?")
    if path.is_dir():
        raise InputError(
            f"{path} holds no models/model.pt: give a training run's folder, its model.pt, a folder of folds, or a zip"
            " of export"
        )
    raise InputError(
        f"{path} is not a file, and the network is read from it: train first (semicycle train), or give --model, a"
        " run's folder"
    )


def model_within(folder: Path) -> Path | None:
    """The model.pt of a run's folder, if there is one."""
    for part in ("models/model.pt", "model.pt"):
        if (folder / part).is_file():
            return folder / part
    return None
