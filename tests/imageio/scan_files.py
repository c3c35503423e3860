"""Small scans, written byte by byte, each good unless a test spoils it."""

import struct
from pathlib import Path

import nibabel
import numpy as np

SHAPE = (5, 4, 3)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
AFFINE = np.array([[0, -1.5, 0, 7], [2, 0, 0, -3], [0, 0, 9, 11], [0, 0, 0, 1.0]])
# where AFFINE is, in the words of NRRD and of MetaImage
NRRD_PLACE = {
    "space": "left-posterior-superior",
    "space directions": "(0,-2,0) (1.5,0,0) (0,0,9)",
    "space origin": "(-7,3,11)",
}
META_PLACE = {
    "TransformMatrix": "0 -1 0 1 0 0 0 0 1",
    "Offset": "-7 3 11",
    "ElementSpacing": "2 1.5 9",
}


def good(path: Path) -> bytes:
    """A plain file, its bytes."""
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    nibabel.save(image, path)
    return path.read_bytes()


def patched(at: int, form: str, *values):
    def change(raw: bytes) -> bytes:
        content = struct.pack(form, *values)
        return raw[:at] + content + raw[at + len(content) :]

    return change


def lines(fields: dict, between: str) -> str:
    return "".join(f"{name}{between}{value}\n" for name, value in fields.items() if value is not None)


def nrrd(path: Path, fields: dict | None = None, content: bytes = b"\n" + VOXELS.tobytes("F")) -> Path:
    """A plain one of VOXELS; ``fields`` replace its own, and None takes one out."""
    head = {
        "type": "short",
        "dimension": 3,
        "space dimension": None,
        **NRRD_PLACE,
        "sizes": "5 4 3",
        "encoding": "raw",
        "endian": "little",
    }
    path.write_bytes(f"NRRD0004\n{lines(head | (fields or {}), ': ')}".encode() + content)
    return path


def meta(path: Path, fields: dict | None = None, content: bytes = VOXELS.tobytes("F")) -> Path:
    head = {"ObjectType": "Image", "NDims": 3, "DimSize": "5 4 3", **META_PLACE, "ElementType": "MET_SHORT"}
    head |= {"ElementDataFile": "LOCAL"} | (fields or {})
    head |= {"ElementDataFile": head.pop("ElementDataFile")}  # the last
    path.write_bytes(lines(head, " = ").encode() + content)
    return path


RAW = VOXELS.tobytes("F")
NUMBERS = " ".join(map(str, VOXELS.ravel("F"))).encode()


def with_fields(path: Path, fields: dict) -> Path:
    return nrrd(path, fields) if path.suffix == ".nrrd" else meta(path, fields)
