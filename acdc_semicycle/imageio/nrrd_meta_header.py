"""The header of an NRRD or a MetaImage, checked field by field: what SimpleITK crashes on is refused here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from acdc_semicycle.imageio.checks import COPY
from acdc_semicycle.runtime.errors import InputError, many

LONGEST_HEADER = 1 << 20
AXES = (2, 3, 4)
Fields = dict[str, str]
NRRD_MAGIC = re.compile(rb"NRRD\d\d\.?\d\d[ \t]*\r?(\n|\Z)")
NRRD_END = re.compile(rb"\r?\n\r?\n")
META_END = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*(\n|\Z)", re.MULTILINE | re.IGNORECASE)

# names in lower case and without spaces
ENCODED = {
    "encoding",
    "endian",
    "lineskip",
    "byteskip",
    "datafile",
}  # of an NRRD; in a MetaImage they are the user's own
NRRD = ENCODED | {
    "content", "number", "type", "blocksize", "dimension", "space", "spacedimension", "sizes", "spacings",
    "thicknesses", "axismins", "axismaxs", "centers", "centerings", "labels", "units", "kinds", "min", "max",
    "oldmin", "oldmax", "sampleunits", "spaceunits", "spaceorigin", "spacedirections", "measurementframe"
}  # fmt: skip
META = {
    "objecttype", "ndims", "dimsize", "elementtype", "elementnumberofchannels", "elementspacing", "elementsize",
    "transformmatrix", "rotation", "orientation", "offset", "position", "origin", "distanceunits", "binarydata",
    "binarydatabyteordermsb", "elementbyteordermsb", "compresseddata", "headersize", "elementdatafile"
}  # fmt: skip

NRRD_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
META_TYPES = {
    "i1": "met_char",
    "u1": "met_uchar",
    "i2": "met_short",
    "u2": "met_ushort",
    "i4": "met_int|met_long",  # of four bytes on every machine
    "u4": "met_uint|met_ulong",
    "i8": "met_long_long",
    "u8": "met_ulong_long",
    "f4": "met_float",
    "f8": "met_double",
}


def is_nrrd(path: Path) -> bool:
    """Whether a file is an NRRD, and not a MetaImage, by its name."""
    return path.suffix.lower() in (".nrrd", ".nhdr")


def read_lines(path: Path) -> tuple[list[tuple[str, str]], int]:
    """The header's lines as pairs of name and value, and the byte at which the header ends.

    Raises:
        InputError: there is no header, or a line of it is not a field.
    """
    with path.open("rb") as stream:
        block = stream.read(LONGEST_HEADER)
    return _nrrd_lines(path, block) if is_nrrd(path) else _meta_lines(path, block)


def _nrrd_lines(path: Path, block: bytes) -> tuple[list[tuple[str, str]], int]:
    """The lines of an NRRD's header, which ends with an empty line or with the file."""
    if not NRRD_MAGIC.match(block):
        raise InputError(_damaged(path))
    end = NRRD_END.search(block)
    size = end.end() if end else len(block)
    lines: list[tuple[str, str]] = []
    for line in block[:size].split(b"\n")[1:]:
        key, colon, value = line.partition(b":")
        note = line.startswith(b"#") or value.startswith(b"=")  # KEY:=VALUE may say anything
        if note or not line.strip():
            continue
        if not colon or value[:1] not in (b" ", b"\t"):
            raise InputError(_damaged(path, "its header has a line that is not a field"))
        lines.append((_name(key), _text(value)))
        if lines[-1][0] == "datafile" and lines[-1][1].upper() == "LIST":  # lines with names of files follow
            break
    return lines, size


def _meta_lines(path: Path, block: bytes) -> tuple[list[tuple[str, str]], int]:
    """The lines of a MetaImage's header, which ends with that of ElementDataFile."""
    end = META_END.search(block)
    if not end:
        raise InputError(_damaged(path))
    lines: list[tuple[str, str]] = []
    for line in block[: end.end()].split(b"\n"):
        if not line.strip():
            continue
        key, equals, value = line.partition(b"=")
        if not equals:
            raise InputError(_damaged(path, "its header has a line that is not a field"))
        if _name(key) not in ENCODED:
            lines.append((_name(key), _text(value)))
    return lines, end.end()


def _name(key: bytes) -> str:
    """A field's name in lower case and without spaces."""
    return key.decode("latin-1").lower().strip().replace(" ", "")


def _text(value: bytes) -> str:
    """A field's value; bytes that are not UTF-8 are kept, as in names of files."""
    return value.strip(b" \t\r").decode("utf-8", "surrogateescape")


def fields_by_name(path: Path, lines: list[tuple[str, str]]) -> Fields:
    """The header's fields by their names; a field that is there twice must have one value.

    Raises:
        InputError: quotes no value, which may name the patient.
    """
    nrrd = is_nrrd(path)
    known = NRRD if nrrd else META
    fields: Fields = {}
    for name, value in lines:
        if nrrd and name not in known:
            raise InputError(_damaged(path, "its header has a field that NRRD does not have"))
        if name in known and fields.get(name, value) != value:
            raise InputError(_damaged(path, f"its header gives {name} two different values"))
        fields[name] = value
    if fields.get("objecttype", "image").lower() != "image" and not nrrd:
        raise InputError(f"{path} is not an image by its ObjectType: give a scan")
    return fields


def sizes(path: Path, fields: Fields) -> tuple[int, ...]:
    """The number of voxels along each axis, in the order of storage."""
    dimension, names = ("dimension", "sizes") if is_nrrd(path) else ("ndims", "dimsize")
    [axes] = _whole_numbers(path, fields, dimension, 1)
    if axes not in AXES:
        raise InputError(f"{path} has {axes} axes: give a 3D volume, or a cine of such frames")
    return tuple(_whole_numbers(path, fields, names, axes))


def voxel_type(path: Path, fields: Fields, text: bool) -> np.dtype:
    """The type of one voxel, with its byte order unless voxels are stored as text."""
    if is_nrrd(path):
        code = _code(NRRD_TYPES, fields.get("type", ""))
    else:
        code = _code(META_TYPES, fields.get("elementtype", "").lower().removesuffix("_array"))
    if code is None:
        raise InputError(_damaged(path, "its header gives no known type of voxels"))
    if not is_nrrd(path) and "elementnumberofchannels" in fields:
        [channels] = _whole_numbers(path, fields, "elementnumberofchannels", 1)
        one_number(path, channels)
    dtype = np.dtype(code)
    if text or dtype.itemsize == 1:
        return dtype
    return dtype.newbyteorder(_byte_order(path, fields))


def _code(types: dict[str, str], name: str) -> str | None:
    """NumPy's code of a type by its name; None where it is unknown."""
    for code, names in types.items():
        if name.lower() in names.split("|"):
            return code
    return None


def one_number(path: Path, numbers: int) -> None:
    """Refuse colours, vectors and tensors."""
    if numbers > 1:
        raise InputError(f"{path} has {numbers} numbers a voxel: give a scan of one channel")


def is_true(fields: Fields, key: str, default: str = "") -> bool:
    """Whether a MetaImage's switch is on, as its own library reads it."""
    return fields.get(key, default)[:1] in ("T", "t", "1")


def _byte_order(path: Path, fields: Fields) -> Literal["<", ">"]:
    """The order of a voxel's bytes; a MetaImage that does not give it is little-endian."""
    orders = set()
    if is_nrrd(path):
        orders.add(fields.get("endian", "").lower())
    else:
        for key in ("binarydatabyteordermsb", "elementbyteordermsb"):
            if key in fields:
                orders.add("big" if is_true(fields, key) else "little")
    if orders == {"big"}:
        return ">"
    if orders == {"little"} or not orders:
        return "<"
    raise InputError(_damaged(path, "its header gives no order of the voxels' bytes, or two"))


def _whole_numbers(path: Path, fields: Fields, name: str, count: int) -> list[int]:
    """The numbers of a field: so many whole ones above 0."""
    words = fields.get(name, "")[:100].split()
    numbers = [int(word) for word in words if re.fullmatch(r"[0-9]{1,15}", word)]
    if not len(numbers) == len(words) == count or 0 in numbers:
        raise InputError(_damaged(path, f"its {name} is not {many(count, 'whole number')} above 0"))
    return numbers


def _damaged(path: Path, why: str = "") -> str:
    """The message for a file that is not what its name says, with the reason if it is known."""
    kind = "NRRD" if is_nrrd(path) else "MetaImage"
    reason = f" ({why})" if why else ""
    return f"{path} is truncated, damaged or not in {kind} format{reason}: {COPY}"
