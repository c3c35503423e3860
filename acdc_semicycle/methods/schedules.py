"""Factors on the learning rate, by epoch or by step."""

from collections.abc import Callable


def linear_decay(constant_epochs: int, epochs: int) -> Callable[[int], float]:
    """The paper's factor on the learning rate: 1 for ``constant_epochs``, then linear to 0 at ``epochs``."""
    return lambda epoch: 1 - max(0, epoch - constant_epochs) / max(1, epochs - constant_epochs)


def poly_decay(steps: int, power: float = 0.9) -> Callable[[int], float]:
    """Hung's factor on the learning rate: (1 - step / steps) to the power of 0.9."""
    return lambda step: (1 - min(step, steps) / steps) ** power
