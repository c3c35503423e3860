"""The network of a run that is kept, the best or the last: model.pt, with its card and its image generator."""

from __future__ import annotations

import json
import logging
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from acdc_semicycle.artifacts.model import IMAGE_GENERATOR, OLD_IMAGE_GENERATOR
from acdc_semicycle.artifacts.weights import load, save
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text

log = logging.getLogger("semicycle")


class BestNetwork:
    """Keeps a network's weights on disk as model.pt whenever its metric is the best so far.

    Args:
        folder: of the files.
        network: the deployed one.
        card: what it takes to use it (plain values), written as model.json.
        image_generator: G_SI, if the method has one: its weights of the same epoch go to image_generator.pt.

    Attributes:
        metric, epoch: of the best network; minus infinity and 0 before there is one.
    """

    def __init__(
        self, folder: Path, network: nn.Module, card: dict[str, Any], image_generator: nn.Module | None
    ) -> None:
        self.file, self.network, self.card, self.image_generator = folder / "model.pt", network, card, image_generator
        self.metric, self.epoch = float("-inf"), 0

    def state_dict(self) -> dict[str, Any]:
        """Metric and epoch of the best network."""
        return {"metric": self.metric, "epoch": self.epoch}

    def save(self, metric_name: str, training: dict[str, Any]) -> None:
        """Write the network, its card and its image generator; without a metric where the epoch was not validated.

        Args:
            training: the epochs and the steps of the whole training, and which network it keeps.
        """
        if self.image_generator is not None:
            save(self.file.with_name(IMAGE_GENERATOR), self.image_generator.state_dict())
            self.file.with_name(OLD_IMAGE_GENERATOR).unlink(missing_ok=True)
        save(self.file, self.network.state_dict())
        validation = {} if math.isnan(self.metric) else {metric_name: self.metric}
        card = self.card | {"epoch": self.epoch} | training | {"validation": validation}
        write_text(self.file.with_suffix(".json"), json.dumps(card, indent=1) + "\n")

    def continue_from(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint knows; a model.pt that is better stays until there is a better one.

        Raises:
            InputError: a file is damaged.
        """
        self.metric, self.epoch = state["metric"], state["epoch"]
        if not self.file.is_file():
            if self.epoch:
                log.warning("%s of epoch %d is gone: the best that comes is kept", self.file, self.epoch)
            self.metric, self.epoch = float("-inf"), 0
            return
        for name in (self.file.name, IMAGE_GENERATOR, OLD_IMAGE_GENERATOR):
            _check_whole(self.file.with_name(name))
        card = self.file.with_suffix(".json")
        stored = read_json(card) if card.is_file() else {}
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            [metric] = stored["validation"].values()
            if metric > self.metric and math.isfinite(metric):
                self.metric, self.epoch = metric, stored["epoch"]


def without_advice(error: InputError) -> str:
    """What is wrong, without what to do."""
    return str(error).rsplit(": ", 1)[0]


def _check_whole(path: Path) -> None:
    """Refuse a damaged file of weights, if it is there."""
    if not path.is_file():
        return
    try:
        load(path)
    except InputError as error:
        raise InputError(
            f"{without_advice(error)}: give a copy of it, or remove it: the best that comes is kept"
        ) from error
