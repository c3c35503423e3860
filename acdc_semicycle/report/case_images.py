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

    slice_index: int
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
        raise InputError("predictions.json and evaluation.json name no mask of this case")
    prediction = volumes.read(_resolved(folder, path), frames=True, mask=True)
    masks = prediction.layout.apply(prediction.voxels)[..., 0]
    turned = prediction.spacing_fault is None
    truth = _truth(folder, case, 0, masks.shape[:2])
    image = _image(folder, case, masks)
    slices = []
    for z in _spread(masks):
        shown = displayed(image[..., z], turned), displayed(masks[..., z], turned)
        slices.append(Slice(z, *shown, _displayed_truth(truth, z, turned)))
    return slices


def _spread(masks: NDArray) -> list[int]:
    """Up to three slices [H, W, slices], from one end of what was segmented to the other."""
    segmented = np.flatnonzero((masks > 0).any((0, 1)))
    if not segmented.size:
        segmented = np.arange(masks.shape[2])
    ranks = np.round(np.quantile(np.arange(segmented.size), (0.15, 0.5, 0.85))).astype(int)
    return np.unique(segmented[ranks]).tolist()


def _from_panel(folder: Path, case: Case, path: Path) -> list[Slice]:
    """The slices that predict kept of a case."""
    with np.load(path, allow_pickle=False) as panel:
        arrays = {name: panel[name] for name in panel.files}
    turned = bool(arrays["turned"])
    height, width = arrays["prediction_0"].shape
    truth = _truth(folder, case, int(arrays["frame"]), (width, height))  # displayed, a slice is transposed
    slices = []
    for number, z in enumerate(arrays["places"].tolist()):
        shown = arrays[f"image_{number}"], arrays[f"prediction_{number}"], _displayed_truth(truth, z, turned)
        slices.append(Slice(z, *shown, arrays.get(f"painted_{number}"), arrays.get(f"difference_{number}")))
    return slices


def _displayed_truth(truth: NDArray | None, z: int, turned: bool) -> NDArray | None:
    """A slice of the true masks as a radiologist sees it, if there is one."""
    if truth is None or z >= truth.shape[2]:
        return None
    return displayed(truth[..., z], turned)


def _truth(folder: Path, case: Case, frame: int, shape: tuple[int, ...]) -> NDArray | None:
    """The true masks [H, W, slices] of a frame; None where none of that frame and shape can be read."""
    if not case.scored.get("truth"):
        return None
    try:
        volume = volumes.read(_resolved(folder, case.scored["truth"]), frames=True, mask=True)
    except DAMAGE:
        return None  # its scores are there, and say more than its outline
    masks = volume.layout.apply(volume.voxels)
    if masks.shape[3] == 1:
        frame -= _first_frame(case)
    if masks.shape[:2] != shape or not 0 <= frame < masks.shape[3]:
        return None
    return masks[..., frame]


def _first_frame(case: Case) -> int:
    """The frame of the scan of which a truth of one frame is; -1 for a cine whose frame of this phase is unknown."""
    if (case.predicted.get("frames") or 1) <= 1:
        return 0
    return (case.predicted.get("phases") or {}).get(case.about("phase"), -1)


def _image(folder: Path, case: Case, masks: NDArray) -> NDArray:
    """The scan [H, W, slices] in greys of 0 to 255; black where it cannot be read."""
    path, image = case.scored.get("image") or case.predicted.get("scan"), np.zeros(0)
    with suppress(*DAMAGE):  # the outlines alone are worth a picture
        if path:
            volume = volumes.read(_resolved(folder, path), frames=True)
            image = volume.layout.apply(volume.voxels)[..., 0].astype(np.float32)
    if image.shape != masks.shape:
        return np.zeros(masks.shape, np.uint8)
    return to_grey(image, window_of(image))


def _resolved(folder: Path, path: str | Path) -> Path:
    """A path as seen from the folder, or, where that leads nowhere, as it is."""
    return folder / path if (folder / path).exists() else Path(path)
