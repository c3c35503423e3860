"""Pixels that are not annotated (255): of no effect on any loss of labelled images, in any method.

The networks here see each pixel by itself, so that nothing of a pixel reaches a loss but through that pixel.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acdc_semicycle.methods.bcp import BidirectionalCopyPaste
from acdc_semicycle.methods.configured import LABELLED_LOSSES, configured
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.hung import Hung, judged
from acdc_semicycle.methods.losses import judged_real, l2
from acdc_semicycle.methods.mean_teacher import MeanTeacher
from acdc_semicycle.methods.objective import Batch, Objective, known
from acdc_semicycle.methods.self_training import SelfTraining
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.methods.unimatch import UniMatch

K = 3
SHAPE = (4, 1, 12, 10)


def pixelwise(channels: int, outputs: int) -> nn.Sequential:
    """A network that sees each pixel by itself."""
    return nn.Sequential(nn.Conv2d(channels, 5, 1), nn.LeakyReLU(0.2), nn.Conv2d(5, outputs, 1))


METHODS: dict[str, Callable[[], Objective]] = {
    "supervised": lambda: Supervised(pixelwise(1, K)),
    "mean teacher": lambda: MeanTeacher(pixelwise(1, K), ramp_steps=1),
    "UniMatch": lambda: UniMatch(pixelwise(1, K), features="0", threshold=0.0),
    "copy-paste, first steps": lambda: BidirectionalCopyPaste(pixelwise(1, K), start=9),
    "copy-paste": lambda: BidirectionalCopyPaste(pixelwise(1, K), start=0),
    "self-training": lambda: SelfTraining(pixelwise(1, K), start=0),
    "Hung": lambda: Hung(pixelwise(1, K), pixelwise(K, 1), semi_start=0, threshold=0.0),
    "semicycle": lambda: SemiCycle(pixelwise(1, K), pixelwise(K, 1), pixelwise(K, 1), pixelwise(1, 1)),
}


def labels_and_unknown() -> tuple[Tensor, Tensor]:
    """Class indices with 255 in a half of one image, in all of another, and in single pixels of the others."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(K, SHAPE, generator=random)
    labels[0, :, :6], labels[1] = 255, 255
    labels[2:][torch.rand((2, *SHAPE[1:]), generator=random) < 0.2] = 255
    return labels, labels == 255


def terms_of(method: str, loss: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """All terms of a method, the discriminators' among them, with the same weights and draws each time."""
    torch.manual_seed(0)
    objective = configured(METHODS[method](), loss, None)
    views = {name: torch.randn(SHAPE) for name in (*objective.views, "weak", "strong")}
    pseudo_labels = one_hot(torch.randint(K, SHAPE), K) if objective.waits_for_pseudo_labels else None
    batch = Batch(x, y, views, pseudo_labels)
    terms, outputs = objective.generator_terms(batch)
    return terms | objective.discriminator_terms(batch, outputs)


@pytest.mark.parametrize("loss", LABELLED_LOSSES)
@pytest.mark.parametrize("method", METHODS)
def test_no_term_changes_with_an_image_where_it_is_not_annotated(method, loss):
    labels, unknown = labels_and_unknown()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    first = terms_of(method, loss, x, one_hot(labels, K))
    second = terms_of(method, loss, torch.where(unknown, 100 - x, x), one_hot(labels, K))
    assert {name: term.item() for name, term in first.items()} == {name: term.item() for name, term in second.items()}
    third = terms_of(method, loss, torch.where(unknown, x, 3 - x), one_hot(labels, K))
    assert third["gen_S"] != first["gen_S"]


@pytest.mark.parametrize("loss", LABELLED_LOSSES)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_exactly_zero_where_an_image_is_not_annotated(method, loss):
    labels, unknown = labels_and_unknown()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    terms = terms_of(method, loss, x, one_hot(labels, K))
    torch.stack([term for name, term in terms.items() if not name.startswith("disc")]).sum().backward()
    assert x.grad is not None and torch.count_nonzero(x.grad[unknown]) == 0
    assert torch.count_nonzero(x.grad[~unknown]) > 0.9 * (~unknown).sum()


@pytest.mark.parametrize("method", METHODS)
def test_images_none_of_which_is_annotated_give_no_gradient_and_nothing_that_is_not_finite(method):
    labels = torch.full(SHAPE, 255)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    terms = terms_of(method, "cross_entropy_and_dice", x, one_hot(labels, K))
    assert all(torch.isfinite(term) for term in terms.values())
    torch.stack([term for name, term in terms.items() if not name.startswith("disc")]).sum().backward()
    assert x.grad is None or torch.count_nonzero(x.grad) == 0


def twin(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The losses, pixel by pixel, over annotated pixels alone."""
    entropy, count = 0.0, 0
    sums = {label: [0.0, 0.0, 0.0] for label in range(1, K)}  # of s y, s, y
    for image, mask in zip(logits, labels[:, 0], strict=True):
        for row, column in np.ndindex(mask.shape):
            label = int(mask[row, column])
            if label == 255:
                continue
            exponents = [math.exp(value) for value in image[:, row, column]]
            s = [value / sum(exponents) for value in exponents]
            entropy, count = entropy - math.log(s[label]), count + 1
            for structure, parts in sums.items():
                parts[0] += s[structure] * (label == structure)
                parts[1] += s[structure]
                parts[2] += label == structure
    dice = sum(1 - (2 * sy + 1) / (s + y + 1) for sy, s, y in sums.values()) / (K - 1)
    return {"cross_entropy": entropy / count, "cross_entropy_and_dice": entropy / count + dice}[name]


@pytest.mark.parametrize("loss", LABELLED_LOSSES)
def test_a_loss_of_labelled_images_is_that_of_their_annotated_pixels(loss):
    labels, _ = labels_and_unknown()
    logits = torch.randn((4, K, 12, 10), generator=torch.Generator().manual_seed(3))
    value = LABELLED_LOSSES[loss](logits, one_hot(labels, K)).item()
    assert value == pytest.approx(twin(loss, logits.double().numpy(), labels.numpy()), abs=1e-5)


def test_means_over_images_and_scores_are_those_of_annotated_pixels():
    labels, unknown = labels_and_unknown()
    image, x, score = torch.randn((3, *SHAPE), generator=torch.Generator().manual_seed(3)).double()
    keep = (~unknown).numpy()
    where = known(one_hot(labels, K)).double()
    painted, true, judgement = (values.numpy()[keep] for values in (image, x, score))
    assert l2(image, x, where).item() == pytest.approx(np.square(painted - true).mean(), abs=1e-6)
    assert judged_real(score, where).item() == pytest.approx(np.square(judgement - 1).mean(), abs=1e-6)
    for truth in (0.0, 1.0):
        probability = 1 / (1 + np.exp(-judgement))
        expected = -(truth * np.log(probability) + (1 - truth) * np.log(1 - probability)).mean()
        assert judged(score, truth, where).item() == pytest.approx(expected, abs=1e-5)
