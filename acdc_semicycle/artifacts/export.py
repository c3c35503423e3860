"""A trained network as something to hand on: TorchScript, ONNX, and a bundle's zip that holds all there is to it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from torch import Tensor

from acdc_semicycle import __version__
from acdc_semicycle.artifacts.card import CLASSES
from acdc_semicycle.artifacts.exported_zip import SUMS
from acdc_semicycle.artifacts.model import G_SI, Model, newest_model, open_model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.config.locations import folder as place_of
from acdc_semicycle.datasets import phantom
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import check_ours, replacing

# Of a softmax probability. On real slices ONNX differed by 3e-5 to 9e-5 (other orders of summation, which instance
# norms magnify); half precision by 3e-3, another epsilon of the norms by 2e-2, another padding by 0.2.
TOLERANCE = 1e-3
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LOUD = ("monai.bundle.scripts", "torch.onnx._internal.exporter._registration")
ROOT = {"bundle_root": "$models.bundle_root()", "checkpoint": "$@bundle_root + '/models/model.pt'"}


@dataclass(frozen=True)
class Check:
    """An exported network beside the eager one, on the same slices."""

    name: str
    slices: int
    largest: float  # difference of a softmax probability
    labels: float  # fraction of pixels whose label differs

    def __str__(self) -> str:
        return (
            f"{self.name}: {many(self.slices, 'slice')}, largest difference of a probability {self.largest:.1e}, "
            f"{self.labels:.3%} of the labels differ"
        )


@dataclass(frozen=True)
class Exported:
    """What was written, the bundle's zip last, and how it was checked."""

    files: tuple[Path, ...]
    checks: tuple[Check, ...]


def export(given: str | Path, folder: str | Path, scans: Sequence[str | Path] = ()) -> Exported:
    """Write ``model.ts``, ``model.onnx`` and the bundle's zip into ``folder``; all of them or, if one fails, none.

    The zip (``NAME.zip``, with one folder NAME in it) is a MONAI bundle that works unpacked, and what
    :func:`acdc_semicycle.artifacts.model.open_model` takes as it is. Its bytes depend on its members only.

    Args:
        given: what :func:`acdc_semicycle.artifacts.model.open_model` takes.
        folder: made if need be; files of these names that an export wrote are replaced.
        scans: files on whose slices both exports are compared with the network; the phantom's where none is given.

    Raises:
        InputError: no network, packages that are missing, a scan that cannot be read, or an export that differs from
            the network by more than ``TOLERANCE``.
    """
    model, folder = open_model(given), Path(folder)
    if absent := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        raise InputError(f"{', '.join(absent)} not installed, which ONNX needs: say pip install {' '.join(PACKAGES)}")
    _check_targets(folder, name_of(model.card))
    with tempfile.TemporaryDirectory(prefix="semicycle-") as scratch:  # a path of ours: MONAI reads some as code
        _check_room(scratch, 7 * len(model.content))  # the weights in three forms, all in the zip, and some
        root = Path(scratch) / name_of(model.card)
        _lay_out(root, model)
        parser = _parser(root)
        slices = _slices(parser, model.card, scans, Path(scratch) / "phantom")
        network = parser.get_parsed_content("network_def").eval()
        load_network(network, model.weights(), model.path)
        torchscript, onnx = _torchscript(root, slices), _onnx(root, slices, model)
        checks = (_compare("model.ts", network, torchscript, slices), _compare("model.onnx", network, onnx, slices))
        _describe(root, model, checks)
        archive = _pack(root, Path(scratch) / f"{root.name}.zip")
        models = root / "models"
        return Exported(_move([models / "model.ts", models / "model.onnx", archive], folder), checks)


def _check_targets(folder: Path, name: str) -> None:
    """Refuse a folder that holds others' files of these names."""
    for file in ("model.ts", f"{name}.zip"):
        check_ours(folder / file, "acdc_semicycle")
    if not (folder / "model.ts").exists():  # else of the same export: an ONNX says nothing of who made it
        check_ours(folder / "model.onnx", "a file of this name alone is nobody's we know")


def _check_room(folder: str, needed: int) -> None:
    """Look before: what a full disk makes of torch's writers, nobody can read."""
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InputError(
            f"{folder} has {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} are needed to export: make room, or set"
            " TMPDIR to another folder"
        )


def main(given: str | Path | None, folder: str | Path, scans: Sequence[str | Path] = ()) -> str:
    """Export a network, by default the newest below ``runs``; what the command line prints of it."""
    made = export(given or newest_model(place_of("bundles/semicycle")), folder, scans)
    return "\n".join(map(str, (*made.checks, *made.files)))


def name_of(card: Mapping[str, Any]) -> str:
    """The bundle's name: data set and task, as in MONAI's model zoo."""
    return re.sub(r"\W+", "_", f"{card.get('dataset', 'unnamed')}_semicycle_segmentation")


def metadata(model: Model) -> dict[str, Any]:
    """The bundle's metadata.json with this network's sizes, classes and data set."""
    card, known = (
        model.card,
        json.loads((place_of("bundles/semicycle") / "configs" / "metadata.json").read_text(encoding="utf-8")),
    )
    classes, dataset = list(card["classes"]), str(card.get("dataset", "unnamed"))
    known["version"] = known["required_packages_version"]["acdc_semicycle"] = __version__
    known["label_classes"] = "one channel, " + ", ".join(f"{n} {name}" for n, name in enumerate(classes))
    known["pred_classes"] = f"{len(classes)} channels, logits of {', '.join(classes)}"
    known["eval_metrics"] = {f"validation_{name}": value for name, value in card.get("validation", {}).items()}
    if dataset != "acdc":
        known |= {"name": f"{dataset} semicycle segmentation", "data_source": dataset}
    if card["intensity_range"] is not None:
        known["image_classes"] = f"{card['in_channels']} channels, {card['intensity_range']} scaled to [-1, 1]"
    if classes != CLASSES:
        known["task"] = f"Semi-supervised segmentation of {', '.join(classes)}"
        known["description"] = f"A residual generator, trained by the objective of Mondal et al. (2019) on {dataset}."
    image = known["network_data_format"]["inputs"]["image"]
    pred = known["network_data_format"]["outputs"]["pred"]
    if card["pictures"]:
        known["data_type"], image["modality"] = "png", "n/a"
    image |= {"num_channels": card["in_channels"], "spatial_shape": list(card["image_size"])}
    image["channel_def"] = {"0": "image"} if card["in_channels"] == 1 else {"0": "red", "1": "green", "2": "blue"}
    pred |= {"num_channels": len(classes), "spatial_shape": list(card["image_size"])}
    pred["channel_def"] = {str(n): name for n, name in enumerate(classes)}
    return known


def _lay_out(root: Path, model: Model) -> None:
    """The bundle with this network in it: configurations, documents, licence, weights."""
    source = place_of("bundles/semicycle")
    for part in ("configs", "docs"):
        shutil.copytree(source / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copyfile(source / "LICENSE", root / "LICENSE")
    inference = root / "configs" / "inference.json"
    config = json.loads(inference.read_text(encoding="utf-8")) | ROOT
    config["imports"] = sorted({*config["imports"], "$import acdc_semicycle.artifacts.model as models"})
    _write(inference, config)
    _write(root / "configs" / "metadata.json", metadata(model))
    (root / "models").mkdir()
    (root / "models" / "model.pt").write_bytes(model.content)
    beside = {G_SI: model.image_generator_file()[1], "quality.json": model.read("quality.json")}
    for name, content in beside.items():
        if content is not None:
            (root / "models" / name).write_bytes(content)
    _write(root / "models" / "model.json", model.card)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _parser(root: Path) -> ConfigParser:
    """The staged bundle's own inference configuration."""
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    return parser


def _slices(parser: ConfigParser, card: Mapping[str, Any], scans: Sequence[str | Path], scratch: Path) -> list[Tensor]:
    """Every slice of the scans as the network gets them, one batch [slices, C, H, W] a scan."""
    if not scans and (card["pictures"] or card["intensity_range"] is not None):
        raise InputError("the phantom has not the intensities that this network knows: give images of its data set")
    if not scans:
        phantom.write(scratch, patients=1)
        scans = sorted(scratch.glob("**/*_frame??.nii.gz"))
    batches = []
    for scan in scans:
        item: Any = {"image": str(scan)}
        for transform in parser.get_parsed_content("preprocessing").transforms:  # without Compose's wrapped errors
            item = transform(item)
        batches.append(item["image"].as_tensor().movedim(-1, 0).contiguous())
    return batches


def _torchscript(root: Path, slices: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Write models/model.ts, with metadata and configuration in it, and read it again."""
    target = root / "models" / "model.ts"
    with _quiet():
        # traced: scripting cannot read annotations of shapes, and nothing in the network depends on its input
        ckpt_export(**_arguments(root, target, slices), bundle_root=str(root))
        script = torch.jit.load(target, map_location="cpu").eval()
    return script


def _onnx(root: Path, slices: Sequence[Tensor], model: Model) -> Callable[[Tensor], Tensor]:
    """Write models/model.onnx, of any batch size, and a session of onnxruntime that runs it."""
    import onnx
    import onnxruntime

    target = root / "models" / "model.onnx"
    options: dict[str, Any] = {"input_names": ["image"], "output_names": ["pred"], "dynamo": True, "verbose": False}
    options |= {"external_data": False, "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    with _quiet():
        onnx_export(**_arguments(root, target, slices), converter_kwargs=options, bundle_root=str(root))
    graph = onnx.load(target)
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]  # where on this machine each layer's code is
    about = {"classes": json.dumps(model.card["classes"]), "weights_sha256": model.sha256}
    onnx.helper.set_model_props(graph, about)
    onnx.save(graph, target)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(target, settings, providers=["CPUExecutionProvider"])
    return lambda batch: torch.as_tensor(session.run(None, {"image": batch.numpy()})[0])


def _arguments(root: Path, target: Path, slices: Sequence[Tensor]) -> dict[str, Any]:
    """What both of MONAI's exports are told."""
    configs, models = root / "configs", root / "models"
    return {
        "net_id": "network_def",
        "filepath": str(target),
        "ckpt_file": str(models / "model.pt"),
        "meta_file": str(configs / "metadata.json"),
        "config_file": str(configs / "inference.json"),
        "use_trace": True,
        "input_shape": [2, *slices[0].shape[1:]],  # of one slice it would be taken for a constant
    }


def _compare(
    name: str, network: Callable[[Tensor], Tensor], exported: Callable[[Tensor], Tensor], slices: Sequence[Tensor]
) -> Check:
    """Both networks on every slice; an InputError where their probabilities differ by more than ``TOLERANCE``."""
    differences, differing, pixels = [], 0, 0
    with torch.inference_mode():
        for batch in (part for volume in slices for part in volume.split(4)):
            mine, theirs = network(batch).softmax(1), exported(batch).softmax(1)
            differences.append((mine - theirs).abs().max())
            differing += int((mine.argmax(1) != theirs.argmax(1)).sum())
            pixels += mine.argmax(1).numel()
    check = Check(name, sum(map(len, slices)), float(torch.stack(differences).max()), differing / pixels)
    if not check.largest <= TOLERANCE:  # which NaN is not, either
        raise InputError(f"{check}: more than {TOLERANCE:g}, so nothing is written; say which torch and onnx these are")
    return check


def _describe(root: Path, model: Model, checks: Sequence[Check]) -> None:
    """Put this network before the method in docs/README.md."""
    path = root / "docs" / "README.md"
    title, text = path.read_text(encoding="utf-8").split("\n", 1)
    about = {"sha256 of models/model.pt": model.sha256} | model.card
    rows = [f"| {key} | {json.dumps(value)} |" for key, value in about.items() if key != "colours"]
    section = [
        "## This model",
        "",
        "What is said below of sizes and data is of the paper's settings; these are its own.",
        "",
    ]
    section += ["| | |", "|---|---|", *rows, "", "Exports beside the weights, compared on slices:", ""]
    text = text.replace("No weights are shipped. ", "")
    path.write_text(
        "\n".join([title, "", *section, *(f"- {check}" for check in checks)]) + "\n" + text, encoding="utf-8"
    )


def _pack(root: Path, target: Path) -> Path:
    """A folder as a zip of itself, with the checksums of all that is in it; the same bytes for the same files."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files[SUMS] = "".join(sums).encode()
    with ZipFile(target, "w") as archive:
        for name, content in sorted(files.items()):
            info = ZipInfo(f"{root.name}/{name}")  # of 1980, as long as nothing is said
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content, ZIP_STORED)  # weights do not shrink, and zlib's bytes vary
    return target


def _move(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Copy all beside, then replace: files of these names are whole ones."""
    with ExitStack() as stack:
        for path in files:
            shutil.copyfile(path, stack.enter_context(replacing(folder / path.name)))
    return tuple(folder / path.name for path in files)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and MONAI say of every export, right or wrong."""
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
