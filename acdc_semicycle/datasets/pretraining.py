"""What a network can learn from before any scan of a user's is annotated: random phantom hearts, and Sunnybrook.

Nothing of it forbids to share what is learnt: the phantoms are drawn, and Sunnybrook is in the public domain.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.datasets import random_hearts, sunnybrook
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.datasets.sunnybrook import AnnotatedSlice
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")

VERSION = 1  # of the drawing: increase it when the same arguments give other files
PHANTOMS = 0.45  # share of drawn slices without anything real in them
POWER = 0.6  # of the intensities of each real slice's second copy

Drawn = tuple[str, str, NDArray[np.int16], NDArray[np.uint8]]  # case, patient, image, class indices


def records(source: str | Path | None, root: str | Path, count: int = 4800, seed: int = 1) -> list[Record]:
    """Drawn slices and the real ones of Sunnybrook, written below ``root`` unless they are there.

    The left-out patients of Sunnybrook are of the part "testing", with the cavity alone in their masks.

    Args:
        source: Sunnybrook's folder.
        count: of drawn slices.
        seed: another seed draws others.

    Raises:
        InputError: no Sunnybrook there, or ``root`` holds something else.
    """
    if source is None:
        raise InputError("dataset_dir is empty: give the folder of Sunnybrook's images and masks")
    root, recipe = Path(root), {"version": VERSION, "count": count, "seed": seed}
    if not _holds(root, recipe):
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}-{os.getpid()}-", dir=root.parent) as scratch:
            staging = Path(scratch) / root.name
            _write(staging, source, recipe)
            if not _holds(root, recipe):  # another process may have been faster
                staging.rename(root)
    cases = json.loads((root / "pretraining.json").read_text(encoding="utf-8"))["cases"]
    result = []
    for case, patient in sorted(cases.items()):
        image, label = (root / folder / f"{case}.nii.gz" for folder in ("images", "masks"))
        part = "testing" if patient in sunnybrook.LEFT_OUT else "training"
        result.append(Record(case, patient, image, label, part=part))
    return result


def _holds(root: Path, recipe: dict[str, int]) -> bool:
    """Whether the folder holds these very slices; False where they can be written.

    Raises:
        InputError: it holds something else.
    """
    if not root.exists():
        return False
    try:
        content = json.loads((root / "pretraining.json").read_text(encoding="utf-8"))
        same = all(content[name] == value for name, value in recipe.items())
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(f"{root} holds something else than {recipe}: choose another --output_dir, or remove it")
    return True


def _write(root: Path, source: str | Path, recipe: dict[str, int]) -> None:
    """Write images and masks as NIfTI, and whose they are."""
    real = sunnybrook.slices(source)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    patients = {}
    for case, patient, image, mask in _drawn(real, recipe["count"], recipe["seed"]):
        nib.save(nib.Nifti1Image(image[..., None], np.eye(4)), root / "images" / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(mask[..., None], np.eye(4)), root / "masks" / f"{case}.nii.gz")
        patients[case] = patient
    (root / "pretraining.json").write_text(json.dumps(recipe | {"cases": patients}) + "\n", encoding="utf-8")


def _drawn(real: list[AnnotatedSlice], count: int, seed: int) -> Iterator[Drawn]:
    """All slices: the real ones, in two appearances those that are trained on, and the drawn ones."""
    training = [real_slice for real_slice in real if real_slice.patient not in sunnybrook.LEFT_OUT]
    for real_slice in real:
        image = np.round(sunnybrook.GAIN * real_slice.image).astype(np.int16)
        if real_slice.patient in sunnybrook.LEFT_OUT:
            yield (
                f"left-out-{real_slice.name}",
                real_slice.patient,
                image,
                np.where(real_slice.cavity, 3, 0).astype(np.uint8),
            )
            continue
        mask, highest = sunnybrook.known(real_slice.cavity), max(int(image.max()), 1)
        yield f"real-{real_slice.name}", real_slice.patient, image, mask
        brighter = np.round((image / highest) ** POWER * 4000).astype(np.int16)
        yield f"bright-{real_slice.name}", real_slice.patient, brighter, mask
    log.info("drawing %s of hearts", many(count, "slice"))
    for number in tqdm(range(count), "drawing", disable=None):
        random = np.random.default_rng([seed, number])
        if random.random() < PHANTOMS:
            case, (image, mask) = f"phantom-{number:05d}", random_hearts.random_slice(random)
        else:
            chosen = training[random.integers(len(training))]
            case, (image, mask) = f"mixed-{number:05d}", sunnybrook.mixed(random, chosen)
        yield case, case, image, mask
