"""What the tests of a prediction share: volumes, a run of the bundle, and what is found in its folder."""

import json
from pathlib import Path

import nibabel
import numpy as np
from monai.bundle import ConfigWorkflow

from acdc_semicycle.imageio import volumes

ROOT = Path(__file__).parents[2]

CONFIG = ROOT / "bundles" / "semicycle" / "configs" / "inference.json"


def volume(path: Path, shape=(20, 28, 5), affine=None, dtype=np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(0, 900, shape).astype(dtype)
    image = nibabel.Nifti1Image(voxels, OBLIQUE if affine is None else affine)
    image.header["descrip"] = b"Jane Doe"
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def _oblique() -> np.ndarray:
    a, b = np.cos(0.5), np.sin(0.5)
    rotation = np.array([[a, -b, 0], [b * a, a * a, -b], [b * b, a * b, a]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * [1.4, 1.6, 9.0]
    affine[:3, 3] = [-70, 33, 12]
    return affine


OBLIQUE = _oblique()


def run(source, output, model, **more) -> None:
    flow = ConfigWorkflow(
        str(CONFIG),
        workflow_type="infer",
        logging_file=False,
        input=[str(path) for path in source] if isinstance(source, list) else str(source),
        output_dir=str(output),
        checkpoint=str(model),
        **({"largest": False} | more),
    )
    flow.initialize()
    flow.run()


def made(folder: Path) -> list[str]:
    """The files in it that are meant for a user's eyes, the manifest aside."""
    files = (
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "predictions.json"
    )
    return sorted(str(path) for path in files if path.parts[0] != ".panels")


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "predictions.json").read_text())


def segmented(scan: Path, folder: Path, model: Path, **more) -> dict:
    run(scan, folder, model, **more)
    (case,) = manifest_of(folder)["cases"]
    return case


def in_the_patient(path: Path) -> np.ndarray:
    """A label map as the network laid it out."""
    found = volumes.read(path)
    return found.layout.apply(found.voxels[..., 0])


def cine(path: Path, frames=4) -> Path:
    """A cine whose every frame is another volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(1).integers(0, 900, (20, 28, 5, frames)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), path)
    return path
