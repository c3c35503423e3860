"""What the readers may accept beyond what is safe: one object, handed down from the doors by argument."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_semicycle.runtime import environment

MOST_VOXELS = 2**30  # of a scan, unless a user allows more


@dataclass(frozen=True)
class ReadingPolicy:
    """What a user allows the readers; by default nothing beyond what is safe.

    Attributes:
        max_voxels: the most voxels that an image may have; None where the user sets no limit of their own.
        geometry: ``"sform"`` or ``"qform"``, the form of a NIfTI to take where its two disagree; either also accepts
            files that do not say where they lie. None refuses both.
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
