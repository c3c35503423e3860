"""What is watched while it trains: terms that are not finite, and discriminators that have won or died."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from acdc_semicycle.methods.objective import Objective
from acdc_semicycle.training.terms_log import TermsLog, terms_of

log = logging.getLogger("semicycle")

WON, DEAD = 0.02, 0.98  # of the term at the level of chance
STATES = {"won": "tells every fake from the real", "died": "does not tell fakes from the real"}


class Balance:
    """Warn when a discriminator has won or has died: its opponent then learns nothing from it.

    The term of a discriminator that recognises every fake is close to 0. That of one that gives one answer to all is at
    the level of chance. Each is logged once it has lasted some epochs and steps, and again when it is over. Masks of a
    network that has just begun are easily told from the real, so a few short epochs mean nothing.

    Args:
        log: has the terms' means of the epoch.
        objective: says the level of chance of each term.
        weights: of the terms; a discriminator that does not learn is not judged.
        epochs, steps: that it must last.
    """

    def __init__(
        self, log: TermsLog, objective: Objective, weights: Mapping[str, float], epochs: int = 3, steps: int = 500
    ) -> None:
        self.log, self.epochs, self.steps = log, epochs, steps
        self.chance_level = {name: value for name, value in objective.chance_level.items() if weights[name]}
        self.lasted = dict.fromkeys(self.chance_level, ("", 0))

    def attach(self, engine: Engine) -> None:
        """Look after each epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the epoch's terms, and log what has lasted, or is over."""
        for name, chance in self.chance_level.items():
            value = self.log.means[name]
            state, (former_state, former_epochs) = _state_of(value, chance), self.lasted[name]
            epochs = former_epochs + 1 if state == former_state else 1
            self.lasted[name] = state, epochs
            needed_epochs = max(self.epochs, math.ceil(self.steps / (engine.state.epoch_length or self.steps)))
            discriminator, term = f"D_{name.removeprefix('disc_')}", f"{name} {value:.3f}, {chance:.3g} is chance"
            if state and epochs == needed_epochs:
                log.warning(
                    "%s %s since epoch %d (%s): the generators learn nothing from it",
                    *(discriminator, STATES[state], engine.state.epoch - epochs + 1, term),
                )
            elif former_state and not state and former_epochs >= needed_epochs:
                log.info("%s is in the game (%s)", discriminator, term)


def _state_of(term: float, chance: float) -> str:
    """``"won"``, ``"died"``, or nothing for a discriminator that still learns."""
    if term < WON * chance:
        return "won"
    return "died" if term > DEAD * chance else ""


class StopAtNonFinite:
    """End the run when a term is NaN or infinite, before a checkpoint takes up its weights; the error names the batch.

    On CUDA a step's terms are checked while the next one runs, so that no step waits for them.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self.terms = list(terms)
        self.last: tuple[Engine, int, Any, torch.Tensor, torch.cuda.Event | None] | None = None

    def attach(self, engine: Engine) -> None:
        """Look after each step."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def __call__(self, engine: Engine) -> None:
        """Check this step's terms, or on CUDA those of the step before."""
        values, copied = terms_of(engine, self.terms), None
        if values.is_cuda:
            self.check()
            stream, copied = torch.cuda.current_stream(values.device), torch.cuda.Event()
            values = values.to("cpu", non_blocking=True)
            copied.record(stream)
        self.last = engine, engine.state.iteration, engine.state.batch, values, copied
        if copied is None:
            self.check()

    def check(self) -> None:
        """Raise a FloatingPointError if the terms that were kept are not finite."""
        if self.last is None:
            return
        engine, iteration, batch, values, copied = self.last
        if copied is not None:
            copied.synchronize()
        for name, value in zip(self.terms, values.tolist(), strict=True):
            if not math.isfinite(value):
                loader: Any = engine.state.dataloader
                raise FloatingPointError(
                    f"{name} is {value} in step {iteration}, with {', '.join(loader.where(batch))}: lower the learning"
                    " rate, or switch amp off; what was saved before is untouched"
                )
