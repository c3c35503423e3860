"""One DICOM file as an image: what its header says of a slice.

Of the header only UIDs, the series' number, geometry, times and the pixels' form are read: never any text about the
patient.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acdc_semicycle.imageio import dicom_file
from acdc_semicycle.imageio.dicom_file import Header
from acdc_semicycle.runtime.errors import InputError

KIND, INSTANCE, SERIES, NUMBER = 0x00080008, 0x00080018, 0x0020000E, 0x00200011
STUDY, REFERENCE, ACQUISITION = 0x0020000D, 0x00200052, 0x00200012  # REFERENCE: FrameOfReferenceUID
POSITION, ORIENTATION, SPACING = 0x00200032, 0x00200037, 0x00280030
SLICE_THICKNESS = 0x00180050
THICKNESS = (0x00180088, SLICE_THICKNESS)  # the former is SpacingBetweenSlices
CLOCK = 0x00080032  # AcquisitionTime, the only one of the times that is a time of day
INSTANCE_NUMBER = 0x00200013
TIMES = (0x00181060, 0x00200100, CLOCK, INSTANCE_NUMBER)  # trigger, temporal position, acquisition, instance
ECHOES = (0x00180081, 0x00180086)  # EchoTime, EchoNumbers
CHANNELS, MEANING, FRAMES = 0x00280002, 0x00280004, 0x00280008
ROWS, COLUMNS, BITS, USED, HIGHEST, SIGN = 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103
INTERCEPT, SLOPE, TABLE = 0x00281052, 0x00281053, 0x00283000
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121  # PixelPaddingValue, PixelPaddingRangeLimit
WANTED = frozenset(
    [dicom_file.CLASS, KIND, INSTANCE, SERIES, NUMBER, STUDY, REFERENCE, ACQUISITION, POSITION, ORIENTATION, SPACING]
    + [*THICKNESS, *TIMES, *ECHOES, CHANNELS, MEANING, FRAMES, ROWS, COLUMNS, BITS, USED, HIGHEST, SIGN]
    + [INTERCEPT, SLOPE, TABLE, PADDING, PADDING_LIMIT]
)
SAME_COSINE = 1e-3
# CT, ultrasound, MR (but spectra), secondary captures, angiography, nuclear medicine, PET
IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([1237]|4(?=$|\.[134])|6|12|20|128)(\.\d+)*")
# derived objects that may lie beside scans: segmentations, doses and portal images of radiotherapy
MADE_OF_SCANS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(66|481)(\.\d+)*")
ENDINGS = (".dcm", ".ima")
DAMAGED = "is truncated, damaged or empty: copy it again from its source"


@dataclass(frozen=True)
class Image:
    """What one file's header says; empty tuples and None where it says nothing.

    Attributes:
        uid, number: of its series.
        instance: its own UID.
        size: columns, rows, frames.
        channels: numbers a pixel.
        kind: the ImageType.
        position, orientation, spacing, thickness: as in DICOM, in mm; an unknown thickness is 0.
        study, reference: the UIDs of its study and of its frame of reference.
        acquisition: its number.
        times: in the order of TIMES, that of the clock in seconds.
        echoes: in the order of ECHOES.
    """

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
    study: str
    reference: str
    acquisition: str
    times: tuple[float | None, ...]
    echoes: tuple[float | None, ...]


@dataclass(frozen=True)
class DamagedFile:
    """A file that should be an image and cannot be read; ``doubtful`` where only its name may say so."""

    path: Path
    reason: str
    doubtful: bool = False


def read_image(path: Path) -> Image | DamagedFile | None:
    """The image in a file, or why it is damaged; None for other files, such as a DICOMDIR, a report or contours."""
    reason = DAMAGED
    try:
        header = dicom_file.read_header(path, WANTED)
    except OSError as error:
        reason, header = f"cannot be read ({error.strerror}): make it readable, or remove it", None
    if header is None and not path.name.startswith("."):
        return DamagedFile(path, reason, doubtful=path.suffix.lower() not in ENDINGS)
    if header is None or _is_no_scan(header):
        return None
    if header.large:
        return DamagedFile(
            path, f"unpacks to more than {dicom_file.LARGEST_UNPACKED >> 20} MiB: export it uncompressed"
        )
    if not _has_pixels(header):
        return DamagedFile(path, DAMAGED)
    return _image(path, header)


def _has_pixels(header: dicom_file.Header) -> bool:
    """Whether a file is complete, with pixels and their numbers of rows and columns."""
    return header.pixels is not None and header.whole and header.number(ROWS) > 0 and header.number(COLUMNS) > 0


def _is_no_scan(header: Header) -> bool:
    """Whether a DICOM file was derived from scans, or is of a class without pixels."""
    if not header.kind:
        return False
    if MADE_OF_SCANS.fullmatch(header.kind):
        return True
    return header.pixels is None and not IMAGES.fullmatch(header.kind)


def _image(path: Path, header: Header) -> Image:
    """The image that a header describes."""
    text = header.text
    number = re.fullmatch(r"\d{1,5}", text(NUMBER))  # longer numbers may be dates
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
        thickness=_thickness_mm(header),
        study=text(STUDY),
        reference=text(REFERENCE),
        acquisition=text(ACQUISITION),
        times=tuple(_time(header, tag) for tag in TIMES),
        echoes=tuple(number_in(text(tag)) for tag in ECHOES),
    )


def _thickness_mm(header: Header) -> float:
    """The spacing between slices, or else a slice's thickness, without its sign; 0 where neither is known."""
    for tag in THICKNESS:
        thickness = number_in(header.text(tag))
        if thickness:
            return abs(thickness)
    return 0.0


def _time(header: Header, tag: int) -> float | None:
    """One of the times; that of the clock in seconds."""
    text = header.text(tag)
    return _seconds(text) if tag == CLOCK else number_in(text)


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """The finite numbers of a text, if it has so many; else none."""
    try:
        values = tuple(map(float, text.replace("_", "?").split("\\")))  # float() would accept 1_0
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def number_in(text: str) -> float | None:
    """The one finite number of a text, or None."""
    numbers = _numbers(text, 1)
    return numbers[0] if numbers else None


def _seconds(text: str) -> float | None:
    """The seconds of a time of day, HHMMSS.FFF or with colons."""
    match = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d(?:\.\d*)?)?", text)
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def check_geometry(image: Image) -> None:
    """Refuse an image without a position, an orientation or a spacing, or with impossible ones."""
    for word in ("position", "orientation", "spacing"):
        if not getattr(image, word):
            raise InputError(f"{image.path.name} has no {word} in the patient: export the series with its geometry")
    axes = np.array(image.orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=10 * SAME_COSINE) or min(image.spacing) <= 0:
        raise InputError(f"{image.path.name} has an impossible orientation or spacing: export the series again")
