"""Self-training: its terms against a slow twin, and before there are pseudo-labels."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.methods.objective import Batch
from acdc_semicycle.methods.schedules import poly_decay
from acdc_semicycle.methods.self_training import SelfTraining
from acdc_semicycle.methods.supervised import Supervised

K = 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, K, 3, padding=1)


def one_hot(generator: torch.Generator, part: float = 1.0) -> torch.Tensor:
    """Random masks [2, K, 6, 5], all zero outside of a random part of the pixels."""
    labels = torch.randint(0, K, (2, 6, 5), generator=generator)
    known = torch.rand(2, 1, 6, 5, generator=generator) < part
    return nn.functional.one_hot(labels, K).movedim(-1, 1).float() * known


def batch(pseudo: bool) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x, u = (torch.randn(2, 1, 6, 5, generator=generator) for _ in range(2))
    y, p = one_hot(generator), one_hot(generator, 0.6)
    return Batch(x, y, {"u": u} if pseudo else {}, p if pseudo else None)


def entropy_twin(logits: np.ndarray, y: np.ndarray) -> float:
    """The mean over annotated pixels of -log of the right class's probability, pixel by pixel."""
    total, count = 0.0, 0
    for b, h, w in np.ndindex(logits.shape[0], *logits.shape[2:]):
        if y[b, :, h, w].sum() == 0:
            continue
        powers = np.exp(logits[b, :, h, w])
        total -= np.log((powers * y[b, :, h, w]).sum() / powers.sum())
        count += 1
    return total / count


def test_its_terms_are_the_loss_of_labels_and_of_sure_pseudo_labels():
    objective, given = SelfTraining(network(), start=0), batch(pseudo=True)
    terms, outputs = objective.generator_terms(given)
    for name, image, mask in (("gen_S", given.x, given.y), ("pseudo_u", given.u, given.p)):
        logits = objective.G_IS(image).detach().numpy()
        assert terms[name].item() == pytest.approx(entropy_twin(logits, mask.numpy()), abs=1e-5)
    assert outputs.s_x.shape == given.y.shape and not outputs.s_x.requires_grad


def test_a_pixel_that_is_not_sure_gives_no_gradient():
    objective, given = SelfTraining(network(), start=0), batch(pseudo=True)
    given.u.requires_grad_(True)
    objective.G_IS = nn.Conv2d(1, K, 1)  # of a pixel alone
    terms, _ = objective.generator_terms(given)
    terms["pseudo_u"].backward()
    unsure = given.p.sum(1, keepdim=True) == 0
    assert (given.u.grad[unsure] == 0).all() and (given.u.grad[~unsure] != 0).all()


def test_without_pseudo_labels_it_is_supervised():
    given = batch(pseudo=False)
    terms, _ = SelfTraining(network(), start=5).generator_terms(given)
    expected, _ = Supervised(network()).generator_terms(given)
    assert torch.equal(terms["gen_S"], expected["gen_S"]) and terms["pseudo_u"] == 0


def test_it_asks_for_unlabelled_images_only_where_it_has_a_start():
    assert SelfTraining(network(), None).views == () and not SelfTraining(network(), None).waits_for_pseudo_labels
    assert SelfTraining(network(), 3).views == ("u",) and SelfTraining(network(), 3).waits_for_pseudo_labels


def test_the_learning_rate_falls_twice():
    factor = poly_decay(16, restart=12)
    once = poly_decay(12)
    assert [factor(step) for step in range(12)] == [once(step) for step in range(12)]
    assert [factor(step) for step in range(12, 17)] == [poly_decay(4)(step) for step in range(5)]
    assert [poly_decay(16, restart=0)(step) for step in range(17)] == [poly_decay(16)(step) for step in range(17)]
