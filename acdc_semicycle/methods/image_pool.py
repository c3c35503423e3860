"""The pool of earlier fakes: a discriminator sees older fakes too, so that it does not chase the last one."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """The last ``size`` fakes a discriminator has seen (Shrivastava et al. 2017, as CycleGAN uses it).

    While the pool fills, each new fake is kept and shown. In a full pool, half of the new fakes are shown and not
    kept; each of the others replaces a random old one, which is shown in its place. The pool stays on the fakes'
    device. The draws come from a generator of the pool's own, so that a resumed run draws the same.

    Args:
        size: number of single images kept; the paper's 50. 0 shows every fake as it is.
        seed: of the draws.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        self.size = size
        self.pool: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def query(self, fakes: Tensor) -> Tensor:
        """What the discriminator sees in place of ``fakes`` [B, ...]: as many, without gradient."""
        if not self.size:
            return fakes.detach()
        return torch.stack([self._exchange(fake) for fake in fakes.detach()])

    def _exchange(self, fake: Tensor) -> Tensor:
        """What is shown for one fake, which may go into the pool."""
        if len(self.pool) < self.size:
            self.pool.append(fake.clone())
            return fake
        if torch.rand((), generator=self._random) < 0.5:
            return fake
        old = int(torch.randint(self.size, (), generator=self._random))
        shown, self.pool[old] = self.pool[old].to(fake.device), fake.clone()  # a resume leaves the pool on the CPU
        return shown

    def state_dict(self) -> dict[str, Tensor | list[Tensor]]:
        """Tensors only, so that a checkpoint loads with ``weights_only=True``."""
        return {"pool": list(self.pool), "random": self._random.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.pool = list(state["pool"])
        self._random.set_state(state["random"])


History = ImagePool  # its name in version 0.1, understood until 0.3
