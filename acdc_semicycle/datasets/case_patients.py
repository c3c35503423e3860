"""Which case of a training run belongs to which patient: patients.json and images.json, beside its split.json.

A prediction does not know the expression by which a training found the patients of its images. The names of the cases
lead to the same patients, and no expression of a stranger is run. The digests of the images tell copies under other
names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text

PATIENTS = "patients.json"
IMAGES = "images.json"
IMAGE_OF = "image of "  # the start of what an image is called among the contents of a training


def save(records: Iterable[Record], path: Path) -> None:
    """Write the patient of each image's case; of a cine the whole is the case, not its frames."""
    patients = {}
    for record in records:
        case = record.case
        if record.frame is not None:
            case = case.removesuffix(f"_frame{record.frame + 1:02d}")
        patients[case] = record.patient
    write_text(path, json.dumps(patients, indent=1) + "\n")


def save_images(contents: Mapping[str, str], path: Path) -> None:
    """Write the digest of each case's image, of all contents that a training has read."""
    images = {}
    for name, digest in contents.items():
        if name.startswith(IMAGE_OF):
            images[name.removeprefix(IMAGE_OF)] = digest
    write_text(path, json.dumps(images, indent=1) + "\n")


def load_images(split: str | Path) -> dict[str, str]:
    """The digest of each image that the training run of a split.json has read; empty where the run kept none."""
    path = Path(split).with_name(IMAGES)
    if not path.is_file():
        return {}
    images = read_json(path)
    if not all(isinstance(digest, str) for digest in images.values()):
        raise InputError(f"{path} is damaged (a digest is no text): restore it, or train again")
    return images


def load(split: str | Path | None) -> dict[str, str]:
    """The patient of each case of the training run whose split.json this is; empty where the run kept none.

    Raises:
        InputError: the file beside ``split`` is damaged.
    """
    if split is None:
        return {}
    path = Path(split).with_name(PATIENTS)
    if not path.is_file():
        return {}
    patients = read_json(path)
    if not all(isinstance(patient, str) and patient for patient in patients.values()):
        raise InputError(f"{path} is damaged (a patient is no name): restore it, or train again")
    return patients


def case_of(patients: Mapping[str, str], folder: Path, name: str) -> str | None:
    """The training's case that an image may be, by its name without the suffix; None where it had no such case.

    A case is a name relative to the folder that the training was given, so the longest end of the path counts.
    """
    if not patients:
        return None
    parts = (*Path(os.path.abspath(folder)).parts[1:], name)
    for start in range(len(parts)):
        case = "/".join(parts[start:])
        if case in patients:
            return case
    return None
