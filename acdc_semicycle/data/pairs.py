"""The stream of pairs {"labelled": {image, label}, "unlabelled": {VIEW: image}} that the objective's terms need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, apply_transform
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from tqdm import tqdm

from acdc_semicycle.data import cache
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime import distributed, signals
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")

GONE = ("DataLoader worker (pid", "Pin memory thread exited")  # torch's words


def as_dicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as MONAI's transforms take them; no ``label`` where there is no mask."""
    return [
        {"image": str(r.image), "case": r.case, "patient": r.patient, "phase": r.phase or ""}
        | ({"label": str(r.label)} if r.label else {})
        | ({"slice": r.slice} if r.slice is not None else {})
        for r in records
    ]


def read(records: Sequence[Record], transform: Callable) -> list[Any]:
    """Every volume, image and mask, through ``transform``."""
    return list(reading(records, transform, ("image", "label")))


def reading(records: Sequence[Record], transform: Callable, keys: Sequence[str]) -> Iterator[Any]:
    """Every volume through ``transform``, one by one in this thread; what is not in ``keys`` is not even read.

    MONAI's ``CacheDataset`` reads in a thread of its own, which an error on the way out leaves running: the
    interpreter then sometimes aborts.
    """
    log.info("reading %s", many(len(records), "image"))
    items = [{k: v for k, v in item.items() if k != "label" or k in keys} for item in as_dicts(records)]
    return (transform(item) for item in tqdm(items, "reading", disable=bool(distributed.rank()) or None))


class Slices(Dataset):
    """Every slice of the given volumes, prepared once and kept compact (:mod:`acdc_semicycle.data.cache`).

    An index past the end means the same slices again, changed at random in another way.

    Args:
        records: the volumes.
        transform: from a volume's dict to tensors [C, H, W, slices], the same each time.
        random_transform: MONAI's, one, several or by their names, on one slice's tensors [C, H, W], each time it is
            drawn; its random state depends on the seed, the epoch and the index alone, so workers and resumes change
            nothing.
        keys: what is kept of each slice: ("image", "label"), or ("image",) where masks shall stay unseen.
        augment: random changes of whole batches, behind ``random_transform`` and much faster.
        cache_dir: folder in which the prepared slices wait for the next run; None keeps them in memory.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Callable,
        random_transform: Mapping[str, Callable] | Callable | Sequence[Callable] = (),
        keys: Sequence[str] = ("image", "label"),
        seed: int = 0,
        augment: Augment | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.seed, self.epoch = seed, 0
        self.keys, self.augment = tuple(keys), augment or Augment()
        if isinstance(random_transform, Mapping):
            random_transform = list(random_transform.values())
        self.random = Compose(random_transform)
        self.files = [(record.image, record.slice or 0) for record in records]
        self.stored = cache.kept(
            Path(str(cache_dir)) if cache_dir is not None and records else None,
            lambda: cache.digest_of(records, transform, keys),
            lambda: (
                {**piece, "record": torch.tensor(n), "slice": torch.tensor(z)}
                for n, volume in enumerate(reading(records, transform, keys))
                for z, piece in enumerate(self._cut(volume))
            ),
        )
        self.held: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # Python's own would never end: any index is one of a slice
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One slice as training sees it: image [C, H, W] and, unless it shall stay unseen, label [1, H, W]."""
        item = self.finished(self.__getitems__([index]), "cpu")
        return {key: value[0] for key, value in item.items() if key != "index"}

    def plain(self, index: int) -> dict[str, Tensor]:
        """One slice without random changes."""
        return {key: value[0] for key, value in cache.unpacked(self._rows([index])).items()}

    def hold(self, device: torch.device) -> None:
        """Keep the slices on a CUDA device, if they take no more than a quarter of what is free there."""
        if device.type != "cuda" or self.random_by_slice or self.stored.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
            return
        self.held = {key: value.to(device) for key, value in self._tensors(self.stored).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """What workers give for a batch, still to be ``finished``."""
        index = torch.as_tensor(indices)
        if self.held:
            return {"index": index}
        if not self.random_by_slice:
            return self._rows(indices) | {"index": index}
        plain = cache.unpacked(self._rows(indices))
        items = [{key: value[n] for key, value in plain.items()} for n in range(len(index))]
        return self._changed(items, indices) | {"index": index}

    def finished(self, batch: dict[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
        """The batch on the device: image [B, C, H, W] float and label [B, 1, H, W] uint8, changed at random."""
        index = batch["index"]
        return self.augment(self._moved(batch, device), index.tolist(), self.seed, self.epoch) | {"index": index}

    def views(
        self, batch: dict[str, Tensor], device: str | torch.device, augments: Mapping[str, Augment]
    ) -> dict[str, Tensor]:
        """The batch's images [B, C, H, W] by the name of each view, on the device, without the labels."""
        index, rows = batch["index"], self._moved(batch, device)
        rows = {key: value for key, value in rows.items() if key != "label"}
        views = {"index": index}
        for number, (name, augment) in enumerate(augments.items()):
            views[name] = augment(rows, index.tolist(), self.seed, self.epoch, view=number)["image"]
        return views

    def _moved(self, batch: dict[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
        """The batch's records on the device; taken from those held there, where they are held."""
        if self.held:
            rows = (batch["index"] % len(self)).to(self.held["image"].device, non_blocking=True)
            return {key: value.index_select(0, rows).to(device) for key, value in self.held.items()}
        return {key: value.to(device, non_blocking=True) for key, value in batch.items() if key != "index"}

    def where(self, index: Tensor) -> list[str]:
        """The files and slices (from 1) of some indices."""
        rows = self.stored[index.numpy() % len(self)]
        found = [(*self.files[row["record"]], row["slice"]) for row in rows]
        return [f"{file} slice {first + place + 1}" for file, first, place in found]

    @property
    def random_by_slice(self) -> bool:
        """Whether there are random transforms of single slices: work for other processes."""
        return bool(self.random.transforms)

    def _cut(self, volume: dict[str, Any]) -> Iterator[dict[str, Tensor]]:
        tensors = {key: _plain(volume[key]) for key in self.keys}
        if not torch.isfinite(tensors["image"]).all():
            raise InputError(f"{volume['case']}: the transforms gave NaN or infinite intensities: take out what does")
        return ({k: t[..., z] for k, t in tensors.items()} for z in range(tensors["image"].shape[-1]))

    def _rows(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self._tensors(self.stored[np.asarray(indices) % len(self)])

    def _tensors(self, rows: NDArray) -> dict[str, Tensor]:
        return {key: torch.from_numpy(np.ascontiguousarray(rows[key])) for key in rows.dtype.names or ()}

    def _changed(self, items: list[dict[str, Tensor]], indices: Sequence[int]) -> dict[str, Tensor]:
        for place, index in enumerate(indices):
            self.random.set_random_state(seed=_seed(self.seed, self.epoch, index))
            changed: Any = apply_transform(self.random, items[place])
            items[place] = {key: _plain(value) for key, value in changed.items()}
        plain = {"scale": torch.ones(len(items)), "offset": torch.zeros(len(items))}  # not compact any more
        return default_collate(items) | plain


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
    Ignite's ``DistributedProxySampler`` does the same, but seeds torch's global random state each epoch.

    Attributes:
        start: how many of its own are left out at the beginning.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler, self.start = sampler, 0

    def __len__(self) -> int:
        return len(self.sampler) // distributed.world()

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, distributed.rank() + self.start * distributed.world(), None, distributed.world())


class Pairs:
    """Batches of labelled and of unlabelled slices, drawn side by side.

    One epoch shows each slice of the larger set once, up to the last incomplete batch, and those of the smaller one,
    as a rule the labelled, as often as that takes, as in the published code. Where no slice is unlabelled, the
    labelled images stand in.

    Args:
        labelled, unlabelled: the slices.
        batch_size: labelled slices of a batch, in each process.
        unlabelled_batch_size: unlabelled ones; None for as many.
        views: the augmentation of each view of an unlabelled slice, by the view's name. They move pixels alike and
            differ in intensities alone.
        num_workers: processes that load; 0 loads in this one.
        seed: of the order.
        steps: batches of an epoch, where that does not depend on the number of slices.
        sampler: draws the order.
        device: where batches are wanted; on a CUDA device the slices are kept there if they fit.
    """

    def __init__(
        self,
        labelled: Slices,
        unlabelled: Slices,
        batch_size: int,
        unlabelled_batch_size: int | None = None,
        views: Mapping[str, Augment] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        steps: int | None = None,
        sampler: Callable[[Sized, int, int], EpochSampler] = EpochSampler,
        device: str | torch.device = "cpu",
    ) -> None:
        self.datasets = {"labelled": labelled, "unlabelled": unlabelled if len(unlabelled) else labelled}
        self.batch_sizes = {"labelled": batch_size, "unlabelled": unlabelled_batch_size or batch_size}
        self.views = dict(views) if views else {"u": self.datasets["unlabelled"].augment}
        _check_views(self.views)
        self.length = self._whole_batches() if steps is None else steps
        self.device = torch.device(device)
        for dataset in self.datasets.values():
            dataset.hold(self.device)
        self.samplers: dict[str, EpochSampler] = {}
        self.shares: dict[str, Share] = {}
        self.loaders: dict[str, DataLoader] = {}
        for number, (stream, dataset) in enumerate(self.datasets.items()):
            drawn = self.length * self.batch_sizes[stream] * distributed.world()
            self.samplers[stream] = sampler(dataset, drawn, seed + number)
            self.shares[stream] = Share(self.samplers[stream])
            self.loaders[stream] = DataLoader(
                dataset,
                self.batch_sizes[stream],
                sampler=self.shares[stream],
                num_workers=num_workers if dataset.random_by_slice else 0,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda" and not dataset.held,
                worker_init_fn=signals.deaf,
                generator=torch.Generator(),  # else opening the loader draws from the global random state
            )

    def _whole_batches(self) -> int:
        """Batches of an epoch that shows each slice of the larger set once.

        Raises:
            InputError: a batch is larger than both sets.
        """
        most, processes = max(map(len, self.datasets.values())), distributed.world()
        for stream, size in self.batch_sizes.items():
            name = "batch_size" if stream == "labelled" else "unlabelled_batch_size"
            if not 1 <= size <= most:
                raise InputError(f"{name} is {size}: give 1 to {most}, the number of slices")
            if size * processes > most:
                raise InputError(
                    f"{name} is {size} in each of {processes} processes, and there are {most} slices: give a smaller"
                    " one, or fewer processes"
                )
        lengths = [len(dataset) // self.batch_sizes[stream] for stream, dataset in self.datasets.items()]
        return max(lengths) // processes

    def select(self, names: Sequence[str]) -> None:
        """Give these views of the unlabelled slices, as a method asks for them, and no others.

        Raises:
            InputError: names a view that is not configured.
        """
        missing = [name for name in names if name not in self.views]
        if missing:
            raise InputError(
                f"the method asks for the view {missing[0]!r}, and train::views has {', '.join(self.views)}:"
                " add it there"
            )
        self.views = {name: self.views[name] for name in names}

    def set_epoch(self, epoch: int) -> None:
        """Order and random transforms follow from the seed and this number."""
        for stream, sampler in self.samplers.items():
            self.datasets[stream].epoch = sampler.epoch = epoch

    def where(self, batch: Any) -> list[str]:
        """The files and slices of a batch, decollated or not."""
        names = []
        for pair in batch if isinstance(batch, list) else [batch]:
            for stream, part in pair.items():
                if "index" in part:
                    names += self.datasets[stream].where(torch.as_tensor(part["index"]).reshape(-1))
        return names

    def skip(self, batches: int) -> None:
        """Begin the next epoch after so many of its batches."""
        for stream, share in self.shares.items():
            share.start = batches * self.batch_sizes[stream]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        labelled, unlabelled = self.datasets.values()
        streams = ["labelled", "unlabelled"] if self.views else ["labelled"]
        with signals.starting_loaders():
            loaders = [iter(self.loaders[stream]) for stream in streams]
        while batches := _batches(loaders):
            pair = {"labelled": labelled.finished(batches[0], self.device), "unlabelled": {}}
            if self.views:
                pair["unlabelled"] = unlabelled.views(batches[1], self.device, self.views)
            yield pair
        self.skip(0)


def _check_views(views: Mapping[str, Augment]) -> None:
    """Refuse views that would show a slice's pixels in different places.

    Raises:
        InputError: names two of them.
    """
    (first, augment), *others = views.items()
    for name, other in others:
        if other.geometry_settings != augment.geometry_settings:
            raise InputError(
                f"the views {first} and {name} move pixels differently ({augment.geometry_settings} and"
                f" {other.geometry_settings}): give them the same, views differ in intensities alone"
            )


def _batches(streams: Sequence[Iterator[dict[str, Tensor]]]) -> list[dict[str, Tensor]]:
    """The next one of each; nothing at the end, which is the same for all.

    Raises:
        InputError: a process that loads is gone.
    """
    try:
        return [batch for stream in streams for batch in islice(stream, 1)]
    except (RuntimeError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(GONE):
            raise
        raise InputError(
            "a process that loads slices was killed, or died: give the run more memory, or fewer --num_workers; the"
            " same command continues from what was saved last"
        ) from error


def _as_it_is(batch: Any) -> Any:
    """In place of collating: ``Slices`` gives whole batches."""
    return batch
