"""The stream of pairs {"labelled": {image, label}, "unlabelled": {image}} that the objective's terms need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, MetaTensor
from monai.transforms import Compose, apply_transform
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from acdc_semicycle import distributed
from acdc_semicycle.data.records import Record
from acdc_semicycle.errors import InputError

log = logging.getLogger("semicycle")


def as_dicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as MONAI's transforms take them; no ``label`` where there is no mask."""
    return [
        {"image": str(r.image), "case": r.case, "patient": r.patient, "phase": r.phase or ""}
        | ({"label": str(r.label)} if r.label else {})
        | ({"slice": r.slice} if r.slice is not None else {})
        for r in records
    ]


def read(records: Sequence[Record], transform: Callable, keys: Sequence[str] = ("image", "label")) -> list[Any]:
    """Every volume through ``transform``, in this thread; what is not in ``keys`` is not even read.

    MONAI's ``CacheDataset`` reads in a thread of its own, which an error on the way out leaves running: the
    interpreter then sometimes aborts.
    """
    log.info("reading %d images", len(records))
    items = [{k: v for k, v in item.items() if k != "label" or k in keys} for item in as_dicts(records)]
    return [transform(item) for item in tqdm(items, "reading", disable=bool(distributed.rank()) or None)]


class Slices(Dataset):
    """Every slice of the given volumes, prepared once and kept in memory.

    Args:
        records: the volumes.
        transform: from a volume's dict to tensors [C, H, W, slices].
        random_transform: on one slice's tensors [C, H, W], each time it is drawn; its random state depends on
            the seed, the epoch and the index alone, so workers and resumes change nothing. An index past the end
            means the same slices again, drawn anew.
        keys: what is kept of each slice: ("image", "label"), or ("image",) where masks shall stay unseen.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Callable,
        random_transform: Callable | Sequence[Callable] = (),
        keys: Sequence[str] = ("image", "label"),
        seed: int = 0,
    ) -> None:
        self.seed, self.epoch = seed, 0
        self.keys = tuple(keys)
        data = [piece for volume in read(records, transform, keys) for piece in self._cut(volume)]
        super().__init__(data, random_transform if callable(random_transform) else Compose(random_transform))

    def __iter__(self) -> Iterator[Any]:  # Python's own would never end: any index is one of a slice
        return (self[index] for index in range(len(self)))

    def _cut(self, volume: dict[str, Any]) -> list[dict[str, Any]]:
        tensors = {key: _plain(volume[key]) for key in self.keys}
        depth = tensors["image"].shape[-1]
        return [{k: t[..., z].contiguous() for k, t in tensors.items()} for z in range(depth)]

    def _transform(self, index: int) -> Any:
        if isinstance(self.transform, Compose):
            self.transform.set_random_state(seed=_seed(self.seed, self.epoch, index))
        item: Any = apply_transform(self.transform, dict(self.data[index % len(self.data)]))
        return {key: _plain(value) for key, value in item.items()}


def _plain(value: Any) -> Any:
    """A tensor without its metadata: MONAI's MetaTensor makes each operation of a step slower."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class EpochSampler(Sampler[int]):
    """``length`` indices of a data set: seeded permutations one after the other, other ones each epoch.

    The n-th permutation's indices are n * size higher, so that a slice drawn twice is not transformed alike.
    """

    def __init__(self, dataset: Sized, length: int, seed: int) -> None:
        self.dataset, self.length, self.seed, self.epoch = dataset, length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        size = len(self.dataset)
        rounds = [n * size + random.permutation(size) for n in range(-(-self.length // size))]
        return iter(np.concatenate(rounds)[: self.length].tolist())


class Share(Sampler[int]):
    """This process's share of the indices that a sampler draws for all: every n-th.

    So the batches that the processes have at one time are together the one batch that a single process would have.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler) // distributed.world()

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, distributed.rank(), None, distributed.world())


class Pairs:
    """Batches of labelled and of unlabelled slices, drawn side by side.

    One epoch shows each slice of the larger set once (up to the last incomplete batch), and those of the smaller
    one, the labelled as a rule, as often as that takes, as in the published code; where nothing is unlabelled, the
    labelled images stand in.

    Args:
        labelled, unlabelled: the slices.
        batch_size: of each of the two, in each process.
        num_workers: processes that load; 0 loads in this one.
        seed: of the order.
        steps: batches an epoch has, where that shall not depend on the number of slices.
        sampler: draws the order.
    """

    def __init__(
        self,
        labelled: Slices,
        unlabelled: Slices,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        steps: int | None = None,
        sampler: Callable[[Sized, int, int], EpochSampler] = EpochSampler,
    ) -> None:
        self.datasets = {"labelled": labelled, "unlabelled": unlabelled if len(unlabelled) else labelled}
        most = max(map(len, self.datasets.values()))
        if not 1 <= batch_size <= most:
            raise InputError(f"batch_size is {batch_size}: give 1 to {most}, the number of slices")
        joined = batch_size * distributed.world()
        if joined > most:
            raise InputError(
                f"batch_size is {batch_size} in each of {distributed.world()} processes, and there are {most} slices:"
                " give a smaller one, or fewer processes"
            )
        self.length = most // joined if steps is None else steps
        self.samplers = {
            stream: sampler(dataset, self.length * joined, seed + place)
            for place, (stream, dataset) in enumerate(self.datasets.items())
        }
        self.loaders = {
            stream: DataLoader(
                dataset,
                batch_size,
                sampler=Share(self.samplers[stream]),
                num_workers=num_workers,
                generator=torch.Generator(),  # else opening the loader draws from the global random state
            )
            for stream, dataset in self.datasets.items()
        }

    def set_epoch(self, epoch: int) -> None:
        """Order and random transforms follow from the seed and this number."""
        for stream, sampler in self.samplers.items():
            self.datasets[stream].epoch = sampler.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for labelled, unlabelled in zip(*self.loaders.values(), strict=True):
            yield {"labelled": labelled, "unlabelled": {"image": unlabelled["image"]}}
