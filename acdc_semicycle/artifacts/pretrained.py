"""The network that the package holds, made from a training run: weights in half precision, and what describes them.

    python -c "from acdc_semicycle.artifacts.pretrained import package; package('RUN')"

writes ``model.pt``, ``model.json``, ``fingerprint.json`` and ``model.sha256`` into ``bundles/semicycle/models``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.model import open_model, pretrained
from acdc_semicycle.data import training_ranges
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text

LARGEST_MB = 8.0


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
    if model.ranges is not None:  # fields of view are drawn at random, so the drawings' size in pixels says nothing
        training_ranges.remember_ranges(model.ranges | dict.fromkeys(training_ranges.LENGTHS), path.parent)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
    return path
