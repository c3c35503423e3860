"""Distances between surfaces against a slow twin, voxel by voxel."""

import itertools
import math

import numpy as np
import pytest
from label_map_files import SPACING, blobs, box

from acdc_semicycle.evaluation import surface_distance


def twin(prediction: np.ndarray, truth: np.ndarray, spacing) -> tuple[float, float]:
    """HD95 and ASSD of two masks by their definition, voxel by voxel."""

    def surface(mask) -> np.ndarray:
        inside = {tuple(index) for index in np.argwhere(mask).tolist()}
        steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if sum(map(abs, step)) == 1]
        indices = [p for p in inside if any(tuple(np.add(p, step)) not in inside for step in steps)]
        return np.array(indices) * spacing

    predicted_surface, true_surface = surface(prediction), surface(truth)
    apart = np.linalg.norm(predicted_surface[:, None] - true_surface[None], axis=2)
    there, back = apart.min(1), apart.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, float(np.concatenate([there, back]).mean())


def check_distances(prediction, truth, spacing, twin_axes: int = 3) -> None:
    hd95, assd = surface_distance.distances(prediction, truth, 3, spacing)
    for k in (1, 2):
        masks = [prediction == k, truth == k]
        if twin_axes == 2:
            masks = [mask[..., 0] for mask in masks]
        assert (hd95[k - 1], assd[k - 1]) == pytest.approx(twin(*masks, spacing[:twin_axes]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING, (0.7, 3.1, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_distances_of_ragged_structures_are_those_of_the_definition(seed, spacing):
    check_distances(blobs(seed), blobs(seed + 100), spacing)


def test_distances_of_single_voxels_and_of_all_voxels_are_those_of_the_definition():
    shape = (6, 5, 4)
    corner, far = box((0, 0, 0), (1, 1, 1), 1, shape), box((5, 4, 3), (1, 1, 1), 1, shape)
    everything = np.full(shape, 1, np.uint8)
    for prediction, truth in ((corner, far), (corner, everything), (everything, far), (everything, everything)):
        prediction, truth = prediction.copy(), truth.copy()
        prediction[2, 2, 1], truth[3, 2, 1] = 2, 2
        check_distances(prediction, truth, SPACING)
    assert surface_distance.distances(corner, far, 2, SPACING)[0] == pytest.approx([math.hypot(7.5, 5, 24)])


def test_a_volume_of_one_slice_has_outlines():
    prediction, truth = blobs(0, (13, 11, 1)), blobs(1, (13, 11, 1))
    check_distances(prediction, truth, SPACING, twin_axes=2)
    full = box((2, 2, 0), (8, 7, 1), 1, (12, 12, 1))
    hollow = full.copy()
    hollow[3, 3] = 0  # next to the outline: as a slab of surface voxels this would be no distance at all
    assert surface_distance.distances(hollow, full, 2, SPACING)[1][0] > 0


@pytest.mark.parametrize("seed", range(3))
def test_background_around_the_structures_changes_no_distance(seed):
    prediction, truth = blobs(seed), blobs(seed + 100)
    alone = surface_distance.distances(prediction, truth, 3, SPACING)
    padded = [np.pad(labels, [(7, 0), (2, 5), (1, 3)]) for labels in (prediction, truth)]
    assert surface_distance.distances(*padded, 3, SPACING) == alone


def test_a_structure_in_one_map_only_is_as_far_as_the_volume_is_long_and_in_none_it_has_no_distance():
    hd95, assd = surface_distance.distances(box(label=1), box(label=2), 4, SPACING)
    diagonal = math.hypot(12 * 1.5, 10 * 1.25, 5 * 8)
    assert hd95[:2] == assd[:2] == pytest.approx([diagonal, diagonal])
    assert math.isnan(hd95[2]) and math.isnan(assd[2])
