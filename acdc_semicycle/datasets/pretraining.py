"""What a network can learn from before any scan of a user's is annotated: random phantom hearts, and Sunnybrook.

Nothing of it forbids to share what is learnt: the phantoms are drawn, and Sunnybrook is in the public domain.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.datasets import folder, random_hearts, sunnybrook
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.datasets.sunnybrook import AnnotatedSlice
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.staged_folder import staged_folder

log = logging.getLogger("semicycle")

VERSION = 1  # of the drawing: increase it when the same arguments give other files
PHANTOMS = 0.45  # share of drawn slices without anything real in them
POWER = 0.6  # of the intensities of each real slice's second copy
CONTENT = "pretraining.json"  # what was drawn, and whose the slices are

Drawn = tuple[str, str, NDArray[np.int16], NDArray[np.uint8]]  # case, patient, image, class indices


def records(source: str | Path | None, root: str | Path, count: Any = 4800, seed: Any = 1) -> list[Record]:
    """Drawn slices and the real ones of Sunnybrook, written below ``root`` unless they are there.

    The left-out patients of Sunnybrook are of the part "testing", with the cavity alone in their masks.

    Args:
        source: Sunnybrook's folder.
        count: of drawn slices, as a configuration gives it.
        seed: another seed draws others.

    Raises:
        InputError: no Sunnybrook there, or nothing to train on in it; ``root`` holds something else; or ``count`` or
            ``seed`` is no such number.
    """
    if source is None:
        raise InputError("dataset_dir is empty: give the folder of Sunnybrook's images and masks")
    recipe = _recipe(count, seed)
    if not _holds(Path(root), recipe):
        real = sunnybrook.slices(source)
        if all(real_slice.patient in sunnybrook.LEFT_OUT for real_slice in real):
            raise InputError(
                f"{source} holds patients of the test alone, {some(sunnybrook.LEFT_OUT)}: give all patients"
            )
        _write(Path(root), recipe, _with_real(real, count, seed))
    result = []
    for record in _records(Path(root)):
        left_out = record.patient in sunnybrook.LEFT_OUT
        result.append(replace(record, part="testing" if left_out else "training"))
    return result


def unannotated(
    images: str | Path | None, patient: str | None, root: str | Path, count: Any = 1400, seed: Any = 1
) -> list[Record]:
    """A user's scans, whose masks are not looked at, and phantoms beside them, written below ``root``.

    Args:
        images: the folder of scans.
        patient: an expression whose group says whose scan it is (:func:`acdc_semicycle.datasets.folder.records`).
        count: of phantom slices, all with masks.
        seed: another seed draws others.

    Raises:
        InputError: no scans there; ``root`` holds something else; or ``count`` or ``seed`` is no such number.
    """
    scans = folder.unlabelled(images, patient)
    recipe = _recipe(count, seed) | {"phantoms": True}
    if not _holds(Path(root), recipe):
        _write(Path(root), recipe, _phantoms(count, seed))
    return sorted(scans + _records(Path(root)))


def _recipe(count: Any, seed: Any) -> dict[str, Any]:
    """What tells one drawing from another.

    Raises:
        InputError: there is nothing to draw, or no such seed.
    """
    for name, value, least in (("drawn", count, 1), ("drawn_seed", seed, 0)):
        if type(value) is not int or value < least:
            raise InputError(f"{name} is {value!r}: give a whole number of at least {least}")
    return {"version": VERSION, "count": count, "seed": seed}


def _holds(root: Path, recipe: dict[str, Any]) -> bool:
    """Whether the folder holds these very slices; False where they can be written.

    Raises:
        InputError: it holds something else.
    """
    if not root.exists():
        return False
    try:
        content = json.loads((root / CONTENT).read_text(encoding="utf-8"))
        same = {name: value for name, value in content.items() if name != "cases"} == recipe
    except (OSError, ValueError, AttributeError):
        same = False
    if not same:
        raise InputError(f"{root} holds something else than {recipe}: choose another --output_dir, or remove it")
    return True


def _write(root: Path, recipe: dict[str, Any], slices: Iterable[Drawn]) -> None:
    """Write images and masks as NIfTI, and whose they are; the folder appears complete or not at all."""
    with staged_folder(root, lambda: _holds(root, recipe)) as staging:
        for name in ("images", "masks"):
            (staging / name).mkdir(parents=True)
        patients = {}
        for case, patient, image, mask in slices:
            nib.save(nib.Nifti1Image(image[..., None], np.eye(4)), staging / "images" / f"{case}.nii.gz")
            nib.save(nib.Nifti1Image(mask[..., None], np.eye(4)), staging / "masks" / f"{case}.nii.gz")
            patients[case] = patient
        (staging / CONTENT).write_text(json.dumps(recipe | {"cases": patients}) + "\n", encoding="utf-8")


def _records(root: Path) -> list[Record]:
    """The slices that were written below ``root``."""
    cases = json.loads((root / CONTENT).read_text(encoding="utf-8"))["cases"]
    result = []
    for case, patient in sorted(cases.items()):
        name = f"{case}.nii.gz"
        result.append(Record(case, patient, root / "images" / name, root / "masks" / name))
    return result


def _with_real(real: list[AnnotatedSlice], count: int, seed: int) -> Iterator[Drawn]:
    """The real slices, in two appearances those that are trained on, and the drawn ones."""
    training = []
    for real_slice in real:
        case, patient = real_slice.name, real_slice.patient
        image = np.round(sunnybrook.GAIN * real_slice.image).astype(np.int16)
        if patient in sunnybrook.LEFT_OUT:
            yield f"left-out-{case}", patient, image, np.where(real_slice.cavity, 3, 0).astype(np.uint8)
            continue
        training.append(real_slice)
        mask, highest = sunnybrook.known(real_slice.cavity), max(int(image.max()), 1)
        yield f"real-{case}", patient, image, mask
        yield f"bright-{case}", patient, np.round((image / highest) ** POWER * 4000).astype(np.int16), mask
    for number in _drawing(count):
        random = np.random.default_rng([seed, number])
        if random.random() < PHANTOMS:
            case, (image, mask) = f"phantom-{number:05d}", random_hearts.random_slice(random)
        else:
            painted_over = training[random.integers(len(training))]
            case, (image, mask) = f"mixed-{number:05d}", sunnybrook.mixed(random, painted_over)
        yield case, case, image, mask


def _phantoms(count: int, seed: int) -> Iterator[Drawn]:
    """Phantoms alone."""
    for number in _drawing(count):
        case = f"phantom-{number:05d}"
        image, mask = random_hearts.random_slice(np.random.default_rng([seed, number]))
        yield case, case, image, mask


def _drawing(count: int) -> Iterable[int]:
    """Numbers of slices, with a bar on a terminal."""
    log.info("drawing %s of hearts", many(count, "slice"))
    return tqdm(range(count), "drawing", disable=None)
