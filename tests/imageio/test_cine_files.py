"""A cine that is read frame by frame is read once, and anew when it has changed."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle.data import splits
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.cine_files import read_cine
from acdc_semicycle.runtime.errors import InputError


def write(path: Path, value: int, dtype: type = np.int16) -> Path:
    """A cine of five frames, each with its own values, all shifted by ``value``."""
    voxels = np.arange(6 * 5 * 3 * 5).reshape(6, 5, 3, 5) + value
    nibabel.save(nibabel.Nifti1Image(voxels.astype(dtype), np.diag([1.4, 1.4, 8.0, 1.0])), path)
    return path


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that are read from the disk."""
    files, whole = [], volumes._read_file
    monkeypatch.setattr(volumes, "_read_file", lambda path, policy: files.append(path) or whole(path, policy))
    return files


def test_the_frames_of_an_image_and_its_mask_cost_one_read_of_each(tmp_path, reads):
    image, mask = write(tmp_path / "a.nii.gz", 0), write(tmp_path / "a_gt.nii.gz", 0, np.uint8)
    load = LoadCheckedd(["image", "label"])
    items = [load({"image": str(image), "label": str(mask), "frame": frame}) for frame in range(5)]
    assert reads == [image, mask]
    whole = volumes.read(image, frames=True)
    for frame, item in enumerate(items):
        np.testing.assert_array_equal(item["image"][0], whole.layout.apply(whole.voxels[..., frame]))


def test_a_split_by_slice_reads_a_cine_once(tmp_path, reads):
    image = write(tmp_path / "a.nii.gz", 0)
    records = [Record(f"a_frame{n + 1:02d}", "a", image, frame=n) for n in range(5)]
    assert len(splits.units(records, "slice")) == 15 and reads == [image]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.hdr"])
def test_a_file_that_has_changed_is_read_again(tmp_path, name):
    """Of a pair it is the file beside the header that changes."""
    path = tmp_path / name
    for value in (0, 7):
        if name.endswith(".hdr"):
            voxels = np.full((6, 5, 3, 5), value, np.int16) + np.arange(5, dtype=np.int16)
            nibabel.save(nibabel.Nifti1Pair(voxels, np.diag([1.4, 1.4, 8.0, 1.0])), path)
        else:
            write(path, value)
        assert read_cine(path).voxels[0, 0, 0, 0] == value


def test_what_is_read_of_a_cine_can_be_changed_without_changing_it(tmp_path):
    """Also where the voxels need no conversion and no turn."""
    path = write(tmp_path / "a.nii", 0, np.float32)
    load = LoadCheckedd("image")
    before = load({"image": path, "frame": 1})["image"]
    expected = before.clone()
    before += 1
    np.testing.assert_array_equal(load({"image": path, "frame": 1})["image"], expected)


def test_another_policy_reads_the_file_again(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz", 0)
    read_cine(path)
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "10")
    with pytest.raises(InputError):
        read_cine(path)


def test_a_cine_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii\.gz is not a file"):
        read_cine(tmp_path / "a.nii.gz")
