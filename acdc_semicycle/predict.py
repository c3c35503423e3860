"""Segment new scans and pictures: files in, label maps on their own grids out, and a ledger of what was made."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import nn
from tqdm import tqdm

from acdc_semicycle import clinical, quality
from acdc_semicycle.bundle import causes
from acdc_semicycle.checkpoints import load_network
from acdc_semicycle.data import volumes
from acdc_semicycle.data.transforms import is_picture
from acdc_semicycle.data.volumes import Volume
from acdc_semicycle.errors import InputError
from acdc_semicycle.evaluate import plain, provenance
from acdc_semicycle.files import write_text
from acdc_semicycle.models import Model
from acdc_semicycle.scans import Scan, Scans, check_target, words

log = logging.getLogger("semicycle")

LEDGER = "predictions.json"
PANELS = ".panels"
LARGEST = 512  # pixels of a panel's longer side
SHOWN = 3  # slices in a panel
PHASES = {"ED": "ed", "ES": "es"}
FAULTS = (InputError, OSError, MemoryError, RuntimeError)  # that cost one scan and not the others


@dataclass
class Frame:
    """One frame as segmented."""

    labels: NDArray  # class indices, canonical [H, W, slices]
    probabilities: NDArray  # [K, H, W, slices]
    judged: quality.Judged


@dataclass
class Watch:
    """Collects the frames that the evaluator makes, and the seconds of each stage."""

    network: nn.Module
    painter: nn.Module | None
    frames: list[Frame] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = 0.0

    def attach(self, evaluator: SupervisedEvaluator) -> None:
        stages = {
            Events.GET_BATCH_STARTED: None,
            Events.GET_BATCH_COMPLETED: "prepare",
            IterationEvents.FORWARD_COMPLETED: "network",
            Events.ITERATION_COMPLETED: "back",
        }
        for event, stage in stages.items():
            evaluator.add_event_handler(event, self._tick, stage)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    def start(self) -> None:
        self.frames, self.seconds, self.since = [], {}, time.monotonic()

    def tick(self, stage: str | None) -> None:
        """What passed since the last tick was this stage."""
        now = time.monotonic()
        if stage is not None:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.since
        self.since = now

    def _tick(self, engine: Engine, stage: str | None) -> None:
        self.tick(stage)

    def _collect(self, engine: Engine) -> None:
        item = engine.state.output[0]  # type: ignore[index]
        name = item["image"].meta["filename_or_obj"]
        if not torch.isfinite(item["probabilities"]).all():
            raise InputError(f"{name}: the network gave NaN or infinite values: give another checkpoint")
        votes = getattr(engine.inferer, "votes", None)  # type: ignore[attr-defined]
        judged = quality.judge(item["image"], item["pred_network"], self.network, self.painter, votes)
        labels, probabilities = (item[key].as_tensor().cpu().numpy() for key in ("pred", "probabilities"))
        self.frames.append(Frame(labels[0].astype(np.uint8), probabilities, judged))
        self.tick("judge")


class Ledger:
    """predictions.json: what was made of which scan, by which network, and what failed.

    A scan that stands in it, unchanged, segmented by the same network with the same settings, is not done again.
    """

    def __init__(self, folder: Path, model: Model, settings: Mapping[str, Any]) -> None:
        self.path, self.model = folder / LEDGER, model
        self.content: dict[str, Any] = {
            "model": {"path": str(model.path), "sha256": model.sha256} | model.card,
            "classes": list(model.card["classes"]),
            "colours": model.card["colours"],
            "settings": dict(settings),
            "quality": model.quality,
            "cases": [],
            "patients": [],
            "failures": [],
        } | provenance()
        before = self._before()
        if before:
            self.content["cases"] = [case for case in before["cases"] if (folder / case["mask"]).is_file()]
            for case in self.content["cases"]:  # it may have been fitted since
                case["quality"] = quality.expected_dice(model.quality, case["scores"])

    def _before(self) -> dict[str, Any] | None:
        try:
            before = json.loads(self.path.read_text())
            same = before["model"]["sha256"] == self.model.sha256 and before["settings"] == self.content["settings"]
            return before if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def holds(self, scan: Scan) -> bool:
        """Whether this very scan has been segmented so."""
        return any(case["stamp"] == stamp(scan) for case in self.content["cases"])

    def add(self, cases: Sequence[dict[str, Any]]) -> None:
        new = {case["case"] for case in cases}
        self.content["cases"] = [case for case in self.content["cases"] if case["case"] not in new] + list(cases)
        self.write()

    def fail(self, scan: Scan, reason: str) -> None:
        self.content["failures"].append({"scan": str(scan.path), "reason": reason})
        self.write()

    def write(self) -> None:
        self.content["cases"].sort(key=lambda case: case["case"])
        self.content["patients"] = _patients(self.content["cases"])
        write_text(self.path, json.dumps(plain(self.content), indent=1) + "\n")


def stamp(scan: Scan) -> list[Any]:
    """What tells a scan from another, and from itself after a change."""
    files = [scan.path] if isinstance(scan.source, Path) else [file for frame in scan.source.files for file in frame]
    known = [(path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, files)]
    return [str(scan.path.absolute()), sum(size for size, _ in known), max(changed for _, changed in known)]


def run(
    evaluator: SupervisedEvaluator,
    network: nn.Module,
    painter: nn.Module | None,
    model: Model,
    scans: Scans,
    settings: Mapping[str, Any],
) -> None:
    """Segment every scan; those that cannot be used are named at the end, and make the exit code 1.

    Args:
        evaluator: the bundle's, over a data set whose list of items is set scan by scan; its output has ``pred`` (class
            indices), ``probabilities`` (both on the scan's own canonical grid) and ``pred_network``.
        network: G_IS, and ``painter`` G_SI, for the weights of ``model``.
        settings: what makes the label maps what they are (plain values); with ``probabilities`` these are written
            beside them, as ``X_prob``.
    """
    load_network(network, model.weights(), model.path)
    if painter is not None:
        load_network(painter, model.painter(), model.path)
        painter.eval()
    log.info("%d images, network %s", len(scans.found), model.path)
    if model.card.get("dataset") == "phantom":
        log.warning("this network was trained on the phantom: what it makes of a real scan means nothing")
    ledger = Ledger(scans.folder, model, {**settings, "frames": scans.frames})
    watch = Watch(network, painter)
    watch.attach(evaluator)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # its errors are ours, a line each at the end
    evaluator.logger.setLevel(logging.CRITICAL)
    todo = [scan for scan in scans.found if not _done(ledger, scan)]
    if len(todo) < len(scans.found):
        log.info("%d of them are done: going on", len(scans.found) - len(todo))
    for scan in tqdm(todo, "predicting", disable=None, unit="scan"):
        try:
            ledger.add(_segment(evaluator, watch, scan, scans, model, bool(settings["probabilities"])))
        except FAULTS as error:
            ledger.fail(scan, reason(scan, error))
    ledger.write()
    if scans.card["pictures"]:
        save_legend(scans.legend, scans.card)
    log.info("%s", ledger.path)
    if failures := ledger.content["failures"]:
        lines = "\n  ".join(failure["reason"] for failure in failures)
        raise InputError(f"{len(failures)} of {len(scans.found)} files left out:\n  {lines}")


def _done(ledger: Ledger, scan: Scan) -> bool:
    try:
        return ledger.holds(scan)
    except OSError:
        return False


def reason(scan: Scan, error: BaseException) -> str:
    """One line that names the scan: the cause a user can mend, if there is one below."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
    if isinstance(error, MemoryError) or "memory" in str(error):
        return f"{scan.path} does not fit in memory: crop it, or use a larger machine"
    lines = str(error).strip().splitlines()
    return f"{scan.path} could not be segmented ({type(error).__name__}: {lines[-1] if lines else 'no reason given'})"


def _segment(
    evaluator: SupervisedEvaluator, watch: Watch, scan: Scan, scans: Scans, model: Model, probabilities: bool
) -> list[dict[str, Any]]:
    """Segment one scan, every frame of it that is asked for, and write it; the entries of the ledger."""
    watch.start()
    card = model.card
    check_target(scan.target)
    if isinstance(scan.source, Path) and not scan.path.name.lower().endswith(scans.suffixes):
        raise InputError(f"{scan.path} is none of what this network was trained on: give {words(scans.suffixes)}")
    before = stamp(scan)
    volume = _picture(scan.path) if card["pictures"] else volumes.read(scan.source, frames=True)
    count, phases = volume.voxels.shape[3], dict(scan.phases)
    cine = count > 1
    if phases and max(phases.values()) >= count:
        raise InputError(f"{scan.path} has {count} frames, and its Info.cfg names {phases}: restore both")
    only = scans.frames == "ed_es" and cine
    numbers = sorted(phases.values()) if only and phases else list(range(count))
    watch.tick("read")
    items = [{"image": str(scan.path)}] if card["pictures"] else [{"image": volume, "frame": n} for n in numbers]
    _run(evaluator, items)
    frames = dict(zip(numbers, watch.frames, strict=True))
    if cine and not phases and (found := _extremes(frames, volume, card["classes"])):
        phases = found
    parts = (
        [(scan.of(phase), {n: frames[n]}, {}) for phase, n in phases.items()]
        if only and phases
        else [(scan, frames, phases if cine else {})]
    )
    entries = []
    for part, its_frames, its_phases in parts:
        _write(part, its_frames, volume, card, probabilities)
        entry = _entry(part, its_frames, its_phases, volume, model) | {"stamp": before}
        entry["mask"] = os.path.relpath(part.target, scans.folder)
        entry["panel"] = _save_panel(scans.folder, part, its_frames, its_phases, volume)
        entries.append(entry)
    watch.tick("write")
    for entry in entries:
        entry["seconds"] = {stage: round(seconds, 4) for stage, seconds in watch.seconds.items()}
    log.info("%s -> %s", scan.path, ", ".join(str(part.target) for part, _, _ in parts))
    return entries


def _run(evaluator: SupervisedEvaluator, items: list[dict[str, Any]]) -> None:
    loader: Any = evaluator.data_loader
    loader.dataset.data = items
    evaluator.state.epoch_length = len(items)
    try:
        evaluator.run()
    except BaseException:  # else ignite's next run goes on with this one's remains, and does nothing without a word
        evaluator._dataloader_iter, evaluator._internal_run_generator = None, None
        raise


def _extremes(frames: Mapping[int, Frame], volume: Volume, classes: Sequence[str]) -> dict[str, int]:
    """Which frame is ED and which ES, by the largest and the smallest LV of the segmentation itself."""
    if "LV" not in classes:
        return {}
    filled = [float((frames[n].labels == classes.index("LV")).sum()) for n in sorted(frames)]
    ed, es = clinical.extremes(filled)
    return {"ED": ed, "ES": es} if ed != es else {}


def _write(
    scan: Scan, frames: Mapping[int, Frame], volume: Volume, card: Mapping[str, Any], probabilities: bool
) -> None:
    """The label map, and the probabilities if they are asked for, in the scan's own order of storage."""
    check_target(scan.target)
    ordered = [frames[n] for n in sorted(frames)]
    if card["pictures"]:
        save_picture_map(ordered[0].labels[..., 0], scan.target, card)
        return
    stored = np.stack([volume.layout.undo(frame.labels) for frame in ordered], -1)
    volumes.save(scan.target, stored if len(ordered) > 1 else stored[..., 0], volume)
    if probabilities:
        end = volumes.ending(scan.target)
        for place, frame in enumerate(ordered):
            number = f"_frame{place + 1:02d}" if len(ordered) > 1 else ""
            target = scan.target.with_name(scan.target.name[: -len(f"_seg{end}")] + f"{number}_prob{end}")
            check_target(target)
            classes_last = np.moveaxis(frame.probabilities, 0, -1).astype(np.float32)
            volumes.save(target, volume.layout.undo(classes_last), volume)


def _entry(
    scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume, model: Model
) -> dict[str, Any]:
    """What the ledger says of one label map."""
    card, ordered = model.card, [frames[n] for n in sorted(frames)]
    scores = [frame.judged.scores for frame in ordered]
    expected = [quality.expected_dice(model.quality, each) for each in scores]
    known = [value for value in expected if value is not None]
    worst = ordered[int(np.argmin(known)) if len(known) == len(ordered) else 0].judged
    withheld = "a picture has no volume" if card["pictures"] else volume.spacing_fault
    sizes = [clinical.volumes_ml(frame.labels, volume.voxel_ml, card["classes"]) for frame in ordered]
    return {
        "case": scan.case,
        "scan": str(scan.path),
        "patient": scan.patient,
        "phase": scan.phase,
        "frames": len(ordered),
        "phases": dict(phases) or None,
        "shape": list(volume.voxels.shape[:3]),
        "spacing_mm": None if withheld else [round(mm, 6) for mm in volume.spacing_mm],
        "withheld": withheld,
        "volumes_ml": None if withheld else {name: [size[name] for size in sizes] for name in sizes[0]},
        "quality": min(known) if known else None,
        "scores": worst.scores,
        "slices": worst.slices,
    }


def _patients(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Clinical indices of every patient of whom both phases are there."""
    phases: dict[str, dict[str, tuple[Mapping[str, Any], int]]] = {}
    for case in cases:
        if case["phase"]:
            phases.setdefault(case["patient"], {})[case["phase"]] = case, 0
        for phase, n in (case["phases"] or {}).items():
            phases.setdefault(case["patient"], {}).setdefault(phase, (case, n))
    result = []
    for patient, found in sorted(phases.items()):
        if {"ED", "ES"} <= found.keys():
            withheld = next((case["withheld"] for case, _ in found.values() if case["withheld"]), None)
            sizes = {
                phase: {name: of[n] for name, of in case["volumes_ml"].items()} if not withheld else {}
                for phase, (case, n) in found.items()
            }
            row = {"patient": patient, "ed": found["ED"][0]["case"], "es": found["ES"][0]["case"], "withheld": withheld}
            result.append(row | clinical.indices(sizes["ED"], sizes["ES"]))
    return result


def _save_panel(
    folder: Path, scan: Scan, frames: Mapping[int, Frame], phases: Mapping[str, int], volume: Volume
) -> str | None:
    """Up to three slices of one frame to look at: image, segmentation, image painted back, and where they differ."""
    number = phases.get("ES", min(frames))
    frame = frames[number]
    held = np.flatnonzero((frame.labels > 0).any((0, 1)))
    middle = frame.labels.shape[2] // 2
    places = np.unique(np.quantile(held, (0.15, 0.5, 0.85)).round().astype(int)) if held.size else np.array([middle])
    image = volume.layout.apply(volume.voxels[..., number])
    low, high = np.percentile(image, (0.5, 99.5))
    step = -(-max(image.shape[:2]) // LARGEST)

    def show(canonical: NDArray) -> NDArray:
        if is_picture(scan.path):
            return canonical[::step, ::step]
        return volume.shown(canonical[::step, ::step])

    arrays: dict[str, Any] = {"places": places, "frame": number, "turned": volume.spacing_fault is None}
    for n, z in enumerate(places):
        grey = np.clip((image[:, :, z].astype(float) - low) / max(high - low, 1e-6), 0, 1) * 255
        arrays[f"image_{n}"] = show(grey.astype(np.uint8))
        arrays[f"prediction_{n}"] = show(frame.labels[..., z])
        if frame.judged.painted is not None and frame.judged.difference is not None:
            size = image.shape[:2]
            painted = _resized(frame.judged.painted[..., z].mean(0), size)
            arrays[f"painted_{n}"] = show(((np.clip(painted, -1, 1) + 1) * 127.5).astype(np.uint8))
            difference = _resized(frame.judged.difference[..., z], size)
            arrays[f"difference_{n}"] = show((np.clip(difference, 0, 1) * 255).astype(np.uint8))
    path = folder / PANELS / f"{scan.case.replace('/', '__')}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".part-{os.getpid()}.npz")
    np.savez_compressed(beside, **arrays)
    beside.replace(path)
    return str(path.relative_to(folder))


def _resized(picture: NDArray, size: Sequence[int]) -> NDArray:
    tensor = torch.as_tensor(picture)[None, None]
    return nn.functional.interpolate(tensor, tuple(size), mode="bilinear", align_corners=False)[0, 0].numpy()


def _picture(path: Path) -> Volume:
    """A picture as a volume of one slice, for what is common to both."""
    from acdc_semicycle.data.transforms import intensities, read_picture

    grey = np.asarray(intensities(path, read_picture(path), 1))  # [rows, columns, 1]
    return Volume(grey[..., None], np.eye(4))


def save_picture_map(labels: NDArray, target: Path, card: Mapping[str, Any]) -> None:
    """Write class indices [H, W] as a PNG whose palette has the classes' colours; it appears whole or not at all."""
    from acdc_semicycle.figures import colours_of  # matplotlib: only where something is drawn

    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette((colours_of(len(card["classes"]), card["colours"]) * 255).round().astype(np.uint8).tobytes())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", volumes.MARK)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".part-{os.getpid()}-{target.name}")
    picture.save(beside, "png", pnginfo=mark)
    beside.replace(target)


def save_legend(target: Path, card: Mapping[str, Any]) -> None:
    """A picture of the numbers, names and colours of the classes."""
    from acdc_semicycle.figures import legend_figure

    figure = legend_figure(card["classes"], card["colours"])
    figure.savefig(target, dpi=110, metadata={"Software": volumes.MARK})
