"""UniMatch: its terms against a slow twin, whose pseudo-labels count, what is dropped, and a real training."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.methods.losses import cross_entropy_and_dice
from acdc_semicycle.methods.mixing import boxes
from acdc_semicycle.methods.objective import Batch
from acdc_semicycle.methods.unimatch import BOX_AREA, UniMatch
from acdc_semicycle.runtime.errors import InputError
from tests.methods.few_runs import check_resume, workflow
from tests.methods.test_configured import dice_twin, entropy_twin, softmax

K = 3
H, W = 12, 10
VIEWS = ("weak", "strong", "strong2")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, K, 1))


def batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x, *views = (torch.randn(count, 1, H, W, generator=generator) for _ in range(4))
    labels = torch.randint(0, K, (count, H, W), generator=generator)
    y = nn.functional.one_hot(labels, K).movedim(-1, 1).float()
    return Batch(x, y, dict(zip(VIEWS, views, strict=True)))


def logits_twin(G_IS: nn.Sequential, image: np.ndarray, factors: np.ndarray | None = None) -> np.ndarray:
    """The network's logits, its first six channels multiplied by ``factors`` [B, 6]."""
    first, second = ((layer.weight.detach().numpy()[:, :, 0, 0], layer.bias.detach().numpy()) for layer in G_IS[::2])
    hidden = np.einsum("oc,bchw->bohw", first[0], image) + first[1][:, None, None]
    if factors is not None:
        hidden = hidden * factors[:, :, None, None]
    return np.einsum("oc,bchw->bohw", second[0], np.maximum(hidden, 0)) + second[1][:, None, None]


def pseudo_labels_twin(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    p = np.zeros_like(probabilities)
    for b, h, w in np.ndindex(len(p), H, W):
        best = max(range(K), key=lambda k: probabilities[b, k, h, w])
        if probabilities[b, best, h, w] >= threshold:
            p[b, best, h, w] = 1
    return p


def mixed_twin(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    result = image.copy()
    for b, h, w in np.ndindex(len(image), H, W):
        if inside[b, 0, h, w]:
            result[b, :, h, w] = image[b - 1, :, h, w]
    return result


def loss_twin(logits: np.ndarray, y: np.ndarray) -> float:
    return entropy_twin(logits, y) + dice_twin(logits, y)


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.45, 1.0])
def test_every_term_equals_its_equation(cutmix, threshold):
    objective, given = UniMatch(network(), "0", 0.5, cutmix, threshold), batch()
    objective.labelled_loss = cross_entropy_and_dice
    torch.manual_seed(5)
    terms, outputs = objective.generator_terms(given)
    torch.manual_seed(5)
    M1, M2 = (boxes(3, H, W, cutmix, BOX_AREA).numpy() for _ in range(2))
    factors = nn.functional.dropout2d(torch.ones(3, 6, H, W), 0.5)[:, :, 0, 0].numpy()
    G_IS, x, y = objective.G_IS, given.x.numpy(), given.y.numpy()
    u, u1, u2 = (given.views[name].numpy() for name in VIEWS)
    p = pseudo_labels_twin(softmax(logits_twin(G_IS, u)), threshold)
    expected = {
        "gen_S": loss_twin(logits_twin(G_IS, x), y),
        "strong_u": (
            loss_twin(logits_twin(G_IS, mixed_twin(u1, M1)), mixed_twin(p, M1))
            + loss_twin(logits_twin(G_IS, mixed_twin(u2, M2)), mixed_twin(p, M2))
        )
        / 2,
        "features_u": loss_twin(logits_twin(G_IS, u, factors), p),
    }
    assert {0.0, 2.0} == set(np.unique(factors)), "half of the channels, the others doubled"
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, abs=1e-5)
    assert outputs.s_x.shape == y.shape and not outputs.s_x.requires_grad
    assert (threshold < 1) == (terms["features_u"].item() > 0)


def test_some_pixels_are_sure_and_some_are_not():
    """So that the twin's threshold of .45 leaves out a part."""
    sure = softmax(logits_twin(network(), batch().views["weak"].numpy())).max(1) >= 0.45
    assert 0.1 < sure.mean() < 0.9


def test_no_gradient_goes_through_the_pseudo_labels():
    objective, given = UniMatch(network(), "0", threshold=0.0), batch()
    given.views["weak"].requires_grad_()
    terms, _ = objective.generator_terms(given)
    assert torch.autograd.grad(terms["strong_u"], given.views["weak"], allow_unused=True) == (None,)


def test_nothing_is_dropped_where_the_probability_is_0_and_no_hook_stays():
    objective, given = UniMatch(network(), "0", feature_dropout=0.0, cutmix=0.0, threshold=0.0), batch()
    terms, _ = objective.generator_terms(given)
    p = pseudo_labels_twin(softmax(logits_twin(objective.G_IS, given.views["weak"].numpy())), 0.0)
    expected = objective.labelled_loss(objective.G_IS(given.views["weak"]), torch.as_tensor(p))
    torch.testing.assert_close(terms["features_u"], expected)
    assert not objective.G_IS[0]._forward_hooks


def test_a_failing_pass_leaves_no_hook():
    objective, given = UniMatch(network(), "0"), batch()
    with pytest.raises(RuntimeError):
        objective._without_some_features(given.x.expand(-1, 2, -1, -1))
    assert not objective.G_IS[0]._forward_hooks


@pytest.mark.parametrize("name", ["down_4", "", "3"])
def test_a_module_that_the_network_has_not_is_refused_in_a_line(name):
    with pytest.raises(InputError, match=f"features is '{name}': give a module of Sequential, which has 0, 1, 2$"):
        UniMatch(network(), name)


def test_its_state_is_the_segmenters():
    objective = UniMatch(network(), "0")
    assert all(name.startswith("G_IS.") for name in objective.state_dict())
    assert copy.deepcopy(objective).features == "0" and objective.segmenter is objective.G_IS


def test_the_overlay_is_the_published_recipe(tmp_path, phantom_dir):
    flow = workflow(tmp_path, phantom_dir, "unimatch")
    flow.initialize()
    content = flow.parser.get_parsed_content
    objective = content("objective")
    assert type(objective) is UniMatch and objective.features == "down_4"
    assert (objective.threshold, objective.cutmix, objective.feature_dropout) == (0.95, 0.5, 0.5)
    assert content("weights") == {"gen_S": 1 / 2, "strong_u": (0.25 + 0.25) / 2, "features_u": 0.5 / 2}
    pair = next(iter(content("train::trainer").data_loader))["unlabelled"]
    assert not torch.allclose(pair["strong"], pair["strong2"], atol=0.01)


def test_a_real_training_resumes_to_the_same_bits(tmp_path, phantom_dir):
    sure = {"objective_def::threshold": 0.0}  # after so few steps no pixel reaches the published one
    check_resume(tmp_path, phantom_dir, "unimatch", **sure)
