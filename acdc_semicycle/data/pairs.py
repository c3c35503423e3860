"""The stream of pairs {"labelled": {image, label}, "unlabelled": {VIEW: image}} that the objective's terms need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.sampling import EpochSampler, Share
from acdc_semicycle.data.slices import Slices
from acdc_semicycle.data.windows import Finder, Windows
from acdc_semicycle.runtime import distributed, signals
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.exports import exports

log = logging.getLogger("semicycle")

__getattr__ = exports("acdc_semicycle.data", {"read": "slices"})  # where it was before 0.2

SHARED = "/dev/shm"
NO_SHARED_MEMORY = ("No space left on device", "Bus error", "shared memory")  # the system's words and torch's
GONE = ("DataLoader worker (pid", "Pin memory thread exited")  # torch's words


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
        views: Mapping[str, Augment | Windows] | None = None,
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
        self.paused = False  # whether unlabelled images are left out for now
        self.length = self._whole_batches() if steps is None else steps
        self.device = torch.device(device)
        self.samplers: dict[str, EpochSampler] = {}
        self.shares: dict[str, Share] = {}
        self.loaders: dict[str, DataLoader] = {}
        for number, (stream, dataset) in enumerate(self.datasets.items()):
            drawn = self.length * self.batch_sizes[stream] * distributed.world()
            self.samplers[stream] = sampler(dataset, drawn, seed + number)
            self.shares[stream] = Share(self.samplers[stream])
            dataset.hold(self.device)
            self.loaders[stream] = self._loader(stream, num_workers)

    def _loader(self, stream: str, num_workers: int) -> DataLoader:
        """What reads the batches of a stream."""
        dataset = self.datasets[stream]
        return DataLoader(
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
        if distributed.rank() == 0:
            self.datasets["labelled"].warn_of_large()
            self._tell_of_none_unlabelled()

    def _tell_of_none_unlabelled(self) -> None:
        """Say what a method that asks for unlabelled slices, or that can do without them, does where there are none."""
        if self.datasets["unlabelled"] is not self.datasets["labelled"]:
            return
        if self.views:
            log.warning(
                "no image is without a mask: the labelled ones stand in for the unlabelled, which gains nothing"
            )
        else:
            log.info("no image is without a mask: the training is supervised, on the labelled images alone")

    def look_with(self, network: nn.Module) -> None:
        """Let this network find the structures in slices without masks, for windows around them."""
        self.datasets["unlabelled"].finder = Finder(network)

    @property
    def unlabelled(self) -> Slices:
        """The unlabelled slices; the labelled ones where all are labelled."""
        return self.datasets["unlabelled"]

    def pause_unlabelled(self) -> None:
        """Give no unlabelled images from the next epoch on, until they have pseudo-labels."""
        self.paused = True

    def resume_unlabelled(self, pseudo_labels: NDArray) -> None:
        """Give unlabelled images with these pseudo-labels [N, 1, H, W] from the next epoch on."""
        self.unlabelled.pseudo_labels, self.paused = pseudo_labels, False

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
        streams = ["labelled", "unlabelled"] if self.views and not self.paused else ["labelled"]
        with signals.starting_loaders(), _sharing_memory():
            loaders = [iter(self.loaders[stream]) for stream in streams]
        while batches := _batches(loaders):
            pair = {"labelled": labelled.finished(batches[0], self.device), "unlabelled": {}}
            if len(streams) > 1:
                pair["unlabelled"] = unlabelled.views(batches[1], self.device, self.views)
            yield pair
        self.skip(0)


def _check_views(views: Mapping[str, Augment | Windows]) -> None:
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
        with _sharing_memory():
            return [batch for stream in streams for batch in islice(stream, 1)]
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(GONE):
            raise
        raise InputError(
            "a process that loads slices was killed, or died: give the run more memory, or fewer --num_workers; the"
            " same command continues from what was saved last"
        ) from error


@contextmanager
def _sharing_memory() -> Iterator[None]:
    """Name the place where processes that load leave their slices, if it is full; the system does not.

    Raises:
        InputError: it is full.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if getattr(error, "filename", None) is not None or not any(words in str(error) for words in NO_SHARED_MEMORY):
            raise
        raise InputError(
            f"{SHARED} is full, in which processes that load leave their slices: give --num_workers 0, or a larger one"
            " (docker run --shm-size=1g); the same command continues from what was saved last"
        ) from error


def _as_it_is(batch: Any) -> Any:
    """In place of collating: ``Slices`` gives whole batches."""
    return batch
