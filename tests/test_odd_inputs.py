"""Odd files, folders and texts by somebody who did not write the readers: each is read right, or refused in one line.

Each table has a name, what is given, and words of the refusal; where there are none, it has to be read right.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.card import CARD
from acdc_semicycle.data import check, splits
from acdc_semicycle.datasets import acdc, folder, voc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.evaluation import compare
from acdc_semicycle.imageio import dicom_series, volumes
from acdc_semicycle.imageio.pictures import intensities, read_picture
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError
from tests.imageio import scan_files
from tests.imageio.dicom_files import GRID, element, slice_file
from tests.imageio.picture_files import segment

SHAPE = (20, 24, 5)
VOXELS = (np.indices(SHAPE).sum(0) * 7 + np.random.default_rng(0).integers(0, 90, SHAPE)).astype("<i2")
PLACE = np.array([[-1.5, 0, 0, 40], [0, -1.25, 0, 30], [0, 0, 8, -20], [0, 0, 0, 1]])
NFC, NFD = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))


def refused(call: Callable[[], Any], path: Path, words: str) -> None:
    """Or read, where there are no words."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert words in text and str(path) in text and "\n" not in text, text


# scans


def nifti(voxels: np.ndarray = VOXELS, codes: tuple[int, int] = (1, 1), extension: bytes = bytes(4), **fields) -> bytes:
    """A .nii, field by field, by no library's writer."""
    types = {"<i2": (4, 16), "|u1": (2, 8), "<f4": (16, 32), "<f8": (64, 64), "<c16": (1792, 128), "<u8": (1280, 64)}
    datatype, bits = types[voxels.dtype.str]
    head = bytearray(348)
    values: dict[str, Any] = {
        "dim": [voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim)], "datatype": datatype, "bitpix": bits,
        "pixdim": [1, 1.5, 1.25, 8, 0.05, 0, 0, 0], "vox_offset": 348 + len(extension), "scl_slope": 0, "scl_inter": 0,
        "xyzt_units": 10, "qform_code": codes[0], "sform_code": codes[1], "quaternion": [0, 0, 1],
        "qoffset": [40, 30, -20], "srow": PLACE[:3].ravel().tolist(), "magic": b"n+1\0",
    } | fields  # fmt: skip
    forms = {
        "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
        "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "slice_code": (122, "B"),
        "xyzt_units": (123, "B"), "cal_max": (124, "f"), "cal_min": (128, "f"), "slice_duration": (132, "f"),
        "toffset": (136, "f"), "qform_code": (252, "h"), "sform_code": (254, "h"), "quaternion": (256, "3f"),
        "qoffset": (268, "3f"), "srow": (280, "12f"), "magic": (344, "4s"), "dim_info": (39, "B"),
    }  # fmt: skip
    struct.pack_into("<i", head, 0, 348)
    for name, value in values.items():
        at, form = forms[name]
        struct.pack_into(f"<{form}", head, at, *(value if isinstance(value, list) else [value]))
    return bytes(head) + extension + voxels.tobytes(order="F")


def extended(*extensions: tuple[int, bytes]) -> bytes:
    parts = [struct.pack("<ii", size, 6) + body for size, body in extensions]
    return b"\1\0\0\0" + b"".join(parts)


RGBA = np.zeros((*SHAPE[:2], 10), "<i2")
NEAR_2_TO_63 = VOXELS.astype("<u8") + np.uint64(2**63)
SCANS: dict[str, tuple[bytes, str]] = {
    "an extension of no size.nii": (nifti(extension=extended((0, bytes(24)))), ""),
    "two extensions.nii": (nifti(extension=extended((16, bytes(8)), (16, bytes(8)))), ""),
    "an extension of garbage.nii": (nifti(extension=b"\1\0\0\0" + b"\xff" * 28), ""),
    "sizes of -1 beyond the third.nii": (nifti(dim=[3, *SHAPE, -1, -1, -1, -1]), ""),
    "window of nothing.nii": (nifti(cal_min=5000, cal_max=1), ""),
    "a time of NaN.nii": (nifti(toffset=np.nan, slice_duration=np.nan, slice_code=99, dim_info=255), ""),
    "said to be labels.nii": (nifti(intent_code=1002), ""),
    "a name of two endings.nii.nii.gz": (gzip.compress(nifti()), ""),
    " (1) .nii.gz": (gzip.compress(nifti()), ""),
    f"{NFC}.nii": (nifti(), ""),
    f"{NFD}.nii": (nifti(), ""),
    "case.nii": (nifti(), ""),
    "Case.nii": (nifti(), ""),
    "CASE.NII": (nifti(), ""),
    "deeper/" * 30 + "scan.nii": (nifti(), ""),
    "three numbers a voxel.nii": (nifti(np.stack([VOXELS] * 3, -1)[..., None, :], intent_code=1007), "has shape"),
    "frames along the fifth axis.nii": (nifti(np.stack([VOXELS] * 4, -1)[..., None, :]), "has shape"),
    "quadruple precision.nii": (nifti(datatype=1536, bitpix=128), "1536 (float128)"),
    "colours and alpha.nii": (nifti(RGBA, dim=[3, *SHAPE, 1, 1, 1, 1], datatype=2304, bitpix=32), "('A', 'u1')]"),
    "complex numbers.nii": (nifti(VOXELS.astype("<c16")), "holds complex128 voxels"),
    "beside 2 to the 63.nii": (nifti(NEAR_2_TO_63), "single precision cannot represent"),
    "an intercept of 1e9.nii": (nifti(scl_slope=1, scl_inter=1e9), "single precision cannot represent"),
    "denormal numbers.nii": (nifti((VOXELS * 1e-42).astype("<f4")), "single precision cannot represent"),
    "spacing 0 under an sform.nii": (nifti(codes=(0, 1), pixdim=[1.0] + [0.0] * 7), "spacing of 0 x 0 x 0"),
    "spacing -1.25 under an sform.nii": (nifti(codes=(0, 1), pixdim=[1, 1.5, -1.25, 8, 0, 0, 0, 0]), "1.5 x -1.25 x 8"),
    "sform_code 9.nii": (nifti(sform_code=9), "unknown sform_code 9"),
    "a mark in capitals.nii": (nifti(magic=b"N+1\0"), "has no NIfTI mark"),
    "packed twice.nii.gz": (gzip.compress(gzip.compress(nifti())), "not in NIfTI format"),
    "packed by bzip2.nii.gz": (bz2.compress(nifti()), "not in NIfTI format"),
    "a page of a web site.nii.gz": (b"<!DOCTYPE html><html>404</html>" * 20, "not in NIfTI format"),
    "a pointer of Git LFS.nii.gz": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "NIfTI format"),
}  # fmt: skip
RAW = scan_files.VOXELS.tobytes("F")
NRRD: dict[str, tuple[dict[str, Any], str]] = {
    "a measurement frame": ({"measurement frame": "(1,0,0) (0,1,0) (0,0,1)"}, ""),
    "RAS in short": ({"space": "LPS"}, ""),
    "a field in capitals": ({"encoding": None, "ENCODING": "RAW"}, ""),
    "sizes between tabs": ({"sizes": "5\t4\t3"}, ""),
    "colons in its content": ({"content": "a: b: c"}, ""),
    "an old range": ({"old min": "0", "old max": "1"}, ""),
    "nodes": ({"centers": "node node node"}, ""),
    "thicknesses": ({"thicknesses": "nan nan 9"}, ""),
    "64 bits of 16": ({"type": "unsigned long long int"}, "is truncated: 120 bytes, not 480"),
}
META: dict[str, tuple[dict[str, Any], str]] = {
    "an orientation in letters": ({"AnatomicalOrientation": "RAI"}, ""),
    "a size of elements": ({"ElementSize": "9 9 9"}, ""),
    "a centre": ({"CenterOfRotation": "1 2 3"}, ""),
    "signs in a comment": ({"Comment": "a = b = c"}, ""),
    "one order twice": ({"BinaryDataByteOrderMSB": "False", "ElementByteOrderMSB": "False"}, ""),
    "a header's size": ({"HeaderSize": "0"}, ""),
    "binary, said to be text": ({"BinaryData": "False"}, "is truncated, damaged or not in MHA format"),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_nifti_is_read_right_or_refused(tmp_path, name):
    content, words = SCANS[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if words:
        refused(lambda: volumes.read(path), path, words)
        return
    volume = volumes.read(path)
    np.testing.assert_array_equal(volume.voxels[..., 0], VOXELS)
    np.testing.assert_allclose(volume.affine, PLACE)


@pytest.mark.parametrize(("ending", "name"), [("nrrd", name) for name in NRRD] + [("mha", name) for name in META])
def test_an_nrrd_or_a_metaimage_is_read_right_or_refused(tmp_path, ending, name):
    fields, words = NRRD[name] if ending == "nrrd" else META[name]
    path = scan_files.with_fields(tmp_path / f"scan.{ending}", fields)
    if words:
        refused(lambda: volumes.read(path), path, words)
        return
    volume, plain = volumes.read(path), volumes.read(scan_files.with_fields(tmp_path / f"plain.{ending}", {}))
    np.testing.assert_array_equal(volume.voxels[..., 0], scan_files.VOXELS)
    np.testing.assert_array_equal(volume.affine, plain.affine)


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_lines_that_windows_ends_are_lines(tmp_path, ending):
    plain = scan_files.with_fields(tmp_path / f"plain.{ending}", {})
    head = plain.read_bytes()[: -len(RAW)]
    (tmp_path / f"scan.{ending}").write_bytes(head.replace(b"\n", b"\r\n") + RAW)
    np.testing.assert_array_equal(volumes.read(tmp_path / f"scan.{ending}").voxels[..., 0], scan_files.VOXELS)


# DICOM


def number(value: int) -> tuple[str, bytes]:
    return "US", struct.pack("<H", value)


def text(value: str, kind: str = "DS") -> tuple[str, bytes]:
    return kind, value.encode() + b" " * (len(value) % 2)


EIGHT = {"g0028_0100": number(8), "g0028_0101": number(8), "g0028_0102": number(7), "g0028_0103": number(0)}
SERIES: dict[str, tuple[dict[str, Any], str]] = {  # elements of each of four files, and words of the refusal
    "odd_lengths": ({"g0020_0013": ("IS", b"101")}, ""),
    "no_numbers": ({"g0020_0013": None}, ""),
    "no_series_uid": ({"g0020_000e": None}, ""),
    "no_such_letters": ({"g0008_0005": text("ISO_IR 999", "CS"), "g0010_0010": ("PN", b"M\xfcller")}, ""),
    "a_negative_distance": ({"g0018_0088": text("-8")}, ""),
    "a_distance_that_lies": ({"g0018_0088": text("80")}, ""),
    "a_wrong_length_of_a_group": ({"g0008_0000": ("UL", struct.pack("<I", 9999))}, ""),
    "minus_zero": ({"g0020_0037": text("1\\-0\\0\\-0\\1\\-0")}, ""),
    "spacing_of_the_detector": ({"g0028_0030": None, "g0018_1164": text("2\\1")}, "has no spacing"),
    "one_spacing": ({"g0028_0030": text("2")}, "has no spacing"),
    "three_spacings": ({"g0028_0030": text("2\\1\\8")}, "has no spacing"),
    "no_rows": ({"g0028_0010": number(0)}, "is truncated, damaged or empty"),
    "17_of_16_bits": ({"g0028_0101": number(17), "g0028_0102": number(16)}, "17 of 16 bits are used"),
    "a_gap_in_its_bits": ({"g0028_0101": number(12), "g0028_0102": number(10)}, "the highest being 10"),
    "a_sign_of_2": ({"g0028_0103": number(2)}, "16 of 16 bits are used"),
    "a_long_orientation": ({"g0020_0037": text("2\\0\\0\\0\\2\\0")}, "impossible orientation"),
    "two_numbers_of_a_place": ({"g0020_0032": text("0\\8")}, "has no position"),
    "a_comma_in_its_place": ({"g0020_0032": text("0,5\\0\\8")}, "has no position"),
    "two_slopes": ({"g0028_1053": text("1\\2"), "g0028_1052": text("0")}, "RescaleSlope"),
    "a_palette": ({"g0028_0004": text("PALETTE COLOR", "CS")}, "is a colour image"),
    "luma_and_chroma": ({"g0028_0004": text("YBR_FULL", "CS")}, "is a colour image"),
}
SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {  # what is done to the bytes of each file
    "two_numbers_of_rows": (
        lambda content: content.replace(ROWS, ROWS + element(0x00280010, *number(3))),
        "is truncated, damaged or empty",
    ),
    "the_same_rows_twice": (lambda content: content.replace(ROWS, ROWS * 2), ""),
    "rows_after_the_pixels": (lambda content: content.replace(ROWS, b"") + ROWS, "is truncated, damaged or empty"),
    "a_byte_at_its_end": (lambda content: content + b"\0", ""),
    "words_at_its_end": (lambda content: content + b"garbage here", "is truncated, damaged or empty"),
}
ROWS = element(0x00280010, *number(6))


def series(home: Path, elements: dict[str, Any], spoil: Callable[[bytes], bytes] = bytes, step: float = 8) -> Path:
    home.mkdir(parents=True)
    for k in range(4):
        more = {"g0020_0032": text(f"0\\0\\{step * k:g}"), "g0020_000d": ("UI", b"1.2.7\0")} | elements
        pixels = (GRID + 100 * k).astype("<i2").tobytes()
        (home / f"IM{k}").write_bytes(spoil(slice_file(k, pixels=pixels, **more)))
    return home


@pytest.mark.parametrize("name", [*SERIES, *SPOILT])
def test_a_dicom_series_is_read_right_or_refused(tmp_path, name):
    if name in SERIES:
        elements, words = SERIES[name]
        home = series(tmp_path / name, elements)
    else:
        spoil, words = SPOILT[name]
        home = series(tmp_path / name, {}, spoil)
    if words:
        refused(lambda: volumes.read(home), home, words)
        return
    voxels = volumes.read(home).voxels[..., 0]
    np.testing.assert_array_equal(voxels, np.stack([(GRID + 100 * k).T for k in range(4)], -1))


def test_what_lies_beside_a_series_is_none_of_it(tmp_path):
    home = series(tmp_path / "in", {})
    directory = bytes(128) + b"DICM" + element(0x00020002, "UI", b"1.2.840.10008.1.3.10")
    beside = {"DICOMDIR": directory, "Thumbs.db": b"\xd0\xcf\x11\xe0", ".DS_Store": b"", "report.pdf": b"%PDF-1.4"}
    for name, content in beside.items():
        (home / name).write_bytes(content)
    assert volumes.read(home).voxels.shape == (8, 6, 4, 1)


@pytest.mark.parametrize(("step", "doubt"), [(24, None), (25, "its slices of 8 mm lie 25 mm apart: no volume in ml")])
def test_slices_far_apart_make_no_volume(tmp_path, step, doubt):
    """As of three slices for T1 maps: what is between them was not scanned."""
    for further in ({}, {"g0018_0088": text(str(step))}):
        home = series(tmp_path / f"{len(further)}", further, step=step)
        said = volumes.read(home).spacing_fault
        assert said is None if doubt is None else said.startswith(doubt)
    (listed,) = Scans(tmp_path / "0", tmp_path / "out", CARD).listed
    assert isinstance(listed.source, dicom_series.Series) and listed.fault is None


# pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (18, 30, 3)).astype(np.uint8)
GREY = PIXELS[..., 0]


def saved(kind: str, picture: Image.Image | np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, kind, **options)
    return stream.getvalue()


def tiff(pixels: np.ndarray, meaning: int, bits: int, sign: int = 1) -> bytes:
    """An uncompressed TIFF; its ``meaning`` is 0 where 0 is white."""
    raw = pixels.tobytes()
    tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: bits, 259: 1, 262: meaning, 273: 8, 277: 1}
    tags |= {278: pixels.shape[0], 279: len(raw), 339: sign}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<I", 8 + len(raw))
    return head + raw + struct.pack("<H", len(tags)) + entries + bytes(4)


def top_down() -> bytes:
    content = bytearray(saved("BMP", GREY))
    struct.pack_into("<i", content, 22, -18)
    return bytes(content)


def colours_of_16_bits() -> bytes:
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS.astype(">u2") * 257)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 30, 18, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    body = b""
    for name, data in chunks.items():
        body += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + body


COLOURS = Image.fromarray(PIXELS)
TURNED_BY_200 = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, 200, 0)
WIDE = GREY.astype("<u2") * 257
PICTURES: dict[str, tuple[bytes, Any]] = {  # the pixels as three channels, or words of the refusal
    "cmyk.tif": (saved("TIFF", COLOURS.convert("CMYK")), PIXELS),
    "LZW.tif": (saved("TIFF", COLOURS, compression="tiff_lzw"), PIXELS),
    "of 64 bits.tif": (saved("TIFF", COLOURS, big_tiff=True), PIXELS),
    "one pixel.png": (saved("PNG", PIXELS[:1, :1]), PIXELS[:1, :1]),
    "one row.png": (saved("PNG", PIXELS[:1]), PIXELS[:1]),
    "one column.png": (saved("PNG", PIXELS[:, :1]), PIXELS[:, :1]),
    "one bit.png": (saved("PNG", GREY > 128), np.where(GREY > 128, 255, 0)[..., None].repeat(3, -1)),
    "a transparent number.png": (saved("PNG", COLOURS.convert("L").convert("P"), transparency=3), None),
    "upside down.bmp": (top_down(), GREY[::-1, :, None].repeat(3, -1)),
    "colours of 16 bits.png": (colours_of_16_bits(), PIXELS),
    "signed.tif": (tiff(GREY.astype("<i2") - 128, 1, 16, 2), GREY[..., None].repeat(3, -1) - 128.0),
    "8 bits, white is 0.tif": (tiff(GREY, 0, 8), 255 - GREY[..., None].repeat(3, -1)),
    "a profile of nothing.png": (saved("PNG", COLOURS, icc_profile=bytes(200)), PIXELS),
    "a#?% name.png": (saved("PNG", COLOURS), PIXELS),
    "turned by 200.png": (saved("PNG", COLOURS, exif=TURNED_BY_200), PIXELS),
    "lab.tif": (saved("TIFF", Image.frombytes("LAB", (30, 18), PIXELS.tobytes())), "holds LAB pixels: convert it"),
    "16 bits, white is 0.tif": (tiff(WIDE, 0, 16), "is a negative, white where its pixels are 0"),
    "of a telephone.jpg": (saved("MPO", COLOURS, save_all=True, append_images=[COLOURS]), "has 2 pages"),
    "animated.webp": (saved("WEBP", COLOURS, save_all=True, append_images=[COLOURS.rotate(180)]), "has 2 pages"),
    "HEIC.jpg": (b"\0\0\0\x18ftypheic" + bytes(100), "not a picture"),
    "JPEG 2000.png": (saved("JPEG2000", COLOURS), "not a picture"),
    "a note of garbage.png": (saved("PNG", COLOURS, exif=b"Exif\0\0garbage"), "not a picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_picture_is_read_right_or_refused(tmp_path, name):
    content, expected = PICTURES[name]
    path = tmp_path / name
    path.write_bytes(content)

    def read() -> np.ndarray:
        return intensities(path, read_picture(path), 3)

    if isinstance(expected, str):
        refused(read, path, expected)
    elif expected is not None:
        np.testing.assert_array_equal(read(), expected)


# predictions of all of them, each of which costs a line at most


def model(home: Path, channels: int) -> Path:
    """A small network of scans or of pictures, not trained."""
    card: dict[str, Any] = {"filters": 2, "blocks": 1, "image_size": [24, 32]}
    if channels == 3:
        card |= {"in_channels": 3, "intensity_range": None, "pictures": True, "colours": voc.COLOURS}
        card |= {"classes": list(voc.CLASSES), "dataset": "voc"}
    torch.manual_seed(0)
    path = home / "models" / "model.pt"
    weights.save(path, ResidualGenerator(channels, 21 if channels == 3 else 4, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def predicted(home: Path, channels: int) -> dict[str, str]:
    """What became of each scan below ``in``: nothing where it has a label map, else the reason."""
    with pytest.raises(RuntimeError):  # some are refused
        segment(home / "in", home / "out", model(home, channels))
    manifest = json.loads((home / "out" / "predictions.json").read_text())
    ended = {failure["scan"]: failure["reason"] for failure in manifest["failures"]}
    for case in manifest["cases"]:
        assert (home / "out" / case["mask"]).is_file()
        ended[case["scan"]] = ""
    return {str(Path(scan).relative_to(home / "in")): reason for scan, reason in ended.items()}


@pytest.mark.slow
def test_of_odd_scans_in_one_folder_each_good_one_gets_its_label_map(tmp_path):
    for name, (content, _) in SCANS.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, (elements, _) in SERIES.items():
        series(tmp_path / "in" / name, elements)
    expected = {name: words for table in (SCANS, SERIES) for name, (_, words) in table.items()}
    ended = predicted(tmp_path, 1)
    assert ended.keys() == expected.keys()
    for name, words in expected.items():
        assert bool(ended[name]) == bool(words) and words in ended[name], (name, ended[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_of_odd_pictures_in_one_folder_each_good_one_gets_its_label_map(tmp_path):
    """A LAB picture once ended the run with a traceback, and all behind it had none."""
    (tmp_path / "in").mkdir()
    for name, (content, _) in PICTURES.items():
        (tmp_path / "in" / name).write_bytes(content)
    ended = predicted(tmp_path, 3)
    assert ended.keys() == PICTURES.keys()
    for name, (_, expected) in PICTURES.items():
        words = expected if isinstance(expected, str) else ""
        assert bool(ended[name]) == bool(words) and words in ended[name], (name, ended[name])


# masks

DRAWN = np.zeros((18, 30), np.uint8)
DRAWN[3:9, 4:20] = 1
MASKS: dict[str, tuple[bytes, str]] = {
    "of one bit.png": (saved("PNG", DRAWN > 0), ""),
    "of floats.tif": (saved("TIFF", DRAWN.astype(np.float32)), ""),
    "of 32 bits.tif": (saved("TIFF", DRAWN.astype(np.int32)), ""),
    "of one pixel.png": (saved("PNG", (np.arange(540).reshape(18, 30) == 77).astype(np.uint8)), ""),
    "of almost 1.tif": (saved("TIFF", DRAWN * np.float32(0.9999999)), "holds the label 0.99999"),
    "of 257.png": (saved("PNG", DRAWN.astype(np.uint16) * 257), "holds the label 257"),
    "drawn in alpha.png": (saved("PNG", np.dstack([DRAWN * 0] * 3 + [DRAWN * 255])), "holds the colour (0, 0, 0)"),
    "of two bands.png": (saved("PNG", np.dstack([DRAWN, DRAWN * 0 + 255])), "is a LA picture"),
    "of inks.tif": (saved("TIFF", Image.fromarray(np.dstack([DRAWN] * 3)).convert("CMYK")), "is a CMYK picture"),
}  # fmt: skip


def test_masks_of_odd_kinds_are_checked(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for n, (name, (content, _)) in enumerate(MASKS.items()):
        pixels = np.random.default_rng(n).integers(0, 256, (18, 30, 3)).astype(np.uint8)
        (tmp_path / "images" / name).with_suffix(".png").write_bytes(saved("PNG", pixels))
        (tmp_path / "masks" / name).write_bytes(content)
    found = check.check(tmp_path / "images", tmp_path / "masks", progress=iter)
    faults = {finding.path.name: finding.text for finding in found if finding.severity == "fault"}
    assert faults.keys() == {name for name, (_, words) in MASKS.items() if words}
    for name, text in faults.items():
        assert MASKS[name][1] in text


def test_a_name_is_the_same_in_both_forms_of_unicode(tmp_path):
    """macOS writes an accent as a character of its own; files from there meet masks from elsewhere."""
    for name in (f"images/{NFC}.png", f"masks/{NFD}_mask.png", "images/b.png", "masks/b.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved("PNG", DRAWN))
    records = folder.records(tmp_path / "images", tmp_path / "masks")
    assert {record.label for record in records} == {tmp_path / "masks" / "b.png", tmp_path / f"masks/{NFD}_mask.png"}
    (tmp_path / "list.txt").write_text(f"{NFD}\nb\n", encoding="utf-8")
    assert set(splits.split(records, 1.0, train_list=tmp_path / "list.txt").labelled) == {NFC, "b"}
    for name in (f"tool/{NFD}_seg.nii.gz", f"truth/{NFC}_gt.nii.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(nifti((VOXELS > 200).astype("u1"))))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [case["dice"]["mean"] for case in content["cases"]] == [1]


# evaluations


def label_map(path: Path, voxels: np.ndarray, **fields) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(nifti(voxels, **fields)))
    return path


LABELS = np.digitize(VOXELS, [100, 200, 280]).astype("u1")
ONE = np.zeros(SHAPE, "u1")
ONE[5, 5, 2] = 1
PAIRS: dict[str, tuple[np.ndarray, np.ndarray, Any]] = {  # predicted and true; the mean Dice, or words of the refusal
    "floats and bytes": (LABELS.astype("<f8"), LABELS, 1),
    "axes of one": (LABELS[..., None], LABELS[..., None, None], 1),
    "nothing in both": (LABELS * 0, LABELS * 0, None),
    "a voxel each, side by side": (np.roll(ONE, 1, 0), ONE, 0),
    "probabilities": ((LABELS / 3).astype("<f4"), LABELS, "numbers that are not whole"),
    "the scan itself": (VOXELS, LABELS, "holds the label"),
    "labels times 85": (LABELS * np.uint8(85), LABELS, "holds the label 85"),
    "a layer a class": (np.stack([k == LABELS for k in range(4)], -1).astype("u1"), LABELS, "has 4 frames"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_label_map_is_scored_or_refused(tmp_path, name):
    predicted_labels, true_labels, expected = PAIRS[name]
    paths = []
    for part, voxels in (("tool", predicted_labels), ("truth", true_labels)):
        paths.append(label_map(tmp_path / part / "x.nii.gz", voxels))
    if isinstance(expected, str):
        refused(lambda: compare.compare([tmp_path / "tool"], tmp_path / "truth"), paths[0], expected)
    else:
        (case,) = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
        assert case["dice"]["mean"] == expected


@pytest.mark.parametrize("how", ["one folder", "one file", "a link"])
def test_a_label_map_that_is_scored_against_itself_is_named(tmp_path, how):
    """That gave Dice 1 for everything, in silence."""
    truth = label_map(tmp_path / "truth" / "x.nii.gz", LABELS)
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "x.nii.gz").symlink_to(truth)
    linked = tmp_path / "tool"
    both = {"one folder": [truth.parent] * 2, "one file": [truth] * 2, "a link": [linked, truth.parent]}
    tool, other = both[how]
    content = compare.compare([tool], other)
    file = linked / "x.nii.gz" if how == "a link" else truth
    note = f"scored against itself: 1 label map, e.g. {file}: give other predictions, or another truth"
    assert note in content["notes"] and content["cases"][0]["dice"]["mean"] == 1


@pytest.mark.parametrize("names", [["a", "", "b", "c"], ["a", " ", "b", "c"]])
def test_a_class_has_a_name(tmp_path, names):
    label_map(tmp_path / "tool" / "x.nii.gz", LABELS), label_map(tmp_path / "truth" / "x.nii.gz", LABELS)
    with pytest.raises(InputError, match="give 2 to 255 names, each once, background first"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth", names)


# texts

INFO: dict[str, tuple[bytes, str]] = {
    "lines of Windows": (b"ED: 1\r\nES: 10\r\n", ""),
    "lines of old Macs": (b"ED: 1\rES: 10\r", ""),
    "one phase twice, alike": (b"ED: 1\nES: 10\nED: 01\n", ""),
    "zeros before": (b"ED: 01\nES: 010\n", ""),
    "blanks and tabs": (b"   ED :\t1   \nES:10", ""),
    "a blank that does not break": ("ED:\u00a01\nES:\u00a010\n".encode(), ""),
    "one phase twice": (b"ED: 1\nES: 10\nED: 7\n", "names two frames as one phase"),
    "UTF-16": ("ED: 1\nES: 10\n".encode("utf-16"), "has no line 'ED: N'"),
    "small letters": (b"ed: 1\nes: 10\n", "has no line 'ED: N'"),
    "fractions": (b"ED: 1.0\nES: 10.0\n", "has no line 'ED: N'"),
    "a negative frame": (b"ED: -1\nES: 10\n", "has no line 'ED: N'"),
    "a comment in a line": (b"ED: 1 # first\nES: 10\n", "has no line 'ED: N'"),
    "zeros of a full disk": (bytes(100), "has no line 'ED: N'"),
}
LISTS: dict[str, tuple[bytes, str]] = {  # of p1 and p2
    "lines of Windows": (b"p1\r\np2\r\n", ""),
    "lines of old Macs": (b"p1\rp2\r", ""),
    "blanks around": (b"  p1  \n\tp2\n\n", ""),
    "a blank that does not break": ("p1\u00a0\np2".encode(), ""),
    "nothing": (b"", "names no patient"),
    "empty lines": (b"\n \n", "names no patient"),
    "UTF-16": ("p1\np2\n".encode("utf-16"), "cannot be read"),
    "commas": (b"p1,p2\n", "lists p1,p2, not in the data set"),
    "quotes": (b'"p1"\n', 'lists "p1", not in the data set'),
    "a comment": (b"# mine\np1\np2\n", "lists # mine, not in the data set"),
    "files": (b"p1.nii.gz\n", "lists p1.nii.gz, not in the data set"),
    "capitals": (b"P1\n", "lists P1, not in the data set"),
}


@pytest.mark.parametrize("name", INFO)
def test_an_info_is_read_right_or_refused(tmp_path, name):
    content, words = INFO[name]
    (tmp_path / "Info.cfg").write_bytes(content)
    if words:
        refused(lambda: acdc.frames(tmp_path), tmp_path / "Info.cfg", words)
    else:
        assert acdc.frames(tmp_path) == {"ED": 1, "ES": 10}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_patients_is_read_right_or_refused(tmp_path, name):
    content, words = LISTS[name]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    records = [Record(patient, patient, Path(f"{patient}.png"), Path(f"{patient}_gt.png")) for patient in ("p1", "p2")]
    if words:
        refused(lambda: splits.split(records, 1.0, train_list=path), path, words)
    else:
        assert splits.split(records, 1.0, train_list=path).labelled == ("p1", "p2")
