"""How many days a training would take without a GPU: said in its first lines, before its data are read."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.validate import target_of
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.methods.objective import Objective
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")

DAY = 24 * 3600.0
GIB = 2**30
PROGRAM = 0.6 * GIB  # what the demonstration takes: Python, torch, and a small network
BESIDE = 1.3  # the judges, gradients and optimisers beside what the generators keep: 7.4 GiB were measured
SAMPLE = 3  # images whose slices are counted
WARM = 1.0  # seconds of a pass beside which its warming up does not count


class Pass(NamedTuple):
    """What one image costs: through the segmenter and back.

    Attributes:
        kept: bytes that wait for the backward pass.
    """

    seconds: float
    kept: float


def warn_of_days(parser: ConfigParser) -> None:
    """Say how many days a training takes on this CPU, and how much memory, if it takes more than one.

    Nothing is said of a run that continues, and of one whose data cannot be read: the run itself then says why.
    """
    if not _is_a_first_start_on_a_cpu(parser):
        return
    try:
        steps = _steps(parser)
    except (InputError, OSError):
        return
    seconds, kept = _step(parser, _pass(parser))
    if steps * seconds < DAY:
        return
    log.warning(
        "on this CPU the training takes about %s and %.1f GiB of memory (%d steps of %.0f s): it is made for a GPU",
        *(many(round(steps * seconds / DAY), "day"), (BESIDE * kept + PROGRAM) / GIB, steps, seconds),
    )
    log.warning("without one: semicycle train few ... takes an evening, small ... an hour, --minutes 90 what you have")


def _is_a_first_start_on_a_cpu(parser: ConfigParser) -> bool:
    """Whether one process begins a training on a CPU whose length is not measured already."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 or value_of(parser, "demo"):
        return False
    if torch.device(value_of(parser, "device")).type != "cpu" or value_of(parser, "minutes") is not None:
        return False
    return not (Path(str(value_of(parser, "ckpt_dir"))) / "last.pt").exists()


def _steps(parser: ConfigParser) -> int:
    """The steps of the whole training.

    Raises:
        InputError: the data set, or one of the images whose slices are counted, cannot be read.
    """
    per_epoch = value_of(parser, "steps_per_epoch")
    if per_epoch is None:
        per_epoch = max(
            _batches(parser, "labelled", "batch_size"), _batches(parser, "unlabelled", "unlabelled_batch_size")
        )
    return value_of(parser, "epochs") * per_epoch


def _batches(parser: ConfigParser, part: str, batch_size: str) -> int:
    """About how many batches show each slice of a part of the split once, as :class:`~acdc_semicycle.data.pairs.Pairs`.

    The slices of some images are counted, and stand for the others.
    """
    records: Sequence[Record] = value_of(parser, "split").records(part, value_of(parser, "records"))
    if not records:
        return 0
    load = LoadCheckedd("image", value_of(parser, "channels"))
    slices = 0
    sample = records[:: max(1, len(records) // SAMPLE)]
    for record in sample:
        item: dict[Hashable, Any] = {"image": record.image}
        if record.frame is not None:
            item["frame"] = record.frame
        slices += 1 if record.slice is not None else load(item)["image"].shape[-1]
    return round(slices / len(sample) * len(records)) // value_of(parser, batch_size)


def _step(parser: ConfigParser, one_pass: Pass) -> Pass:
    """What a step costs: both batches, as often as the method computes them."""
    method = target_of(parser.get("objective_def"))
    of_labelled, of_unlabelled = getattr(method, "passes", Objective.passes)
    if not value_of(parser, "split").unlabelled:
        of_unlabelled = 0
    images = of_labelled * value_of(parser, "batch_size") + of_unlabelled * value_of(parser, "unlabelled_batch_size")
    return Pass(images * one_pass.seconds, images * one_pass.kept)


def _pass(parser: ConfigParser) -> Pass:
    """Time the segmenter of the configuration on one image of its size, a network of its own."""
    own = ConfigParser(copy.deepcopy(parser.get()))
    network: nn.Module = value_of(own, "network_def").eval()
    size = value_of(own, "window") or value_of(own, "image_size")
    image = torch.zeros(1, value_of(own, "channels"), *size)
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        """Count what waits for the backward pass, but for the weights."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    seconds = 0.0
    for _ in range(2):  # the first one warms up
        kept.clear()
        started = time.monotonic()
        autocast = torch.autocast("cpu", enabled=value_of(own, "amp"), **value_of(own, "amp_kwargs"))
        with autocast, saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network(image).sum()
        loss.backward()
        seconds = time.monotonic() - started
        if seconds > WARM:
            break
    return Pass(seconds, sum(kept.values()))
