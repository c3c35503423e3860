"""Segments one scan after the other, the next one being read and the last one written meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from tqdm import tqdm

from acdc_semicycle.evaluation import clinical
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import intensities, read_picture
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.entries import entry, stamp
from acdc_semicycle.inference.inputs import Scans, words
from acdc_semicycle.inference.jobs import Collector, Job
from acdc_semicycle.inference.label_maps import check_target, write_label_maps
from acdc_semicycle.inference.manifest import Manifest
from acdc_semicycle.inference.previews import save_panel
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, causes

log = logging.getLogger("semicycle")

FAULTS = (InputError, OSError, MemoryError, RuntimeError)  # that cost one scan and not the others


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
            files = write_label_maps(part, its_frames, volume, self.card, self.probabilities)
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
