"""Segment new scans and pictures: files in, label maps on their own grids out, and a manifest of what was made."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.engines import SupervisedEvaluator
from torch import nn

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.inference.jobs import Collector
from acdc_semicycle.inference.label_maps import save_legend
from acdc_semicycle.inference.manifest import MANIFEST, Journal, Manifest
from acdc_semicycle.inference.previews import PANELS
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.inference.segmenter import Segmenter
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours
from acdc_semicycle.runtime.locks import claimed

log = logging.getLogger("semicycle")


def run(
    evaluator: SupervisedEvaluator,
    network: nn.Module,
    image_generator: nn.Module | None,
    model: Model,
    scans: Scans,
    settings: Mapping[str, Any],
) -> None:
    """Segment every scan; those that cannot be used are named at the end, and make the exit code 1.

    Args:
        evaluator: the bundle's, over a data set whose list of items is set scan by scan; its output has ``pred`` (class
            indices) and, if they are asked for, ``probabilities``, both on the scan's own canonical grid, and
            ``pred_network``.
        network: G_IS, and ``image_generator`` G_SI, for the weights of ``model``.
        settings: what makes the label maps what they are (plain values); with ``probabilities`` these are written
            beside them, as ``X_prob``.
    """
    load_network(network, model.weights(), model.path)
    generator_weights = model.image_generator()
    if image_generator is not None and generator_weights is not None:
        load_network(image_generator, generator_weights, model.path)
        image_generator.eval()
    check_folder(scans.folder)
    check_ours(scans.folder / MANIFEST, '"cases"', MADE_HERE)
    if distributed.rank() == 0 and not claimed(scans.folder / PANELS):
        raise InputError(f"{scans.folder} is being written by another process: wait for it, or give another output_dir")
    log.info("%s, network %s%s", many(len(scans.listed), "image"), model.path, _standing(model))
    if model.card.get("dataset") == "phantom":
        log.warning("this network was trained on the phantom: what it makes of a real scan means nothing")
    asked = {"frames": scans.frames, "format": scans.ending}
    manifest = _manifest(scans.folder, model, {**settings, **asked})
    collector = Collector(network, image_generator)
    collector.attach(evaluator)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # its errors are ours, a line each at the end
    evaluator.logger.setLevel(logging.CRITICAL)
    mine = _share(scans.listed)
    todo = [scan for scan in mine if not _done(manifest, scan)]
    if len(todo) < len(mine):
        log.info("%d of them are done: going on", len(mine) - len(todo))
    distributed.wait()  # the manifest is written from here on, and all have read it
    segment = Segmenter(evaluator, collector, scans, manifest, bool(settings["probabilities"]))
    segment.all(todo)
    distributed.wait()
    if distributed.rank():
        return
    manifest.take_up(failures=True)
    manifest.write()
    if scans.card["pictures"]:
        save_legend(scans.legend, scans.card)
    log.info("%s", manifest.path)
    if failures := manifest.content["failures"]:
        lines = "\n  ".join(failure["reason"] for failure in failures)
        raise InputError(f"{len(failures)} of {many(len(scans.listed), 'file')} left out:\n  {lines}")


def _standing(model: Model) -> str:
    """What its card says it was trained on, and how well that went."""
    score = (model.card.get("validation") or {}).get("dice")
    known = [model.card.get("dataset"), f"validation Dice {score:.3f}" if isinstance(score, float) else None]
    return f" ({', '.join(filter(None, known))})" if any(known) else ""


def _share(found: Sequence[Scan]) -> list[Scan]:
    """What this process segments: a cine and the scans that its phases could be taken for are one process's."""
    groups: dict[str, list[Scan]] = {}
    for scan in found:
        groups.setdefault(re.sub(r"_E[DS]$", "", scan.case), []).append(scan)
    mine = list(groups.values())[distributed.rank() :: distributed.world()]
    return [scan for group in mine for scan in group] if distributed.world() > 1 else list(found)


def _manifest(folder: Path, model: Model, settings: Mapping[str, Any]) -> Manifest:
    """The manifest, or what this process adds to it."""
    if distributed.rank() == 0:
        manifest = Manifest(folder, model, settings)
        manifest.take_up(failures=False)
        distributed.wait()  # the others read it
        return manifest
    distributed.wait()
    return Journal(folder, model, settings, distributed.rank())


def _done(manifest: Manifest, scan: Scan) -> bool:
    try:
        return manifest.holds(scan)
    except OSError:
        return False
