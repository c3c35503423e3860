"""A scan that is being segmented: the frames that come out, and the seconds of each stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.frames import Frame
from acdc_semicycle.inference.scan import Scan


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
