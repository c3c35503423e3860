"""Where the file of a network is."""

from __future__ import annotations

from pathlib import Path

from acdc_semicycle.runtime.errors import InputError


def check_network(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that is not there, before anything else is found wrong because of it."""
    path = Path(str(checkpoint))
    if not path.is_file():
        below = model_within(path)
        hint = f"did you mean {below}?" if below else "train first (semicycle train), or give --model, a run's folder"
        if path.is_dir() and not below:
            raise InputError(
                f"{path} holds no models/model.pt: give a training run's folder, its model.pt, or a zip of export"
            )
        raise InputError(f"{path} is not a file, and the network is read from it: {hint}")


def model_within(path: Path) -> Path | None:
    """The model.pt of a run's folder."""
    return next((found for part in ("models/model.pt", "model.pt") if (found := path / part).is_file()), None)
