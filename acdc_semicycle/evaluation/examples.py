"""A slice of a case with its masks, as figures show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from acdc_semicycle.evaluation.model_scores import Case
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import intensities, is_picture, read_picture

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from acdc_semicycle.evaluation.figures import Example

LARGEST = 512  # pixels of a picture's longer side in figures


def example(case: Case, words: str = "") -> Example:
    """One slice of a case as a radiologist, or a photographer, sees it; ``words`` stand behind its name."""
    from acdc_semicycle.evaluation.figures import Example

    title = f"{case.case} {case.phase}".strip() + words
    if is_picture(case.image):
        image = intensities(case.image, read_picture(case.image), 3)
        if image.dtype != np.uint8:  # 16 bits: from its darkest to its brightest
            image = to_grey(image, (image.min(), image.max()))
        step = -(-max(image.shape[:2]) // LARGEST)
        return Example(title, image[::step, ::step], case.truth, case.prediction)
    volume = volumes.read(case.image)
    image = volume.layout.apply(volume.voxels[..., 0])[..., case.place].astype(np.float32)
    step = -(-max(image.shape) // LARGEST)
    grey = to_grey(image, window_of(image))
    return Example(title, *(volume.shown(slice_) for slice_ in (grey[::step, ::step], case.truth, case.prediction)))
