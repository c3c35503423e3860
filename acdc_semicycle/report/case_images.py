"""The slices of a case that a report shows, from what predict kept or from the files themselves."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.evaluation import picture_labels
from acdc_semicycle.evaluation.examples import colours_of, step_of
from acdc_semicycle.evaluation.picture_labels import Rules
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import displayed
from acdc_semicycle.report.cases import Case, resolved
from acdc_semicycle.runtime.errors import InputError

# what a panel, a table of ours or a mask that is damaged raises
DAMAGE = (*volumes.DAMAGE, KeyError, IndexError, zipfile.BadZipFile, InputError)


class Slice(NamedTuple):
    """What is shown of one slice: arrays [H, W] as a radiologist sees them."""

    slice_index: int
    image: NDArray  # greys [H, W] or colours [H, W, 3], from 0 to 255
    prediction: NDArray  # class indices
    truth: NDArray | None = None  # class indices
    painted: NDArray | None = None
    difference: NDArray | None = None  # 0 = agree


class Stack(NamedTuple):
    """A scan and its masks, one frame [H, W, slices] of each, as their files hold them."""

    image: NDArray  # greys from 0 to 255
    prediction: NDArray  # class indices
    truth: NDArray | None
    turned: bool

    def slice(self, z: int) -> Slice:
        """One slice as a radiologist sees it."""
        shown = displayed(self.image[..., z], self.turned), displayed(self.prediction[..., z], self.turned)
        return Slice(z, *shown, _displayed_truth(self.truth, z, self.turned))


def slices_of(folder: Path, case: Case, rules: Rules | None = None) -> list[Slice]:
    """Up to three slices of a case: those kept when it was predicted, else from the files themselves.

    Args:
        rules: how masks that are pictures say which class a pixel is of.
    """
    slices = _from_panel(folder, case)
    if case.is_picture and rules is not None:
        return [_of_picture(folder, case, rules, slices[0] if slices else None)]
    if slices:
        return slices
    stack = stack_of(folder, case)
    return [stack.slice(z) for z in _spread(stack.prediction)]


def stack_of(folder: Path, case: Case) -> Stack:
    """A case as its files hold it; of a cine the frame that was scored, else end-systole, else the first.

    Raises:
        InputError, or another of ``DAMAGE``: the mask cannot be read.
    """
    path = case.scored.get("prediction") or case.predicted.get("mask")
    if not path:
        raise InputError("predictions.json and evaluation.json name no mask of this case")
    prediction = volumes.read(resolved(folder, path), frames=True, mask=True)
    frame = case.frame
    if frame is None and prediction.voxels.shape[3] > 1:
        frame = (case.predicted.get("phases") or {}).get("ES", 0)
    masks = _of_frame(prediction, frame)
    truth = _truth(folder, case, frame or 0, masks.shape[:2])
    return Stack(_image(folder, case, frame, masks), masks, truth, prediction.spacing_fault is None)


def _of_picture(folder: Path, case: Case, rules: Rules, panel: Slice | None) -> Slice:
    """A picture in its colours, with its masks, not larger than figures are.

    Args:
        panel: what predict kept of it, if it did.
    """
    shown = panel
    if shown is None:
        path = case.scored.get("prediction") or case.predicted.get("mask") or ""
        prediction = _smaller(picture_labels.read(resolved(folder, path), rules))
        shown = Slice(0, _photograph(folder, case, prediction.shape), prediction)
    if shown.truth is None and case.scored.get("truth"):
        with suppress(*DAMAGE):  # its scores are there, and say more than its outline
            truth = _smaller(picture_labels.read(resolved(folder, case.scored["truth"]), rules))
            if truth.shape == shown.prediction.shape:
                shown = shown._replace(truth=truth)
    return shown


def _photograph(folder: Path, case: Case, shape: tuple[int, ...]) -> NDArray:
    """The picture [H, W, 3] itself; black where it cannot be read, or has another shape than its mask."""
    path = case.scored.get("image") or case.predicted.get("scan")
    with suppress(*DAMAGE):
        if path:
            colours = _smaller(colours_of(resolved(folder, path)))
            if colours.shape[:2] == shape:
                return colours
    return np.zeros((*shape, 3), np.uint8)


def _smaller(pixels: NDArray) -> NDArray:
    """Every n-th pixel of a large picture."""
    step = step_of(pixels.shape)
    return pixels[::step, ::step]


def _of_frame(volume: volumes.Volume, frame: int | None) -> NDArray:
    """One frame [H, W, slices] of a volume: the only one, or ``frame``; an IndexError where there is no such frame."""
    voxels = volume.layout.apply(volume.voxels)
    if voxels.shape[3] == 1:
        return voxels[..., 0]
    if frame is None:
        raise IndexError("the frame is unknown")
    return voxels[..., frame]


def _spread(masks: NDArray) -> list[int]:
    """Up to three slices [H, W, slices], from one end of what was segmented to the other."""
    segmented = np.flatnonzero((masks > 0).any((0, 1)))
    if not segmented.size:
        segmented = np.arange(masks.shape[2])
    ranks = np.round(np.quantile(np.arange(segmented.size), (0.15, 0.5, 0.85))).astype(int)
    return np.unique(segmented[ranks]).tolist()


def _from_panel(folder: Path, case: Case) -> list[Slice]:
    """The slices that predict kept of a case; none where it kept none, or those of another frame of the cine."""
    path = case.predicted.get("panel")
    if not path or not (folder / path).is_file():
        return []
    with np.load(folder / path, allow_pickle=False) as panel:
        arrays = {name: panel[name] for name in panel.files}
    turned = bool(arrays["turned"])
    frame = int(arrays["frame"])
    if case.frame is not None:
        if (case.predicted.get("frames") or 1) > 1 and case.frame != frame:
            return []
        frame = case.frame
    height, width = arrays["prediction_0"].shape
    truth = _truth(folder, case, frame, (width, height))  # displayed, a slice is transposed
    slices = []
    for number, z in enumerate(arrays["places"].tolist()):
        shown_truth = arrays.get(f"truth_{number}")
        if shown_truth is None:
            shown_truth = _displayed_truth(truth, z, turned)
        shown = arrays[f"image_{number}"], arrays[f"prediction_{number}"], shown_truth
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
        volume = volumes.read(resolved(folder, case.scored["truth"]), frames=True, mask=True)
    except DAMAGE:
        return None  # its scores are there, and say more than its outline
    several = volume.voxels.shape[3] > 1
    if not several and not _is_of_frame(case, frame):
        return None
    if several and frame >= volume.voxels.shape[3]:
        return None
    masks = _of_frame(volume, frame)
    return masks if masks.shape[:2] == shape else None


def _is_of_frame(case: Case, frame: int) -> bool:
    """Whether a truth of one frame is of this frame of the scan; not of a cine whose frame of this phase is unknown."""
    if case.frame is not None:
        return case.frame == frame
    if (case.predicted.get("frames") or 1) <= 1:
        return True
    return (case.predicted.get("phases") or {}).get(case.about("phase")) == frame


def _image(folder: Path, case: Case, frame: int | None, masks: NDArray) -> NDArray:
    """The scan [H, W, slices] in greys of 0 to 255; black where it, or its frame, cannot be read."""
    path, image = case.scored.get("image") or case.predicted.get("scan"), np.zeros(0)
    with suppress(*DAMAGE):  # the outlines alone are worth a picture
        if path:
            volume = volumes.read(resolved(folder, path), frames=True)
            image = _of_frame(volume, frame).astype(np.float32)
    if image.shape != masks.shape:
        return np.zeros(masks.shape, np.uint8)
    return to_grey(image, window_of(image))
