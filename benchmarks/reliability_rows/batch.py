"""One bad scan among good ones."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import odd_files
from monai.data import DataLoader, Dataset
from monai.transforms import Compose
from readers import each, segment_itk, verdict

from reliability_rows.bench import Bench, Cell, Row, predict


def batch(bench: Bench) -> list[Row]:
    """Good scans with a truncated one among them: a mask of each good one, none of the bad, and an exit code."""
    home, count, bad = bench.folder / "batch" / "in", 8, 3
    home.mkdir(parents=True)
    scans = [home / f"scan{n}.nii.gz" for n in range(count)]
    for n, path in enumerate(scans):
        voxels = np.random.default_rng(n).integers(0, 900, (16, 16, 4)).astype("<i2")
        content = gzip.compress(odd_files.nifti(voxels))
        path.write_bytes(content[: len(content) // 2] if n == bad else content)
    code, masks, _ = predict(home, bench.folder / "batch" / "ours", bench.model)
    ended = {"ours": (code, [path.name for path in scans if str(path) in masks])}
    for tool, segment in {"SimpleITK": segment_itk, "MONAI": None}.items():
        folder = bench.folder / "batch" / tool
        (outcome,) = each(partial(_all, bench, segment, folder), [scans])
        ended[tool] = (int(outcome[0] != "done"), sorted(path.name for path in folder.glob("*")))
    cells = {}
    for tool, (code, made) in ended.items():
        cells[tool] = Cell()
        for n, path in enumerate(scans):
            cells[tool].add(path.name, (path.name in made) != (n == bad), "no mask" if n != bad else "a mask")
        cells[tool].add("exit code", code != 0, str(code))
    return [(f"a bad scan among {count}: the others' masks, none of it, exit code not 0", cells)]


def _all(bench: Bench, segment: Any, folder: Path, scans: Sequence[Path]) -> tuple[str, str]:
    """The loop that one would write: it ends at the first exception."""
    folder.mkdir()
    try:
        if segment is not None:
            for path in scans:
                segment(path, folder / path.name, bench.stock.network)
        else:
            load = Compose([*bench.stock.load.transforms, *bench.stock.prepare.transforms])
            for path, item in zip(scans, DataLoader(Dataset([{"image": str(p)} for p in scans], load)), strict=True):
                labels = bench.stock.inferer(item["image"], bench.stock.network).argmax(1)
                (folder / path.name).write_bytes(labels.numpy().tobytes())
    except Exception as error:
        return verdict(error, folder, own=False)
    return "done", ""
