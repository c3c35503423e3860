"""One DICOM file as an image: what its header says of a slice, and its pixels.

Of the headers only UIDs, the series' number, geometry, times and the pixels' form are looked at: no text of the
patient's is ever read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
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
CLOCK = 2  # the one of these that is a time of day, in seconds
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
SAME_COSINE = 1e-3
# CT, ultrasound, MR (but spectra), secondary captures, angiography, nuclear medicine, PET
IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([1237]|4(?=$|\.[134])|6|12|20|128)(\.\d+)*")
# what is made of scans and lies beside them: segmentations, doses and portal images of radiotherapy
MADE_OF_SCANS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(66|481)(\.\d+)*")
ENDINGS = (".dcm", ".ima")
PACKED_MORE = 2**20  # bytes by which compressed pixels may be larger than twice the plain ones
UNKNOWN = f"truncated, damaged or compressed in a way that is not known: {nifti.COPY}"
DAMAGED = "is truncated, damaged or empty: copy it again from its source"


@dataclass(frozen=True)
class Image:
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
class Fault:
    """A file that should be an image and cannot be read; ``doubtful`` where but its name may say so."""

    path: Path
    said: str
    doubtful: bool = False


def image_of(path: Path) -> Image | Fault | None:
    """What a file is; None where it is no scan's DICOM image, such as a DICOMDIR, a report or contours."""
    named = path.suffix.lower() in ENDINGS
    try:
        header = dicom_file.read_header(path, WANTED)
    except OSError as error:
        said = f"cannot be read ({error.strerror}): allow that, or take it out"
        return None if path.name.startswith(".") else Fault(path, said, doubtful=not named)
    if header is None:
        return None if path.name.startswith(".") else Fault(path, DAMAGED, doubtful=not named)
    if header.kind and (
        MADE_OF_SCANS.fullmatch(header.kind) or (header.pixels is None and not IMAGES.fullmatch(header.kind))
    ):
        return None
    if header.large:
        return Fault(path, f"unpacks to more than {dicom_file.LARGEST_UNPACKED >> 20} MiB: export it uncompressed")
    size = header.number(ROWS), header.number(COLUMNS)
    if header.pixels is None or not header.whole or min(size) <= 0:
        return Fault(path, DAMAGED)
    return _looked_at(path, header)


def _looked_at(path: Path, header: Header) -> Image:
    text = header.text
    thickness = [abs(value) for tag in THICKNESS for value in _numbers(text(tag), 1) if value]
    number = re.fullmatch(r"\d{1,5}", text(NUMBER))  # longer ones may be dates
    frames = re.fullmatch(r"[+]?0*([1-9]\d{0,8})", text(FRAMES))
    grey = text(MEANING).upper() in ("MONOCHROME1", "MONOCHROME2", "")
    return Image(
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


def check_values(image: Image) -> None:
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
    form, sign = form_of(image), header.number(SIGN)
    bits, used, highest = form.bits, form.used, header.number(HIGHEST, form.used - 1)
    if bits not in (8, 16, 32) or not 1 <= used <= bits or highest != used - 1 or sign not in (0, 1):
        raise InputError(
            f"{name} says that {used} of {bits} bits are used, the highest being {highest}: give pixels of 8, 16 or 32"
            " bits with the lowest in use (HighBit one less than BitsStored)"
        )
    _check_length(image)


def _check_length(image: Image) -> None:
    header, needed = image.header, form_of(image).size
    pixels, syntax = header.pixels, header.text(dicom_file.SYNTAX)
    assert pixels
    packed = pixels.length == dicom_file.UNTIL_END
    if not dicom_pixels.can_read(syntax) or packed == (syntax in dicom_pixels.PLAIN):
        raise InputError(f"{image.path.name} is {UNKNOWN}")
    if not packed and pixels.length < needed:
        raise InputError(f"{image.path.name} has fewer than the {needed:,} bytes of its pixels: {nifti.COPY}")
    if packed and stored_bytes(image) > 2 * needed + PACKED_MORE:
        raise InputError(f"{image.path.name} has more than twice the {needed:,} bytes of its pixels: {nifti.COPY}")


def check_geometry(image: Image) -> None:
    missing = [word for word in ("position", "orientation", "spacing") if not getattr(image, word)]
    if missing:
        raise InputError(f"{image.path.name} has no {missing[0]} in the patient: export the series with its geometry")
    axes = np.array(image.orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=10 * SAME_COSINE) or min(image.spacing) <= 0:
        raise InputError(f"{image.path.name} has an orientation or spacing that is none: export the series again")


def form_of(image: Image) -> Form:
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


def stored_bytes(image: Image) -> int:
    """Bytes that the pixels take in the file."""
    header = image.header
    if header.deflated is not None:
        return image.path.stat().st_size
    if header.parts:
        return sum(length for _, length in header.parts)
    return header.pixels.length if header.pixels else 0


def again(path: Path) -> Image:
    """The header of a file that was found to be an image."""
    image = image_of(path)
    if not isinstance(image, Image):
        raise InputError(f"{path} {image.said if image else DAMAGED}")
    check_values(image)
    return image


def pixels_of(image: Image) -> NDArray:
    """[columns, rows] of one file."""
    header, form = image.header, form_of(image)
    assert header.pixels
    parts = header.parts[1:] if header.parts else [(header.pixels.start, form.size)]
    try:
        content = b"".join(dicom_file.stored(image.path, header, *part) for part in parts)
        return dicom_pixels.decoded(content, header.text(dicom_file.SYNTAX), form, header.order)
    except OSError as error:
        raise InputError(f"{image.path} cannot be read ({error.strerror}): {nifti.COPY}") from error
    except dicom_pixels.DamagedPixels:
        raise InputError(f"{image.path} is {UNKNOWN}") from None
