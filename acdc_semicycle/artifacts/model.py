"""A trained network on disk: a training run's model.pt and what lies beside it, or a bundle's zip with the same."""

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

from monai.bundle import ConfigWorkflow

from acdc_semicycle.artifacts.card import CARD, CLASSES, RULES, code_in
from acdc_semicycle.artifacts.checkpoint import check_network, model_within
from acdc_semicycle.artifacts.exported_zip import check_zip, read_member
from acdc_semicycle.artifacts.weights import load, state_dict
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

G_SI = "G_SI.pt"  # the image generator's weights, beside model.pt
OLD_G_SI = "painter.pt"  # the same, as earlier versions called it


@dataclass(frozen=True)
class Model:
    """A network as it was found; its weights are read when they are asked for.

    Args:
        path: the model.pt or the zip.
        read: the content of model.pt, model.json, G_SI.pt or quality.json, or None where there is none.
    """

    path: Path
    read: Callable[[str], bytes | None]

    @cached_property
    def card(self) -> dict[str, Any]:
        """What it takes to use the network; the paper's where nothing is said.

        It gets into an exported bundle's configuration, so nothing in it may be code to MONAI.
        """
        found = CARD | {"classes": CLASSES} | (self._json("model.json") or {})
        for name, (words, kept) in RULES.items():
            if not kept(found[name]):
                raise InputError(f"{self.path}: its model.json has {name} {found[name]!r}, not {words}: restore it")
        return found

    @cached_property
    def quality(self) -> dict[str, Any] | None:
        """How a segmentation of this network is judged without truth, if that was fitted on these very weights."""
        fitted = self._json("quality.json")
        if fitted is not None and not (isinstance(fitted.get("weights"), dict) and "bias" in fitted):
            raise InputError(f"{self.path}: quality.json has no weights and bias: fit it again, or take it away")
        if fitted is not None and fitted.get("model_sha256") not in (None, self.sha256):
            log.warning(
                "%s: its quality.json was fitted on other weights: calibrate again to have a quality", self.path
            )
            return None
        return fitted

    @cached_property
    def sha256(self) -> str:
        """Of the file of the weights, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def content(self) -> bytes:
        """The weights as stored, read once: a training may write the next ones meanwhile."""
        check_network(self.path)
        content = self.read("model.pt")
        assert content is not None, "a file that is there, or a zip's first member to be asked for"
        return content

    def weights(self) -> dict[str, Any]:
        """The state dict of G_IS, on the CPU.

        Raises:
            InputError: damaged, or a training run's last.pt.
        """
        return state_dict(load(self.path, self.content), self.path)

    def image_generator(self) -> dict[str, Any] | None:
        """The state dict of G_SI of the same epoch; None where the method has none."""
        name, content = self.image_generator_file()
        where = f"{self.path}: {name}"
        return None if content is None else state_dict(load(where, content), where)

    def image_generator_file(self) -> tuple[str, bytes | None]:
        """Name and content of the weights of G_SI, under today's name or that of earlier versions."""
        for name in (G_SI, OLD_G_SI):
            content = self.read(name)
            if content is not None:
                return name, content
        return G_SI, None

    @property
    def split(self) -> Path | None:
        """Where the run that trained it says which patients it saw; None of a zip, which names none."""
        return None if self.path.suffix.lower() == ".zip" else self.path.parent.parent / "split.json"

    def _json(self, name: str) -> dict[str, Any] | None:
        content = self.read(name)
        if content is None:
            return None
        try:
            value = json.loads(content)
            if not isinstance(value, dict):
                raise TypeError(f"it is a {type(value).__name__}, expected an object")
            if (code := next(code_in(value), None)) is not None:
                raise ValueError(f"it holds {code!r}, which MONAI would run or look up")
        except (ValueError, TypeError, RecursionError) as error:
            zipped = self.split is None
            where = f"{self.path}: {name}" if zipped else self.path.with_name(_beside(self.path, name))
            raise InputError(f"{where} cannot be read ({error}): restore it, or train again") from error
        return value


def open_model(given: str | Path) -> Model:
    """The network of a model.pt, of a training run's folder or its ``models``, or of a bundle's zip.

    Of a zip nothing is unpacked: all in it is compared with its checksums, and what is needed read into memory.

    Raises:
        InputError: not there, no network in it, or damaged.
    """
    model = _model(given)
    check_network(model.path)
    if model.path.suffix.lower() in (".ts", ".onnx"):
        raise InputError(
            f"{model.path} is an exported network, without what it takes to use it: give the zip beside it"
        )
    if model.path.suffix.lower() == ".zip":
        check_zip(model.path)
    _ = model.card, model.quality, model.sha256
    return model


def card(checkpoint: str | Path) -> dict[str, Any]:
    """What it takes to use a checkpoint, from the model.json beside it; the paper's where there is none."""
    return _model(checkpoint).card


def stored_card(checkpoint: str | Path) -> dict[str, Any]:
    """The model.json beside a checkpoint; empty where there is none."""
    return _model(checkpoint)._json("model.json") or {}


def newest_model(bundle_root: str | Path, runs: str | Path = "runs") -> Path:
    """The model.pt that a training run below ``runs`` wrote last; the bundle's own where there is none.

    A network trained on the phantom comes after all others.
    """
    models = Path(runs).glob("**/models/model.pt")
    found = sorted(models, key=lambda path: (card(path).get("dataset") != "phantom", path.stat().st_mtime))
    return found[-1] if found else Path(bundle_root) / "models" / "model.pt"


def bundle_root() -> str:
    """Where the bundle is whose configuration is being run: the ``bundle_root`` of an exported one.

    MONAI tells a configuration nothing of its own place; the workflow that knows is up the stack. Where there is none
    (``verify_net_in_out``), it is the working directory, as in MONAI's own bundles.
    """
    frame = sys._getframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            return str(workflow.config_root_path.parent)
        frame = frame.f_back  # type: ignore[assignment]
    return "."


def _model(given: str | Path) -> Model:
    path = Path(str(given))
    path = model_within(path) or path
    return Model(path, partial(read_member if path.suffix.lower() == ".zip" else _file, path))


def _beside(path: Path, name: str) -> str:
    return {"model.pt": path.name, "model.json": path.with_suffix(".json").name}.get(name, name)


def _file(path: Path, name: str) -> bytes | None:
    """A file of the network at ``path``."""
    if name not in ("model.pt", "model.json") and path.name != "model.pt":
        return None  # another file's, perhaps of another network
    found = path.with_name(_beside(path, name))
    return found.read_bytes() if found.is_file() else None
