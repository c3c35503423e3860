"""A beating short-axis heart written as an ACDC challenge folder, its volumes known by construction."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.datasets.phantom_patient import SLICES, Floats, Patient, PhantomTruth, draw
from acdc_semicycle.datasets.phantom_tissue import LABELS, mean_of_blocks, paint_body, paint_heart, scan
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.staged_folder import staged_folder

VERSION = 2  # of the drawing: increase it when the same arguments give other files
FRAMES = {"ED": 1, "ES": 10}
INFO = "ED: 1\nES: 10\nGroup: NOR\nHeight: 175.0\nNbFrame: 20\nWeight: 70.0\n"
FINEST_MM = (1.7, 1.7, 1.6)  # tissue is painted at least as finely and averaged into voxels


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
        root: a folder that does not exist yet, is empty, or holds this very phantom.
        patients: their number; they are named patient001, patient002, ...
        seed: another seed gives other patients.
        size: voxels along x, y and z, at least 32 x 32 x 6.
        unlabelled: names of the patients whose mask files are left out.

    Returns:
        Each patient's ED and ES, the unlabelled ones' too.

    Raises:
        InputError: the arguments make no phantom, or ``root`` holds something else.
    """
    root = Path(root)
    names = [f"patient{number:03d}" for number in range(1, patients + 1)]
    _check(names, size, unlabelled)
    recipe = {"version": VERSION, "patients": patients, "seed": seed, "size": list(size)}
    recipe["unlabelled"] = sorted(set(unlabelled))
    drawn = {name: draw(name, seed, number) for number, name in enumerate(names, start=1)}
    if not _holds(root, recipe):
        with staged_folder(root, lambda: _holds(root, recipe)) as staging:
            for number, (name, patient) in enumerate(drawn.items(), start=1):
                folder = staging / "training" / name
                _write_patient(folder, patient, (seed, number), size, name not in unlabelled)
            _write_truths(staging / "truth.csv", list(drawn.values()))
            (staging / "phantom.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    return [heart.truth for patient in drawn.values() for heart in patient.hearts]


def _check(names: list[str], size: tuple[int, int, int], unlabelled: Collection[str]) -> None:
    """Refuse arguments that make no phantom."""
    if not 1 <= len(names) <= 999:
        raise InputError(f"a phantom of {len(names)} patients was asked for: give 1 to 999")
    if len(size) != 3 or min(size[:2]) < 32 or size[2] < 6:
        raise InputError(f"a phantom of size {tuple(size)} is too coarse: give at least (32, 32, 6)")
    unknown = sorted(set(unlabelled) - set(names))
    if unknown:
        raise InputError(
            f"unlabelled={unknown} are not in the phantom, which has {names[0]} to {names[-1]}: name some of those"
        )


def _holds(root: Path, recipe: dict) -> bool:
    """Whether the folder holds this phantom already; False where it can be written.

    Raises:
        InputError: it holds something else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        content = json.loads((root / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = "something without a phantom.json"
    if content != recipe:
        raise InputError(f"{root} holds {content}, expected {recipe}: choose another folder or remove this one")
    return True


def _write_patient(
    folder: Path, patient: Patient, key: tuple[int, int], size: tuple[int, int, int], labelled: bool
) -> None:
    """Write a patient's folder: the frames, and their masks where there are any."""
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(INFO, encoding="utf-8")
    fov_mm = patient.fov_mm
    parts = (np.ceil(fov_mm / size / FINEST_MM).astype(int) | 1).tolist()  # odd, so that two labels never tie
    fine_size = np.multiply(size, parts)
    axes: list[Floats] = []
    for n, mm in zip(fine_size, fov_mm, strict=True):
        axes.append((((np.arange(n) + 0.5) / n - 0.5) * mm).astype(np.float32))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    affine = patient.orientation @ np.diag([*(fov_mm / size), 1.0])
    affine[:3, 3] -= affine[:3, :3] @ ((np.array(size) - 1) / 2)
    body = paint_body(patient.traits, x, y, z)
    for phase, heart in enumerate(patient.hearts):
        tissue = body.copy()
        paint_heart(tissue, patient.traits, heart, x, y, z)
        stem = f"{folder.name}_frame{FRAMES[heart.truth.phase]:02d}"
        _save(folder / f"{stem}.nii.gz", scan(patient, tissue, parts, (*key, phase)), affine)
        if labelled:
            fine = LABELS[tissue]
            votes = [mean_of_blocks((fine == label).astype(np.float32), parts) for label in range(4)]
            _save(folder / f"{stem}_gt.nii.gz", np.argmax(votes, axis=0).astype(np.uint8), affine)


def _save(path: Path, voxels: NDArray, affine: NDArray[np.float64]) -> None:
    """Write a NIfTI whose qform and sform are equal."""
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, code=1)
    image.set_sform(image.get_qform(), code=1)  # which the quaternion has rounded
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _write_truths(path: Path, patients: list[Patient]) -> None:
    """Write one row for each patient: volumes in millilitres, ejection fractions in per cent."""
    rows = []
    for patient in patients:
        ed, es = patient.hearts[0].truth, patient.hearts[1].truth
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
