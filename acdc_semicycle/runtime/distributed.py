"""Several processes in one run, as torchrun starts them: which one this is, and what they send each other.

torch's ``DistributedDataParallel`` averages the gradients. Without torchrun there is one process, and nothing here
changes anything.
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

_on_cpu: distributed.ProcessGroup | None = None  # for Python objects, whichever backend the gradients use


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


def check_device(name: Any) -> None:
    """Refuse a device that this machine does not have, before any work.

    Raises:
        InputError: names the device and the reason.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, TypeError) as error:  # the second where torch was built without it
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else "no such device"
        raise InputError(
            f"device is {str(name)!r}, which this machine does not have ({reason}): give cpu, or leave it out"
        ) from error


def begin(seed: int | None = None, minutes: int = 30) -> None:
    """Join the processes that torchrun started, if it did.

    Args:
        seed: of the global random states; each process gets its own.
        minutes: how long a process waits for one that hangs. If one fails, torchrun ends all of them at once.
    """
    global _on_cpu
    if not distributed.is_torchelastic_launched():
        return
    if device().type == "cuda":
        torch.cuda.set_device(device())
    backend = "nccl" if device().type == "cuda" else "gloo"
    show_error = sys.excepthook
    distributed.init_process_group(backend, timeout=timedelta(minutes=minutes))
    sys.excepthook = show_error  # torch's own writes [rank0] before each line
    _on_cpu = distributed.new_group(backend="gloo", timeout=timedelta(minutes=minutes))
    ignite.distributed.sync()  # else its first use waits for all processes, which may come to it at other times
    if seed is not None:
        set_determinism(seed + rank())
    if rank():
        logging.disable(logging.WARNING)  # the first process reports for all


def end() -> None:
    """Leave the other processes, once all have come here."""
    if distributed.is_initialized():
        wait()
        distributed.destroy_process_group()


def wait() -> None:
    """Wait until all processes have come here."""
    if world() > 1:
        distributed.barrier(group=_on_cpu)


def gather(item: Any) -> list[Any]:
    """The items of all processes, in the order of their numbers; an empty list except in the first process."""
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


@torch.no_grad()
def share_weights(network: nn.Module) -> None:
    """Give every process the first one's weights, those that do not learn too; buffers stay each process's own."""
    if world() > 1:
        for weight in network.parameters():
            distributed.broadcast(weight, 0)


def averaged(terms: Callable, networks: nn.ModuleList) -> Callable:
    """``terms`` whose backward pass leaves the processes' mean gradients in ``networks``.

    Call it after :func:`share_weights`, and while ``networks`` require gradients.

    Raises:
        InputError: torchrun started several processes that have not joined each other.
    """
    if world() > 1 and len(networks):
        _freeze_unused(networks)
        return DistributedDataParallel(_Terms(terms, networks))
    if world() == 1 < int(os.environ.get("WORLD_SIZE", 1)) and distributed.is_torchelastic_launched():
        raise InputError("torchrun started several processes: add multi_gpu_train.json to --config_file")
    return terms


def _freeze_unused(networks: nn.ModuleList) -> None:
    """Freeze the head of MONAI's EfficientNet, which no encoder uses: DDP would wait for its gradient."""
    from monai.networks.nets import EfficientNetBNFeatures  # slow to import

    for module in networks.modules():
        if isinstance(module, EfficientNetBNFeatures):
            for unused in (module._conv_head, module._bn1, module._fc):
                unused.requires_grad_(False)


class _Terms(nn.Module):
    """A function as the forward pass of the parameters it uses.

    The objective itself cannot be wrapped: its two methods are forward passes of different parameters, and the names
    in its state dict must stay those of one process. Only parameters are shared: each process keeps its own running
    means of batch norm.
    """

    def __init__(self, terms: Callable, networks: nn.ModuleList) -> None:
        super().__init__()
        self.terms, self.weights = terms, nn.ParameterList(networks.parameters())

    def forward(self, *batch: Any) -> Any:
        """What ``terms`` gives for a batch."""
        return self.terms(*batch)
