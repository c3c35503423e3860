"""DICOM series as they lie in folders: which images are one scan, in what order, and where it is in the patient.

Of the headers only UIDs, the series' number, geometry and times are looked at: no text of the patient's is ever read.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.errors import InputError

POSITION, ORIENTATION, SPACING = "0020|0032", "0020|0037", "0028|0030"
THICKNESS = ("0018|0088", "0018|0050")  # SpacingBetweenSlices, SliceThickness
SLOPE = "0028|1053"
TIMES = ("0018|1060", "0020|0100", "0008|0032", "0020|0013")  # trigger, temporal position, acquisition, instance
SAME_MM = 0.01  # positions that differ by less are one; so much, or 1 %, may steps differ
SAME_COSINE = 1e-3
# the class of a file, as its meta header says it, and the series that it names: whole, so with the next tag behind
CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)\x00?\x02\x00", re.DOTALL)
UID = re.compile(rb"\x20\x00\x0e\x00(?:UI..|.{4})([0-9.]{1,64})\x00?\x20\x00", re.DOTALL)
# CT, ultrasound, MR (but spectra), secondary captures, angiography, nuclear medicine, PET
IMAGES = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([1237]|4(?=$|\.[134])|6|12|20|128)(\.\d+)*")
# how long the pixels are, behind their tag, in either byte order, with or without their type
PIXELS = re.compile(rb"\xe0\x7f\x10\0(?:(?:O[BW]|UN)\0\0)?(.{4})|\x7f\xe0\0\x10O[BW]\0\0(.{4})", re.DOTALL)
PACKED = 2**32 - 1  # is their length where they are compressed
# the transfer syntax of a file that is deflated behind its meta header
DEFLATED = re.compile(rb"\x02\0\x10\0UI..1\.2\.840\.10008\.1\.2\.1\.99\0?\x02\0", re.DOTALL)
LONGEST_HEADER = 2**26  # bytes, of such a file
DAMAGED = "damaged"
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


@dataclass(frozen=True)
class _Image:
    """What one file's header says; empty tuples and None where it does not."""

    path: Path
    uid: str
    instance: str
    number: int | None
    size: tuple[int, int, int]
    channels: int
    kind: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    times: tuple[float | None, ...]


def is_folder(folder: Path) -> bool:
    """Whether DICOM images lie in a folder itself, damaged ones included; the search ends at the first."""
    return folder.is_dir() and any(_image(path) is not None for path in _listed(folder))


def find(folder: Path) -> list[Series]:
    """Every series in a folder, not below it, by name; a faulty one says so when it is read. Reads headers only.

    A damaged image is a fault of the series that it names; where it names none, of all.

    Raises:
        InputError: the folder cannot be listed.
    """
    groups: dict[str, list[_Image]] = {}
    damaged: dict[str, list[Path]] = {}
    looked = {path: _image(path) for path in _listed(folder)}
    for image in looked.values():
        if isinstance(image, _Image):
            groups.setdefault(image.uid, []).append(image)
    for path in (path for path, image in looked.items() if image is DAMAGED):
        named = _named(path)
        for uid in [uid for uid in named if uid in groups] or named[-1:] or list(groups) or [""]:
            damaged.setdefault(uid, []).append(path)
    names = _names({uid: groups.get(uid, []) for uid in groups | damaged})
    found = [_series(folder, name, uid, groups.get(uid, []), damaged.get(uid, [])) for uid, name in names.items()]
    return sorted(found, key=lambda series: series.name)


def read(source: Series | str | Path) -> tuple[NDArray, NDArray, str | None]:
    """The voxels [X, Y, Z, frames] of a series, or of the only one in a folder, its affine, and what had to be assumed.

    The files' slope and intercept are applied; the affine leads to the patient's RAS axes, in mm.

    Raises:
        InputError: no series or several, images that make no volume (sizes, orientations or spacings that differ, a
            missing or doubled slice, frames missing, colours, several frames a file, no geometry), a damaged file.
    """
    series = source if isinstance(source, Series) else _only(Path(source))
    if series.fault:
        raise InputError(series.fault)
    frames = [np.stack([_pixels(path) for path in slices], axis=-1) for slices in series.files]
    return np.stack(frames, axis=-1), np.array(series.affine), series.note


def _only(folder: Path) -> Series:
    found = find(folder)
    if not found:
        raise InputError(f"{folder} holds no DICOM image: give a folder of one DICOM series, or a scan's file")
    if len(found) > 1:
        names = ", ".join(series.name for series in found)
        raise InputError(f"{folder} holds {len(found)} DICOM series ({names}): give one, in a folder of its own")
    return found[0]


# --- one file ---


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): give a folder that can be read") from error


def _reader(path: Path) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _image(path: Path) -> _Image | str | None:
    """A file's header, or DAMAGED; None where it is no DICOM image, such as a DICOMDIR, a report or contours."""
    head = _start(path, 1 << 12)
    if head[128:132] != b"DICM":
        nothing = len(head) < 132 or not head.strip(b"\0")
        return DAMAGED if nothing and path.suffix.lower() in (".dcm", ".ima") else None
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        kind = CLASS.search(head)
        return None if kind and not IMAGES.fullmatch(kind[1]) else DAMAGED
    return _header(path, reader)


def _start(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""


def _named(path: Path) -> list[str]:
    """The UIDs of series that stand in what is left of a damaged file."""
    return [uid.decode() for uid in UID.findall(_start(path, 1 << 20))]


def _header(path: Path, reader: Any) -> _Image:
    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    thickness = [abs(value) for tag in THICKNESS for value in _numbers(text(tag), 1) if value]
    number = re.fullmatch(r"\d{1,5}", text("0020|0011"))  # longer ones may be dates
    return _Image(
        path=path,
        uid=text("0020|000e"),
        instance=text("0008|0018"),
        number=int(number[0]) if number else None,
        size=tuple(reader.GetSize()),
        channels=reader.GetNumberOfComponents(),
        kind=text("0008|0008"),
        position=_numbers(text(POSITION), 3),
        orientation=_numbers(text(ORIENTATION), 6),
        spacing=_numbers(text(SPACING), 2),
        thickness=thickness[0] if thickness else 0.0,
        times=tuple(next(iter(_numbers(text(tag).replace(":", ""), 1)), None) for tag in TIMES),
    )


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """So many finite numbers, or none."""
    try:
        values = tuple(float(value) for value in text.split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def _pixels(path: Path) -> NDArray:
    """[columns, rows] of one file."""
    import SimpleITK as sitk

    reader = _reader(path)
    try:
        image = reader.Execute()
    except RuntimeError:
        raise InputError(
            f"{path} is truncated, damaged or compressed in a way that is not known: copy it again from its source"
        ) from None
    slope = reader.GetMetaData(SLOPE).strip(" \0") if reader.HasMetaDataKey(SLOPE) else ""
    if slope and _numbers(slope, 1) in ((), (0.0,)):
        raise InputError(f"{path} has a RescaleSlope that is 0 or no number: export the series again")
    needed = math.ceil(math.prod(image.GetSize()) * int(reader.GetMetaData("0028|0100")) / 8)
    if not _holds(path.read_bytes(), needed):
        raise InputError(f"{path} has fewer than the {needed:,} bytes of its pixels: copy it again from its source")
    return sitk.GetArrayFromImage(image)[0].T


def _holds(content: bytes, needed: int) -> bool:
    """Whether a file has pixels of so many bytes, or compressed ones: GDCM takes what is in memory for the missing."""
    if DEFLATED.search(content[:4096]):
        start = 144 + int.from_bytes(content[140:144], "little")
        content = zlib.decompressobj(-15).decompress(content[start:], needed + LONGEST_HEADER)
    for found in PIXELS.finditer(content):
        size = int.from_bytes(found[1] or b"", "little") or int.from_bytes(found[2] or b"", "big")
        if size == PACKED or needed <= size <= len(content) - found.end():
            return True
    return False


# --- one series ---


def _names(groups: Mapping[str, Sequence[_Image]]) -> dict[str, str]:
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


def _series(folder: Path, name: str, uid: str, images: Sequence[_Image], damaged: Sequence[Path]) -> Series:
    plain = Series(folder, name, uid, ((*(image.path for image in images), *damaged),))
    try:
        if damaged:
            raise InputError(f"{damaged[0].name} is truncated, damaged or empty: copy it again from its source")
        _check_kinds(images)
        _check_alike(images)
        return _arranged(plain, images)
    except InputError as error:
        return replace(plain, fault=f"{plain}: {error}")


def _check_kinds(images: Sequence[_Image]) -> None:
    """Refuse what is no slice of a grey image, and what is there twice."""
    if any(image.size[2] > 1 for image in images):
        raise InputError("a file of several frames (enhanced DICOM): convert it to NIfTI, with dcm2niix for example")
    if any(image.channels > 1 for image in images):
        raise InputError("colour images: give a scan of one number a voxel")
    for image in images:
        _check_geometry(image)
    instances = [image.instance for image in images if image.instance]
    if len(set(instances)) < len(instances):
        raise InputError("the same image in two files: take the copies out")


def _check_alike(images: Sequence[_Image]) -> None:
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


def _check_geometry(image: _Image) -> None:
    missing = [word for word in ("position", "orientation", "spacing") if not getattr(image, word)]
    if missing:
        raise InputError(f"{image.path.name} has no {missing[0]} in the patient: export the series with its geometry")
    axes = np.array(image.orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=10 * SAME_COSINE) or min(image.spacing) <= 0:
        raise InputError(f"{image.path.name} has an orientation or spacing that is none: export the series again")


def _arranged(series: Series, images: Sequence[_Image]) -> Series:
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


def _by_position(images: Sequence[_Image], normal: NDArray) -> list[list[_Image]]:
    """The images of each slice, slices along the normal."""
    groups: list[list[_Image]] = []
    for image in sorted(images, key=lambda image: float(normal @ image.position)):
        away = np.subtract(image.position, groups[-1][0].position) if groups else normal
        if groups and normal @ away < SAME_MM:
            if np.linalg.norm(away) > SAME_MM:
                raise InputError("slices beside each other in one plane: give a series of parallel slices")
            groups[-1].append(image)
        else:
            groups.append([image])
    return groups


def _check_counts(slices: Sequence[Sequence[_Image]]) -> None:
    counts = [len(group) for group in slices]
    if len(set(counts)) > 1:
        raise InputError(
            f"{min(counts)} images of one slice and {max(counts)} of another: copy it whole, take doubled images out"
        )
    if any(len({image.kind for image in group}) > 1 for group in slices):
        raise InputError("images of several kinds (ImageType), such as magnitude and phase: give each in a folder")


def _by_time(slices: Sequence[Sequence[_Image]]) -> list[list[_Image]]:
    """The images of each slice in order of the first of the times that tells them all apart."""
    if len(slices[0]) == 1:
        return [list(group) for group in slices]
    for n in range(len(TIMES)):
        times = [{image.times[n] for image in group} - {None} for group in slices]
        if all(len(found) == len(group) for found, group in zip(times, slices, strict=True)):
            return [sorted(group, key=lambda image, n=n: image.times[n]) for group in slices]  # type: ignore[misc]
    raise InputError("several images of one slice that no time or number tells apart: take the doubled ones out")


def _step(places: NDArray, normal: NDArray, thickness: float) -> tuple[NDArray, str | None]:
    """From one slice to the next, in mm, and what was assumed."""
    if len(places) == 1:
        note = None if thickness else "its slice thickness is unknown and taken as 1 mm: no volume in ml is true"
        return normal * (thickness or 1.0), note
    steps = np.diff(places, axis=0)
    apart = np.linalg.norm(steps, axis=1)
    off = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    if (off > max(SAME_MM, 0.01 * float(np.median(apart)))).any():
        worst = int(apart.argmax())
        raise InputError(
            f"uneven steps: slices {worst + 1} and {worst + 2} of {len(places)} lie {apart[worst]:.4g} mm apart,"
            f" others {apart.min():.4g} mm: find the missing slice"
        )
    return (places[-1] - places[0]) / (len(places) - 1), None
