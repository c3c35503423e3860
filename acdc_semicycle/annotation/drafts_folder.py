"""The folder of drafts: label maps to mend, which of their slices to mend first, and a picture of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_semicycle.annotation.assessment import Assessment
from acdc_semicycle.annotation.overview import Row
from acdc_semicycle.annotation.overview import write as write_overview
from acdc_semicycle.annotation.ranking import Choice
from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.datasets import drafts
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.inference.segmentation import Segmentation
from acdc_semicycle.inference.sources import Source
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import check_folder, write_text
from acdc_semicycle.runtime.staged_folder import staged_folder

TABLE = "drafts.csv"
COLUMNS = ("rank", "patient", "case", "image", "draft", "slices_to_mend", "expected_gain")
REASONS = ("score", "expected_dice", "disagreement", "distance")


@dataclass(frozen=True, eq=False)
class DraftedScan:
    """A scan of a chosen patient, segmented."""

    choice: Choice
    record: Record
    assessment: Assessment
    segmentation: Segmentation
    source: Source

    @property
    def file(self) -> str:
        """The name of its draft: the case, whatever the container of the scan."""
        return f"{self.record.case}.png" if is_picture(self.record.image) else f"{self.record.case}.nii.gz"


def check_target(folder: Path, data: Path) -> None:
    """Refuse a folder that holds anything, and one that is read as part of the data.

    Raises:
        InputError: names the folder, and what to do.
    """
    if folder.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{folder} lies in {data}, where drafts would count as masks: give an output folder elsewhere")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give an output folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds {_content_of(folder)}: it is left as it is, give another output folder")
    check_folder(folder.absolute().parent)


def _content_of(folder: Path) -> str:
    """What is in a folder, in words: drafts, and how many of them were mended."""
    try:
        known = drafts.load(folder / drafts.FILE).drafts.values()
    except InputError:
        return "other files"
    mended = sum(_is_mended(folder, draft) for draft in known)
    return f"{many(len(known), 'draft')}, of which {mended} {'was' if mended == 1 else 'were'} changed"


def _is_mended(folder: Path, draft: drafts.Draft) -> bool:
    """Whether the voxels of a draft's file are no longer those that were written."""
    path = folder / draft.file
    if not path.is_file() or not path.name.endswith(volumes.SCANS):
        return False
    try:
        labels = volumes.read(path, mask=True).voxels[..., 0]
    except InputError:
        return True
    return labels.shape != draft.labels.shape or not np.array_equal(labels, draft.labels)


@contextmanager
def staged(folder: Path, data: Path) -> Iterator[Path]:
    """A folder that becomes ``folder`` at the end, complete or not at all."""

    def is_there() -> bool:
        """Never: a folder that another process made meanwhile is refused."""
        check_target(folder, data)
        return False

    with staged_folder(folder, is_there) as staging:
        staging.mkdir(parents=True)
        yield staging


def write(folder: Path, scans: Sequence[DraftedScan], slices: int, model: Model, about: dict[str, Any]) -> None:
    """Write the drafts of scans, drafts.json, drafts.csv and the picture of all into a folder that is there.

    Args:
        slices: of each scan that are to be mended, at most.
        about: what drafts.json says beside the drafts.
    """
    entries, rows = [], []
    for rank, scan in enumerate(scans, start=1):
        path = folder / scan.file
        path.parent.mkdir(parents=True, exist_ok=True)
        scan.segmentation.save(path)
        labels = scan.segmentation.labels
        labels = labels[..., None] if labels.ndim == 2 else labels
        gains = scan.assessment.gains[:slices]
        to_mend = tuple(gain.slice_index for gain in gains)
        reasons = scan.choice.reasons | {"expected_gain": [round(gain.dice, 4) for gain in gains]}
        entries.append(
            drafts.Draft(
                case=scan.record.case,
                patient=scan.choice.patient.name,
                image=str(scan.record.image),
                file=scan.file,
                labels=labels,
                slices_to_mend=to_mend,
                rank=rank,
                reasons=reasons,
            )
        )
        title = f"{rank}. {scan.record.case}: expected Dice {scan.assessment.dice:.3f}"
        rows.append(Row.of(title, scan.source.volume, labels, to_mend))
    card = model.card
    drafts.save(folder, str(model.path), card["classes"], entries, about)
    write_text(folder / TABLE, _table(entries))
    write_overview(folder / drafts.OVERVIEW, rows, card["classes"], card["colours"])


def _table(entries: Sequence[drafts.Draft]) -> str:
    """The drafts as CSV for people: slices are counted from 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *REASONS])
    for draft in entries:
        numbers = " ".join(str(index + 1) for index in draft.slices_to_mend)
        expected = " ".join(f"{gain:.4f}" for gain in draft.reasons["expected_gain"])
        values = [draft.rank, draft.patient, draft.case, draft.image, draft.file, numbers, expected]
        writer.writerow(values + [draft.reasons[name] for name in REASONS])
    return text.getvalue()
