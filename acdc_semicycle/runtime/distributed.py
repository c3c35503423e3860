"""Several processes at one run, as torchrun starts them: which one this is, and what they tell each other.

Gradients are averaged by torch's ``DistributedDataParallel``. Without torchrun all of this is as if there were one
process, and changes nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import ignite.distributed
import torch
from monai.utils import set_determinism
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from acdc_semicycle.runtime.errors import InputError

_on_cpu: distributed.ProcessGroup | None = None  # for Python objects, whatever the gradients go over


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def device() -> torch.device:
    """A GPU of this process's own, or the CPU.

    Raises:
        InputError: more processes than GPUs.
    """
    local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if gpus and local >= gpus:
        raise InputError(f"this machine has {gpus} GPUs, one for each process: give --nproc_per_node={gpus}")
    return torch.device("cuda", local) if gpus else torch.device("cpu")


def check_device(given: Any) -> None:
    """Refuse a device that this machine has not, before any work.

    Raises:
        InputError: says what was given, and why it cannot be had.
    """
    try:
        torch.empty(0, device=given)
    except (RuntimeError, AssertionError, TypeError) as error:  # the second where torch was built without it
        *_, reason = ["no such device", *str(error).strip().splitlines()[:1]]
        raise InputError(
            f"device is {str(given)!r}, which is not to be had here ({reason}): give cpu, or leave it out"
        ) from error


def begin(seed: int | None = None, minutes: int = 30) -> None:
    """Join the processes that torchrun started, if it did.

    Args:
        seed: of the global random states; each process gets its own.
        minutes: that a process waits for the others. Where one fails torchrun ends them all at once; this is for one
            that hangs.
    """
    global _on_cpu
    if not distributed.is_torchelastic_launched():
        return
    if device().type == "cuda":
        torch.cuda.set_device(device())
    backend = "nccl" if device().type == "cuda" else "gloo"
    shows_errors = sys.excepthook
    distributed.init_process_group(backend, timeout=timedelta(minutes=minutes))
    sys.excepthook = shows_errors  # torch has put [rank0] before each line
    _on_cpu = distributed.new_group(backend="gloo", timeout=timedelta(minutes=minutes))
    ignite.distributed.sync()  # else it asks all processes at its first use, which need not be at the same time
    if seed is not None:
        set_determinism(seed + rank())
    if rank():
        logging.disable(logging.WARNING)  # the first process speaks for all


def end() -> None:
    """Leave them, once all are here."""
    if distributed.is_initialized():
        wait()
        distributed.destroy_process_group()


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        distributed.barrier(group=_on_cpu)


def gather(item: Any) -> list[Any]:
    """What each process gave, in the order of their numbers; on the first one, and nothing on the others."""
    if world() == 1:
        return [item]
    items = [None] * world() if rank() == 0 else None
    distributed.gather_object(item, items, group=_on_cpu)
    return items or []


def largest(number: int) -> int:
    """The largest of the processes' numbers, in each of them."""
    if world() == 1:
        return number
    values = torch.tensor([number])
    distributed.all_reduce(values, distributed.ReduceOp.MAX, group=_on_cpu)
    return int(values)


def mean(values: Tensor) -> Tensor:
    """The mean over the processes of a tensor that each of them has."""
    if world() > 1:
        values = values.clone()
        distributed.all_reduce(values)
        values /= world()
    return values


def averaged(terms: Callable, networks: nn.ModuleList) -> Callable:
    """``terms``; the backward pass of what it gives leaves the processes' mean gradients in ``networks``.

    All processes start from the first one's weights. To be called while ``networks`` require gradients.

    Raises:
        InputError: torchrun started several processes that know nothing of each other.
    """
    if world() > 1 and len(networks):
        return DistributedDataParallel(_Terms(terms, networks))
    if world() == 1 < int(os.environ.get("WORLD_SIZE", 1)) and distributed.is_torchelastic_launched():
        raise InputError("torchrun started several processes: add multi_gpu_train.json to --config_file")
    return terms


class _Terms(nn.Module):
    """A function as the forward pass of the parameters it uses.

    An objective as a whole would not do: its two methods are two forward passes, of other parameters each, and the
    names in its state dict shall be those of one process. Of the networks only the parameters: batch norm's running
    means stay each process's own.
    """

    def __init__(self, terms: Callable, networks: nn.ModuleList) -> None:
        super().__init__()
        self.terms, self.weights = terms, nn.ParameterList(networks.parameters())

    def forward(self, *given: Any) -> Any:
        return self.terms(*given)
