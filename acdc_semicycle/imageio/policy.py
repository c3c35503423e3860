"""What the readers may accept beyond what is safe: one object that is passed to them as an argument."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_semicycle.runtime import environment

MOST_VOXELS = 2**30  # in a scan, unless the user allows more


@dataclass(frozen=True)
class ReadingPolicy:
    """What the user allows the readers; by default nothing beyond what is safe.

    Attributes:
        max_voxels: the most voxels that an image may have; None is the reader's own limit.
        geometry: ``"sform"`` or ``"qform"``, the form of a NIfTI to use where its two disagree; either value also
            accepts files that do not say where they lie. None refuses both.
        repair: whether NaN and infinite voxels of an image become its lowest number; in masks they never do.
    """

    max_voxels: int | None = None
    geometry: str | None = None
    repair: bool = False

    @property
    def most_voxels(self) -> int:
        """The most voxels that a scan may have."""
        return self.max_voxels or MOST_VOXELS


def from_environment() -> ReadingPolicy:
    """The policy that the environment's variables set (:mod:`acdc_semicycle.runtime.environment`).

    Raises:
        InputError: a variable is set to what it cannot be.
    """
    return ReadingPolicy(environment.max_voxels(), environment.geometry(), environment.repair())
