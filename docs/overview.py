"""Draws docs/overview.png from a trained demonstration: few labels and many scans in, a segmentation and its EF out.

    semicycle train && semicycle predict runs/phantom/phantom -o OUT --part test
    semicycle evaluate --pred OUT --truth runs/phantom/phantom
    python docs/overview.py runs/phantom OUT docs/overview.png

The test patient shown is the one in the middle by mean Dice.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from PIL import Image

from acdc_semicycle.datasets.acdc import CLASSES, COLOURS

RGB = np.array(COLOURS) / 255
INK, QUIET = "#1f2933", "#667380"
COLUMNS, SLICE, CROP = 7, 3, slice(6, 94)  # of the pictures; the slice shown, and its middle part


def voxels(path: Path) -> np.ndarray:
    """The middle of one slice, upright."""
    return np.asarray(nibabel.load(path).dataobj)[CROP, CROP, SLICE].T


def show(axes: Axes, image: np.ndarray, labels: np.ndarray | None = None, outlines: bool = False) -> None:
    """Draw a slice in grey, with its structures filled or outlined."""
    low, high = np.percentile(image, (1, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    for k in range(1, len(CLASSES)):
        if labels is None:
            break
        structure = (labels == k).astype(float)
        if outlines and structure.any():
            axes.contour(structure, [0.5], colors=[RGB[k]], linewidths=2.2)
        elif structure.any():
            axes.imshow(np.where(structure, 1.0, np.nan), cmap=ListedColormap([RGB[k]]), alpha=0.75)
    axes.set_axis_off()


def thumbnails(figure: SubFigure, phantom: Path, patients: list[str], rows: int, with_masks: bool) -> None:
    """A slice of each patient, in rows."""
    grid = figure.subplots(rows, COLUMNS, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.80 if rows == 2 else 0.86)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, patient in zip(grid.flat, patients, strict=False):
        stem = phantom / "training" / patient / f"{patient}_frame01"
        mask = voxels(stem.with_name(f"{stem.name}_gt.nii.gz")) if with_masks else None
        show(axes, voxels(stem.with_name(f"{stem.name}.nii.gz")), mask)


def middle_patient(evaluation: dict) -> dict:
    """The patient in the middle by the mean Dice of both phases."""
    dice: dict[str, list[float]] = {}
    for case in evaluation["cases"]:
        dice.setdefault(case["patient"], []).append(case["dice"]["mean"])
    ranked = sorted(dice, key=lambda patient: float(np.mean(dice[patient])))
    name = ranked[len(ranked) // 2]
    return next(patient for patient in evaluation["patients"] if patient["patient"] == name)


def result(figure: SubFigure, phantom: Path, out: Path, evaluation: dict) -> None:
    """Both phases of a test patient with the network's outlines, and the ejection fractions."""
    patient = middle_patient(evaluation)
    name = patient["patient"]
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.22, top=0.86, wspace=0.04)
    phases = {"end-diastole": "frame01", "end-systole": "frame10"}
    for axes, (phase, frame) in zip(figure.subplots(1, 2), phases.items(), strict=True):
        scan = phantom / "training" / name / f"{name}_{frame}.nii.gz"
        show(axes, voxels(scan), voxels(out / "training" / name / f"{name}_{frame}_seg.nii.gz"), outlines=True)
        axes.text(0.03, 0.03, phase, color="white", fontsize=9, transform=axes.transAxes)
    found, truth = patient["prediction"]["lv_ef_percent"], patient["truth"]["lv_ef_percent"]
    figure.text(0.5, 0.12, f"LV ejection fraction {found:.0f} %", ha="center", fontsize=15, color=INK, weight="bold")
    dice = evaluation["summary"][evaluation["tools"][0]]["dice"]["mean"]
    count = len(evaluation["patients"])
    words = f"true masks: {truth:.0f} %; mean Dice of {count} test patients: {dice:.2f}"
    figure.text(0.5, 0.035, words, ha="center", fontsize=9.5, color=QUIET)


def legend(figure: SubFigure) -> None:
    """An arrow, and the colours of the structures."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.annotate("", (0.95, 0.56), (0.05, 0.56), arrowprops={"arrowstyle": "-|>", "lw": 2.5, "color": INK})
    axes.text(0.5, 0.62, "semicycle\ntrain", ha="center", fontsize=11, color=INK, family="monospace")
    for row, k in enumerate((3, 2, 1)):
        axes.text(0.5, 0.46 - 0.075 * row, CLASSES[k], ha="center", color=RGB[k] * 0.85, fontsize=11, weight="bold")


def main(run: Path, out: Path, target: Path) -> None:
    """Draw the picture, in few colours."""
    phantom = run / "phantom"
    split = json.loads((run / "split.json").read_text())
    evaluation = json.loads((out / "evaluation.json").read_text())
    figure = plt.figure(figsize=(11, 4.0), dpi=100, facecolor="white")
    left, middle, right = figure.subfigures(1, 3, width_ratios=[4.7, 1.1, 5.0])
    above, below = left.subfigures(2, 1, height_ratios=[2, 2.85])
    labelled, unlabelled = split["labelled"], split["unlabelled"]
    above.suptitle(f"{len(labelled)} phantom patients with masks", fontsize=12, color=INK, y=0.97)
    thumbnails(above, phantom, labelled, 2, with_masks=True)
    below.suptitle(f"{len(unlabelled)} without", fontsize=12, color=INK, y=0.98)
    thumbnails(below, phantom, unlabelled, 3, with_masks=False)
    right.suptitle("a phantom patient that the network has not seen", fontsize=12, color=INK, y=0.97)
    result(right, phantom, out, evaluation)
    legend(middle)
    figure.savefig(target)
    with Image.open(target) as picture:
        few_colours = picture.convert("RGB").quantize(80, dither=Image.Dither.NONE)
    few_colours.save(target, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
