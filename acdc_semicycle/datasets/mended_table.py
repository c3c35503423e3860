"""What people changed in drafts: lines for the console, and mended.csv beside a run's other records."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.datasets.mended import MendedMask
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")

FILE = "mended.csv"
COLUMNS = ("case", "patient", "mask", "slices", "annotated_slices", "structure", "draft", "mended", "added", "removed")


def remember(masks: Sequence[MendedMask], classes: Sequence[str], output_dir: str | Path) -> None:
    """Show what was changed of each scan, and write mended.csv; without masks the file is removed."""
    if distributed.rank():
        return
    path = Path(str(output_dir)) / FILE
    if not masks:
        path.unlink(missing_ok=True)  # of a training that was here before
        return
    log.info("voxels added to drafts, and removed:\n%s", "\n".join(lines(masks, classes)))
    write_text(path, csv_text(masks, classes))


def lines(masks: Sequence[MendedMask], classes: Sequence[str]) -> list[str]:
    """A line for each scan: how many of its slices are truth, and the voxels of each structure that was changed."""
    width = max(len(mask.record.case) for mask in masks)
    result = []
    for mask in masks:
        slices = f"{_count(mask)} of {mask.slices} slices"
        result.append(f"  {mask.record.case:<{width}}  {slices:<16}  {_changes_in_words(mask, classes)}")
    return result


def _count(mask: MendedMask) -> int:
    """How many slices are truth."""
    mended = mask.record.mended
    return mask.slices if mended is None or mended.annotated is None else len(mended.annotated)


def _changes_in_words(mask: MendedMask, classes: Sequence[str]) -> str:
    """The structures that were changed, with the voxels that were added and removed."""
    if mask.changes is None:
        return "no draft"
    words = []
    for label, change in mask.changes.items():
        if change.added or change.removed:
            words.append(f"{_name(label, classes)} +{change.added} -{change.removed}")
    return ", ".join(words) or "as drafted"


def _name(label: int, classes: Sequence[str]) -> str:
    """The name of a class; the check of the masks refuses an index that has none."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def csv_text(masks: Sequence[MendedMask], classes: Sequence[str]) -> str:
    """mended.csv: a row for each structure of each scan; of a scan without a draft one row without a structure.

    Slices are counted from 1, along the third axis of the image as it is stored.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for mask in masks:
        record = mask.record
        annotated: Sequence[int] = range(mask.slices)
        if record.mended is not None and record.mended.annotated is not None:
            annotated = record.mended.annotated
        numbers = " ".join(str(index + 1) for index in annotated)
        about = (record.case, record.patient, record.label, mask.slices, numbers)
        if mask.changes is None:
            writer.writerow([*about, "", "", "", "", ""])
            continue
        for label, change in mask.changes.items():
            writer.writerow([*about, _name(label, classes), *change])
    return stream.getvalue()
