"""Random hearts: any size, contrast and place, and a mask that is true all the same."""

import numpy as np
import pytest

from acdc_semicycle.datasets import random_hearts
from acdc_semicycle.datasets.phantom_tissue import LV, MYO, RV


@pytest.fixture(scope="module")
def drawn():
    return [random_hearts.random_slice(np.random.default_rng([7, number])) for number in range(40)]


def test_a_slice_depends_on_its_seed_alone(drawn):
    image, mask = random_hearts.random_slice(np.random.default_rng([7, 3]))
    assert np.array_equal(image, drawn[3][0]) and np.array_equal(mask, drawn[3][1])
    assert not np.array_equal(image, drawn[4][0])


def test_images_and_masks_have_one_grid(drawn):
    for image, mask in drawn:
        assert image.shape == mask.shape == (256, 256)
        assert image.dtype == np.int16 and mask.dtype == np.uint8
        assert image.min() >= 0 and image.std() > 0 and mask.max() <= 3


def test_hearts_differ_in_size_and_some_slices_have_none(drawn):
    areas = np.array([[(mask == number).sum() for number in range(1, 4)] for _, mask in drawn])
    assert (areas.sum(1) == 0).any()
    assert (areas > 0).any(0).all()
    largest, smallest = areas[areas[:, 2] > 0, 2].max(), areas[areas[:, 2] > 0, 2].min()
    assert largest > 10 * smallest


def test_the_left_cavity_lies_in_its_muscle(drawn):
    for _, mask in drawn:
        rows, columns = np.nonzero(mask == 3)
        inner = (rows > 0) & (rows < 255) & (columns > 0) & (columns < 255)
        for row, column in zip(rows[inner], columns[inner], strict=True):
            assert not (mask[row - 1 : row + 2, column - 1 : column + 2] == 1).any(), "the cavities touch"


def test_both_ventricles_eject_in_every_heart():
    for number in range(300):
        heart = random_hearts.random_heart(np.random.default_rng(number))
        truth = heart.heart.truth
        assert 0 < truth.lv_ml <= 240 and truth.rv_ml > 0 and truth.myo_ml > 0
        if truth.phase == "ES":
            assert truth.rv_ml < heart.traits["lv_ml"] * heart.traits["rv_part"]


def test_blood_and_muscle_are_apart_whatever_their_contrasts():
    for number in range(300):
        bright = random_hearts.random_contrasts(np.random.default_rng(number))
        assert (bright >= 0).all()
        assert abs(bright[LV] - bright[MYO]) > 0.09
        assert bright[RV] > 0.4 * bright[LV]
