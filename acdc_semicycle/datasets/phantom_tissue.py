"""The phantom's tissues, painted in space, and what a scanner makes of them.

Every cross-section is a star around the axis of the left ventricle. The *squared* radius of the star is
chosen, because its area is half the integral of that over the angle. With t in [0, 1] from base to apex,

    LV cavity     r^2 < a^2 (1 - t^p) wobble                   volume  pi a^2 L p/(p+1)
    myocardium    a wider and longer one around it             volume  of both, less the cavity
    RV cavity     r^2 < epicardium's + c (1 - t^p) crescent    volume  (w1 + w2)/pi c L p/(p+1)
                  crescent = cos(pi phi / 2w), w = w1 or w2 on the two sides of the septum's middle

where a wobble is 1 plus cosines of mean zero. Volumes are drawn and a and c follow, so no voxel is counted.
Papillary muscles are dark but, as in ACDC, belong to the cavity they stand in.

Axes: x to the viewer's right, y down, z from base to apex; the origin is the middle of the picture, in mm.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from acdc_semicycle.datasets.phantom_patient import Bytes, Floats, Heart, Patient

AIR, RV, MYO, LV, PAPILLARY, MUSCLE, VESSEL, LUNG, FAT, LIVER, STOMACH = range(11)
LABELS = np.array([0, 1, 2, 3, 3, 0, 0, 0, 0, 0, 0], np.uint8)
# by tissue, how mottled it looks
MOTTLE = np.array((0, 0.06, 0.03, 0.06, 0.03, 0.08, 0.08, 0.03, 0.15, 0.05, 0.25), np.float32)


def paint_body(traits: dict[str, float], x: Floats, y: Floats, z: Floats) -> Bytes:
    """Chest wall, lungs, liver, stomach and aorta: the same in both phases."""
    round_mm = 140.0  # radius of the chest
    away_mm = traits["skin_mm"] - round_mm
    dx, dy = x - away_mm * math.cos(traits["chest_at"]), y - away_mm * math.sin(traits["chest_at"])
    deep_mm = round_mm - np.hypot(dx, dy) + 0 * z
    around = np.arctan2(dy, dx) + 0.004 * z
    ribs_mm = np.cos(17 * around + traits["ribs_at"]) + np.cos(29 * around + 2 * traits["ribs_at"])
    inner_mm = traits["subcutis_mm"] + traits["chest_muscle_mm"]
    lung = deep_mm > inner_mm + 3
    tissue = np.full(deep_mm.shape, AIR, np.uint8)
    tissue[deep_mm > 0] = FAT
    tissue[deep_mm > traits["subcutis_mm"] + ribs_mm] = MUSCLE
    tissue[deep_mm > inner_mm + 1.5 * ribs_mm] = FAT
    tissue[lung] = LUNG
    stomach_mm2 = (x - traits["stomach_x_mm"]) ** 2 + (y - traits["stomach_top_mm"] - 45) ** 2
    liver_mm2 = (x - traits["liver_x_mm"]) ** 2 + (y - traits["liver_top_mm"] - 90) ** 2
    rise_mm = traits["liver_rise"] * z
    tissue[lung & (stomach_mm2 < (48 + rise_mm) ** 2)] = FAT
    tissue[lung & (stomach_mm2 < (43 + rise_mm) ** 2)] = STOMACH
    tissue[lung & (liver_mm2 < (91 + rise_mm) ** 2)] = FAT
    tissue[lung & (liver_mm2 < (90 + rise_mm) ** 2)] = LIVER
    tissue[lung & (np.hypot(x - traits["aorta_x_mm"], y - traits["aorta_y_mm"]) < traits["aorta_mm"])] = VESSEL
    return tissue


def paint_heart(tissue: Bytes, traits: dict[str, float], heart: Heart, x: Floats, y: Floats, z: Floats) -> None:
    """Ventricles below the base, atria above it."""
    p, truth, below_mm = traits["fullness"], heart.truth, z + traits["depth_mm"] / 2 - heart.base_mm
    cos, sin = math.cos(traits["septum"]), math.sin(traits["septum"])
    # the whole heart's middle, which lies 16 mm from the left ventricle's axis, is near the picture's
    x = x + 16 * cos - traits["shift_x_mm"] - traits["tilt_x"] * z
    y = y + 16 * sin - traits["shift_y_mm"] - traits["tilt_y"] * z
    x, y = cos * x + sin * y, cos * y - sin * x  # now x runs from the axis across the septum
    r2, phi = x**2 + y**2, np.arctan2(y, x)
    wobble = (
        1
        + traits["oval"] * np.cos(2 * phi - traits["oval_at"])
        + traits["three"] * np.cos(3 * phi - traits["three_at"])
    )
    crescent = np.cos(np.clip(phi / np.where(phi < 0, traits["w1"], traits["w2"]), -1, 1) * (math.pi / 2))
    cavity = _square_mm2(below_mm, truth.lv_ml, heart.lv_mm, p)
    epi = _square_mm2(below_mm, truth.lv_ml + truth.myo_ml, heart.epi_mm, p) * wobble
    # the volume is (w1 + w2)/pi c L p/(p+1), where _square_mm2 assumes pi c L p/(p+1)
    outer = epi + _square_mm2(below_mm, truth.rv_ml, heart.rv_mm, p) * crescent * (
        math.pi**2 / (traits["w1"] + traits["w2"])
    )

    _paint_atria(tissue, traits, x, y, below_mm < 0)
    rim, r = np.sqrt(outer), np.sqrt(r2)
    lobes = (1 + np.cos(phi - traits["pericardium_at"])) * (1 + np.cos(2 * phi + 3 * traits["pericardium_at"])) / 2
    wall = rim + 3 * np.minimum(1, 3 * crescent)
    tissue[(rim > 0) & (r < wall + np.minimum(traits["pericardium_mm"] * lobes, 0.4 * rim))] = FAT
    tissue[(rim > 0) & (r < wall)] = MUSCLE
    tissue[r2 < outer] = RV
    tissue[r2 < epi] = MYO
    tissue[r2 < cavity * (wobble + traits["off"] * np.cos(phi - traits["off_at"]))] = LV
    _paint_papillaries(tissue, traits, x, y, np.sqrt(cavity), below_mm / heart.lv_mm)


def _square_mm2(below_mm: Floats, volume_ml: float, length_mm: float, p: float) -> Floats:
    """a^2 (1 - t^p) with a from the volume; 0 above the base and below the tip."""
    t = below_mm / length_mm
    at_base = 1000 * volume_ml * (p + 1) / (p * math.pi * length_mm)
    return np.where((t >= 0) & (t < 1), at_base * (1 - np.clip(t, 0, 1) ** p), 0)


def _paint_atria(tissue: Bytes, traits: dict[str, float], x: Floats, y: Floats, above: NDArray[np.bool_]) -> None:
    """Both atria, the aorta's root and the outflow tract: blood above the valves that has no label."""
    size_mm, sway = traits["atrium_mm"], traits["atria_at"]
    for along, across, stretch, part in (
        (-0.1, sway - 0.4, 0.75, 1.0),  # left atrium
        (1.7, 0.5 * sway - 0.5, 1.2, 0.9),  # right atrium
        (1.6, 0.9 - sway, 0.8, 0.7),  # outflow tract of the right ventricle
        (0.7, 0.5 - 0.5 * sway, 1.0, 0.65),  # aorta, in front of them all
    ):
        dx, dy = x - along * size_mm, y - across * size_mm
        r_mm = np.sqrt(stretch * dx**2 + dy**2 / stretch)
        tissue[above & (r_mm < part * size_mm + 3) & (tissue != VESSEL)] = FAT
        tissue[above & (r_mm < part * size_mm + 1.5)] = MUSCLE
        tissue[above & (r_mm < part * size_mm)] = VESSEL


def _paint_papillaries(
    tissue: Bytes, traits: dict[str, float], x: Floats, y: Floats, radius_mm: Floats, t: Floats
) -> None:
    """Two papillary muscles from the free wall, and trabeculae; sizes are parts of the cavity's radius."""
    for at, distance, part, first in (
        (2.2, 0.72, 1.0, 0.20), (4.1, 0.70, 1.0, 0.25), (2.8, 0.85, 0.6, 0.30),
        (3.5, 0.88, 0.5, 0.40), (1.3, 0.90, 0.5, 0.50), (5.1, 0.90, 0.5, 0.45),
    ):  # fmt: skip
        angle = at + traits["papillary_at"] * (1 + part)
        dx, dy = x - distance * math.cos(angle) * radius_mm, y - distance * math.sin(angle) * radius_mm
        near = dx**2 + dy**2 < (part * traits["papillary"] * radius_mm) ** 2
        tissue[near & (t > first) & (t < 0.9) & (tissue == LV)] = PAPILLARY


def mean_of_blocks(fine: Floats, parts: list[int]) -> Floats:
    """An array made coarser: the mean of each block of so many voxels along each axis."""
    i, j, k = parts
    blocks = []
    for a, b, c in np.ndindex(i, j, k):
        blocks.append(fine[a::i, b::j, c::k])
    return np.mean(blocks, axis=0)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: NDArray[np.float64]) -> Floats:
    """A Gaussian random field of standard deviation 1; sigma in voxels."""
    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return field / field.std()


def scan(patient: Patient, fine: Bytes, parts: list[int], key: tuple[int, int, int]) -> NDArray[np.int16]:
    """The scanner: partial volume, blur, texture, the coil's bias field and Rician noise."""
    traits, (seed, number, _) = patient.traits, key
    bright = mean_of_blocks(patient.brightness[fine], parts)
    spacing_mm = patient.fov_mm / bright.shape
    still = np.random.default_rng([seed, number, 2])  # the texture is the same in both phases
    coarse, spots = (_texture(still, bright.shape, mm / spacing_mm) for mm in (4.0, 1.5))
    vascular = mean_of_blocks(np.isin(fine, (LUNG, LIVER)).astype(np.float32), parts)
    bright = bright + coarse * mean_of_blocks(MOTTLE[fine], parts)
    bright = bright + traits["vessels"] * vascular * np.maximum(spots - 1.5, 0)
    bright = gaussian_filter(np.maximum(bright, 0), [*(1.0 / spacing_mm[:2]), 0])
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in bright.shape), indexing="ij", sparse=True)
    bright = bright * np.exp(traits["coil_x"] * x + traits["coil_y"] * y + traits["coil_bend"] * (x**2 + y**2))
    real, imaginary = np.random.default_rng(key).normal(0, traits["noise"], (2, *bright.shape))
    return np.round(traits["gain"] * np.hypot(bright + real, imaginary)).astype(np.int16)
