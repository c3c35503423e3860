"""Odd and bad scans, written byte by byte and by no reader's own writer: what ``reliability.py`` gives to readers.

Every good file holds v = 100 + x + 2 y + 3 z, with x, y, z the patient's millimetres (RAS), so what a reader makes of
it is judged voxel by voxel, and by the corners, without another reader. A bad file is one of which no reader can know
that what it gives is what was scanned: damaged, or telling two things at once.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio.orientation import Layout

SHAPE = (6, 5, 4)
PLACE = np.array([[-2.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, 3, -10], [0, 0, 0, 1]])
TURNED = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ITK_TYPES = {  # NRRD's and MetaImage's words
    "u1": ("uint8", "MET_UCHAR"), "i2": ("int16", "MET_SHORT"), "f4": ("float", "MET_FLOAT"),
}  # fmt: skip


@dataclass(frozen=True)
class File:
    """One file, and what is right: ``good`` to be read as this shape and affine, or else to be refused.

    ``segmented`` where a run over its whole folder has to name it, too; a cine is legal there.
    """

    path: Path
    category: str
    good: bool
    shape: tuple[int, ...] = SHAPE
    affine: Any = None  # to RAS, in mm
    segmented: bool = True


def measured(affine: NDArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """100 + x + 2 y + 3 z at each voxel."""
    three = (*shape, 1, 1, 1)[:3]
    x, y, z, _ = np.einsum("ij,j...->i...", affine, np.stack([*np.indices(three), np.ones(three)]))
    return (100 + x + 2 * y + 3 * z).reshape(shape)


def nifti(voxels: NDArray, affine: NDArray = PLACE, codes: tuple[int, int] = (1, 1), **fields: Any) -> bytes:
    """A .nii of these voxels; ``fields`` of the header are set last, as they are.

    Args:
        codes: of qform and sform.
        fields: by NIfTI's names; and ``two`` for NIfTI-2, ``order`` of the bytes, ``pair`` for the header alone.
    """
    two, order, pair = fields.pop("two", False), fields.pop("order", "<"), fields.pop("pair", False)
    header: Any = (nibabel.Nifti2Header if two else nibabel.Nifti1Header)(endianness=order)
    if voxels.dtype.fields:
        header["datatype"], header["bitpix"] = 128, 24
    else:
        header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_qform(affine, codes[0])
    header.set_sform(affine if codes[1] else None, codes[1])
    header.set_xyzt_units("mm")
    header["vox_offset"] = 0 if pair else 544 if two else 352
    header["magic"] = (b"ni2" if two else b"ni1") if pair else header["magic"]
    for name, value in fields.items():
        header[name] = value
    stored = voxels.astype(voxels.dtype.newbyteorder(order)) if voxels.dtype.fields is None else voxels
    return header.binaryblock + bytes(4) + (b"" if pair else stored.tobytes(order="F"))


def nrrd(voxels: NDArray, affine: NDArray = PLACE, encoding: str = "raw", file: str = "", **fields: Any) -> bytes:
    """A .nrrd, or the .nhdr that names a ``file``; ``fields`` replace its lines, _ for a space; None takes one out."""
    ras = fields.get("space") == "right-anterior-superior"
    at = affine if ras else LPS @ affine
    vectors = ["(" + ",".join(map(str, column)) + ")" for column in at[:3].T]
    lines = {
        "type": ITK_TYPES[voxels.dtype.str[1:]][0],
        "dimension": 3,
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, voxels.shape)),
        "space directions": " ".join(vectors[:3]),
        "kinds": "domain domain domain",
        "endian": "little" if voxels.dtype.str[0] in "<|" else "big",
        "encoding": encoding,
        "space origin": vectors[3],
    } | ({"data file": file} if file else {})
    lines |= {name.replace("_", " "): value for name, value in fields.items()}
    content = voxels.tobytes(order="F")
    stored = b"" if file else gzip.compress(content) if encoding == "gzip" else content
    head = "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)
    return f"NRRD0004\n{head}\n".encode() + stored


def meta(voxels: NDArray, affine: NDArray = PLACE, packed: bool = False, file: str = "LOCAL", **fields: Any) -> bytes:
    """An .mha, or the .mhd that names a ``file``."""
    at = LPS @ affine
    spacing = np.linalg.norm(at[:3, :3], axis=0)
    content = zlib.compress(voxels.tobytes(order="F")) if packed else voxels.tobytes(order="F")
    lines = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": packed,
        **({"CompressedDataSize": len(content)} if packed else {}),
        "TransformMatrix": " ".join(map(str, (at[:3, :3] / spacing).T.ravel())),
        "Offset": " ".join(map(str, at[:3, 3])),
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, voxels.shape)),
        "ElementType": ITK_TYPES[voxels.dtype.str[1:]][1],
    } | fields
    text = "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None)
    text += f"ElementDataFile = {file}\n"
    return text.encode() + (content if file == "LOCAL" else b"")


def bomb(start: bytes, size: int) -> bytes:
    """A gzip file of ``start`` and so many zeros, made without packing them all."""
    pack = zlib.compressobj(9, wbits=-15)
    head = pack.compress(start) + pack.flush(zlib.Z_FULL_FLUSH)
    piece = bytes(1 << 20)
    block = pack.compress(piece) + pack.flush(zlib.Z_FULL_FLUSH)  # nothing in it points before it
    total, crc = max(1, size >> 20), zlib.crc32(start)
    for _ in range(total):
        crc = zlib.crc32(piece, crc)
    length = (len(start) + total * len(piece)) & 0xFFFFFFFF
    trailer = crc.to_bytes(4, "little") + length.to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + head + block * total + pack.flush() + trailer


V = measured(PLACE, SHAPE).astype("<i2")
GOOD = nifti(V)


def _containers() -> Iterator[tuple[str, Any, dict[str, bytes]]]:
    raw = V.tobytes(order="F")
    yield "plain.nii", GOOD, {}
    yield "plain.nii.gz", gzip.compress(GOOD), {}
    yield "stored, not packed.nii.gz", gzip.compress(GOOD, 0), {}
    yield "in two members, as of bgzip.nii.gz", gzip.compress(GOOD[:400]) + gzip.compress(GOOD[400:]), {}
    yield "big-endian.nii", nifti(V, order=">"), {}
    yield "big-endian.nii.gz", gzip.compress(nifti(V, order=">")), {}
    yield "nifti-2.nii", nifti(V, two=True), {}
    yield "nifti-2 big-endian.nii.gz", gzip.compress(nifti(V, two=True, order=">")), {}
    extension = (32).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"a comment".ljust(24, b"\0")
    head = nifti(V, vox_offset=384)[:348]
    yield "extension.nii", head + b"\1\0\0\0" + extension + raw, {}
    yield "voxels later.nii", nifti(V, vox_offset=512)[:352] + bytes(160) + raw, {}
    yield "pair.hdr", nifti(V, pair=True), {"pair.img": raw}
    yield "pair big-endian.hdr", nifti(V, pair=True, order=">"), {"pair big-endian.img": V.astype(">i2").tobytes("F")}
    yield "plain.nrrd", nrrd(V), {}
    yield "packed.nrrd", nrrd(V, encoding="gzip"), {}
    numbers = " ".join(map(str, V.ravel("F"))).encode()
    members = {"members.raw.gz": gzip.compress(raw[:100]) + gzip.compress(raw[100:])}
    yield "in two members, as of bgzip.nhdr", nrrd(V, encoding="gzip", file="members.raw.gz"), members
    yield "ascii.nhdr", nrrd(V, encoding="ascii", file="ascii nhdr.txt"), {"ascii nhdr.txt": numbers}
    yield "hex.nhdr", nrrd(V, encoding="hex", file="hex nhdr.txt"), {"hex nhdr.txt": raw.hex().encode()}
    yield "ascii.mhd", meta(V, file="ascii mhd.txt", BinaryData=False), {"ascii mhd.txt": numbers}
    late = {"late nhdr.raw": b"two\nlines\n...." + raw}
    yield "lines and bytes to skip.nhdr", nrrd(V, file="late nhdr.raw", line_skip=2, byte_skip=4), late
    yield "a header to skip.mhd", meta(V, file="late mhd.raw", HeaderSize=4), {"late mhd.raw": b"...." + raw}
    yield "the last bytes.mhd", meta(V, file="late mhd.raw", HeaderSize=-1), {}
    yield "big-endian.nrrd", nrrd(V.astype(">i2")), {}
    yield "ras.nrrd", nrrd(V, space="right-anterior-superior"), {}
    yield "detached.nhdr", nrrd(V, file="detached nhdr.raw"), {"detached nhdr.raw": raw}
    packed = {"detached nhdr.raw.gz": gzip.compress(raw)}
    yield "detached, packed.nhdr", nrrd(V, encoding="gzip", file="detached nhdr.raw.gz"), packed
    yield "plain.mha", meta(V), {}
    yield "packed.mha", meta(V, packed=True), {}
    yield "detached.mhd", meta(V, file="detached mhd.raw"), {"detached mhd.raw": raw}
    zraw = {"detached mhd.zraw": zlib.compress(raw)}
    size = {"CompressedDataSize": len(zraw["detached mhd.zraw"]), "CompressedData": True}
    yield "detached, packed.mhd", meta(V, file="detached mhd.zraw", **size), zraw


def _turned(affine: NDArray) -> NDArray:
    result = affine.copy()
    result[:3, :3] = TURNED @ affine[:3, :3]
    return result


def _geometries() -> Iterator[tuple[str, bytes, tuple[int, ...], NDArray]]:
    """Name, content, shape and affine of good files that are not plain in their geometry."""
    oblique, shear, coarse, fine, far = (PLACE.copy() for _ in range(5))
    oblique = _turned(oblique)
    shear[0, 2] = 1.5
    coarse[:3, :3] = np.diag([-0.5, -0.75, 12.0])
    fine[:3, :3] = np.diag([-0.05, -0.05, 0.1])
    far[:3, 3] = [900, -1200, 800]
    for name, affine in {"oblique": oblique, "anisotropic": coarse, "fine": fine, "far off": far}.items():
        for end, write in {"nii": nifti, "nrrd": nrrd, "mha": meta}.items():
            yield f"{name}.{end}", write(measured(affine, SHAPE).astype("<f4"), affine), SHAPE, affine
    yield "shear, sform only.nii", nifti(measured(shear, SHAPE).astype("<f4"), shear, (0, 1)), SHAPE, shear
    slanted = measured(oblique, SHAPE).astype("<f4")
    yield "qform only.nii", nifti(slanted, oblique, (1, 0)), SHAPE, oblique
    yield "sform only.nii", nifti(slanted, oblique, (0, 1)), SHAPE, oblique
    yield "sform of a template.nii", nifti(slanted, oblique, (1, 4)), SHAPE, oblique
    yield "qfac 0.nii", nifti(V, codes=(1, 0), pixdim=[0, 2, 1, 3, 0, 0, 0, 0]), SHAPE, PLACE
    left = PLACE @ np.diag([-1.0, 1, 1, 1])
    yield "left-handed, qform only.nii", nifti(measured(left, SHAPE).astype("<i2"), left, (1, 0)), SHAPE, left
    for name, unit, factor in (("metres", 1, 1000), ("microns", 3, 0.001), ("no unit", 0, 1)):
        stored = PLACE / np.array([[factor]] * 3 + [[1]])
        yield f"{name}.nii", nifti(V, stored, xyzt_units=unit), SHAPE, PLACE
    for n, stored in enumerate((Layout((2, 0, 1), (True, False, True)), Layout((1, 2, 0)), Layout((0, 2, 1)))):
        affine = stored.affine(PLACE, SHAPE)
        turned = stored.apply(V)
        yield f"order of storage {n}.nii.gz", gzip.compress(nifti(turned, affine)), turned.shape, affine
    for shape in ((12, 10, 1), (1, 12, 10), (12, 1, 10), (1, 1, 1), (7, 9), (6, 5, 4, 1), (6, 5, 4, 1, 1), (200, 3, 2)):
        voxels = measured(PLACE, shape).astype("<i4")
        yield f"of {' x '.join(map(str, shape))}.nii.gz", gzip.compress(nifti(voxels)), shape, PLACE
    yield "las.nrrd", nrrd(V, np.diag([-1.0, 1, 1, 1]) @ LPS @ PLACE, space="LAS"), SHAPE, PLACE
    for unit, factor in (("um", 0.001), ("cm", 10)):
        stored = PLACE / np.array([[factor]] * 3 + [[1]])
        yield f"in {unit}.nrrd", nrrd(V, stored, space_units=f'"{unit}" "{unit}" "{unit}"'), SHAPE, PLACE
        yield f"in {unit}.mha", meta(V, stored, DistanceUnits=unit), SHAPE, PLACE
    yield "dims beyond the last are 0.nii", nifti(V, dim=[3, *SHAPE, 0, 0, 0, 0]), SHAPE, PLACE
    yield "one slice.mha", meta(measured(PLACE, (12, 10, 1)).astype("<i2")), (12, 10, 1), PLACE


def _types() -> Iterator[tuple[str, bytes]]:
    for kind in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"):
        yield f"{np.dtype(kind).name}.nii.gz", gzip.compress(nifti(V.astype(kind)))
    for kind in ("u1", "<f4"):
        yield f"{np.dtype(kind).name}.nrrd", nrrd(V.astype(kind))
        yield f"{np.dtype(kind).name}.mha", meta(V.astype(kind))
    for slope, inter in ((0.25, -50.0), (0.5, 3.0), (-1.0, 200.0)):
        stored = ((V - inter) / slope).astype("<i2")
        yield f"slope {slope:g}, intercept {inter:g}.nii", nifti(stored, scl_slope=slope, scl_inter=inter)
    yield "slope 0, so none.nii", nifti(V, scl_slope=0, scl_inter=5)
    yield "slope NaN, so none.nii", nifti(V, scl_slope=np.nan, scl_inter=np.nan)


NAMES = [
    "UPPER CASE.NII.GZ", "Upper.Nii", "a name with spaces.nii.gz", "dots.in.it.v1.2.nii.gz", "$HOME @x %d.nii.gz",
    "com,ma;and;more.nii.gz", "new\nline.nii.gz", "心臓の画像.nii.gz", os.fsdecode(b"caf\xe9.nii.gz"),
    "'quo\"tes'.nii.gz", "-dash.nii.gz", "[brackets]*?.nii.gz", "back\\slash.nii",
    "n" * 240 + ".nii.gz", "{braces} #hash & ~.nii.gz",
]  # fmt: skip


def _cut() -> Iterator[tuple[str, bytes]]:
    packed, packed_nrrd, packed_mha = gzip.compress(GOOD), nrrd(V, encoding="gzip"), meta(V, packed=True)
    for n in (1, 100, 348, 352, 400, len(GOOD) - 1):
        yield f"cut to {n} bytes.nii", GOOD[:n]
    for n in (10, len(packed) // 4, len(packed) // 2, len(packed) - 9, len(packed) - 8, len(packed) - 1):
        yield f"cut to {n} bytes.nii.gz", packed[:n]
    yield "cut, then packed.nii.gz", gzip.compress(GOOD[:-20])
    for n in (40, len(nrrd(V)) - 100, len(nrrd(V)) - 1):
        yield f"cut to {n} bytes.nrrd", nrrd(V)[:n]
    yield "cut, packed.nrrd", packed_nrrd[:-40]
    for n in (60, len(meta(V)) - 100, len(meta(V)) - 1):
        yield f"cut to {n} bytes.mha", meta(V)[:n]
    yield "cut, packed.mha", packed_mha[:-40]


def _damaged() -> Iterator[tuple[str, bytes]]:
    packed = bytearray(gzip.compress(GOOD))
    for end in ("nii", "nii.gz", "nrrd", "mha", "mhd", "nhdr"):
        yield f"empty.{end}", b""
    for end in ("nii", "nii.gz", "nrrd", "mha"):
        yield f"a letter.{end}", b"Dear doctor,\n\nplease find attached.\n" * 30
    for name, place in (("checksum", -6), ("length", -2)):
        wrong = packed.copy()
        wrong[place] ^= 1
        yield f"wrong {name}.nii.gz", bytes(wrong)
    for n in np.linspace(20, len(packed) - 12, 8).astype(int):
        wrong = packed.copy()
        wrong[n] ^= 1 << int(n) % 8
        yield f"bit of byte {n} flipped.nii.gz", bytes(wrong)
    yield "junk after the voxels.nii", GOOD + b"junk" * 25
    yield "junk after the voxels.nii.gz", gzip.compress(GOOD + b"junk" * 25)
    yield "junk after the stream.nii.gz", bytes(packed) + b"junk" * 25
    yield "junk after the voxels.mha", meta(V) + b"junk" * 25
    yield "junk after the stream.nrrd", nrrd(V, encoding="gzip") + b"junk" * 25
    yield "junk after the stream.mha", meta(V, packed=True) + b"junk" * 25
    yield "too late by 4 bytes.nrrd", nrrd(V, byte_skip=4) + b"junk" * 25
    yield "no gzip, but named so.nii.gz", b"PK\3\4" + bytes(packed)
    picture = io.BytesIO()
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(picture, "png")
    for end in ("nii", "nii.gz", "nrrd"):
        yield f"a picture.{end}", picture.getvalue()


def _dims(*sizes: int) -> list[int]:
    return [len(sizes), *sizes, *[1] * (7 - len(sizes))]


def _pixdim(*sizes: float) -> list[float]:
    return [-1.0, *sizes, 0, 0, 0, 0]


def _headers() -> Iterator[tuple[str, bytes]]:
    floats = V.astype("<f4")
    wrong: dict[str, Mapping[str, Any]] = {
        "more slices than voxels": {"dim": _dims(6, 5, 5)}, "fewer slices than voxels": {"dim": _dims(6, 5, 3)},
        "more rows": {"dim": _dims(6, 50, 4)}, "size 0": {"dim": _dims(0, 5, 4)}, "no slice": {"dim": _dims(6, 5, 0)},
        "negative size": {"dim": _dims(6, 5, -4)}, "two negative sizes": {"dim": _dims(-6, 5, -4)},
        "0 axes": {"dim": [0, *_dims(6, 5, 4)[1:]]}, "8 axes": {"dim": [8, *_dims(6, 5, 4)[1:]]},
        "-3 axes": {"dim": [-3, *_dims(6, 5, 4)[1:]]},
        "voxels at 0": {"vox_offset": 0}, "voxels beyond the file": {"vox_offset": 100000},
        "voxels before the file": {"vox_offset": -352}, "voxels at NaN": {"vox_offset": np.nan},
        "voxels in the header": {"vox_offset": 100}, "voxels a little late": {"vox_offset": 368},
        "bad magic": {"magic": b"n-1"}, "no magic": {"magic": b""},
        "bad length of the header": {"sizeof_hdr": 0},
        "spacing NaN": {"pixdim": _pixdim(np.nan, 1, 3)}, "spacing 0": {"pixdim": _pixdim(2, 0, 3)},
        "spacing negative": {"pixdim": _pixdim(2, 1, -3)}, "spacing infinite": {"pixdim": _pixdim(2, np.inf, 3)},
        "sform NaN": {"srow_x": [np.nan, 0, 0, 0]}, "sform's origin infinite": {"srow_z": [0, 0, 3, np.inf]},
        "sform singular": {"srow_y": [-2, 0, 0, 0]}, "sform of zeros": dict.fromkeys(("srow_x", "srow_y", "srow_z"), 0),
        "sform huge": {"srow_x": [-2e20, 0, 0, 0]},
        "unknown type": {"datatype": 99}, "type 0": {"datatype": 0}, "type of one bit": {"datatype": 1, "bitpix": 1},
        "complex": {"datatype": 32, "bitpix": 64, "dim": _dims(6, 5, 2)},
        "RGB": {"datatype": 128, "bitpix": 24, "dim": _dims(4, 5, 4)},
        "8 bits of int16": {"bitpix": 8}, "32 bits of int16": {"bitpix": 32},
        "float32 said, int16 stored": {"datatype": 16},
        "no intercept": {"scl_slope": 2, "scl_inter": np.nan},
        "slope infinite": {"scl_slope": np.inf, "scl_inter": 0},
        "intercept infinite": {"scl_slope": 1, "scl_inter": np.inf},
        "140 TB": {"datatype": 16, "bitpix": 32, "dim": _dims(32767, 32767, 32767)},
        "16 GB": {"datatype": 16, "bitpix": 32, "dim": _dims(2048, 2048, 1024)},
    }  # fmt: skip
    for name, fields in wrong.items():
        yield f"{name}.nii", nifti(V, **fields)
    for name in ("fewer slices than voxels", "spacing NaN", "140 TB", "16 GB", "sform singular", "complex"):
        yield f"{name}, packed.nii.gz", gzip.compress(nifti(V, **wrong[name]))
    for name, fields in {
        "quaternion longer than 1": {"quatern_b": 0.9, "quatern_c": 0.9, "quatern_d": 0.9},
        "quaternion NaN": {"quatern_c": np.nan},
        "qform's origin NaN": {"qoffset_y": np.nan},
    }.items():
        yield f"{name}.nii", nifti(V, codes=(1, 0), **fields)
    yield "neither qform nor sform.nii", nifti(V, codes=(0, 0))
    moved = PLACE.copy()
    moved[0, 3] += 30
    yield "qform and sform 30 mm apart.nii", nifti(V, **{"srow_x": moved[0]})
    yield "qform and sform of two sides.nii", nifti(V, srow_x=-PLACE[0])
    yield "nifti-2 of more slices.nii", nifti(V, two=True, dim=_dims(6, 5, 5))
    yield "nifti-2 of 2 to the 62 voxels.nii", nifti(V, two=True, dim=_dims(1 << 31, 1 << 31, 1))
    yield "big-endian of fewer slices.nii", nifti(V, order=">", dim=_dims(6, 5, 3))
    for value in (np.nan, np.inf, -np.inf):
        some = floats.copy()
        some[3, 2, 1] = value
        yield f"{value:g} voxel.nii.gz", gzip.compress(nifti(some))
        yield f"{value:g} voxel.nrrd", nrrd(some)
    yield "nothing but NaN.nii", nifti(np.full_like(floats, np.nan))
    yield "NaN voxel.mha", meta(np.where(V.max() == V, np.nan, floats).astype("<f4"))
    yield "more slices than voxels.nrrd", nrrd(V, sizes="6 5 9")
    yield "fewer slices than voxels.nrrd", nrrd(V, sizes="6 5 2")
    yield "negative size.nrrd", nrrd(V, sizes="6 5 -4")
    yield "140 TB.nrrd", nrrd(V, sizes="32767 32767 32767")
    yield "singular.nrrd", nrrd(V, space_directions="(2,0,0) (2,0,0) (0,0,3)")
    yield "spacing NaN.nrrd", nrrd(V, space_directions="(2,0,0) (0,nan,0) (0,0,3)")
    yield "no space.nrrd", nrrd(V, space=None, space_directions=None, space_origin=None)
    for space in ("scanner-xyz", "3D-right-handed"):
        yield f"{space}.nrrd", nrrd(V, space=space)
    yield "no origin.nrrd", nrrd(V, space_origin=None)
    yield "origin NaN.nrrd", nrrd(V, space_origin="(nan,nan,nan)")
    yield "an axis of no space.nrrd", nrrd(V, space_directions="(2,0,0) none (0,0,3)")
    yield "in inches.nrrd", nrrd(V, space_units='"in" "in" "in"')
    yield "no bzip2, but named so.nrrd", nrrd(V, encoding="bzip2")
    yield "more slices than voxels.mha", meta(V, DimSize="6 5 9")
    yield "fewer slices than voxels.mha", meta(V, DimSize="6 5 2")
    yield "140 TB.mha", meta(V, DimSize="32767 32767 32767")
    yield "spacing 0.mha", meta(V, ElementSpacing="2 0 3")
    yield "spacing negative.mha", meta(V, ElementSpacing="2 1 -3")
    for offset in (None, "1 nan 2", "1 here 2", "1 2"):
        yield f"offset {offset}.mha", meta(V, Offset=offset)
    yield "no matrix.mha", meta(V, TransformMatrix=None)
    yield "matrix of other lengths.mha", meta(V, TransformMatrix="2 0 0 0 2 0 0 0 2")
    yield "singular.mha", meta(V, TransformMatrix="1 0 0 1 0 0 0 0 1")


def _elsewhere(outside: Path) -> Iterator[tuple[str, bytes, dict[str, bytes]]]:
    """Headers whose voxels lie where no header may send a reader, or nowhere, or not all."""
    raw = V.tobytes(order="F")
    sent = {"a folder up": f"../{outside.name}", "absolute": str(outside), "a pattern": "slice%03d.raw 0 3 1"}
    for name, file in sent.items():
        yield f"{name}.mhd", meta(V, file=file), {}
        yield f"{name}.nhdr", nrrd(V, file=file), {}
    slices = {f"slice{n:03d}.raw": V[..., n].tobytes(order="F") for n in range(4)}
    yield "a list.mhd", meta(V, file="LIST\n" + "\n".join(slices)), slices
    yield "a list.nhdr", nrrd(V, file="LIST\n" + "\n".join(slices)).rstrip() + b"\n", {}
    yield "nowhere.mhd", meta(V, file="nowhere.raw"), {}
    yield "nowhere.nhdr", nrrd(V, file="nowhere.raw"), {}
    yield "itself.mhd", meta(V, file="itself.mhd"), {}
    for n, content in (("short", raw[:-1]), ("half", raw[: len(raw) // 2]), ("long", raw + b"junk" * 25)):
        yield f"{n}.mhd", meta(V, file=f"{n} mhd.raw"), {f"{n} mhd.raw": content}
        yield f"{n}.nhdr", nrrd(V, file=f"{n} nhdr.raw"), {f"{n} nhdr.raw": content}
        yield f"{n}.hdr", nifti(V, pair=True), {f"{n}.img": content}
    yield "alone.hdr", nifti(V, pair=True), {}
    yield "analyze.hdr", nifti(V, pair=True, codes=(0, 0), magic=b""), {"analyze.img": raw}


def make(folder: Path) -> list[File]:
    """Write all of them into ``folder``; what some of them point to lies beside it."""
    folder.mkdir(parents=True)
    outside = folder.parent / "outside.raw"
    outside.write_bytes(V.tobytes(order="F"))
    found: list[File] = []

    def add(category: str, name: str, content: bytes, good: bool, *where: Any, **more: Any) -> None:
        path = folder / name
        assert not path.exists(), f"{name!r} is there twice"
        path.write_bytes(content)
        shape, affine = where or (SHAPE, PLACE)
        found.append(File(path, category, good, tuple(shape), affine.tolist() if good else None, **more))

    def beside(files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)

    for name, content, others in _containers():
        add("containers", name, content, True)
        beside(others)
    for name, content, shape, affine in _geometries():
        add("geometry", name, content, True, shape, affine)
    for name, content in _types():
        add("types", name, content, True)
    for name in NAMES:
        add("names", name, gzip.compress(GOOD) if name.lower().endswith("gz") else GOOD, True)
    for category, files in {"truncated": _cut(), "damaged": _damaged(), "headers": _headers()}.items():
        for name, content in files:
            add(category, name, content, False)
    two = np.stack([V, V + 1], -1)
    add("headers", "two frames.nii.gz", gzip.compress(nifti(two)), False, segmented=False)
    add("headers", "two frames, swapped.nii", nifti(np.stack([V] * 2, -1)), False, segmented=False)
    for name, content, others in _elsewhere(outside):
        add("detached", name, content, False)
        beside(others)
    add("bombs", "a little scan and zeros.nii.gz", bomb(GOOD, 1 << 30), False)
    found += _no_files(folder)
    return found


def _no_files(folder: Path) -> Iterator[File]:
    """What is no plain file: links, folders, pipes."""
    target = folder.parent / "target.nii.gz"
    target.write_bytes(gzip.compress(GOOD))
    links: dict[str, Callable[[Path], Any]] = {
        "dangling link.nii.gz": lambda path: path.symlink_to("nothing.nii.gz"),
        "link to itself.nii.gz": lambda path: path.symlink_to(path.name),
        "folder.nii.gz": lambda path: path.mkdir(),
        "pipe.nii": lambda path: os.mkfifo(path),
    }
    (folder / "link.nii.gz").symlink_to(target)
    yield File(folder / "link.nii.gz", "links", True, SHAPE, PLACE.tolist())
    for name, create in links.items():
        create(folder / name)
        yield File(folder / name, "links", False, segmented="link" in name)
    if os.geteuid():  # root reads everything
        path = folder / "unreadable.nii.gz"
        path.write_bytes(gzip.compress(GOOD))
        path.chmod(0)
        yield File(path, "links", False)
