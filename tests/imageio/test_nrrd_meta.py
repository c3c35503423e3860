"""The voxels of an NRRD or a MetaImage are read to the last byte, however they are stored."""

import bz2
import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from acdc_semicycle.imageio import nrrd_meta, volumes
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.memory import at_most
from tests.imageio.scan_files import AFFINE, META_PLACE, NUMBERS, RAW, VOXELS, good, lines, meta, nrrd, patched


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
    """300 MB of zeros that are less than a megabyte."""
    sides, path = (1000, 1000, 150), folder / f"bomb{end}"
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
    message = r"would unpack to \d+ times its size, 0.3 GiB: .* SEMICYCLE_MAX_VOXELS"
    with at_most(mebibytes=128), pytest.raises(InputError, match=message):
        volumes.read(path)
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "150000000")
    assert volumes.read(path).voxels.shape == (1000, 1000, 150, 1)


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
    with pytest.raises(InputError, match=r"takes its voxels from|names itself as the file of its voxels"):
        volumes.read(meta(tmp_path / "in" / "a.mhd", {"ElementDataFile": name}, b""))


@pytest.mark.parametrize("harm", [b"", b"1234"])
def test_the_last_bytes_of_a_file_are_its_voxels_only_if_no_others_are_there(harm, tmp_path):
    content = VOXELS.tobytes("F")
    path = meta(tmp_path / "a.mha", {"HeaderSize": -1}, content)
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    content = content + harm if harm else content[:-2]
    with pytest.raises(InputError, match=r"truncated|longer than its header says"):
        volumes.read(meta(path, {"HeaderSize": -1}, content))


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
    with pytest.raises(InputError, match="something follows its checksum"):
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
    with pytest.raises(InputError, match="unknown encoding: store it as raw, gzip, ascii or hex"):
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
    with pytest.raises(InputError, match=r"not a number of lines or bytes|truncated"):
        volumes.read(nrrd(tmp_path / "a.nrrd", skip))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_what_is_to_be_skipped_is_not_unpacked_if_it_cannot_be_there(encoding, tmp_path):
    with pytest.raises(InputError, match=r"is truncated: \d+ bytes, and its header says 60 voxels"):
        volumes.read(nrrd(tmp_path / "a.nrrd", {"byte skip": 10**9, "encoding": encoding}))


def test_a_file_of_voxels_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"takes its voxels from 'none\.raw', which is no file beside it: copy both"):
        volumes.read(meta(tmp_path / "a.mhd", {"ElementDataFile": "none.raw"}, b""))


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
    paths = [sparse(nrrd(tmp_path / f"{name}.nrrd", {"encoding": name}, b"\n1 2 3")) for name in ("ascii", "hex")]
    paths += [sparse(meta(tmp_path / "a.mha", {"BinaryData": False}, b"1 2 3"))]
    paths += [sparse(nrrd(tmp_path / "line.nrrd", {"line skip": 1}, b"\nline"))]
    paths += [padded(nrrd(tmp_path / "numbers.nrrd", {"encoding": "text"}, b"\n"), b"1 ")]
    paths += [padded(nrrd(tmp_path / "digits.nrrd", {"encoding": "hex"}, b"\n"), b"0")]
    paths += [padded(nrrd(tmp_path / "blank.nrrd", {"encoding": "text"}, b"\n" + NUMBERS[:-2]), b" ")]
    for path in paths:
        message = r"longer than its header says|damaged|truncated"
        with at_most(mebibytes=64), pytest.raises(InputError, match=message):
            volumes.read(path)


def after_zeros(zeros: int) -> bytes:
    """RAW packed behind them."""
    packer = zlib.compressobj(9, wbits=31)
    content = b"".join(packer.compress(bytes(2**20)) for _ in range(zeros // 2**20))
    return content + packer.compress(RAW) + packer.flush()


def test_what_is_skipped_of_packed_voxels_is_not_kept(tmp_path):
    for zeros in (2**27, 2**29):
        fields = {"encoding": "gzip", "byte skip": zeros}
        path = nrrd(tmp_path / "a.nrrd", fields, b"\n" + after_zeros(zeros))
        with at_most(mebibytes=64):
            if zeros == 2**29:
                with pytest.raises(InputError, match="would unpack to"):
                    volumes.read(path)
            else:
                np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


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
