"""Runs the cells of a table side by side: on this machine, or through submitit."""

from __future__ import annotations

import os
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

from acdc_semicycle.experiments.execution import children, execute
from acdc_semicycle.experiments.grid import Options
from acdc_semicycle.experiments.progress import Board, expectations
from acdc_semicycle.experiments.runs import Run
from acdc_semicycle.runtime.errors import InputError

DAY = 24 * 60  # minutes


def on_this_machine(runs: list[Run], options: Options, board: Board) -> None:
    """On this machine, as many at a time as it has places."""
    places: SimpleQueue[dict[str, str]] = SimpleQueue()
    shares = environments(options.jobs)
    for share in shares:
        places.put(share)

    def work(run: Run) -> str:
        place = places.get()
        try:
            board.start(run)
            return execute(run, place)
        except (OSError, ValueError) as error:
            return str(error)
        finally:
            places.put(place)

    pool = ThreadPoolExecutor(len(shares))
    try:
        if not options.no_probe:
            board.expect(pool.submit(expectations, runs, options, shares[0], board.say).result(), len(shares))
        with board:
            futures = {pool.submit(work, run): run for run in runs}
            while futures:
                for future in wait(futures, timeout=1, return_when=FIRST_COMPLETED).done:
                    board.end(futures.pop(future), future.result())
                board.show()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()
        pool.shutdown()


def environments(jobs: int) -> list[dict[str, str]]:
    """The share of the machine that each run at a time gets: a GPU, or as many threads as there are cores for it."""
    import torch  # slow: only where something is run

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    jobs = jobs or max(1, count)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // jobs))}
    if devices:
        return [threads | {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} for number in range(jobs)]
    return [threads] * jobs


def submitted(runs: list[Run], options: Options, board: Board) -> None:
    """Through submitit, which queues what a cluster has no room for."""
    try:
        import submitit
    except ImportError as error:
        raise InputError("--submit needs submitit: pip install submitit") from error
    try:
        executor = submitit.AutoExecutor(folder=options.out / "submitit", cluster=options.submit)
        at_once = {"slurm_array_parallelism": options.jobs} if options.jobs else {}
        executor.update_parameters(**{"timeout_min": DAY} | at_once | options.submit_options)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"submitit refuses {options.submit} {options.submit_options}: {reason}") from error
    with executor.batch():
        jobs = {run: executor.submit(execute, run, {}) for run in runs}
    with board:
        for run in jobs:
            board.start(run)
        try:
            while jobs:
                for run in [run for run, job in jobs.items() if job.done()]:
                    board.end(run, _outcome(jobs.pop(run)))
                board.show()
                time.sleep(1)
        finally:
            if options.submit == "local":  # on a cluster they stay in the queue; what runs there holds its folder
                for job in jobs.values():
                    job.cancel()


def _outcome(job: Any) -> str:
    try:
        return job.result()
    except Exception as error:  # whatever ended the job, on whatever machine: the others go on
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{lines[-1] if lines else type(error).__name__} ({job.paths.stderr})"
