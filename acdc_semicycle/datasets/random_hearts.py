"""Single slices of phantom hearts, random far beyond what looks real, with their true masks.

A network that has seen every contrast, size and shape takes a real scan for one more of them (domain randomisation,
Billot et al. 2023, SynthSeg). The shapes are those of :mod:`acdc_semicycle.datasets.phantom_tissue`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from acdc_semicycle.datasets.phantom_patient import TRAITS, Bytes, Floats, Heart, beat
from acdc_semicycle.datasets.phantom_tissue import (
    AIR,
    FAT,
    LABELS,
    LIVER,
    LUNG,
    LV,
    MOTTLE,
    MUSCLE,
    MYO,
    PAPILLARY,
    RV,
    STOMACH,
    VESSEL,
    mean_of_blocks,
    paint_body,
    paint_heart,
)

SIDE = 256  # rows and columns of a slice
PARTS = [2, 2, 1]  # tissue is painted so much finer, and averaged into pixels
LV_ML = (45.0, 240.0)  # at end-diastole; the logarithm is drawn evenly
AXIS_MM = 16.0  # from the middle of the heart to the axis of the left ventricle
# What differs from the demonstration's phantom, whose hearts are healthy and lie in one place
WIDER = {
    "lv_ef": (0.08, 0.75), "wall_mm": (4, 17), "rv_part": (0.45, 1.6), "rv_ef_gain": (-0.15, 0.1),
    "fullness": (1.8, 4.0), "septum": (2.2, 4.6), "w1": (0.9, 1.55), "w2": (0.9, 1.55),
    "shift_x_mm": (-25, 25), "shift_y_mm": (-25, 25), "oval": (0, 0.22), "three": (0, 0.09), "off": (0, 0.25),
    "papillary": (0.1, 0.3), "atrium_mm": (14, 32), "pericardium_mm": (0, 14), "chest_at": (-3.0, -1.3),
    "skin_mm": (55, 110), "subcutis_mm": (4, 35), "chest_muscle_mm": (4, 16), "liver_top_mm": (10, 55),
    "stomach_top_mm": (20, 70), "aorta_x_mm": (30, 75), "aorta_mm": (7, 15), "depth_mm": (75, 110),
}  # fmt: skip
# A cine's contrasts with a wide margin: the darkest and the brightest of a tissue, blood of the left ventricle about 1
CINE_RANGES = {
    AIR: (0.01, 0.02), RV: (0.55, 1.15), MYO: (0.12, 0.6), LV: (0.7, 1.3), PAPILLARY: (0.35, 0.55),
    MUSCLE: (0.1, 0.8), VESSEL: (0.5, 1.3), LUNG: (0.04, 0.25), FAT: (0.3, 2.2), LIVER: (0.1, 0.8),
    STOMACH: (0.1, 1.2),
}  # fmt: skip
CINE = 0.65  # share of slices with a cine's contrasts; the others have any
LEAST_CONTRAST = 0.25  # between blood and muscle


@dataclass(frozen=True)
class RandomHeart:
    """One heart in one phase, and the body around it.

    Attributes:
        traits: a value for each of TRAITS.
        heart: its volumes and lengths.
    """

    traits: dict[str, float]
    heart: Heart

    @property
    def lv_axis_mm(self) -> tuple[float, float]:
        """Where the axis of the left ventricle is, of a heart without shift and tilt: across and down."""
        angle = self.traits["septum"]
        return -AXIS_MM * math.cos(angle), -AXIS_MM * math.sin(angle)


def random_heart(random: np.random.Generator) -> RandomHeart:
    """Any heart: at end-diastole or at end-systole, as often."""
    lowest, highest = zip(*(TRAITS | WIDER).values(), strict=True)
    traits = dict(zip(TRAITS, random.uniform(lowest, highest).tolist(), strict=True))
    traits["lv_ml"] = float(np.exp(random.uniform(*np.log(LV_ML))))
    traits["rv_ef_gain"] = max(traits["rv_ef_gain"], 0.05 - traits["lv_ef"])  # the right ventricle ejects, too
    return RandomHeart(traits, beat("random", traits)[random.integers(2)])


def random_slice(random: np.random.Generator) -> tuple[NDArray[np.int16], Bytes]:
    """Image and class indices [SIDE, SIDE] of a slice of a random heart in a body of 210 to 400 mm field of view."""
    heart, pixel_mm = random_heart(random), random.uniform(210, 400) / SIDE
    tissue, _ = painted(random, heart, pixel_mm)
    image = rendered(random, tissue, random_contrasts(random), pixel_mm)
    return _scanned(random, image), labels(tissue)


def painted(
    random: np.random.Generator, heart: RandomHeart, pixel_mm: float, centre_mm: tuple[float, float] = (0.0, 0.0)
) -> tuple[Bytes, Bytes]:
    """Tissues of a slice with the heart and of the body alone, at twice the resolution [2 SIDE, 2 SIDE, 1].

    The slice lies anywhere from 14 mm above the base to 12 mm below the apex.

    Args:
        pixel_mm: side of a pixel.
        centre_mm: of the body, from the middle of the slice: across and down.
    """
    traits = heart.traits
    below_mm = random.uniform(-14, heart.heart.epi_mm + 12)
    z = np.full((1, 1, 1), heart.heart.base_mm + below_mm - traits["depth_mm"] / 2, np.float32)
    places_mm = ((np.arange(2 * SIDE) + 0.5) / 2 - SIDE / 2) * pixel_mm
    x = (places_mm - centre_mm[0]).astype(np.float32)[:, None, None]
    y = (places_mm - centre_mm[1]).astype(np.float32)[None, :, None]
    body = paint_body(traits, x, y, z)
    tissue = body.copy()
    paint_heart(tissue, traits, heart.heart, x, y, z)
    return tissue, body


def labels(tissue: Bytes) -> Bytes:
    """Class indices [SIDE, SIDE] of tissues at twice the resolution: in each pixel the class with the largest part."""
    classes = LABELS[tissue]
    parts = [mean_of_blocks((classes == number).astype(np.float32), PARTS)[..., 0] for number in range(4)]
    return np.argmax(parts, axis=0).astype(np.uint8)


def random_contrasts(random: np.random.Generator) -> Floats:
    """How bright each tissue is: mostly as in a cine, else any, with blood and muscle apart."""
    if random.random() < CINE:
        darkest, brightest = np.array([CINE_RANGES[tissue] for tissue in range(len(LABELS))], np.float32).T
        bright = random.uniform(darkest, brightest)
        bright[PAPILLARY] = np.clip(random.uniform(0.7, 1.6) * bright[MYO], 0, bright[LV])
        return bright.astype(np.float32)
    bright = random.uniform(0, 1.4, len(LABELS))
    bright[AIR] = random.uniform(0, 0.1)
    bright[RV] = bright[LV] * random.uniform(0.75, 1.25)
    bright[VESSEL] = bright[LV] * random.uniform(0.7, 1.3)
    bright[PAPILLARY] = bright[MYO] * random.uniform(0.8, 1.2)
    if abs(bright[LV] - bright[MYO]) < LEAST_CONTRAST:
        bright[MYO] = bright[LV] - 0.4 if bright[LV] > 0.4 else bright[LV] + 0.4
    return bright.astype(np.float32)


def rendered(random: np.random.Generator, tissue: Bytes, bright: Floats, pixel_mm: float) -> Floats:
    """Brightness [SIDE, SIDE] of tissues at twice the resolution: partial volume, texture, vessels and blur."""
    image = mean_of_blocks(bright[tissue], PARTS)[..., 0]
    mottle = mean_of_blocks(MOTTLE[tissue], PARTS)[..., 0] * random.uniform(0.3, 2.2)
    image = image + mottle * _texture(random, random.uniform(2, 6) / pixel_mm)
    vascular = mean_of_blocks(np.isin(tissue, (LUNG, LIVER)).astype(np.float32), PARTS)[..., 0]
    spots = np.maximum(_texture(random, 1.5 / pixel_mm) - 1.5, 0)
    image = image + random.uniform(0.1, 0.6) * vascular * spots
    return gaussian_filter(np.maximum(image, 0), random.uniform(0.3, 1.1) / pixel_mm)


def _texture(random: np.random.Generator, sigma: float) -> Floats:
    """A Gaussian random field [SIDE, SIDE] of standard deviation 1; sigma in pixels."""
    field = gaussian_filter(random.standard_normal((SIDE, SIDE), dtype=np.float32), sigma, mode="wrap")
    return field / field.std()


def _scanned(random: np.random.Generator, image: Floats) -> NDArray[np.int16]:
    """The scanner: the coil's bias field, Rician noise, and in 30 % a round field of view."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij", sparse=True)
    across, down, bend = random.uniform([-0.5, -0.5, -0.5], [0.5, 0.5, 0.4])
    image = image * np.exp(across * x + down * y + bend * (x**2 + y**2))
    real, imaginary = random.normal(0, random.uniform(0.005, 0.07), (2, SIDE, SIDE))
    image = np.hypot(image + real, imaginary)
    if random.random() < 0.3:
        radius, (i, j) = random.uniform(0.75, 1.3), random.uniform(-0.2, 0.2, 2)
        image = np.where(np.hypot(x - i, y - j) < radius, image, 0)
    return np.round(500 * image).astype(np.int16)
