"""Sunnybrook Cardiac Data (Radau et al. 2009): short-axis cine slices with the cavity of the left ventricle, CC0.

``root/images`` and ``root/masks`` hold PNG of 256 x 256 with equal names, ``PATIENT_IM-series-number.png``; masks are 0
and 255. Everything but the cavity is not annotated, so masks here say what is known (:func:`known`), and phantom hearts
painted over real ones (:func:`mixed`) say the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import binary_dilation, center_of_mass, distance_transform_edt

from acdc_semicycle.datasets import phantom_tissue as tissues
from acdc_semicycle.datasets.phantom_patient import Bytes, Floats
from acdc_semicycle.datasets.random_hearts import (
    PARTS,
    SIDE,
    RandomHeart,
    labels,
    painted,
    random_contrasts,
    random_heart,
    rendered,
)
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError

LEFT_OUT = ("SC-HF-I-04", "SC-HF-NI-07", "SC-HYP-03", "SC-HYP-37", "SC-N-05", "SC-N-40")  # never trained on
FAR = 72  # pixels from the middle of the cavity, of 1.2 to 1.5 mm, beyond which no heart is
WALL = 3  # pixels around the cavity that are muscle in every heart
LARGEST = 0.5  # of a slice's pixels that a cavity may cover; in Sunnybrook it is 0.05
GAIN = 8  # stored units for each of the picture's


@dataclass(frozen=True)
class AnnotatedSlice:
    """A real slice.

    Attributes:
        name: of the files, without their ending.
        patient: first part of the name.
        image: intensities [SIDE, SIDE], from the viewer's left to right and down, as scans are laid out.
        cavity: whether a pixel is the left ventricle's cavity [SIDE, SIDE].
    """

    name: str
    patient: str
    image: Floats
    cavity: NDArray[np.bool_]


def slices(root: str | Path) -> list[AnnotatedSlice]:
    """All slices below ``root``, sorted by name.

    Raises:
        InputError: no such folders or no slice; a mask is missing, empty or inverted; a picture is black, is none, or
            has another size.
    """
    paths = sorted((Path(root) / "images").glob("*.png"))
    if not paths:
        raise InputError(f"{root} holds no images/*.png: give the folder of Sunnybrook's images and masks")
    result = []
    for path in paths:
        mask = Path(root) / "masks" / path.name
        image, cavity = _read(path), _read(mask) > 0
        _check_slice(path, image, mask, cavity)
        result.append(AnnotatedSlice(path.stem, path.stem.split("_")[0], image.astype(np.float32), cavity))
    return result


def _check_slice(path: Path, image: Bytes, mask: Path, cavity: NDArray[np.bool_]) -> None:
    """Refuse a black picture, and a mask that is empty or covers more than a cavity does, as an inverted one."""
    if not image.any():
        raise InputError(f"{path} is black: restore it")
    if not cavity.any():
        raise InputError(f"{mask} is empty: every slice has a cavity, restore the file")
    share = cavity.mean()
    if share > LARGEST:
        raise InputError(f"{mask} is above 0 in {share:.0%} of its pixels, expected at most {LARGEST:.0%}: restore it")


def _read(path: Path) -> Bytes:
    """A grey picture [SIDE, SIDE], across and down."""
    try:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("L")).T
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it") from error
    if pixels.shape != (SIDE, SIDE):
        raise InputError(f"{path} is {pixels.shape[0]} x {pixels.shape[1]}, expected {SIDE} x {SIDE}: restore it")
    return pixels


def known(cavity: NDArray[np.bool_]) -> Bytes:
    """Class indices [SIDE, SIDE] where a cavity tells them, else ``IGNORED``.

    The cavity, muscle around it, and background far from it; between them may be anything.
    """
    mask = np.where(_distance(center_of_mass(cavity)) > FAR, 0, IGNORED).astype(np.uint8)
    mask[binary_dilation(cavity, iterations=WALL)] = tissues.LABELS[tissues.MYO]
    mask[cavity] = tissues.LABELS[tissues.LV]
    return mask


def mixed(random: np.random.Generator, real: AnnotatedSlice) -> tuple[NDArray[np.int16], Bytes]:
    """Image and class indices [SIDE, SIDE] of a phantom heart painted over the real one, the real body around it.

    The phantom's left ventricle lies on the real one and mostly has its contrasts.
    """
    pixel_mm = random.uniform(1.1, 1.5)
    heart = _still(random_heart(random))
    cavity_at = np.array(center_of_mass(real.cavity))
    axis_mm = np.array(heart.lv_axis_mm)
    across_mm, down_mm = (cavity_at + 0.5 - SIDE / 2) * pixel_mm - axis_mm
    tissue, body = painted(random, heart, pixel_mm, (float(across_mm), float(down_mm)))
    blood, contrasts = _contrasts(random, real)
    filling = tissues.LUNG if random.random() < 0.6 else tissues.FAT  # no air within the chest
    filled = np.where(tissue == tissues.AIR, filling, tissue).astype(np.uint8)
    phantom = rendered(random, filled, contrasts / blood, pixel_mm) * blood

    inside = tissues.mean_of_blocks((tissue != body).astype(np.float32), PARTS)[..., 0] > 0.01
    beyond = _distance(cavity_at - axis_mm / pixel_mm) - random.uniform(62, 80) / pixel_mm
    if inside.any():
        beyond = np.minimum(beyond, distance_transform_edt(~binary_dilation(inside, iterations=2)))
    share = 1 / (1 + np.exp(np.clip(beyond / random.uniform(0.8, 4), -30, 30)))
    image = phantom * share + real.image * (1 - share)
    image = image + random.normal(0, random.uniform(0, 0.03) * blood, image.shape)
    return np.round(GAIN * image).clip(0, 32767).astype(np.int16), labels(tissue)


def _still(heart: RandomHeart) -> RandomHeart:
    """The heart in the middle and upright, so that its axis is where ``lv_axis_mm`` says."""
    return RandomHeart(heart.traits | dict.fromkeys(("shift_x_mm", "shift_y_mm", "tilt_x", "tilt_y"), 0.0), heart.heart)


def _contrasts(random: np.random.Generator, real: AnnotatedSlice) -> tuple[float, Floats]:
    """The real blood's intensity and, in a quarter any, else tissues' intensities as the real slice has them."""
    wall = binary_dilation(real.cavity, iterations=6) & ~binary_dilation(real.cavity)
    blood = max(1.0, float(np.median(real.image[real.cavity])))
    if random.random() < 0.25:
        return blood, random_contrasts(random) * blood
    muscle = float(np.percentile(real.image[wall], 20))
    dark = float(np.percentile(real.image[real.image > 0], 12))
    bright = np.zeros(len(tissues.LABELS), np.float32)
    bright[tissues.LV] = blood
    bright[tissues.RV] = blood * random.uniform(0.75, 1.15)
    bright[tissues.VESSEL] = blood * random.uniform(0.7, 1.15)
    bright[tissues.MYO] = min(muscle * random.uniform(0.7, 1.4), 0.75 * blood)
    bright[tissues.PAPILLARY] = bright[tissues.MYO] * random.uniform(0.8, 1.3)
    bright[tissues.MUSCLE] = bright[tissues.MYO] * random.uniform(0.7, 1.6)
    bright[tissues.LUNG] = dark * random.uniform(0.5, 1.5)
    bright[tissues.FAT] = float(np.percentile(real.image, 99)) * random.uniform(0.5, 1)
    bright[tissues.LIVER] = bright[tissues.MYO] * random.uniform(0.8, 2)
    bright[tissues.STOMACH] = blood * random.uniform(0.2, 1)
    return blood, bright


def _distance(centre: NDArray | tuple[float, ...]) -> NDArray[np.float64]:
    """Pixels from a place to each pixel [SIDE, SIDE]."""
    across, down = np.arange(SIDE)[:, None], np.arange(SIDE)[None, :]
    return np.hypot(across - centre[0], down - centre[1])
