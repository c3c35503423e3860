"""One volume in every order of storage and every container is one volume."""

import gzip
import itertools
import os
import re

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio import label_maps, volumes
from acdc_semicycle.imageio.orientation import Layout, layout
from acdc_semicycle.runtime.errors import InputError

STORED = [
    Layout(order, flipped)  # type: ignore[arg-type]
    for order in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
ROTATIONS = {
    "none": Rotation.identity(),
    "oblique": Rotation.from_euler("xyz", [20, 30, 40], degrees=True),
    "44": Rotation.from_euler("x", 44, degrees=True),
    "45 about x": Rotation.from_euler("x", 45, degrees=True),
    "45 about y": Rotation.from_euler("y", 45, degrees=True),
    "45 about z": Rotation.from_euler("z", 45, degrees=True),
    "diagonal": Rotation.from_euler("xyz", [45, 35.264389682754654, 0], degrees=True),
    "120": Rotation.from_euler("zyx", [120, 10, -30], degrees=True),
}
SHAPES = {  # by voxels, and spacing in mm
    "anisotropic": ((20, 24, 6), (1.4, 1.4, 9.0)),
    "fewest slices": ((30, 26, 18), (1.0, 1.0, 1.0)),
    "isotropic cube": ((12, 12, 12), (1.0, 1.0, 1.0)),
    "first axis coarse": ((12, 13, 14), (2.0, 1.0, 1.0)),
    "one slice": ((10, 12, 1), (1.4, 1.4, 1.0)),
}


def affine_of(rotation: Rotation, spacing) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() * np.array(spacing)
    affine[:3, 3] = [-70, 33, 12]
    return affine


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_all_48_orders_of_storage_are_laid_out_alike(rotation, shape):
    size, spacing = SHAPES[shape]
    affine = affine_of(ROTATIONS[rotation], spacing)
    voxels = np.random.default_rng(0).integers(0, 999, size)
    first = layout(affine, size)
    wanted, where = first.apply(voxels), first.affine(affine, size)
    for stored in STORED:
        turned = stored.apply(voxels)
        its_affine = stored.affine(affine, size).astype(np.float32)  # as a NIfTI header has it
        found = layout(its_affine, turned.shape)
        np.testing.assert_array_equal(found.apply(turned), wanted)
        np.testing.assert_allclose(found.affine(its_affine, turned.shape), where, atol=1e-3)
        np.testing.assert_array_equal(found.undo(found.apply(turned)), turned)


@pytest.mark.parametrize("size", [(20, 24, 6), (24, 20, 6)])
def test_a_file_without_directions_stays_as_it_is_stored(size):
    assert layout(np.eye(4), size) == Layout()


@pytest.mark.parametrize("axis", range(3))
def test_the_slices_are_across_the_coarsest_axis(axis):
    spacing = [1.5, 1.5, 1.5]
    spacing[axis] = 8.0
    assert layout(np.diag([*spacing, 1]), (64, 64, 64)).order[2] == axis


@pytest.mark.parametrize(("coarsest_mm", "third"), [(1.53, 2), (1.65, 2), (1.507, 0)])
def test_spacings_that_differ_by_less_than_their_rounding_are_equal(coarsest_mm, third):
    assert layout(np.diag([1.5, 1.5, coarsest_mm, 1]), (20, 64, 64)).order[2] == third, "else of the fewest voxels"


def test_the_affine_goes_with_the_voxels():
    """v = 100 + x + 2 y + 3 z of the patient: any array and its affine can be checked by themselves."""
    affine = affine_of(ROTATIONS["120"], (1.4, 1.6, 9.0))
    voxels = measured(affine, (7, 8, 5))
    found = layout(affine, voxels.shape)
    np.testing.assert_allclose(
        found.apply(voxels), measured(found.affine(affine, voxels.shape), found.apply(voxels).shape)
    )


def measured(affine: np.ndarray, shape) -> np.ndarray:
    at = np.stack([*np.indices(shape), np.ones(shape)])
    x, y, z, _ = np.einsum("ij,j...->i...", affine, at)
    return 100 + x + 2 * y + 3 * z


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32])
def test_every_container_gives_back_voxels_and_place(tmp_path, end, kind):
    affine = affine_of(ROTATIONS["oblique"], (1.4, 1.6, 9.0))
    voxels = np.random.default_rng(0).integers(0, 255, (7, 8, 5)).astype(kind)
    like = volumes.Volume(voxels[..., None], affine)
    volumes.save(tmp_path / f"a{end}", voxels, like)
    again = volumes.read(tmp_path / f"a{end}")
    np.testing.assert_array_equal(again.voxels[..., 0], voxels)
    assert again.voxels.dtype == kind
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    assert volumes.ours(tmp_path / f"a{end}")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{end}"]


@pytest.mark.parametrize("end", [".nii.gz", ".nrrd", ".mha"])
def test_frames_are_kept_in_every_container(tmp_path, end):
    affine = affine_of(ROTATIONS["oblique"], (1.4, 1.6, 9.0))
    voxels = np.random.default_rng(0).integers(0, 255, (7, 8, 5, 3)).astype(np.uint8)
    volumes.save(tmp_path / f"a{end}", voxels, volumes.Volume(voxels, affine))
    again = volumes.read(tmp_path / f"a{end}", frames=True)
    np.testing.assert_array_equal(again.voxels, voxels)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    with pytest.raises(InputError, match="one frame of a cine"):
        volumes.read(tmp_path / f"a{end}")


def test_simpleitk_and_nibabel_see_a_scan_in_one_place(tmp_path):
    affine = affine_of(ROTATIONS["120"], (1.4, 1.6, 9.0))
    voxels = measured(affine, (7, 8, 5)).astype(np.float32)
    volumes.save(tmp_path / "a.nii.gz", voxels, volumes.Volume(voxels[..., None], affine))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / "b.mha"))
    found = volumes.read(tmp_path / "b.mha")
    np.testing.assert_allclose(found.voxels[..., 0], measured(found.affine, (7, 8, 5)), atol=1e-2)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_metres_and_microns_are_millimetres(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["xyzt_units"] = unit
    nibabel.save(image, tmp_path / "a.nii")
    found = volumes.read(tmp_path / "a.nii")
    np.testing.assert_allclose(found.spacing_mm, np.array([2.0, 3.0, 4.0]) * factor)
    volumes.save(tmp_path / "b.nii.gz", found.voxels[..., 0], found)
    made = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(made.affine, image.affine)
    assert int(made.header["xyzt_units"]) == unit


def test_a_frame_axis_of_one_is_no_frame_axis(tmp_path):
    for shape in ((4, 5, 6, 1), (4, 5, 6, 1, 1), (4, 5, 6)):
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), tmp_path / "a.nii")
        assert volumes.read(tmp_path / "a.nii").voxels.shape == (4, 5, 6, 1)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert volumes.read(tmp_path / "a.nii").voxels.shape == (4, 5, 1, 1)


@pytest.mark.parametrize("name", ["../outside.raw", "/etc/passwd", "list.txt LIST", "%03d.raw"])
@pytest.mark.parametrize("kind", ["mhd", "nrrd"])
def test_a_header_may_not_take_its_voxels_from_elsewhere(tmp_path, name, kind):
    (tmp_path / "in").mkdir()
    (tmp_path / "outside.raw").write_bytes(bytes(60))
    path = tmp_path / "in" / f"a.{kind}"
    name = f"LIST {name}" if "LIST" in name else name
    if kind == "mhd":
        path.write_text(f"NDims = 3\nDimSize = 3 4 5\nElementType = MET_UCHAR\nElementDataFile = {name}\n")
    else:
        path.write_text(f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 4 5\nencoding: raw\ndata file: {name}\n")
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        volumes.read(path)
    assert "beside it" in str(caught.value)


def test_a_header_may_take_its_voxels_from_a_file_beside_it(tmp_path):
    voxels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    (tmp_path / "a.raw").write_bytes(voxels.tobytes(order="F"))
    place = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 5\n"
    (tmp_path / "a.mhd").write_text(
        f"NDims = 3\nDimSize = 3 4 5\n{place}ElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    )
    np.testing.assert_array_equal(volumes.read(tmp_path / "a.mhd").voxels[..., 0], voxels)


@pytest.mark.parametrize("end", [".nrrd", ".mha"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_in_every_container(tmp_path, end, part):
    voxels = np.random.default_rng(0).integers(0, 255, (17, 18, 5)).astype(np.uint8)
    path = tmp_path / f"a{end}"
    volumes.save(path, voxels, volumes.Volume(voxels[..., None], np.diag([1.4, 1.4, 9, 1])))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(InputError, match="copy it again"):
        volumes.read(path)


def test_a_sheared_grid_is_kept_in_nifti_and_refused_elsewhere(tmp_path):
    affine = np.diag([1.4, 1.4, 9, 1.0])
    affine[0, 2] = 3.0
    voxels = np.ones((4, 5, 6), np.uint8)
    like = volumes.Volume(voxels[..., None], affine, path="scan.nrrd")
    volumes.save(tmp_path / "a.nii.gz", voxels, like)
    np.testing.assert_allclose(volumes.read(tmp_path / "a.nii.gz").affine, affine, atol=1e-5)
    with pytest.raises(InputError, match=r"scan\.nrrd has a sheared grid, which a\.mha cannot hold: write NIfTI"):
        volumes.save(tmp_path / "a.mha", voxels, like)
    assert not (tmp_path / "a.mha").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    voxels = np.ones((4, 5, 6), np.uint8)
    like = volumes.Volume(voxels[..., None], np.diag([1.4, 1.4, 9, 1.0]))
    volumes.save(tmp_path / "a.nii.gz", voxels, like)
    before = (tmp_path / "a.nii.gz").read_bytes()

    def fill(image, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(label_maps.nibabel, "save", fill)
    with pytest.raises(OSError, match="No space"):
        volumes.save(tmp_path / "a.nii.gz", voxels + 1, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_spacing_of_one_millimetre_is_taken_as_lost():
    voxels = np.ones((4, 5, 6, 1))
    assert "lost" in str(volumes.Volume(voxels, np.eye(4)).spacing_fault)
    assert volumes.Volume(voxels, np.diag([1.0, 1.0, 5.0, 1.0])).spacing_fault is None


def test_a_gzip_checksum_is_read(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "a.nii")
    packed = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes()))
    packed[-6] ^= 1  # of the checksum
    (tmp_path / "a.nii.gz").write_bytes(packed)
    with pytest.raises(InputError, match="copy it again"):
        volumes.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("more", "words"),
    [(-1, "truncated: 119 bytes, not 120"), *[(n, "longer than its header says, 120 bytes") for n in (1, 1000)]],
)
def test_a_packed_stream_of_another_length_is_refused_with_its_bytes(tmp_path, more, words):
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: gzip\nendian: little\n"
    head += b"space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,5)\nspace origin: (0,0,0)\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + gzip.compress(bytes(120 + more)))
    with pytest.raises(InputError, match=rf"a\.nrrd is {words}"):
        volumes.read(tmp_path / "a.nrrd")


def test_what_a_killed_process_left_of_a_label_map_is_taken_away(tmp_path):
    voxels = np.zeros((4, 5, 6), np.uint8)
    for name in (".part-7-a_seg.nii.gz", ".part-7-b_seg.nii.gz"):
        (tmp_path / name).write_bytes(b"half")
    volumes.save(tmp_path / "a_seg.nii.gz", voxels, volumes.Volume(voxels[..., None], np.eye(4)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-7-b_seg.nii.gz", "a_seg.nii.gz"]


@pytest.mark.parametrize("repair", ["", "1"])
def test_finite_numbers_beyond_single_precision_are_called_so(tmp_path, monkeypatch, repair):
    """A repair would make a scan constant that holds few others."""
    monkeypatch.setenv("SEMICYCLE_REPAIR", repair)
    voxels = np.random.default_rng(0).normal(size=(5, 4, 3))
    voxels[0, 0, :2] = 1e39, -1e200
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2, 2, 8, 1])), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii holds 2 finite numbers beyond 3\.4e\+38, which single precision"):
        volumes.read(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_names_and_folders_need_not_be_utf_8(tmp_path, ending):
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    target = folder / (os.fsdecode(b"H\xe9l\xe8ne_seg") + ending)
    voxels = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    for _ in range(2):
        volumes.save(target, voxels, volumes.Volume(voxels[..., None], np.eye(4)))
    np.testing.assert_array_equal(volumes.read(target).voxels[..., 0], voxels)
    assert volumes.ours(target) and list(folder.iterdir()) == [target]
