"""Whether predictions number the structures in another order than the truth does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

CLEAR = 0.5  # the least Dice of a structure under another label, and by how much it exceeds that under its own


def order_note(tool: str, reference: str, matrix: Tensor, classes: Sequence[str]) -> list[str]:
    """A note where structures have each other's labels; none where the order is the truth's, or not clear.

    Args:
        reference: the truth or the other tool, as a reader calls it.
        matrix: of all cases together, classes of the truth as rows, of the prediction as columns [K, K].
        classes: names of the classes, background first.
    """
    voxels = matrix.double().numpy()
    sums = voxels.sum(1)[:, None] + voxels.sum(0)[None]
    dice = np.divide(2 * voxels, sums, out=np.zeros_like(voxels), where=sums > 0)[1:, 1:]
    swapped = []
    for row, column in zip(*linear_sum_assignment(-dice), strict=True):
        own, other = dice[row, row], dice[row, column]
        if row != column and other >= CLEAR and other - own >= CLEAR:
            true_name, name = classes[row + 1], classes[column + 1]
            swapped.append(
                f"the {reference}'s {true_name} is labelled {name} (Dice {other:.2f}, as {true_name} {own:.2f})"
            )
    if not swapped:
        return []
    expected = ", ".join(f"{label} {name}" for label, name in enumerate(classes) if label)
    return [f"{tool} may number the structures in another order: {'; '.join(swapped)}: expected {expected} in both"]
