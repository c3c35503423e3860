"""Checkpoints: the run's whole state after each epoch, and the best network by itself.

MONAI's ``CheckpointSaver`` writes in place, deletes the old file first and forgets the best metric on a resume.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from acdc_semicycle.artifacts.weights import load, not_finite, save
from acdc_semicycle.runtime import distributed, signals
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text
from acdc_semicycle.runtime.locks import claimed
from acdc_semicycle.training.best_network import BestNetwork, without_advice
from acdc_semicycle.training.process_states import Stateful, states_of_others, take_own_state
from acdc_semicycle.training.random_state import random_state, set_random_state
from acdc_semicycle.training.same_run import check_data, check_settings

log = logging.getLogger("semicycle")


class Checkpoints:
    """Save the run after each epoch and when it is asked to stop, keep the best network, and continue a stopped run.

    ``last.pt`` holds everything a continuation needs, ``previous.pt`` what it held before: where the one is damaged the
    other is taken. ``model.pt`` holds the plain weights of the best network by the evaluator's key metric, with
    ``model.json`` beside it (what it takes to use them) and, where the method has a G_SI, ``image_generator.pt``: its
    weights of the same epoch, with which a segmentation without truth can be judged.

    Of several processes the first one writes. What differs in the others (image pools, running means, random states)
    is in last.pt as well. Another number of processes can continue: each takes the state of its own number, those
    beyond the old number start with empty pools, and the states beyond the new one are dropped.

    Args:
        folder: where the files are; made if need be.
        objects: by name, all that changes while training.
        evaluator: runs each validation epoch, before this handler; its key metric decides what is best.
        network: the deployed one, whose weights model.pt holds.
        settings: what makes the run this run and no other (plain values). A ``last.pt`` with other settings is
            refused.
        card: what it takes to use model.pt (plain values), written as model.json.
        image_generator: G_SI, if the method has one.
        data: a digest of each file's content (:func:`acdc_semicycle.data.digests.contents`). A ``last.pt`` of other
            files is refused, too.
        keep: which network model.pt holds: the ``best`` by the key metric, or that of the ``last`` epoch, which needs
            no validation.
    """

    def __init__(
        self,
        folder: str | Path,
        objects: dict[str, Stateful],
        evaluator: Engine,
        network: nn.Module,
        settings: dict[str, Any],
        card: dict[str, Any],
        image_generator: nn.Module | None = None,
        data: dict[str, str] | None = None,
        keep: str = "best",
    ) -> None:
        if keep not in ("best", "last"):
            raise InputError(f"keep is {keep!r}: give best or last")
        self.folder, self.objects, self.evaluator, self.data = Path(folder), objects, evaluator, data
        self.keep = keep
        self.settings = json.loads(json.dumps(settings))
        self.best = BestNetwork(self.folder, network, card, image_generator)
        self.before_validation: dict[str, Any] = {}
        self.checked: dict[str, Any] | None = None  # the state that check() has read, for resume()

    @property
    def last(self) -> Path:
        """The file of the newest state."""
        return self.folder / "last.pt"

    @property
    def previous(self) -> Path:
        """The file of the state before the newest."""
        return self.folder / "previous.pt"

    @property
    def _begun(self) -> Path:
        """A file that is there while a run has written its first network and not yet its first state."""
        return self.folder / ".begun"

    def attach(self, engine: Engine) -> None:
        """Attach this one last: a step, or an epoch, is over when all other handlers have run."""
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_if_asked)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, signals.look_after_them, False)
        if distributed.world() == 1:  # several processes have different numbers of images to validate
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: self._stop_validation_if_asked(engine))

    def save(self, engine: Engine) -> None:
        """Keep this epoch, and its network if it is to be kept; a metric that is NaN is never the best."""
        validation: Any = self.evaluator.state
        metric = float("nan")
        if validation.epoch == engine.state.epoch:  # else the metrics are of another epoch
            metric = validation.metrics.get(validation.key_metric_name, metric)
        self._check_finite()
        if self.keep == "last" or metric > self.best.metric:
            self.best.metric, self.best.epoch = float(metric), engine.state.epoch
            if distributed.rank() == 0:
                if not self.last.exists():
                    write_text(self._begun, "")
                epochs = engine.state.max_epochs or 0
                steps = epochs * (engine.state.epoch_length or 0)
                training = {"epochs": epochs, "steps": steps, "keep": self.keep}
                self.best.save(validation.key_metric_name, training)
        self._save_last(engine, engine.state.epoch, 0)
        exit_code = distributed.largest(signals.asked())
        if exit_code:
            self._end(exit_code, engine)

    def _stop_if_asked(self, engine: Engine) -> None:
        """After a step: save and end, if a signal has asked for it."""
        if engine.state.iteration % (engine.state.epoch_length or 1) == 0:
            self.before_validation = self._small_states()
        self._save_and_end_if_asked(engine)

    def _stop_validation_if_asked(self, engine: Engine) -> None:
        """After a validation image: the same, with the schedules and random states of before the validation."""
        self._save_and_end_if_asked(engine, self.before_validation)

    def _save_and_end_if_asked(self, engine: Engine, states: Mapping[str, Any] | None = None) -> None:
        """Save within the epoch and end, if a signal has asked for it; ``states`` replace those of now."""
        exit_code = distributed.largest(signals.asked())
        if not exit_code:
            return
        self._check_finite()
        epochs, steps = divmod(engine.state.iteration - 1, engine.state.epoch_length or 0)
        self._save_last(engine, epochs, steps + 1, states)
        self._end(exit_code, engine)

    def _small_states(self) -> dict[str, Any]:
        """Copies of schedules, rates and random states: all that is neither a weight nor as large as the weights."""
        states: dict[str, Any] = {"random": random_state()}
        for name, item in self.objects.items():
            if isinstance(item, Optimizer):
                states[name] = {"param_groups": copy.deepcopy(item.state_dict()["param_groups"])}
            elif not isinstance(item, nn.Module):
                states[name] = copy.deepcopy(item.state_dict())
        return states

    def _end(self, exit_code: int, engine: Engine) -> None:
        """End the process without a traceback."""
        log.info("stopped after step %d: the same command continues from there", engine.state.iteration)
        for each in (engine, self.evaluator):
            each.logger.setLevel(logging.CRITICAL)  # to ignite it is an error
        raise SystemExit(exit_code)

    def _save_last(self, engine: Engine, epochs: int, steps: int, states: Mapping[str, Any] | None = None) -> None:
        """Save everything, after so many whole epochs and so many steps of the next one."""
        others = states_of_others(self.objects)
        if distributed.rank() == 0:
            state = {name: item.state_dict() for name, item in self.objects.items()} | {
                "settings": self.settings,
                "data": self.data,
                "progress": {
                    "iteration": engine.state.iteration,
                    "epoch": epochs,
                    "steps": steps,
                    "epoch_length": engine.state.epoch_length,
                },
                "best": self.best.state_dict(),
                "random": random_state(),
                "others": others,
            }
            for name, part in (states or {}).items():
                state[name] = {**state[name], **part}
            save(self.last, state, self.previous)
            self._begun.unlink(missing_ok=True)
        distributed.wait()  # any process may read the files next

    def _check_finite(self) -> None:
        """Refuse to keep a network that holds NaN.

        Raises:
            FloatingPointError: names the weight.
        """
        for name, item in self.objects.items():
            wrong = not_finite(item.state_dict()) if isinstance(item, nn.Module) else None
            if wrong:
                raise FloatingPointError(
                    f"{name}.{wrong} is not finite: lower the learning rate, or switch amp off; what was saved before"
                    " is untouched"
                )

    def claim(self) -> None:
        """Hold the folder until this process ends: two trainings would write over one another.

        Raises:
            InputError: another process trains in it.
        """
        if distributed.rank() == 0 and not claimed(self.folder):
            raise InputError(f"{self.folder} is trained in by another process: wait for it, or give another output_dir")

    def check(self) -> dict[str, Any] | None:
        """The newest state that is whole, if there is one; call it before anything of a run is written.

        Raises:
            InputError: all there is is damaged, or it is of a run with other settings or other data; or a network is
                there without any state.
        """
        faults: list[InputError] = []
        for path in (self.last, self.previous):
            if not path.is_file():
                continue
            try:
                state = _read(path)
            except InputError as error:
                faults.append(error)
                continue
            if faults:
                log.warning("%s; continuing from %s", without_advice(faults[0]), path)
            check_settings(self.last, state["settings"], self.settings)
            check_data(self.folder, state.get("data"), self.data)
            self.checked = state
            return state
        if faults:
            raise _damage(faults)
        if self.best.file.exists() and not self._begun.exists():
            raise InputError(
                f"{self.best.file} is there without a state to continue from: give another output_dir, or move it away"
            )
        return None

    def resume(self, engine: Engine) -> None:
        """Restore what was saved last, if anything was; from here on a signal ends the run after a step."""
        signals.look_after_them(True)
        state, self.checked = self.checked or self.check(), None
        self._check_same_folder(state)
        if state is None:
            return
        epochs, steps = state["progress"]["epoch"], state["progress"].get("steps", 0)
        if epochs > engine.state.max_epochs:
            raise InputError(
                f"{self.last} is after {epochs} epochs, more than the {engine.state.max_epochs} asked for: give more"
                " epochs, or another output_dir"
            )
        take_own_state(state, self.objects, self.last)
        self._restore(state)
        length = engine.state.epoch_length or 0
        if state["progress"].get("epoch_length", length) != length:  # other processes, other steps
            steps = 0
        _log_continuation(epochs, steps, engine.state.max_epochs or 0)
        # not the iteration of then: another number of processes has another number of steps in an epoch
        engine.state.iteration, engine.state.epoch = epochs * length + steps, epochs
        self.best.continue_from(state["best"])
        set_random_state(state["random"])
        _continue_within_epoch(engine, epochs, steps, length)

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Give every object its state, and the optimisers the rates that this number of epochs asks for."""
        for name, item in self.objects.items():
            if state.get(name):  # a scaler that was switched off had none
                item.load_state_dict(state[name])
        for schedule in self.objects.values():
            if isinstance(schedule, LambdaLR):
                _set_rates(schedule)

    def _check_same_folder(self, state: Mapping[str, Any] | None) -> None:
        """Refuse processes that do not see the same files."""
        iterations = distributed.gather(None if state is None else state["progress"]["iteration"])
        if len(set(iterations)) > 1:
            raise InputError(f"{self.folder} is not the same folder to all processes: give one that all machines see")


def _damage(faults: Sequence[InputError]) -> InputError:
    """The error for a run of which every state that is there is damaged."""
    if len(faults) == 1:
        return faults[0]
    damage = "; ".join(map(without_advice, faults))
    return InputError(f"{damage}: neither can be continued from, restore one of them, or give another output_dir")


def _read(path: Path) -> dict[str, Any]:
    """The state in a file.

    Raises:
        InputError: it is damaged, or no state of a training.
    """
    state = load(path)
    if not isinstance(state, dict) or "settings" not in state:
        raise InputError(f"{path} is no training run's last.pt: give another output_dir")
    return state


def _set_rates(schedule: LambdaLR) -> None:
    """Set the rates that the schedule has at its epoch; the stored ones are of another number of epochs, perhaps."""
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(schedule.last_epoch)


def _log_continuation(epochs: int, steps: int, most_epochs: int) -> None:
    """Log after which step and epoch a run continues, or that it is complete."""
    words = "continuing" if epochs < most_epochs else "complete: nothing to do"
    log.info("%s after %sepoch %d", words, f"step {steps} of " if steps else "", epochs + bool(steps))


def _continue_within_epoch(engine: Engine, epochs: int, steps: int, length: int) -> None:
    """Leave out the steps of the next epoch that are done; after its last step, do what comes at its end."""
    if steps and steps < length:
        loader: Any = engine.state.dataloader
        loader.skip(steps)
    elif steps:
        engine.state.epoch = epochs + 1
        for event in (Events.EPOCH_STARTED, Events.EPOCH_COMPLETED):
            engine.fire_event(event)
