"""What the header of an NRRD or a MetaImage says, each field looked at: what SimpleITK crashes on is refused here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from acdc_semicycle.imageio.nifti import COPY
from acdc_semicycle.runtime.errors import InputError

LONGEST_HEADER = 1 << 20
AXES = (2, 3, 4)
Fields = list[tuple[str, str]]

# names in lower case and without spaces
ENCODED = {"encoding", "endian", "lineskip", "byteskip", "datafile"}  # an NRRD's, which in a MetaImage are a user's
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
    "i4": "met_int|met_long",  # on every machine
    "u4": "met_uint|met_ulong",
    "i8": "met_long_long",
    "u8": "met_ulong_long",
    "f4": "met_float",
    "f8": "met_double",
}
TYPES = {name: code for types in (NRRD_TYPES, META_TYPES) for code, names in types.items() for name in names.split("|")}


def is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def fields(path: Path) -> tuple[Fields, int]:
    """The header's fields, names in lower case and without spaces, and where it ends.

    Raises:
        InputError: no header, or with a line that is none of one.
    """
    with path.open("rb") as stream:
        block = stream.read(LONGEST_HEADER)
    nrrd = is_nrrd(path)
    last = rb"\r?\n\r?\n" if nrrd else rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*(\n|\Z)"
    end = re.search(last, block, re.MULTILINE | re.IGNORECASE)
    if not (re.match(rb"NRRD\d\d\.?\d\d[ \t]*\r?(\n|\Z)", block) if nrrd else end):
        raise InputError(_damaged(path))
    size = end.end() if end else len(block)
    found = []
    for line in block[:size].split(b"\n")[1 if nrrd else 0 :]:
        if not line.strip() or (nrrd and line.startswith(b"#")):
            continue
        key, between, value = line.partition(b":" if nrrd else b"=")
        if nrrd and value.startswith(b"="):  # KEY:=VALUE, which may say anything
            continue
        if not between or (nrrd and value[:1] not in (b" ", b"\t")):
            raise InputError(_damaged(path, "its header has a line that is no field"))
        name = key.decode("latin-1").lower().strip().replace(" ", "")
        if nrrd or name not in ENCODED:
            found.append((name, value.strip(b" \t\r").decode("utf-8", "surrogateescape")))
            if found[-1][0] == "datafile" and found[-1][1].upper() == "LIST":  # whose lines follow
                break
    return found, size


def checked(path: Path, head: Fields) -> dict[str, str]:
    """The fields by their names, each said once.

    Raises:
        InputError: says which is said twice; no other word of the header, which may name the patient.
    """
    said: dict[str, str] = {}
    nrrd = is_nrrd(path)
    for name, value in head:
        if nrrd and name not in NRRD:
            raise InputError(_damaged(path, "its header has a field that NRRD does not have"))
        if name in (NRRD if nrrd else META) and said.get(name, value) != value:
            raise InputError(_damaged(path, f"its header says {name} twice, and not the same"))
        said[name] = value
    if said.get("objecttype", "image").lower() != "image" and not nrrd:
        raise InputError(f"{path} is no image by its ObjectType: give a scan")
    return said


def sizes(path: Path, said: dict[str, str]) -> tuple[int, ...]:
    """Of the axes, in the order of storage."""
    names = ("dimension", "sizes") if is_nrrd(path) else ("ndims", "dimsize")
    [axes] = _whole(path, said, names[0], 1)
    if axes not in AXES:
        raise InputError(f"{path} has {axes} axes: give a 3D volume, or a cine of such frames")
    return tuple(_whole(path, said, names[1], axes))


def voxel_type(path: Path, said: dict[str, str], text: bool) -> np.dtype:
    """Of one voxel, with the order of its bytes; ``text`` has none."""
    name = said.get("type" if is_nrrd(path) else "elementtype", "").lower()
    name = name if is_nrrd(path) else name.removesuffix("_array")  # of one number, as is looked at below
    if name not in TYPES or name.startswith("met_") == is_nrrd(path):
        raise InputError(_damaged(path, "its header says no type of voxels that is known"))
    if not is_nrrd(path):
        [channels] = _whole(path, {"elementnumberofchannels": "1"} | said, "elementnumberofchannels", 1)
        one_number(path, channels)
    kind = np.dtype(TYPES[name])
    return kind if text or kind.itemsize == 1 else kind.newbyteorder(_order(path, said))


def one_number(path: Path, numbers: int) -> None:
    """Refuse colours, vectors and tensors."""
    if numbers > 1:
        raise InputError(f"{path} has {numbers} numbers a voxel: give a scan of one channel")


def true(said: dict[str, str], key: str, default: str = "") -> bool:
    return said.get(key, default)[:1] in ("T", "t", "1")  # as MetaImage's own library has it


def _order(path: Path, said: dict[str, str]) -> Literal["<", ">"]:
    if is_nrrd(path):
        found = {said.get("endian", "").lower()}
    else:
        keys = [key for key in ("binarydatabyteordermsb", "elementbyteordermsb") if key in said]
        found = {"big" if true(said, key) else "little" for key in keys} or {"little"}
    if len(found) > 1 or not found <= {"big", "little"}:
        raise InputError(_damaged(path, "its header does not say the order of the voxels' bytes, or says two"))
    return ">" if found == {"big"} else "<"


def _whole(path: Path, said: dict[str, str], name: str, count: int) -> list[int]:
    """As many whole numbers above 0."""
    words = said.get(name, "")[:100].split()
    if len(words) != count or not all(re.fullmatch(r"[0-9]{1,15}", word) and int(word) for word in words):
        raise InputError(_damaged(path, f"its {name} is not {count} whole number{'s' * (count > 1)} above 0"))
    return [int(word) for word in words]


def _damaged(path: Path, why: str = "") -> str:
    kind = "NRRD" if is_nrrd(path) else "MetaImage"
    return f"{path} is truncated, damaged or no {kind}{f' ({why})' if why else ''}: {COPY}"
