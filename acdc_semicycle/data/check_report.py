"""What a check of a data set found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from acdc_semicycle.data.check_cases import Counts, Finding
from acdc_semicycle.data.check_layout import KINDS
from acdc_semicycle.runtime.errors import many

VALUES = "a training needs mask_values, the class of each value"


def report(findings: Sequence[Finding], counts: Counts) -> str:
    """The findings as lines of text, with what was looked at above and their number below."""
    who = f"{many(counts.patients, 'patient')}, " if counts.kind == "acdc" else ""
    looked = f"{who}{many(counts.images, 'image')}, {many(counts.masks, 'mask')}"
    lines = [f"{KINDS[counts.kind].title}: {'not counted' if counts.alone else looked}"]
    lines += [f"{finding.severity}: {finding.text}" for finding in findings]
    if counts.lost:
        lines.append(
            f"note: {counts.lost} of {counts.scans} images have a spacing of 1 x 1 x 1 mm, as of files that have lost"
            " theirs: Dice is fine, millilitres and millimetres are withheld"
        )
    if counts.values:
        classes, held = len(counts.values), ", ".join(f"{value} in {n}" for value, n in sorted(counts.values.items()))
        lines.append(f"note: no classes are given, so their number is taken from the masks: {classes} ({held} masks)")
        if max(counts.values) >= classes:
            lines.append(f"note: these are not 0 to {classes - 1}: {VALUES}")
    n = Counter(finding.severity for finding in findings)
    nothing = "nothing found" if not lines[-1].endswith(VALUES) else "nothing else found"
    return "\n".join([*lines, ", ".join(many(n[word], word) for word in ("fault", "warning")) if findings else nothing])


def status(findings: Iterable[Finding]) -> int:
    """The exit code: 1 with a fault, 0 with warnings at most."""
    return int(any(finding.severity == "fault" for finding in findings))
