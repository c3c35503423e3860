"""A segmented scan: labels, probabilities, volumes and the expected Dice, on the scan's own grid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.imageio import label_maps
from acdc_semicycle.imageio.in_memory import Axes
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.imageio.volumes import Volume
from acdc_semicycle.inference.entries import findings, phases_of
from acdc_semicycle.inference.frames import Frame
from acdc_semicycle.inference.label_maps import write_label_maps
from acdc_semicycle.runtime.errors import InputError

ENDINGS = (".nii", *label_maps.FORMATS)


class Segmentation:
    """A segmented scan, as :class:`acdc_semicycle.Segmenter` gives it; all of it on the scan's own grid.

    ``labels`` has the shape and the order of axes of what was segmented:

    | segmented | ``labels`` |
    |---|---|
    | a file, a nibabel image | [X, Y, Z], as stored, and as nibabel reads a NIfTI |
    | a folder of one DICOM series | [columns, rows, slices] |
    | a NumPy array | the array's own shape |
    | a torch tensor [X, Y, Z] or [1, X, Y, Z] | [X, Y, Z] |
    | a SimpleITK image | [Z, Y, X], as ``sitk.GetArrayFromImage`` has it |
    | a picture | [rows, columns] |

    A cine has a further axis of frames, [X, Y, Z, frames]; of SimpleITK [frames, Z, Y, X]. The labels and the
    probabilities on the network's grid stay in memory, and not the scan.

    Attributes:
        classes: names of the classes, the background first: ``classes[k]`` is what ``labels == k`` is.
        volumes_ml: the volume of each class but the background in ml, of a cine a list with the volume in each frame.
            None where there is none: ``withheld`` says why.
        withheld: why there are no volumes: the spacing is unknown, or it is a single slice or a picture. None where
            there are some.
        trust: the expected Dice, 0 to 1, as ``semicycle calibrate`` or ``train --folds`` fitted it for this network; of
            a cine that of its worst frame. None where nothing was fitted, and where no structure was found.
        trust_interval: the lower and the upper end of its interval of 80 %; None where there is none.
        trust_by_slice: of each slice, in the order in which the scan stores them, the expected Dice with the ends of
            its interval (``dice``, ``low``, ``high``), None where nothing is found in the slice; None without a fit.
        volume_intervals_ml: by structure the ends of the interval of its volume, of a cine a list of them; None where
            there are no volumes, or no fit.
        remarks: what a reader of the volumes should know: what was assumed of the scan, that no structure was found,
            what of the scan is far outside of the training's scans, and that the stack may not reach over a structure.
    """

    def __init__(self, frames: Sequence[Frame], volume: Volume, axes: Axes, model: Model) -> None:
        self._frames, self._axes, self._card = list(frames), axes, model.card
        self._grid = replace(volume, voxels=np.broadcast_to(np.uint8(0), volume.voxels.shape))  # takes no memory
        self.classes: tuple[str, ...] = tuple(model.card["classes"])
        by_number = dict(enumerate(self._frames))
        facts = findings(by_number, phases_of(by_number, self.classes), volume, model)
        self.withheld: str | None = facts["withheld"]
        self.volumes_ml: dict[str, float | list[float]] | None = _volumes(facts["volumes_ml"])
        trust = facts["trust"] or {}
        self.trust: float | None = facts["quality"]
        self.trust_interval: tuple[float, float] | None = (trust["low"], trust["high"]) if trust else None
        self.trust_by_slice: list[dict[str, float] | None] | None = self._as_stored(trust.get("slices"))
        self.volume_intervals_ml: dict[str, Any] | None = _volumes(trust.get("volumes_ml"))
        unlike = [f"unlike the scans of the training: {phrase}" for phrase in facts["unlike_training"]]
        remarks = [facts["nothing_found"], *unlike, *facts["remarks"]]
        self.remarks: tuple[str, ...] = tuple(remark for remark in remarks if remark)

    def _as_stored(self, slices: list[Any] | None) -> list[Any] | None:
        """What the network has by slice, in the order in which the scan stores its slices."""
        return slices[::-1] if slices and self._layout.flipped[2] else slices

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Class indices, uint8, in the shape and the order of axes of what was segmented (see above).

        They are what ``semicycle predict`` writes, voxel for voxel.
        """
        return self._axes.as_input(self._stored)

    def probabilities(self) -> NDArray[np.float32]:
        """Class probabilities [classes, *labels.shape], float32; they sum to 1.

        They are the network's own, before post-processing, and computed anew with each call: they take four bytes a
        voxel and class.
        """
        frames = [frame.probabilities_later() for frame in self._frames]
        by_class = []
        for k in range(len(self.classes)):
            stored = np.stack([self._layout.undo(frame[k]) for frame in frames], -1)
            by_class.append(self._axes.as_input(stored))
        return np.stack(by_class)

    def to_nibabel(self) -> Any:
        """The labels as a ``nibabel.Nifti1Image`` with the scan's geometry, [X, Y, Z] or [X, Y, Z, frames].

        Raises:
            InputError: a picture was segmented.
        """
        self._check_geometry()
        return label_maps.nifti_image(self._map, self._grid)

    def to_simpleitk(self) -> Any:
        """The labels as a ``SimpleITK.Image`` with the scan's geometry.

        Raises:
            InputError: a picture was segmented, or a sheared grid, which SimpleITK cannot hold.
        """
        self._check_geometry()
        return label_maps.itk_image(self._map, self._grid)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labels as ``semicycle predict`` does, whole or not at all.

        Args:
            path: .nii, .nii.gz, .nrrd or .mha; of a picture .png. The folder is made if need be.

        Raises:
            InputError: another ending; a file is there that this program did not write; it cannot be written.
        """
        target = Path(path)
        endings = (".png",) if self._card["pictures"] else ENDINGS
        if not target.name.lower().endswith(endings):
            raise InputError(f"{target} is no name for this label map: give one that ends in {', '.join(endings)}")
        write_label_maps(target, dict(enumerate(self._frames)), self._grid, self._card, probabilities=False)

    def __repr__(self) -> str:
        """Shape, volumes and trust in a line."""
        facts = [" x ".join(map(str, self.labels.shape))]
        for name, ml in (self.volumes_ml or {}).items():
            if isinstance(ml, float):
                facts.append(f"{name} {ml:.1f} ml")
        if self.trust is not None:
            facts.append(f"trust {self.trust:.2f}{_in_words(self.trust_interval)}")
        return f"Segmentation({', '.join(facts)})"

    @cached_property
    def _stored(self) -> NDArray[np.uint8]:
        """Class indices [X, Y, Z, frames] in the order of storage."""
        return np.stack([self._layout.undo(frame.labels) for frame in self._frames], -1)

    @property
    def _map(self) -> NDArray[np.uint8]:
        """The same as a label map's file holds it: [X, Y, Z] where there is one frame."""
        return self._stored if len(self._frames) > 1 else self._stored[..., 0]

    @property
    def _layout(self) -> Layout:
        """The way from the stored axes to the network's; pictures stay as they are."""
        return Layout() if self._card["pictures"] else self._grid.layout

    def _check_geometry(self) -> None:
        """Refuse what only scans have."""
        if self._card["pictures"]:
            raise InputError("a picture has no place in a patient: take its labels, or save them as .png")


def _in_words(interval: tuple[float, float] | None) -> str:
    """An interval after its number; empty where there is none."""
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"


def _volumes(by_frame: Mapping[str, list[Any]] | None) -> dict[str, Any] | None:
    """The volume, or its interval, of each class in each frame; without a list where there is one frame."""
    if by_frame is None:
        return None
    volumes_ml: dict[str, Any] = {}
    for name, of_frames in by_frame.items():
        volumes_ml[name] = of_frames[0] if len(of_frames) == 1 else of_frames
    return volumes_ml
