"""A beating short-axis heart written as an ACDC challenge folder, its volumes known by construction.

Every cross-section is a star around the axis of the left ventricle. What is chosen is the star's *squared*
radius, because its area is half the integral of that over the angle. With t in [0, 1] from base to apex,

    LV cavity     r^2 < a^2 (1 - t^p) wobble                   volume  pi a^2 L p/(p+1)
    myocardium    a wider and longer one around it             volume  of both, less the cavity
    RV cavity     r^2 < epicardium's + c (1 - t^p) crescent    volume  (w1 + w2)/pi c L p/(p+1)
                  crescent = cos(pi phi / 2w), w = w1 or w2 on the two sides of the septum's middle

where a wobble is 1 plus cosines of mean zero. Volumes are drawn and a and c follow, so no voxel is counted.
Papillary muscles are dark but, as in ACDC, belong to the cavity they stand in.

Axes: x to the viewer's right, y down, z from base to apex; the origin is the middle of the picture, in mm.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from acdc_semicycle.runtime.errors import InputError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

VERSION = 2  # of the drawing: raise it when the same arguments give other files
SLICES = 8  # by default
FRAMES = {"ED": 1, "ES": 10}
INFO = "ED: 1\nES: 10\nGroup: NOR\nHeight: 175.0\nNbFrame: 20\nWeight: 70.0\n"
FINEST_MM = (1.7, 1.7, 1.6)  # tissue is painted at least this finely and averaged into voxels
AIR, RV, MYO, LV, PAPILLARY, MUSCLE, VESSEL, LUNG, FAT, LIVER, STOMACH = range(11)
LABELS = np.array([0, 1, 2, 3, 3, 0, 0, 0, 0, 0, 0], np.uint8)
# By tissue, blood of the left ventricle about 1: darkest and brightest patient, and how mottled it looks.
DARKEST = (0.01, 0.75, 0.28, 0.95, 0.35, 0.25, 0.70, 0.04, 0.70, 0.25, 0.30)
BRIGHTEST = (0.02, 1.00, 0.46, 1.10, 0.55, 0.45, 1.00, 0.12, 1.30, 0.50, 0.70)
MOTTLE = np.array((0, 0.06, 0.03, 0.06, 0.03, 0.08, 0.08, 0.03, 0.15, 0.05, 0.25), np.float32)
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
class _Heart:
    """One phase: its volumes, and the lengths over which they are spread."""

    truth: PhantomTruth
    base_mm: float  # depth of the valves under the top of the picture
    lv_mm: float
    epi_mm: float
    rv_mm: float


@dataclass(frozen=True)
class _Patient:
    traits: dict[str, float]
    brightness: Floats  # by tissue
    orientation: NDArray[np.float64]  # affine of a picture of 1 mm voxels around the origin
    hearts: tuple[_Heart, _Heart]

    @property
    def fov_mm(self) -> NDArray[np.float64]:
        return np.array([self.traits["fov_mm"], self.traits["fov_mm"], self.traits["depth_mm"]])


def write(
    root: Path,
    patients: int = 40,
    seed: int = 0,
    size: tuple[int, int, int] = (96, 96, SLICES),
    unlabelled: Collection[str] = (),
) -> list[PhantomTruth]:
    """Write patients under ``root/training`` in ACDC's layout, and their volumes to ``root/truth.csv``.

    The field of view, about 154 x 154 x 83 mm, is the same for every size: more voxels are smaller voxels.
    A patient depends on the seed and its own number only. The folder appears complete or not at all, and one
    already written with the same arguments is left as it is.

    Args:
        root: a folder that is not there yet, or is empty, or holds this very phantom.
        patients: how many, named patient001, patient002, ...
        seed: other seeds, other patients.
        size: voxels along x, y and z, at least 32 x 32 x 6.
        unlabelled: names of the patients whose mask files are left out.

    Returns:
        Each patient's ED and ES, the unlabelled ones' too.

    Raises:
        InputError: the arguments make no phantom, or ``root`` holds something else.
    """
    root, names = Path(root), [f"patient{number:03d}" for number in range(1, patients + 1)]
    _check(names, size, unlabelled)
    recipe = {"version": VERSION, "patients": patients, "seed": seed, "size": list(size)}
    recipe["unlabelled"] = sorted(set(unlabelled))
    drawn = [_draw(name, seed, number) for number, name in enumerate(names, start=1)]
    if not _holds(root, recipe):
        root.parent.mkdir(parents=True, exist_ok=True)
        mine = f".{root.name}-{platform.node()}-"
        _take_away(root.parent.glob(f"{escape(mine)}*"), mine)
        with tempfile.TemporaryDirectory(prefix=f"{mine}{os.getpid()}-", dir=root.parent) as scratch:
            staging = Path(scratch) / root.name
            for number, (name, patient) in enumerate(zip(names, drawn, strict=True), start=1):
                folder = staging / "training" / name
                _write_patient(folder, patient, (seed, number), size, name not in unlabelled)
            _write_truths(staging / "truth.csv", drawn)
            (staging / "phantom.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
            if not _holds(root, recipe):  # another process may have been faster
                staging.rename(root)
    return [heart.truth for patient in drawn for heart in patient.hearts]


def _take_away(left: Iterable[Path], prefix: str) -> None:
    """Remove what processes of this machine that were killed have left; behind the prefix stands their number."""
    for folder in left:
        number = folder.name.removeprefix(prefix).split("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError, OverflowError):
            pass  # none of these, or somebody else's and alive


def _check(names: list[str], size: tuple[int, int, int], unlabelled: Collection[str]) -> None:
    if not 1 <= len(names) <= 999:
        raise InputError(f"a phantom of {len(names)} patients was asked for: give 1 to 999")
    if len(size) != 3 or min(size[:2]) < 32 or size[2] < 6:
        raise InputError(f"a phantom of size {tuple(size)} is too coarse: give at least (32, 32, 6)")
    if strangers := sorted(set(unlabelled) - set(names)):
        raise InputError(f"unlabelled={strangers}: the phantom has {names[0]} to {names[-1]}, name those")


def _holds(root: Path, recipe: dict) -> bool:
    """Whether the folder is this phantom already; False where there is room for it."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = "something without a phantom.json"
    if found != recipe:
        raise InputError(f"{root} holds {found}, expected {recipe}: choose another folder or remove this one")
    return True


def _draw(name: str, seed: int, number: int) -> _Patient:
    rng = np.random.default_rng([seed, number])
    traits = dict(zip(TRAITS, rng.uniform(*zip(*TRAITS.values(), strict=True)).tolist(), strict=True))
    # a stack in RAS+: x to the patient's left and back, y down, z to the left, front and down
    columns = np.array([[-0.6, 0.44, -0.6], [-0.8, -0.33, 0.55], [0.0, -0.81, -0.55]])
    u, _, v = np.linalg.svd(columns + rng.normal(0, 0.1, (3, 3)))  # the nearest rotation
    orientation = np.eye(4)
    orientation[:3, :3], orientation[:3, 3] = u @ v, rng.normal([-20, 15, 0], 15)
    brightness = rng.uniform(DARKEST, BRIGHTEST).astype(np.float32)
    return _Patient(traits, brightness, orientation, _beat(name, traits))


def _beat(name: str, it: dict[str, float]) -> tuple[_Heart, _Heart]:
    """Both phases: in systole the valves come down, the apex stays, and the muscle keeps its volume."""
    # Valves on the borders of the default stack's slices, the right ventricle a quarter into one: half a slice of the
    # heart's widest part more or less would be a tenth of its volume, and the masks could not say what is drawn.
    slice_mm = it["depth_mm"] / SLICES
    base_mm, epi_mm = slice_mm, it["apex"] * it["depth_mm"] - slice_mm
    lv_ml, lv_ef, rv_ml = it["lv_ml"], it["lv_ef"], it["lv_ml"] * it["rv_part"]
    # the muscle that puts a wall of the drawn thickness around the cavity's base (0.7 = p/(p+1), about)
    radius_mm = math.sqrt(1000 * lv_ml / (math.pi * 0.7 * (epi_mm - 6)))
    myo_ml = math.pi * 0.7 * epi_mm * (radius_mm + it["wall_mm"]) ** 2 / 1000 - lv_ml
    ed = PhantomTruth(name, "ED", lv_ml, rv_ml, myo_ml)
    rv_ef = lv_ef + it["rv_ef_gain"]
    es = PhantomTruth(name, "ES", lv_ml * (1 - lv_ef), rv_ml * (1 - rv_ef), myo_ml * it["myo_change"])
    descent_mm, apical_mm = slice_mm, 6 + 5 * lv_ef
    short_mm = epi_mm - descent_mm
    return (
        _Heart(ed, base_mm, epi_mm - 6, epi_mm, 4.25 * slice_mm),
        _Heart(es, base_mm + descent_mm, short_mm - apical_mm, short_mm, 3.25 * slice_mm),
    )


def _paint_body(it: dict[str, float], x: Floats, y: Floats, z: Floats) -> Bytes:
    """Chest wall, lungs, liver, stomach and aorta: the same in both phases."""
    round_mm = 140.0  # radius of the chest
    away_mm = it["skin_mm"] - round_mm
    dx, dy = x - away_mm * math.cos(it["chest_at"]), y - away_mm * math.sin(it["chest_at"])
    deep_mm = round_mm - np.hypot(dx, dy) + 0 * z
    around = np.arctan2(dy, dx) + 0.004 * z
    ribs_mm = np.cos(17 * around + it["ribs_at"]) + np.cos(29 * around + 2 * it["ribs_at"])
    inner_mm = it["subcutis_mm"] + it["chest_muscle_mm"]
    lung = deep_mm > inner_mm + 3
    tissue = np.full(deep_mm.shape, AIR, np.uint8)
    tissue[deep_mm > 0] = FAT
    tissue[deep_mm > it["subcutis_mm"] + ribs_mm] = MUSCLE
    tissue[deep_mm > inner_mm + 1.5 * ribs_mm] = FAT
    tissue[lung] = LUNG
    stomach_mm2 = (x - it["stomach_x_mm"]) ** 2 + (y - it["stomach_top_mm"] - 45) ** 2
    liver_mm2 = (x - it["liver_x_mm"]) ** 2 + (y - it["liver_top_mm"] - 90) ** 2
    rise_mm = it["liver_rise"] * z
    tissue[lung & (stomach_mm2 < (48 + rise_mm) ** 2)] = FAT
    tissue[lung & (stomach_mm2 < (43 + rise_mm) ** 2)] = STOMACH
    tissue[lung & (liver_mm2 < (91 + rise_mm) ** 2)] = FAT
    tissue[lung & (liver_mm2 < (90 + rise_mm) ** 2)] = LIVER
    tissue[lung & (np.hypot(x - it["aorta_x_mm"], y - it["aorta_y_mm"]) < it["aorta_mm"])] = VESSEL
    return tissue


def _paint_heart(tissue: Bytes, it: dict[str, float], heart: _Heart, x: Floats, y: Floats, z: Floats) -> None:
    """Ventricles below the base, atria above it."""
    p, truth, below_mm = it["fullness"], heart.truth, z + it["depth_mm"] / 2 - heart.base_mm
    cos, sin = math.cos(it["septum"]), math.sin(it["septum"])
    # the whole heart's middle, which lies 16 mm from the left ventricle's axis, is near the picture's
    x = x + 16 * cos - it["shift_x_mm"] - it["tilt_x"] * z
    y = y + 16 * sin - it["shift_y_mm"] - it["tilt_y"] * z
    x, y = cos * x + sin * y, cos * y - sin * x  # now x runs from the axis across the septum

    def square_mm2(volume_ml: float, length_mm: float) -> Floats:
        """a^2 (1 - t^p) with a from the volume; 0 above the base and below the tip."""
        t = below_mm / length_mm
        at_base = 1000 * volume_ml * (p + 1) / (p * math.pi * length_mm)
        return np.where((t >= 0) & (t < 1), at_base * (1 - np.clip(t, 0, 1) ** p), 0)

    r2, phi = x**2 + y**2, np.arctan2(y, x)
    wobble = 1 + it["oval"] * np.cos(2 * phi - it["oval_at"]) + it["three"] * np.cos(3 * phi - it["three_at"])
    crescent = np.cos(np.clip(phi / np.where(phi < 0, it["w1"], it["w2"]), -1, 1) * (math.pi / 2))
    cavity = square_mm2(truth.lv_ml, heart.lv_mm)
    epi = square_mm2(truth.lv_ml + truth.myo_ml, heart.epi_mm) * wobble
    # (w1 + w2)/pi c L p/(p+1) is the volume, and square_mm2 makes it pi c L p/(p+1)
    outer = epi + square_mm2(truth.rv_ml, heart.rv_mm) * crescent * (math.pi**2 / (it["w1"] + it["w2"]))

    _paint_atria(tissue, it, x, y, below_mm < 0)
    rim, r = np.sqrt(outer), np.sqrt(r2)
    lobes = (1 + np.cos(phi - it["pericardium_at"])) * (1 + np.cos(2 * phi + 3 * it["pericardium_at"])) / 2
    wall = rim + 3 * np.minimum(1, 3 * crescent)
    tissue[(rim > 0) & (r < wall + np.minimum(it["pericardium_mm"] * lobes, 0.4 * rim))] = FAT
    tissue[(rim > 0) & (r < wall)] = MUSCLE
    tissue[r2 < outer] = RV
    tissue[r2 < epi] = MYO
    tissue[r2 < cavity * (wobble + it["off"] * np.cos(phi - it["off_at"]))] = LV
    _paint_papillaries(tissue, it, x, y, np.sqrt(cavity), below_mm / heart.lv_mm)


def _paint_atria(tissue: Bytes, it: dict[str, float], x: Floats, y: Floats, above: NDArray[np.bool_]) -> None:
    """Both atria, the aorta's root and the outflow tract: blood above the valves that has no label."""
    size_mm, sway = it["atrium_mm"], it["atria_at"]
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


def _paint_papillaries(tissue: Bytes, it: dict[str, float], x: Floats, y: Floats, radius_mm: Floats, t: Floats) -> None:
    """Two papillary muscles from the free wall, and trabeculae; sizes are parts of the cavity's radius."""
    for at, distance, part, first in (
        (2.2, 0.72, 1.0, 0.20), (4.1, 0.70, 1.0, 0.25), (2.8, 0.85, 0.6, 0.30),
        (3.5, 0.88, 0.5, 0.40), (1.3, 0.90, 0.5, 0.50), (5.1, 0.90, 0.5, 0.45),
    ):  # fmt: skip
        angle = at + it["papillary_at"] * (1 + part)
        dx, dy = x - distance * math.cos(angle) * radius_mm, y - distance * math.sin(angle) * radius_mm
        near = dx**2 + dy**2 < (part * it["papillary"] * radius_mm) ** 2
        tissue[near & (t > first) & (t < 0.9) & (tissue == LV)] = PAPILLARY


def _mean_of_blocks(fine: Floats, parts: list[int]) -> Floats:
    i, j, k = parts
    blocks = [fine[a::i, b::j, c::k] for a in range(i) for b in range(j) for c in range(k)]
    return np.mean(blocks, axis=0)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: NDArray[np.float64]) -> Floats:
    """A Gaussian random field of standard deviation 1; sigma in voxels."""
    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return field / field.std()


def _scan(patient: _Patient, fine: Bytes, parts: list[int], key: tuple[int, int, int]) -> NDArray[np.int16]:
    """The scanner: partial volume, blur, texture, the coil's bias field and Rician noise."""
    it, (seed, number, _) = patient.traits, key
    bright = _mean_of_blocks(patient.brightness[fine], parts)
    spacing_mm = patient.fov_mm / bright.shape
    still = np.random.default_rng([seed, number, 2])  # the texture does not change between the phases
    coarse, spots = (_texture(still, bright.shape, mm / spacing_mm) for mm in (4.0, 1.5))
    vascular = _mean_of_blocks(np.isin(fine, (LUNG, LIVER)).astype(np.float32), parts)
    bright = bright + coarse * _mean_of_blocks(MOTTLE[fine], parts)
    bright = bright + it["vessels"] * vascular * np.maximum(spots - 1.5, 0)
    bright = gaussian_filter(np.maximum(bright, 0), [*(1.0 / spacing_mm[:2]), 0])
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in bright.shape), indexing="ij", sparse=True)
    bright = bright * np.exp(it["coil_x"] * x + it["coil_y"] * y + it["coil_bend"] * (x**2 + y**2))
    real, imaginary = np.random.default_rng(key).normal(0, it["noise"], (2, *bright.shape))
    return np.round(it["gain"] * np.hypot(bright + real, imaginary)).astype(np.int16)


def _write_patient(
    folder: Path, patient: _Patient, key: tuple[int, int], size: tuple[int, int, int], labelled: bool
) -> None:
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(INFO, encoding="utf-8")
    fov_mm = patient.fov_mm
    parts = (np.ceil(fov_mm / size / FINEST_MM).astype(int) | 1).tolist()  # odd: a vote of two has no tie
    fine_size = np.multiply(size, parts)
    axes = (((np.arange(n) + 0.5) / n - 0.5) * mm for n, mm in zip(fine_size, fov_mm, strict=True))
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    affine = patient.orientation @ np.diag([*(fov_mm / size), 1.0])
    affine[:3, 3] -= affine[:3, :3] @ ((np.array(size) - 1) / 2)
    body = _paint_body(patient.traits, x, y, z)
    for phase, heart in enumerate(patient.hearts):
        tissue = body.copy()
        _paint_heart(tissue, patient.traits, heart, x, y, z)
        stem = f"{folder.name}_frame{FRAMES[heart.truth.phase]:02d}"
        _save(folder / f"{stem}.nii.gz", _scan(patient, tissue, parts, (*key, phase)), affine)
        if labelled:
            fine = LABELS[tissue]
            votes = [_mean_of_blocks((fine == label).astype(np.float32), parts) for label in range(4)]
            _save(folder / f"{stem}_gt.nii.gz", np.argmax(votes, axis=0).astype(np.uint8), affine)


def _save(path: Path, voxels: NDArray, affine: NDArray[np.float64]) -> None:
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, code=1)
    image.set_sform(image.get_qform(), code=1)  # the quaternion rounds, and both shall say the same
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _write_truths(path: Path, drawn: list[_Patient]) -> None:
    """One row a patient: volumes in millilitres, ejection fractions in per cent."""
    rows = []
    for ed, es in ([heart.truth for heart in patient.hearts] for patient in drawn):
        figures = {
            "lv_ed_ml": ed.lv_ml, "lv_es_ml": es.lv_ml, "lv_ef_percent": 100 * (1 - es.lv_ml / ed.lv_ml),
            "rv_ed_ml": ed.rv_ml, "rv_es_ml": es.rv_ml, "rv_ef_percent": 100 * (1 - es.rv_ml / ed.rv_ml),
            "myo_ed_ml": ed.myo_ml, "myo_es_ml": es.myo_ml,
        }  # fmt: skip
        rows.append({"patient": ed.patient} | {name: f"{figure:.3f}" for name, figure in figures.items()})
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
