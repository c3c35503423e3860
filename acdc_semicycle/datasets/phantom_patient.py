"""A patient of the phantom, drawn at random: what the body looks like, and the heart's volumes in both phases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
SLICES = 8  # by default
# By tissue, blood of the left ventricle about 1: the darkest and the brightest patient.
DARKEST = (0.01, 0.75, 0.28, 0.95, 0.35, 0.25, 0.70, 0.04, 0.70, 0.25, 0.30)
BRIGHTEST = (0.02, 1.00, 0.46, 1.10, 0.55, 0.45, 1.00, 0.12, 1.30, 0.50, 0.70)
# What varies between patients, uniformly; angles in radians, clockwise from x as seen.
TRAITS = {
    "fov_mm": (148, 161), "depth_mm": (80, 87), "apex": (0.84, 0.87),
    "lv_ml": (70, 125), "lv_ef": (0.35, 0.70), "wall_mm": (7, 11), "myo_change": (0.96, 1.0),
    "rv_part": (0.75, 0.95), "rv_ef_gain": (-0.08, 0.05), "fullness": (2.2, 3.2),
    "septum": (2.7, 4.1), "w1": (1.1, 1.45), "w2": (1.1, 1.45), "shift_x_mm": (-9, 9), "shift_y_mm": (-9, 9),
    "tilt_x": (-0.12, 0.12), "tilt_y": (-0.12, 0.12), "oval": (0.0, 0.12), "oval_at": (0, 6.3),
    "three": (0.0, 0.05), "three_at": (0, 6.3), "off": (0.0, 0.16), "off_at": (0, 6.3),
    "papillary_at": (-0.4, 0.4), "papillary": (0.17, 0.25), "atrium_mm": (16, 22), "atria_at": (-0.5, 0.5),
    "pericardium_mm": (2, 9), "pericardium_at": (0, 6.3), "chest_at": (-2.8, -1.7), "skin_mm": (62, 90),
    "subcutis_mm": (6, 20), "chest_muscle_mm": (6, 11), "ribs_at": (0, 6.3), "liver_x_mm": (-75, -20),
    "liver_top_mm": (22, 45), "liver_rise": (0.1, 0.4), "stomach_x_mm": (25, 60), "stomach_top_mm": (34, 58),
    "aorta_x_mm": (40, 65), "aorta_y_mm": (35, 60), "aorta_mm": (8, 12), "vessels": (0.2, 0.45),
    "coil_x": (-0.3, 0.3), "coil_y": (-0.3, 0.3), "coil_bend": (-0.3, 0.2), "noise": (0.02, 0.055),
    "gain": (350, 900),
}  # fmt: skip


@dataclass(frozen=True)
class PhantomTruth:
    """The volumes of one patient's heart in one phase (``"ED"`` or ``"ES"``), as it was constructed."""

    patient: str
    phase: str
    lv_ml: float
    rv_ml: float
    myo_ml: float


@dataclass(frozen=True)
class Heart:
    """One phase: its volumes, and the lengths over which they are spread."""

    truth: PhantomTruth
    base_mm: float  # depth of the valves under the top of the picture
    lv_mm: float
    epi_mm: float
    rv_mm: float


@dataclass(frozen=True)
class Patient:
    """What is drawn of one patient.

    Attributes:
        traits: a value for each of TRAITS.
        brightness: a value for each tissue.
        orientation: the affine of a picture of 1 mm voxels around the origin.
        hearts: at end-diastole and at end-systole.
    """

    traits: dict[str, float]
    brightness: Floats
    orientation: NDArray[np.float64]
    hearts: tuple[Heart, Heart]

    @property
    def fov_mm(self) -> NDArray[np.float64]:
        """The field of view along x, y and z."""
        return np.array([self.traits["fov_mm"], self.traits["fov_mm"], self.traits["depth_mm"]])


def draw(name: str, seed: int, number: int) -> Patient:
    """A patient, who depends on the seed and the number only."""
    rng = np.random.default_rng([seed, number])
    lowest, highest = zip(*TRAITS.values(), strict=True)
    traits = dict(zip(TRAITS, rng.uniform(lowest, highest).tolist(), strict=True))
    # a stack in RAS+: x to the patient's left and back, y down, z to the left, front and down
    columns = np.array([[-0.6, 0.44, -0.6], [-0.8, -0.33, 0.55], [0.0, -0.81, -0.55]])
    u, _, v = np.linalg.svd(columns + rng.normal(0, 0.1, (3, 3)))  # the nearest rotation
    orientation = np.eye(4)
    orientation[:3, :3], orientation[:3, 3] = u @ v, rng.normal([-20, 15, 0], 15)
    brightness = rng.uniform(DARKEST, BRIGHTEST).astype(np.float32)
    return Patient(traits, brightness, orientation, beat(name, traits))


def beat(name: str, traits: dict[str, float]) -> tuple[Heart, Heart]:
    """Both phases: in systole the valves come down, the apex stays, and the muscle keeps its volume."""
    # The valves lie on the borders of the default stack's slices, and the right ventricle ends a quarter into one: half
    # a slice of the heart's widest part is a tenth of its volume, by which the masks would differ from the truth.
    slice_mm = traits["depth_mm"] / SLICES
    base_mm, epi_mm = slice_mm, traits["apex"] * traits["depth_mm"] - slice_mm
    lv_ml, lv_ef, rv_ml = traits["lv_ml"], traits["lv_ef"], traits["lv_ml"] * traits["rv_part"]
    # the muscle that puts a wall of the drawn thickness around the cavity's base (0.7 = p/(p+1), about)
    radius_mm = math.sqrt(1000 * lv_ml / (math.pi * 0.7 * (epi_mm - 6)))
    myo_ml = math.pi * 0.7 * epi_mm * (radius_mm + traits["wall_mm"]) ** 2 / 1000 - lv_ml
    ed = PhantomTruth(name, "ED", lv_ml, rv_ml, myo_ml)
    rv_ef = lv_ef + traits["rv_ef_gain"]
    es = PhantomTruth(name, "ES", lv_ml * (1 - lv_ef), rv_ml * (1 - rv_ef), myo_ml * traits["myo_change"])
    descent_mm, apical_mm = slice_mm, 6 + 5 * lv_ef
    short_mm = epi_mm - descent_mm
    return (
        Heart(ed, base_mm, epi_mm - 6, epi_mm, 4.25 * slice_mm),
        Heart(es, base_mm + descent_mm, short_mm - apical_mm, short_mm, 3.25 * slice_mm),
    )
