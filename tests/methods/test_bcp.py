"""Bidirectional Copy-Paste: its terms against a slow twin, its box, its pseudo-labels, and a real training."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.methods.bcp import BidirectionalCopyPaste, around_box, repeated
from acdc_semicycle.methods.losses import cross_entropy_and_dice
from acdc_semicycle.methods.objective import Batch
from tests.methods.few_runs import STEPS, check_resume, state, workflow
from tests.methods.test_configured import dice_twin, entropy_twin

K = 3
H, W = 12, 10


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Conv2d(1, K, 3, padding=1)


def batch(labelled: int = 3, unlabelled: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(labelled, 1, H, W, generator=generator)
    weak, strong = (torch.randn(unlabelled, 1, H, W, generator=generator) for _ in range(2))
    labels = torch.randint(0, K, (labelled, H, W), generator=generator)
    y = nn.functional.one_hot(labels, K).movedim(-1, 1).float()
    y[0, :, :4] = 0  # not annotated
    return Batch(x, y, {"weak": weak, "strong": strong})


def method(start: int = 0) -> BidirectionalCopyPaste:
    objective = BidirectionalCopyPaste(network(), start)
    objective.T.network = network(seed=3)
    objective.labelled_loss = cross_entropy_and_dice
    return objective


def loss_twin(logits: np.ndarray, y: np.ndarray, part: np.ndarray) -> float:
    """The loss over the pixels [H, W] of a part alone."""
    masked = y * part
    return entropy_twin(logits, masked) + dice_twin(logits, masked)


def component_twin(structure: np.ndarray) -> np.ndarray:
    """The largest component of a mask [H, W], by flooding from each pixel to its eight neighbours."""
    todo, largest = {tuple(pixel) for pixel in np.argwhere(structure)}, set()
    while todo:
        component, edge = set(), [min(todo)]
        while edge:
            h, w = edge.pop()
            if (h, w) in todo:
                todo.remove((h, w))
                component.add((h, w))
                edge += [(h + i, w + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        if len(component) > len(largest):
            largest = component
    result = np.zeros(structure.shape, bool)
    for pixel in largest:
        result[pixel] = True
    return result


def pseudo_labels_twin(logits: np.ndarray) -> np.ndarray:
    labels = logits.argmax(1)
    p = np.zeros_like(logits)
    for number in range(len(labels)):
        for k in range(1, K):
            p[number, k] = component_twin(labels[number] == k)
        p[number, 0] = 1 - p[number, 1:].sum(0)
    return p


def logits_of(network: nn.Module, image: np.ndarray) -> np.ndarray:
    return network(torch.as_tensor(image)).detach().numpy()


@pytest.mark.parametrize(("labelled", "unlabelled"), [(3, 3), (2, 3), (3, 2)])
def test_every_term_equals_its_equation(labelled, unlabelled):
    objective, given = method(), batch(labelled, unlabelled)
    torch.manual_seed(5)
    terms, outputs = objective.generator_terms(given)
    torch.manual_seed(5)
    M = around_box(H, W, 2 / 3).numpy()[0, 0]
    p = pseudo_labels_twin(logits_of(objective.T, given.views["weak"].numpy()))
    images = [given.x.numpy(), given.y.numpy(), given.views["strong"].numpy(), p]
    x, y, u, p = (np.stack([image[number % len(image)] for number in range(3)]) for image in images)
    s_in, s_out = logits_of(objective.G_IS, x * M + u * (1 - M)), logits_of(objective.G_IS, u * M + x * (1 - M))
    expected = {
        "gen_S": loss_twin(s_in, y, M) + loss_twin(s_out, y, 1 - M),
        "pseudo_u": loss_twin(s_in, p, 1 - M) + loss_twin(s_out, p, M),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, abs=1e-5)
    s_x = torch.softmax(torch.as_tensor(s_in * M + s_out * (1 - M)), 1)[:labelled]
    torch.testing.assert_close(outputs.s_x, s_x, atol=1e-5, rtol=1e-5)
    assert outputs.s_x.shape == given.y.shape and not outputs.s_x.requires_grad


def test_the_first_steps_paste_labelled_images_into_labelled_ones():
    objective, given = method(start=2), batch()
    torch.manual_seed(5)
    terms, outputs = objective.generator_terms(given)
    torch.manual_seed(5)
    M = around_box(H, W, 2 / 3).numpy()[0, 0]
    x, y = given.x.numpy(), given.y.numpy()
    before = [2, 0, 1]
    logits = logits_of(objective.G_IS, x * M + x[before] * (1 - M))
    expected = loss_twin(logits, y * M + y[before] * (1 - M), np.ones((H, W)))
    assert terms["gen_S"].item() == pytest.approx(expected, abs=1e-5) and terms["pseudo_u"] == 0
    after = [1, 2, 0]
    s_x = torch.softmax(torch.as_tensor(logits * M + logits[after] * (1 - M)), 1)
    torch.testing.assert_close(outputs.s_x, s_x, atol=1e-5, rtol=1e-5)


def test_unlabelled_images_count_after_the_start_and_no_step_earlier():
    objective, given = method(start=2), batch()
    counts = []
    for _ in range(4):
        counts.append(bool(objective.generator_terms(given)[0]["pseudo_u"] > 0))
        objective.after_step()
    assert counts == [False, False, True, True]


def test_the_teacher_gets_no_gradient():
    objective = method()
    terms, _ = objective.generator_terms(batch())
    sum(terms.values()).backward()
    assert all(weight.grad is None for weight in objective.T.parameters())
    assert all(weight.grad is not None for weight in objective.G_IS.parameters())


def test_the_box_has_two_thirds_of_the_sides_and_any_place():
    torch.manual_seed(0)
    corners = set()
    for _ in range(200):
        (rows, columns) = np.nonzero(1 - around_box(12, 9, 2 / 3).numpy()[0, 0])
        assert len(rows) == 8 * 6 and np.ptp(rows) == 7 and np.ptp(columns) == 5
        corners.add((rows.min(), columns.min()))
    assert corners == {(row, column) for row in range(5) for column in range(4)}


def test_images_are_repeated_in_their_order():
    assert repeated(torch.tensor([5, 6, 7]), 7).tolist() == [5, 6, 7, 5, 6, 7, 5]


def test_the_overlay_is_the_published_recipe(tmp_path, phantom_dir):
    flow = workflow(tmp_path, phantom_dir, "bcp")
    flow.initialize()
    content = flow.parser.get_parsed_content
    objective = content("objective")
    assert type(objective) is BidirectionalCopyPaste
    assert (objective.start, objective.box, objective.T.decay) == (2 * STEPS // 4, 2 / 3, 0.99)
    assert content("weights") == {"gen_S": 1.0, "pseudo_u": 0.5}


def test_a_real_training_resumes_to_the_same_bits(tmp_path, phantom_dir):
    check_resume(tmp_path, phantom_dir, "bcp")
    assert state(tmp_path / "resumed")["T._extra_state"] == 2 * STEPS
