"""The order of a DICOM series: slices along their normal, and the frames of each slice by time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.dicom_image import CLOCK, INSTANCE_NUMBER, SLICE_THICKNESS, TIMES, Image, number_in
from acdc_semicycle.runtime.errors import InputError

SAME_MM = 0.01  # positions that differ by less are the same; steps may differ by so much, or by 1 %
FEWEST_UNITS = 4  # of the last digit of positions that a step needs, so that a missing slice is no rounding
FARTHEST = 3.0  # slice thicknesses from one slice to the next, beyond which a stack is no volume
SAME_ECHO = 0.01  # the tolerance of echo times, as a part of the longest
DAY = 24 * 3600.0  # seconds
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from DICOM's patient axes, which point left and back


def arranged(images: Sequence[Image]) -> tuple[list[list[Path]], NDArray[np.float64], str | None, str | None]:
    """The files [frame][slice], the affine to RAS in mm, what was assumed of the slices' thickness, and of frames.

    Args:
        images: parallel slices of one size and spacing.

    Raises:
        InputError: slices are missing, doubled or beside each other, or no time distinguishes the frames.
    """
    right, down = np.array(images[0].orientation).reshape(2, 3)
    right, down = right / np.linalg.norm(right), down / np.linalg.norm(down)
    normal = np.cross(right, down)
    slices = _by_position(images, normal)
    _check_counts(slices)
    positions = np.array([group[0].position for group in slices])
    step, note = _step(positions, normal, images[0].thickness)
    note = note or _gap(float(np.linalg.norm(step)), images[0])
    affine = np.eye(4)
    affine[:3] = np.column_stack([right * images[0].spacing[1], down * images[0].spacing[0], step, positions[0]])
    files: list[list[Path]] = []
    slices, remark = _by_time(slices)
    for frame in zip(*slices, strict=True):
        files.append([image.path for image in frame])
    return files, RAS @ affine, note, remark


def _by_position(images: Sequence[Image], normal: NDArray) -> list[list[Image]]:
    """The images of each slice, with the slices in order along the normal."""
    slices: list[list[Image]] = []
    for image in sorted(images, key=lambda image: float(normal @ image.position)):
        if slices:
            offset = np.subtract(image.position, slices[-1][0].position)
            if normal @ offset < SAME_MM:
                if np.linalg.norm(offset) > SAME_MM:
                    raise InputError(
                        f"slices beside each other in one plane, {slices[-1][0].path.name} and {image.path.name}: give"
                        " a series of parallel slices"
                    )
                slices[-1].append(image)
                continue
        slices.append([image])
    return slices


def _check_counts(slices: Sequence[Sequence[Image]]) -> None:
    """Refuse slices with different numbers of images, and images of one slice that are not frames of a cine."""
    counts = [len(group) for group in slices]
    if len(set(counts)) > 1:
        fewest, most = slices[int(np.argmin(counts))], slices[int(np.argmax(counts))]
        names = ", ".join(image.path.name for image in most[:3])
        raise InputError(
            f"{len(fewest)} images of one slice ({fewest[0].path.name}) and {len(most)} of another ({names}): copy it"
            " whole, or remove doubled images"
        )
    for group in slices:
        if len({image.kind for image in group}) > 1:
            names = " and ".join({image.kind: image.path.name for image in group}.values())
            raise InputError(
                f"images of several kinds (ImageType), such as magnitude and phase ({names}): give each in its own"
                " folder"
            )
        _check_echoes(group)


def _check_echoes(images: Sequence[Image]) -> None:
    """Refuse images of one slice that are different echoes."""
    for n, word in enumerate(("EchoTime", "EchoNumbers")):
        echoes = [image.echoes[n] or 0.0 for image in images]
        if max(echoes) - min(echoes) > SAME_ECHO * max(echoes):
            names = f"{images[int(np.argmin(echoes))].path.name} and {images[int(np.argmax(echoes))].path.name}"
            raise InputError(
                f"images of several echoes of one slice ({word}, {names}): give each echo in a folder of its own"
            )


def _by_time(slices: list[list[Image]]) -> tuple[list[list[Image]], str | None]:
    """The images of each slice in the order of the first time that distinguishes them all; a remark if none does."""
    if len(slices[0]) == 1:
        return slices, None
    for n in range(len(TIMES)):
        ordered = [_ordered(group, n) for group in slices]
        if all(ordered):
            return ordered, _remark(ordered) if TIMES[n] == INSTANCE_NUMBER else None
    names = " and ".join(image.path.name for image in slices[0][:2])
    raise InputError(
        f"several images of one slice that no time or number tells apart ({names}): remove the doubled ones"
    )


def _remark(slices: list[list[Image]]) -> str:
    """What is assumed of images of one slice that have no times."""
    count, acquisitions = len(slices[0]), sorted({image.acquisition for image in slices[0]} - {""})
    several = f" (AcquisitionNumber {', '.join(acquisitions)})" if len(acquisitions) > 1 else ""
    return (
        f"each slice has {count} images that no time tells apart{several}: taken for the {count} frames of a cine, in"
        " the order of their numbers; if they are several acquisitions, give each in a folder of its own"
    )


def _ordered(images: list[Image], n: int) -> list[Image]:
    """The images of one slice in the order of one of the times; empty where it does not distinguish them."""
    times: list[float] = []
    for image in images:
        time = image.times[n]
        if time is None:
            return []
        times.append(time)
    if TIMES[n] == CLOCK:
        times = _unwrapped(times)
    if len(set(times)) < len(images):
        return []
    order = sorted(range(len(images)), key=times.__getitem__)
    return [images[k] for k in order]


def _unwrapped(times: list[float]) -> list[float]:
    """Times of day in seconds, with those after midnight made later than those before it."""
    if max(times) - min(times) <= DAY / 2:
        return times
    return [time + DAY if time < DAY / 2 else time for time in times]


def _step(positions: NDArray, normal: NDArray, thickness: float) -> tuple[NDArray, str | None]:
    """The step from one slice to the next in mm, and what was assumed."""
    if len(positions) == 1:
        note = None if thickness else "its slice thickness is unknown and assumed to be 1 mm: no volume in ml is valid"
        return normal * (thickness or 1.0), note
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    deviations = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    if _even_but_for_rounding(positions, float(lengths.min())):
        return (positions[-1] - positions[0]) / (len(positions) - 1), None
    if (deviations > max(SAME_MM, 0.01 * float(np.median(lengths)))).any():
        _check_sideways(steps, normal)
        worst = max(range(len(steps)), key=lambda n: (round(deviations[n], 3), lengths[n]))
        usual = float(np.median(np.delete(lengths, worst)))
        fault = "the missing slice" if lengths[worst] > usual else "the extra or misplaced slice"
        raise InputError(
            f"uneven steps: slices {worst + 1} and {worst + 2} of {len(positions)} lie {lengths[worst]:.4g} mm apart,"
            f" others {usual:.4g} mm: find {fault}"
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1), None


def _gap(step_mm: float, image: Image) -> str | None:
    """What is in doubt where slices are much thinner than they lie apart: most of the body is between them."""
    thickness = abs(number_in(image.header.text(SLICE_THICKNESS)) or 0.0)
    if not thickness or step_mm <= FARTHEST * thickness:
        return None
    return f"its slices of {thickness:g} mm lie {step_mm:.4g} mm apart: no volume in ml is valid"


def _check_sideways(steps: NDArray, normal: NDArray) -> None:
    """Refuse uneven steps that are even along the normal: there a slice is shifted within its plane."""
    along = steps @ normal
    if np.ptp(along) > max(SAME_MM, 0.01 * float(np.median(along))):
        return
    sideways = steps - along[:, None] * normal
    shifts = np.linalg.norm(sideways - np.median(sideways, axis=0), axis=1)
    worst = int(np.argmax(shifts.round(3)))
    raise InputError(
        f"slices {worst + 1} and {worst + 2} of {len(steps) + 1} are shifted against each other by {shifts[worst]:.4g}"
        f" mm within their planes, though all lie {np.median(along):.4g} mm apart: find the slice that is beside the"
        " others"
    )


def _even_but_for_rounding(positions: NDArray, shortest: float) -> bool:
    """Whether positions that are stored to a tenth of a millimetre or finer are evenly spaced before rounding."""
    for digits in (1, 2, 3):
        unit = 10.0**-digits
        if np.allclose(positions, np.round(positions, digits), rtol=0, atol=1e-6):
            even = np.linspace(positions[0], positions[-1], len(positions))
            return bool(shortest > FEWEST_UNITS * unit and np.abs(positions - even).max() <= unit * 1.001)
    return False
