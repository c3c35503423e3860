"""The network that the package holds, made from a training run: weights in half precision, and what describes them.

    python -c "from acdc_semicycle.artifacts.pretrained import package; package('RUN')"

writes ``model.pt``, ``model.json`` and ``model.sha256`` into ``bundles/semicycle/models``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.model import PRETRAINED, open_model, pretrained
from acdc_semicycle.artifacts.model import card as card_of
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text

LARGEST_MB = 8.0


def usual_start(card: Mapping[str, Any]) -> str | None:
    """What a training starts from if nothing else is said: the package's network, or None for random weights.

    Args:
        card: of the training's network. The same network but for its classes, of scans, a structure of which is
            among those of the package's.
    """
    if not pretrained().is_file():
        return None
    own = card_of(pretrained())
    common = set(own["classes"][1:]) & set(card["classes"][1:])
    same_images = not card["pictures"] and card["in_channels"] == own["in_channels"]
    return PRETRAINED if common and same_images and _but_for_classes(card) == _but_for_classes(own) else None


def _but_for_classes(card: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and arguments of a network without the number of its classes."""
    network = card["network"]
    arguments = {name: value for name, value in network["arguments"].items() if name != "out_channels"}
    return network["class"], arguments


def package(run: str | Path, target: Path | None = None) -> Path:
    """Write a run's network as the one that the package holds; its model.pt.

    Args:
        run: a training run's folder, model.pt or zip.
        target: the model.pt to write instead of the package's.

    Raises:
        InputError: no network, a folder of folds, or one that is too large to be shipped.
    """
    model, path = open_model(run), target or pretrained()
    if model.members:
        raise InputError(f"{run} is a folder of folds: give one of its networks, such as {model.members[0].path}")
    halves = {name: values.half() if values.is_floating_point() else values for name, values in model.weights().items()}
    size_mb = sum(values.nbytes for values in halves.values()) / 1e6
    if size_mb > LARGEST_MB:
        raise InputError(
            f"{run} holds {size_mb:.1f} MB of weights, at most {LARGEST_MB:g} are shipped: make it smaller"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.save(path, {name: torch.clone(values) for name, values in halves.items()})
    write_text(path.with_suffix(".json"), json.dumps(model.card, indent=1) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
    return path
