"""Factors on the learning rate, by epoch or by step."""

from collections.abc import Callable


def linear_decay(constant_epochs: int, epochs: int) -> Callable[[int], float]:
    """The paper's factor on the learning rate: 1 for ``constant_epochs``, then linear to 0 at ``epochs``."""
    return lambda epoch: 1 - max(0, epoch - constant_epochs) / max(1, epochs - constant_epochs)


def poly_decay(steps: int, restart: int | None = None, power: float = 0.9) -> Callable[[int], float]:
    """Hung's factor on the learning rate: (1 - step / steps) to the power of 0.9.

    Args:
        restart: the step at which it has fallen to 0, and falls from 1 once more (Loshchilov and Hutter 2017); None for
            a single fall.
    """
    if not restart or restart >= steps:
        return lambda step: (1 - min(step, steps) / steps) ** power

    def factor(step: int) -> float:
        first, last = (0, restart) if step < restart else (restart, steps)
        return (1 - (min(step, steps) - first) / (last - first)) ** power

    return factor
