"""drafts.json: the label maps that ``next`` left for people to mend, and which of their slices to mend first.

People save over a draft, so the file keeps the voxels of each draft: only so can be told what they changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text

FILE = "drafts.json"
OVERVIEW = "overview.png"  # beside it, a picture of all drafts that is none of them
FORMAT = 1
MOST_VOXELS = 1 << 30  # of one draft: a damaged file must not fill the memory


@dataclass(frozen=True, eq=False)
class Draft:
    """A segmentation to be mended.

    Attributes:
        case: of the data set's record, e.g. ``patient001_frame01``.
        image: the scan's file, as it was given.
        file: the name of the draft's file in the folder of drafts.json.
        labels: class indices [X, Y, Z] in the order in which the scan is stored, or with a fourth axis, the frames of a
            cine; of a picture [rows, columns, 1].
        slices_to_mend: along the third axis of ``labels``, from 0.
        rank: 1 is to be mended first.
        reasons: why this scan, by the name of the reason.
        more: other keys of the scan in drafts.json.
    """

    case: str
    patient: str
    image: str
    file: str
    labels: NDArray
    slices_to_mend: tuple[int, ...] = ()
    rank: int | None = None
    reasons: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The digest of the voxels, one byte each in C order."""
        return hashlib.sha256(_bytes(self.labels)).hexdigest()


@dataclass(frozen=True)
class Drafts:
    """The content of a drafts.json.

    Attributes:
        classes: names of the classes whose indices the drafts hold.
        drafts: by case.
        model: the network that made them.
    """

    path: Path
    classes: tuple[str, ...]
    drafts: Mapping[str, Draft]
    model: str = ""


def save(
    folder: Path, model: str, classes: Sequence[str], drafts: Sequence[Draft], about: Mapping[str, Any] | None = None
) -> Path:
    """Write drafts.json into the folder of the drafts; its path.

    Args:
        about: other keys, of the file as a whole.
    """
    scans = []
    for draft in drafts:
        scan = dict(draft.more) | {
            "case": draft.case,
            "patient": draft.patient,
            "image": draft.image,
            "draft": draft.file,
            "sha256": draft.sha256,
            "rank": draft.rank,
            "reasons": dict(draft.reasons),
            "slices_to_mend": [int(index) for index in draft.slices_to_mend],
        }
        voxels = base64.b64encode(zlib.compress(_bytes(draft.labels), 9)).decode()
        scans.append(scan | {"voxels": {"shape": list(draft.labels.shape), "zlib": voxels}})
    content = {"format": FORMAT, "model": model, "classes": list(classes), **(about or {}), "scans": scans}
    path = folder / FILE
    write_text(path, json.dumps(content, indent=1) + "\n")
    return path


def load(path: Path) -> Drafts:
    """The drafts of a drafts.json.

    Raises:
        InputError: the file is not there, damaged, or of a later version.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file: give the {FILE} that semicycle next wrote")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path} has the format {content.get('format')!r}, and {FORMAT} is read: make the drafts again,"
            " or remove it to take masks as they are"
        )
    try:
        drafts = {}
        for scan in content["scans"]:
            drafts[str(scan["case"])] = _draft(scan)
        return Drafts(path, tuple(map(str, content["classes"])), drafts, str(content.get("model", "")))
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, MemoryError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}): restore it, or remove it to take masks as they are"
        ) from error


def _draft(scan: Mapping[str, Any]) -> Draft:
    """A draft as drafts.json holds it.

    Raises:
        ValueError: its voxels are not those of its digest.
    """
    labels = _labels(scan["voxels"])
    known = {"case", "patient", "image", "draft", "sha256", "rank", "reasons", "slices_to_mend", "voxels"}
    draft = Draft(
        case=str(scan["case"]),
        patient=str(scan["patient"]),
        image=str(scan["image"]),
        file=str(scan["draft"]),
        labels=labels,
        slices_to_mend=tuple(int(index) for index in scan["slices_to_mend"]),
        rank=scan.get("rank"),
        reasons=scan.get("reasons") or {},
        more={key: value for key, value in scan.items() if key not in known},
    )
    if draft.sha256 != scan["sha256"]:
        raise ValueError(f"the voxels of {draft.case} are not those of its sha256")
    if any(not 0 <= index < labels.shape[2] for index in draft.slices_to_mend):
        raise ValueError(f"{draft.case} has {labels.shape[2]} slices, and slices_to_mend are {scan['slices_to_mend']}")
    return draft


def _labels(voxels: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The class indices of a draft."""
    shape = tuple(int(length) for length in voxels["shape"])
    count = int(np.prod(shape, dtype=np.float64))
    if len(shape) not in (3, 4) or not 0 < count <= MOST_VOXELS:
        raise ValueError(f"a draft has the shape {shape}")
    content = zlib.decompressobj().decompress(base64.b64decode(voxels["zlib"], validate=True), count + 1)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _bytes(labels: NDArray) -> bytes:
    """Class indices, one byte each in C order."""
    return np.ascontiguousarray(labels, np.uint8).tobytes()
