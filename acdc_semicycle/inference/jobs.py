"""A scan that is being segmented: the frames that come out, and the seconds of each stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch import nn

from acdc_semicycle.evaluation import quality
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.previews import Frame
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.runtime.errors import InputError


@dataclass
class Job:
    """A scan that is being segmented.

    Attributes:
        stamp: of its files, before they were read.
        content: a hash of what they hold, of an image the one that a training has.
        volume: as read.
        frame_numbers: the frames (from 0) that are asked for.
        items: those frames, prepared for the network; empty after it.
        frames: those frames, segmented.
        phases: of a cine, the frame of each phase, as far as they are known.
        seconds: of each stage.
    """

    scan: Scan
    stamp: list[Any] = field(default_factory=list)
    content: str = ""
    volume: Volume = field(init=False)
    frame_numbers: Sequence[int] = ()
    items: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[int, Frame] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def tick(self, stage: str | None) -> None:
        """Count the time since the last tick as this stage's; as no stage's for None."""
        now = time.monotonic()
        if stage is not None:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.since
        self.since = now


@dataclass
class Collector:
    """Collects the segmented frames of a job from the evaluator, and the seconds of each stage."""

    network: nn.Module
    image_generator: nn.Module | None
    job: Job = field(init=False)

    def attach(self, evaluator: SupervisedEvaluator) -> None:
        """Listen to the evaluator's events."""
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
        """Count the time since the last event."""
        self.job.tick(stage)

    def _collect(self, engine: Engine) -> None:
        """Judge a frame, and keep it."""
        item = engine.state.output[0]  # type: ignore[index]
        name = item["image"].meta["filename_or_obj"]
        if not torch.isfinite(item["pred_network"]).all():
            raise InputError(f"{name}: the network gave NaN or infinite values: give another checkpoint")
        votes = getattr(engine.inferer, "votes", None)  # type: ignore[attr-defined]
        judged = quality.judge(item["image"], item["pred_network"], self.network, self.image_generator, votes)
        labels, probabilities = item["pred"].as_tensor()[0].cpu().numpy(), None
        if "probabilities" in item:
            probabilities = item["probabilities"].cpu().numpy()
        frame = Frame(labels, probabilities, judged)
        self.job.frames[self.job.frame_numbers[len(self.job.frames)]] = frame
        self.job.tick("judge")
