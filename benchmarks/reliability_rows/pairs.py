"""Bad pairs of an image and a mask: said before the training."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import odd_files
import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceLoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRangePercentilesd,
)
from numpy.typing import NDArray
from readers import each

from acdc_semicycle.data.check import check
from acdc_semicycle.datasets import phantom
from reliability_rows.bench import Bench, Cell, Row
from reliability_rows.damage import flip


def _again(path: Path, change: Callable[[NDArray], NDArray] = lambda v: v, move: Any = None) -> None:
    """Store a volume again with other voxels, or another affine."""
    old = nibabel.load(path)
    affine = old.affine if move is None else old.affine @ move
    path.write_bytes(gzip.compress(odd_files.nifti(change(np.asanyarray(old.dataobj)), affine)))


def _value(value: float) -> Callable[[NDArray], NDArray]:
    def change(voxels: NDArray) -> NDArray:
        voxels = voxels.astype("<f4")
        voxels[3, 4, 2] = value
        return voxels

    return change


FLIP, MOVE = np.diag([-1.0, 1, 1, 1]), np.eye(4)
FLIP[0, 3], MOVE[0, 3] = 21, 10  # to ten voxels beside itself, 15 mm and more; by as much
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
PAIRS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {  # which file, what should be said, and what is done
    "mask flipped in its header": ("mask", "fault", lambda p: _again(p, move=FLIP)),
    "mask 15 mm off": ("mask", "fault", lambda p: _again(p, move=MOVE)),
    "mask of 30 rows": ("mask", "fault", lambda p: _again(p, lambda v: v[:30])),
    "mask of 0, 0.5, 1": ("mask", "fault", lambda p: _again(p, lambda v: (np.minimum(v, 2) / 2).astype("<f4"))),
    "mask divided by 255": ("mask", "fault", lambda p: _again(p, lambda v: (v / 255).astype("<f4"))),
    "mask with NaN": ("mask", "fault", lambda p: _again(p, _value(np.nan))),
    "label 7": ("mask", "fault", lambda p: _again(p, _value(7))),
    "label -1": ("mask", "fault", lambda p: _again(p, _value(-1))),
    "mask of two frames": ("mask", "fault", lambda p: _again(p, lambda v: np.stack([v, v], -1))),
    "mask in colours": ("mask", "fault", lambda p: _again(p, lambda v: np.zeros(v.shape, RGB))),
    "mask with a wrong checksum": ("mask", "fault", lambda p: p.write_bytes(flip(p.read_bytes(), -6, 2))),
    "mask that is the image": ("mask", "fault", lambda p: p.write_bytes(_image(p).read_bytes())),
    "image with NaN": ("image", "fault", lambda p: _again(p, _value(np.nan))),
    "image with Inf": ("image", "fault", lambda p: _again(p, _value(np.inf))),
    "image cut short": ("image", "fault", lambda p: p.write_bytes(p.read_bytes()[:-200])),
    "empty mask": ("mask", "warning", lambda p: _again(p, lambda v: v * 0)),
    "constant image": ("image", "warning", lambda p: _again(p, lambda v: v * 0 + 3)),
    "mask transposed under its own header": ("mask", "unknowable", lambda p: _again(p, lambda v: v.swapaxes(0, 1))),
}  # fmt: skip


def _image(mask: Path) -> Path:
    return mask.with_name(mask.name.replace("_gt", ""))


def pairs(bench: Bench) -> list[Row]:
    """In a tree of two patients each; a tree with nothing wrong is among them. The last pair nobody can know."""
    sound = bench.folder / "pairs" / "sound"
    phantom.write(sound, patients=2, size=(32, 32, 6))
    cells = {tool: Cell() for tool in ("MONAI", "ours")}
    counts: dict[str, Counter[str]] = {tool: Counter() for tool in cells}
    for n, (name, (which, expected, spoil)) in enumerate({"nothing": ("mask", "", None), **PAIRS}.items()):
        root = Path(shutil.copytree(sound, bench.folder / "pairs" / str(n)))
        image = root / "training" / "patient002" / "patient002_frame01.nii.gz"
        mask = image.with_name("patient002_frame01_gt.nii.gz")
        path = {"mask": mask, "image": image}[which]
        if spoil:
            spoil(path)
        found = {(finding.severity, finding.path) for finding in check(root, progress=iter)}
        said = next((severity for severity in ("fault", "warning") if (severity, path) in found), "")
        ((told, text),) = each(partial(_first_step, mask), [image])
        for tool, what in (("MONAI", "fault" if told else ""), ("ours", said)):
            counts[tool][{"fault": "refused", "warning": "warned"}.get(what, "silent")] += spoil is not None
        if expected == "unknowable":
            continue
        elsewhere = {where for _, where in found} - {image, mask}
        cells["ours"].add(name, said == expected and not elsewhere, said or "nothing said")
        cells["MONAI"].add(name, bool(told) == bool(expected), text or "nothing said")
    for tool, cell in cells.items():
        cell.note = "of all 18: " + ", ".join(f"{n} {how}" for how, n in counts[tool].items())
    return [("17 bad pairs of image and mask, and a sound one: told before training", cells)]


def _first_step(mask: Path, image: Path) -> tuple[str, str]:
    """Whether stock MONAI's transforms and loss complain of a pair, in its first step at the latest."""
    keys = ["image", "label"]
    load = Compose([
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        Orientationd(keys, "RAS"),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, -1, 1, clip=True),
        ResizeWithPadOrCropd(keys, (32, 32, 32)),
    ])  # fmt: skip
    try:
        (item,) = DataLoader(Dataset([{"image": str(image), "label": str(mask)}], load))
        logits = torch.cat([item["image"] * k for k in range(4)], 1)
        DiceLoss(to_onehot_y=True, softmax=True)(logits, item["label"])
    except Exception as error:
        return "said", f"{type(error).__name__}: {error}"[:200]
    return "", ""
