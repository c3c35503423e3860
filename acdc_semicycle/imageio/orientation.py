"""One way to lay out a volume for a network of slices, whatever the order in which its file stores the axes.

A scan stored in any of the 48 orders and flips of its axes, with the affine that belongs to it, is turned into the same
array: the slices last, the rows and columns chosen by where they point in the patient. Nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# What the first and the second axis of a slice should point to, in RAS: in an axial slice to the patient's right and to
# the front, in a coronal one right and up, in a sagittal one to the front and up. An identity affine stays as stored.
TARGETS = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
CLOSE = 1.01  # spacings with at least this ratio count as different


class Layout(NamedTuple):
    """From the stored axes to those of the network: their order, and which of them are flipped afterwards."""

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, voxels: NDArray) -> NDArray:
        """Stored voxels [X, Y, Z, ...] as [H, W, slices, ...]; a view."""
        rest = range(3, voxels.ndim)
        return voxels.transpose(*self.order, *rest)[self._steps]

    def undo(self, voxels: NDArray) -> NDArray:
        """The inverse of ``apply``; a view."""
        rest = range(3, voxels.ndim)
        return voxels[self._steps].transpose(*np.argsort(self.order).tolist(), *rest)

    def affine(self, affine: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float64]:
        """The affine of what ``apply`` makes of stored voxels of this affine and shape."""
        turned = np.array(affine, float)[:, [*self.order, 3]]
        for axis, flip in enumerate(self.flipped):
            if flip:
                turned[:3, 3] += turned[:3, axis] * (shape[self.order[axis]] - 1)
                turned[:3, axis] *= -1
        return turned

    @property
    def _steps(self) -> tuple[slice, ...]:
        """What flips the axes when an array is indexed with it."""
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)


def reordered(affine: NDArray[Any], reference: NDArray[Any]) -> Layout | None:
    """How to lay out voxels of an affine in the order of another's; None where their axes are not parallel.

    Each axis of the reference gets the one that is nearest to it in direction.
    """
    directions, wanted = (np.array(matrix, float)[:3, :3] for matrix in (affine, reference))
    cosines = wanted.T @ directions / np.outer(np.linalg.norm(wanted, axis=0), np.linalg.norm(directions, axis=0))
    order = np.abs(cosines).argmax(axis=1).tolist()
    if sorted(order) != [0, 1, 2]:
        return None
    first, second, third = (bool(cosines[axis, order[axis]] < 0) for axis in range(3))
    return Layout((order[0], order[1], order[2]), (first, second, third))


def displayed(plane: NDArray, turned: bool) -> NDArray:
    """A canonical slice [H, W] as a picture [rows, columns].

    Args:
        turned: whether to turn it into the radiologist's view: the patient's left on the right, front or head above.
            Not possible where the file has lost its directions.
    """
    picture = plane.swapaxes(0, 1)
    if turned:
        picture = picture[::-1, ::-1]
    return np.ascontiguousarray(picture)


def layout(affine: NDArray[Any], shape: Sequence[int]) -> Layout:
    """How to lay out stored voxels of this affine (to RAS, mm) and shape: slices last, rows and columns by direction.

    The slice axis is the only one of a single voxel; else that of the largest spacing; where spacings are equal that of
    the fewest voxels; else the one nearest to the patient's long axis. The other two are placed and flipped so that
    they point best to the patient's right and front, and front and head; the slices make it right-handed. Ties, at
    exactly 45 degrees, are broken by the directions themselves, not by the order of storage.
    """
    columns = np.array(affine, float)[:3, :3].T
    spacing = np.linalg.norm(columns, axis=1)
    directions = columns / spacing[:, None]
    third = _slice_axis(spacing, shape[:3], directions)
    best_key: tuple[float, ...] = ()
    best = Layout()
    for first, second in permutations(axis for axis in range(3) if axis != third):
        for signs in product((1, -1), repeat=2):
            plane = directions[[first, second]] * np.array(signs)[:, None]
            fit = round(float((plane * TARGETS).sum()), 6)
            key = (fit, *np.round(plane, 3).ravel().tolist())
            if key > best_key:
                backward = bool(np.cross(*plane) @ directions[third] < 0)
                best_key, best = key, Layout((first, second, third), (signs[0] < 0, signs[1] < 0, backward))
    return best


def _slice_axis(spacing: NDArray[Any], shape: Sequence[int], directions: NDArray[Any]) -> int:
    """The axis of the slices, by the rules of ``layout``."""
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    widest = np.argsort(spacing)
    if spacing[widest[2]] > CLOSE * spacing[widest[1]]:
        return int(widest[2])
    fewest = [axis for axis in range(3) if shape[axis] == min(shape)]
    if len(fewest) == 1:
        return fewest[0]
    return max(range(3), key=lambda axis: _upward(directions[axis]))


def _upward(direction: NDArray[Any]) -> list[float]:
    """A direction as head, front, right, reversed where its first component that is not 0 is negative."""
    rounded = np.round(direction[[2, 1, 0]], 3)
    return (rounded * np.sign(rounded[rounded != 0][0])).tolist()
