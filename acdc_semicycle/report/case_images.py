"""The slices of a case that a report shows, from what predict kept or from the files themselves."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import displayed
from acdc_semicycle.report.cases import Case
from acdc_semicycle.runtime.errors import InputError

# what a panel, a table of ours or a mask that is damaged raises
DAMAGE = (*volumes.DAMAGE, KeyError, IndexError, zipfile.BadZipFile, InputError)


class Slice(NamedTuple):
    """What is shown of one slice: arrays [H, W] as a radiologist sees them."""

    place: int
    image: NDArray
    prediction: NDArray  # class indices
    truth: NDArray | None = None  # class indices
    painted: NDArray | None = None
    difference: NDArray | None = None  # 0 = agree


def slices_of(folder: Path, case: Case) -> list[Slice]:
    """Up to three slices of a case: those kept when it was predicted, else from the files themselves."""
    panel = case.predicted.get("panel")
    if panel and (folder / panel).is_file():
        return _from_panel(folder, case, folder / panel)
    path = case.scored.get("prediction") or case.predicted.get("mask")
    if not path:
        raise InputError("no mask of it is named")
    prediction = volumes.read(_found(folder, path), frames=True, mask=True)
    mask = prediction.layout.apply(prediction.voxels)[..., 0]
    held = np.flatnonzero((mask > 0).any((0, 1)))
    held = held if held.size else np.arange(mask.shape[2])
    places = np.unique(held[np.round(np.quantile(np.arange(held.size), (0.15, 0.5, 0.85))).astype(int)])
    turned = prediction.spacing_fault is None
    truth = _truth(folder, case, 0, mask.shape[:2])
    image = _image(folder, case, mask)
    return [
        Slice(
            int(z),
            displayed(image[..., z], turned),
            displayed(mask[..., z], turned),
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
        )
        for z in places
    ]


def _from_panel(folder: Path, case: Case, path: Path) -> list[Slice]:
    with np.load(path, allow_pickle=False) as panel:
        held = {name: panel[name] for name in panel.files}
    turned, (height, width) = bool(held["turned"]), held["prediction_0"].shape
    truth = _truth(folder, case, int(held["frame"]), (width, height))  # displayed, a slice is transposed
    return [
        Slice(
            int(z),
            held[f"image_{n}"],
            held[f"prediction_{n}"],
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
            held.get(f"painted_{n}"),
            held.get(f"difference_{n}"),
        )
        for n, z in enumerate(held["places"])
    ]


def _truth(folder: Path, case: Case, frame: int, shape: tuple[int, ...]) -> NDArray | None:
    """The true masks [H, W, slices] of a frame; None where there are none of that frame and shape to be read."""
    if not case.scored.get("truth"):
        return None
    try:
        volume = volumes.read(_found(folder, case.scored["truth"]), frames=True, mask=True)
    except DAMAGE:
        return None  # its scores are there, and say more than its outline
    masks = volume.layout.apply(volume.voxels)
    if masks.shape[3] == 1 and (case.predicted.get("frames") or 1) > 1:  # of a cine: perhaps of another frame
        frame -= (case.predicted.get("phases") or {}).get(case.about("phase"), -1)
    return masks[..., frame] if 0 <= frame < masks.shape[3] and masks.shape[:2] == shape else None


def _image(folder: Path, case: Case, mask: NDArray) -> NDArray:
    """The scan [H, W, slices] in greys of 0 to 255; black where it is not to be had."""
    path, image = case.scored.get("image") or case.predicted.get("scan"), np.zeros(0)
    with suppress(*DAMAGE):  # the outlines still tell
        if path:
            volume = volumes.read(_found(folder, path), frames=True)
            image = volume.layout.apply(volume.voxels)[..., 0].astype(np.float32)
    if image.shape != mask.shape:
        return np.zeros(mask.shape, np.uint8)
    return to_grey(image, window_of(image))


def _found(folder: Path, path: str | Path) -> Path:
    """A path as seen from the folder, or, where that leads nowhere, as it was given."""
    return folder / path if (folder / path).exists() else Path(path)
