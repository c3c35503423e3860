"""Tables 1 and 2 of the paper: every run of them, one after the other or side by side, then the tables.

With the overlay few it is the table of few annotated patients instead: each run is semicycle train few METHOD.

semicycle table [OVERLAY ...] --data acdc=PATH [--data voc=PATH] [--data cityscapes=PATH] [--KEY VALUE ...]
semicycle table --only "acdc labels=10,20 method=partial,semicycle" --seeds 0,1,2 ...   a part (may be given again)
semicycle table few --only "acdc labels=3,7,14 method=partial,few" --train_list FILE --validation_list FILE ...
semicycle table --report results                                  the tables again, from the runs that are finished

--data NAME=PATH   a data set; without any, those of the environment's ACDC_DIR, VOC_DIR, CITYSCAPES_DIR
--only SPEC        "DATASET[,DATASET] [labels=20,10,3p] [method=NAME,NAME]"; labels in percent, or 3p: three patients;
                   methods full, hung, partial, semicycle, no_cycle_S, no_cycle_I, no_disc_S, no_disc_I
                   after few: labels are numbers of annotated patients (3,7,14); methods few, partial, mean_teacher,
                   unimatch, bcp, hung, semicycle
--seeds 0,1,2      each run with each of these seeds (0)
--out FOLDER       where runs and tables go (results)
--jobs N           runs at a time (as many as there are CUDA devices, each with its own; else 1)
--submit slurm     hand the runs to submitit; local does the same without a cluster
--submit-options   "timeout_min=600 slurm_partition=gpu gpus_per_node=1" (by default a day each)
--dry-run          print the commands, run nothing
--no-probe         do not measure how long it will take
--no-images        panels of predictions alone, for a data set whose licence does not allow to show its images

Overlays and any other key are those of ``semicycle train`` and go to every run. Stop at any moment: the same command
continues where it was.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from acdc_semicycle.config.locations import check_keys
from acdc_semicycle.config.overlays import check_sections
from acdc_semicycle.experiments import few_runs, few_table, tables
from acdc_semicycle.experiments.execution import children
from acdc_semicycle.experiments.grid import Options, cells
from acdc_semicycle.experiments.progress import Board
from acdc_semicycle.experiments.results import finished_runs
from acdc_semicycle.experiments.runs import LAUNCHER, Run
from acdc_semicycle.experiments.scheduling import on_this_machine, submitted

PROGRAM = (sys.executable, "-m", "acdc_semicycle")  # runs semicycle


def main(arguments: list[str], launcher: Sequence[str] = LAUNCHER) -> int:
    """Run the command; its exit code. ``launcher`` runs the bundle, or in its place what ``semicycle`` runs."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        options = Options.read(arguments)
        if launcher == LAUNCHER:
            check_keys([key.removeprefix("--") for key in options.further[::2]], options.overlays)
        if options.report:
            print(_report(Path(options.report), not options.no_images), end="")
            return 0
        return _run(options, tuple(launcher))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


def _run(options: Options, launcher: tuple[str, ...]) -> int:
    """Run the cells that are asked for, or print their commands; the exit code."""
    runs = _runs(options, launcher)
    if launcher == LAUNCHER:
        for files in {run.files for run in runs}:
            check_sections(files, options.further)
    pending = [run for run in runs if not run.finished()]
    if options.dry_run:
        for run in runs:
            print("\n".join(run.commands()))
        return 0
    return carry_out(pending, len(runs), options)


def _runs(options: Options, launcher: tuple[str, ...]) -> list[Run]:
    """The runs of the table that is asked for."""
    if not options.few_patients:
        return [Run.of(cell, options, launcher) for cell in cells(options)]
    program = PROGRAM if launcher == LAUNCHER else launcher
    return [few_runs.run_of(cell, options, program) for cell in cells(options)]


def _report(out: Path, images: bool) -> str:
    """Write the tables of all runs below a folder that are finished; their text."""
    texts = []
    runs_of_few = few_runs.finished_runs(out)
    if finished_runs(out) or not runs_of_few:
        texts.append(tables.write(out, images))
    if runs_of_few:
        texts.append(few_table.write(out, runs_of_few))
    return "\n".join(texts)


def carry_out(pending: list[Run], total: int, options: Options) -> int:
    """Run what is not finished, then write the tables; 1 if a run failed, 130 if it was stopped."""
    board = Board(pending, total)
    os.environ.setdefault("SEMICYCLE_CACHE", str(options.out / "cache"))  # runs of the same slices prepare them once
    try:
        with stoppable():
            if not pending:
                board.say(f"all {total} runs are finished")
            elif options.submit:
                submitted(pending, options, board)
            else:
                on_this_machine(pending, options, board)
    except KeyboardInterrupt:
        print("stopped: the same command continues where it was", file=sys.stderr)
        return 130
    _write(options)
    for run, error in board.failed.items():
        print(f"failed: {run.name}: {error}", file=sys.stderr)
    return 1 if board.failed else 0


def _write(options: Options) -> None:
    """Write and print the table that is asked for, if any of its runs is finished."""
    if options.few_patients:
        runs = few_runs.finished_runs(options.out)
        if runs:
            print(f"\n{few_table.write(options.out, runs)}\n{options.out / 'few.md'}")
    elif finished_runs(options.out):
        print(f"\n{tables.write(options.out, not options.no_images)}\n{options.out / 'table.md'}")


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into one KeyboardInterrupt, and end the children at the end."""

    def stop(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.getsignal(number)
    children.stopped = False
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        children.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
