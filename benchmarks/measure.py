"""What the benchmarks share: forms timed in turn in one process, medians and ratios, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import monai
import torch
from tqdm import tqdm


def machine(device: str) -> str:
    """The machine and the versions, in one line."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return (
        f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__},"
        f" MONAI {monai.__version__}"
    )


def seconds(work: Callable[[], Any], device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Of one call, with all that it started on the device."""
    _wait(device)
    started = clock()
    work()
    _wait(device)
    return clock() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def in_turn(
    forms: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each form. Each has one call to warm up; then all have one call in each round.

    ``time.process_time`` as clock counts what this process computes: for one thread, on a machine with other work.
    """
    for work in forms.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in tqdm(range(rounds), "timing", disable=None):
        for name, work in forms.items():
            times[name].append(seconds(work, device, clock))
    return {name: statistics.median(each) for name, each in times.items()}


def peak_flops(device: str, dtype: torch.dtype = torch.float32, size: int = 2048, repeats: int = 50) -> float:
    """Floating-point operations a second of a large matrix product, the best of some."""
    a, b = (torch.randn(size * (4 if device == "cuda" else 1), size, device=device, dtype=dtype) for _ in range(2))
    b = b.T
    a @ b
    return 2 * a.shape[0] * size * b.shape[1] / min(seconds(lambda: a @ b, device) for _ in range(repeats))


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
