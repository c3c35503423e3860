"""Checkpoints: the run's whole state after each epoch, and the best network by itself.

MONAI's ``CheckpointSaver`` writes in place, deletes the old file first and forgets the best metric on a resume.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from acdc_semicycle.artifacts.model import IMAGE_GENERATOR, OLD_IMAGE_GENERATOR
from acdc_semicycle.artifacts.weights import load, not_finite, save
from acdc_semicycle.runtime import distributed, signals
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import read_json, write_text
from acdc_semicycle.runtime.locks import claimed

log = logging.getLogger("semicycle")


@runtime_checkable
class Stateful(Protocol):
    """What can be saved and restored: networks, optimisers, schedules, scalers."""

    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...


class Checkpoints:
    """Save the run after each epoch and when it is asked to stop, keep the best network, and go on where it stopped.

    ``last.pt`` holds everything a continuation needs, ``previous.pt`` what it held before: where the one is damaged the
    other is taken. ``model.pt`` holds the plain weights of the best network by the evaluator's key metric, with
    ``model.json`` beside it (what it takes to use them) and, where the method has a G_SI, ``image_generator.pt``: its
    weights of the same epoch, with which a segmentation without truth can be judged.

    Of several processes the first one writes. What differs in the others (histories, running means, random states) is
    in last.pt as well. Another number of processes can go on with it: each takes the histories and random states of its
    own number, those beyond the old number start with empty histories, those above the new one are dropped.

    Args:
        folder: where the files are; made if need be.
        objects: by name, all that changes while training.
        evaluator: runs each validation epoch, before this handler; its key metric decides what is best.
        network: the deployed one, whose weights model.pt holds.
        settings: what makes the run this run and no other (plain values). A ``last.pt`` with other settings is
            refused.
        card: what it takes to use model.pt (plain values), written as model.json.
        image_generator: G_SI, if the method has one.
        data: what its files hold (:func:`acdc_semicycle.data.cache.contents`). A ``last.pt`` of others is refused, too.
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
    ) -> None:
        self.folder, self.objects, self.evaluator, self.network = Path(folder), objects, evaluator, network
        self.image_generator, self.data = image_generator, data
        self.settings, self.card = json.loads(json.dumps(settings)), card
        self.best, self.best_epoch = float("-inf"), 0
        self.at_end: dict[str, Any] = {}
        self.found: dict[str, Any] | None = None  # by check(), for resume()

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @property
    def previous(self) -> Path:
        return self.folder / "previous.pt"

    @property
    def _begun(self) -> Path:
        """Is there while a run has written its first network and not yet its first state."""
        return self.folder / ".begun"

    def attach(self, engine: Engine) -> None:
        """To be attached last: a step, or an epoch, is over when all else has had its turn."""
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_if_asked)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, signals.look_after_them, False)
        if distributed.world() == 1:  # of several each has its own number of images to validate
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._stop_if_asked, engine)

    def save(self, engine: Engine) -> None:
        """Keep this epoch, and its network if no other was better; a metric that is NaN never is."""
        validation: Any = self.evaluator.state
        metric = validation.metrics.get(validation.key_metric_name, float("nan"))
        self._check_finite()
        if validation.epoch == engine.state.epoch and metric > self.best:
            self.best, self.best_epoch = float(metric), engine.state.epoch
            if distributed.rank() == 0:
                self._save_best(validation.key_metric_name)
        self._save_last(engine, engine.state.epoch, 0)
        if code := distributed.largest(signals.asked()):
            self._end(code, engine)

    def _stop_if_asked(self, *engines: Engine) -> None:
        """Save within the epoch and end, if a signal has asked for it: the trainer's step, or a validation image."""
        engine = engines[-1]
        if len(engines) == 1 and engine.state.iteration % (engine.state.epoch_length or 1) == 0:
            self.at_end = self._light()  # what the epoch's end may have changed when a validation image is asked
        if not (code := distributed.largest(signals.asked())):
            return
        self._check_finite()
        length = engine.state.epoch_length or 0
        done, steps = divmod(engine.state.iteration - 1, length)  # of the epoch that is not over
        self._save_last(engine, done, steps + 1, self.at_end if len(engines) > 1 else None)
        self._end(code, engine)

    def _light(self) -> dict[str, Any]:
        """Schedules, rates and random states: all that is neither a weight nor as large as the weights."""
        found: dict[str, Any] = {"random": _random_state()}
        for name, item in self.objects.items():
            if isinstance(item, Optimizer):
                found[name] = {"param_groups": copy.deepcopy(item.state_dict()["param_groups"])}
            elif not isinstance(item, nn.Module):
                found[name] = copy.deepcopy(item.state_dict())
        return found

    def _end(self, code: int, engine: Engine) -> None:
        log.info("stopped after step %d: the same command goes on from there", engine.state.iteration)
        for each in (engine, self.evaluator):
            each.logger.setLevel(logging.CRITICAL)  # to ignite it is an error
        raise SystemExit(code)

    def _save_last(self, engine: Engine, epoch: int, steps: int, light: Mapping[str, Any] | None = None) -> None:
        """Everything, after so many whole epochs and so many steps of the next one; ``light`` as it was before."""
        others = self._others()
        if distributed.rank() == 0:
            progress = {"iteration": engine.state.iteration, "epoch": epoch, "steps": steps}
            state = {name: item.state_dict() for name, item in self.objects.items()} | {
                "settings": self.settings,
                "data": self.data,
                "progress": progress | {"epoch_length": engine.state.epoch_length},
                "best": {"metric": self.best, "epoch": self.best_epoch},
                "random": _random_state(),
                "others": others,
            }
            state |= {name: {**state[name], **part} for name, part in (light or {}).items()}
            save(self.last, state, self.previous)
            self._begun.unlink(missing_ok=True)
        distributed.wait()  # for the files, which any process may read next

    def _check_finite(self) -> None:
        """No network that holds NaN is ever kept.

        Raises:
            FloatingPointError: names the weight.
        """
        for name, item in self.objects.items():
            if isinstance(item, nn.Module) and (wrong := not_finite(item.state_dict())):
                raise FloatingPointError(
                    f"{name}.{wrong} is not finite: lower the learning rate, or switch amp off; what was saved before"
                    " is untouched"
                )

    def _save_best(self, metric: str) -> None:
        if not self.last.exists():
            write_text(self._begun, "")
        if self.image_generator is not None:
            save(self.model.with_name(IMAGE_GENERATOR), self.image_generator.state_dict())
            self.model.with_name(OLD_IMAGE_GENERATOR).unlink(missing_ok=True)
        save(self.model, self.network.state_dict())
        text = json.dumps(self.card | {"epoch": self.best_epoch, "validation": {metric: self.best}}, indent=1)
        write_text(self.model.with_suffix(".json"), text + "\n")

    def _own(self) -> dict[str, Any]:
        """What differs from process to process: of the objects all but their weights, and the random states."""
        own: dict[str, Any] = {"random": _random_state()}
        for name, item in self.objects.items():
            if isinstance(item, nn.Module):
                weights = dict(item.named_parameters())
                own[name] = {key: value for key, value in item.state_dict().items() if key not in weights}
            elif getattr(item, "of_one_process", False):
                own[name] = dict(item.state_dict())
        return own

    def _others(self) -> list[dict[str, Any]]:
        """That of all processes but the first, in the first one."""
        if distributed.world() == 1:
            return []
        stream = io.BytesIO()  # as bytes: tensors would come back on the GPUs they were on
        torch.save(self._own(), stream)
        return [load("another process's state", content) for content in distributed.gather(stream.getvalue())[1:]]

    def _take_own(self, state: dict[str, Any]) -> None:
        """Make of the first process's state this one's, as far as it was kept."""
        others, rank = state.get("others", []), distributed.rank()
        if len(others) + 1 != distributed.world():
            log.warning(
                "%s is of %d processes, here are %d: batches, and so all numbers, differ from those it would have gone"
                " on to",
                *(self.last, len(others) + 1, distributed.world()),
            )
        if rank:
            own = others[rank - 1] if rank <= len(others) else self._own()
            for name in own:
                state[name] = own["random"] if name == "random" else {**state.get(name, {}), **own[name]}

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
        faults = []
        for path in (self.last, self.previous):
            if not path.is_file():
                continue
            try:
                state = load(path)
                if not isinstance(state, dict) or "settings" not in state:
                    raise InputError(f"{path} is no training run's last.pt: give another output_dir")
            except InputError as error:
                faults.append(error)
                continue
            if faults:
                log.warning("%s; going on from %s", str(faults[0]).rsplit(": ", 1)[0], path)
            self._check_settings(state["settings"])
            self._check_data(state.get("data"))
            self.found = state
            return state
        if len(faults) == 2:
            said = "; ".join(str(fault).rsplit(": ", 1)[0] for fault in faults)
            raise InputError(f"{said}: neither can be gone on from, restore one of them, or give another output_dir")
        if faults:
            raise faults[0]
        if self.model.exists() and not self._begun.exists():
            raise InputError(
                f"{self.model} is there without a state to go on from: give another output_dir, or move it away"
            )
        return None

    def resume(self, engine: Engine) -> None:
        """Restore what was saved last, if anything was; from here on a signal ends the run after a step."""
        signals.look_after_them(True)
        state, self.found = self.found or self.check(), None
        self._check_all_see(state)
        if state is None:
            return
        done, steps = state["progress"]["epoch"], state["progress"].get("steps", 0)
        if done > engine.state.max_epochs:
            raise InputError(
                f"{self.last} has {done} epochs behind it, more than the {engine.state.max_epochs} asked for: give more"
                " epochs, or another output_dir"
            )
        self._take_own(state)
        for name, item in self.objects.items():
            if state.get(name):  # a scaler that was switched off had none
                item.load_state_dict(state[name])
        for schedule in self.objects.values():
            if isinstance(schedule, LambdaLR):  # the rate that these epochs, perhaps more than before, ask for
                factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
                for group, base, factor in zip(
                    schedule.optimizer.param_groups, schedule.base_lrs, factors, strict=True
                ):
                    group["lr"] = base * factor
        length = engine.state.epoch_length or 0
        if state["progress"].get("epoch_length", length) != length:  # other processes, other steps
            steps = 0
        words = "going on" if done < (engine.state.max_epochs or 0) else "complete: nothing to do"
        log.info("%s after %sepoch %d", words, f"step {steps} of " if steps else "", done + bool(steps))
        # not the iteration of then: of another number of processes an epoch has another number of steps
        engine.state.iteration, engine.state.epoch = done * length + steps, done
        self.best, self.best_epoch = state["best"]["metric"], state["best"]["epoch"]
        self._keep_best()
        _set_random_state(state["random"])
        if steps and steps < length:
            loader: Any = engine.state.dataloader
            loader.skip(steps)
        elif steps:  # what comes at the end of an epoch was not done
            engine.state.epoch = done + 1
            for event in (Events.EPOCH_STARTED, Events.EPOCH_COMPLETED):
                engine.fire_event(event)

    def _check_all_see(self, state: dict[str, Any] | None) -> None:
        """Refuse processes that do not see the same files."""
        seen = distributed.gather(None if state is None else state["progress"]["iteration"])
        if len(set(seen)) > 1:
            raise InputError(f"{self.folder} is not the same folder to all processes: give one that all machines see")

    def _keep_best(self) -> None:
        """A model.pt that is better than what this state knows of stays until there is a better one.

        Raises:
            InputError: it is damaged.
        """
        if not self.model.is_file():
            if self.best_epoch:
                log.warning("%s of epoch %d is gone: the best that comes is kept", self.model, self.best_epoch)
            self.best, self.best_epoch = float("-inf"), 0
            return
        for path in self.model, self.model.with_name(IMAGE_GENERATOR), self.model.with_name(OLD_IMAGE_GENERATOR):
            try:
                if path.is_file():
                    load(path)
            except InputError as error:
                fault = str(error).rsplit(": ", 1)[0]
                raise InputError(f"{fault}: give a copy of it, or remove it: the best that comes is kept") from error
        card = self.model.with_suffix(".json")
        stored = read_json(card) if card.is_file() else {}
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            [metric] = stored["validation"].values()
            if metric > self.best and math.isfinite(metric):
                self.best, self.best_epoch = metric, stored["epoch"]

    def _check_settings(self, stored: dict[str, Any]) -> None:
        """Refuse to continue a run of other settings, or of a version that kept other ones."""
        if "steps_an_epoch" in stored:
            raise InputError(
                f"{self.last} was written before version 0.2, which compares all settings: finish that run with its"
                " version, or give another output_dir"
            )
        for name in stored | self.settings:
            if stored.get(name) != self.settings.get(name):
                difference = _difference(name, stored.get(name), self.settings.get(name))
                raise InputError(
                    f"{self.last} is of another run ({difference}): give another output_dir for a new run, or the old"
                    " settings to continue that one"
                )

    def _check_data(self, given: dict[str, str] | None) -> None:
        if given is None or self.data is None:  # a state from before this was kept
            return
        changed = [name for name in given | self.data if given.get(name) != self.data.get(name)]
        if changed:
            raise InputError(
                f"{many(len(changed), 'file')} changed since the training in {self.folder} began, first the"
                f" {changed[0]}: give another output_dir to train anew, or restore the data to go on"
            )


def _difference(name: str, given: Any, here: Any) -> str:
    """Where two settings differ, in words."""
    if isinstance(given, dict) and isinstance(here, dict):
        key = next(key for key in given | here if given.get(key) != here.get(key))
        return _difference(f"{name}::{key}", given.get(key), here.get(key))
    return f"{name}: {_short(given)}, here {_short(here)}"


def _short(value: Any) -> str:
    text = str(value)
    if isinstance(value, list) and len(text) > 60:
        text = f"{len(value)}, {text}"
    return text if len(text) <= 60 else text[:57] + "..."


def _random_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
