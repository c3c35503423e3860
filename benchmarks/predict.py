#!/usr/bin/env python
"""Prediction, ours beside stock MONAI's with the same network, in one process and in turn.

    python benchmarks/predict.py [--quick] [--device cuda] [--size 128] [--filters 16]

Makes smooth random scans of its own in a temporary folder, and a network of random weights. The stock pipeline is
LoadImaged, Orientationd, ScaleIntensityRangePercentilesd, Resized, SliceInferer, Invertd, AsDiscreted, SaveImaged. Both
give label maps only, without the largest component and the cycle, which stock has not; ours with them comes last. The
floor is the network alone, on slices that are ready, in batches as ours takes them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import decollate_batch
from monai.inferers import SliceInferer
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    Resized,
    SaveImaged,
    ScaleIntensityRangePercentilesd,
)
from scipy.ndimage import gaussian_filter, zoom

from acdc_semicycle import checkpoints
from acdc_semicycle.networks import ResidualGenerator

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "bundles" / "semicycle" / "configs" / "inference.json"
STAGES = ("read", "prepare", "network", "back", "judge", "write")
CLOSE = 1e-3  # share of voxels whose labels may differ: percentiles and the order of sums differ in the last bits


def scans(folder: Path, count: int, shape: tuple[int, int, int]) -> list[Path]:
    """Smooth random volumes; a few are made, and written again and again."""
    random, made = np.random.default_rng(0), []
    for _ in range(min(count, 4)):
        coarse = random.random([-(-n // f) for n, f in zip(shape, (12, 12, 2), strict=True)])
        smooth = zoom(coarse, np.array(shape) / coarse.shape, order=1) + 0.05 * random.random(shape)
        smooth = gaussian_filter(smooth, (1, 1, 0))
        voxels = ((smooth - smooth.min()) / np.ptp(smooth) * 900).astype(np.int16)
        made.append(nibabel.Nifti1Image(voxels, np.diag([1.4, 1.4, 10.0, 1.0])))
    folder.mkdir(parents=True)
    paths = [folder / f"scan{n:03d}.nii.gz" for n in range(count)]
    for n, path in enumerate(paths):
        nibabel.save(made[n % len(made)], path)
    return paths


def network_files(folder: Path, size: int, filters: int) -> Path:
    """A network of random weights, as training leaves it."""
    torch.manual_seed(0)
    path, card = folder / "models" / "model.pt", {"filters": filters, "image_size": [size, size]}
    checkpoints.save(path, ResidualGenerator(1, 4, filters=filters).state_dict())
    painter = ResidualGenerator(4, 1, filters=filters, activation=torch.nn.Tanh())
    checkpoints.save(path.with_name("painter.pt"), painter.state_dict())
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
    return path


class Stock:
    """MONAI's own transforms, as its tutorials put them together; seconds of each stage a scan in ``seconds``."""

    def __init__(self, model: Path, size: int, filters: int, device: str) -> None:
        self.device = torch.device(device)
        self.network = ResidualGenerator(1, 4, filters=filters).to(device).eval()
        self.network.load_state_dict(torch.load(model, weights_only=True))
        self.load = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", "RAS")])
        self.prepare = Compose([
            ScaleIntensityRangePercentilesd("image", 0.5, 99.5, -1, 1, clip=True),
            Resized("image", (size, size, -1), mode="trilinear", anti_aliasing=True),
        ])  # fmt: skip
        self.inferer = SliceInferer(roi_size=(size, size), sw_batch_size=4, spatial_dim=2)
        before = Compose([*self.load.transforms, *self.prepare.transforms])
        self.back = Compose([
            Activationsd("pred", softmax=True),
            Invertd("pred", transform=before, orig_keys="image", nearest_interp=False),
            AsDiscreted("pred", argmax=True),
        ])  # fmt: skip

    @torch.no_grad()
    def __call__(self, paths: list[Path], out: Path) -> dict[str, list[float]]:
        save = SaveImaged(
            "pred", output_dir=out, output_postfix="seg", separate_folder=False, output_dtype=np.uint8, print_log=False
        )
        seconds: dict[str, list[float]] = {stage: [] for stage in STAGES if stage != "judge"}
        for path in paths:
            since = time.perf_counter()

            def tick(stage: str) -> None:
                nonlocal since
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                now = time.perf_counter()
                seconds[stage].append(now - since)
                since = now

            item = self.load({"image": str(path)})
            tick("read")
            item = self.prepare(item)
            tick("prepare")
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.network)
            item = {"image": item["image"], "pred": decollate_batch(item["pred"])[0]}
            tick("network")
            item = self.back(item)
            tick("back")
            save(item)
            tick("write")
        return seconds


def ours(paths: list[Path], out: Path, model: Path, device: str, **more: Any) -> tuple[float, dict[str, list[float]]]:
    """Seconds of one run of the bundle over all of them, and those of each stage from its ledger."""
    settings = {"cycle": False, "largest": False, "device": torch.device(device)} | more
    settings |= {"input": paths, "output_dir": out, "checkpoint": model}
    flow = ConfigWorkflow(str(CONFIG), workflow_type="infer", logging_file=False, **settings)
    flow.initialize()
    flow.parser.get_parsed_content("network")  # built and moved; its weights are still read within the time
    with contextlib.redirect_stderr(io.StringIO()):
        since = time.perf_counter()
        flow.run()
        whole = time.perf_counter() - since
    cases = json.loads((out / "predictions.json").read_text(encoding="utf-8"))["cases"]
    return whole, {stage: [case["seconds"][stage] for case in cases] for stage in STAGES}


def floor(stock: Stock, slices: int, size: int, batch: int) -> float:
    """Seconds of the network alone for one scan's slices."""
    x = torch.rand(slices, 1, size, size, device=stock.device)
    times = []
    with torch.no_grad():
        for _ in range(4):
            since = time.perf_counter()
            for part in x.split(batch):
                stock.network(part)
            if stock.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - since)
    return statistics.median(times[1:])


def differing(paths: list[Path], one: Path, other: Path) -> float:
    """The share of voxels whose labels differ."""
    names = [path.name.replace(".nii.gz", "_seg.nii.gz") for path in paths]
    maps = [[np.asarray(nibabel.load(folder / name).dataobj) for name in names] for folder in (one, other)]
    assert all(len(np.unique(labels)) > 1 for labels in maps[0]), "a network that says one thing tests nothing"
    return float(np.mean([(a != b).mean() for a, b in zip(*maps, strict=True)]))


def start_up(scan: Path, model: Path, out: Path, repeats: int) -> None:
    """``semicycle --help`` and ``semicycle predict`` on one scan, each in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in (["--help"], ["predict", str(scan), "-o", str(out), "--model", str(model)]):
        times, inside = [], []
        for _ in range(repeats):
            with contextlib.suppress(FileNotFoundError):
                (out / "predictions.json").unlink()
            since = time.perf_counter()
            command = [sys.executable, "-m", "acdc_semicycle", *words]
            subprocess.run(command, check=True, env=environment, capture_output=True)
            times.append(time.perf_counter() - since)
            if words[0] == "predict":
                (case,) = json.loads((out / "predictions.json").read_text(encoding="utf-8"))["cases"]
                inside.append(sum(case["seconds"][stage] for stage in ("network", "judge")))
        print(f"semicycle {words[0]:<8} {statistics.median(times):6.2f} s", end="")
        print(f", {statistics.median(times) - statistics.median(inside):.2f} s besides the networks" if inside else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="fewer scans and repeats")
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the network's grid")
    parser.add_argument("--filters", type=int, default=16, help="64 is the paper's")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    repeats, many = (3, 8) if given.quick else (9, 100)
    shape, folder = (216, 256, 10), Path(tempfile.mkdtemp(prefix="semicycle"))
    model = network_files(folder, given.size, given.filters)
    paths = scans(folder / "in", many, shape)
    stock = Stock(model, given.size, given.filters, given.device)
    name = torch.cuda.get_device_name() if given.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{shape[0]} x {shape[1]} x {shape[2]}, network {given.size} x {given.size}, {given.filters} filters, {name}")

    one: dict[str, dict[str, list[float]]] = {"stock": {}, "ours": {}}
    for n in range(repeats + 1):  # the first warms up
        for which in ("stock", "ours"):
            out = folder / f"one {which} {n}"
            found = stock(paths[:1], out) if which == "stock" else ours(paths[:1], out, model, given.device)[1]
            for stage, seconds in found.items():
                one[which].setdefault(stage, []).extend(seconds if n else [])
    median = {which: {stage: statistics.median(s) for stage, s in of.items()} for which, of in one.items()}
    lowest = floor(stock, shape[2], given.size, 32 if given.device == "cuda" else 4)
    print(f"\none volume, ms, median of {repeats}\n{'':10}{'stock':>9}{'ours':>9}{'ratio':>8}")
    rows: list[tuple[str, float, float]] = [(s, median["stock"].get(s, 0.0), median["ours"][s]) for s in STAGES]
    besides = [sum(row[k] for row in rows if row[0] != "network") for k in (1, 2)]
    rows += [("besides", besides[0], besides[1]), ("all", sum(median["stock"].values()), sum(median["ours"].values()))]
    for label, plain, mine in rows:
        print(f"{label:10}{plain * 1e3:9.1f}{mine * 1e3:9.1f}{plain / mine:8.1f}")
    print(f"{'floor':10}{lowest * 1e3:9.1f}{lowest * 1e3:9.1f}   the network alone")

    print(f"\n{many} volumes, s, by volume ms\n{'':10}{'stock':>9}{'ours':>9}{'ratio':>8}{'floor':>9}")
    for n in range(2 if given.quick else 3):
        since = time.perf_counter()
        stock(paths, folder / f"stock {n}")
        plain = time.perf_counter() - since
        mine, _ = ours(paths, folder / f"ours {n}", model, given.device)
        print(f"{'':10}{plain:9.2f}{mine:9.2f}{plain / mine:8.2f}{lowest * many:9.2f}")
        print(f"{'  a volume':10}{plain / many * 1e3:9.1f}{mine / many * 1e3:9.1f}{'':8}{lowest * 1e3:9.1f}")
    share = differing(paths, folder / "stock 0", folder / "ours 0")
    print(f"labels that differ: {share:.2e} of all voxels (at most {CLOSE:g})")

    whole, _ = ours(paths, folder / "default", model, given.device, cycle=True, largest=True)
    print(f"\nours with the cycle and the largest component: {whole / many * 1e3:.1f} ms a volume")
    start_up(paths[0], model, folder / "start", 1 if given.quick else 5)
    assert share <= CLOSE, "not the same result"


if __name__ == "__main__":
    main()
