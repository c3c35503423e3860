"""Small label maps with corners and sizes to choose, and the files and folders that tests of the evaluation write."""

import json
from pathlib import Path

import nibabel
import numpy as np

from acdc_semicycle.evaluation import compare
from acdc_semicycle.imageio import volumes

SPACING = (1.5, 1.25, 8.0)
AFFINE = np.array([[-1.5, 0, 0, 40], [0, -1.25, 0, 30], [0, 0, 8, -20], [0, 0, 0, 1]], float)
SHAPE = (12, 10, 5)
rng = np.random.default_rng


def box(start=(3, 3, 1), size=(4, 3, 2), label: int = 1, shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = label
    return labels


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A label map or an image, in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(labels, affine), path)
    else:
        volumes.save(path, labels, volumes.Volume(labels[..., None], affine))
    return path


def scored(prediction: np.ndarray, truth: np.ndarray, folder: Path, affine: np.ndarray = AFFINE, classes=("b", "x")):
    """The only case of two label maps."""
    save(folder / "tool" / "X.nii.gz", prediction, affine)
    save(folder / "truth" / "X_gt.nii.gz", truth, affine)
    content = compare.compare([folder / "tool"], folder / "truth", classes)
    assert not content["failures"]
    return content["cases"][0]


def blobs(seed: int, shape=(13, 11, 6)) -> np.ndarray:
    """Ragged label maps of two structures; they touch the border."""
    noise = rng(seed).random(shape)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis)
    return np.digitize(noise, np.quantile(noise, (0.6, 0.8))).astype(np.uint8)


def sheet(folder: Path, cases: list[dict], classes=("background", "LV")) -> None:
    (folder / "predictions.json").write_text(json.dumps({"classes": classes, "cases": cases}))
