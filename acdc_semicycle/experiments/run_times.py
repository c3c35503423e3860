"""How long a training took, from the wall times of its TensorBoard files."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FAR = 5  # times the median: a gap that is longer is a pause


class Epoch(NamedTuple):
    """When an epoch's scalars were written.

    Attributes:
        seconds: since the scalars of the epoch before, or since the session began.
        validated: whether they hold scores of a validation, which takes time of its own.
    """

    seconds: float
    validated: bool


def sessions(run: Path) -> Iterator[list[Any]]:
    """The events of each TensorBoard file of a run, the oldest file first; a file's damaged end is left out."""
    files = sorted((run / "tensorboard").glob("events.out.tfevents.*"))
    if not files:
        return
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # slow: only where it is needed

    for path in files:
        events = list(EventFileLoader(str(path)).Load())
        if events:
            yield events


def minutes_without_pauses(run: Path) -> float | None:
    """How long the epochs of a run took; None where it left no TensorBoard files, or no whole epoch.

    The time between two sessions is not counted. Within a session, a gap between two epochs that is longer than
    ``FAR`` times the median is a pause, of a machine that slept, and counts as the median. Epochs with a validation
    have a median of their own.
    """
    epochs: list[Epoch] = []
    for events in sessions(run):
        epochs += _epochs_of(events)
    if not epochs:
        return None
    seconds = 0.0
    for validated in (False, True):
        seconds += _sum_without_pauses([epoch.seconds for epoch in epochs if epoch.validated == validated])
    return seconds / 60


def _epochs_of(events: Sequence[Any]) -> list[Epoch]:
    """The epochs of one session, by the last scalar of each."""
    ends: dict[int, float] = {}
    validated = set()
    for event in events:
        for value in event.summary.value:
            ends[event.step] = event.wall_time
            if value.tag.startswith("validation/"):
                validated.add(event.step)
    epochs, before = [], events[0].wall_time
    for epoch, end in ends.items():
        epochs.append(Epoch(max(0.0, end - before), epoch in validated))
        before = end
    return epochs


def _sum_without_pauses(gaps: Sequence[float]) -> float:
    """The sum of gaps, of which each that is far above the median counts as the median."""
    if not gaps:
        return 0.0
    median = statistics.median(gaps)
    return sum(median if gap > FAR * median else gap for gap in gaps)
