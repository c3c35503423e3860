"""Exports a trained network to hand it on: TorchScript, ONNX, and a bundle's zip that holds all of it."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import Tensor

from acdc_semicycle.artifacts.bundle_folder import describe, lay_out, name_of, pack
from acdc_semicycle.artifacts.chosen_model import model_for
from acdc_semicycle.artifacts.conversion import Check, compare, to_onnx, to_torchscript
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.config.locations import folder as place_of
from acdc_semicycle.data.windows import whole_slices
from acdc_semicycle.datasets import phantom
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import check_ours, replacing

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written, the bundle's zip last, and how it was checked."""

    files: tuple[Path, ...]
    checks: tuple[Check, ...]


def export(source: str | Path, folder: str | Path, scans: Sequence[str | Path] = ()) -> Exported:
    """Write ``model.ts``, ``model.onnx`` and the bundle's zip into ``folder``; all of them or, if one fails, none.

    The zip (``NAME.zip``, with one folder NAME in it) is a MONAI bundle that works unpacked, and what
    :func:`acdc_semicycle.artifacts.model.open_model` takes as it is. Its bytes depend on its members only.
    ``model.ts`` and ``model.onnx`` are the network alone: one of windows takes windows, and the zip looks twice.

    Args:
        source: what :func:`acdc_semicycle.artifacts.model.open_model` takes.
        folder: made if need be; files of these names that an export wrote are replaced.
        scans: files on whose slices both exports are compared with the network; without any, the phantom's.

    Raises:
        InputError: no network, or the several of a folder of folds, packages that are missing, a scan that cannot be
            read, or an export that differs from the network by more than ``TOLERANCE``.
    """
    model, folder = open_model(source), Path(folder)
    if model.members:
        raise InputError(f"{model.path} holds {len(model.members)} folds: give one to export, {model.members[0].path}")
    absent = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if absent:
        raise InputError(f"{', '.join(absent)} not installed, which ONNX needs: run pip install {' '.join(PACKAGES)}")
    _check_targets(folder, name_of(model.card))
    with tempfile.TemporaryDirectory(prefix="semicycle-") as scratch:  # MONAI reads some paths as code, not this one
        _check_room(scratch, 7 * len(model.content))  # the weights in three forms, all in the zip, and some more
        root = Path(scratch) / name_of(model.card)
        lay_out(root, model)
        parser = _parser(root)
        slices = _slices(parser, model.card, scans, Path(scratch) / "phantom")
        network = parser.get_parsed_content("network_def").eval()
        load_network(network, model.weights(), model.path)
        torchscript, onnx = to_torchscript(root, slices), to_onnx(root, slices, model)
        checks = (compare("model.ts", network, torchscript, slices), compare("model.onnx", network, onnx, slices))
        describe(root, model, checks)
        archive = pack(root, Path(scratch) / f"{root.name}.zip")
        models = root / "models"
        return Exported(_move([models / "model.ts", models / "model.onnx", archive], folder), checks)


def _check_targets(folder: Path, name: str) -> None:
    """Refuse to write over files of these names that no export wrote."""
    for file in ("model.ts", f"{name}.zip"):
        check_ours(folder / file, "acdc_semicycle")
    if not (folder / "model.ts").exists():  # else the same export wrote it: an ONNX file does not name its maker
        check_ours(folder / "model.onnx", "no sign: a file of this name alone is of another program")


def _check_room(folder: str, needed: int) -> None:
    """Refuse to begin without room on the disk: the errors of torch's writers on a full disk are unreadable."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder} has {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} are needed to export: make room, or set"
            " TMPDIR to another folder"
        )


def main(source: str | Path | None, folder: str | Path, scans: Sequence[str | Path] = ()) -> str:
    """Export a network, by default the only one below ``runs``; the lines that the command prints."""
    exported = export(source or model_for(place_of("bundles/semicycle"), list(scans)), folder, scans)
    return "\n".join(map(str, (*exported.checks, *exported.files)))


def _parser(root: Path) -> ConfigParser:
    """The staged bundle's own inference configuration."""
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    return parser


def _slices(parser: ConfigParser, card: Mapping[str, Any], scans: Sequence[str | Path], scratch: Path) -> list[Tensor]:
    """Every slice of the scans as the network gets them, one batch [slices, C, H, W] a scan.

    A network of windows gets whole slices at a window's size, as at its first look.
    """
    if not scans and (card["pictures"] or card["intensity_range"] is not None):
        raise InputError("the phantom's intensities are not those of this network's data: give images of its data set")
    if not scans:
        phantom.write(scratch, patients=1)
        scans = sorted(scratch.glob("**/*_frame??.nii.gz"))
    batches = []
    for scan in scans:
        item: Any = {"image": str(scan)}
        for transform in parser.get_parsed_content("preprocessing").transforms:  # without Compose, which wraps errors
            item = transform(item)
        batch = item["image"].as_tensor().movedim(-1, 0).contiguous()
        batches.append(whole_slices(batch, card["window"]) if card["window"] else batch)
    return batches


def _move(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Copy all files into the folder, then rename them: either all of them or none are replaced."""
    with ExitStack() as stack:
        for path in files:
            shutil.copyfile(path, stack.enter_context(replacing(folder / path.name)))
    return tuple(folder / path.name for path in files)
