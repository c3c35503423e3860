"""A copy of the bundle that holds one network, and the same as a zip."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from acdc_semicycle import __version__
from acdc_semicycle.artifacts.card import CLASSES
from acdc_semicycle.artifacts.conversion import Check
from acdc_semicycle.artifacts.exported_zip import SUMS
from acdc_semicycle.artifacts.model import IMAGE_GENERATOR, TRUST, Model
from acdc_semicycle.config.locations import folder as place_of
from acdc_semicycle.data import training_ranges

ROOT = {"bundle_root": "$models.bundle_root()", "checkpoint": "$@bundle_root + '/models/model.pt'"}


def name_of(card: Mapping[str, Any]) -> str:
    """The bundle's name: data set and task, as in MONAI's model zoo."""
    return re.sub(r"\W+", "_", f"{card.get('dataset', 'unnamed')}_semicycle_segmentation")


def metadata(model: Model) -> dict[str, Any]:
    """The bundle's metadata.json with this network's sizes, classes and data set."""
    card = model.card
    classes, dataset = list(card["classes"]), str(card.get("dataset", "unnamed"))
    path = place_of("bundles/semicycle") / "configs" / "metadata.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    content["version"] = content["required_packages_version"]["acdc_semicycle"] = __version__
    content["label_classes"] = "one channel, " + ", ".join(f"{n} {name}" for n, name in enumerate(classes))
    content["pred_classes"] = f"{len(classes)} channels, logits of {', '.join(classes)}"
    content["eval_metrics"] = {f"validation_{name}": value for name, value in card.get("validation", {}).items()}
    if dataset != "acdc":
        content |= {"name": f"{dataset} semicycle segmentation", "data_source": dataset}
    content["image_classes"] = _image_classes(card, content["image_classes"])
    if classes != CLASSES:
        content["task"] = f"Semi-supervised segmentation of {', '.join(classes)}"
    content["description"] = _description(card, dataset)
    if card["pictures"]:
        content["data_type"] = "png"
    _describe_tensors(content["network_data_format"], card)
    return content


def _description(card: Mapping[str, Any], dataset: str) -> str:
    """The network's class and what it was trained on; only the paper's objective leaves an image generator."""
    network = card["network"]["class"].rpartition(".")[2]
    objective = " by the objective of Mondal et al. (2019)" if card["image_generator"] else ""
    return f"A {network}, trained{objective} on {dataset} to segment {', '.join(card['classes'][1:])} in single slices."


def _image_classes(card: Mapping[str, Any], of_acdc: str) -> str:
    """The channels and intensities that the network takes, and its windows if it does not take whole slices."""
    text = of_acdc
    if card["intensity_range"] is not None:
        text = f"{card['in_channels']} channels, {card['intensity_range']} scaled to [-1, 1]"
    elif card["classes"] != CLASSES:
        text = f"{card['in_channels']} channels, each image's own range of intensities scaled to [-1, 1]"
    if card["window"] is None:
        return text
    height, width = card["window"]
    rows, columns = card["image_size"]
    return (
        f"{text}; the network takes windows of {height} x {width}, each scaled to mean 0 and deviation 1;"
        f" inference.json segments whole slices of {rows} x {columns} by two looks:"
        " at the slice resized to a window, then at windows around the structures"
    )


def _describe_tensors(network_data_format: dict[str, Any], card: Mapping[str, Any]) -> None:
    """Set what the metadata tell of the network's input and output: channels and sizes, of a window or of a slice."""
    image, pred = network_data_format["inputs"]["image"], network_data_format["outputs"]["pred"]
    if card["pictures"]:
        image["modality"] = "n/a"
    if card["window"]:
        image |= {"value_range": [], "is_patch_data": True}
        pred["is_patch_data"] = True
    channels = ["image"] if card["in_channels"] == 1 else ["red", "green", "blue"]
    for tensor, count, names in ((image, card["in_channels"], channels), (pred, len(card["classes"]), card["classes"])):
        tensor["num_channels"] = count
        tensor["spatial_shape"] = list(card["window"] or card["image_size"])
        tensor["channel_def"] = {str(n): name for n, name in enumerate(names)}


def lay_out(root: Path, model: Model) -> None:
    """Copy the bundle to ``root`` with this network in it: configurations, documents, licence, weights."""
    source, configs, models = place_of("bundles/semicycle"), root / "configs", root / "models"
    for part in ("configs", "docs"):
        shutil.copytree(source / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copyfile(source / "LICENSE", root / "LICENSE")
    config = json.loads((configs / "inference.json").read_text(encoding="utf-8")) | ROOT
    config["imports"] = sorted({*config["imports"], "$import acdc_semicycle.artifacts.model as models"})
    _write_json(configs / "inference.json", config)
    _write_json(configs / "metadata.json", metadata(model))
    models.mkdir()
    beside = {IMAGE_GENERATOR: model.image_generator_file()[1]}
    for name in (TRUST, "quality.json", training_ranges.FILE):
        beside[name] = model.read(name)
    for name, content in {"model.pt": model.content, **beside}.items():
        if content is not None:
            (models / name).write_bytes(content)
    _write_json(models / "model.json", model.card)


def _write_json(path: Path, content: Any) -> None:
    """Write a JSON file as the bundle's are written."""
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def describe(root: Path, model: Model, checks: Sequence[Check]) -> None:
    """Put this network before the method in docs/README.md."""
    path = root / "docs" / "README.md"
    title, text = path.read_text(encoding="utf-8").split("\n", 1)
    lines = [title, "", "## This model", ""]
    lines += ["The sizes and data further below are those of the paper's settings; these are this model's own.", ""]
    lines += ["| | |", "|---|---|"]
    for key, value in {"sha256 of models/model.pt": model.sha256, **model.card}.items():
        if key != "colours":
            lines.append(f"| {key} | {json.dumps(value)} |")
    lines += ["", f"The network's input: {metadata(model)['image_classes']}."]
    lines += ["", "Exports beside the weights, compared on slices:", ""]
    lines += [f"- {check}" for check in checks]
    method = text.replace("The shipped weights have a card of their own, `models/README.md`. ", "")
    path.write_text("\n".join(lines) + "\n" + method, encoding="utf-8")


def pack(root: Path, target: Path) -> Path:
    """A folder as a zip of itself, with the checksums of all its files; the same bytes for the same files."""
    files = {}
    for path in root.rglob("*"):
        if path.is_file():
            files[path.relative_to(root).as_posix()] = path.read_bytes()
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files[SUMS] = "".join(sums).encode()
    with ZipFile(target, "w") as archive:
        for name, content in sorted(files.items()):
            info = ZipInfo(f"{root.name}/{name}")  # dated 1980 unless a date is set
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content, ZIP_STORED)  # weights do not shrink, and zlib's bytes vary
    return target
