"""One volume in its 48 orders of storage, in several rotations: one mask in the patient."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import odd_files
from predict import ours
from readers import NEAR_MM, TOOLS, corners_apart, segment_itk, stored
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio.orientation import Layout
from reliability_rows.bench import Bench, Cell, Row

ROTATIONS = {
    "45 about z": Rotation.from_euler("z", 45, degrees=True),
    "20": Rotation.from_euler("xyz", [20, 20, 20], degrees=True),
    "none": Rotation.identity(),
    "44": Rotation.from_euler("x", 44, degrees=True),
    "45 about x": Rotation.from_euler("x", 45, degrees=True),
    "45 about y": Rotation.from_euler("y", 45, degrees=True),
    "diagonal": Rotation.from_euler("xyz", [45, 35.264389682754654, 0], degrees=True),
    "120": Rotation.from_euler("zyx", [120, 10, -30], degrees=True),
}
STORED = [
    Layout(order, flipped)  # type: ignore[arg-type]
    for order in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]


def orders(bench: Bench) -> list[Row]:
    voxels = np.random.default_rng(0).integers(0, 900, (20, 26, 8)).astype("<i2")
    cells = {tool: Cell() for tool in TOOLS}
    for name, rotation in itertools.islice(ROTATIONS.items(), bench.few(len(ROTATIONS), 1)):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = rotation.as_matrix() * [1.4, 1.4, 2.5], [-70, 33, 12]
        home = bench.folder / "orders" / name.replace(" ", "_")
        home.mkdir(parents=True)
        scans = [home / f"order{n:02d}.nii.gz" for n in range(len(STORED))]
        for path, order in zip(scans, STORED, strict=True):
            path.write_bytes(gzip.compress(odd_files.nifti(order.apply(voxels), order.affine(affine, voxels.shape))))
        bench.stock(scans, home / "MONAI")
        ours(scans, home / "ours", bench.model, "cpu")
        for n, path in enumerate(scans):
            segment_itk(path, home / "SimpleITK", bench.stock.network).rename(
                home / "SimpleITK" / f"order{n:02d}_seg.nii.gz"
            )
        for tool in TOOLS:
            first = None
            for path, order in zip(scans, STORED, strict=True):
                mask, place = stored(home / tool / path.name.replace(".nii", "_seg.nii"))
                labels = order.undo(mask)
                first = labels if first is None else first
                apart = corners_apart(place, order.affine(affine, voxels.shape), mask.shape)
                same = bool((labels == first).all()) and apart < NEAR_MM
                cells[tool].add(
                    f"{name}, {path.name}", same, f"{(labels != first).mean():.0%} of voxels, {apart:.3g} mm"
                )
            assert first is not None and len(np.unique(first)) > 1, "a mask of one label tests nothing"
    return [("48 orders of storage, in several rotations: one mask in the patient", cells)]
