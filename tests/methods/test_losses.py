"""Each loss against numbers a reader can check by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import one_hot

from acdc_semicycle.methods.losses import cross_entropy, judged_fake, judged_real, l1, l2, mean, weigh


def random_problem(classes: int = 4):
    """Logits [2, K, 8, 8] and class indices [2, 8, 8]."""
    torch.manual_seed(0)
    return torch.randn(2, classes, 8, 8), torch.randint(classes, (2, 8, 8))


def mask_of(indices, classes: int = 4):
    return one_hot(indices, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("K", [2, 4, 21])
def test_cross_entropy_of_uniform_logits_is_log_K(K):
    y = mask_of(torch.randint(K, (2, 8, 8)), K)
    assert cross_entropy(torch.full((2, K, 8, 8), 3.0), y).item() == pytest.approx(math.log(K))


def test_cross_entropy_by_hand():
    """Two pixels, softmax (3/4, 1/4) and (1/4, 3/4), both of class 0."""
    logits = torch.tensor([[[[math.log(3.0), 0.0]], [[0.0, math.log(3.0)]]]])
    y = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    assert cross_entropy(logits, y).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_cross_entropy_agrees_with_torch_on_class_indices():
    logits, indices = random_problem()
    torch.testing.assert_close(cross_entropy(logits, mask_of(indices)), torch_cross_entropy(logits, indices))


def test_pixels_nobody_annotated_do_not_count_and_get_no_gradient():
    logits, indices = random_problem()
    logits.requires_grad_()
    y = mask_of(indices)
    y[0, :, :3] = 0
    y[1, :, :, 5] = 0
    unannotated = y.sum(1) == 0

    loss = cross_entropy(logits, y)
    loss.backward()

    torch.testing.assert_close(loss, torch_cross_entropy(logits, indices.masked_fill(unannotated, -100)))
    gradient = logits.grad.movedim(1, -1)
    assert (gradient[unannotated] == 0).all()
    assert (gradient[~unannotated] != 0).all()


def test_cross_entropy_is_zero_where_nothing_is_annotated():
    logits = torch.randn(2, 4, 8, 8, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(2, 4, 8, 8))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_cross_entropy_of_huge_logits_is_finite():
    logits = torch.tensor([[[[1000.0]], [[-1000.0]]]])
    assert cross_entropy(logits, torch.tensor([[[[0.0]], [[1.0]]]])).item() == 2000


def test_cross_entropy_of_bf16_logits_is_computed_in_single_precision():
    logits, indices = random_problem()
    logits = logits.bfloat16()
    loss = cross_entropy(logits, mask_of(indices))
    assert loss.dtype == torch.float32
    assert loss == cross_entropy(logits.float(), mask_of(indices))


@pytest.mark.parametrize("distance", [l1, l2])
def test_distances_of_bf16_images_are_computed_in_single_precision(distance):
    image, x = torch.randn(2, 1, 8, 8).bfloat16(), torch.randn(2, 1, 8, 8)
    assert distance(image, x).dtype == torch.float32
    assert distance(image, x) == distance(image.float(), x)


@pytest.mark.parametrize("judged", [judged_real, judged_fake])
def test_bf16_scores_are_judged_in_single_precision(judged):
    score = torch.randn(2, 1, 8, 8).bfloat16()
    assert judged(score).dtype == torch.float32
    assert judged(score) == judged(score.float())


def image(*values: float):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_l1_and_l2_by_hand():
    """Differences 1, 0, -3."""
    assert l1(image(1, 2, 0), image(0, 2, 3)).item() == pytest.approx(4 / 3)
    assert l2(image(1, 2, 0), image(0, 2, 3)).item() == pytest.approx(10 / 3)


def test_scores_judged_by_hand():
    """Scores 1, 0, 3: off real by 0, -1, 2; off fake by 1, 0, 3."""
    assert judged_real(image(1, 0, 3)).item() == pytest.approx(5 / 3)
    assert judged_fake(image(1, 0, 3)).item() == pytest.approx(10 / 3)


def test_the_mean_over_annotated_pixels_by_hand():
    """Two channels, the middle pixel of three annotated by nobody: (1 + 3 + 4 + 6) / 4, not (1 + ... + 6) / 6."""
    values = torch.tensor([[[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]])
    assert mean(values, image(1, 0, 1)) == 3.5
    assert mean(values[:, :1], image(0, 1, 0)) == 2
    assert mean(values, image(0, 1, 0)) == 3.5
    assert mean(values, image(0, 0, 1)) == 4.5


def test_annotated_pixels_count_the_same_in_whatever_image_of_the_batch_they_are():
    """One annotated pixel in the first image, three in the second: a mean of four, not a mean of two means."""
    values = torch.tensor([[[[8.0, 9.0, 9.0]]], [[[1.0, 1.0, 2.0]]]])
    known = torch.tensor([[[[1.0, 0.0, 0.0]]], [[[1.0, 1.0, 1.0]]]])
    assert mean(values, known) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_with_every_pixel_annotated_the_mean_is_the_plain_one(channels):
    torch.manual_seed(0)
    values = torch.randn(2, channels, 8, 8)
    torch.testing.assert_close(mean(values, torch.ones(2, 1, 8, 8)), values.mean())
    assert mean(values) == values.mean()


def test_the_mean_over_no_pixel_is_zero_without_gradient():
    values = torch.randn(2, 3, 8, 8, requires_grad=True)
    nothing = mean(values, torch.zeros(2, 1, 8, 8))
    nothing.backward()
    assert nothing == 0
    assert (values.grad == 0).all()


def test_distances_and_judgements_over_annotated_pixels_by_hand():
    """Differences 1, 0, -3 and scores 1, 0, 3, the last pixel annotated by nobody."""
    assert l2(image(1, 2, 0), image(0, 2, 3), image(1, 1, 0)).item() == pytest.approx(1 / 2)
    assert judged_real(image(1, 0, 3), image(1, 1, 0)).item() == pytest.approx(1 / 2)


def test_perfect_scores_cost_nothing():
    assert judged_real(torch.ones(2, 1, 4, 4)) == 0
    assert judged_fake(torch.zeros(2, 1, 4, 4)) == 0


def test_weigh_sums_each_term_times_its_own_weight():
    terms = {"gen_S": torch.tensor(2.0), "gen_I": torch.tensor(3.0), "adv_S": torch.tensor(5.0)}
    weights = {"adv_S": 100.0, "gen_S": 1.0, "gen_I": 10.0, "disc_S": 1000.0}
    assert weigh(terms, weights) == 2 + 30 + 500


def test_weigh_gives_each_term_its_weight_as_gradient():
    terms = {"gen_S": torch.tensor(2.0, requires_grad=True), "gen_I": torch.tensor(3.0, requires_grad=True)}
    weigh(terms, {"gen_S": 0.25, "gen_I": 0.0}).backward()
    assert [term.grad.item() for term in terms.values()] == [0.25, 0.0]


def test_weigh_refuses_a_term_without_weight():
    with pytest.raises(KeyError, match="cycle_I"):
        weigh({"gen_S": torch.tensor(1.0), "cycle_I": torch.tensor(1.0)}, {"gen_S": 1.0})
