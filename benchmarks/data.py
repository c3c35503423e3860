"""Slices a second: this project's cache and batched augmentation beside MONAI's data sets doing the same work.

    python benchmarks/data.py [--device cuda] [--size 256] [--patients 20] [--batch 16] [--rounds 5]

The volumes are a phantom's, written for the purpose. Each form gives batches of image and mask, [B, 1, H, W]: MONAI's
data sets through its DataLoader with the same fixed transforms and its own random ones, ours through ``Slices``. "The
same work" is: flips of rows and of columns and a gain and an offset, each for half the slices ("light"), and in "full"
rotation, scaling and shift of 80 % of the slices as well; "windows of few" is all that ``configs/few.yaml`` does.
That both prepare the same slices is checked.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, seconds, table
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset
from monai.transforms import (
    CastToTyped,
    Compose,
    RandAffined,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Resized,
)
from torch.utils.data import RandomSampler
from tqdm import tqdm

from acdc_semicycle.data.appearance import Appearance
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.slices import Slices, as_dicts
from acdc_semicycle.data.transforms import LoadCheckedd, ScaleImaged
from acdc_semicycle.data.windows import Windows
from acdc_semicycle.datasets import acdc, phantom

BOTH = ["image", "label"]
LIGHT = [
    RandFlipd(BOTH, prob=0.5, spatial_axis=0),
    RandFlipd(BOTH, prob=0.5, spatial_axis=1),
    RandScaleIntensityd("image", factors=0.2, prob=0.5),
    RandShiftIntensityd("image", offsets=0.1, prob=0.5),
]
AFFINE = RandAffined(
    BOTH,
    prob=0.8,
    rotate_range=0.3,
    scale_range=[0.15, 0.15],
    translate_range=[8, 8],
    mode=["bilinear", "nearest"],
    padding_mode="border",
)
FEW = {"whole": 0.3, "turns": 0.25, "rotate": 0.5, "scale": 0.25, "aspect": 0.1, "shift": 0.12, "elastic": 3.0}
OURS: dict[str, Augment | Windows | None] = {
    "none": None,
    "light": Augment(flips=(0.5, 0.5), gain=0.2, offset=0.1),
    "full": Augment(flips=(0.5, 0.5), gain=0.2, offset=0.1, rotate=0.3, scale=0.15, shift=8),
    "full, elastic": Augment(flips=(0.5, 0.5), gain=0.2, offset=0.1, rotate=0.3, scale=0.15, shift=8, elastic=3),
    "windows of few": Windows((128, 128), **FEW, appearance=Appearance()),
}
RANDOM: dict[str, list] = {"none": [], "light": LIGHT, "full": [*LIGHT, AFFINE]}


def prepared(size: int) -> Compose:
    """The bundle's fixed transforms."""
    mode = ("trilinear", "nearest-exact")
    steps = [LoadCheckedd(BOTH), ScaleImaged("image"), Resized(BOTH, (size, size, -1), mode=mode)]
    return Compose([*steps, CastToTyped("label", torch.uint8)])


class OneSlice:
    """A data set of slices over files: the volume is loaded for each of its slices, as MONAI's ``Dataset`` does it."""

    def __init__(self, transform: Compose) -> None:
        self.transform = transform

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        volume = self.transform(item)
        return {key: volume[key][..., item["place"]] for key in BOTH}


def cut(volumes: Dataset) -> list[dict[str, Any]]:
    """All slices of the prepared volumes."""
    loaded = (volumes[n] for n in range(len(volumes)))
    return [{key: v[key][..., z].clone() for key in BOTH} for v in loaded for z in range(v["image"].shape[-1])]


def monai_loader(data: Dataset, batch: int, workers: int) -> DataLoader:
    return DataLoader(data, batch_size=batch, shuffle=True, num_workers=workers, drop_last=True)


def again(loader: DataLoader, device: str) -> Iterator[Any]:
    """Endless batches on the device; workers are started at the beginning of each round through the data."""
    while True:
        for item in loader:
            yield {key: item[key].to(device) for key in BOTH}


def ours(slices: Slices, batch: int, device: str) -> Iterator[Any]:
    """Endless batches on the device, as ``Pairs`` makes them."""
    slices.hold(torch.device(device))
    while True:
        order = list(RandomSampler(slices))
        for start in range(0, len(order) - batch + 1, batch):
            yield slices.finished(slices.__getitems__(order[start : start + batch]), device)


def rate(start: Callable[[], Iterator[Any]], count: int, batch: int, device: str) -> float:
    """Slices a second of so many batches behind the first; workers that read ahead end with the measurement."""
    batches = start()
    next(batches)
    elapsed = seconds(lambda: deque(itertools.islice(batches, count), maxlen=0), device)
    del batches
    return count * batch / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine(given.device))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    phantom.write(folder / "data", patients=given.patients, size=(216, 256, 10))
    records = acdc.records(folder / "data")
    transform, device, batch = prepared(given.size), given.device, given.batch

    def store(augment: Augment | Windows | None = None) -> Slices:
        return Slices(records, transform, cache_dir=folder / "cache", augment=augment)

    cold = seconds(store, device)
    warm = seconds(store, device)
    volumes = Dataset(as_dicts(records), transform)
    started = time.perf_counter()
    plain = cut(volumes)
    filled = time.perf_counter() - started
    same(store(), plain)
    print(f"{len(plain)} slices of {given.size} x {given.size}, batches of {batch}, on {device}")
    print(f"into memory: MONAI {filled:.1f} s at each start; ours {cold:.1f} s once, then {warm:.2f} s")

    places = [item | {"place": z} for item in as_dicts(records) for z in range(10)]
    forms: dict[str, tuple[Callable[[], Iterator[Any]], int]] = {}
    sets: dict[str, Dataset] = {
        "Dataset, none": Dataset(places, OneSlice(transform)),
        "PersistentDataset, none": PersistentDataset(places, OneSlice(transform), folder / "persistent"),
    }
    sets |= {
        f"CacheDataset, {name}": CacheDataset(plain, Compose(steps), num_workers=1, progress=False)
        for name, steps in RANDOM.items()
    }
    for (name, data), workers in itertools.product(sets.items(), (0, 2)):
        loader = monai_loader(data, batch, workers)
        count = (2 if workers == 0 else 8) if name.startswith("Dataset") else (6 if workers == 0 else 20)
        forms[f"MONAI {name}, workers {workers}"] = (lambda loader=loader: again(loader, device)), count
    for name, augment in OURS.items():
        slices = store(augment)
        forms[f"ours, {name}"] = (lambda slices=slices: ours(slices, batch, device)), math.ceil(960 / batch)

    rates: dict[str, list[float]] = {name: [] for name in forms}
    for _ in tqdm(range(given.rounds), "timing", disable=None):
        for name, (start, count) in forms.items():
            rates[name].append(rate(start, count, batch, device))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    print(table(["what", "slices/s", "of MONAI's best"], [_row(name, medians) for name in medians]))


def _row(name: str, rates: dict[str, float]) -> list[str]:
    kind = name.removeprefix("ours, ")
    rivals = [value for other, value in rates.items() if other.startswith(f"MONAI CacheDataset, {kind},")]
    ratio = f"{rates[name] / max(rivals):.1f}" if name != kind and rivals else ""
    return [name, f"{rates[name]:,.0f}", ratio]


def same(slices: Slices, plain: list[dict[str, Any]]) -> None:
    """Both hold the same slices: masks to the bit, images to half a step of 16 bits."""
    for index in np.linspace(0, len(slices) - 1, 20).astype(int).tolist():
        mine, theirs = slices.plain(index), plain[index]
        assert torch.equal(mine["label"], theirs["label"].as_tensor())
        torch.testing.assert_close(mine["image"], theirs["image"].as_tensor(), atol=2e-5, rtol=0)


if __name__ == "__main__":
    main()
