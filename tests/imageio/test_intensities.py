"""What an image spans, and whether it shows anything."""

import numpy as np
import pytest

from acdc_semicycle.imageio.intensities import FEW, constancy, span_of

PERCENTILES = (0.5, 99.5)


def test_the_span_of_an_image_is_its_percentiles():
    image = np.random.default_rng(0).normal(size=(40, 40, 3))
    assert span_of(image, PERCENTILES) == tuple(np.percentile(image, PERCENTILES))


@pytest.mark.parametrize("background", [0, -2000, 40000])
def test_a_background_that_holds_nearly_all_takes_no_part(background):
    image = np.full(100000, background)
    image[:201] = np.arange(100, 301)
    assert span_of(image, PERCENTILES) == pytest.approx((101, 299))
    assert span_of(image[:201], PERCENTILES) == pytest.approx((101, 299))


def test_a_constant_image_spans_something_all_the_same():
    assert span_of(np.full((3, 3), 7), PERCENTILES) == (7, 8)


@pytest.mark.parametrize(
    ("different", "words"),
    [
        (0, "constant (5 in every voxel)"),
        (1, "constant but for one voxel (5 in all others)"),
        (FEW, "constant but for 32 voxels (5 in all others)"),
        (FEW + 1, None),
    ],
)
def test_an_image_shows_nothing_where_only_a_few_voxels_differ(different, words):
    image = np.full((200, 200, 2), 5, np.int16)
    image.ravel()[77 : 77 + different] = np.arange(1000, 1000 + different)
    assert constancy(image) == words


def test_few_voxels_are_many_in_a_small_image():
    image = np.zeros((8, 8))
    image[0, 0] = 1
    assert constancy(image) is None
    assert constancy(np.random.default_rng(0).normal(size=(4, 4))) is None
