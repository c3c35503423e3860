"""Runs the cells of a table, or other jobs, side by side on this machine; cells through submitit, too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from acdc_semicycle.experiments.execution import children, execute
from acdc_semicycle.experiments.grid import Options
from acdc_semicycle.experiments.progress import Board, expectations
from acdc_semicycle.experiments.runs import Run
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.machine import cores

DAY = 24 * 60  # minutes


def on_this_machine(runs: list[Run], options: Options, board: Board) -> None:
    """Run cells on this machine, each with its share of it."""
    shares = environments(options.jobs)
    with _threads(1) as pool:
        if not options.no_probe:
            board.expect(pool.submit(expectations, runs, options, shares[0], board.say).result(), len(shares))
    side_by_side(runs, execute, shares, board)


def side_by_side(
    runs: Sequence[Any], execute: Callable[[Any, dict[str, str]], str], shares: Sequence[dict[str, str]], board: Board
) -> None:
    """Run as many jobs at a time as there are shares of the machine, each with one of them.

    Args:
        runs: the jobs, as the board takes them.
        execute: runs one with the environment of its share; gives the error that ended it, or an empty text.
    """
    free: SimpleQueue[dict[str, str]] = SimpleQueue()
    for share in shares:
        free.put(share)

    def work(run: Any) -> str | None:
        """Run one job with a share of the machine; its error, or an empty text; None if it was not even started."""
        if children.stopped:
            return None
        share = free.get()
        try:
            board.start(run)
            return execute(run, share)
        except (OSError, ValueError) as error:
            return str(error)
        finally:
            free.put(share)

    with _threads(len(shares)) as pool, board:
        futures = {pool.submit(work, run): run for run in runs}
        while futures:
            for future in wait(futures, timeout=1, return_when=FIRST_COMPLETED).done:
                run, error = futures.pop(future), future.result()
                if error is not None:
                    board.end(run, error)
            board.show()


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for child processes; these are ended where an error or a signal ends the block."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()
        raise
    finally:
        pool.shutdown()


def environments(jobs: int) -> list[dict[str, str]]:
    """The environment of each of the runs at a time: its share of the cores as threads, and a GPU if there are any."""
    import torch  # slow: only where something is run

    count = torch.cuda.device_count()
    devices = _devices(count)
    jobs = jobs or max(1, count)
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // jobs))}
    if devices:
        return [threads | {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} for number in range(jobs)]
    return [threads] * jobs


def _devices(count: int) -> list[str]:
    """The numbers of the GPUs, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def submitted(runs: list[Run], options: Options, board: Board) -> None:
    """Run cells through submitit, which queues what a cluster has no room for."""
    executor = _executor(options)
    with executor.batch():
        jobs = {run: executor.submit(execute, run, {}) for run in runs}
    with board:
        for run in jobs:
            board.start(run)
        try:
            while jobs:
                for run, job in list(jobs.items()):
                    if job.done():
                        board.end(run, _error(jobs.pop(run)))
                board.show()
                time.sleep(1)
        finally:
            if options.submit == "local":  # on a cluster they stay in the queue, and a running one holds its folder
                for job in jobs.values():
                    job.cancel()


def _executor(options: Options) -> Any:
    """submitit's executor with the parameters that are asked for."""
    try:
        import submitit
    except ImportError as error:
        raise InputError("--submit needs submitit: pip install submitit") from error
    parameters: dict[str, Any] = {"timeout_min": DAY}
    if options.jobs:
        parameters["slurm_array_parallelism"] = options.jobs
    try:
        executor = submitit.AutoExecutor(folder=options.out / "submitit", cluster=options.submit)
        executor.update_parameters(**parameters | options.submit_options)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"submitit refuses {options.submit} {options.submit_options}: {reason}") from error
    return executor


def _error(job: Any) -> str:
    """The error that ended a job, in one line; empty if it finished."""
    try:
        return job.result()
    except Exception as error:  # whatever ended the job, on whatever machine: the others continue
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{lines[-1] if lines else type(error).__name__} ({job.paths.stderr})"
