"""What of a run differs from process to process: each has its image pools, running means and random states."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from acdc_semicycle.artifacts.weights import load
from acdc_semicycle.runtime import distributed
from acdc_semicycle.training.random_state import random_state

log = logging.getLogger("semicycle")


@runtime_checkable
class Stateful(Protocol):
    """What can be saved and restored: networks, optimisers, schedules, scalers."""

    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...


def own_state(objects: Mapping[str, Stateful]) -> dict[str, Any]:
    """This process's random states, and the state of the objects without their weights, which all processes share."""
    own: dict[str, Any] = {"random": random_state()}
    for name, item in objects.items():
        if isinstance(item, nn.Module):
            weights = dict(item.named_parameters())
            own[name] = {key: value for key, value in item.state_dict().items() if key not in weights}
        elif getattr(item, "of_one_process", False):
            own[name] = dict(item.state_dict())
    return own


def states_of_others(objects: Mapping[str, Stateful]) -> list[dict[str, Any]]:
    """In the first process, the own states of all others; elsewhere, or where there is one process, none."""
    if distributed.world() == 1:
        return []
    stream = io.BytesIO()  # as bytes: tensors would come back on the GPUs they were on
    torch.save(own_state(objects), stream)
    contents = distributed.gather(stream.getvalue())
    return [load("another process's state", content) for content in contents[1:]]


def take_own_state(state: dict[str, Any], objects: Mapping[str, Stateful], path: Path) -> None:
    """Make a checkpoint, which holds the first process's state, this process's, as far as it was kept.

    A process beyond the number that the checkpoint is of keeps the state it has now.

    Args:
        state: what the checkpoint holds; changed in place.
        path: of the checkpoint, for the warning where it is of another number of processes.
    """
    others, rank = state.get("others", []), distributed.rank()
    processes = len(others) + 1
    if processes != distributed.world():
        log.warning(
            "%s is of %d processes, here are %d: batches, and so all numbers, differ from those of the run as it was",
            *(path, processes, distributed.world()),
        )
    if rank == 0:
        return
    own = others[rank - 1] if rank < processes else own_state(objects)
    for name, part in own.items():
        state[name] = part if name == "random" else {**state.get(name, {}), **part}
