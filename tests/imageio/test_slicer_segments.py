"""Segmentations of 3D Slicer: each segment's value and layer make one label map, or the file is refused."""

from pathlib import Path

import numpy as np
import pytest

from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.scan_files import AFFINE, NRRD_PLACE, SHAPE, VOXELS, nrrd

LAYERS = np.zeros((2, *SHAPE), np.int16)
LAYERS[0, :2], LAYERS[1, 3:] = 1, 1
EXPORT = "export the segmentation from 3D Slicer as a label map"


def seg(path: Path, layers: np.ndarray, segments: list[dict[str, str]], kinds: str = "list") -> Path:
    """A segmentation; of layers [layers, X, Y, Z] one of four axes."""
    fields = {f"Segment{n}_ID": f"=Segment_{n + 1}" for n in range(len(segments))}
    for n, segment in enumerate(segments):
        fields |= {f"Segment{n}_{name}": f"={value}" for name, value in segment.items()}
    if layers.ndim == 4:
        fields |= {"dimension": 4, "sizes": " ".join(map(str, layers.shape)), "kinds": f"{kinds} domain domain domain"}
        fields["space directions"] = f"none {NRRD_PLACE['space directions']}"
    nrrd(path, fields, b"\n" + layers.tobytes("F"))
    path.write_bytes(path.read_bytes().replace(b": =", b":="))
    return path


def read(path: Path) -> volumes.Volume:
    return volumes.read(path, mask=True)


@pytest.mark.parametrize("kinds", ["list", "vector"])
def test_layers_become_one_label_map_with_the_segments_values(tmp_path, kinds):
    layers = LAYERS * np.array([2, 5], np.int16)[:, None, None, None]
    segments = [{"LabelValue": "2", "Layer": "0"}, {"LabelValue": "5", "Layer": "1"}]
    volume = read(seg(tmp_path / "x.seg.nrrd", layers, segments, kinds))
    np.testing.assert_array_equal(volume.voxels[..., 0], layers[0] + layers[1])
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volumes.frame_count(tmp_path / "x.seg.nrrd") == 1


@pytest.mark.parametrize("segments", [[{}, {}], [{"LabelValue": "1", "Layer": "0"}, {"LabelValue": "1", "Layer": "1"}]])
def test_segments_of_one_value_are_numbered_in_their_order_and_that_is_said(tmp_path, segments, caplog):
    volume = read(seg(tmp_path / "x.seg.nrrd", LAYERS, segments))
    np.testing.assert_array_equal(volume.voxels[..., 0], LAYERS[0] + 2 * LAYERS[1])
    assert "2 segments in layers share values, so they are numbered" in caplog.text


def test_a_segmentation_of_one_layer_has_its_stored_values(tmp_path):
    labels = (VOXELS % 3 * 4).astype(np.int16)
    segments = [{"LabelValue": "4", "Layer": "0"}, {"LabelValue": "8", "Layer": "0"}]
    np.testing.assert_array_equal(read(seg(tmp_path / "x.seg.nrrd", labels, segments)).voxels[..., 0], labels)


ONE_EACH = [{"LabelValue": "1", "Layer": "0"}, {"LabelValue": "1", "Layer": "1"}]
OVERLAP = LAYERS.copy()
OVERLAP[1, 1] = 1
STRAY = LAYERS.copy()
STRAY[0, 4] = 7
FAULTS = {
    "overlap": (OVERLAP, ONE_EACH, "has 12 voxels in two segments"),
    "stray": (STRAY, ONE_EACH, "a value that belongs to no segment"),
    "no such layer": (LAYERS, [*ONE_EACH, {"LabelValue": "2", "Layer": "2"}], "a segment in layer 2, and 2 layers"),
    "no number": (LAYERS, [{"LabelValue": "one", "Layer": "0"}, {}], "LabelValue or Layer is no whole number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_layers_that_make_no_label_map_are_refused(tmp_path, fault):
    layers, segments, words = FAULTS[fault]
    with pytest.raises(InputError, match=words) as caught:
        read(seg(tmp_path / "x.seg.nrrd", layers, segments))
    assert str(tmp_path / "x.seg.nrrd") in str(caught.value) and EXPORT in str(caught.value)


def test_a_segmentation_is_no_scan(tmp_path):
    for layers in (LAYERS, LAYERS[0]):
        path = seg(tmp_path / "x.nrrd", layers, ONE_EACH)
        with pytest.raises(InputError, match=r"x.nrrd is a segmentation of 3D Slicer: give it as a mask"):
            volumes.read(path, frames=True)
