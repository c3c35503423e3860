"""The step of ``configs/few.yaml`` in its second phase: a plain PyTorch loop beside the product's trainer.

    python benchmarks/few.py [--device cuda] [--fp32] [--rounds 15] [--process-time] [--quick]

The plain form is the loop as one would write it first, on slices that lie in memory as floats. Each image has its own
``affine_grid``, ``grid_sample`` and changes of intensity. A step is: the passes over labelled windows and over
unlabelled ones with pseudo-labels, both losses, backward, AdamW, the running mean of the weights. Ours is
``SemiCycleTrainer`` with the bundle's handlers and its data path. All run in one process, in turn. That
both compute the same losses of one batch, to 1e-5, is checked. "the networks alone" is a step on a batch that is ready.
Both compute in bf16 where few.yaml does.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from measure import in_turn, machine, table
from monai.bundle import ConfigWorkflow
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, log_softmax

from acdc_semicycle.datasets import phantom
from acdc_semicycle.methods.objective import Batch

ROOT = Path(__file__).parents[1]
QUICK = {"image_size": [64, 64], "window": [32, 32], "network_def::features": [4, 4, 4, 8, 8, 4]}
UNSURE = 255  # of a pixel whose pseudo-label does not count
Box = tuple[float, float, float, float]  # first and last row, first and last column


def training(folder: Path, device: str, more: dict[str, Any]) -> Any:
    """The product's training of few.yaml on a phantom, at the point where it has pseudo-labels."""
    phantom.write(folder / "phantom", patients=8)
    files = [str(ROOT / "bundles/semicycle/configs/train.json"), str(ROOT / "configs/few.yaml")]
    places = {"dataset_dir": str(folder / "phantom"), "output_dir": str(folder / "run")}
    flow = ConfigWorkflow(files, logging_file=False, labelled=3, device=torch.device(device), **places, **more)
    flow.initialize()
    parser = flow.parser
    loader = parser.get_parsed_content("train::trainer").data_loader
    loader.resume_unlabelled(pseudo_labels(len(loader.unlabelled), *loader.unlabelled.size))
    return parser


def pseudo_labels(count: int, height: int, width: int) -> np.ndarray:
    """Random classes and unsure pixels [count, 1, height, width] in the middle of each slice, as a heart lies."""
    labels = np.zeros((count, 1, height, width), np.uint8)
    rows, columns = (slice(length // 3, 2 * length // 3) for length in (height, width))
    middle = labels[..., rows, columns]
    middle[...] = np.random.default_rng(0).choice([0, 1, 2, 3, UNSURE], middle.shape)
    return labels


class Ours:
    """The trainer's step, its handlers included."""

    def __init__(self, parser: Any) -> None:
        self.trainer = parser.get_parsed_content("train::trainer")
        self.batches = cycle(self.trainer.data_loader)
        self.trainer.fire_event(Events.EPOCH_STARTED)

    def draw(self) -> Any:
        return next(self.batches)

    def learn(self, batch: Any) -> None:
        self.trainer._iteration(self.trainer, batch)
        self.trainer.state.iteration += 1
        self.trainer.fire_event(Events.ITERATION_COMPLETED)

    def step(self) -> None:
        self.learn(self.draw())


class Plain:
    """The same written plainly."""

    def __init__(self, parser: Any, device: str) -> None:
        trainer = parser.get_parsed_content("train::trainer")
        self.device, self.amp = device, parser.get_parsed_content("amp")
        self.classes = parser.get_parsed_content("class_count")
        self.network = copy.deepcopy(trainer.objective.G_IS)
        self.mean = copy.deepcopy(trainer.objective.T.network)
        self.steps = parser.get_parsed_content("steps")
        self.step_number = trainer.objective.T.steps
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.001, weight_decay=0.0001)
        self.window = list(parser.get_parsed_content("window"))
        self.batch_size = parser.get_parsed_content("batch_size")
        labelled, unlabelled = (parser.get_parsed_content(f"train::{name}dataset") for name in ("", "unlabelled_"))
        self.labelled = self.slices_of(labelled, labelled.stored["label"])
        self.unlabelled = self.slices_of(unlabelled, unlabelled.pseudo_labels)

    def slices_of(self, dataset: Any, masks: np.ndarray) -> list[tuple[Tensor, Tensor, Box]]:
        """Image, mask and box of each slice of a data set."""
        slices: list[tuple[Tensor, Tensor, Box]] = []
        for n, mask in enumerate(masks):
            top, bottom, left, right = map(float, dataset.boxes[dataset.stored["record"][n]])
            image = dataset.plain(n)["image"].to(self.device)
            slices.append((image, torch.as_tensor(mask).float().to(self.device), (top, bottom, left, right)))
        return slices

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labelled windows and their one-hot masks, unlabelled windows and their pseudo-labels."""
        return (*self.windows_of(self.labelled), *self.windows_of(self.unlabelled))

    def windows_of(self, slices: list[tuple[Tensor, Tensor, Box]]) -> tuple[Tensor, Tensor]:
        """Random windows and their one-hot masks, all zero where nothing is known."""
        images, masks = [], []
        for n in torch.randint(len(slices), (self.batch_size,)).tolist():
            image, mask, box = slices[n]
            grid = self.grid(box, image)
            images.append(appearance(standardised(sample(image, grid, "bilinear"))))
            masks.append(sample(mask, grid, "nearest"))
        classes = torch.arange(self.classes, device=self.device).view(1, -1, 1, 1)
        return torch.stack(images), (torch.stack(masks) == classes).float()

    def grid(self, box: Box, image: Tensor) -> Tensor:
        """Where the pixels of a random window come from, [1, h, w, 2]."""
        height, width = image.shape[-2:]
        rows, columns = self.window
        centre = [(box[0] + box[1]) / 2, (box[2] + box[3]) / 2]
        if torch.rand(()) < 0.3:
            rows, columns, centre = height, width, [(height - 1) / 2, (width - 1) / 2]
        centre[0] += rows * 0.12 * uniform()
        centre[1] += columns * 0.12 * uniform()
        angle = 0.5 * uniform()
        if torch.rand(()) < 0.25:
            angle += math.pi / 2 * int(torch.randint(1, 4, ()))
        zoom, stretch = math.exp(0.25 * uniform()), math.exp(0.1 * uniform())
        down, across = rows / height * zoom * stretch, columns / width * zoom / stretch
        cos, sin = math.cos(angle), math.sin(angle)
        turn = [
            [cos * across, -sin * down * height / width, (2 * centre[1] + 1) / width - 1],
            [sin * across * width / height, cos * down, (2 * centre[0] + 1) / height - 1],
        ]
        grid = affine_grid(torch.tensor([turn]), [1, 1, *self.window], align_corners=False)
        if torch.rand(()) < 0.5:
            points = torch.randn(1, 2, *(length // 32 + 1 for length in self.window)) * 3.0 * 2 / width
            pull = interpolate(points, size=self.window, mode="bicubic", align_corners=True)
            grid = grid + pull.movedim(1, -1)
        return grid.to(self.device)

    def losses(self, x: Tensor, y: Tensor, u: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        return cross_entropy_and_dice(self.network(x), y), cross_entropy_and_dice(self.network(u), p)

    def learn(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 0.001 * (1 - min(self.step_number, self.steps - 1) / self.steps) ** 0.9
        self.network.train()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.amp):
            supervised, pseudo = self.losses(*batch)
        self.optimizer.zero_grad()
        (supervised + pseudo).backward()
        self.optimizer.step()
        with torch.no_grad():
            for mean, weight in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.mul_(0.99).add_(weight, alpha=0.01)
        self.step_number += 1

    def step(self) -> None:
        self.learn(self.draw())


def uniform() -> float:
    return 2 * float(torch.rand(())) - 1


def sample(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return grid_sample(image[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]


def standardised(image: Tensor) -> Tensor:
    return (image - image.mean()) / (image.std(correction=0) + 1e-5)


def appearance(image: Tensor) -> Tensor:
    """Another gamma, sensitivity, resolution and noise of one image [C, H, W]."""
    size = image.shape[-2:]
    signal = (image - image.min()) / (image.max() - image.min() + 1e-6)
    if torch.rand(()) < 0.7:
        signal = signal.clamp_min(1e-6) ** math.exp(0.5 * uniform())
    if torch.rand(()) < 0.5:
        field = torch.randn(1, 1, 3, 3, device=image.device) * 0.3
        signal = signal * (1 + interpolate(field, size=size, mode="bicubic", align_corners=True)[0])
    signal = standardised(signal)
    if torch.rand(()) < 0.3:
        factor = 1 + 2 * float(torch.rand(()))
        small = interpolate(signal[None], size=[int(length / factor) for length in size], mode="area")
        signal = interpolate(small, size=size, mode="bilinear", align_corners=False)[0]
    if torch.rand(()) < 0.5:
        signal = signal + torch.randn_like(signal) * 0.12 * float(torch.rand(()))
    return standardised(signal)


def cross_entropy_and_dice(logits: Tensor, y: Tensor) -> Tensor:
    """Over the pixels whose target is not all zero; Dice over the structures of the whole batch."""
    logits = logits.float()
    cross_entropy = -(y * log_softmax(logits, 1)).sum() / y.sum().clamp(min=1)
    s = logits.softmax(1) * y.sum(1, keepdim=True)
    s, y = s[:, 1:], y[:, 1:]
    overlap, total = (s * y).sum((0, 2, 3)), s.sum((0, 2, 3)) + y.sum((0, 2, 3))
    return cross_entropy + (1 - (2 * overlap + 1) / (total + 1)).mean()


def check_losses(ours: Ours, plain: Plain) -> float:
    """The largest relative difference of both forms' losses of one batch; both have the same weights."""
    trainer, objective = ours.trainer, ours.trainer.objective
    pair = ours.draw()
    batch: Batch = trainer.prepare_batch(pair, trainer.state.device, False, **trainer.to_kwargs)
    assert batch.p is not None, "pseudo-labels are there"
    with torch.no_grad():
        terms, _ = objective.train().generator_terms(batch)
        losses = plain.losses(batch.x, batch.y, batch.u, batch.p)
    differences = []
    for term, loss in zip((terms["gen_S"], terms["pseudo_u"]), losses, strict=True):
        assert loss > 0, "a loss of nothing compares nothing"
        differences.append(float((term - loss).abs() / loss))
    limit = 1e-5 if plain.device == "cpu" else 1e-3
    assert max(differences) < limit, f"the losses differ by {differences}: both forms must compute the same"
    return max(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--process-time", action="store_true", help="seconds that this process computes, for a machine with other work"
    )
    parser.add_argument("--quick", action="store_true", help="windows of 32 x 32 and a smaller network, to try it")
    parser.add_argument("--fp32", action="store_true", help="in single precision, where few.yaml has bf16")
    options = parser.parse_args()
    logging.getLogger("semicycle").setLevel(logging.ERROR)  # the trainer knows nothing of these rounds
    with tempfile.TemporaryDirectory() as folder:
        more = (QUICK if options.quick else {}) | ({"amp": False} if options.fp32 else {})
        config = training(Path(folder), options.device, more)
        print(f"{machine(options.device)}, {'bf16' if config.get_parsed_content('amp') else 'fp32'}")
        ours, plain = Ours(config), Plain(config, options.device)
        difference = check_losses(ours, plain)
        our_batch, plain_batch = ours.draw(), plain.draw()
        works: dict[str, Callable[[], Any]] = {
            "plain": plain.step,
            "ours": ours.step,
            "plain, the networks alone": lambda: plain.learn(plain_batch),
            "ours, the networks alone": lambda: ours.learn(our_batch),
            "plain, the data alone": plain.draw,
            "ours, the data alone": ours.draw,
        }
        clock = time.process_time if options.process_time else time.perf_counter
        times = in_turn(works, options.rounds, options.device, clock)
    rows = []
    for name, median in times.items():
        reference = times[name.replace("ours", "plain")]
        rows.append([name, f"{median * 1000:,.1f}", f"{median / reference:.2f}" if name.startswith("ours") else ""])
    print(table(["form", "ms a step", "times as slow"], rows))
    print(f"losses of one batch differ by {difference:.0e}")


if __name__ == "__main__":
    main()
