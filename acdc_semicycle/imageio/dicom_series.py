"""DICOM series as they lie in folders: which images are one scan, in what order, and where it is in the patient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import nifti
from acdc_semicycle.imageio.dicom_image import (
    CLOCK,
    ENDINGS,
    SAME_COSINE,
    TIMES,
    Fault,
    Image,
    again,
    check_geometry,
    check_values,
    form_of,
    image_of,
    pixels_of,
    stored_bytes,
)
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime.errors import InputError

__all__ = ["ENDINGS", "Series", "find", "is_folder", "read"]

SAME_MM = 0.01  # positions that differ by less are one; so much, or 1 %, may steps differ
SAME_ECHO = 0.01  # of the longest
DAY = 24 * 3600.0  # seconds
# the series that a damaged file names: whole, so with the next tag behind
UID = re.compile(rb"\x20\x00\x0e\x00(?:UI..|.{4})([0-9.]{1,64})\x00?\x20\x00", re.DOTALL)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from DICOM's patient axes, which point left and back


@dataclass(frozen=True)
class Series:
    """The images of one SeriesInstanceUID in one folder.

    Attributes:
        folder: where they lie.
        name: for file names, unique in the folder: ``series003``, of the series' number; nothing of the patient's.
        uid: the SeriesInstanceUID.
        files: [frame][slice], slices along their normal, frames by time; one frame of all files where there is a fault.
        affine: voxel indices (column, row, slice) to RAS in mm, as rows; the slices' step is that of their positions.
        fault: why it is no volume, in the words of an InputError; None where it is one.
        note: what had to be assumed.
    """

    folder: Path
    name: str
    uid: str = field(repr=False)
    files: tuple[tuple[Path, ...], ...] = field(repr=False)
    affine: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    fault: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        return f"{self.folder} ({self.name})"


def is_folder(folder: Path) -> bool:
    """Whether DICOM images lie in a folder itself, damaged ones included; the search ends at the first."""
    return folder.is_dir() and any(_sure(image_of(path)) for path in _listed(folder))


def find(folder: Path) -> list[Series]:
    """Every series in a folder, not below it, by name; a faulty one says so when it is read. Reads headers only.

    A damaged image is a fault of the series that it names; where it names none, of those whose files are named like
    it, or of all. A file that is no DICOM by its content, but has the name of an image, is a damaged one.

    Raises:
        InputError: the folder cannot be listed.
    """
    groups: dict[str, list[Image]] = {}
    faults: dict[str, list[Fault]] = {}
    looked = [image_of(path) for path in _listed(folder)]
    for image in looked:
        if isinstance(image, Image):
            groups.setdefault(image.uid, []).append(image)
    alike = {uid: {_pattern(image.path) for image in images} for uid, images in groups.items()}
    for fault in (found for found in looked if isinstance(found, Fault)):
        named, like = _named(fault.path), [uid for uid in groups if _pattern(fault.path) in alike[uid]]
        if fault.doubtful and not like:
            continue
        for uid in [uid for uid in named if uid in groups] or named[-1:] or like or list(groups) or [""]:
            faults.setdefault(uid, []).append(fault)
    names = _names({uid: groups.get(uid, []) for uid in groups | faults})
    found = [_series(folder, name, uid, groups.get(uid, []), faults.get(uid, [])) for uid, name in names.items()]
    return sorted(found, key=lambda series: series.name)


def read(source: Series | str | Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray, str | None]:
    """The voxels [X, Y, Z, frames] of a series, or of the only one in a folder, its affine, and what had to be assumed.

    The files' slope and intercept are applied; the affine leads to the patient's RAS axes, in mm.

    Raises:
        InputError: no series or several, images that make no volume (sizes, orientations or spacings that differ, a
            missing or doubled slice, frames missing, colours, several frames a file, no geometry), a damaged file,
            more voxels than are allowed.
    """
    series = source if isinstance(source, Series) else _only(Path(source))
    if series.fault:
        raise InputError(series.fault)
    images = [[again(path) for path in frame] for frame in series.files]
    forms = [form_of(image) for frame in images for image in frame]
    packed = sum(stored_bytes(image) for frame in images for image in frame)
    voxels = sum(form.rows * form.columns for form in forms)
    nifti.check_size(Path(str(series)), voxels, sum(form.size for form in forms), packed, policy)
    shape = (forms[0].columns, forms[0].rows, len(images[0]), len(images))
    result = np.empty(shape, np.result_type(*{form.measured_type for form in forms}))
    for t, frame in enumerate(images):
        for z, image in enumerate(frame):
            result[:, :, z, t] = pixels_of(image)
    return result, np.array(series.affine), series.note


def _only(folder: Path) -> Series:
    found = find(folder)
    if not found:
        raise InputError(f"{folder} holds no DICOM image: give a folder of one DICOM series, or a scan's file")
    if len(found) > 1:
        names = ", ".join(series.name for series in found)
        raise InputError(f"{folder} holds {len(found)} DICOM series ({names}): give one, in a folder of its own")
    return found[0]


def _listed(folder: Path) -> list[Path]:
    """The files, and links to such as are gone."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() or not path.exists())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): give a folder that can be read") from error


def _sure(found: Image | Fault | None) -> bool:
    return found is not None and not (isinstance(found, Fault) and found.doubtful)


def _pattern(path: Path) -> str:
    """A name without its numbers, which is that of the images beside it."""
    return re.sub(r"\d+", "#", path.name)


def _named(path: Path) -> list[str]:
    """The UIDs of series that stand in what is left of a damaged file."""
    try:
        with path.open("rb") as stream:
            return [uid.decode() for uid in UID.findall(stream.read(1 << 20))]
    except OSError:
        return []


def _names(groups: Mapping[str, Sequence[Image]]) -> dict[str, str]:
    """A name for each UID: by number, those of one number told apart by the order of their UIDs."""
    shared: dict[str, list[str]] = {}
    for uid in sorted(groups):
        number = min((image.number for image in groups[uid] if image.number is not None), default=None)
        shared.setdefault("series" if number is None else f"series{number:03d}", []).append(uid)
    return {
        uid: f"{name}_{place}" if len(uids) > 1 else name
        for name, uids in shared.items()
        for place, uid in enumerate(uids, 1)
    }


def _series(folder: Path, name: str, uid: str, images: Sequence[Image], faults: Sequence[Fault]) -> Series:
    plain = Series(folder, name, uid, ((*(image.path for image in images), *(fault.path for fault in faults)),))
    try:
        if faults:
            raise InputError(f"{faults[0].path.name} {faults[0].said}")
        _check_kinds(images)
        _check_alike(images)
        return _arranged(plain, images)
    except InputError as error:
        return replace(plain, fault=f"{plain}: {error}")


def _check_kinds(images: Sequence[Image]) -> None:
    """Refuse what is no slice of a grey image, and what is there twice."""
    if any(image.size[2] > 1 for image in images):
        raise InputError("a file of several frames (enhanced DICOM): convert it to NIfTI, with dcm2niix for example")
    if any(image.channels > 1 for image in images):
        raise InputError("colour images: give a scan of one number a voxel")
    for image in images:
        check_geometry(image)
        check_values(image)
    instances = [image.instance for image in images if image.instance]
    if len(set(instances)) < len(instances):
        raise InputError("the same image in two files: take the copies out")


def _check_alike(images: Sequence[Image]) -> None:
    """Refuse slices that are not parallel and equal."""
    sizes = sorted({f"{image.size[0]} x {image.size[1]}" for image in images})
    if len(sizes) > 1:
        raise InputError(f"slices of different sizes ({', '.join(sizes)}): give each size in a folder of its own")
    if _spread([image.orientation for image in images]) > SAME_COSINE:
        raise InputError("slices of several orientations, as of a localiser: give a series of parallel slices")
    if _spread([image.spacing for image in images]) > SAME_MM * min(images[0].spacing):
        raise InputError("slices of different pixel spacings: give each in a folder of its own")


def _spread(values: Sequence[tuple[float, ...]]) -> float:
    return float(np.ptp(np.array(values), axis=0).max())


def _arranged(series: Series, images: Sequence[Image]) -> Series:
    """The series with its files in order and its affine."""
    right, down = (axis / np.linalg.norm(axis) for axis in np.array(images[0].orientation).reshape(2, 3))
    normal = np.cross(right, down)
    slices = _by_position(images, normal)
    _check_counts(slices)
    places = np.array([group[0].position for group in slices])
    step, note = _step(places, normal, images[0].thickness)
    affine = np.eye(4)
    affine[:3] = np.column_stack([right * images[0].spacing[1], down * images[0].spacing[0], step, places[0]])
    frames = zip(*_by_time(slices), strict=True)
    files = tuple(tuple(image.path for image in frame) for frame in frames)
    return replace(series, files=files, affine=tuple(map(tuple, (RAS @ affine).tolist())), note=note)


def _by_position(images: Sequence[Image], normal: NDArray) -> list[list[Image]]:
    """The images of each slice, slices along the normal."""
    groups: list[list[Image]] = []
    for image in sorted(images, key=lambda image: float(normal @ image.position)):
        away = np.subtract(image.position, groups[-1][0].position) if groups else normal
        if groups and normal @ away < SAME_MM:
            if np.linalg.norm(away) > SAME_MM:
                raise InputError("slices beside each other in one plane: give a series of parallel slices")
            groups[-1].append(image)
        else:
            groups.append([image])
    return groups


def _check_counts(slices: Sequence[Sequence[Image]]) -> None:
    counts = [len(group) for group in slices]
    if len(set(counts)) > 1:
        raise InputError(
            f"{min(counts)} images of one slice and {max(counts)} of another: copy it whole, take doubled images out"
        )
    if any(len({image.kind for image in group}) > 1 for group in slices):
        raise InputError("images of several kinds (ImageType), such as magnitude and phase: give each in a folder")
    for n, word in enumerate(("EchoTime", "EchoNumbers")):
        echoes = [[image.echoes[n] or 0.0 for image in group] for group in slices]
        if any(max(times) - min(times) > SAME_ECHO * max(times) for times in echoes):
            raise InputError(f"images of several echoes of one slice ({word}): give each echo in a folder of its own")


def _by_time(slices: Sequence[Sequence[Image]]) -> list[list[Image]]:
    """The images of each slice in order of the first of the times that tells them all apart."""
    if len(slices[0]) == 1:
        return [list(group) for group in slices]
    for n in range(len(TIMES)):
        times = [_unwrapped([image.times[n] for image in group], n == CLOCK) for group in slices]
        if all(None not in found and len(set(found)) == len(found) for found in times):
            orders = [sorted(range(len(found)), key=found.__getitem__) for found in times]  # type: ignore[arg-type]
            return [[group[k] for k in order] for group, order in zip(slices, orders, strict=True)]
    raise InputError("several images of one slice that no time or number tells apart: take the doubled ones out")


def _unwrapped(times: list[float | None], clock: bool) -> list[float | None]:
    """Times, those after midnight behind those before it."""
    known = [time for time in times if time is not None]
    if not clock or len(known) < len(times) or max(known) - min(known) <= DAY / 2:
        return times
    return [time + DAY if time < DAY / 2 else time for time in known]


def _step(places: NDArray, normal: NDArray, thickness: float) -> tuple[NDArray, str | None]:
    """From one slice to the next, in mm, and what was assumed."""
    if len(places) == 1:
        note = None if thickness else "its slice thickness is unknown and taken as 1 mm: no volume in ml is true"
        return normal * (thickness or 1.0), note
    steps = np.diff(places, axis=0)
    apart = np.linalg.norm(steps, axis=1)
    off = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    if (off > max(SAME_MM, 0.01 * float(np.median(apart)))).any():
        worst = max(range(len(off)), key=lambda n: (round(off[n], 3), apart[n]))
        others = float(np.median(np.delete(apart, worst)))
        what = "the missing slice" if apart[worst] > others else "the extra or misplaced slice"
        raise InputError(
            f"uneven steps: slices {worst + 1} and {worst + 2} of {len(places)} lie {apart[worst]:.4g} mm apart,"
            f" others {others:.4g} mm: find {what}"
        )
    return (places[-1] - places[0]) / (len(places) - 1), None
