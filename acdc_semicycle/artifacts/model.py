"""A trained network on disk: a training run's model.pt and what lies beside it, or a bundle's zip with the same."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from monai.bundle import ConfigWorkflow

from acdc_semicycle.artifacts.score_names import current_quality
from acdc_semicycle.artifacts.weights import load, state_dict
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

CARD: dict[str, Any] = {
    "filters": 64,
    "blocks": 9,
    "dropout": 0.0,
    "in_channels": 1,
    "image_size": [200, 200],
}  # the paper's
CARD |= {"intensity_range": None, "pictures": False, "colours": None}
CLASSES = ["background", "RV", "MYO", "LV"]


def _whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= 1 << 14  # more would fill the memory, or hang


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "filters": ("a whole number up to 16,384", lambda v: _whole(v)),
    "blocks": ("a whole number up to 16,384", lambda v: _whole(v, 0)),
    "in_channels": ("a whole number up to 16,384", lambda v: _whole(v)),
    "dropout": ("a number below 1", lambda v: type(v) in (int, float) and 0 <= v < 1),
    "image_size": ("rows and columns", lambda v: isinstance(v, list) and len(v) == 2 and all(map(_whole, v))),
    "intensity_range": (
        "two numbers or null",
        lambda v: v is None or (isinstance(v, list) and len(v) == 2 and all(type(n) in (int, float) for n in v)),
    ),
    "classes": ("a list of names", lambda v: isinstance(v, list) and len(v) > 1 and all(isinstance(n, str) for n in v)),
}

SUMS = "SHA256SUMS"
# Weights hardly shrink: what does is none of export's, and might fill the memory.
LARGEST, SUSPICIOUS, RATIO = 2 << 30, 10 << 20, 200


@dataclass(frozen=True)
class Model:
    """A network as it was found; its weights are read when they are asked for.

    Args:
        path: the model.pt or the zip.
        read: the content of model.pt, model.json, painter.pt or quality.json, or None where there is none.
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
        return None if fitted is None else current_quality(fitted)

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

    def painter(self) -> dict[str, Any] | None:
        """The state dict of G_SI of the same epoch; None where the method has none."""
        content = self.read("painter.pt")
        name = f"{self.path}: painter.pt"
        return None if content is None else state_dict(load(name, content), name)

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
            if (code := next(_code(value), None)) is not None:
                raise ValueError(f"it holds {code!r}, which MONAI would run or look up")
        except (ValueError, TypeError, RecursionError) as error:
            zipped = self.split is None
            where = f"{self.path}: {name}" if zipped else self.path.with_name(_beside(self.path, name))
            raise InputError(f"{where} cannot be read ({error}): restore it, or train again") from error
        return value


def _code(value: Any) -> Iterator[str]:
    """All keys and texts in a JSON value that mean something to MONAI's configuration."""
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        yield value
    if isinstance(value, dict):
        yield from (key for key in value if key.startswith(("_", "$", "@", "%")))
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _code(item)


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
        _check_all(model.path)
    _ = model.card, model.quality, model.sha256
    return model


def card(checkpoint: str | Path) -> dict[str, Any]:
    """What it takes to use a checkpoint, from the model.json beside it; the paper's where there is none."""
    return _model(checkpoint).card


def said(checkpoint: str | Path) -> dict[str, Any]:
    """The model.json beside a checkpoint; empty where there is none."""
    return _model(checkpoint)._json("model.json") or {}


def newest_model(bundle_root: str | Path, runs: str | Path = "runs") -> Path:
    """The model.pt that a training run below ``runs`` wrote last; the bundle's own where there is none.

    A network trained on the phantom comes after all others.
    """
    models = Path(runs).glob("**/models/model.pt")
    found = sorted(models, key=lambda path: (card(path).get("dataset") != "phantom", path.stat().st_mtime))
    return found[-1] if found else Path(bundle_root) / "models" / "model.pt"


def check_network(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that is not there, before anything else is found wrong because of it."""
    path = Path(str(checkpoint))
    if not path.is_file():
        below = _within(path)
        hint = f"did you mean {below}?" if below else "train first (semicycle train), or give --model, a run's folder"
        if path.is_dir() and not below:
            raise InputError(
                f"{path} holds no models/model.pt: give a training run's folder, its model.pt, or a zip of export"
            )
        raise InputError(f"{path} is not a file, and the network is read from it: {hint}")


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
    path = _within(path) or path
    return Model(path, partial(_member if path.suffix.lower() == ".zip" else _file, path))


def _within(path: Path) -> Path | None:
    """The model.pt of a run's folder."""
    return next((found for part in ("models/model.pt", "model.pt") if (found := path / part).is_file()), None)


def _beside(path: Path, name: str) -> str:
    return {"model.pt": path.name, "model.json": path.with_suffix(".json").name}.get(name, name)


def _file(path: Path, name: str) -> bytes | None:
    """A file of the network at ``path``."""
    if name not in ("model.pt", "model.json") and path.name != "model.pt":
        return None  # another file's, perhaps of another network
    found = path.with_name(_beside(path, name))
    return found.read_bytes() if found.is_file() else None


def _member(path: Path, name: str) -> bytes | None:
    """A file of an exported zip's models/, after a look at its size and its checksum."""
    with _opened(path) as (archive, members, sums):
        member = f"models/{name}"
        if member not in members:
            return None
        content = archive.read(members[member])
        _compare(path, member, hashlib.sha256(content).hexdigest(), sums)
        return content


def _check_all(path: Path) -> None:
    """Compare every member of an exported zip with its checksum: who is told that it is whole may hand it on.

    Raises:
        InputError: names the first that is missing, changed, or not of the export.
    """
    with _opened(path) as (archive, members, sums):
        if missing := sorted(sums.keys() - members.keys()):
            raise InputError(f"{path}: {missing[0]} is missing, which {SUMS} lists: copy the zip again from its source")
        for name in sorted(members.keys() - {SUMS}):
            with archive.open(members[name]) as stream:
                digest = hashlib.sha256()
                while piece := stream.read(1 << 20):
                    digest.update(piece)
            _compare(path, name, digest.hexdigest(), sums)


def _compare(path: Path, name: str, digest: str, sums: dict[str, str]) -> None:
    if name not in sums:
        raise InputError(f"{path}: {SUMS} does not list {name}: copy the zip again from its source")
    if sums[name] != digest:
        raise InputError(f"{path}: {name} is not what {SUMS} says: copy the zip again from its source")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, dict[str, ZipInfo], dict[str, str]]]:
    """An exported zip, its members and their checksums, both by the name below the bundle's folder."""
    check_network(path)
    try:
        with ZipFile(path) as archive:
            members = _members(path, archive)
            lines = archive.read(members[SUMS]).decode().splitlines()
            yield archive, members, {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (BadZipFile, OSError, EOFError, RuntimeError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} is no readable zip ({error}): copy it again, or export the model again") from error


def _members(path: Path, archive: ZipFile) -> dict[str, ZipInfo]:
    """The members by their name below the bundle's folder, none too large for the memory.

    All are looked at: who is told that a zip is a network may unpack it.

    Raises:
        InputError: it is no bundle's zip, or would unpack to more than it should, or elsewhere.
    """
    for info in archive.infolist():
        _check_member(path, info)
    end = "models/model.pt"
    roots = {name.removesuffix(end) for name in archive.namelist() if ("/" + name).endswith("/" + end)}
    root = roots.pop() if len(roots) == 1 else None
    if root is None or root + SUMS not in archive.namelist():
        missing = end if root is None else root + SUMS
        raise InputError(f"{path} holds no {missing}: give a zip that `semicycle export` has made")
    files = [(info.filename.removeprefix(root), info) for info in archive.infolist() if not info.is_dir()]
    if twice := [name for name, times in Counter(name for name, _ in files).items() if times > 1]:
        raise InputError(f"{path} holds {twice[0]} twice: give a zip that `semicycle export` has made")
    return dict(files)


def _check_member(path: Path, info: ZipInfo) -> None:
    name, ratio = info.filename, info.file_size / max(info.compress_size, 1)
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(f"{path}: {name!r} is a link or lies outside: give a zip that `semicycle export` has made")
    odd = info.compress_type not in (ZIP_STORED, ZIP_DEFLATED)  # zipfile does not bound what others unpack to
    if odd or info.file_size > LARGEST or (info.file_size > SUSPICIOUS and ratio > RATIO):
        raise InputError(
            f"{path}: {name} would unpack from {info.compress_size} to {info.file_size} bytes, which no network"
            " does: give a zip that `semicycle export` has made"
        )
