"""A data set's fingerprint as lines that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acdc_semicycle.data.fingerprint import CaseFacts, Fingerprint, across, lengths, quantile, spacings
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.runtime.errors import many, some

WIDTH = 12  # of the names


def rows(fingerprint: Fingerprint, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Names and what was found, from the number of images to the copies.

    Args:
        classes: names, the background first.
    """
    cases = fingerprint.distinct
    table = [("images", _number(cases)), ("size", _size(cases))]
    if not is_picture(cases[0].record.image):
        table.append(("spacing", _spacing(cases)))
    table.append(("intensities", _intensities(cases)))
    for label, name in enumerate(classes):
        if label:
            table.append((name, _extent(cases, label)))
    copies = [case for case in fingerprint.cases if case.same_as is not None]
    if copies:
        names = [f"{case.record.case} of {case.same_as.case}" for case in copies if case.same_as is not None]
        table.append(("copies", f"{some(names)}: the same voxels, counted once"))
    return table


def line(name: str, text: str) -> str:
    """A row of the table."""
    return f"  {name:<{WIDTH}} {text}" if len(name) <= WIDTH else f"  {name}\n  {'':<{WIDTH}} {text}"


def span(values: Sequence[float | int]) -> str:
    """The least and the most of several numbers, and the one in the middle."""
    low, middle, high = (_short(number) for number in (min(values), float(np.median(values)), max(values)))
    return low if low == high else f"{low} to {high}, middle {middle}"


def _short(number: float | int) -> str:
    """A number to three digits, all digits of whole thousands."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _number(cases: Sequence[CaseFacts]) -> str:
    """How many images and patients there are, with masks and without."""
    labelled = [case for case in cases if case.labelled]
    unlabelled = [case for case in cases if not case.labelled]
    parts = [f"{len(labelled)} with a mask, of {many(_patients(labelled), 'patient')}"]
    if unlabelled:
        parts.append(f"{len(unlabelled)} without, of {many(_patients(unlabelled), 'patient')}")
    else:
        parts.append("none without")
    return f"{len(cases)}: {'; '.join(parts)}"


def _patients(cases: Sequence[CaseFacts]) -> int:
    """The number of patients."""
    return len({case.record.patient for case in cases})


def _size(cases: Sequence[CaseFacts]) -> str:
    """Rows, columns and slices."""
    text = f"{span(lengths(cases, 0))} rows; {span(lengths(cases, 1))} columns"
    slices = lengths(cases, 2)
    return text if max(slices) == 1 else f"{text}; {span(slices)} slices"


def _spacing(cases: Sequence[CaseFacts]) -> str:
    """The spacings of scans, and of how many they are unknown."""
    in_plane = spacings(cases, False)
    unknown = len(cases) - len(in_plane)
    if not in_plane:
        return "unknown: 1 x 1 x 1 mm, as of files that have lost theirs; lengths are in pixels"
    text = f"{span(in_plane)} mm in the plane; {span(spacings(cases, True))} mm between slices"
    return f"{text}; unknown of {unknown}" if unknown else text


def _intensities(cases: Sequence[CaseFacts]) -> str:
    """The range of intensities over all images, and the middle of what is bright in each."""
    lowest = min(case.intensities[0] for case in cases)
    highest = max(case.intensities[-1] for case in cases)
    bright = float(np.median([case.intensities[-2] for case in cases]))
    return f"{_short(lowest)} to {_short(highest)}; 99.5 % of the middle image are below {_short(bright)}"


def _extent(cases: Sequence[CaseFacts], label: int) -> str:
    """How large a class is where it is drawn, and in how many images."""
    labelled = [case for case in cases if case.labelled]
    drawn = [case for case in labelled if label in case.extents]
    text = f"in {len(drawn)} of {many(len(labelled), 'image')}"
    if not drawn:
        return text
    pixels, in_mm = [], []
    for case in drawn:
        longest_pixels, longest_mm = across(case, label)
        pixels.append(longest_pixels)
        if longest_mm is not None:
            in_mm.append(longest_mm)
    text += f" of {many(_patients(drawn), 'patient')}, {_short(quantile(pixels, 0.5))} pixels across"
    text += f" (9 in 10 up to {_short(quantile(pixels, 0.9))}"
    return f"{text}, {_short(quantile(in_mm, 0.9))} mm)" if in_mm else f"{text})"
