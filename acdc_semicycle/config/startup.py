"""What the bundle's configuration calls: where things are, how a run begins, how errors are shown."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from acdc_semicycle.config import former
from acdc_semicycle.config.networks import check_networks
from acdc_semicycle.config.parser import calling_parser, calling_workflow
from acdc_semicycle.config.validate import check, check_paths, check_values
from acdc_semicycle.data.splits import Split
from acdc_semicycle.datasets import phantom
from acdc_semicycle.runtime import distributed, environment, signals
from acdc_semicycle.runtime.errors import InputError, causes, speak_in_turn
from acdc_semicycle.runtime.versions import warn_below_floors

log = logging.getLogger("semicycle")

STARTED = time.monotonic()
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: "  # torch's plain RuntimeError, on a CPU
NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # Python does not say of which file


def begin() -> None:
    """Before all else: errors in one line from here on, and the configuration checked."""
    gc.freeze()  # what is imported stays: looking for garbage in it costs half a second at the end alone
    sys.excepthook = show_error
    threading.excepthook = _show_of_thread  # TensorBoard writes in one
    signals.listen()
    environment.chosen()
    if int(os.environ.get("RANK", 0)) == 0:  # one of several processes warns
        warn_below_floors()
    parser, flow = calling_parser(), calling_workflow()
    if parser is None:
        return
    former.understand(parser)
    config = parser.get()
    if flow and flow.run_id not in config:
        tasks = [key for key in ("training", "evaluating", "run") if key in config]
        raise InputError(f"{flow.run_id!r} is no task of this configuration: give {' or '.join(tasks)}")
    check_paths(sys.argv, config)
    check(config)
    if "image_size" in config:
        check_values(parser.get_parsed_content)
        check_networks()


def prepare(number: int, deterministic: bool, device: str | torch.device) -> None:
    """Seed all that draws at random, and refuse a device that this machine does not have."""
    seed(number, deterministic)
    distributed.check_device(device)


def claim(checkpoints: Any, report: Any, split: Split, output_dir: str | Path) -> None:
    """Hold the run's folder and refuse what is in the way, before anything is written or prepared."""
    checkpoints.claim()
    checkpoints.check()
    report.check()
    split.save(Path(str(output_dir)) / "split.json")


def train(trainer: Any, checkpoints: Any, report: Any) -> None:
    """Train, from the last checkpoint if there is one, and report on the network that was kept."""
    checkpoints.attach(trainer)
    trainer.run()
    report.write()


def in_order(parts: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    """Named components as a list, in the order in which they stand; null leaves one out."""
    named = parts.values() if isinstance(parts, Mapping) else parts
    return [part for part in named if part is not None]


def environment_value(name: str) -> str | None:
    """A variable of the environment; None where it is not set or empty."""
    return os.environ.get(name) or None


def seed(number: int, deterministic: bool = False) -> None:
    """Seed all that draws at random.

    Args:
        deterministic: on a GPU too, the same numbers each time; an operation that cannot then ends the run.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
    set_determinism(number, use_deterministic_algorithms=deterministic)


def run(config_files: Sequence[str], settings: dict[str, Any], run_id: str | None = None) -> None:
    """Run a configuration in this process, some of its keys set to values that MONAI does not read as code."""
    kind, names = ("train", {"run_id": run_id}) if run_id else ("infer", {})
    try:
        flow = ConfigWorkflow(list(config_files), workflow_type=kind, **names, **settings)
        flow.initialize()
        flow.run()
        flow.finalize()
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, InputError):
                raise cause from error
        raise


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line for what a user can mend; MONAI wraps errors in others, so their causes are looked through."""
    speak_in_turn()
    for cause in causes(error):
        if isinstance(cause, InputError | FloatingPointError):
            print(f"error: {cause}", file=sys.stderr)
            return
        if isinstance(cause, KeyboardInterrupt):
            print("interrupted: the same command continues from what was saved last", file=sys.stderr)
            return
        if isinstance(cause, OSError) and cause.filename is not None:
            print(f"error: {os.fsdecode(cause.filename)}: {cause.strerror}", file=sys.stderr)
            return
        if isinstance(cause, OSError) and cause.errno in NO_PLACE:
            print(f"error: {cause.strerror}: make room, and give the same command again", file=sys.stderr)
            return
        if isinstance(cause, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(cause):
            reason = next(iter(str(cause).rpartition(NO_MEMORY)[2].splitlines()), "")
            print(
                f"error: not enough memory{reason and f' ({reason})'}: give a smaller image_size or batch_size",
                file=sys.stderr,
            )
            return
    traceback.print_exception(kind, error, trace)


def _show_of_thread(failed: threading.ExceptHookArgs) -> None:
    show_error(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)


def data_root(dataset_dir: str | Path | None, output_dir: str | Path) -> Path:
    """The data set's folder; where none is given the phantom, written below ``output_dir`` and said so."""
    if dataset_dir is not None:
        if isinstance(dataset_dir, bool):
            raise InputError("--dataset_dir has no value: give --dataset_dir FOLDER")
        if not str(dataset_dir).strip():
            raise InputError("dataset_dir is empty: give the ACDC folder, or leave it out for the embedded phantom")
        return Path(str(dataset_dir))
    root = Path(output_dir) / "phantom"
    if (Path(output_dir) / "split.json").exists() and not root.exists():
        raise InputError(
            f"{output_dir} holds a training on other data than the embedded phantom: give these as --dataset_dir, or in"
            " the environment's ACDC_DIR"
        )
    log.warning(
        "no data set found: neither --dataset_dir nor the environment's ACDC_DIR is given. The embedded"
        " phantom and a small network stand in: a demonstration, not a result"
    )
    if distributed.rank() == 0:
        phantom.write(root)
    distributed.wait()
    return root


def required(name: str, what: str) -> Any:
    """Stands in a configuration for a setting that has no default."""
    raise InputError(f"{name} is not given: give {what} (--{name} ...)")


def chosen(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measure that decides which epoch's network is kept."""
    if name not in metrics:
        raise InputError(f"selection_metric is {name!r}: give one of {', '.join(metrics)}")
    return {name: metrics[name]}


def others(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measures that are only shown."""
    return {key: value for key, value in metrics.items() if key != name}


def probe(trainer: Any, evaluator: Any, val_interval: int, steps: int = 3) -> None:
    """Time some steps and one validation image, and print as JSON what a whole run is made of; nothing is kept."""
    started = time.monotonic()
    batches = iter(trainer.data_loader)
    count = min(1 + steps, len(trainer.data_loader))
    times = [_seconds(trainer._iteration, trainer, next(batches)) for _ in range(count)]
    images, evaluator.state.epoch_length = evaluator.state.epoch_length, 1
    _seconds(evaluator.run)
    validation = _seconds(evaluator.run)
    parts = {
        "step_seconds": statistics.median(times[1:] or times),  # the first one warms up
        "steps": trainer.state.max_epochs * len(trainer.data_loader),
        "validation_seconds": validation * images,
        "validations": trainer.state.max_epochs // val_interval,
        "start_seconds": started - STARTED,
    }
    print(json.dumps(parts), flush=True)


def _seconds(work: Any, *arguments: Any) -> float:
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started
