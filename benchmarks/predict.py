#!/usr/bin/env python
"""Prediction, ours beside stock MONAI's with the same network, in one process and in turn.

    python benchmarks/predict.py [--quick] [--device cuda] [--size 128] [--filters 16] [--probabilities]

Scans of a phantom, and a network that is trained on them for a minute, so that its masks are those of hearts. The stock
pipeline is LoadImaged, Orientationd, ScaleIntensityRangePercentilesd, Resized, SliceInferer, Invertd, AsDiscreted,
SaveImaged. Both give label maps, without the largest component and the cycle, which stock has not; ours with them comes
last. The floor is the network alone, on slices that are ready, in batches as ours takes them. Start-up is that of a
process of its own; ``import`` is the part of it that goes for MONAI and torch, whatever one does with them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from measure import machine, table
from monai.bundle import ConfigWorkflow
from monai.data import decollate_batch
from monai.inferers import SliceInferer
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    Resized,
    SaveImaged,
    ScaleIntensityRangePercentilesd,
)
from torch.nn.functional import cross_entropy
from tqdm import trange

from acdc_semicycle.artifacts import weights
from acdc_semicycle.data.slices import Slices
from acdc_semicycle.data.transforms import LoadCheckedd, ScaleImaged
from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.methods.networks import ResidualGenerator

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "bundles" / "semicycle" / "configs" / "inference.json"
STAGES = ("read", "prepare", "network", "back", "judge", "write")
CLOSE = 1e-3  # share of voxels whose labels may differ: percentiles and the order of sums differ in the last bits


def scans(folder: Path, count: int, shape: tuple[int, int, int]) -> list[Path]:
    """End-diastoles of a few phantom patients, again and again.

    Upright: to stock's ``Orientationd`` the slices of an oblique short-axis stack are along another axis.
    """
    phantom.write(folder / "phantom", min(count, 4), size=shape)
    files = sorted((folder / "phantom").rglob("*_frame01.nii.gz"))
    made = [nibabel.Nifti1Image(nibabel.load(file).dataobj, np.diag([1.4, 1.4, 10.0, 1.0])) for file in files]
    paths = [folder / "in" / f"scan{n:03d}.nii.gz" for n in range(count)]
    paths[0].parent.mkdir()
    for n, path in enumerate(paths):
        nibabel.save(made[n % len(made)], path)
    return paths


def trained(folder: Path, size: int, filters: int, steps: int, device: str) -> Path:
    """A network that has seen the phantom's masks for so many steps, as training leaves it."""
    torch.manual_seed(0)
    network = ResidualGenerator(1, 4, filters=filters).to(device)
    resized = Compose([
        LoadCheckedd(["image", "label"]),
        ScaleImaged("image"),
        Resized(["image", "label"], (size, size, -1), mode=("trilinear", "nearest-exact")),
        CastToTyped("label", torch.uint8),
    ])  # fmt: skip
    slices = Slices(acdc.records(folder / "phantom"), resized)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for n in trange(steps, desc="training", disable=None):
        batch = slices.finished(slices.__getitems__([(4 * n + k) * 7 % len(slices) for k in range(4)]), device)
        loss = cross_entropy(network(batch["image"]), batch["label"][:, 0].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path, card = folder / "models" / "model.pt", {"filters": filters, "image_size": [size, size]}
    weights.save(path, {key: value.cpu() for key, value in network.state_dict().items()})
    image_generator = ResidualGenerator(4, 1, filters=filters, activation=torch.nn.Tanh())
    weights.save(path.with_name("image_generator.pt"), image_generator.state_dict())
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
    """Seconds of one run of the bundle over all of them, and those of each stage from its manifest."""
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


def start_up(scan: Path, model: Path, out: Path, repeats: int) -> list[list[str]]:
    """Seconds of processes of their own: the imports alone, ``--help``, and ``predict`` on one scan."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    predict = ["-m", "acdc_semicycle", "predict", str(scan), "-o", str(out), "--model", str(model)]
    commands = {
        "import torch": ["-c", "import torch"],
        "import torch, monai.bundle, monai.engines": ["-c", "import torch, monai.bundle, monai.engines"],
        "semicycle --help": ["-m", "acdc_semicycle", "--help"],
        "semicycle predict SCAN": predict,
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    inside = []
    for _ in range(repeats):
        for name, words in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            since = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, env=environment, capture_output=True)
            times[name].append(time.perf_counter() - since)
        (case,) = json.loads((out / "predictions.json").read_text(encoding="utf-8"))["cases"]
        inside.append(sum(case["seconds"][stage] for stage in ("network", "judge")))
    times["the same besides the networks"] = [
        whole - part for whole, part in zip(times["semicycle predict SCAN"], inside, strict=True)
    ]
    return [[name, f"{statistics.median(each):.2f}"] for name, each in times.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller scans, and fewer repeats")
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the network's grid")
    parser.add_argument("--filters", type=int, default=16, help="64 is the paper's")
    parser.add_argument("--steps", type=int, default=60, help="of training before")
    parser.add_argument("--probabilities", action="store_true", help="ours writes them, too")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    repeats, many = (2, 2) if given.quick else (9, 100)
    shape = (108, 128, 6) if given.quick else (216, 256, 10)
    print(machine(given.device))
    with tempfile.TemporaryDirectory(prefix="semicycle") as name:
        folder = Path(name)
        paths = scans(folder, many, shape)
        model = trained(folder, given.size, given.filters, given.steps, given.device)
        stock = Stock(model, given.size, given.filters, given.device)
        print(f"{' x '.join(map(str, shape))}, network {given.size} x {given.size}, {given.filters} filters")
        compare(paths, model, stock, folder, repeats, given)


def compare(
    paths: list[Path], model: Path, stock: Stock, folder: Path, repeats: int, given: argparse.Namespace
) -> None:
    """Print the tables; all that is written goes below ``folder``."""
    more = {"probabilities": given.probabilities}
    one: dict[str, dict[str, list[float]]] = {"stock": {}, "ours": {}}
    for n in range(repeats + 1):  # the first warms up
        for which in ("stock", "ours"):
            out = folder / f"one {which} {n}"
            found = stock(paths[:1], out) if which == "stock" else ours(paths[:1], out, model, given.device, **more)[1]
            for stage, seconds in found.items():
                one[which].setdefault(stage, []).extend(seconds if n else [])
    median = {which: {stage: statistics.median(s) for stage, s in of.items()} for which, of in one.items()}
    lowest = floor(stock, 10, given.size, 32 if given.device == "cuda" else 4)
    rows = [(stage, median["stock"].get(stage, 0.0), median["ours"][stage]) for stage in STAGES]
    plain, mine = (sum(row[k] for row in rows if row[0] != "network") for k in (1, 2))
    rows += [("all but the network", plain, mine), ("all", *(sum(of.values()) for of in median.values()))]
    many: dict[str, list[float]] = {"stock": [], "ours": []}
    for n in range(2 if given.quick else 3):
        since = time.perf_counter()
        stock(paths, folder / f"stock {n}")
        many["stock"].append(time.perf_counter() - since)
        many["ours"].append(ours(paths, folder / f"ours {n}", model, given.device, **more)[0])
    rows.append((f"{len(paths)} volumes, each", *(statistics.median(many[which]) / len(paths) for which in many)))
    rows.append(("the network alone", lowest, lowest))
    cells = [[label, f"{a * 1e3:.1f}", f"{b * 1e3:.1f}", f"{a / b:.1f}"] for label, a, b in rows]
    print(table([f"ms, median of {repeats}", "stock", "ours", "times as fast"], cells))
    share = differing(paths, folder / "stock 0", folder / "ours 0")
    print(f"labels that differ: {share:.2e} of all voxels (at most {CLOSE:g})")
    whole, _ = ours(paths, folder / "default", model, given.device, cycle=True, largest=True)
    print(f"ours with the cycle and the largest component: {whole / len(paths) * 1e3:.1f} ms a volume\n")
    started = start_up(paths[0], model, folder / "start", 1 if given.quick else 5)
    print(table(["start-up", "s"], started))
    assert share <= CLOSE, "not the same result"


if __name__ == "__main__":
    main()
