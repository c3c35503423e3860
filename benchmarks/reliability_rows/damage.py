"""One file cut at random places, and with single bits flipped."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import odd_files
from numpy.typing import NDArray
from readers import NEAR_MM, TOOLS, Read, corners_apart, each, verdict

from reliability_rows.bench import Bench, Cell, Row


def damage(bench: Bench) -> list[Row]:
    """Cuts and flips of one compressed scan; a flip that changes nothing, in gzip's own header, may be read."""
    shape = (128, 128, 12)  # 240 KB packed: of much smaller files SimpleITK notices a flipped bit, of these not
    voxels = np.random.default_rng(0).normal(300, 40, shape).astype("<i2")
    content = gzip.compress(odd_files.nifti(voxels))
    draw, n = random.Random(0), bench.few(150, 15)
    cut = [content[: draw.randrange(len(content))] for _ in range(n)]
    flipped = [flip(content, draw.randrange(len(content)), draw.randrange(8)) for _ in range(n)]
    rows = []
    for what, contents in {"cut at a random byte": cut, "with one random bit flipped": flipped}.items():
        cells = {tool: Cell() for tool in TOOLS}
        for tool in TOOLS:
            work = partial(_damaged, bench.readers[tool], bench.folder / "damaged.nii.gz", voxels, tool == "ours")
            for k, (outcome, text) in enumerate(each(work, contents)):
                cells[tool].add(f"{what}, {k}", outcome in ("refused", "right"), f"{outcome}: {text}")
        rows.append((f"a .nii.gz {what}: refused" + (" or right" if "bit" in what else ""), cells))
    return rows


def flip(content: bytes, place: int, bit: int) -> bytes:
    result = bytearray(content)
    result[place] ^= 1 << bit
    return bytes(result)


def _damaged(read: Callable[[Path], Read], path: Path, truth: NDArray, own: bool, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    try:
        voxels, affine = read(path)
    except Exception as error:
        return verdict(error, path, own)
    same = voxels.size == truth.size and bool((voxels.reshape(truth.shape) == truth).all())
    same = same and corners_apart(affine, odd_files.PLACE, truth.shape) < NEAR_MM
    return ("right", "") if same else ("wrong", "read without an error")
