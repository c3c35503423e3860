"""The training step: the plain form, each equation its own forward, beside ours; and each lever by itself.

    python benchmarks/step.py [--device cuda] [--sizes 128x128 200x200 128x256 256x256] [--batches 1 2] [--rounds 3]
                              [--levers] [--filters 64] [--blocks 9]

The plain form is the equations in fp32 as one would write them first: a pass of a generator for each term,
``InstanceNorm2d``, discriminators that gather gradients they do not use, histories that go through NumPy on the host,
torch's plain Adam, a look at every loss after each step. Both run in one process, in turn; that their first step's
losses are the same to 1e-5 is checked (bf16: the largest difference is printed). "of peak" is the step's operations,
counted by torch, over its time and the rate of a large matrix product on the same machine in the same type. "GiB" is on
CUDA the most that was allocated in a step, on a CPU what the forward passes keep for the backward passes.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import random
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from measure import in_turn, machine, peak_flops, table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from acdc_semicycle.methods.losses import cross_entropy, judged_real, l1, l2, weigh
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.objective import Batch, softmax
from acdc_semicycle.methods.semicycle import GeneratorOutputs, SemiCycle

WEIGHTS = dict.fromkeys(SemiCycle.terms, 0.5) | {"gen_S": 1.0, "gen_I": 1.0, "cycle_S": 0.05, "cycle_I": 1.0}
K = 4
LEVERS = ("merged", "group norm", "frozen D", "image pool", "fused Adam", "no look", "channels last", "bf16", "compile")
OURS = ("merged", "group norm", "frozen D", "image pool", "no look")  # the package's defaults
CHECKPOINTING = "checkpointing"


class NumpyPool:
    """The published code's pool: every fake to the host and back."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.pool = size, []  # type: ignore[var-annotated]

    def query(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes.detach().cpu().numpy():
            if len(self.pool) < self.size:
                self.pool.append(fake)
            elif random.random() > 0.5:
                place = random.randrange(self.size)
                fake, self.pool[place] = self.pool[place], fake
            shown.append(fake)
        return torch.from_numpy(np.stack(shown)).to(fakes.device)


class Form:
    """One way to compute the step; ``step`` runs one, ``losses`` are the last one's."""

    def __init__(self, networks: dict[str, nn.Module], levers: set[str], device: str) -> None:
        self.levers, self.device = levers, device
        nets = {name: copy.deepcopy(net).to(device) for name, net in networks.items()}
        for net in nets.values():
            if "group norm" not in levers:
                plain_norm(net)
            if "channels last" in levers:
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if CHECKPOINTING in levers:
                for block in net.modules():
                    if hasattr(block, "checkpointing"):
                        block.checkpointing = True  # type: ignore[assignment]
            if "compile" in levers:
                net.compile()
        self.objective = SemiCycle(**nets)
        if "image pool" not in levers:
            self.objective.pool_S, self.objective.pool_I = NumpyPool(), NumpyPool()  # type: ignore[assignment]
        fused = {"fused": True} if "fused Adam" in levers else {}
        parts = (self.objective.generators, self.objective.discriminators)
        self.optimisers = [torch.optim.Adam(part.parameters(), 2e-4, (0.5, 0.999), **fused) for part in parts]
        self.losses: dict[str, Tensor] = {}

    def step(self, x: Tensor, y: Tensor, u: Tensor) -> None:
        if "channels last" in self.levers:
            x, y, u = (t.contiguous(memory_format=torch.channels_last) for t in (x, y, u))
        batch = Batch(x, y, {"u": u})
        half = torch.autocast(self.device, torch.bfloat16) if "bf16" in self.levers else nullcontext()
        if "frozen D" in self.levers:
            self.objective.discriminators.requires_grad_(False)
        with half:
            terms, outputs = self.generator_terms(batch)
        self._learn(self.optimisers[0], terms)
        self.objective.discriminators.requires_grad_(True)
        with half:
            d_terms = self.objective.discriminator_terms(batch, outputs)
        self._learn(self.optimisers[1], d_terms)
        self.losses = {name: term.detach() for name, term in (terms | d_terms).items()}
        if "no look" not in self.levers:
            [float(value) for value in self.losses.values()]

    def generator_terms(self, batch: Batch) -> Any:
        if "merged" in self.levers:
            return self.objective.generator_terms(batch)
        o, x, y, u = self.objective, batch.x, batch.y, batch.u
        logits = o.G_IS(x)
        s_u = softmax(o.G_IS(u))
        x_y = o.G_SI(y)
        terms = {
            "gen_S": cross_entropy(logits, y),
            "gen_I": l2(x_y, x),
            "cycle_S": cross_entropy(o.G_IS(x_y), y),
            "cycle_I": l1(o.G_SI(s_u), u),
            "adv_S": judged_real(o.D_S(s_u)),
            "adv_I": judged_real(o.D_I(x_y)),
        }
        return terms, GeneratorOutputs(softmax(logits.detach()), s_u.detach(), x_y.detach().float())

    def _learn(self, optimiser: torch.optim.Optimizer, terms: dict[str, Tensor]) -> None:
        optimiser.zero_grad()
        weigh(terms, WEIGHTS).backward()
        optimiser.step()


def plain_norm(net: nn.Module) -> None:
    for name, child in net.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(net, name, nn.InstanceNorm2d(child.num_channels))
        plain_norm(child)


class Kept:
    """The bytes that forward passes keep for their backward passes, and the most there were of them at a time."""

    def __init__(self) -> None:
        self.uses: Counter[int] = Counter()  # of each storage, by its place in memory
        self.now = self.peak = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.uses[storage.data_ptr()] += 1
        if self.uses[storage.data_ptr()] == 1:
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
        kept = tensor.detach()
        weakref.finalize(kept, self.drop, storage.data_ptr(), storage.nbytes())
        return kept

    def drop(self, place: int, size: int) -> None:
        self.uses[place] -= 1
        if not self.uses[place]:
            self.now -= size


def made_up(size: tuple[int, int], batch: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, u = torch.rand(2, batch, 1, *size, generator=draw) * 2 - 1
    y = nn.functional.one_hot(torch.randint(K, (batch, *size), generator=draw), K).movedim(-1, 1).float()
    return x.to(device), y.to(device), u.to(device)


def networks(filters: int, blocks: int) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "G_IS": ResidualGenerator(1, K, filters, blocks),
        "G_SI": ResidualGenerator(K, 1, filters, blocks, activation=nn.Tanh()),
        "D_S": PixelDiscriminator(K),
        "D_I": PixelDiscriminator(1),
    }


def compare(
    forms: dict[str, set[str]], size: tuple[int, int], batch: int, given: argparse.Namespace
) -> list[list[str]]:
    """One line a form: seconds, the ratio to the first, images, share of the machine's peak, memory."""
    nets, inputs = networks(given.filters, given.blocks), made_up(size, batch, given.device)
    made: dict[str, Form] = {}
    first: dict[str, Tensor] = {}
    differences, memory = {}, {}
    for name, levers in forms.items():
        if given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        made[name] = Form(nets, levers, given.device)
        kept = Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
            made[name].step(*inputs)
        first = first or made[name].losses
        differences[name] = max(float((made[name].losses[k] - first[k]).abs() / first[k].abs()) for k in first)
        assert "bf16" in levers or differences[name] < 1e-5 * (100 if given.device == "cuda" else 1), differences
        peak = torch.cuda.max_memory_allocated() - held if given.device == "cuda" else kept.peak
        memory[name] = peak / 2**30
    counter = FlopCounterMode(display=False)
    with counter:
        Form(nets, set(OURS), given.device).step(*inputs)
    works: dict[str, Callable[[], Any]] = {name: (lambda form=form: form.step(*inputs)) for name, form in made.items()}
    times = in_turn(works, given.rounds, given.device)
    plain = times[next(iter(forms))]
    rows = []
    for name, each in times.items():
        peak = given.peak["bf16" if "bf16" in forms[name] and "bf16" in given.peak else "fp32"]
        rows.append(
            [
                f"{size[0]} x {size[1]}",
                str(batch),
                name,
                f"{each * 1000:,.1f}",
                f"{plain / each:.2f}",
                f"{2 * batch / each:,.1f}",
                f"{counter.get_total_flops() / each / peak:.0%}",
                f"{memory[name]:.2f}",
                f"{differences[name]:.0e}" if name != next(iter(forms)) else "",
            ]
        )
    del made, works
    gc.collect()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", default=["128x128", "200x200", "128x256", "256x256"])
    parser.add_argument("--batches", nargs="+", type=int, help="1 to 32 on CUDA, 1 and 2 on a CPU unless told")
    parser.add_argument("--levers", action="store_true", help="each lever alone, too, at the first size and batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    given = parser.parse_args()
    cuda = given.device == "cuda"
    batches = given.batches or ([1, 2, 5, 16, 32] if cuda else [1, 2])
    sizes = [tuple(map(int, size.split("x"))) for size in given.sizes]
    given.peak = {
        "fp32": peak_flops(given.device, repeats=50 if cuda else 5 * given.rounds),
    } | ({"bf16": peak_flops(given.device, torch.bfloat16, 4096)} if cuda else {})
    print(machine(given.device))
    print(", ".join(f"{name} matrix product {value / 1e12:.2f} TFLOP/s" for name, value in given.peak.items()))
    heads = ["pixels", "batch", "form", "ms a step", "times as fast", "images/s", "of peak", "GiB", "losses differ by"]
    forms: dict[str, set[str]] = {"plain": set(), "ours": set(OURS)}
    if cuda:
        forms |= {"ours, bf16": {*OURS, "bf16"}, "ours, all": {*LEVERS} - {"compile"}, "ours, compiled": {*LEVERS}}
    if given.levers:
        alone = {lever: {lever} for lever in LEVERS if cuda or lever not in ("bf16", "compile")}
        every = {"plain": set()} | alone | {"ours": set(OURS), "ours, checkpointing": {*OURS, CHECKPOINTING}}
        print(table(heads, compare(every, sizes[0], batches[0], given)), flush=True)  # type: ignore[arg-type]
    print(table(heads, []))
    for size, batch in itertools.product(sizes, batches):
        try:
            rows = compare(forms, size, batch, given)  # type: ignore[arg-type]
        except torch.OutOfMemoryError:
            rows = [[f"{size[0]} x {size[1]}", str(batch), "does not fit", *[""] * 6]]
        print("\n".join(table([], rows).splitlines()[2:]), flush=True)


if __name__ == "__main__":
    main()
