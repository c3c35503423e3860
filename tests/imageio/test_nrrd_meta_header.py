"""The header of an NRRD or a MetaImage is looked at field by field; what crashes SimpleITK is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.scan_files import AFFINE, META_PLACE, RAW, SHAPE, VOXELS, meta, nrrd, with_fields


@pytest.mark.parametrize("line", ["type: PLANTEDNAME", "PatientName: PLANTEDNAME"])
def test_a_damaged_header_is_refused_without_its_words(tmp_path, line):
    path = tmp_path / "a.nrrd"
    head = f"NRRD0004\n{line}\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nendian: little\n\n"
    path.write_bytes(head.encode() + bytes(128))
    with pytest.raises(InputError, match=r"a\.nrrd is truncated, damaged or not in NRRD format") as caught:
        volumes.read(path)
    assert "PLANTEDNAME" not in str(caught.value)


def test_a_note_in_an_nrrd_is_no_field_of_its_header(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", content=b"encoding:=gzip\n\n" + VOXELS.tobytes("F"))
    np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)


def test_several_numbers_a_voxel_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 2), np.int16), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="has 2 numbers a voxel"):
        volumes.read(tmp_path / "a.nrrd")


def test_the_fields_of_an_nrrd_mean_nothing_in_a_metaimage(tmp_path):
    others = {"byteskip": 4, "Encoding": "gzip", "Endian": "big", "DataFile": "none.raw"}
    np.testing.assert_array_equal(volumes.read(meta(tmp_path / "a.mha", others)).voxels[..., 0], VOXELS)


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
    with pytest.raises(InputError, match="no known type of voxels"):
        volumes.read(nrrd(tmp_path / "a.nrrd", {"type": name}))
    with pytest.raises(InputError, match="no known type of voxels"):
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
            with pytest.raises(InputError, match=r"its header gives (spaceorigin|offset) two different values"):
                volumes.read(path)


def test_two_orders_of_bytes_in_a_metaimage_are_refused(tmp_path):
    order = {"BinaryDataByteOrderMSB": True, "ElementByteOrderMSB": False}
    with pytest.raises(InputError, match="order of the voxels' bytes, or two"):
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
    with pytest.raises(InputError, match="a line that is not a field"):
        volumes.read(path)


@pytest.mark.parametrize("magic", ["NRRD0001", "NRRD0005", "NRRD00.01", "NRRD0004: ", "NRRD", "NRRDish"])
def test_an_nrrd_begins_with_its_version(magic, tmp_path):
    path = nrrd(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"NRRD0004", magic.encode(), 1))
    if magic.replace(".", "")[4:].isdigit():
        np.testing.assert_array_equal(volumes.read(path).voxels[..., 0], VOXELS)
    else:
        with pytest.raises(InputError, match="damaged or not in NRRD format: copy it again"):
            volumes.read(path)
