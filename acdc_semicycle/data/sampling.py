"""The order in which slices are drawn: seeded, another each epoch, shared among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import islice
from math import ceil

import numpy as np
from torch.utils.data import Sampler

from acdc_semicycle.runtime import distributed


class EpochSampler(Sampler[int]):
    """``length`` indices of a data set: seeded permutations one after the other, other ones each epoch.

    The n-th permutation's indices are n * size higher, so that a slice drawn twice is not transformed alike.
    """

    def __init__(self, dataset: Sized, length: int, seed: int) -> None:
        self.dataset, self.length, self.seed, self.epoch = dataset, length, seed, 0

    def __len__(self) -> int:
        """Number of indices of an epoch."""
        return self.length

    def __iter__(self) -> Iterator[int]:
        """The indices of this epoch."""
        random = np.random.default_rng((self.seed, self.epoch))
        size = len(self.dataset)
        rounds = []
        for number in range(ceil(self.length / size)):
            rounds.append(number * size + random.permutation(size))
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
        """Number of this process's indices."""
        return len(self.sampler) // distributed.world()

    def __iter__(self) -> Iterator[int]:
        """This process's indices, without the first ``start``."""
        processes = distributed.world()
        return islice(self.sampler, distributed.rank() + self.start * processes, None, processes)
