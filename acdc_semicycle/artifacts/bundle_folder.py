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
from acdc_semicycle.artifacts.model import G_SI, Model
from acdc_semicycle.config.locations import folder as place_of

ROOT = {"bundle_root": "$models.bundle_root()", "checkpoint": "$@bundle_root + '/models/model.pt'"}


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


def lay_out(root: Path, model: Model) -> None:
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


def describe(root: Path, model: Model, checks: Sequence[Check]) -> None:
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


def pack(root: Path, target: Path) -> Path:
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
