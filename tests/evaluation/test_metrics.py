"""Overlap of whole volumes against loops, by hand, and against ignite."""

import math

import numpy as np
import pytest
import torch
from ignite.metrics import ConfusionMatrix, mIoU
from monai.data import MetaTensor

from acdc_semicycle.evaluation import metrics

nan = float("nan")


def maps(seed: int, shape=(6, 5, 3), classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """A random prediction and truth that agree in about two thirds of the voxels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    prediction = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape))
    return torch.tensor(prediction), torch.tensor(truth)


def twin_counts(prediction, truth, classes: int) -> np.ndarray:
    result = np.zeros((classes, 3))
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if p == t:
            result[p, 0] += 1
        else:
            result[p, 1] += 1  # p was said and is not there
            result[t, 2] += 1  # t is there and was not said
    return result


def twin_dice(tp: float, fp: float, fn: float) -> float:
    return nan if tp + fp + fn == 0 else 2 * tp / ((tp + fp) + (tp + fn))


def twin_iou(tp: float, fp: float, fn: float) -> float:
    return nan if tp + fp + fn == 0 else tp / (tp + fp + fn)


def twin_mean(score, volumes, classes: int) -> float:
    """Of each structure the mean over the volumes that have it, then over structures."""
    by_structure = []
    for structure in range(1, classes):
        scores = [score(*twin_counts(p, t, classes)[structure]) for p, t in volumes]
        if scored := [value for value in scores if not math.isnan(value)]:
            by_structure.append(sum(scored) / len(scored))
    return sum(by_structure) / len(by_structure) if by_structure else nan


def counted(prediction, truth, classes: int) -> torch.Tensor:
    return metrics.counts(metrics.confusion(prediction, truth, classes))


def measured(metric, volumes) -> float:
    """As MONAI's engine does: a list of volumes [1, H, W, slices] at a time, each its own shape."""
    for prediction, truth in volumes:
        metric([prediction[None].float()], [truth[None].float()])
    return metric.aggregate().item()


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_scores_equal_the_loop(seed):
    prediction, truth = maps(seed)
    result = counted(prediction, truth, 4)
    expected = twin_counts(prediction, truth, 4)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_allclose(metrics.dice(result), [twin_dice(*row) for row in expected])
    np.testing.assert_allclose(metrics.iou(result), [twin_iou(*row) for row in expected])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_counts_do_not_depend_on_how_labels_are_stored(dtype):
    prediction, truth = maps(0, classes=20)  # 19 * 20 is more than a byte holds
    expected = twin_counts(prediction, truth, 20)
    np.testing.assert_array_equal(counted(prediction.to(dtype), truth.to(dtype), 20), expected)
    np.testing.assert_array_equal(counted(MetaTensor(prediction.to(dtype)), truth.to(dtype), 20), expected)


def test_counts_by_hand():
    truth = torch.tensor([[0, 0, 1], [1, 1, 2]])
    prediction = torch.tensor([[0, 1, 1], [1, 2, 2]])
    result = counted(prediction, truth, 4)
    assert result.tolist() == [[1, 0, 1], [2, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert metrics.dice(result).tolist()[:3] == pytest.approx([2 / 3, 4 / 6, 2 / 3])
    assert metrics.iou(result).tolist()[:3] == pytest.approx([1 / 2, 2 / 4, 1 / 2])


def test_what_is_in_neither_has_no_score_and_what_only_one_has_scores_nought():
    nothing, some = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 0, 1])
    for score in (metrics.dice, metrics.iou):
        assert math.isnan(score(counted(nothing, nothing, 2))[1])
        assert score(counted(some, nothing, 2))[1] == 0
        assert score(counted(nothing, some, 2))[1] == 0
        assert score(counted(some, some, 2))[1] == 1


def test_a_label_that_is_no_class_is_not_counted_as_another():
    with pytest.raises(RuntimeError):
        counted(torch.tensor([0, 4]), torch.tensor([0, 3]), 4)


@pytest.mark.parametrize(("metric", "score"), [(metrics.MeanDice, twin_dice), (metrics.MeanIoU, twin_iou)])
def test_means_over_volumes_of_different_shapes_equal_the_loop(metric, score):
    volumes = [maps(0), maps(1, (4, 7, 2)), maps(2, (3, 3, 9))]
    volumes.append(tuple(torch.where(m == 3, 0, m) for m in maps(3)))  # without the third structure
    volumes.append((maps(4)[0], torch.zeros(6, 5, 3, dtype=torch.int64)))  # all of it false
    assert measured(metric(4), volumes) == pytest.approx(twin_mean(score, volumes, 4))


def test_a_structure_that_no_volume_has_does_not_count():
    volumes = [tuple(torch.where(m == 2, 0, m) for m in maps(seed)) for seed in range(3)]
    assert measured(metrics.MeanDice(4), volumes) == pytest.approx(twin_mean(twin_dice, volumes, 4))


def test_a_false_structure_pulls_the_mean_down():
    truth = torch.tensor([[[0, 1, 1, 0]]])
    perfect, false = truth.clone(), torch.tensor([[[0, 1, 1, 2]]])
    assert measured(metrics.MeanDice(3), [(perfect, truth)]) == 1
    assert measured(metrics.MeanDice(3), [(false, truth)]) == pytest.approx((1 + 0) / 2)
    assert measured(metrics.MeanIoU(3), [(false, truth)]) == pytest.approx((1 + 0) / 2)


def test_means_are_over_volumes_first_and_then_over_structures():
    truth = torch.tensor([[[1, 2]]])
    volumes = [(truth, truth), (torch.tensor([[[2, 0]]]), torch.tensor([[[1, 0]]]))]  # 1: (1 + 0)/2, 2: (1 + 0)/2
    volumes.append((torch.tensor([[[1, 0]]]), torch.tensor([[[1, 0]]])))  # 1: (1 + 0 + 1)/3
    assert measured(metrics.MeanDice(3), volumes) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_background_counts_for_the_papers_miou_only():
    truth = torch.tensor([[[0, 0, 0, 1]]])
    prediction = torch.tensor([[[0, 1, 0, 1]]])
    assert measured(metrics.MeanIoU(2), [(prediction, truth)]) == pytest.approx(1 / 2)
    assert measured(metrics.MeanDice(2), [(prediction, truth)]) == pytest.approx(2 / 3)
    assert measured(metrics.PooledIoU(2), [(prediction, truth)]) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_pooled_iou_is_one_confusion_matrix_over_all_volumes():
    volumes = [maps(seed, (4 + seed, 5, 2)) for seed in range(4)]
    pooled = sum(twin_counts(p, t, 4) for p, t in volumes)
    expected = sum(twin_iou(*row) for row in pooled) / 4
    assert measured(metrics.PooledIoU(4), volumes) == pytest.approx(expected)


def test_the_pooled_iou_is_ignites():
    volumes = [maps(seed, (4 + seed, 5, 2)) for seed in range(4)]
    theirs = mIoU(ConfusionMatrix(num_classes=4))
    for prediction, truth in volumes:
        one_hot = torch.nn.functional.one_hot(prediction, 4).movedim(-1, 0).float()
        theirs.update((one_hot[None], truth[None]))
    assert measured(metrics.PooledIoU(4), volumes) == pytest.approx(theirs.compute().item())


@pytest.mark.parametrize("metric", [metrics.MeanDice, metrics.MeanIoU, metrics.PooledIoU])
def test_one_list_of_volumes_a_batch_and_one_at_a_time_are_the_same(metric):
    volumes = [maps(seed) for seed in range(3)]
    alone = measured(metric(4), volumes)
    together, batch = metric(4), metric(4)
    together([p[None] for p, _ in volumes], [t[None] for _, t in volumes])
    batch(torch.stack([p[None] for p, _ in volumes]), torch.stack([t[None] for _, t in volumes]))
    assert together.aggregate().item() == batch.aggregate().item() == alone


@pytest.mark.parametrize("metric", [metrics.MeanDice, metrics.MeanIoU, metrics.PooledIoU])
def test_a_reset_forgets_the_last_epoch(metric):
    once = metric(4)
    measured(once, [maps(0)])
    once.reset()
    assert measured(once, [maps(1)]) == measured(metric(4), [maps(1)])


def test_a_million_voxels_of_one_structure_are_counted_exactly():
    ones = torch.ones(257, 256, 256, dtype=torch.uint8)  # more than float32 counts one by one
    ones_but_one = ones.clone()
    ones_but_one[0, 0, 0] = 0
    assert counted(ones, ones_but_one, 2).tolist() == [[0, 0, 1], [257 * 65536 - 1, 1, 0]]


def test_a_pixel_that_nobody_annotated_does_not_count():
    truth = torch.tensor([0, 255, 1, 255])
    assert counted(torch.tensor([0, 1, 1, 0]), truth, 2).tolist() == [[1, 0, 0], [1, 0, 0]]
    metric = metrics.PooledIoU(2)
    assert measured(metric, [(torch.tensor([[[0, 1, 1, 0]]]), truth[None, None])]) == 1


def test_the_data_sets_miou_equals_ignites_with_ignored_pixels():
    volumes = [maps(seed) for seed in range(3)]
    for _, truth in volumes:
        truth[0] = 255
    theirs = mIoU(ConfusionMatrix(num_classes=4))
    for prediction, truth in volumes:
        one_hot = torch.nn.functional.one_hot(prediction, 4).movedim(-1, 0).float()
        theirs.update((one_hot[None], truth[None]))
    assert measured(metrics.PooledIoU(4), volumes) == pytest.approx(theirs.compute().item())


def test_without_a_class_what_is_confused_with_it_costs_nothing():
    # by hand: class 1 hit twice, once called 0; class 2 hit once, once called 1; 0 called 2 once
    truth = torch.tensor([[[1, 1, 1, 2, 2, 0, 0]]])
    prediction = torch.tensor([[[1, 1, 0, 2, 1, 2, 0]]])
    assert measured(metrics.PooledIoU(3), [(prediction, truth)]) == pytest.approx((1 / 3 + 2 / 4 + 1 / 3) / 3)
    assert measured(metrics.PooledIoU(3, without=0), [(prediction, truth)]) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_background_counts_where_a_data_set_has_none():
    volumes = [maps(seed) for seed in range(3)]
    by_class = [np.nanmean([twin_dice(*twin_counts(p, t, 4)[k]) for p, t in volumes]) for k in range(4)]
    assert measured(metrics.MeanDice(4, include_background=True), volumes) == pytest.approx(np.mean(by_class))
