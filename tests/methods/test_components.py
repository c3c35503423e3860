"""The largest component of each structure, of slices and of volumes."""

import numpy as np

from acdc_semicycle.methods.components import largest_components


def test_only_the_largest_component_of_each_structure_stays():
    labels = np.zeros((6, 8, 4), np.uint8)
    labels[1:4, 1:4] = 2
    labels[2, 2] = 3
    labels[1:4, 5] = 1
    expected = labels.copy()
    labels[5, 7, 2] = 3
    labels[5, 0, 0] = 1
    labels[0, 6:, 1] = 2
    np.testing.assert_array_equal(largest_components(labels), expected)


def test_pixels_of_a_slice_that_share_a_corner_are_connected():
    labels = np.zeros((6, 8), np.int64)
    labels[0, 0] = 1  # small, and gone
    labels[3, 3] = labels[4, 4] = 1
    labels[0, 6:] = 2
    expected = labels.copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(largest_components(labels), expected)


def test_components_are_those_of_the_volume_not_of_its_slices():
    labels = np.zeros((9, 9, 3), np.uint8)
    labels[2:4, 2:4, 0] = 1
    labels[4:6, 4:6, 1] = 1  # shares a corner with the slice above
    labels[7:9, 0:2, 2] = 1  # touches nothing
    kept = largest_components(labels)
    assert kept[..., :2].sum() == 8 and kept[..., 2].sum() == 0
