"""DICOM series as they lie in folders: which images are one scan, in what order, and where it is in the patient.

Of the headers only UIDs, the series' number, geometry, times and the pixels' form are looked at: no text of the
patient's is ever read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import dicom_file, dicom_pixels, nifti
from acdc_semicycle.imageio.dicom_file import Header
from acdc_semicycle.imageio.dicom_pixels import Form
from acdc_semicycle.runtime.errors import InputError

KIND, INSTANCE, SERIES, NUMBER = 0x00080008, 0x00080018, 0x0020000E, 0x00200011
POSITION, ORIENTATION, SPACING = 0x00200032, 0x00200037, 0x00280030
THICKNESS = (0x00180088, 0x00180050)  # SpacingBetweenSlices, SliceThickness
TIMES = (0x00181060, 0x00200100, 0x00080032, 0x00200013)  # trigger, temporal position, acquisition, instance
CLOCK, DAY = 2, 24 * 3600.0  # the one of these that is a time of day, in seconds
ECHOES = (0x00180081, 0x00180086)  # EchoTime, EchoNumbers
CHANNELS, MEANING, FRAMES = 0x00280002, 0x00280004, 0x00280008
ROWS, COLUMNS, BITS, USED, HIGHEST, SIGN = 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103
INTERCEPT, SLOPE, TABLE = 0x00281052, 0x00281053, 0x00283000
WANTED = frozenset(
    [
        dicom_file.CLASS,
        KIND,
        INSTANCE,
        SERIES,
        NUMBER,
        POSITION,
        ORIENTATION,
        SPACING,
        *THICKNESS,
        *TIMES,
        *ECHOES,
        CHANNELS,
    ]
    + [MEANING, FRAMES, ROWS, COLUMNS, BITS, USED, HIGHEST, SIGN, INTERCEPT, SLOPE, TABLE]
)
SAME_MM = 0.01  # positions that differ by less are one; so much, or 1 %, may steps differ
SAME_COSINE = 1e-3
SAME_ECHO = 0.01  # of the longest
# the series that a damaged file names: whole, so with the next tag behind
UID = re.compile(rb"\x20\x00\x0e\x00(?:UI..|.{4})([0-9.]{1,64})\x00?\x20\x00", re.DOTALL)
# CT, ultrasound, MR (but spectra), secondary captures, angiography, nuclear medicine, PET
IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([1237]|4(?=$|\.[134])|6|12|20|128)(\.\d+)*")
# what is made of scans and lies beside them: segmentations, doses and portal images of radiotherapy
MADE_OF_SCANS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(66|481)(\.\d+)*")
ENDINGS = (".dcm", ".ima")
PACKED_MORE = 2**20  # bytes by which compressed pixels may be larger than twice the plain ones
UNKNOWN = f"truncated, damaged or compressed in a way that is not known: {nifti.COPY}"
DAMAGED = "is truncated, damaged or empty: copy it again from its source"
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
    header: Header = field(repr=False)
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
    echoes: tuple[float | None, ...]


@dataclass(frozen=True)
class _Fault:
    """A file that should be an image and cannot be read; ``doubtful`` where but its name may say so."""

    path: Path
    said: str
    doubtful: bool = False


def is_folder(folder: Path) -> bool:
    """Whether DICOM images lie in a folder itself, damaged ones included; the search ends at the first."""
    return folder.is_dir() and any(_sure(_image(path)) for path in _listed(folder))


def find(folder: Path) -> list[Series]:
    """Every series in a folder, not below it, by name; a faulty one says so when it is read. Reads headers only.

    A damaged image is a fault of the series that it names; where it names none, of those whose files are named like
    it, or of all. A file that is no DICOM by its content, but has the name of an image, is a damaged one.

    Raises:
        InputError: the folder cannot be listed.
    """
    groups: dict[str, list[_Image]] = {}
    faults: dict[str, list[_Fault]] = {}
    looked = [_image(path) for path in _listed(folder)]
    for image in looked:
        if isinstance(image, _Image):
            groups.setdefault(image.uid, []).append(image)
    alike = {uid: {_pattern(image.path) for image in images} for uid, images in groups.items()}
    for fault in (found for found in looked if isinstance(found, _Fault)):
        named, like = _named(fault.path), [uid for uid in groups if _pattern(fault.path) in alike[uid]]
        if fault.doubtful and not like:
            continue
        for uid in [uid for uid in named if uid in groups] or named[-1:] or like or list(groups) or [""]:
            faults.setdefault(uid, []).append(fault)
    names = _names({uid: groups.get(uid, []) for uid in groups | faults})
    found = [_series(folder, name, uid, groups.get(uid, []), faults.get(uid, [])) for uid, name in names.items()]
    return sorted(found, key=lambda series: series.name)


def read(source: Series | str | Path) -> tuple[NDArray, NDArray, str | None]:
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
    images = [[_again(path) for path in frame] for frame in series.files]
    forms = [_form(image) for frame in images for image in frame]
    packed = sum(_stored(image) for frame in images for image in frame)
    voxels = sum(form.rows * form.columns for form in forms)
    nifti.check_size(Path(str(series)), voxels, sum(form.size for form in forms), packed)
    shape = (forms[0].columns, forms[0].rows, len(images[0]), len(images))
    result = np.empty(shape, np.result_type(*{form.scaled for form in forms}))
    for t, frame in enumerate(images):
        for z, image in enumerate(frame):
            result[:, :, z, t] = _pixels(image)
    return result, np.array(series.affine), series.note


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
    """The files, and links to such as are gone."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() or not path.exists())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): give a folder that can be read") from error


def _sure(found: _Image | _Fault | None) -> bool:
    return found is not None and not (isinstance(found, _Fault) and found.doubtful)


def _pattern(path: Path) -> str:
    """A name without its numbers, which is that of the images beside it."""
    return re.sub(r"\d+", "#", path.name)


def _image(path: Path) -> _Image | _Fault | None:
    """What a file is; None where it is no scan's DICOM image, such as a DICOMDIR, a report or contours."""
    named = path.suffix.lower() in ENDINGS
    try:
        header = dicom_file.header(path, WANTED)
    except OSError as error:
        said = f"cannot be read ({error.strerror}): allow that, or take it out"
        return None if path.name.startswith(".") else _Fault(path, said, doubtful=not named)
    if header is None:
        return None if path.name.startswith(".") else _Fault(path, DAMAGED, doubtful=not named)
    if header.kind and (
        MADE_OF_SCANS.fullmatch(header.kind) or (header.pixels is None and not IMAGES.fullmatch(header.kind))
    ):
        return None
    if header.large:
        return _Fault(path, f"unpacks to more than {dicom_file.LARGEST_UNPACKED >> 20} MiB: export it uncompressed")
    size = header.number(ROWS), header.number(COLUMNS)
    if header.pixels is None or not header.whole or min(size) <= 0:
        return _Fault(path, DAMAGED)
    return _looked_at(path, header)


def _named(path: Path) -> list[str]:
    """The UIDs of series that stand in what is left of a damaged file."""
    try:
        with path.open("rb") as stream:
            return [uid.decode() for uid in UID.findall(stream.read(1 << 20))]
    except OSError:
        return []


def _looked_at(path: Path, header: Header) -> _Image:
    text = header.text
    thickness = [abs(value) for tag in THICKNESS for value in _numbers(text(tag), 1) if value]
    number = re.fullmatch(r"\d{1,5}", text(NUMBER))  # longer ones may be dates
    frames = re.fullmatch(r"[+]?0*([1-9]\d{0,8})", text(FRAMES))
    grey = text(MEANING).upper() in ("MONOCHROME1", "MONOCHROME2", "")
    return _Image(
        path=path,
        header=header,
        uid=text(SERIES),
        instance=text(INSTANCE),
        number=int(number[0]) if number else None,
        size=(header.number(COLUMNS), header.number(ROWS), int(frames[1]) if frames else 1),
        channels=header.number(CHANNELS, 1) if grey else 3,
        kind=text(KIND),
        position=_numbers(text(POSITION), 3),
        orientation=_numbers(text(ORIENTATION), 6),
        spacing=_numbers(text(SPACING), 2),
        thickness=thickness[0] if thickness else 0.0,
        times=tuple(_seconds(text(tag)) if n == CLOCK else _first(text(tag)) for n, tag in enumerate(TIMES)),
        echoes=tuple(_first(text(tag)) for tag in ECHOES),
    )


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """So many finite numbers, or none."""
    try:
        values = tuple(float(value) for value in text.replace("_", "?").split("\\"))  # as Python would allow
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def _first(text: str) -> float | None:
    return next(iter(_numbers(text, 1)), None)


def _seconds(text: str) -> float | None:
    """Of a time of day, HHMMSS.FFF or with colons."""
    found = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d(?:\.\d*)?)?", text)
    return (
        sum(float(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True))
        if found
        else None
    )


def _check_values(image: _Image) -> None:
    """Refuse pixels that are not what they seem."""
    header, name, kind = image.header, image.path.name, image.header.kind
    if kind and not IMAGES.fullmatch(kind):
        raise InputError(f"{name} is of a class that is not read here ({kind}): export it as MR or CT images")
    if header.pixels is None or header.pixels.tag != dicom_file.PIXELS:
        raise InputError(f"{name} has floating-point pixels, which are not read here: export it as whole numbers")
    slope, intercept = header.text(SLOPE), header.text(INTERCEPT)
    if slope and _numbers(slope, 1) in ((), (0.0,)):
        raise InputError(f"{name} has a RescaleSlope that is 0 or no number: export the series again")
    if intercept and not _numbers(intercept, 1):
        raise InputError(f"{name} has a RescaleIntercept that is no number: export the series again")
    if header.holds(TABLE):
        raise InputError(
            f"{name} has a table for its values (ModalityLUTSequence), which is not read here: export the series with"
            " RescaleSlope and RescaleIntercept"
        )
    form, sign = _form(image), header.number(SIGN)
    bits, used, highest = form.bits, form.used, header.number(HIGHEST, form.used - 1)
    if bits not in (8, 16, 32) or not 1 <= used <= bits or highest != used - 1 or sign not in (0, 1):
        raise InputError(
            f"{name} says that {used} of {bits} bits are used, the highest being {highest}: give pixels of 8, 16 or 32"
            " bits with the lowest in use (HighBit one less than BitsStored)"
        )
    _check_length(image)


def _check_length(image: _Image) -> None:
    header, needed = image.header, _form(image).size
    pixels, syntax = header.pixels, header.text(dicom_file.SYNTAX)
    assert pixels
    packed = pixels.length == dicom_file.UNTIL_END
    if not dicom_pixels.known(syntax) or packed == (syntax in dicom_pixels.PLAIN):
        raise InputError(f"{image.path.name} is {UNKNOWN}")
    if not packed and pixels.length < needed:
        raise InputError(f"{image.path.name} has fewer than the {needed:,} bytes of its pixels: {nifti.COPY}")
    if packed and _stored(image) > 2 * needed + PACKED_MORE:
        raise InputError(f"{image.path.name} has more than twice the {needed:,} bytes of its pixels: {nifti.COPY}")


def _form(image: _Image) -> Form:
    header = image.header
    return Form(
        rows=image.size[1],
        columns=image.size[0],
        bits=header.number(BITS),
        used=header.number(USED, header.number(BITS)),
        signed=header.number(SIGN) == 1,
        inverse=header.text(MEANING).upper() == dicom_pixels.INVERSE,
        slope=_first(header.text(SLOPE)) or 1.0,
        intercept=_first(header.text(INTERCEPT)) or 0.0,
    )


def _stored(image: _Image) -> int:
    """Bytes that the pixels take in the file."""
    header = image.header
    if header.deflated is not None:
        return image.path.stat().st_size
    if header.parts:
        return sum(length for _, length in header.parts)
    return header.pixels.length if header.pixels else 0


def _again(path: Path) -> _Image:
    """The header of a file that was found to be an image."""
    image = _image(path)
    if not isinstance(image, _Image):
        raise InputError(f"{path} {image.said if image else DAMAGED}")
    _check_values(image)
    return image


def _pixels(image: _Image) -> NDArray:
    """[columns, rows] of one file."""
    header, form = image.header, _form(image)
    assert header.pixels
    parts = header.parts[1:] if header.parts else [(header.pixels.start, form.size)]
    try:
        content = b"".join(dicom_file.stored(image.path, header, *part) for part in parts)
        return dicom_pixels.decoded(content, header.text(dicom_file.SYNTAX), form, header.order)
    except OSError as error:
        raise InputError(f"{image.path} cannot be read ({error.strerror}): {nifti.COPY}") from error
    except dicom_pixels.DamagedPixels:
        raise InputError(f"{image.path} is {UNKNOWN}") from None


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


def _series(folder: Path, name: str, uid: str, images: Sequence[_Image], faults: Sequence[_Fault]) -> Series:
    plain = Series(folder, name, uid, ((*(image.path for image in images), *(fault.path for fault in faults)),))
    try:
        if faults:
            raise InputError(f"{faults[0].path.name} {faults[0].said}")
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
        _check_values(image)
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
    for n, word in enumerate(("EchoTime", "EchoNumbers")):
        echoes = [[image.echoes[n] or 0.0 for image in group] for group in slices]
        if any(max(times) - min(times) > SAME_ECHO * max(times) for times in echoes):
            raise InputError(f"images of several echoes of one slice ({word}): give each echo in a folder of its own")


def _by_time(slices: Sequence[Sequence[_Image]]) -> list[list[_Image]]:
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
