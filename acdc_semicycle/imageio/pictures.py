"""Pictures such as PNG and JPEG are read here, as intensities or as classes; incomplete ones are refused."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from acdc_semicycle.imageio.checks import DAMAGE
from acdc_semicycle.imageio.picture_checks import check_whole
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.runtime.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
IGNORED = 255
"""A mask's value of pixels that are not annotated: never trained on, never scored."""
VOID = (224, 224, 192)  # in VOC's palette, what nobody annotated
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "TIFF",
    "WEBP",
)  # by content; Pillow would start other programs for some others, such as EPS
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and one of its values
MOST_PIXELS = 1 << 27  # in a picture, 134 million, unless the policy says otherwise
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture, by its name, and not a scan."""
    return str(path).lower().endswith(PICTURES)


def read_picture(path: Path, policy: ReadingPolicy | None = None) -> Image.Image:
    """Read a complete picture, turned as its EXIF note says.

    Args:
        policy: what the user allows beyond what is safe; None reads it from the environment.

    Raises:
        InputError: the picture is missing, truncated, damaged, a negative, or would fill the memory; or the file is not
            a picture.
    """
    if policy is None:
        policy = from_environment()
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a picture ({' '.join(PICTURES)})")
    limit = _limit_pixels(policy)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > limit:  # where Pillow's warning is not an error
                raise Image.DecompressionBombError
            pages = getattr(picture, "n_frames", 1)
            picture.load()
            check_whole(path, picture)
            _check_black_is_zero(path, picture)
            upright = ImageOps.exif_transpose(picture)
            upright.format = picture.format
    except BOMB as error:
        raise InputError(
            f"{path} has more than {limit} pixels: give a smaller picture, or, if you trust it and have the memory, set"
            " SEMICYCLE_MAX_VOXELS higher"
        ) from error
    except (*DAMAGE, SyntaxError) as error:
        raise InputError(
            f"{path} is truncated, damaged or not a picture ({error}): copy it again from its source"
        ) from error
    if pages > 1:
        raise InputError(f"{path} has {pages} pages: give one picture a file")
    return upright


def _limit_pixels(policy: ReadingPolicy) -> int:
    """Make Pillow refuse larger pictures, in all of this process; the largest number of pixels."""
    limit = policy.max_voxels or MOST_PIXELS
    if limit != Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # otherwise an error only from twice as many on
    return limit


def intensities(path: Path, picture: Image.Image, channels: int) -> np.ndarray:
    """The picture as [H, W, channels]; 16-bit and floating-point greys keep their values.

    Raises:
        InputError: pixels are NaN or infinite, or lightness and colour (LAB).
    """
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float32)[..., None]
        if not np.isfinite(values).all():
            raise InputError(f"{path} holds NaN or infinite pixels: repair it, or leave it out")
        return values.repeat(channels, axis=-1)
    if channels == 3:
        return _converted(path, picture, "RGB")
    return _converted(path, picture, "L")[..., None]


def _check_black_is_zero(path: Path, picture: Image.Image) -> None:
    """Refuse a TIFF of more than 8 bits that is white where its pixels are 0: of 8 bits Pillow turns them itself."""
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    if picture.mode.startswith(("I", "F")) and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise InputError(f"{path} is a negative, white where its pixels are 0: save it with black as 0")


def _converted(path: Path, picture: Image.Image, mode: str) -> np.ndarray:
    """The pixels as grey or as colours."""
    if picture.mode == "LAB":  # Pillow makes colours of it or raises ValueError, as its libraries are
        raise InputError(f"{path} holds LAB pixels: convert it to grey or to colours (RGB)")
    return np.asarray(picture.convert(mode))


def check_lossless(path: Path, picture: Image.Image) -> None:
    """Refuse a mask whose compression changes numbers and colours.

    Raises:
        InputError: it is a JPEG, or a TIFF of JPEG strips.
    """
    if picture.format in ("JPEG", "MPO") or picture.info.get("compression") == "jpeg":
        raise InputError(
            f"{path} is a JPEG, which changes a mask's numbers and colours along every edge: make the mask again from"
            " its source as PNG, a converted copy stays wrong"
        )


def class_of_colours(colours: Sequence[Sequence[int]] | None) -> dict[tuple[int, ...], int]:
    """The class of each colour, the background's first, and ``IGNORED`` of VOC's void unless it is one of them."""
    class_of = {tuple(colour): index for index, colour in enumerate(colours or ())}
    class_of.setdefault(VOID, IGNORED)
    return class_of


def class_values(path: Path, picture: Image.Image, colours: Mapping[tuple[int, ...], int]) -> tuple[np.ndarray, bool]:
    """The values of a mask [H, W, 1], and whether they are classes already because the mask was read by colour.

    A palette in which each colour belongs to another class is read by colour: programs may renumber it on saving.

    Raises:
        InputError: a colour picture has a colour that no class has.
    """
    if picture.mode == "P":
        return _from_palette(picture, colours)
    if picture.mode in ("RGB", "RGBA"):
        return _from_colours(path, picture, colours), True
    if len(picture.getbands()) > 1:
        raise InputError(f"{path} is a {picture.mode} picture: give a mask of one number a pixel, or of colours (RGB)")
    return np.asarray(picture)[..., None], False


def _from_palette(picture: Image.Image, colours: Mapping[tuple[int, ...], int]) -> tuple[np.ndarray, bool]:
    """Classes and True, if each number that occurs has the colour of another class; else the numbers and False."""
    numbers = np.asarray(picture)
    palette = np.array(picture.getpalette("RGB"), int).reshape(-1, 3)
    table, classes = np.arange(256), set()
    for number in np.unique(numbers):
        colour = tuple(palette[number].tolist()) if number < len(palette) else ()
        label = colours.get(colour)
        if label is None or label in classes:
            return numbers[..., None], False
        classes.add(label)
        table[number] = label
    return table[numbers][..., None], True


def _from_colours(path: Path, picture: Image.Image, colours: Mapping[tuple[int, ...], int]) -> np.ndarray:
    """The classes that have the pixels' colours."""
    pixels = np.asarray(picture.convert("RGB"))
    present, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    classes = []
    for colour in map(tuple, present.tolist()):
        if colour not in colours:
            raise InputError(
                f"{path} holds the colour {colour}, which no class has: give class indices, or colours of the classes"
            )
        classes.append(colours[colour])
    return np.array(classes)[inverse].reshape(*pixels.shape[:2], 1)
