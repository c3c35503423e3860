"""A prediction that is killed where the file system has neither hard links nor locks, and is run again."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import odd_files
from interrupted import at_call, quiet
from readers import GIB, TOOLS, segment_itk, stored

from reliability_rows.bench import Bench, Cell, Row, become

SHAPE = (64, 64, 4)  # a mask of some kilobytes, which takes a moment to write
CALLS_BEFORE = 30  # a kill at a file call comes at one of so many, of a run that makes some more

Run = Callable[[Path], None]  # segments all scans into a folder


def places(bench: Bench) -> list[Row]:
    """Ours runs where ``os.link``, ``flock`` and ``lockf`` fail. The others use neither; they are killed alike."""
    home = bench.folder / "places"
    scans = _scans(home / "in")
    cells = {tool: Cell() for tool in TOOLS}
    for tool, run in _runs(bench, scans).items():
        whole, seconds = home / tool, _seconds(run, home / tool)
        masks = {path.relative_to(whole): stored(path)[0] for path in whole.rglob("*.nii.gz")}
        assert len(masks) == len(scans), f"{tool} made {len(masks)} masks"
        draw = random.Random(0)
        for n in range(bench.few(50, 4) * 2):
            folder = home / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            if n % 2 and tool == "ours":
                trap, wait = at_call(draw.randrange(CALLS_BEFORE), draw.random() < 0.5), None
            else:
                trap, wait = None, draw.random() * seconds
            _ended(_start(run, folder, trap), wait)
            wrong = _not_whole(folder, masks) or _rerun(run, folder, masks, tool == "ours")
            cells[tool].add(f"kill {n}", not wrong, wrong)
    return [("a prediction killed where neither links nor locks are: whole masks, and all of them by a rerun", cells)]


def without_links_and_locks() -> None:
    """From here on this process is on such a file system."""

    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    os.link = no_links  # type: ignore[assignment]
    fcntl.flock = fcntl.lockf = no_locks  # type: ignore[assignment]


def _scans(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"scan{n}.nii.gz" for n in range(2)]
    for n, path in enumerate(paths):
        voxels = np.random.default_rng(n).integers(0, 900, SHAPE).astype("<i2")
        path.write_bytes(gzip.compress(odd_files.nifti(voxels)))
    return paths


def _runs(bench: Bench, scans: list[Path]) -> dict[str, Run]:
    """How each tool segments the scans; ours by its command."""

    def by_itk(folder: Path) -> None:
        for path in scans:
            segment_itk(path, folder / path.name.split(".")[0], bench.stock.network)

    def by_monai(folder: Path) -> None:
        bench.stock(scans, folder)

    def by_ours(folder: Path) -> None:
        without_links_and_locks()
        streams = [folder.with_name(name) for name in ("log", "errors")]
        for stream in streams:
            stream.unlink(missing_ok=True)
        words = ["semicycle", "predict", scans[0].parent, "-o", folder, "--model", bench.model, "--no-largest"]
        become([*map(str, words), "--no-cycle"], streams, 8 * GIB)

    return {"SimpleITK": by_itk, "MONAI": by_monai, "ours": by_ours}


def _start(run: Run, folder: Path, trap: Callable[[], None] | None = None) -> int:
    """Run it in a process of its own, which kills itself by the trap; its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet()
            if trap:
                trap()
            run(folder)
            code = 0
        finally:
            os._exit(code)
    return child


def _ended(child: int, wait: float | None) -> None:
    """Kill a process after some seconds, or let it end by itself."""
    if wait is not None:
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _seconds(run: Run, folder: Path) -> float:
    """How long a run takes that nothing ends."""
    since = time.monotonic()
    _ended(_start(run, folder), None)
    return time.monotonic() - since


def _not_whole(folder: Path, masks: dict[Path, Any]) -> str:
    """Which mask that has its name is not what the uninterrupted run wrote, if any."""
    for name, truth in masks.items():
        if not (folder / name).is_file():
            continue
        try:
            same = np.array_equal(stored(folder / name)[0], truth)
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}"[:200]
        if not same:
            return f"{name} has other labels"
    return ""


def _rerun(run: Run, folder: Path, masks: dict[Path, Any], own: bool) -> str:
    """What is wrong after the same run once more, if anything; of ours also what it leaves and says."""
    _ended(_start(run, folder), None)
    missing = [str(name) for name in masks if not (folder / name).is_file()]
    if missing:
        return f"{', '.join(missing)} missing after the rerun"
    left = [path.name for path in folder.rglob(".part-*")]
    if left:
        return f"{', '.join(left)} left"
    if own and folder.with_name("errors").read_text(encoding="utf-8").count("file system without locks") != 1:
        return "not one warning of the missing locks"
    return _not_whole(folder, masks)
