"""Slices of a few cases with their masks: as a figure to look at, and as a panel to lay methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.evaluation.metrics import dice
from acdc_semicycle.evaluation.model_scores import Case
from acdc_semicycle.evaluation.panels import panel_path
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import intensities, is_picture, read_picture
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import replacing

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from acdc_semicycle.evaluation.figures import Example

LARGEST = 512  # pixels of a picture's longer side in figures
PANEL = 4  # cases in panel.npz
PICTURES = 20  # cases of which a slice is kept for the report's page


def write_figure(
    path: Path, cases: Sequence[Case], classes: Sequence[str], colours: Sequence[Sequence[int]] | None = None
) -> None:
    """The cases of the worst, the middle and the best Dice; a case without a Dice is among the worst.

    Raises:
        InputError: there is no case.
    """
    if not cases:
        raise InputError(f"{path} would show no image: give a part of the split that has patients")
    from acdc_semicycle.evaluation.figures import examples_figure

    first_structure = list(classes).count("background")
    dice_of = {case.case: float(dice(case.counts)[first_structure:].nanmean()) for case in cases}
    ranked = sorted(cases, key=lambda case: np.nan_to_num(dice_of[case.case]))
    chosen = {case.case: case for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1])}
    examples = [example(case, f", Dice {dice_of[name]:.3f}") for name, case in chosen.items()]
    figure = examples_figure(examples, classes, colours)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=110)


def write_panel(path: Path, cases: Sequence[Case]) -> None:
    """Image, truth and prediction of a few cases, evenly spread, the same whatever the network."""
    spread = np.unique(np.linspace(0, len(cases) - 1, PANEL).round().astype(int))
    names: list[str] = []
    arrays: dict[str, Any] = {}
    for number, index in enumerate(spread):
        shown = example(cases[index])
        names.append(cases[index].case)
        arrays[f"image_{number}"] = shown.image
        arrays[f"truth_{number}"] = shown.truth
        arrays[f"prediction_{number}"] = shown.prediction
    with replacing(path) as beside:
        np.savez_compressed(beside, names=np.array(names), **arrays)


def write_slices(folder: Path, cases: Sequence[Case], dices: Mapping[str, float]) -> None:
    """Keep the slice of each of the worst cases for the report's page: the image, the truth and the prediction."""
    for case in sorted(cases, key=lambda case: np.nan_to_num(dices[case.case]))[:PICTURES]:
        shown = example(case)
        arrays: dict[str, Any] = {"places": np.array([case.slice_index]), "frame": case.frame, "turned": False}
        arrays |= {"image_0": shown.image, "prediction_0": shown.prediction, "truth_0": shown.truth}
        with replacing(panel_path(folder, case.case)) as part:
            np.savez_compressed(part, **arrays)


def step_of(shape: Sequence[int]) -> int:
    """Every how many pixels of an image are shown, so that its longer side has at most ``LARGEST``."""
    return -(-max(shape[:2]) // LARGEST)


def example(case: Case, suffix: str = "", painted: Sequence[NDArray] = ()) -> Example:
    """One slice of a case as a radiologist, or a photographer, sees it.

    Args:
        suffix: follows the case's name.
        painted: images that G_SI painted of this slice [h, w] or [h, w, 3], at the network's resolution.
    """
    name = f"{case.case} {case.phase}".strip()
    title = name.encode(errors="replace").decode() + suffix  # fonts have no bytes that are no text
    if is_picture(case.image):
        picture = colours_of(case.image)
        step = step_of(picture.shape)
        return shown_slice(case.image, title, (picture[::step, ::step], case.truth, case.prediction), painted)
    volume = volumes.read(case.image, frames=True)
    image = volume.layout.apply(volume.voxels[..., case.frame])[..., case.slice_index].astype(np.float32)
    step = step_of(image.shape)
    grey = to_grey(image, window_of(image))[::step, ::step]
    return shown_slice(volume, title, (grey, case.truth, case.prediction), painted)


def colours_of(path: Path) -> NDArray[np.uint8]:
    """A picture as colours [H, W, 3]; one of 16 bits from its darkest to its brightest pixel."""
    picture = intensities(path, read_picture(path), 3)
    return picture if picture.dtype == np.uint8 else to_grey(picture, (picture.min(), picture.max()))


def shown_slice(
    source: volumes.Volume | Path, title: str, planes: Sequence[NDArray], painted: Sequence[NDArray] = ()
) -> Example:
    """A canonical slice and its masks as every figure shows them: pictures as they are, scans in one orientation.

    Args:
        source: the scan or the picture, or its file.
        planes: the image, the truth and the prediction, [H, W] or [H, W, 3].
        painted: images of the same slice; they get the image's size.
    """
    size = planes[0].shape[1], planes[0].shape[0]
    pictures = [*planes, *(np.asarray(Image.fromarray(picture).resize(size)) for picture in painted)]
    if isinstance(source, Path) and not is_picture(source):
        source = volumes.read(source, frames=True)
    if isinstance(source, volumes.Volume):
        pictures = [source.shown(picture) for picture in pictures]
    image, truth, prediction, *rest = pictures
    from acdc_semicycle.evaluation.figures import Example

    return Example(title, image, truth, prediction, tuple(rest))
