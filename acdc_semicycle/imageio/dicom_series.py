"""DICOM series in folders: which images are one scan, and whether they make a volume."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio.checks import check_size
from acdc_semicycle.imageio.dicom_alike import check_alike, check_kinds, each_has_its_own_study
from acdc_semicycle.imageio.dicom_image import ENDINGS, DamagedFile, Image, read_image
from acdc_semicycle.imageio.dicom_order import arranged
from acdc_semicycle.imageio.dicom_stacks import stacks
from acdc_semicycle.imageio.dicom_values import form_of, read_pixels, reread_image, stored_bytes
from acdc_semicycle.imageio.policy import ReadingPolicy
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

__all__ = ["ENDINGS", "Series", "find", "is_folder", "read"]

# the SeriesInstanceUID in a damaged file, if it is complete: the next tag follows it
UID = re.compile(rb"\x20\x00\x0e\x00(?:UI..|.{4})([0-9.]{1,64})\x00?\x20\x00", re.DOTALL)


@dataclass(frozen=True)
class Series:
    """The images of one SeriesInstanceUID in one folder.

    Attributes:
        folder: where the images lie.
        name: for file names, unique in the folder: ``series003``, by the series' number; never of the patient.
        uid: the SeriesInstanceUID.
        files: [frame][slice], slices along their normal, frames by time; one frame of all files where there is a fault.
        affine: voxel indices (column, row, slice) to RAS in mm, as rows; the slices' step is that of their positions.
        fault: why the images make no volume, in the words of an InputError; None where they do.
        note: what had to be assumed; None where nothing was.
        stacked: which series of one slice each were put together; None of a series that is one by itself.
    """

    folder: Path
    name: str
    uid: str = field(repr=False)
    files: tuple[tuple[Path, ...], ...] = field(repr=False)
    affine: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    fault: str | None = None
    note: str | None = None
    stacked: str | None = None

    def __str__(self) -> str:
        return f"{self.folder} ({self.name})"


def is_folder(folder: Path) -> bool:
    """Whether a folder itself holds DICOM images, damaged ones included; the search ends at the first."""
    return folder.is_dir() and any(_is_image(path) for path in _listed(folder))


def _is_image(path: Path) -> bool:
    """Whether a file is certainly an image, though it may be damaged."""
    image = read_image(path)
    return image is not None and not (isinstance(image, DamagedFile) and image.doubtful)


def find(folder: Path) -> list[Series]:
    """Every series in a folder, not below it, sorted by name; only headers are read. Reading a faulty one refuses it.

    A damaged image is a fault of the series that it names; if it names none, of the series whose files have similar
    names; else of all. A file that has the name of an image, but is not DICOM by its content, is a damaged image.

    Raises:
        InputError: the folder cannot be listed.
    """
    images: dict[str, list[Image]] = {}
    damaged: list[DamagedFile] = []
    for path in _listed(folder):
        image = read_image(path)
        if isinstance(image, Image):
            images.setdefault(image.uid, []).append(image)
        elif image is not None:
            damaged.append(image)
    faults = _faults(damaged, images)
    series: list[Series] = []
    for uid, name in _names(images, faults).items():
        series.append(_series(folder, name, uid, images.get(uid, []), faults.get(uid, [])))
    return stacked(sorted(series, key=lambda series: series.name), folder)


def stacked(all_series: Sequence[Series], folder: Path) -> list[Series]:
    """The series, sorted by name, with those of one slice each that lie one behind the other put together.

    Args:
        folder: of the scans that are put together.
    """
    sound = [series for series in all_series if not series.fault]
    result = list(all_series)
    for stack in stacks([[path for frame in series.files for path in frame] for series in sound]):
        members = [sound[number] for number in stack.members]
        names = sorted(series.name for series in members)
        name = f"{names[0]}_to_{names[-1].removeprefix('series')}"
        text = f"{len(members)} series of one slice each lie one behind the other, and are taken as one scan ({name})"
        for series in members:
            result.remove(series)
        result.append(Series(folder, name, members[0].uid, stack.files, stack.affine, stacked=text))
    return sorted(result, key=lambda series: series.name)


def _faults(damaged: list[DamagedFile], images: Mapping[str, list[Image]]) -> dict[str, list[DamagedFile]]:
    """The damaged files of each series, by its UID."""
    uids_of: dict[str, list[str]] = {}  # by the pattern of the images' names
    for uid, group in images.items():
        for pattern in {_pattern(image.path) for image in group}:
            uids_of.setdefault(pattern, []).append(uid)
    faults: dict[str, list[DamagedFile]] = {}
    for file in damaged:
        alike = uids_of.get(_pattern(file.path), [])
        if file.doubtful and not alike:
            continue
        for uid in _series_of(file, alike, images):
            faults.setdefault(uid, []).append(file)
    return faults


def _series_of(file: DamagedFile, alike: list[str], images: Mapping[str, list[Image]]) -> list[str]:
    """The UIDs of the series to which a damaged file may belong; those in ``alike`` have images of similar names."""
    written = _written_uids(file.path)
    present = [uid for uid in written if uid in images]
    return present or written[-1:] or alike or list(images) or [""]


def read(source: Series | str | Path, policy: ReadingPolicy) -> tuple[NDArray, NDArray, str | None]:
    """Read a series, or the only one in a folder: voxels [X, Y, Z, frames], affine, and what had to be assumed.

    Each file's slope and intercept are applied, and padding becomes the lowest intensity. The affine leads to the
    patient's RAS axes, in mm.

    Args:
        policy: what the user allows beyond what is safe.

    Raises:
        InputError: no series or several, images that make no volume (sizes, orientations or spacings that differ, a
            missing or doubled slice, frames missing, colours, several frames a file, no geometry), a damaged file,
            more voxels than are allowed.
    """
    series = source if isinstance(source, Series) else only(Path(source))
    if series.fault:
        raise InputError(series.fault)
    images = [reread_image(path) for frame in series.files for path in frame]
    forms = [form_of(image) for image in images]
    voxels = needed = stored = 0
    for image, form in zip(images, forms, strict=True):
        voxels += form.rows * form.columns
        needed += form.size
        stored += stored_bytes(image)
    check_size(Path(str(series)), voxels, needed, stored, policy)
    depth = len(series.files[0])
    shape = (forms[0].columns, forms[0].rows, depth, len(series.files))
    result = np.empty(shape, np.result_type(*{form.measured_type for form in forms}))
    padded = np.zeros(shape, bool)
    for n, image in enumerate(images):
        place = np.s_[:, :, n % depth, n // depth]
        result[place], padded[place] = read_pixels(image)
    if padded.any() and not padded.all():
        result[padded] = result[~padded].min()  # nothing was measured there: as dark as the darkest voxel
    return result, np.array(series.affine), series.note


def only(folder: Path) -> Series:
    """The one series in a folder.

    Raises:
        InputError: there is none, or there are several.
    """
    candidates = find(folder)
    if not candidates:
        raise InputError(f"{folder} holds no DICOM image: give a folder of one DICOM series, or a scan's file")
    if len(candidates) > 1:
        names = ", ".join(series.name for series in candidates)
        raise InputError(f"{folder} holds {len(candidates)} DICOM series ({names}): give one, in a folder of its own")
    return candidates[0]


def _listed(folder: Path) -> list[Path]:
    """The files in a folder, and broken links."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() or not path.exists())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): give a folder that can be read") from error


def _pattern(path: Path) -> str:
    """A file's name without its numbers, which the images of one series share."""
    return re.sub(r"\d+", "#", path.name)


def _written_uids(path: Path) -> list[str]:
    """The SeriesInstanceUIDs in what is left of a damaged file."""
    try:
        with path.open("rb") as stream:
            return [uid.decode() for uid in UID.findall(stream.read(1 << 20))]
    except OSError:
        return []


def _names(images: Mapping[str, list[Image]], faults: Mapping[str, list[DamagedFile]]) -> dict[str, str]:
    """A name for each UID, by the series' number; series of one number are counted in the order of their UIDs."""
    sharing: dict[str, list[str]] = {}
    for uid in sorted({*images, *faults}):
        numbers = [image.number for image in images.get(uid, []) if image.number is not None]
        name = f"series{min(numbers):03d}" if numbers else "series"
        sharing.setdefault(name, []).append(uid)
    names: dict[str, str] = {}
    for name, uids in sharing.items():
        for position, uid in enumerate(uids, 1):
            names[uid] = f"{name}_{position}" if len(uids) > 1 else name
    return names


def _series(folder: Path, name: str, uid: str, images: Sequence[Image], faults: Sequence[DamagedFile]) -> Series:
    """The series of these images, with its fault where they make no volume."""
    paths = [image.path for image in images] + [file.path for file in faults]
    series = Series(folder, name, uid, (tuple(paths),))
    try:
        if faults:
            raise InputError(f"{faults[0].path.name} {faults[0].reason}")
        check_kinds(images)
        check_alike(images)
        files, affine, note, remark = arranged(images)
    except InputError as error:
        return replace(series, fault=f"{series}: {error}")
    if remark:
        log.warning("%s: %s", series, remark)
    if each_has_its_own_study(images):
        log.warning("%s: each file names a study of its own, as SimpleITK writes them: taken for one series", series)
    return replace(series, files=tuple(map(tuple, files)), affine=tuple(map(tuple, affine.tolist())), note=note)
