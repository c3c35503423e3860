"""The pixels of a DICOM image: how they are stored, whether they can be trusted, and what they measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.imageio import dicom_file, dicom_pixels
from acdc_semicycle.imageio.checks import COPY
from acdc_semicycle.imageio.dicom_file import Header
from acdc_semicycle.imageio.dicom_image import (
    BITS,
    DAMAGED,
    HIGHEST,
    IMAGES,
    INTERCEPT,
    MEANING,
    PADDING,
    PADDING_LIMIT,
    SIGN,
    SLOPE,
    TABLE,
    USED,
    Image,
    number_in,
    read_image,
)
from acdc_semicycle.imageio.dicom_pixels import Form
from acdc_semicycle.runtime.errors import InputError

PACKED_MORE = 2**20  # bytes by which compressed pixels may exceed twice the plain ones
UNKNOWN = f"truncated, damaged or compressed in an unknown way: {COPY}"


def check_values(image: Image) -> None:
    """Refuse pixels whose class, scaling, bits or length cannot be trusted."""
    header, name, kind = image.header, image.path.name, image.header.kind
    if kind and not IMAGES.fullmatch(kind):
        raise InputError(f"{name} is of a class that is not read here ({kind}): export it as MR or CT images")
    if header.pixels is None or header.pixels.tag != dicom_file.PIXELS:
        raise InputError(f"{name} has floating-point pixels, which are not read here: export it as whole numbers")
    _check_scaling(name, header)
    _check_bits(image)
    _check_length(image)


def _check_scaling(name: str, header: Header) -> None:
    """Refuse pixels whose relation to what was measured is unknown."""
    slope, intercept = header.text(SLOPE), header.text(INTERCEPT)
    if slope and not number_in(slope):
        raise InputError(f"{name} has a RescaleSlope that is 0 or not a number: export the series again")
    if intercept and number_in(intercept) is None:
        raise InputError(f"{name} has a RescaleIntercept that is not a number: export the series again")
    if header.holds(TABLE):
        raise InputError(
            f"{name} has a table for its values (ModalityLUTSequence), which is not read here: export the series with"
            " RescaleSlope and RescaleIntercept"
        )


def _check_bits(image: Image) -> None:
    """Refuse pixels of other than 8, 16 or 32 bits, and those that do not use the lowest bits."""
    form = form_of(image)
    highest, sign = image.header.number(HIGHEST, form.used - 1), image.header.number(SIGN)
    lowest_used = 1 <= form.used <= form.bits and highest == form.used - 1
    if form.bits not in (8, 16, 32) or not lowest_used or sign not in (0, 1):
        raise InputError(
            f"{image.path.name} says that {form.used} of {form.bits} bits are used, the highest being {highest}: give"
            " pixels of 8, 16 or 32 bits with the lowest in use (HighBit one less than BitsStored)"
        )


def _check_length(image: Image) -> None:
    """Refuse unknown compression, too few bytes, and far more bytes than compressed pixels can need."""
    header, needed = image.header, form_of(image).size
    pixels, syntax = header.pixels, header.text(dicom_file.SYNTAX)
    assert pixels
    packed = pixels.length == dicom_file.UNTIL_END
    if not dicom_pixels.can_read(syntax) or packed == (syntax in dicom_pixels.PLAIN):
        raise InputError(f"{image.path.name} is {UNKNOWN}")
    if not packed and pixels.length < needed:
        raise InputError(f"{image.path.name} has fewer than the {needed:,} bytes of its pixels: {COPY}")
    if packed and stored_bytes(image) > 2 * needed + PACKED_MORE:
        raise InputError(f"{image.path.name} has more than twice the {needed:,} bytes of its pixels: {COPY}")


def form_of(image: Image) -> Form:
    """How the pixels are stored, and what they mean."""
    header = image.header
    return Form(
        rows=image.size[1],
        columns=image.size[0],
        bits=header.number(BITS),
        used=header.number(USED, header.number(BITS)),
        signed=header.number(SIGN) == 1,
        inverse=header.text(MEANING).upper() == dicom_pixels.INVERSE,
        slope=number_in(header.text(SLOPE)) or 1.0,
        intercept=number_in(header.text(INTERCEPT)) or 0.0,
        padding=_padding(header),
    )


def _padding(header: Header) -> tuple[int, int] | None:
    """The lowest and the highest number of pixels that are padding; they have the sign that pixels have."""
    ends = []
    for tag in (PADDING, PADDING_LIMIT):
        value = header.values.get(tag)
        if value:
            ends.append(int.from_bytes(value, header.order, signed=header.number(SIGN) == 1))
    return (min(ends), max(ends)) if header.values.get(PADDING) else None


def stored_bytes(image: Image) -> int:
    """The number of bytes of the pixels in the file."""
    header = image.header
    if header.deflated is not None:
        return image.path.stat().st_size
    if header.parts:
        return sum(length for _, length in header.parts)
    return header.pixels.length if header.pixels else 0


def reread_image(path: Path) -> Image:
    """Read the header of a file again that was an image when the series was found.

    Raises:
        InputError: it is not an image any more, or its pixels cannot be trusted.
    """
    image = read_image(path)
    if not isinstance(image, Image):
        raise InputError(f"{path} {image.reason if image else DAMAGED}")
    check_values(image)
    return image


def read_pixels(image: Image) -> tuple[NDArray, NDArray[np.bool_]]:
    """Read the pixels of one file, slope and intercept applied, and where they are padding; both [columns, rows]."""
    header, form = image.header, form_of(image)
    assert header.pixels
    parts = header.parts[1:] if header.parts else [(header.pixels.start, form.size)]
    try:
        content = b"".join(dicom_file.stored(image.path, header, *part) for part in parts)
        return dicom_pixels.decoded(content, header.text(dicom_file.SYNTAX), form, header.order)
    except OSError as error:
        raise InputError(f"{image.path} cannot be read ({error.strerror}): {COPY}") from error
    except dicom_pixels.DamagedPixels:
        raise InputError(f"{image.path} is {UNKNOWN}") from None
