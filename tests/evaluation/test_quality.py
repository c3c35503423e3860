"""A segmentation is judged without truth."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.evaluation import quality

SIZE = (16, 20, 3)


class Painter(nn.Module):
    """Paints every class in a brightness of its own."""

    tones = torch.tensor([-1.0, -0.2, 0.4, 1.0])

    def forward(self, s):
        return torch.einsum("bkhw,k->bhw", s, self.tones)[:, None]


class Reader(nn.Module):
    """Reads those brightnesses back."""

    def forward(self, x):
        return -100 * (x - Painter.tones.view(1, 4, 1, 1)) ** 2


@pytest.fixture
def seen():
    """An image, and the probabilities of its true labels."""
    labels = torch.zeros(SIZE, dtype=torch.long)
    labels[4:12, 4:12] = 2
    labels[6:10, 6:10] = 3
    labels[5:9, 13:17] = 1
    s = torch.nn.functional.one_hot(labels, 4).movedim(-1, 0).float()
    x = Painter.tones[labels][None]
    return x, s


def judged(x, s, votes=None):
    return quality.judge(x, s, Reader(), Painter(), votes)


def test_a_perfect_cycle_scores_one_everywhere(seen):
    result = judged(*seen)
    names = ("cycle", "cycle_correlation", "cycle_dice", "soft_dice", "entropy")
    assert result.scores == pytest.approx(dict.fromkeys(names, 1.0), abs=1e-5)
    assert result.painted.shape == (1, *SIZE) and result.difference.shape == SIZE
    assert np.abs(result.difference).max() < 1e-6


def test_each_score_is_what_its_definition_says(seen):
    """The slow twin, in NumPy, on a segmentation that is unsure and wrong in places."""
    x, s = seen
    s = s.roll(2, dims=1) * 0.7 + 0.075
    result = judged(x, s)
    labels = s.argmax(0).numpy()
    near = np.zeros(SIZE, bool)
    wide = max(SIZE[:2]) // 16
    for i, j, z in np.argwhere(labels > 0):
        near[max(i - wide, 0) : i + wide + 1, max(j - wide, 0) : j + wide + 1, z] = True
    painted = np.einsum("khwz,k->hwz", s.numpy(), Painter.tones.numpy())
    image = x[0].numpy()
    assert result.scores["cycle"] == pytest.approx(1 - np.abs(image - painted)[near].mean(), abs=1e-5)
    assert result.scores["cycle_correlation"] == pytest.approx(np.corrcoef(image[near], painted[near])[0, 1], abs=1e-5)
    painted_labels = np.abs(painted[..., None] - Painter.tones.numpy()).argmin(-1)
    dices = [
        2 * ((painted_labels == k) & (labels == k)).sum() / ((painted_labels == k).sum() + (labels == k).sum())
        for k in (1, 2, 3)
    ]
    assert result.scores["cycle_dice"] == pytest.approx(np.mean(dices), abs=1e-5)
    p = s.numpy()
    soft_dices = [2 * p[k][labels == k].sum() / (p[k].sum() + (labels == k).sum()) for k in (1, 2, 3)]
    assert result.scores["soft_dice"] == pytest.approx(np.mean(soft_dices), abs=1e-5)
    entropy = -(p * np.log(p)).sum(0) / math.log(4)
    assert result.scores["entropy"] == pytest.approx(1 - entropy[near].mean(), abs=1e-5)


def test_a_structure_that_was_not_found_has_no_part_in_how_sure_it_is(seen):
    x, s = seen
    s[0], s[1] = s[0] + s[1], 0
    s = s * 0.7 + 0.075
    soft_dices = [
        2 * 0.775 * n / (0.775 * n + 0.075 * (960 - n) + n) for n in ((s.argmax(0) == k).sum().item() for k in (2, 3))
    ]
    assert judged(x, s).scores["soft_dice"] == pytest.approx(np.mean(soft_dices), abs=1e-5)


def test_around_is_a_sixteenth_of_the_longer_side():
    for shape in ((16, 48, 1), (48, 16, 1)):
        structure = torch.zeros(shape, dtype=torch.bool)
        structure[8, 8] = True
        assert quality._around(structure).sum() == 7 * 7


def test_the_scores_of_a_slice_are_those_of_a_volume_of_that_slice(seen):
    x, s = seen
    s = s * torch.tensor([0.9, 0.7, 0.5]) + torch.tensor([0.025, 0.075, 0.125])
    result = judged(x, s)
    for z in range(3):
        alone = judged(x[..., z : z + 1], s[..., z : z + 1])
        assert {name: values[z] for name, values in result.slices.items()} == pytest.approx(alone.scores)


def test_a_segmentation_that_is_moved_scores_lower_in_the_cycle(seen):
    x, s = seen
    good, bad = judged(x, s).scores, judged(x, s.roll(4, dims=1)).scores
    assert bad["cycle"] < good["cycle"] - 0.1 and bad["cycle_correlation"] < good["cycle_correlation"] - 0.1


def test_mirror_images_that_disagree_lower_the_flips(seen):
    x, s = seen
    votes = s.argmax(0)[None].repeat(4, 1, 1, 1)
    assert judged(x, s, votes).scores["flips"] == pytest.approx(1)
    votes[2] = 0
    assert judged(x, s, votes).scores["flips"] == pytest.approx(0.75)


def test_an_empty_segmentation_has_no_scores_and_no_crash(seen):
    x, _ = seen
    s = torch.zeros(4, *SIZE)
    s[0] = 1
    result = judged(x, s)
    assert set(result.scores.values()) == {None} and result.slices["soft_dice"] == [None] * 3


def test_without_a_painter_there_is_no_cycle(seen):
    result = quality.judge(*seen, Reader(), None)
    assert set(result.scores) == {"soft_dice", "entropy"} and result.painted is None and result.difference is None
