"""The start of a training from the weights of an earlier one, of the same classes or of others."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from acdc_semicycle.artifacts.known_patients import EARLIER, KnownPatients
from acdc_semicycle.artifacts.model import Model, open_model
from acdc_semicycle.artifacts.weights import not_finite
from acdc_semicycle.data.splits import Split
from acdc_semicycle.data.splits import load as load_split
from acdc_semicycle.methods.network_description import layers_of_classes
from acdc_semicycle.methods.objective import Objective
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")

STATES = ("last.pt", "previous.pt")  # of a training that continues; one killed before the first begins again
Weights = Mapping[str, Tensor]


def start_from(
    source: str | Path | None, objective: Objective, card: Mapping[str, Any], split: Split, ckpt_dir: str | Path
) -> None:
    """Give the segmenter, and its teacher, the weights of another training, and say what was taken over.

    The last layer's weights are taken by the name of the class; those of other classes start at random, as all do
    without a ``source``. A training that continues has its own state, and the source is not read.

    Args:
        source: a run's folder, model.pt or zip, or ``pretrained`` for the package's own network; null or ``none`` for
            none.
        card: of this training's network.
        split: of this training, whose validation and test patients the other one may have learned from.
        ckpt_dir: the folder of this training's states.

    Raises:
        InputError: no network, a folder of folds, or a network that differs in more than its classes.
    """
    states = [Path(ckpt_dir) / name for name in STATES]
    if source is None or source == "none" or any(map(Path.exists, states)):
        return
    model = open_model(source)
    if model.members:
        first = model.members[0].path
        raise InputError(f"--from {source} is a folder of folds: give one of its networks, such as {first}")
    network = objective.G_IS
    weights = model.weights()
    name = not_finite(weights)
    if name:
        raise InputError(f"{model.path} holds NaN or infinite weights ({name}): give another --from")
    weights, new_classes = fitted(weights, network.state_dict(), model, card)
    network.load_state_dict(weights)
    if objective.T is not None:
        objective.T.network.load_state_dict(weights)
    anew = f"; the classes {some(new_classes)} start anew" if new_classes else ""
    log.info("starts from %s%s", model.path, anew)
    _warn_of_other_images(model, card)
    _warn_of_known_patients(model, card, split)


def remember_source(
    source: str | Path | None, card: Mapping[str, Any], ckpt_dir: str | Path, output_dir: str | Path
) -> None:
    """Write beside the split whom the network that a training started from knows: this training's network does, too.

    The file is earlier.json (:mod:`acdc_semicycle.artifacts.known_patients`). A training that continues has it. Names
    are kept where the data set is the same, digests of images of any.
    """
    states = [Path(ckpt_dir) / name for name in STATES]
    if distributed.rank() or any(map(Path.exists, states)):
        return
    path = Path(str(output_dir)) / EARLIER
    path.unlink(missing_ok=True)  # of a training that was here before
    if source is None or source == "none":
        return
    model = open_model(source)
    known = KnownPatients.of(model)
    patients = known.parts if model.card.get("dataset") == card["dataset"] else {}
    if patients or known.part_of_image:
        write_text(path, json.dumps({"patients": patients, "images": known.part_of_image}, indent=1) + "\n")


def fitted(
    weights: Weights, own: Weights, model: Model, card: Mapping[str, Any]
) -> tuple[dict[str, Tensor], list[str]]:
    """The other network's ``weights`` for this training's classes, and the classes that it does not have.

    Args:
        own: the weights of this training's network, which its own classes keep.

    Raises:
        InputError: the networks differ in more than their classes.
    """
    of_classes = layers_of_classes(card["network"])
    classes, other_classes = list(card["classes"]), list(model.card["classes"])
    result: dict[str, Tensor] = {}
    _check_same(weights.keys() == own.keys(), model, card)
    for name, values in own.items():
        if name in of_classes:
            _check_same(weights[name].shape[1:] == values.shape[1:], model, card)
            _check_same(len(weights[name]) == len(other_classes), model, card)
            result[name] = _by_class(weights[name], values, classes, other_classes)
        else:
            _check_same(weights[name].shape == values.shape, model, card)
            result[name] = weights[name]
    return result, [name for name in classes if name not in other_classes]


def _by_class(weights: Tensor, own: Tensor, classes: Sequence[str], other_classes: Sequence[str]) -> Tensor:
    """Weights [K, ...] of the last layer: the other network's of each class that it has, else its own."""
    result = own.clone()
    for number, name in enumerate(classes):
        if name in other_classes:
            result[number] = weights[other_classes.index(name)]
    return result


def _check_same(same: bool, model: Model, card: Mapping[str, Any]) -> None:
    """Refuse a network that differs in more than its classes."""
    if not same:
        raise InputError(
            f"--from {model.path} is another network, {_named(model.card['network'])}, than this training's,"
            f" {_named(card['network'])}: train with the same network_def, or give --from none"
        )


def _named(description: Mapping[str, Any]) -> str:
    """The class of a network and its arguments."""
    arguments = ", ".join(f"{name}={value}" for name, value in description["arguments"].items())
    return f"{description['class'].rpartition('.')[2]}({arguments})"


def _warn_of_other_images(model: Model, card: Mapping[str, Any]) -> None:
    """Say that the other network saw images of another kind: what it learned may be of less use."""
    for key in ("window", "image_size"):
        if model.card[key] != card[key]:
            log.warning("it was trained with %s %s, and this training has %s", key, model.card[key], card[key])


def _warn_of_known_patients(model: Model, card: Mapping[str, Any], split: Split) -> None:
    """Say which patients are to be scored whose masks the other training has seen, where the data set is the same."""
    if model.split is None or not model.split.is_file() or model.card.get("dataset") != card["dataset"]:
        return
    known = sorted(set(load_split(model.split).labelled) & {*split.validation, *split.test})
    if known:
        log.warning(
            "trained on there: %s to be scored, %s. These scores say nothing of new patients",
            many(len(known), "patient"),
            some(known),
        )
