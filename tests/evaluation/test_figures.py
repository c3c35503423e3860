"""The pictures of figures: their greys."""

import numpy as np

from acdc_semicycle.evaluation.windowing import to_grey, window_of


def test_greys_run_from_the_windows_low_end_to_its_high_end_and_no_further():
    assert to_grey(np.array([-5.0, 0, 5, 10, 99]), (0, 10)).tolist() == [0, 0, 127, 255, 255]
    assert to_grey(np.array([7, 7], np.uint16), (7, 7)).tolist() == [0, 0]


def test_a_window_leaves_out_the_darkest_hundredth_and_the_brightest_half_of_one():
    assert window_of(np.arange(201.0).reshape(3, 67)) == (2, 199)
    assert window_of(np.arange(201.0), (0.5, 99.5)) == (1, 199)
