"""Segments one scan after the other, the next one being read and the last one written meanwhile."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from acdc_semicycle.inference import reading
from acdc_semicycle.inference.entries import content_of, entry, part_of, phases_of, remarks_on_name, stamp
from acdc_semicycle.inference.frames import Frame, FrameSegmenter
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.inference.jobs import Job
from acdc_semicycle.inference.label_maps import check_target, write_label_maps
from acdc_semicycle.inference.manifest import Manifest
from acdc_semicycle.inference.previews import save_panel
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.console import lines_above_bars
from acdc_semicycle.runtime.errors import InputError, causes

log = logging.getLogger("semicycle")

FAULTS = (InputError, OSError, MemoryError, RuntimeError)  # that cost one scan and not the others


def reason(scan: Scan, error: BaseException) -> str:
    """One line that names the scan: the cause that a user can mend, if there is one."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
    if isinstance(error, OSError) and error.strerror:
        return f"{scan.path} cannot be read or written ({error.strerror}): see that it is there, and whole"
    if isinstance(error, MemoryError) or "memory" in str(error):
        return f"{scan.path} does not fit in memory: crop it, or use a larger machine"
    lines = str(error).strip().splitlines()
    return f"{scan.path} could not be segmented ({type(error).__name__}: {lines[-1] if lines else 'no reason given'})"


def _log_remarks(case: Mapping[str, Any]) -> None:
    """Log what a user should know of a label map."""
    if case["nothing_found"]:
        log.warning("%s: %s: see whether the scan shows what the network segments", case["scan"], case["nothing_found"])
    if case["unlike_training"]:
        log.warning("%s: unlike the scans of the training: %s", case["scan"], "; ".join(case["unlike_training"]))
    for remark in case["remarks"]:
        log.info("%s: %s", case["scan"], remark)


class ScanLoop:
    """Takes scans through the network, the next one being read and the last one written meanwhile.

    Args:
        probabilities: whether they are written, too.
    """

    def __init__(self, frame_segmenter: FrameSegmenter, scans: Scans, manifest: Manifest, probabilities: bool) -> None:
        self.frame_segmenter, self.scans = frame_segmenter, scans
        self.manifest, self.model = manifest, manifest.model
        self.card, self.probabilities = self.model.card, probabilities

    def all(self, scans: Sequence[Scan]) -> None:
        """Segment the scans; the thread that writes enters each into the manifest, in their order.

        At most three scans are in memory: one that is read, one that is segmented, one that is written.
        """
        # on one thread each: several would wait for work on the cores that the network needs
        torch.get_num_threads()  # settles this thread's number; else the threads below would
        one_by_one = partial(ThreadPoolExecutor, 1, initializer=torch.set_num_threads, initargs=(1,))
        with lines_above_bars(), one_by_one() as reader, one_by_one() as writer:
            unread, reads = deque(scans), deque[Future[Job]]()
            written: Future[None] | None = None
            for scan in tqdm(scans, "predicting", disable=bool(distributed.rank()) or None, unit="scan"):
                while unread and len(reads) < 2:  # this one and the next
                    reads.append(reader.submit(self._read, unread.popleft()))
                outcome = self._segmented(scan, reads.popleft())
                if written:
                    written.result()
                written = writer.submit(self._finish, scan, outcome)
            if written:
                written.result()

    def _segmented(self, scan: Scan, read: Future[Job]) -> Job | str:
        """The scan's job after the network, or the reason why it failed.

        The reason and not the error: with an error all that was in memory when it was raised would stay there.
        """
        try:
            return self._segment(read.result())
        except FAULTS as error:
            return reason(scan, error)

    def _read(self, scan: Scan) -> Job:
        """Read a scan, and prepare the frames that are asked for."""
        job = Job(scan)
        reading.check_there(scan)
        check_target(scan.target)
        job.stamp, job.content = stamp(scan), content_of(scan)
        self.manifest.check(scan, job.content, claim=False)
        job.volume = reading.read(scan, self.card)
        count = job.volume.voxels.shape[3]
        job.frame_numbers = range(count)
        if self.scans.frames == "ed_es" and count > 1 and scan.phases:
            job.frame_numbers = sorted(scan.phases.values())
        job.tick("read")
        for n in job.frame_numbers:
            item = {"image": str(scan.path)} if self.card["pictures"] else {"image": job.volume, "frame": n}
            job.items.append(self.frame_segmenter.prepared(item))
        job.tick("prepare")
        return job

    def _segment(self, job: Job) -> Job:
        """Segment the frames that are asked for, and find ED and ES among those of a cine of hearts."""
        job.tick(None)
        frames = self.frame_segmenter.segmented(job.items, job.tick)
        job.frames = dict(zip(job.frame_numbers, frames, strict=True))
        job.items, job.phases = [], dict(job.scan.phases)
        if job.volume.voxels.shape[3] > 1 and not job.phases:
            job.phases = phases_of(job.frames, self.card["classes"])
        return job

    def _finish(self, scan: Scan, outcome: Job | str) -> None:
        """Write a job's label maps, and enter it into the manifest; or enter the reason why it failed."""
        try:
            if isinstance(outcome, Job):
                self.manifest.add(self._written(outcome))
            else:
                self.manifest.fail(scan, outcome)
        except FAULTS as error:
            self.manifest.fail(scan, reason(scan, error))

    def _written(self, job: Job) -> list[dict[str, Any]]:
        """Write a job's label maps; their entries of the manifest."""
        job.tick(None)
        label_maps = self._label_maps(job)
        entries = []
        for scan, frames, phases in label_maps:
            self.manifest.check(scan, job.content)
            files = write_label_maps(scan.target, frames, job.volume, self.card, self.probabilities)
            names = [os.path.relpath(file, self.scans.folder) for file in files]
            case = entry(scan, frames, phases, job.volume, self.model)
            case |= {
                "stamp": job.stamp,
                "scan_digest": job.content,
                "files": names,
                "mask": names[0],
                "parts": len(label_maps),
                "part": part_of(scan, self.manifest.known, job.content),
            }
            case["remarks"] += remarks_on_name(scan, self.manifest.known, job.content)
            case["panel"] = save_panel(self.scans.folder, scan, frames, phases, job.volume)
            _log_remarks(case)
            entries.append(case)
        job.tick("write")
        seconds = {stage: round(seconds, 4) for stage, seconds in job.seconds.items()}
        for case in entries:
            case["seconds"] = seconds
        log.info("%s -> %s", job.scan.path, ", ".join(str(scan.target) for scan, _, _ in label_maps))
        return entries

    def _label_maps(self, job: Job) -> list[tuple[Scan, Mapping[int, Frame], Mapping[str, int]]]:
        """The label maps of a job: of each its scan, its frames and their phases; one, or ED and ES of a cine apart."""
        if job.volume.voxels.shape[3] == 1:
            return [(job.scan, job.frames, {})]
        if self.scans.frames != "ed_es" or not job.phases:
            return [(job.scan, job.frames, job.phases)]
        return [(job.scan.of(phase), {n: job.frames[n]}, {}) for phase, n in job.phases.items()]
