"""The findings of a check of a data set as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from acdc_semicycle.data.check_findings import Counts, Finding
from acdc_semicycle.data.check_layout import KINDS
from acdc_semicycle.runtime.errors import many

VALUES = "a training needs mask_values, the class of each value"
NAMES = "a training needs --classes, their names, the background first"


def report(findings: Sequence[Finding], counts: Counts) -> str:
    """The findings as lines of text, between what was read and the number of findings."""
    notes = _notes(counts)
    lines = [f"{KINDS[counts.kind].title}: {_what_was_counted(counts)}"]
    lines += [f"{finding.severity}: {finding.text}" for finding in findings]
    lines += notes
    if findings:
        tally = Counter(finding.severity for finding in findings)
        lines.append(f"{many(tally['fault'], 'fault')}, {many(tally['warning'], 'warning')}")
    elif notes and notes[-1].endswith((VALUES, NAMES)):
        lines.append("nothing else found")
    else:
        lines.append("nothing found")
    return "\n".join(lines)


def _what_was_counted(counts: Counts) -> str:
    """The numbers of patients, where they are known, of images and of masks."""
    if counts.unmatched:
        return "not counted"
    known = counts.kind == "acdc" or counts.patients < counts.images  # else each image is its own patient
    patients = f"{many(counts.patients, 'patient')}, " if known else ""
    return f"{patients}{many(counts.images, 'image')}, {many(counts.masks, 'mask')}"


def _notes(counts: Counts) -> list[str]:
    """What is worth knowing but neither a fault nor a warning, a line each."""
    notes: list[str] = []
    if counts.lost:
        notes.append(
            f"note: {counts.lost} of {counts.scans} images have a spacing of 1 x 1 x 1 mm, as of files that have lost"
            " theirs: Dice is fine, millilitres and millimetres are withheld"
        )
    if counts.values:
        classes = len(counts.values)
        masks = ", ".join(f"{value} in {n}" for value, n in sorted(counts.values.items()))
        notes.append(f"note: no classes are given, so their number is taken from the masks: {classes} ({masks} masks)")
        if max(counts.values) >= classes:
            notes.append(f"note: these are not 0 to {classes - 1}: {VALUES}")
    elif counts.unnamed:
        notes.append(f"note: no classes are given: {NAMES}")
    return notes


def status(findings: Iterable[Finding]) -> int:
    """The exit code: 1 with a fault, 0 with warnings at most."""
    return int(any(finding.severity == "fault" for finding in findings))
