"""What the readers may accept is handed to them, and comes from the environment where nothing is handed."""

import warnings

import nibabel
import numpy as np
import pytest
from PIL import Image

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.pictures import read_picture
from acdc_semicycle.imageio.policy import ReadingPolicy, from_environment
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.dicom_files import stack
from tests.imageio.scan_files import AFFINE, VOXELS, good, meta, nrrd, patched


def test_the_environment_is_one_policy(monkeypatch):
    assert from_environment() == ReadingPolicy()
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "9")
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "qform")
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    assert from_environment() == ReadingPolicy(max_voxels=9, geometry="qform", repair=True)


@pytest.mark.parametrize(("choice", "x_mm"), [("qform", 7), ("sform", 37)])
def test_a_policys_geometry_wins_over_the_environments(choice, x_mm, tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    path.write_bytes(patched(292, "<f", 37)(good(path)))
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", {"qform": "sform", "sform": "qform"}[choice])
    assert volumes.read(path, policy=ReadingPolicy(geometry=choice)).affine[0, 3] == pytest.approx(x_mm)
    with pytest.raises(InputError, match=r"disagree by 30 mm.* set SEMICYCLE_GEOMETRY"):
        volumes.read(path, policy=ReadingPolicy())


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_policy_takes_a_header_without_a_place_and_another_refuses_it(name, tmp_path, monkeypatch):
    path = tmp_path / name
    nrrd(path, {"space origin": None}) if name == "a.nrrd" else meta(path, {"Offset": None})
    np.testing.assert_array_equal(volumes.read(path, policy=ReadingPolicy(geometry="sform")).voxels[..., 0], VOXELS)
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    with pytest.raises(InputError, match="does not say where it lies"):
        volumes.read(path, policy=ReadingPolicy())


def test_a_policy_repairs_where_the_environment_does_not_and_the_other_way_round(tmp_path, monkeypatch):
    voxels = VOXELS.astype(np.float32)
    voxels[1, 2, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii")
    monkeypatch.setenv("SEMICYCLE_REPAIR", "0")
    assert volumes.read(tmp_path / "a.nii", policy=ReadingPolicy(repair=True)).voxels[1, 2, 0, 0] == 0
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    with pytest.raises(InputError, match="1 NaN or infinite"):
        volumes.read(tmp_path / "a.nii", policy=ReadingPolicy())


def test_a_policys_limit_wins_over_the_environments_in_every_format(tmp_path, monkeypatch):
    good(tmp_path / "a.nii")
    paths = [tmp_path / "a.nii", nrrd(tmp_path / "a.nrrd"), meta(tmp_path / "a.mha"), stack(tmp_path / "series", n=1)]
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "10")
    for path in paths:
        count = volumes.read(path, policy=ReadingPolicy(max_voxels=100)).voxels.size
        with pytest.raises(InputError, match=rf"has {count} voxels, more than {count - 1}.* set SEMICYCLE_MAX_VOXELS"):
            volumes.read(path, policy=ReadingPolicy(max_voxels=count - 1))


def test_a_policys_limit_wins_over_the_environments_for_pictures(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "10")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # which reading sets, put back afterwards
    assert read_picture(tmp_path / "a.png", ReadingPolicy(max_voxels=20)).size == (4, 5)
    with pytest.raises(InputError, match="more than 19 pixels"):
        read_picture(tmp_path / "a.png", ReadingPolicy(max_voxels=19))


def test_the_limit_of_pictures_holds_where_warnings_are_filtered_otherwise(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    for _ in range(2):
        # leaving catch_warnings forgets that Pillow's warning is an error
        with warnings.catch_warnings(), pytest.raises(InputError, match="more than 19 pixels"):
            read_picture(tmp_path / "a.png", ReadingPolicy(max_voxels=19))
