"""How long the rest of a training takes, by what its parts have taken in this process."""

from __future__ import annotations

import time
from typing import Any

from ignite.engine import Engine, Events


class Mean:
    """The mean of what has been added.

    Attributes:
        count: how often.
    """

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, value: float) -> None:
        """Add a value."""
        self.sum, self.count = self.sum + value, self.count + 1

    @property
    def value(self) -> float:
        """The mean; 0 of nothing."""
        return self.sum / max(1, self.count)


class TimeLeft:
    """Times the steps of a training, its validations, and what lies between two epochs, such as saving.

    The report at the end is taken for one more validation: it scores the same images. A method whose steps take longer
    from a later step on says so by ``objective.start``; only steps of the same kind are counted then.

    Attributes:
        started: when the first epoch of this process began.

    Args:
        evaluator: runs the validations.
        interval: epochs between them.
    """

    def __init__(self, evaluator: Engine, interval: int = 1) -> None:
        self.evaluator, self.interval = evaluator, interval
        self.started: float | None = None
        self.steps, self.validations, self.pauses = Mean(), Mean(), Mean()
        self.epochs_done = 0
        self.is_late = False  # whether the steps that are counted are the longer ones
        self.last_step: float | None = None  # when it ended
        self.validation_started = self.paused_for_validation = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach this one before what shows the time left, and after what validates."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._open_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._close_epoch)
        self.evaluator.add_event_handler(Events.STARTED, self._open_validation)
        self.evaluator.add_event_handler(Events.COMPLETED, self._add_validation)

    def spent(self) -> float:
        """Seconds since the first epoch of this process began."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def seconds(self, engine: Engine) -> float | None:
        """The seconds left, as far as they are known; None before the first step is timed."""
        if not self.steps.count:
            return None
        state: Any = engine.state
        steps = state.epoch_length * state.max_epochs - state.iteration
        pauses = state.max_epochs - self.epochs_done
        left = steps * self.steps.value + pauses * self.pauses.value
        return left + self._validations_left(engine) * self.validations.value

    def words(self, engine: Engine) -> str:
        """The time left for a line, such as "at least 1:20:00 left"; nothing where it is unknown."""
        seconds = self.seconds(engine)
        if seconds is None:
            return ""
        return f"{'at least ' if self._is_least(engine) else ''}{clock(seconds)} left"

    def _is_least(self, engine: Engine) -> bool:
        """Whether something that has not been timed is still to come."""
        start = _start_of_longer_steps(engine)
        longer_steps_come = start is not None and not self.is_late and start < _all_steps(engine)
        return longer_steps_come or (self._validations_left(engine) > 0 and not self.validations.count)

    def _validations_left(self, engine: Engine) -> int:
        """How often the validation images are still scored; the report counts as one."""
        if not self.evaluator.state.epoch_length:
            return 0
        all_of_them = (engine.state.max_epochs or 0) // self.interval
        return all_of_them - self.epochs_done // self.interval + 1

    def _open_epoch(self, engine: Engine) -> None:
        """Time what lay between two epochs, less the validation."""
        now = time.monotonic()
        if self.started is None:
            self.started = now
        elif self.last_step is not None:
            self.pauses.add(now - self.last_step - self.paused_for_validation)
        self.epochs_done = engine.state.epoch - 1
        self.last_step, self.paused_for_validation = now, 0.0

    def _add_step(self, engine: Engine) -> None:
        """Time a step with the wait for its batch."""
        now = time.monotonic()
        start = _start_of_longer_steps(engine)
        if start is not None and engine.state.iteration > start and not self.is_late:
            self.steps, self.is_late = Mean(), True
        if self.last_step is not None:
            self.steps.add(now - self.last_step)
        self.last_step = now

    def _close_epoch(self, engine: Engine) -> None:
        """The epoch is done, with its validation."""
        self.epochs_done = engine.state.epoch

    def _open_validation(self) -> None:
        """A validation begins."""
        self.validation_started = time.monotonic()

    def _add_validation(self) -> None:
        """Time a validation."""
        seconds = time.monotonic() - self.validation_started
        self.validations.add(seconds)
        self.paused_for_validation += seconds


def _start_of_longer_steps(engine: Engine) -> int | None:
    """The number of steps after which a step takes longer, as the method says; None for no such step."""
    return getattr(getattr(engine, "objective", None), "start", None)


def _all_steps(engine: Engine) -> int:
    """The steps of the whole training."""
    return (engine.state.epoch_length or 0) * (engine.state.max_epochs or 0)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, with the days before it where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{days} d {hours_of_day}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}"
