"""A teacher: the running mean of another network's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from acdc_semicycle.methods.shapes import Image, Logits


class Teacher(nn.Module):
    """The exponential moving average of a network's weights (Tarvainen and Valpola 2017).

        teacher = d teacher + (1 - d) student,    d = min(1 - 1 / (t + 1), decay) after step t

    So it is the plain mean at first, and forgets the random start. It is part of the objective's state: a checkpoint
    keeps it. In several processes it is the same, as the student is: the trainer shares the first one's weights before
    the first step. Its buffers (batch norm) are each process's own.

    Args:
        student: the network that learns.
        decay: the largest d.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(student).requires_grad_(False)
        self.steps = 0  # not a tensor: reading it from a GPU would make each step wait
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """A teacher never drops out, and normalises with its running means."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Image) -> Logits:
        """The teacher's logits, without gradient."""
        return self.network(x)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move towards the student's weights; call it once after each of its steps."""
        self.steps += 1
        decay = min(1 - 1 / (self.steps + 1), self.decay)
        for mean, weight in zip(self.network.parameters(), student.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for kept, value in zip(self.network.buffers(), student.buffers(), strict=True):
            kept.copy_(value)

    def get_extra_state(self) -> int:
        """The steps so far."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """Continue after so many steps."""
        self.steps = state
