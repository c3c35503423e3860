"""Segment new scans and pictures: files in, label maps on their own grids out, and a manifest of what was made."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.transforms import Compose
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import nn
from tqdm import tqdm

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.evaluation import clinical, quality
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import intensities, read_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.inputs import Scan, Scans, check_target, words
from acdc_semicycle.inference.manifest import MANIFEST, Journal, Manifest, entry, stamp
from acdc_semicycle.inference.previews import PANELS, Frame, save_panel
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, causes, many
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, replacing, writing
from acdc_semicycle.runtime.locks import claimed

log = logging.getLogger("semicycle")

FAULTS = (InputError, OSError, MemoryError, RuntimeError)  # that cost one scan and not the others


@dataclass
class Job:
    """A scan on its way: as read, what the network is to see of it, what came out, and the seconds of each stage.

    Attributes:
        stamp: of the file before it was read.
        numbers: the frames that are asked for.
        items: those frames, prepared.
    """

    scan: Scan
    stamp: list[Any] = field(default_factory=list)
    volume: Volume = field(init=False)
    numbers: Sequence[int] = ()
    items: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[int, Frame] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def tick(self, stage: str | None) -> None:
        """What passed since the last tick was this stage."""
        now = time.monotonic()
        if stage is not None:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.since
        self.since = now


@dataclass
class Collector:
    """Collects the frames that the evaluator makes of a scan, and the seconds of each stage."""

    network: nn.Module
    image_generator: nn.Module | None
    job: Job = field(init=False)

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

    def _tick(self, engine: Engine, stage: str | None) -> None:
        self.job.tick(stage)

    def _collect(self, engine: Engine) -> None:
        item = engine.state.output[0]  # type: ignore[index]
        name = item["image"].meta["filename_or_obj"]
        if not torch.isfinite(item["pred_network"]).all():
            raise InputError(f"{name}: the network gave NaN or infinite values: give another checkpoint")
        votes = getattr(engine.inferer, "votes", None)  # type: ignore[attr-defined]
        judged = quality.judge(item["image"], item["pred_network"], self.network, self.image_generator, votes)
        labels, probabilities = item["pred"].as_tensor()[0].cpu().numpy(), item.get("probabilities")
        frame = Frame(labels, None if probabilities is None else probabilities.cpu().numpy(), judged)
        self.job.frames[self.job.numbers[len(self.job.frames)]] = frame
        self.job.tick("judge")


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
    log.info("%s, network %s%s", many(len(scans.found), "image"), model.path, _standing(model))
    if model.card.get("dataset") == "phantom":
        log.warning("this network was trained on the phantom: what it makes of a real scan means nothing")
    asked = {"frames": scans.frames, "format": scans.ending}
    manifest = _manifest(scans.folder, model, {**settings, **asked})
    collector = Collector(network, image_generator)
    collector.attach(evaluator)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # its errors are ours, a line each at the end
    evaluator.logger.setLevel(logging.CRITICAL)
    mine = _share(scans.found)
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
        raise InputError(f"{len(failures)} of {many(len(scans.found), 'file')} left out:\n  {lines}")


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


def reason(scan: Scan, error: BaseException) -> str:
    """One line that names the scan: the cause a user can mend, if there is one below."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
    if isinstance(error, OSError) and error.strerror:
        return f"{scan.path} cannot be read or written ({error.strerror}): see that it is there, and whole"
    if isinstance(error, MemoryError) or "memory" in str(error):
        return f"{scan.path} does not fit in memory: crop it, or use a larger machine"
    lines = str(error).strip().splitlines()
    return f"{scan.path} could not be segmented ({type(error).__name__}: {lines[-1] if lines else 'no reason given'})"


class Segmenter:
    """One scan after the other through the bundle's evaluator, the next being read and the last written meanwhile.

    Args:
        evaluator: over a data set whose list of items is set here, scan by scan.
        collector: attached to it.
        probabilities: whether they are written, too.
    """

    def __init__(
        self,
        evaluator: SupervisedEvaluator,
        collector: Collector,
        scans: Scans,
        manifest: Manifest,
        probabilities: bool,
    ) -> None:
        self.evaluator, self.collector, self.scans = evaluator, collector, scans
        loader: Any = evaluator.data_loader
        self.dataset, self.prepare = loader.dataset, loader.dataset.transform
        self.manifest, self.model = manifest, manifest.model
        self.card, self.probabilities = self.model.card, probabilities

    def all(self, scans: Sequence[Scan]) -> None:
        """Segment them; what became of each is in the manifest, which the thread that writes keeps, in their order.

        At most three scans are in memory: one that is read, one that is segmented, one that is written.
        """
        # on one thread each: several would wait for work on the cores that the network needs
        torch.get_num_threads()  # settles this thread's number, which theirs would be otherwise
        one_by_one = partial(ThreadPoolExecutor, 1, initializer=torch.set_num_threads, initargs=(1,))
        with one_by_one() as reader, one_by_one() as writer:
            ahead, behind = [reader.submit(self._read, scan) for scan in scans[:1]], Future[None]()
            behind.set_result(None)
            for n, scan in enumerate(tqdm(scans, "predicting", disable=bool(distributed.rank()) or None, unit="scan")):
                read = ahead.pop()
                ahead = [reader.submit(self._read, after) for after in scans[n + 1 : n + 2]]
                made: Job | str
                try:
                    made = self._segment(read.result())
                except FAULTS as error:  # not kept: with it all that was in memory would stay
                    made = reason(scan, error)
                behind.result()
                behind = writer.submit(self._finish, scan, made)
            behind.result()

    def _read(self, scan: Scan) -> Job:
        job = Job(scan)
        if scan.fault:
            raise InputError(scan.fault)
        if isinstance(scan.source, Path) and not scan.path.is_file():
            raise InputError(
                f"{scan.path} is {'no file' if scan.path.exists() else 'not there'}: give a file or a folder"
            )
        check_target(scan.target)
        self.manifest.check(scan, claim=False)
        job.stamp, job.volume = stamp(scan), self._volume(scan)
        count, phases = job.volume.voxels.shape[3], scan.phases
        two = self.scans.frames == "ed_es" and count > 1 and phases
        job.numbers = sorted(phases.values()) if two else range(count)
        job.tick("read")
        picture = self.card["pictures"]
        items = [{"image": str(scan.path)} if picture else {"image": job.volume, "frame": n} for n in job.numbers]
        job.items = [self.prepare(item) for item in items]
        job.tick("prepare")
        return job

    def _segment(self, job: Job) -> Job:
        """The frames that are asked for, segmented, and which of them are ED and ES, if that can be said."""
        job.tick(None)
        self.collector.job = job
        self._run(job.items)
        job.items, frames, phases = [], job.frames, dict(job.scan.phases)
        if job.volume.voxels.shape[3] > 1 and not phases and "LV" in self.card["classes"]:
            label = self.card["classes"].index("LV")
            ed, es = clinical.extremes([float((frames[n].labels == label).sum()) for n in job.numbers])
            phases = {"ED": ed, "ES": es} if ed != es else {}
        job.phases = phases
        return job

    def _finish(self, scan: Scan, made: Job | str) -> None:
        try:
            if isinstance(made, Job):
                self.manifest.add(self._written(made))
            else:
                self.manifest.fail(scan, made)
        except FAULTS as error:
            self.manifest.fail(scan, reason(scan, error))

    def _written(self, job: Job) -> list[dict[str, Any]]:
        """Write every frame that is asked for; the entries of the manifest, one a label map."""
        job.tick(None)
        scan, volume, frames, phases = job.scan, job.volume, job.frames, job.phases
        cine = volume.voxels.shape[3] > 1
        parts = [(scan, frames, phases if cine else {})]
        if cine and phases and self.scans.frames == "ed_es":
            parts = [(scan.of(phase), {n: frames[n]}, {}) for phase, n in phases.items()]
        entries = []
        for part, its_frames, its_phases in parts:
            self.manifest.check(part)
            files = _write(part, its_frames, volume, self.card, self.probabilities)
            made = entry(part, its_frames, its_phases, volume, self.model) | {"stamp": job.stamp}
            made["files"] = [os.path.relpath(file, self.scans.folder) for file in files]
            made |= {"mask": made["files"][0], "parts": len(parts)}
            made["panel"] = save_panel(self.scans.folder, part, its_frames, its_phases, volume)
            entries.append(made)
        job.tick("write")
        seconds = {stage: round(seconds, 4) for stage, seconds in job.seconds.items()}
        log.info("%s -> %s", scan.path, ", ".join(str(part.target) for part, _, _ in parts))
        return [made | {"seconds": seconds} for made in entries]

    def _volume(self, scan: Scan) -> Volume:
        if isinstance(scan.source, Path) and not scan.path.name.lower().endswith(self.scans.suffixes):
            kinds = words(self.scans.suffixes)
            raise InputError(f"{scan.path} is none of what this network was trained on: give {kinds}")
        if self.card["pictures"]:
            grey = np.asarray(intensities(scan.path, read_picture(scan.path), 1))  # [rows, columns, 1]
            return Volume(grey[..., None], np.eye(4), path=str(scan.path))
        volume = volumes.read(scan.source, frames=True)
        count = volume.voxels.shape[3]
        if count > 1 and scan.phases and max(scan.phases.values()) >= count:
            named = ", ".join(f"{phase} {n + 1}" for phase, n in scan.phases.items())
            raise InputError(f"{scan.path} has {count} frames, and its Info.cfg names {named}: restore both")
        low, high = volume.voxels.min(), volume.voxels.max()
        if low == high and volume.voxels.size > 1:
            raise InputError(f"{scan.path} is constant ({low:g} in every voxel): nothing is to be seen, give a scan")
        labels = np.arange(len(self.card["classes"]))
        few = volume.voxels.ravel()[:: max(1, volume.voxels.size // 10000)]  # the whole takes longer
        if np.isin(few, labels).all() and np.isin(held := np.unique(volume.voxels), labels).all():
            raise InputError(
                f"{scan.path} holds nothing but the labels {held[0]:g} to {held[-1]:g}: give a scan, no mask"
            )
        return volume

    def _run(self, items: list[dict[str, Any]]) -> None:
        self.dataset.data, self.dataset.transform = items, Compose()  # they are prepared
        self.evaluator.state.epoch_length = len(items)
        try:
            self.evaluator.run()
        except BaseException:  # else ignite's next run goes on with this one's remains, and does nothing, silently
            self.evaluator._dataloader_iter, self.evaluator._internal_run_generator = None, None
            raise
        finally:
            self.dataset.transform = self.prepare


def _write(
    scan: Scan, frames: Mapping[int, Frame], volume: Volume, card: Mapping[str, Any], probabilities: bool
) -> list[Path]:
    """The label map, and the probabilities if they are asked for, in the scan's own order of storage; the files."""
    ordered, end, files = [frames[n] for n in sorted(frames)], volumes.ending(scan.target), [scan.target]
    if probabilities and not card["pictures"]:
        numbers = [f"_frame{place:02d}" for place in range(1, len(ordered) + 1)] if len(ordered) > 1 else [""]
        files += [scan.target.with_name(scan.target.name[: -len(f"_seg{end}")] + f"{n}_prob{end}") for n in numbers]
    for file in files:
        check_target(file)
    if card["pictures"]:
        save_picture_map(ordered[0].labels[..., 0], scan.target, card)
        return files
    stored = np.stack([volume.layout.undo(frame.labels) for frame in ordered], -1)
    with writing(scan.target):
        volumes.save(scan.target, stored if len(ordered) > 1 else stored[..., 0], volume)
    for file, frame in zip(files[1:], ordered, strict=False):
        assert frame.probabilities is not None, "they are asked for"
        classes_last = np.moveaxis(frame.probabilities, 0, -1).astype(np.float32)
        with writing(file):
            volumes.save(file, volume.layout.undo(classes_last), volume)
    return files


def save_picture_map(labels: NDArray, target: Path, card: Mapping[str, Any]) -> None:
    """Write class indices [H, W] as a PNG whose palette has the classes' colours; it appears whole or not at all."""
    from acdc_semicycle.evaluation.figures import colours_of  # matplotlib: only where something is drawn

    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette((colours_of(len(card["classes"]), card["colours"]) * 255).round().astype(np.uint8).tobytes())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", volumes.MARK)
    with replacing(target) as beside:
        picture.save(beside, "png", pnginfo=mark)


def save_legend(target: Path, card: Mapping[str, Any]) -> None:
    """A picture of the numbers, names and colours of the classes."""
    from acdc_semicycle.evaluation.figures import legend_figure

    figure = legend_figure(card["classes"], card["colours"])
    with replacing(target) as beside:
        figure.savefig(beside, dpi=110, metadata={"Software": volumes.MARK})
