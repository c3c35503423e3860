"""A trained network on disk: a training run's model.pt and what lies beside it, or a bundle's zip with the same.

The networks of a folder of folds are one: their probabilities are averaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from acdc_semicycle.artifacts.card import code_in, complete
from acdc_semicycle.artifacts.checkpoint import check_network, model_within
from acdc_semicycle.artifacts.exported_zip import check_zip, read_member
from acdc_semicycle.artifacts.folds import (
    FINISHED,
    common_card,
    joined_sha256,
    joined_weights,
    networks_within,
)
from acdc_semicycle.artifacts.score_names import current_quality
from acdc_semicycle.artifacts.weights import load, state_dict
from acdc_semicycle.config.locations import folder
from acdc_semicycle.data import training_ranges
from acdc_semicycle.methods.network_description import build
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

# The weights of G_SI, beside model.pt, whose name must stay the shortest of all .pt: MONAI Label takes that file.
IMAGE_GENERATOR = "image_generator.pt"
OLD_IMAGE_GENERATOR = "painter.pt"  # the same, as earlier versions called it
TRUST = "trust.json"
PRETRAINED = "pretrained"  # in place of a path: the network that the package holds


@dataclass(frozen=True)
class Model:
    """A network on disk; its weights are read when they are asked for.

    Args:
        path: the model.pt or the zip, or the folder of folds.
        read: the content of model.pt, model.json, image_generator.pt, trust.json, quality.json or
            fingerprint.json, or None where there is none.
        members: the networks of the folds, of a folder of folds.
    """

    path: Path
    read: Callable[[str], bytes | None]
    members: tuple[Model, ...] = ()

    @cached_property
    def card(self) -> dict[str, Any]:
        """What it takes to use the network; values that model.json does not have are the paper's.

        An exported bundle's configuration holds the card, so nothing in it may be code to MONAI.
        """
        if self.members:
            return common_card([member.card for member in self.members], [member.path for member in self.members])
        stored = self.read_json("model.json") or {}
        try:
            return complete(stored)
        except InputError as error:
            raise InputError(f"{self.path}: its model.json {error}: restore it") from error

    @cached_property
    def trust(self) -> dict[str, Any] | None:
        """The fit of the expected Dice (:mod:`acdc_semicycle.evaluation.trust`), if it was made for these weights.

        Raises:
            InputError: the file is damaged.
        """
        fitted = self.read_json(TRUST)
        if fitted is None:
            return None
        if not all(name in fitted for name in ("temperature", "scan", "slices", "volumes")):
            raise InputError(f"{self.path}: {TRUST} lacks parts: run semicycle calibrate again, or remove it")
        if fitted.get("model_sha256") not in (None, self.sha256):
            log.warning("%s: its %s was fitted on other weights: calibrate again to have it", self.path, TRUST)
            return None
        return fitted

    @cached_property
    def quality(self) -> dict[str, Any] | None:
        """What earlier versions fitted in place of ``trust``, for these very weights; None where ``trust`` is there."""
        fitted = None if self.trust else self.read_json("quality.json")
        if fitted is None:
            return None
        if not isinstance(fitted.get("weights"), dict) or "bias" not in fitted:
            raise InputError(
                f"{self.path}: quality.json has no weights and bias: run semicycle calibrate again, or remove it"
            )
        if fitted.get("model_sha256") not in (None, self.sha256):
            log.warning(
                "%s: its quality.json was fitted on other weights: calibrate again to have a quality", self.path
            )
            return None
        return current_quality(fitted)

    @cached_property
    def ranges(self) -> dict[str, Any] | None:
        """The ranges of what it was trained on; None where they are unknown, as of networks of before.

        Raises:
            InputError: the file is damaged.
        """
        if self.members:
            return training_ranges.joined([member.ranges for member in self.members])
        stored = self.read_json(training_ranges.FILE)
        if stored is not None and not training_ranges.is_complete(stored):
            raise InputError(f"{self.path}: {training_ranges.FILE} lacks ranges: restore it, or remove it")
        return stored

    @cached_property
    def sha256(self) -> str:
        """Of the file of the weights, or of the digests of all members' files, in hexadecimal."""
        if self.members:
            return joined_sha256([member.sha256 for member in self.members])
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def content(self) -> bytes:
        """The weights as stored, read once: a training may write the next ones meanwhile."""
        check_network(self.path)
        content = self.read("model.pt")
        assert content is not None, "check_network has seen the file, or the zip's check its member"
        return content

    def weights(self) -> dict[str, Any]:
        """The state dict of G_IS, or of the ensemble of all members, on the CPU.

        Raises:
            InputError: damaged, or a training run's last.pt.
        """
        if self.members:
            return joined_weights([member.weights() for member in self.members])
        return state_dict(load(self.path, self.content), self.path)

    def image_generator(self) -> dict[str, Any] | None:
        """The state dict of G_SI of the same epoch; None where the method has none."""
        name, content = self.image_generator_file()
        where = f"{self.path}: {name}"
        return None if content is None else state_dict(load(where, content), where)

    def image_generator_file(self) -> tuple[str, bytes | None]:
        """Name and content of the weights of G_SI, under today's name or that of earlier versions."""
        for name in (IMAGE_GENERATOR, OLD_IMAGE_GENERATOR):
            content = self.read(name)
            if content is not None:
                return name, content
        return IMAGE_GENERATOR, None

    @property
    def split(self) -> Path | None:
        """The training run's split.json, which names the patients it saw; None of a zip or of folds."""
        return None if self._zipped or self.members else self.path.parent.parent / "split.json"

    @property
    def _zipped(self) -> bool:
        """Whether the network lies in a zip."""
        return self.path.suffix.lower() == ".zip"

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the network; None where there is no such file.

        Raises:
            InputError: it is damaged, no object, or holds what MONAI's configuration would run.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            value = json.loads(content)
            if not isinstance(value, dict):
                raise TypeError(f"it is a {type(value).__name__}, expected an object")
            codes = list(code_in(value))
            if codes:
                raise ValueError(f"it holds {codes[0]!r}, which MONAI would run or look up")
        except (ValueError, TypeError, RecursionError) as error:
            within = self._zipped or bool(self.members)
            where = f"{self.path}: {name}" if within else _beside(self.path, name)
            raise InputError(f"{where} cannot be read ({error}): restore it, or train again") from error
        return value


def pretrained() -> Path:
    """The model.pt that the package holds."""
    return folder("bundles/semicycle") / "models" / "model.pt"


def open_model(source: str | Path) -> Model:
    """The network of a model.pt, of a training run's folder or its ``models``, of a folder of folds, or of a zip.

    ``"pretrained"`` is the one that the package holds, unless there is a file or a folder of that name.

    Of a zip nothing is unpacked: every member is compared with its checksum, and the needed ones are read into memory.

    Raises:
        InputError: not there, no network in it, or damaged; folds that do not agree.
    """
    model = _model(source)
    if not model.members:
        check_network(model.path)
    elif not (model.path / FINISHED).is_file():
        log.warning("%s: its training has not finished: the folds so far, %d, are used", model.path, len(model.members))
    if model.path.suffix.lower() in (".ts", ".onnx"):
        raise InputError(
            f"{model.path} is an exported network, without what it takes to use it: give the zip beside it"
        )
    if model.path.suffix.lower() == ".zip":
        check_zip(model.path)
    _ = model.card, model.trust, model.quality, model.ranges, model.sha256
    return model


def card(checkpoint: str | Path) -> dict[str, Any]:
    """What it takes to use a checkpoint, from the model.json beside it; the paper's where there is none."""
    return _model(checkpoint).card


def stored_card(checkpoint: str | Path) -> dict[str, Any]:
    """The model.json beside a checkpoint; empty where there is none."""
    return _model(checkpoint).read_json("model.json") or {}


def build_image_generator(model: Model, device: str | torch.device) -> nn.Module | None:
    """G_SI of a network on disk, on the device and still without its weights; None where the method has none."""
    description = model.card["image_generator"]
    if description is None or model.image_generator_file()[1] is None:
        return None
    return build(description).to(device)


def bundle_root() -> str:
    """The folder of the bundle whose configuration is running: the ``bundle_root`` of an exported one.

    MONAI does not tell a configuration where its file is; the workflow that knows is up the stack. Where there is none
    (``verify_net_in_out``), it is the working directory, as in MONAI's own bundles.
    """
    frame = sys._getframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            return str(workflow.config_root_path.parent)
        frame = frame.f_back  # type: ignore[assignment]
    return "."


def _model(source: str | Path) -> Model:
    """The network of a file, a zip, a run's folder or a folder of folds, of which nothing is checked."""
    path = Path(str(source))
    if str(source) == PRETRAINED and not path.exists():
        path = pretrained()
        if not path.is_file():
            raise InputError(f"{path}, the network of this package, is missing: install acdc_semicycle again")
    networks = [] if model_within(path) else networks_within(path)
    if networks:
        return Model(path, partial(_read_of_folds, path), tuple(_model(network) for network in networks))
    path = model_within(path) or path
    read = read_member if path.suffix.lower() == ".zip" else _read_file
    return Model(path, partial(read, path))


def _read_of_folds(path: Path, name: str) -> bytes | None:
    """The content of a file of all folds together: only their trust.json lies in their folder."""
    file = path / name
    return file.read_bytes() if name == TRUST and file.is_file() else None


def _beside(path: Path, name: str) -> Path:
    """A file of the network at ``path``; the card has that network's own name."""
    if name == "model.pt":
        return path
    return path.with_suffix(".json") if name == "model.json" else path.with_name(name)


def _read_file(path: Path, name: str) -> bytes | None:
    """The content of a file of the network at ``path``; None where there is none."""
    if name not in ("model.pt", "model.json") and path.name != "model.pt":
        return None  # the other files belong to model.pt, perhaps another network
    file = _beside(path, name)
    return file.read_bytes() if file.is_file() else None
