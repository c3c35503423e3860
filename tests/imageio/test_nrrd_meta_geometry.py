"""Where an NRRD or a MetaImage lies, and which of its axes are frames, is what its header says."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.scan_files import AFFINE, META_PLACE, NRRD_PLACE, SHAPE, VOXELS, meta, nrrd, with_fields


@pytest.mark.parametrize("spacing", ["1 0 2", "1 -1 2"])
def test_a_spacing_that_simpleitk_would_mend_is_refused(spacing, tmp_path):
    path = meta(tmp_path / "a.mha", {"ElementSpacing": spacing})
    with pytest.raises(InputError, match="has a spacing of"):
        volumes.read(path)


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
    "in inches.nrrd": ({"space units": '"in" "in" "in"'}, "units that differ or are unknown: store millimetres"),
    "in several.nrrd": ({"space units": '"mm" "mm" "um"'}, "units that differ or are unknown"),
    "offset of text.mha": ({"Offset": "-7 here 11"}, "other than finite numbers in its Offset"),
    "offset of NaN.mha": ({"Offset": "-7 nan 11"}, "other than finite numbers in its Offset"),
    "offset of two.mha": ({"Offset": "-7 3"}, "too few or too many numbers"),
    "empty offset.mha": ({"Offset": ""}, "too few or too many numbers"),
    "matrix of text.mha": ({"TransformMatrix": "0 -1 0 1 0 0 0 0 one"}, "damaged|other than finite"),
    "spacing of four.mha": ({"ElementSpacing": "2 1.5 9 1"}, "too few or too many numbers"),
    "spacing of two.mha": ({"ElementSpacing": "2 1.5"}, "too few or too many numbers"),
    "spacing of text.mha": ({"ElementSpacing": "2 1.5 thick"}, "has a spacing that is not a number"),
    "long.mha": ({"TransformMatrix": "0 -2 0 2 0 0 0 0 2"}, "not of length 1"),
    "in words of its own.mha": ({"DistanceUnits": "ZEBEDEE"}, "units that differ or are unknown"),
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
