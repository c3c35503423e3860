"""The networks of a folder of folds (``semicycle train --folds``), which are used as one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.runtime.errors import InputError

OF_EACH = ("epoch", "epochs", "steps", "validation")  # what the cards of folds may differ in
FINISHED = "folds.json"  # in the folder, once all folds are trained


def fold_folder(folder: Path, number: int) -> Path:
    """Where a fold is trained."""
    return folder / f"fold_{number}"


def networks_within(folder: Path) -> list[Path]:
    """The model.pt of each fold, by the number of the fold; none where the folder has no folds."""
    paths = [path for path in folder.glob("fold_*/models/model.pt") if _number(path) is not None]
    return sorted(paths, key=lambda path: _number(path) or 0)


def folder_of_folds(network: Path) -> Path | None:
    """The folder of folds that a run's model.pt belongs to; None of a training by itself."""
    run = network.parent.parent
    return run.parent if _number(network) is not None and (run.parent / FINISHED).is_file() else None


def _number(network: Path) -> int | None:
    """The number of the fold whose model.pt this is."""
    _, _, digits = network.parent.parent.name.partition("fold_")
    return int(digits) if digits.isdecimal() else None


def common_card(cards: Sequence[dict[str, Any]], paths: Sequence[Path]) -> dict[str, Any]:
    """The card of all folds: what they agree in, the fewest steps, and how many they are. It has no image generator.

    Raises:
        InputError: they differ in more than ``OF_EACH``.
    """
    first = _shared(cards[0])
    for card, path in zip(cards, paths, strict=True):
        other = _shared(card)
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                raise InputError(
                    f"{path} has {name} {other.get(name)!r}, and {paths[0]} {first.get(name)!r}: folds of one training"
                    " agree, give one network (--model) or train all folds again"
                )
    steps = [card["steps"] for card in cards if "steps" in card]
    shortest = {"steps": min(steps)} if steps else {}
    return first | shortest | {"image_generator": None, "members": len(cards)}


def _shared(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card without what folds may differ in."""
    return {name: value for name, value in card.items() if name not in OF_EACH}


def joined_weights(weights: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state dict of an :class:`acdc_semicycle.methods.ensemble.Ensemble` of networks with these state dicts."""
    joined = {}
    for number, state in enumerate(weights):
        for name, tensor in state.items():
            joined[f"members.{number}.{name}"] = tensor
    return joined


def joined_sha256(digests: Sequence[str]) -> str:
    """One digest of several, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
