"""What any method can be given: another loss, against its slow twin, a mean of its weights; boxes of mixed images."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.artifacts import weights
from acdc_semicycle.methods.configured import configured
from acdc_semicycle.methods.losses import cross_entropy_and_dice, dice_loss
from acdc_semicycle.methods.mean_teacher import MeanTeacher
from acdc_semicycle.methods.mixing import boxes, mixed
from acdc_semicycle.methods.objective import Batch
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.runtime.errors import InputError
from tests.methods.few_runs import train

K = 3


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Conv2d(1, K, 3, padding=1)


def batch(seed: int = 1, count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x, weak, strong = (torch.randn(count, 1, 12, 10, generator=generator) for _ in range(3))
    labels = torch.randint(0, K, (count, 12, 10), generator=generator)
    return Batch(x, nn.functional.one_hot(labels, K).movedim(-1, 1).float(), {"weak": weak, "strong": strong})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def entropy_twin(logits: np.ndarray, y: np.ndarray) -> float:
    total = count = 0.0
    s = softmax(logits)
    for b, h, w in np.ndindex(y.shape[0], *y.shape[2:]):
        for k in range(K):
            total -= y[b, k, h, w] * np.log(s[b, k, h, w])
            count += y[b, k, h, w]
    return total / max(count, 1)


def dice_twin(logits: np.ndarray, y: np.ndarray) -> float:
    s, losses = softmax(logits), []
    for k in range(1, K):
        both = each = 0.0
        for b, h, w in np.ndindex(y.shape[0], *y.shape[2:]):
            if y[b, :, h, w].sum() == 0:
                continue
            share = y[b, :, h, w].sum()
            both += share * s[b, k, h, w] * y[b, k, h, w]
            each += share * s[b, k, h, w] + y[b, k, h, w]
        losses.append(1 - (2 * both + 1) / (each + 1))
    return float(np.mean(losses))


def test_dice_equals_its_slow_twin_and_leaves_out_what_is_not_annotated():
    logits, y = network()(batch().x).detach(), batch().y.clone()
    y[0, :, :5] = 0
    assert dice_loss(logits, y).item() == pytest.approx(dice_twin(logits.numpy(), y.numpy()), abs=1e-5)
    both = entropy_twin(logits.numpy(), y.numpy()) + dice_twin(logits.numpy(), y.numpy())
    assert cross_entropy_and_dice(logits, y).item() == pytest.approx(both, abs=1e-5)
    assert dice_loss(10 * (2 * batch().y - 1), batch().y) < 1e-3


@pytest.mark.slow
def test_few_without_an_unlabelled_image_is_few_partial(tmp_path, phantom_dir, caplog):
    caplog.set_level("INFO", "semicycle")
    every_mask = {"labelled": 1.0, "split::spare": 9}
    train(tmp_path / "few", phantom_dir, **every_mask)
    assert "no image is without a mask: the training is supervised, on the labelled images alone" in caplog.messages
    assert not any("stand in" in message for message in caplog.messages)
    train(tmp_path / "partial", phantom_dir, "partial", **every_mask)
    few, partial = (weights.load(tmp_path / name / "models" / "model.pt") for name in ("few", "partial"))
    assert few.keys() == partial.keys() and all(torch.equal(few[name], partial[name]) for name in few)


def test_boxes_have_their_share_and_their_area():
    torch.manual_seed(0)
    inside = boxes(400, 40, 60, 0.5)
    areas = inside.mean((1, 2, 3))
    assert abs((areas > 0).float().mean() - 0.5) < 0.1
    assert areas[areas > 0].min() > 0.08 and areas.max() < 0.45
    for box in inside[areas > 0]:
        rows, columns = box[0].any(1).nonzero(), box[0].any(0).nonzero()
        assert box.sum() == len(rows) * len(columns), "one box"
    assert boxes(5, 8, 8, 0.0).sum() == 0
    torch.testing.assert_close(
        mixed(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)), torch.ones(1, 3, 2, 2)
    )


def test_any_method_can_be_given_a_mean_of_its_weights_and_another_loss():
    objective = configured(Supervised(network()), "cross_entropy_and_dice", 0.9)
    given = batch()
    terms, _ = objective.generator_terms(given)
    torch.testing.assert_close(terms["gen_S"], cross_entropy_and_dice(objective.G_IS(given.x), given.y))
    before = objective.segmenter.weight.clone()
    with torch.no_grad():
        objective.G_IS.weight += 1
    objective.after_step()
    assert objective.segmenter is objective.T.network
    torch.testing.assert_close(objective.segmenter.weight, before + 0.5)  # 1 - 1 / (1 + 1) after the first step
    assert any(name.startswith("T.") for name in objective.state_dict())


def test_without_a_mean_a_method_is_what_it_was():
    objective = configured(Supervised(network()), "cross_entropy", None)
    assert objective.segmenter is objective.G_IS and set(objective.state_dict()) == {"G_IS.weight", "G_IS.bias"}


def test_a_method_with_a_teacher_keeps_its_own():
    objective = MeanTeacher(network(), ramp_steps=1)
    teacher = objective.T
    assert configured(objective, "cross_entropy", 0.99).T is teacher


def test_another_loss_is_refused_in_a_line():
    with pytest.raises(InputError, match="labelled_loss is 'dice': give one of cross_entropy, cross_entropy_and_dice"):
        configured(Supervised(network()), "dice", None)
