"""Who can be annotated next: the patients of a data set whose masks the network was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.known_patients import KnownPatients
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.config import plan_data
from acdc_semicycle.data.check_layout import KINDS, kind
from acdc_semicycle.data.digests import image_digest
from acdc_semicycle.data.parts import NEW, strongest
from acdc_semicycle.datasets import acdc, case_patients, cityscapes, folder, voc
from acdc_semicycle.datasets.records import Record, existing_folder
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.runtime.errors import InputError, many, some

LABELLED = "labelled"


@dataclass
class Candidates:
    """The patients of a data set, by what annotating them would add.

    Attributes:
        scans: of each patient who can be annotated, in the order of names.
        annotated: the scans of those who are annotated: the network was trained on their masks, or may be.
        patients: of the data set, in number.
        cines: files of several frames, which are left out.
        has_split: whether it is known whom the network was trained on.
    """

    scans: dict[str, list[Record]] = field(default_factory=dict)
    annotated: dict[str, list[Record]] = field(default_factory=dict)
    patients: int = 0
    cines: list[Path] = field(default_factory=list)
    has_split: bool = True


def find(root: Path, masks: Path | None, patient: str | None, model: Model) -> Candidates:
    """The candidates in a data set, and those who are annotated; only names and digests of files are read.

    A scan without a mask is a candidate, unless the network was trained on masks of its patient. A patient whose masks
    were hidden from the training is one, too.

    Args:
        root: the folder of a data set, of any layout that ``semicycle plan`` reads, or of scans alone.
        masks, patient: as of a training.

    Raises:
        InputError: there is no such folder or no image in it, the images are of another kind than the network's, or of
            other classes, or nobody can be annotated.
    """
    records = _records(root, masks, patient, model)
    known = KnownPatients.of(model)
    result = Candidates(has_split=bool(known.parts))
    names = _training_names(model)
    of_patient: dict[str, list[Record]] = {}
    for record in records:
        if record.frame is not None:
            if record.image not in result.cines:
                result.cines.append(record.image)
            continue
        training_case = case_patients.case_of(names, record.image.parent, Path(record.case).name)
        of_patient.setdefault(names.get(str(training_case), record.patient), []).append(record)
    result.patients = len(of_patient)
    for name, scans in sorted(of_patient.items()):
        _enter(result, name, scans, _part_of(name, scans, known))
    _check_any(result, root)
    return result


def _part_of(name: str, scans: Sequence[Record], known: KnownPatients) -> str | None:
    """The part of the network's training that a patient is in, by name or by the contents of an image."""
    parts = [known.part_of([name, *_names(scans)])]
    if known.part_of_image:
        parts += [known.part_of_image.get(image_digest(scan.image)) for scan in scans]
    return strongest(parts)


def _enter(candidates: Candidates, name: str, scans: Sequence[Record], part: str | None) -> None:
    """Put a patient among the candidates, or those who are annotated.

    Args:
        part: of the network's training.
    """
    if scans[0].part != "training" and part != "unlabelled":
        return
    without = [scan for scan in scans if scan.label is None]
    if part == LABELLED:
        candidates.annotated[name] = list(scans)
    elif part == "unlabelled":
        candidates.scans[name] = without or list(scans)
    elif without:
        candidates.scans[name] = without
    elif part in (NEW, None):
        candidates.annotated[name] = list(scans)


def _records(root: Path, masks: Path | None, patient: str | None, model: Model) -> list[Record]:
    """All images of the data set, of which none need have a mask.

    Raises:
        InputError: as of :func:`find`.
    """
    options: dict[str, Any] = {} if masks is None else {"masks": str(masks)}
    images = existing_folder(root, "DATA", "the folder of a data set")
    if masks is None:
        images, _, options = plan_data.laid_out(images, {})
    layout = "folder" if options or patient else kind(images)
    classes = KINDS[layout].classes or options.get("classes")
    if layout == "folder":
        records = folder.matched(images, options.get("masks"), patient)
    else:
        read = {"acdc": acdc.records, "voc": voc.records, "cityscapes": cityscapes.records}[layout]
        records = read(images)
    _check_kind(records, classes, model, root)
    return records


def _check_kind(records: Sequence[Record], classes: Sequence[str] | None, model: Model, root: Path) -> None:
    """Refuse images of another kind than the network's, and other classes than it has."""
    expected = list(model.card["classes"])
    if is_picture(records[0].image) != model.card["pictures"]:
        kinds = ("pictures", "scans") if model.card["pictures"] else ("scans", "pictures")
        raise InputError(
            f"{model.path} was trained on {kinds[0]}, and {root} holds {kinds[1]}: give a run on such data"
        )
    if classes is not None and [name.lower() for name in classes] != [name.lower() for name in expected]:
        raise InputError(
            f"{root} has the classes {', '.join(classes)}, and {model.path} has {', '.join(expected)}: give a run of"
            " these data"
        )


def _training_names(model: Model) -> dict[str, str]:
    """The patient of each case of the training, or of all folds."""
    names: dict[str, str] = {}
    for member in model.members or (model,):
        names |= case_patients.load(member.split)
    return names


def _names(scans: Sequence[Record]) -> list[str]:
    """The names by which a split may know a patient's scans."""
    return [name for scan in scans for name in (scan.patient, scan.case)]


def _check_any(candidates: Candidates, root: Path) -> None:
    """Refuse a data set in which nobody can be annotated."""
    if candidates.scans:
        return
    if candidates.cines:
        raise InputError(
            f"{root} holds nothing to annotate but {many(len(candidates.cines), 'cine')}"
            f" ({some([path.name for path in candidates.cines], 3)}): give the frames to annotate as files of their own"
        )
    raise InputError(
        f"{root} holds nobody to annotate: all of {many(candidates.patients, 'patient')} have masks; add scans without"
        " one, or give the run that was trained on some of them (--labelled 3)"
    )
