"""A NIfTI file is what its header says, or is refused in one line before anything is allocated."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.scan_files import AFFINE, SHAPE, VOXELS, good, patched

# offsets: dim 40, datatype 70, bitpix 72, pixdim 76, vox_offset 108, slope 112, units 123, codes 252, quaternion 256,
# srow 280
BAD = {
    "cut in the voxels": (lambda raw: raw[:-1], "is truncated: 471 bytes, not 472"),
    "cut in the header": (lambda raw: raw[:300], "truncated"),
    "empty": (lambda raw: b"", "not in NIfTI format"),
    "text": (lambda raw: b"not an image, but long enough to hold a header " * 20, "not in NIfTI format"),
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
    "the mark of a pair": (patched(344, "<4s", b"ni1\0"), "no NIfTI mark|not in NIfTI format"),
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
        InputError, match=r"cannot be read \(Permission denied\): check that you may read it and that it is complete$"
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


@pytest.mark.parametrize(
    ("name", "packed", "words"), [("a.nii", True, "compressed"), ("a.nii.gz", False, "not compressed")]
)
def test_a_name_that_says_another_packing_is_read_by_the_content_and_that_is_said(
    tmp_path, caplog, name, packed, words
):
    whole = good(tmp_path / "plain.nii")
    path = tmp_path / name
    path.write_bytes(gzip.compress(whole) if packed else whole)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    assert f"{path} is {words}, whatever its name says: it is read by its content" in caplog.text
    assert volumes.frame_count(path) == 1 and not volumes.ours(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated"):
        volumes.read(path)


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
    with pytest.raises(InputError, match="60 finite numbers beyond"):
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
    with pytest.raises(InputError, match=f"intensities from {words}.*which single precision .*: shift or scale them"):
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
