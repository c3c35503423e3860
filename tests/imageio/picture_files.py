"""Small pictures and masks, written for a test, and what is read of them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets import voc
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "semicycle" / "configs"
ROWS, COLUMNS = 18, 30  # not square: height and width are not to be mixed up
VOID = (224, 224, 192)
PALETTE = np.zeros((256, 3), np.uint8)  # as in the devkit's files
PALETTE[:21], PALETTE[255] = voc.COLOURS, VOID


def numbers(shape=(ROWS, COLUMNS), high=256, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint8)


def write(path: Path, pixels: np.ndarray, palette=None, **options) -> Path:
    """Pixels [H, W], [H, W, 2 to 4] as a picture; with a palette [n, 3], they are its numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if palette is None:
        picture = Image.fromarray(pixels)
    else:
        picture = Image.frombytes("P", pixels.shape[::-1], pixels.astype(np.uint8).tobytes())
        picture.putpalette(np.asarray(palette, np.uint8).tobytes())
    picture.save(path, **options)
    return path


def image(path: Path, channels: int = 3):
    return LoadCheckedd("image", channels=channels)({"image": str(path)})["image"]


def stored(path: Path, colours=voc.COLOURS) -> np.ndarray:
    """What a mask's file says, before its values become classes."""
    label = LoadCheckedd("label", colours=colours)({"label": str(path)})["label"]
    assert label.shape == (1, *np.asarray(Image.open(path)).shape[:2], 1) and label.dtype == torch.float32
    return label[0, :, :, 0].numpy()


def classes(path: Path, k: int, values=None, colours=None, size=(ROWS, COLUMNS)):
    """The classes of a mask that belongs to an image of this size."""
    shown = write(path.parent / "shown.png", numbers((*size, 3)))
    load = LoadCheckedd(["image", "label"], channels=3, colours=colours)
    return CheckLabeld("label", k, values)(load({"image": str(shown), "label": str(path)}))["label"]


def refused(call, *words: str) -> None:
    """An InputError, below MONAI's wrappings if there are any, with all the words."""
    with pytest.raises((InputError, RuntimeError)) as caught:
        call()
    error: BaseException = caught.value
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    assert isinstance(error, InputError), caught.value
    assert all(word in str(error) for word in words), error


def voc_mask(shape=(ROWS, COLUMNS), seed=0) -> np.ndarray:
    """Every class at random, and a seam of 255."""
    mask = numbers(shape, 21, seed)
    mask[:, 3] = 255
    return mask


def staircase(folder: Path, name: str, depth: int, first: int = 0) -> Path:
    """A scan whose slice k holds first + k."""
    path = folder / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.broadcast_to(first + np.arange(depth), (8, 12, depth)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2, 2, 8, 1.0])), path)
    return path


def segment(source: Path, output: Path, model: Path) -> None:
    given = {"input": str(source), "output_dir": str(output), "checkpoint": str(model)}
    flow = ConfigWorkflow(str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False, **given)
    flow.initialize()
    flow.run()


def names(folder: Path) -> list[str]:
    files = [
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "predictions.json"
    ]
    return sorted(path.as_posix() for path in files if path.parts[0] != ".panels")
