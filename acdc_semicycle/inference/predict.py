"""Segments new scans and pictures: files in, label maps on their own grids out, and a manifest of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.engines import SupervisedEvaluator
from torch import nn

from acdc_semicycle.artifacts.card import unfinished
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.data.parts import SEEN
from acdc_semicycle.evaluation import headline
from acdc_semicycle.evaluation.panels import PANELS
from acdc_semicycle.inference.frames import FrameSegmenter, check_flips
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.inference.label_maps import save_legend
from acdc_semicycle.inference.manifest import MANIFEST, Journal, Manifest
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.inference.scan_loop import ScanLoop
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours
from acdc_semicycle.runtime.leftovers import sweep
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
    """Segment every scan; those that cannot be segmented are named at the end, and make the exit code 1.

    Args:
        evaluator, network, image_generator, model: as :class:`acdc_semicycle.inference.frames.FrameSegmenter` takes
            them.
        settings: all that decides what the label maps are (plain values); with ``probabilities`` these are written
            beside them, as ``X_prob``.
    """
    check_flips(settings["flips"], model)
    frame_segmenter = FrameSegmenter(evaluator, network, image_generator, model)
    _claim(scans.folder)
    _log_network(model, len(scans.listed))
    manifest = _manifest(scans, model, {**settings, "frames": scans.frames, "format": scans.ending})
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # each error is a line of the manifest and at the end
    own_scans = _share(scans.listed)
    pending = [scan for scan in own_scans if not _is_done(manifest, scan)]
    if len(pending) < len(own_scans):
        log.info("%d of them are done: continuing with the others", len(own_scans) - len(pending))
    distributed.wait()  # the manifest is written from here on, and all have read it
    ScanLoop(frame_segmenter, scans, manifest, bool(settings["probabilities"])).all(pending)
    distributed.wait()
    if distributed.rank() == 0:
        _finish(manifest, scans)


def _claim(folder: Path) -> None:
    """Refuse a folder that cannot be written, that holds another program's file, or that another process writes.

    What killed processes left in it is removed.
    """
    check_folder(folder)
    check_ours(folder / MANIFEST, '"cases"', MADE_HERE)
    if distributed.rank() != 0:
        return
    if not claimed(folder / PANELS):
        raise InputError(f"{folder} is being written by another process: wait for it, or give another output_dir")
    sweep(folder)


def _log_network(model: Model, images: int) -> None:
    """Log what the network was trained on, and how good it was in validation."""
    dataset, score = model.card.get("dataset"), (model.card.get("validation") or {}).get("dice")
    facts = [dataset] if dataset else []
    if model.members:
        facts.append(f"mean of {len(model.members)} folds")
    if isinstance(score, float):
        facts.append(f"validation Dice {score:.3f}")
    facts += unfinished(model.card)
    log.info("%s, network %s%s", many(images, "image"), model.path, f" ({', '.join(facts)})" if facts else "")
    if dataset == "phantom":
        log.warning("this network was trained on the phantom: its label maps of real scans mean nothing")


def _share(scans: Sequence[Scan]) -> list[Scan]:
    """The scans that this process segments: a cine and scans that are named like its phases go to one process."""
    if distributed.world() == 1:
        return list(scans)
    groups: dict[str, list[Scan]] = {}
    for scan in scans:
        groups.setdefault(re.sub(r"_E[DS]$", "", scan.case), []).append(scan)
    share: list[Scan] = []
    for group in list(groups.values())[distributed.rank() :: distributed.world()]:
        share += group
    return share


def _manifest(scans: Scans, model: Model, settings: Mapping[str, Any]) -> Manifest:
    """The manifest in the first process, a journal in the others."""
    if distributed.rank() == 0:
        manifest = Manifest(scans.folder, model, settings, scans.asked_for)
        _warn_of_another_network(scans.folder, manifest)
        manifest.enter_journals(failures=False)
        distributed.wait()  # the others read it
        return manifest
    distributed.wait()
    return Journal(scans.folder, model, settings, distributed.rank())


def _warn_of_another_network(folder: Path, manifest: Manifest) -> None:
    """Say that the label maps in a folder are of other weights than those that are used now."""
    former, model = manifest.former_model, manifest.model
    if not former or former.get("sha256") == model.sha256:
        return
    path = former.get("path")
    name = "earlier weights of it" if path == str(model.path) else path
    log.warning(
        "%s so far holds label maps of %s: this network makes them again, and those of other scans stay", folder, name
    )


def _is_done(manifest: Manifest, scan: Scan) -> bool:
    """Whether a scan was segmented before; one that cannot be read was not, and will be reported."""
    try:
        return manifest.holds(scan)
    except OSError:
        return False


def _log_known_patients(manifest: Manifest) -> None:
    """Log how many cases are of patients whom the network knows: it is better on them than on others."""
    parts = [case.get("part") for case in manifest.content["cases"]]
    words = headline.seen_in_words(parts)
    if words:
        seen = sum(part in SEEN for part in parts)
        verb = "is" if len(parts) == 1 else "are"
        log.info("%d of %s %s of patients whom the network knows: %s", seen, many(len(parts), "case"), verb, words)


def _log_trust(manifest: Manifest) -> None:
    """Log the expected Dice of all cases, and which of them to look at first."""
    cases = [case for case in manifest.content["cases"] if case.get("trust")]
    if not cases:
        return
    worst = min(cases, key=lambda case: case["trust"]["dice"])
    mean = sum(case["trust"]["dice"] for case in cases) / len(cases)
    expected = worst["trust"]
    log.info(
        "expected Dice of %s: %.2f in the mean, least %.2f (%.2f to %.2f) of %s",
        many(len(cases), "case"), mean, expected["dice"], expected["low"], expected["high"], worst["case"],
    )  # fmt: skip


def _finish(manifest: Manifest, scans: Scans) -> None:
    """Write the whole manifest, and a legend of label maps of pictures.

    Raises:
        InputError: names the scans that failed.
    """
    manifest.enter_journals(failures=True)
    manifest.write()
    if scans.card["pictures"]:
        save_legend(scans.legend, scans.card)
    _log_known_patients(manifest)
    _log_trust(manifest)
    log.info("%s", manifest.path)
    failures = manifest.content["failures"]
    if failures:
        lines = "\n  ".join(failure["reason"] for failure in failures)
        raise InputError(f"{len(failures)} of {many(len(scans.listed), 'file')} left out:\n  {lines}")
