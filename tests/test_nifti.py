"""A NIfTI, NRRD or MetaImage file is what its header says, or is refused in one line before anything is allocated."""

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

from acdc_semicycle.data import switches, volumes
from acdc_semicycle.errors import InputError

SHAPE = (5, 4, 3)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
AFFINE = np.array([[0, -1.5, 0, 7], [2, 0, 0, -3], [0, 0, 9, 11], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    for name in switches.NAMES:
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


# offsets: dim 40, datatype 70, bitpix 72, pixdim 76, vox_offset 108, units 123, codes 252, quaternion 256, srow 280
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
    "other bits": (patched(72, "<h", 8), "int16 voxels of 8 bits"),
    "colours": (patched(70, "<2h", 128, 24), "truncated"),
    "voxels in the header": (patched(108, "<f", 0), "first voxel at byte 0"),
    "voxels beyond": (patched(108, "<f", 1e6), "truncated"),
    "voxels at NaN": (patched(108, "<f", float("nan")), "first voxel at byte nan"),
    "half a byte": (patched(108, "<f", 352.5), "first voxel"),
    "another mark": (patched(344, "<4s", b"nope"), "no NIfTI mark"),
    "the mark of a pair": (patched(344, "<4s", b"ni1\0"), "no NIfTI mark|no NIfTI"),
    "no spacing": (patched(80, "<f", 0), "spacing of 0 x 2|spacing of 0 x 1.5"),
    "spacing below zero": (patched(88, "<f", -9), "spacing of"),
    "spacing of NaN": (patched(84, "<f", float("nan")), "spacing of"),
    "an sform of NaN": (patched(280, "<f", float("nan")), "disagree by nan|no usable affine"),
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
                "ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode()
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
from acdc_semicycle.data import volumes
import SimpleITK
from acdc_semicycle.errors import InputError
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
    root = Path(__file__).parents[1]
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
    path = tmp_path / "a.nrrd"
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: little\nencoding:=gzip\n\n"
    path.write_bytes(head.encode() + VOXELS.tobytes("F"))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


def meta(path: Path, *lines: str, content: bytes = b"") -> Path:
    sizes = " ".join(map(str, SHAPE))
    head = ["ObjectType = Image", "NDims = 3", f"DimSize = {sizes}", "ElementType = MET_SHORT", *lines]
    path.write_bytes("\n".join([*head, ""]).encode() + content)
    return path


@pytest.mark.parametrize("encoding", ["gzip", "gz", "raw"])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_either_byte_order_is_read_packed_or_not(encoding, endian, tmp_path):
    content = VOXELS.astype(">i2" if endian == "big" else "<i2").tobytes("F")
    path = tmp_path / "a.nrrd"
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: {encoding}\nendian: {endian}\n\n"
    path.write_bytes(head.encode() + (content if encoding == "raw" else gzip.compress(content)))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    order, packed = f"BinaryDataByteOrderMSB = {endian == 'big'}", f"CompressedData = {encoding != 'raw'}"
    content = content if encoding == "raw" else zlib.compress(content)
    path = meta(tmp_path / "a.mha", "BinaryData = True", order, packed, "ElementDataFile = LOCAL", content=content)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


@pytest.mark.parametrize("name", ["a.mhd", "../b.raw", "/etc/hostname", "b%02d.raw 1 3 1", "LIST", "none.raw"])
def test_voxels_that_are_not_in_a_file_beside_the_header_are_refused(name, tmp_path):
    (tmp_path / "b.raw").write_bytes(VOXELS.tobytes("F"))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"takes its voxels from|voxels are the header itself"):
        volumes.read(meta(tmp_path / "in" / "a.mhd", f"ElementDataFile = {name}"))


def test_several_numbers_a_voxel_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 2), np.int16), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="has 2 numbers a voxel"):
        volumes.read(tmp_path / "a.nrrd")


@pytest.mark.parametrize("spacing", ["1 0 2", "1 -1 2"])
def test_a_spacing_that_simpleitk_would_mend_is_refused(spacing, tmp_path):
    path = meta(
        tmp_path / "a.mha", f"ElementSpacing = {spacing}", "ElementDataFile = LOCAL", content=VOXELS.tobytes("F")
    )
    with pytest.raises(InputError, match="has a spacing of"):
        volumes.read(path)


@pytest.mark.parametrize("harm", [b"", b"1234"])
def test_the_last_bytes_of_a_file_are_its_voxels_only_if_no_others_are_there(harm, tmp_path):
    content = VOXELS.tobytes("F")
    path = meta(tmp_path / "a.mha", "HeaderSize = -1", "ElementDataFile = LOCAL", content=content)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    content = content + harm if harm else content[:-2]
    with pytest.raises(InputError, match=r"truncated|longer than its header says"):
        volumes.read(meta(path, "HeaderSize = -1", "ElementDataFile = LOCAL", content=content))
