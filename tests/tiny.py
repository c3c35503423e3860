"""Small things that many tests make."""

from torch import Tensor

from acdc_semicycle.methods.objective import Batch


def batch_of(x: Tensor, y: Tensor, u: Tensor) -> Batch:
    """The batch of a method that asks for one view."""
    return Batch(x, y, {"u": u})
