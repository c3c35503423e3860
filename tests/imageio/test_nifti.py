"""A NIfTI, NRRD or MetaImage file is what its header says, or is refused in one line before anything is allocated."""

import bz2
import gzip
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from acdc_semicycle.imageio import nrrd_meta, volumes
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError

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


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)


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


# offsets: dim 40, datatype 70, bitpix 72, pixdim 76, vox_offset 108, slope 112, units 123, codes 252, quaternion 256,
# srow 280
BAD = {
    "cut in the voxels": (lambda raw: raw[:-1], "is truncated: 471 bytes, not 472"),
    "cut in the header": (lambda raw: raw[:300], "truncated"),
    "empty": (lambda raw: b"", "no NIfTI"),
    "text": (lambda raw: b"not an image, but long enough to hold a header " * 20, "no NIfTI"),
    "something behind": (lambda raw: raw + b"\0" * 8, "longer than its header says"),
    "a larger shape": (patched(42, "<h", 6), "truncated"),
    "a smaller shape": (patched(42, "<h", 4), "longer"),
    "no slices": (patched(46, "<h", 0), "has the shape"),
    "a negative side": (patched(44, "<h", -4), "has the shape"),
    "nine axes": (patched(40, "<h", 9), "has the shape"),
    "280 TB": (patched(40, "<8h", 7, *[32767] * 3, 4, 1, 1, 1), "more than 1,073,741,824"),
    "4 GB": (patched(42, "<3h", 1600, 1000, 600), "truncated"),
    "an unknown type": (patched(70, "<h", 77), "unknown data type 77"),
    "one bit a voxel": (patched(70, "<2h", 1, 1), "data type 1 .binary.*: convert it to one of whole or real numbers"),
    "quadruple precision": (patched(70, "<2h", 1536, 128), "data type 1536 .float128.*: convert it"),
    "other bits": (patched(72, "<h", 8), "int16 voxels of 8 bits"),
    "colours": (patched(70, "<2h", 128, 24), "truncated"),
    "voxels in the header": (patched(108, "<f", 0), "first voxel at byte 0"),
    "voxels beyond": (patched(108, "<f", 1e6), "truncated"),
    "voxels at NaN": (patched(108, "<f", float("nan")), "first voxel at byte nan"),
    "half a byte": (patched(108, "<f", 352.5), "first voxel"),
    "another mark": (patched(344, "<4s", b"nope"), "no NIfTI mark"),
    "the mark of a pair": (patched(344, "<4s", b"ni1\0"), "no NIfTI mark|no NIfTI"),
    "an infinite slope": (patched(112, "<2f", float("inf"), 0), "slope inf and the intercept 0"),
    "a slope below all": (patched(112, "<2f", float("-inf"), 0), "slope -inf"),
    "an infinite intercept": (patched(112, "<2f", 1, float("inf")), "slope 1 and the intercept inf"),
    "no intercept": (patched(112, "<2f", 2, float("nan")), "slope 2 and the intercept nan"),
    "no spacing": (patched(80, "<f", 0), "spacing of 0 x 2|spacing of 0 x 1.5"),
    "spacing below zero": (patched(88, "<f", -9), "spacing of"),
    "spacing of NaN": (patched(84, "<f", float("nan")), "spacing of"),
    "an sform of NaN": (patched(280, "<f", float("nan")), "no usable affine"),
    "neither form": (patched(252, "<2h", 0, 0), "does not say where it lies"),
    "an unknown form": (patched(254, "<h", 99), "unknown sform_code 99"),
    "no rotation": (patched(256, "<3f", 9, 9, 9), "no rotation"),
    "two places": (patched(292, "<f", 37), "disagree by 30 mm"),
}


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_what_its_header_says_is_refused(name, end, tmp_path):
    change, words = BAD[name]
    raw, path = change(good(tmp_path / "good.nii")), tmp_path / f"bad{end}"
    path.write_bytes(gzip.compress(raw) if end == ".nii.gz" else raw)
    with pytest.raises(InputError, match=words.replace("471 bytes, not 472", r"\d+ bytes, not 472")) as caught:
        volumes.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("choice", ["", "sform", "qform"])
@pytest.mark.parametrize("at", [268, 272, 276, 292, 300])  # qoffset_x, y, z; srow_x[3], srow_y[1]
def test_a_form_that_is_not_finite_is_refused_whatever_the_other_says(at, choice, number, plain, monkeypatch):
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", choice)
    plain.write_bytes(patched(at, "<f", number)(plain.read_bytes()))
    with pytest.raises(InputError, match=f"no usable affine .*{number}"):
        volumes.read(plain)


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".mha"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(end, tmp_path, monkeypatch):
    path = tmp_path / f"a{end}"
    path.write_bytes(b"something")

    def refuse(*given, **more):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        InputError, match=r"cannot be read \(Permission denied\): see that it is yours to read, and whole$"
    ):
        volumes.read(path)


@pytest.mark.parametrize("only", ["qform", "sform", "both"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_the_same_file_unharmed_is_read(only, end, tmp_path):
    raw = good(tmp_path / "good.nii")
    if only != "both":
        raw = patched(252, "<2h", *((1, 0) if only == "qform" else (0, 1)))(raw)
    path = tmp_path / f"a{end}"
    path.write_bytes(gzip.compress(raw) if end == ".nii.gz" else raw)
    volume = volumes.read(path)
    np.testing.assert_array_equal(volume.voxels[..., 0], VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("slope", [0, float("nan"), 1])
def test_a_slope_of_0_or_of_no_number_is_none(slope, tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(patched(112, "<2f", slope, float("nan") if slope != 1 else 0)(good(path)))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


def test_two_members_and_padding_of_a_gzip_are_one_file(tmp_path):
    raw, path = good(tmp_path / "good.nii"), tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(raw[:100]) + gzip.compress(raw[100:]))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


def test_every_bit_of_a_compressed_file_counts(tmp_path):
    packed, path = gzip.compress(good(tmp_path / "good.nii"), mtime=0), tmp_path / "a.nii.gz"
    harmless = range(3, 10)  # flags' and time's bytes in gzip's own header may say something else of the same content
    for at in range(0, len(packed), 3):
        for bit in (0, 6):
            flipped = bytearray(packed)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
                assert at in harmless, f"bit {bit} of byte {at} made no difference"
            except InputError:
                continue


def test_a_users_word_decides_between_two_forms(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    path.write_bytes(patched(292, "<f", 37)(good(path)))
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "qform")
    np.testing.assert_allclose(volumes.read(path).affine, AFFINE, atol=1e-5)
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    assert volumes.read(path).affine[0, 3] == 37
    path.write_bytes(patched(252, "<2h", 0, 0)(path.read_bytes()))
    np.testing.assert_allclose(volumes.read(path).spacing_mm, [2, 1.5, 9])
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "neither")
    with pytest.raises(InputError, match="SEMICYCLE_GEOMETRY is 'neither': give sform or qform"):
        volumes.read(path)


@pytest.fixture
def plain(tmp_path) -> Path:
    good(tmp_path / "plain.nii")
    return tmp_path / "plain.nii"


def accepted(path: Path) -> bool:
    try:
        return volumes.read(path) is not None
    except InputError:
        return False


@pytest.mark.parametrize(("apart", "close"), [(-0.9, True), (0.9, True), (1.1, False), (-1.1, False)])
def test_two_forms_may_be_a_millimetre_apart_and_no_more(apart, close, plain):
    plain.write_bytes(patched(292, "<f", 7 + apart)(plain.read_bytes()))
    assert accepted(plain) == close


@pytest.mark.parametrize(("axis", "at", "step"), [(0, 296, 2), (1, 284, -1.5), (2, 320, 9)])
def test_two_forms_are_compared_at_the_end_of_every_axis(axis, at, step, plain):
    plain.write_bytes(patched(at, "<f", step + 0.6)(plain.read_bytes()))
    with pytest.raises(InputError, match=rf"disagree by {0.6 * (SHAPE[axis] - 1):.3g} mm"):
        volumes.read(plain)


@pytest.mark.parametrize("at", [252, 254])
def test_the_codes_of_a_form_are_1_to_5(at, plain):
    for code in (-1, *range(1, 10), 255, 32767):
        plain.write_bytes(patched(at, "<h", code)(plain.read_bytes()))
        assert accepted(plain) == (1 <= code <= 5), code


def with_sform(path: Path, affine: np.ndarray) -> Path:
    raw = patched(252, "<2h", 0, 1)(path.read_bytes())
    path.write_bytes(patched(280, "<12f", *affine[:3].ravel())(raw))
    return path


@pytest.mark.parametrize(("size_mm", "sane"), [(9e-5, False), (1.1e-4, True), (9.9e3, True), (1.1e4, False)])
@pytest.mark.parametrize("axis", range(3))
def test_a_spacing_is_that_of_a_scanner(axis, size_mm, sane, plain):
    affine = np.diag([2, 1.5, 9, 1.0])
    affine[axis, axis] = size_mm
    assert accepted(with_sform(plain, affine)) == sane


@pytest.mark.parametrize(("away_mm", "sane"), [(9.9e5, True), (-9.9e5, True), (1.1e6, False), (-1.1e6, False)])
def test_an_origin_is_that_of_a_scanner(away_mm, sane, plain):
    affine = AFFINE.copy()
    affine[1, 3] = away_mm
    assert accepted(with_sform(plain, affine)) == sane


@pytest.mark.parametrize(("off", "sane"), [(2e-3, True), (-2e-3, True), (5e-4, False), (-5e-4, False)])
def test_axes_that_are_all_but_in_one_plane_are_no_volume(off, sane, plain):
    affine = np.diag([2, 1.5, 9, 1.0])
    affine[:3, 2] = [9, 0, 9 * off]
    assert accepted(with_sform(plain, affine)) == sane


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_a_slope_is_applied_in_double_precision(kind, tmp_path):
    voxels = (500 * VOXELS).astype(kind)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    nibabel.save(image, tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(patched(112, "<2f", 0.1, 0.7)((tmp_path / "a.nii").read_bytes()))
    slope, inter = np.array([0.1, 0.7], np.float32).astype(np.float64)
    found = volumes.read(tmp_path / "a.nii").voxels[..., 0]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, voxels * slope + inter)


@pytest.mark.parametrize(("unit", "mm"), [(1, 1000), (2, 1), (3, 0.001)])
@pytest.mark.parametrize("code", [252, 254])
def test_a_unit_is_that_of_the_origin_too(code, unit, mm, plain):
    raw = patched(252, "<2h", 0, 0)(plain.read_bytes())
    plain.write_bytes(patched(123, "<b", unit)(patched(code, "<h", 1)(raw)))
    whole = AFFINE * np.array([[mm]] * 3 + [[1]])
    np.testing.assert_allclose(volumes.read(plain).affine, whole, rtol=1e-6, atol=1e-4 * mm)


@pytest.mark.parametrize("word", ["0", ""])
def test_repair_is_off_where_it_is_said_to_be(word, plain, monkeypatch):
    voxels = VOXELS.astype(np.float32)
    voxels[1, 2, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), plain)
    monkeypatch.setenv("SEMICYCLE_REPAIR", word)
    with pytest.raises(InputError, match="1 NaN or infinite"):
        volumes.read(plain)


def test_what_a_user_has_chosen_is_all_that_changes_what_is_read(monkeypatch):
    assert environment.chosen() == {}
    given = {"SEMICYCLE_MAX_VOXELS": "9", "SEMICYCLE_GEOMETRY": "qform", "SEMICYCLE_REPAIR": "1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert environment.chosen() == given
    monkeypatch.setenv("SEMICYCLE_REPAIR", "yes")
    with pytest.raises(InputError, match="SEMICYCLE_REPAIR is 'yes': give 1 or 0"):
        environment.chosen()


def test_a_users_word_repairs_images_and_never_masks(tmp_path, monkeypatch):
    voxels = VOXELS.astype(np.float32) + 5
    voxels[1, 2, 0], voxels[0, 0, 0] = np.nan, np.inf
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"2 NaN or infinite .* SEMICYCLE_REPAIR=1"):
        volumes.read(tmp_path / "a.nii.gz")
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    read = volumes.read(tmp_path / "a.nii.gz").voxels[..., 0]
    assert read[1, 2, 0] == read[0, 0, 0] == 6 and (read == VOXELS + 5).sum() == 58  # 5 was at 0, 0, 0
    with pytest.raises(InputError, match="2 NaN or infinite"):
        volumes.read(tmp_path / "a.nii.gz", mask=True)


def test_numbers_too_large_for_single_precision_are_infinite(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 1e300), AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="60 NaN or infinite"):
        volumes.read(tmp_path / "a.nii.gz")


RANGES = {
    "up to the largest": (np.float32, lambda v: (v - 30) * np.float32(1.13e37), r"-3\.3\d+e.38 to 3\.2"),
    "tiny": (np.float64, lambda v: v * 1e-300, "0.0 to 5.9e-299"),
    "smaller than normal": (np.float32, lambda v: v * np.float32(1e-41), "0.0 to 5.899"),
    "far from zero": (np.float64, lambda v: v - 2.0**45, "-35184372088832.0 to"),
    "far from zero, whole": (np.int32, lambda v: 2**30 + v, "1073741824 to 1073741883"),
    "farther, whole": (np.int64, lambda v: 2**60 + v, "1152921504606846976 to 1152921504606847035"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RANGES)
def test_a_range_that_single_precision_cannot_hold_is_named(name, tmp_path):
    kind, of, words = RANGES[name]
    voxels = of(VOXELS.astype(kind)).astype(kind)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE, dtype=kind), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=f"intensities from {words}.*which single precision .*: move or scale them"):
        volumes.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volumes.read(tmp_path / "a.nii.gz", mask=True).voxels[..., 0], voxels)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, np.float64, np.int64])
def test_any_other_range_is_taken(kind, tmp_path):
    for voxels in (VOXELS, VOXELS + 30000, np.full(SHAPE, 7)):
        nibabel.save(nibabel.Nifti1Image(voxels.astype(kind), AFFINE, dtype=kind), tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(volumes.read(tmp_path / "a.nii.gz").voxels[..., 0], voxels)


def test_pairs_are_read_and_analyze_only_on_a_users_word(tmp_path, monkeypatch):
    nibabel.save(nibabel.Nifti1Pair(VOXELS, AFFINE), tmp_path / "pair.hdr")
    volume = volumes.read(tmp_path / "pair.hdr")
    np.testing.assert_array_equal(volume.voxels[..., 0], VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    (tmp_path / "pair.img").write_bytes(VOXELS.tobytes("F")[:-2])
    with pytest.raises(InputError, match="truncated"):
        volumes.read(tmp_path / "pair.hdr")
    (tmp_path / "pair.img").unlink()
    with pytest.raises(InputError, match=r"has no pair\.img beside it"):
        volumes.read(tmp_path / "pair.hdr")
    nibabel.AnalyzeImage(VOXELS, np.diag([2, 1.5, 9, 1.0])).to_filename(tmp_path / "old.hdr")
    with pytest.raises(InputError, match="Analyze, which does not tell left from right"):
        volumes.read(tmp_path / "old.hdr")
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    np.testing.assert_array_equal(volumes.read(tmp_path / "old.hdr").voxels[..., 0], VOXELS)


@pytest.mark.parametrize("end", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("packed", [True, False])
def test_itks_formats_are_read_to_their_end(end, packed, tmp_path):
    image, path = SimpleITK.GetImageFromArray(VOXELS.transpose()), tmp_path / f"a{end}"
    SimpleITK.WriteImage(image, str(path), packed)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    [data] = [each for each in tmp_path.iterdir() if each != path] or [path]
    content = data.read_bytes()
    for harm in (content[:-1], content[:-20], content + b"junk") if not packed else (content[:-1], content[:-20]):
        data.write_bytes(harm)
        with pytest.raises(InputError, match=r"truncated|longer than its header says"):
            volumes.read(path)
    if packed:
        for at in range(len(content) - 60, len(content) - 4, 5):  # in the deflated voxels and behind
            flipped = bytearray(content)
            flipped[at] ^= 16
            data.write_bytes(flipped)
            with pytest.raises(InputError):
                volumes.read(path)


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


def bomb(folder: Path, end: str) -> Path:
    """600 MB of zeros that are less than a megabyte."""
    sides, path = (1000, 1000, 300), folder / f"bomb{end}"
    if end == ".nii.gz":
        head = nibabel.Nifti1Header()
        head.set_data_shape(sides)
        head.set_data_dtype(np.int16)
        head.set_sform(AFFINE, 1)
        head["vox_offset"], head["magic"] = 352, b"n+1"
        packer, begun = zlib.compressobj(9, wbits=31), head.binaryblock + b"\0" * 4
    else:
        packer, begun = zlib.compressobj(9), b""
    with path.open("wb") as stream:
        if end == ".mha":
            sizes = " ".join(map(str, sides))
            stream.write(
                f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = {sizes}\n"
                f"{lines(META_PLACE, ' = ')}ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode()
            )
        stream.write(packer.compress(begun))
        for _ in range(sides[2]):
            stream.write(packer.compress(b"\0" * (2 * sides[0] * sides[1])))
        stream.write(packer.flush())
    assert path.stat().st_size < 2**20
    return path


@pytest.mark.parametrize("end", [".nii.gz", ".mha"])
def test_a_bomb_is_refused_before_it_unpacks_and_read_when_the_user_says_so(end, tmp_path, monkeypatch):
    path = bomb(tmp_path, end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"would unpack to \d+ times its size, 0.6 GiB: .* SEMICYCLE_MAX_VOXELS"):
        volumes.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**17  # KiB
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "300000000")
    assert volumes.read(path).voxels.shape == (1000, 1000, 300, 1)


@pytest.mark.slow
def test_giant_headers_are_refused_within_a_gigabyte(tmp_path):
    raw = good(tmp_path / "good.nii")
    (tmp_path / "a.nii").write_bytes(patched(42, "<3h", 32000, 32000, 1)(raw))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(patched(42, "<3h", 32000, 32000, 1)(raw)))
    (tmp_path / "c.nrrd").write_bytes(
        b"NRRD0004\ntype: double\ndimension: 3\nsizes: 1000 1000 1000\nencoding: gzip\nendian: little\n\n"
        + gzip.compress(b"\0" * 1000)
    )
    code = """
import re, sys
from pathlib import Path
from acdc_semicycle.imageio import volumes
import SimpleITK
from acdc_semicycle.runtime.errors import InputError
for path in map(Path, sys.argv[1:]):
    try:
        volumes.read(path)
    except InputError as error:
        print(error)
# getrusage has the peak of the parent, too
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
assert peak < 2**20, "more than a gigabyte"
"""
    files = [str(tmp_path / name) for name in ("a.nii", "b.nii.gz", "c.nrrd")]
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("line", ["type: PLANTEDNAME", "PatientName: PLANTEDNAME"])
def test_a_damaged_header_is_refused_without_its_words(tmp_path, line):
    path = tmp_path / "a.nrrd"
    head = f"NRRD0004\n{line}\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nendian: little\n\n"
    path.write_bytes(head.encode() + bytes(128))
    with pytest.raises(InputError, match=r"a\.nrrd is truncated, damaged or no NRRD") as caught:
        volumes.read(path)
    assert "PLANTEDNAME" not in str(caught.value)


def test_a_note_in_an_nrrd_is_no_field_of_its_header(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", content=b"encoding:=gzip\n\n" + VOXELS.tobytes("F"))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


@pytest.mark.parametrize("encoding", ["gzip", "gz", "raw"])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_either_byte_order_is_read_packed_or_not(encoding, endian, tmp_path):
    content = VOXELS.astype(">i2" if endian == "big" else "<i2").tobytes("F")
    packed = content if encoding == "raw" else gzip.compress(content)
    path = nrrd(tmp_path / "a.nrrd", {"encoding": encoding, "endian": endian}, b"\n" + packed)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    order = {"BinaryData": True, "BinaryDataByteOrderMSB": endian == "big", "CompressedData": encoding != "raw"}
    path = meta(tmp_path / "a.mha", order, content if encoding == "raw" else zlib.compress(content))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


@pytest.mark.parametrize("name", ["a.mhd", "../b.raw", "/etc/hostname", "b%02d.raw 1 3 1", "LIST", "none.raw"])
def test_voxels_that_are_not_in_a_file_beside_the_header_are_refused(name, tmp_path):
    (tmp_path / "b.raw").write_bytes(VOXELS.tobytes("F"))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"takes its voxels from|voxels are the header itself"):
        volumes.read(meta(tmp_path / "in" / "a.mhd", {"ElementDataFile": name}, b""))


def test_several_numbers_a_voxel_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 2), np.int16), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="has 2 numbers a voxel"):
        volumes.read(tmp_path / "a.nrrd")


@pytest.mark.parametrize("spacing", ["1 0 2", "1 -1 2"])
def test_a_spacing_that_simpleitk_would_mend_is_refused(spacing, tmp_path):
    path = meta(tmp_path / "a.mha", {"ElementSpacing": spacing})
    with pytest.raises(InputError, match="has a spacing of"):
        volumes.read(path)


@pytest.mark.parametrize("harm", [b"", b"1234"])
def test_the_last_bytes_of_a_file_are_its_voxels_only_if_no_others_are_there(harm, tmp_path):
    content = VOXELS.tobytes("F")
    path = meta(tmp_path / "a.mha", {"HeaderSize": -1}, content)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    content = content + harm if harm else content[:-2]
    with pytest.raises(InputError, match=r"truncated|longer than its header says"):
        volumes.read(meta(path, {"HeaderSize": -1}, content))


RAW = VOXELS.tobytes("F")
NUMBERS = " ".join(map(str, VOXELS.ravel("F"))).encode()
STORED = {  # fields, what is before the voxels, and they
    "raw.nrrd": ({}, b"\n", RAW),
    "gzip.nrrd": ({"encoding": "gzip"}, b"\n", gzip.compress(RAW)),
    "bgzip.nrrd": ({"encoding": "gzip"}, b"\n", gzip.compress(RAW[:50]) + gzip.compress(RAW[50:])),
    "ascii.nrrd": ({"encoding": "ascii"}, b"\n", NUMBERS),
    "commas.nrrd": ({"encoding": "txt"}, b"\n", NUMBERS.replace(b" ", b",\n")),
    "hex.nrrd": ({"encoding": "hex"}, b"\n", RAW.hex().encode()),
    "bytes.nrrd": ({"byte skip": 4}, b"\nskip", RAW),
    "lines.nrrd": ({"lineskip": 2}, b"\nthese\ntwo\n", RAW),
    "both.nrrd": ({"line skip": 1, "byteskip": 2}, b"\nthis line\n..", RAW),
    "lines, gzip.nrrd": ({"line skip": 1, "encoding": "gzip"}, b"\nthis\n", gzip.compress(RAW)),
    "bytes, gzip.nrrd": ({"byte skip": 4, "encoding": "gzip"}, b"\n", gzip.compress(b"skip" + RAW)),
    "raw.mha": ({}, b"", RAW),
    "zlib.mha": ({"CompressedData": True}, b"", zlib.compress(RAW)),
    "ascii.mha": ({"BinaryData": False}, b"", NUMBERS),
    "header.mha": ({"HeaderSize": "0500"}, b".", RAW),
    "header, zlib.mha": ({"HeaderSize": "0500", "CompressedData": True}, b".", zlib.compress(RAW)),
}


def put(path: Path, fields: dict, before: bytes, content: bytes) -> Path:
    (nrrd if path.suffix == ".nrrd" else meta)(path, fields, before)
    if "HeaderSize" in fields:
        path.write_bytes(path.read_bytes().ljust(500, b"."))
    path.write_bytes(path.read_bytes() + content)
    return path


@pytest.mark.parametrize("name", STORED)
def test_voxels_are_read_however_they_are_stored_and_nothing_may_be_behind_them(name, tmp_path):
    fields, before, content = STORED[name]
    path = put(tmp_path / name, fields, before, content)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    packed = "zip" in name or "zlib" in name
    for harm, words in {content[:-4]: "is truncated", content + b" 1234": "is longer than its header says"}.items():
        with pytest.raises(InputError, match="truncated, damaged" if packed else words):
            volumes.read(put(path, fields, before, harm))


def test_what_is_behind_a_stream_that_ends_with_a_chunk_is_seen(tmp_path, monkeypatch):
    packed = zlib.compress(RAW)
    monkeypatch.setattr(nrrd_meta, "CHUNK", len(packed))
    fields = {"CompressedData": True}
    np.testing.assert_array_equal(volumes.read(put(tmp_path / "a.mha", fields, b"", packed)).voxels[..., 0], VOXELS)
    with pytest.raises(InputError, match="something is behind its checksum"):
        volumes.read(put(tmp_path / "a.mha", fields, b"", packed + b"1"))


@pytest.mark.parametrize("name", ["raw.nrrd", "raw.mha", "ascii.mha"])
def test_what_is_there_is_said_before_what_should_be(name, tmp_path):
    fields, before, content = STORED[name]
    words = "57 numbers, not 60" if name == "ascii.mha" else "111 bytes, not 120"
    with pytest.raises(InputError, match=rf"is truncated: {words}: copy it again"):
        volumes.read(put(tmp_path / name, fields, before, content[:-9]))


@pytest.mark.parametrize("name", [name for name in STORED if "gzip" in name or "zlib" in name])
def test_the_checksum_of_packed_voxels_is_read_whatever_is_before_them(name, tmp_path):
    fields, before, content = STORED[name]
    wrong = bytearray(content)
    wrong[-1 if "zlib" in name else -6] ^= 1
    with pytest.raises(InputError, match=r"is truncated, damaged"):
        volumes.read(put(tmp_path / name, fields, before, bytes(wrong)))


def test_a_gzip_header_may_have_a_checksum_of_its_own(tmp_path):
    for name, raw in (("a.nii.gz", good(tmp_path / "good.nii")), ("a.nrrd", RAW)):
        packed = gzip.compress(raw, mtime=0)
        head = packed[:3] + b"\2" + packed[4:10]
        content = head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + packed[10:]
        if name == "a.nrrd":
            nrrd(tmp_path / name, {"encoding": "gzip"}, b"\n" + content)
        else:
            (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(volumes.read(tmp_path / name).voxels[..., 0], VOXELS)


@pytest.mark.parametrize("last", ["byte skip", "HeaderSize"])
def test_the_last_bytes_of_a_file_beside_the_header_are_its_voxels_if_it_says_so(last, tmp_path):
    (tmp_path / "b.raw").write_bytes(b"another header" + RAW)
    if last == "byte skip":
        path = nrrd(tmp_path / "a.nhdr", {last: -1, "data file": "b.raw"}, b"")
    else:
        path = meta(tmp_path / "a.mhd", {last: -1, "ElementDataFile": "b.raw"}, b"")
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    (tmp_path / "b.raw").write_bytes(RAW[1:])
    with pytest.raises(InputError, match="truncated"):
        volumes.read(path)


@pytest.mark.parametrize("encoding", ["bzip2", "zrl"])
def test_the_encodings_that_are_known_are_named(encoding, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", {"encoding": encoding}, b"\n" + bz2.compress(RAW))
    with pytest.raises(InputError, match="encoding that is not known: store it as raw, gzip, ascii or hex"):
        volumes.read(path)


@pytest.mark.parametrize(
    "skip",
    [
        {"byte skip": -2},
        {"line skip": "many"},
        {"byte skip": 10**17},
        {"line skip": 10**17},
        {"line skip": -1},
        {"encoding": "gzip", "byte skip": -1},
    ],
)
def test_more_than_a_file_has_is_not_skipped(skip, tmp_path):
    with pytest.raises(InputError, match=r"no number of lines or bytes|truncated"):
        volumes.read(nrrd(tmp_path / "a.nrrd", skip))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_what_is_to_be_skipped_is_not_unpacked_if_it_cannot_be_there(encoding, tmp_path):
    with pytest.raises(InputError, match=r"is truncated: \d+ bytes, and its header says 60 voxels"):
        volumes.read(nrrd(tmp_path / "a.nrrd", {"byte skip": 10**9, "encoding": encoding}))


def test_the_fields_of_an_nrrd_mean_nothing_in_a_metaimage(tmp_path):
    others = {"byteskip": 4, "Encoding": "gzip", "Endian": "big", "DataFile": "none.raw"}
    np.testing.assert_array_equal(volumes.read(meta(tmp_path / "a.mha", others)).voxels[..., 0], VOXELS)


def test_a_file_of_voxels_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"takes its voxels from 'none\.raw', which is no file beside it: copy both"):
        volumes.read(meta(tmp_path / "a.mhd", {"ElementDataFile": "none.raw"}, b""))


# where an NRRD or a MetaImage lies

NOWHERE = "does not say where it lies in the patient"
NOT_SAID = {  # fields that replace an NRRD's, or a MetaImage's, and why they say nothing
    "no space.nrrd": ({"space": None, "space directions": None, "space origin": None, "spacings": "2 1.5 9"}, NOWHERE),
    "of no patient.nrrd": ({"space": "scanner-xyz"}, f"{NOWHERE} .no anatomical space"),
    "right-handed.nrrd": ({"space": "3D-right-handed"}, f"{NOWHERE} .no anatomical space"),
    "a number of axes.nrrd": ({"space": None, "space dimension": 3}, f"{NOWHERE} .no anatomical space"),
    "no directions.nrrd": ({"space directions": None}, f"{NOWHERE} .no space directions"),
    "no origin.nrrd": ({"space origin": None}, f"{NOWHERE} .no space origin"),
    "no matrix.mha": ({"TransformMatrix": None}, f"{NOWHERE} .no TransformMatrix"),
    "no offset.mha": ({"Offset": None}, f"{NOWHERE} .no Offset"),
    "no spacing.mha": ({"ElementSpacing": None}, f"{NOWHERE} .no ElementSpacing"),
}
WRONG = {
    "none.nrrd": ({"space directions": "(0,-2,0) none (0,0,9)"}, "too few or too many numbers"),
    "nan.nrrd": ({"space directions": "(0,-2,0) (nan,nan,nan) (0,0,9)"}, "other than finite numbers"),
    "origin of NaN.nrrd": ({"space origin": "(nan,nan,nan)"}, "other than finite numbers"),
    "origin of text.nrrd": ({"space origin": "(0,here,0)"}, "damaged|other than finite"),
    "origin of two.nrrd": ({"space origin": "(0,0)"}, "damaged|too few"),
    "flat.nrrd": ({"space directions": "(0,-2,0) (0,0,0) (0,0,9)"}, "no usable affine"),
    "in inches.nrrd": ({"space units": '"in" "in" "in"'}, "units that differ or are not known: store millimetres"),
    "in several.nrrd": ({"space units": '"mm" "mm" "um"'}, "units that differ or are not known"),
    "offset of text.mha": ({"Offset": "-7 here 11"}, "other than finite numbers in its Offset"),
    "offset of NaN.mha": ({"Offset": "-7 nan 11"}, "other than finite numbers in its Offset"),
    "offset of two.mha": ({"Offset": "-7 3"}, "too few or too many numbers"),
    "empty offset.mha": ({"Offset": ""}, "too few or too many numbers"),
    "matrix of text.mha": ({"TransformMatrix": "0 -1 0 1 0 0 0 0 one"}, "damaged|other than finite"),
    "spacing of four.mha": ({"ElementSpacing": "2 1.5 9 1"}, "too few or too many numbers"),
    "spacing of two.mha": ({"ElementSpacing": "2 1.5"}, "too few or too many numbers"),
    "spacing of text.mha": ({"ElementSpacing": "2 1.5 thick"}, "has a spacing that is no number"),
    "long.mha": ({"TransformMatrix": "0 -2 0 2 0 0 0 0 2"}, "not of length 1"),
    "in words of its own.mha": ({"DistanceUnits": "ZEBEDEE"}, "units that differ or are not known"),
}
SAID = {  # another way to say AFFINE
    "short.nrrd": {"space": "LPS"},
    "upper case.nrrd": {"space": "Left-Posterior-Superior"},
    "ras.nrrd": {"space": "RAS", "space directions": "(0,2,0) (-1.5,0,0) (0,0,9)", "space origin": "(7,-3,11)"},
    "las.nrrd": {"space": "left-anterior-superior", "space directions": "(0,2,0) (1.5,0,0) (0,0,9)",
                 "space origin": "(-7,-3,11)"},
    "an axis of one.nrrd": {"dimension": 4, "sizes": "1 5 4 3", "kinds": "list domain domain domain",
                            "space directions": "none (0,-2,0) (1.5,0,0) (0,0,9)"},
    "of ITK's four axes.nrrd": {"dimension": 4, "sizes": "5 4 3 1", "space": None, "space dimension": 4,
                                "space directions": "(0,-2,0,0) (1.5,0,0,0) (0,0,9,0) (0,0,0,1)",
                                "space origin": "(-7,3,11,0)"},
    "and time.nrrd": {"dimension": 4, "sizes": "5 4 3 1", "space": "RAST",
                      "space directions": "(0,2,0,0) (-1.5,0,0,0) (0,0,9,0) (0,0,0,1)", "space origin": "(7,-3,11,0)",
                      "space units": '"mm" "mm" "mm" "s"'},
    "in mm.nrrd": {"space units": '"mm" "mm" "mm"'},
    "in microns.nrrd": {"space units": '"um" "um" "um"', "space directions": "(0,-2000,0) (1500,0,0) (0,0,9000)",
                        "space origin": "(-7000,3000,11000)"},
    "in metres.nrrd": {"space units": '"m" "m" "m"', "space directions": "(0,-.002,0) (.0015,0,0) (0,0,.009)",
                       "space origin": "(-.007,.003,.011)"},
    "other names.mha": {"TransformMatrix": None, "Rotation": META_PLACE["TransformMatrix"], "Offset": None,
                        "Position": META_PLACE["Offset"], "ElementSpacing": None, "ElementSize": "2 1.5 9"},
    "four axes.mha": {"NDims": 4, "DimSize": "5 4 3 1", "TransformMatrix": "0 -1 0 0 1 0 0 0 0 0 1 0 0 0 0 1",
                      "Offset": "-7 3 11 0", "ElementSpacing": "2 1.5 9 1"},
    "in mm.mha": {"DistanceUnits": "mm"},
    "in cm.mha": {"DistanceUnits": "cm", "Offset": "-.7 .3 1.1", "ElementSpacing": ".2 .15 .9"},
    "in who knows what.mha": {"DistanceUnits": "?"},
}  # fmt: skip


def with_fields(path: Path, fields: dict) -> Path:
    return nrrd(path, fields) if path.suffix == ".nrrd" else meta(path, fields)


@pytest.mark.parametrize("name", NOT_SAID | WRONG)
def test_a_place_that_simpleitk_would_make_up_is_refused(name, tmp_path, monkeypatch):
    fields, words = (NOT_SAID | WRONG)[name]
    path = with_fields(tmp_path / name, fields)
    with pytest.raises(InputError, match=words) as caught:
        volumes.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    if name in NOT_SAID:
        np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    else:
        with pytest.raises(InputError, match=words):
            volumes.read(path)


@pytest.mark.parametrize("name", ["as it is.nrrd", "as it is.mha", *SAID])
def test_a_place_is_what_the_header_says(name, tmp_path):
    volume = volumes.read(with_fields(tmp_path / name, SAID.get(name, {})))
    np.testing.assert_array_equal(volume.voxels[..., 0], VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)


# what crashed SimpleITK


@pytest.mark.parametrize("value", ["99", "-1", "0", "1000000", "2147483648", "abc", "", "3 3", "9" * 400])
def test_a_number_of_axes_is_two_to_four_without_a_crash(value, tmp_path):
    paths = [meta(tmp_path / "a.mha", {"NDims": value}), nrrd(tmp_path / "a.nrrd", {"dimension": value})]
    for path in paths:
        assert len(refusals(path)) == 1


LONG = ["A" * 40_000, "1 " * 500, "1 " * 20_000, "(" * 40_000, "none " * 9_000, '"mm" ' * 9_000]


def refusals(*paths: Path) -> list[str]:
    """Of a process of its own, which lives to its end."""
    code = """
import sys
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
for path in sys.argv[1:]:
    try:
        volumes.read(path)
    except InputError as error:
        print(error)
assert "SimpleITK" not in sys.modules
"""
    given = [sys.executable, "-c", code, *map(str, paths)]
    done = subprocess.run(given, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_fields_of_any_length_are_refused_in_a_line_each(tmp_path):
    names = ["type", "dimension", "sizes", "kinds", "endian", "encoding", "spacings", "line skip", "byte skip"]
    names += ["space units", "space origin", "space directions", "space", "space dimension", "data file"]
    paths = [nrrd(tmp_path / f"{name}{at}.nrrd", {name: value}) for name in names for at, value in enumerate(LONG)]
    names = ["NDims", "DimSize", "ElementType", "ElementNumberOfChannels", *META_PLACE, "HeaderSize", "DistanceUnits"]
    paths += [meta(tmp_path / f"{name}{at}.mha", {name: value}) for name in names for at, value in enumerate(LONG)]
    found = refusals(*paths)
    assert len(found) == len(paths)
    assert max(map(len, found)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("sizes", ["5 -4 3", "5 4", "5 4 3 1", "5 4 0", "5 4 3.0", "5 4 1e3", "5 4 x", "5,4,3"])
def test_the_sizes_of_the_axes_are_as_many_whole_numbers(sizes, tmp_path, capfd):
    for path in (meta(tmp_path / "a.mha", {"DimSize": sizes}), nrrd(tmp_path / "a.nrrd", {"sizes": sizes})):
        with pytest.raises(InputError, match="is not 3 whole numbers above 0"):
            volumes.read(path)
    assert capfd.readouterr() == ("", "")


KINDS = {"MET_LONG": np.int32, "MET_ULONG": np.uint32} | {
    f"MET_{'U' * unsigned}{name}": np.dtype(f"{'u' * unsigned}int{bits}")
    for name, bits in {"CHAR": 8, "SHORT": 16, "INT": 32, "LONG_LONG": 64}.items()
    for unsigned in (0, 1)
}
KINDS |= {"MET_FLOAT": np.float32, "MET_DOUBLE": np.float64}


@pytest.mark.parametrize("name", KINDS)
def test_a_type_is_what_simpleitk_takes_it_for(name, tmp_path):
    content = np.arange(60, dtype=KINDS[name]).reshape(SHAPE)
    path = meta(tmp_path / "a.mha", {"ElementType": name}, content.tobytes("F"))
    found, theirs = volumes.read(path).voxels[..., 0], SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(found, content)
    np.testing.assert_array_equal(found, theirs.transpose())
    assert found.dtype == theirs.dtype


def test_an_array_of_one_number_is_that_number(tmp_path):
    path = meta(tmp_path / "a.mha", {"ElementType": "MET_SHORT_ARRAY", "ElementNumberOfChannels": 1})
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    fields = {"ElementType": "MET_SHORT_ARRAY", "ElementNumberOfChannels": 3}
    with pytest.raises(InputError, match="has 3 numbers a voxel"):
        volumes.read(meta(path, fields, 3 * VOXELS.tobytes("F")))


@pytest.mark.parametrize("name", ["block", "MET_SHORT", "char", "short_t", ""])
def test_a_type_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="no type of voxels that is known"):
        volumes.read(nrrd(tmp_path / "a.nrrd", {"type": name}))
    with pytest.raises(InputError, match="no type of voxels that is known"):
        volumes.read(meta(tmp_path / "a.mha", {"ElementType": name.lower().replace("met_", "")}))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_field_that_is_said_twice_says_one_thing(name, tmp_path):
    field, between = ("space origin", ": ") if name == "a.nrrd" else ("Offset", " = ")
    path = with_fields(tmp_path / name, {})
    once = path.read_bytes()
    at = once.index(field.encode())
    for value, good in {"(-7,3,11)" if name == "a.nrrd" else "-7 3 11": True, "0 0 0": False}.items():
        path.write_bytes(once[:at] + f"{field}{between}{value}\n".encode() + once[at:])
        if good:
            np.testing.assert_allclose(volumes.read(path).affine, AFFINE)
        else:
            with pytest.raises(InputError, match=r"its header says (spaceorigin|offset) twice, and not the same"):
                volumes.read(path)


def test_two_orders_of_bytes_in_a_metaimage_are_refused(tmp_path):
    order = {"BinaryDataByteOrderMSB": True, "ElementByteOrderMSB": False}
    with pytest.raises(InputError, match="order of the voxels' bytes, or says two"):
        volumes.read(meta(tmp_path / "a.mha", order))


def test_voxels_of_several_files_are_refused(tmp_path):
    path = nrrd(tmp_path / "a.nhdr", content=b"data file: LIST\nb.raw\nc.raw\n")
    with pytest.raises(InputError, match="takes its voxels from 'LIST': give a file that holds them"):
        volumes.read(path)


@pytest.mark.parametrize("begin", [b"NRRD0004", b"NRRD0004\n\n", b"ElementDataFile = LOCAL"])
def test_a_header_without_a_field_says_no_shape(begin, tmp_path):
    path = tmp_path / ("a.nrrd" if begin.startswith(b"NRRD") else "a.mha")
    path.write_bytes(begin)
    with pytest.raises(InputError, match=r"its (dimension|ndims) is not 1 whole number above 0"):
        volumes.read(path)


@pytest.mark.parametrize("line", ["no field", "space:LPS", "kinds:vector"])
def test_a_line_that_is_no_field_is_refused(line, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", content=f"{line}\n\n".encode() + RAW)
    with pytest.raises(InputError, match="a line that is no field"):
        volumes.read(path)


def test_what_a_header_lacks_is_made_up_as_simpleitk_does(tmp_path, monkeypatch, itk_affine):
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    nothing = dict.fromkeys(NRRD_PLACE)
    paths = [nrrd(tmp_path / "a.nrrd", nothing | {"spacings": "2 1.5 9"}), nrrd(tmp_path / "b.nrrd", nothing)]
    paths += [nrrd(tmp_path / "c.nrrd", {"space": "scanner-xyz"}), nrrd(tmp_path / "d.nrrd", {"space origin": None})]
    paths += [meta(tmp_path / f"{name}.mha", {name: None}) for name in META_PLACE]
    paths += [meta(tmp_path / "e.mha", dict.fromkeys(META_PLACE))]
    for path in paths:
        theirs = SimpleITK.ReadImage(str(path))
        np.testing.assert_allclose(volumes.read(path).affine, itk_affine(theirs), atol=1e-9, err_msg=path.name)


# how much is read of what is longer than it should be


def sparse(path: Path, size: int = 2**31) -> Path:
    with path.open("r+b") as stream:
        stream.truncate(size)
    return path


def padded(path: Path, pad: bytes, pieces: int = 300) -> Path:
    with path.open("ab") as stream:
        for _ in range(pieces):
            stream.write(pad * (2**20 // len(pad)))
    return path


def test_what_is_longer_than_its_header_says_is_not_read_whole(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    paths = [sparse(nrrd(tmp_path / f"{name}.nrrd", {"encoding": name}, b"\n1 2 3")) for name in ("ascii", "hex")]
    paths += [sparse(meta(tmp_path / "a.mha", {"BinaryData": False}, b"1 2 3"))]
    paths += [sparse(nrrd(tmp_path / "line.nrrd", {"line skip": 1}, b"\nline"))]
    paths += [padded(nrrd(tmp_path / "numbers.nrrd", {"encoding": "text"}, b"\n"), b"1 ")]
    paths += [padded(nrrd(tmp_path / "digits.nrrd", {"encoding": "hex"}, b"\n"), b"0")]
    paths += [padded(nrrd(tmp_path / "blank.nrrd", {"encoding": "text"}, b"\n" + NUMBERS[:-2]), b" ")]
    for path in paths:
        with pytest.raises(InputError, match=r"longer than its header says|damaged|truncated"):
            volumes.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**16  # KiB


def after_zeros(zeros: int) -> bytes:
    """RAW packed behind them."""
    packer = zlib.compressobj(9, wbits=31)
    content = b"".join(packer.compress(bytes(2**20)) for _ in range(zeros // 2**20))
    return content + packer.compress(RAW) + packer.flush()


def test_what_is_skipped_of_packed_voxels_is_not_kept(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for zeros in (2**27, 2**29):
        fields = {"encoding": "gzip", "byte skip": zeros}
        path = nrrd(tmp_path / "a.nrrd", fields, b"\n" + after_zeros(zeros))
        if zeros == 2**29:
            with pytest.raises(InputError, match="would unpack to"):
                volumes.read(path)
        else:
            np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**16  # KiB


def test_numbers_and_digits_may_be_in_lines_and_in_pieces(tmp_path, monkeypatch):
    digits = RAW.hex()
    in_lines = "\r\n".join(digits[at : at + 35] for at in range(0, len(digits), 35)).encode()
    for piece in (1, 7, 2**20):
        monkeypatch.setattr(nrrd_meta, "CHUNK", piece)
        for fields, content in (({"encoding": "hex"}, in_lines), ({"encoding": "text"}, NUMBERS + b"\n")):
            path = nrrd(tmp_path / "a.nrrd", fields, b"\n" + content)
            np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


@pytest.mark.parametrize("word", [b"1_0", b"70000", b"1.5", b"one", b"0" * 99])
def test_a_word_that_is_no_number_of_its_type_is_refused(word, tmp_path):
    content = NUMBERS.replace(b" 7 ", b" " + word + b" ")
    with pytest.raises(InputError, match="damaged"):
        volumes.read(nrrd(tmp_path / "a.nrrd", {"encoding": "text"}, b"\n" + content))


# a cine, whose frames are an axis that is none of space's

CINE = np.arange(120, dtype=np.int16).reshape(*SHAPE, 2)
STEPS = NRRD_PLACE["space directions"].split()
OF_SPACE = ["domain"] * 3


def cine(path: Path, at: int, kind: str | None, step: str = "none", **fields: str) -> Path:
    """With its frames as axis ``at``."""
    sizes, steps, kinds = ([*rest[:at], new, *rest[at:]] for rest, new in
                           [(["5", "4", "3"], "2"), (STEPS, step), (OF_SPACE, str(kind))])  # fmt: skip
    given = {"dimension": 4, "sizes": " ".join(sizes), "space directions": " ".join(steps)}
    given |= {"kinds": " ".join(kinds)} if kind else {}
    return nrrd(path, given | fields, b"\n" + np.moveaxis(CINE, -1, at).tobytes("F"))


@pytest.mark.parametrize("kind", ["list", "time", None])
@pytest.mark.parametrize("at", range(4))
def test_the_axis_that_is_none_of_spaces_is_that_of_the_frames(at, kind, tmp_path):
    path = cine(tmp_path / "a.nrrd", at, kind)
    if kind is None and at == 0:  # as colours are stored
        with pytest.raises(InputError, match="has 2 numbers a voxel"):
            volumes.read(path, frames=True)
        return
    volume = volumes.read(path, frames=True)
    np.testing.assert_array_equal(volume.voxels, CINE)
    np.testing.assert_allclose(volume.affine, AFFINE)
    with pytest.raises(InputError, match=r"has shape \(5, 4, 3, 2\): give a 3D volume"):
        volumes.read(path)


@pytest.mark.parametrize("at", range(4))
def test_time_may_be_an_axis_of_the_space(at, tmp_path):
    steps = [f"{step[:-1]},0)" for step in STEPS]
    steps.insert(at, "(0,0,0,25)")
    fields = {"space": "left-posterior-superior-time", "space directions": " ".join(steps)}
    path = cine(tmp_path / "a.nrrd", at, "time", **fields, **{"space origin": "(-7,3,11,0)"})
    volume = volumes.read(path, frames=True)
    np.testing.assert_array_equal(volume.voxels, CINE)
    np.testing.assert_allclose(volume.affine, AFFINE)
    mixed = fields | {
        "space directions": " ".join(steps).replace("(0,-2,0,0)", "(0,-2,0,1)"),
        "space origin": "(0,0,0,0)",
    }
    with pytest.raises(InputError, match="of space and of time at once"):
        volumes.read(cine(path, at, "time", **mixed), frames=True)


@pytest.mark.parametrize("kind", ["vector", "RGB-color", "3-vector", "complex", "2D-symmetric-matrix"])
@pytest.mark.parametrize("at", [0, 3])
def test_an_axis_of_several_numbers_a_voxel_is_none_of_frames(at, kind, tmp_path):
    with pytest.raises(InputError, match="has 2 numbers a voxel: give a scan of one channel"):
        volumes.read(cine(tmp_path / "a.nrrd", at, kind), frames=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"space directions": " ".join([*STEPS[:2], "none", "none"])}, "too few or too many numbers"),
        ({"space directions": " ".join([*STEPS, "(0,0,1)"])}, "too few or too many numbers"),
        (
            {"space directions": " ".join([*STEPS, "none"]), "spacings": "2 1.5 9 1"},
            "both spacings and space directions",
        ),
        ({"kinds": "domain domain time domain"}, "directions in space for an axis that is a list or time"),
        ({"kinds": "domain domain domain"}, "too few or too many numbers in its kinds"),
        ({"space units": '"mm" "mm" "mm" "s"'}, "too few or too many numbers in its space units"),
        ({"space units": "mm mm mm"}, "too few or too many numbers in its space units"),
    ],
)
def test_a_cine_that_contradicts_itself_is_refused(fields, words, tmp_path):
    with pytest.raises(InputError, match=words):
        volumes.read(cine(tmp_path / "a.nrrd", 3, "list", **fields), frames=True)


def test_frames_are_found_where_no_directions_are_given_and_the_user_takes_that(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    nothing = dict.fromkeys(NRRD_PLACE)
    spacings = {0: "nan 2 1.5 9", 3: "2 1.5 9 25"}
    for at, spacing in spacings.items():
        path = cine(tmp_path / "a.nrrd", at, "time", **nothing, spacings=spacing)
        volume = volumes.read(path, frames=True)
        np.testing.assert_array_equal(volume.voxels, CINE)
        np.testing.assert_allclose(volume.affine, np.diag([-2, -1.5, 9, 1]))


def test_a_slice_lies_in_space(tmp_path):
    fields = {"dimension": 2, "sizes": "5 4", "space directions": "(0,-2,0) (0,0,1.5)"}
    volume = volumes.read(nrrd(tmp_path / "a.nrrd", fields, b"\n" + VOXELS[..., 0].tobytes("F")))
    np.testing.assert_array_equal(volume.voxels, VOXELS[..., :1, None])
    np.testing.assert_allclose(volume.affine, [[0, 0, 1, 7], [2, 0, 0, -3], [0, 1.5, 0, 11], [0, 0, 0, 1]])


# files of voxels


@pytest.mark.parametrize("before", [b"", b"what nobody describes"])
def test_the_last_bytes_of_an_nrrd_are_its_voxels_if_it_says_so(before, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", {"byte skip": -1}, b"\n" + before + RAW)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    with pytest.raises(InputError, match="is truncated: 119 bytes, not 120"):
        volumes.read(nrrd(path, {"byte skip": -1}, b"\n" + RAW[1:]))


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_a_file_beside_the_header_may_be_said_to_be_in_its_folder(name, tmp_path):
    (tmp_path / "b.raw").write_bytes(RAW)
    path = tmp_path / name
    if name == "a.nhdr":
        nrrd(path, {"data file": "./b.raw"}, b"")
    else:
        meta(path, {"ElementDataFile": "./b.raw"}, b"")
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    assert nrrd_meta.detached(path) == ["b.raw"]


@pytest.mark.parametrize("magic", ["NRRD0001", "NRRD0005", "NRRD00.01", "NRRD0004: ", "NRRD", "NRRDish"])
def test_an_nrrd_begins_with_its_version(magic, tmp_path):
    path = nrrd(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"NRRD0004", magic.encode(), 1))
    if magic.replace(".", "")[4:].isdigit():
        np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    else:
        with pytest.raises(InputError, match="damaged or no NRRD: copy it again"):
            volumes.read(path)
