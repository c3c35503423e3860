"""Which slices of a scan to mend first, by the Dice that is expected of it."""

import numpy as np
import pytest

from acdc_semicycle.annotation.slice_gains import SMOOTH, Sums, expected_dice, gains, sums_of


def sums(common, expected, labelled) -> Sums:
    """The sums of one class, by slice."""
    return Sums(*(np.array([row], float) for row in (common, expected, labelled)))


def dice_by_hand(common: float, expected: float, labelled: float) -> float:
    return (2 * common + SMOOTH) / (expected + labelled + SMOOTH)


def test_the_sums_are_those_of_the_pixels():
    probabilities = np.zeros((2, 1, 3, 2))
    probabilities[1] = [[[0.9, 0.1], [0.6, 0.2], [0.2, 0.3]]]
    labels = np.array([[[1, 0], [1, 0], [0, 0]]])
    common, expected, labelled = sums_of(probabilities, labels)
    assert common.tolist() == [[pytest.approx(1.5), 0]] and labelled.tolist() == [[2, 0]]
    assert expected.tolist() == [[pytest.approx(1.7), pytest.approx(0.6)]]


def test_the_expected_dice_is_that_of_the_probabilities_with_the_labels():
    assert expected_dice(sums([6, 3], [8, 4], [7, 5])) == pytest.approx(dice_by_hand(9, 12, 12))


def test_a_mended_slice_is_as_large_as_it_is_expected_to_be():
    assert expected_dice(sums([6, 3], [8, 4], [7, 5]), [1]) == pytest.approx(dice_by_hand(6 + 4, 12, 7 + 4))


def test_a_scan_that_is_mended_whole_has_a_dice_of_one():
    assert expected_dice(sums([6, 3], [8, 4], [7, 5]), [0, 1]) == pytest.approx(1)


def test_the_most_doubtful_slice_is_first_and_the_sure_one_last():
    order = gains(sums([10, 2, 6], [10, 8, 8], [10, 8, 8]))
    assert [gain.slice_index for gain in order] == [1, 2, 0]
    assert order[0].dice > order[1].dice > order[2].dice == pytest.approx(0)


def test_the_gains_of_all_slices_make_the_dice_one():
    scan = sums([6, 3, 1], [8, 4, 2], [7, 5, 3])
    assert expected_dice(scan) + sum(gain.dice for gain in gains(scan)) == pytest.approx(1)


def test_each_gain_is_that_after_the_slices_before_it():
    scan = sums([6, 3, 1], [8, 4, 2], [7, 5, 3])
    first, second, _ = gains(scan)
    before, after = [first.slice_index], [first.slice_index, second.slice_index]
    assert second.dice == pytest.approx(expected_dice(scan, after) - expected_dice(scan, before))


def test_where_nothing_is_in_doubt_the_middle_comes_first():
    order = gains(sums([5] * 5, [5] * 5, [5] * 5))
    assert [gain.slice_index for gain in order] == [2, 1, 3, 0, 4]


def test_a_class_that_is_neither_found_nor_expected_takes_nothing_away():
    assert expected_dice(sums([0], [1e-9], [0])) == pytest.approx(1)


def test_one_slice_is_an_order_too():
    assert [gain.slice_index for gain in gains(sums([1], [2], [3]))] == [0]
