"""The objective: every term is its equation, and teaches the networks it should and no other."""

from copy import deepcopy

import numpy as np
import pytest
import reference
import torch
from monai.bundle import ConfigParser
from tiny import batch_of
from torch import nn

from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.methods.losses import weigh
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.objective import joint_forward
from acdc_semicycle.methods.semicycle import GeneratorOutputs, SemiCycle, softmax
from tests.methods import few_runs

C, K = 2, 3  # of the stubs: image channels and classes differ, so that a swapped argument is a wrong shape
GENERATOR_TERMS = ["gen_S", "gen_I", "cycle_S", "cycle_I", "adv_S", "adv_I"]
WEIGHTS = {
    "gen_S": 1.0,
    "gen_I": reference.LAMBDA_1,
    "cycle_S": reference.LAMBDA_2,
    "cycle_I": reference.LAMBDA_3,
    "adv_S": reference.LAMBDA_4,
    "adv_I": reference.LAMBDA_5,
    "disc_S": reference.LAMBDA_4,
    "disc_I": reference.LAMBDA_5,
}


def random_masks(random: np.random.Generator, batch: int, unannotated: int = 0) -> np.ndarray:
    """One-hot masks [B, K, 3, 4], all zero in some pixels of the first."""
    y = np.eye(K)[random.integers(K, size=(batch, 3, 4))].transpose(0, 3, 1, 2).copy()
    y[0, :, 0, :unannotated] = 0
    return y


def stub(weight: np.ndarray, bias: np.ndarray) -> nn.Conv2d:
    """``reference.linear_map`` in torch."""
    network = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    network.load_state_dict({"weight": tensor(weight)[..., None, None], "bias": tensor(bias)})
    return network


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32)


class Twins:
    """The same four linear networks and the same batch, once for the package and once for the slow twin."""

    def __init__(self, seed: int = 0, pool_size: int = 0, unannotated: int = 3) -> None:
        random = np.random.default_rng(seed)
        ends = {"G_IS": (K, C), "G_SI": (C, K), "D_S": (1, K), "D_I": (1, C)}
        maps = {name: (random.normal(size=shape), random.normal(size=shape[0])) for name, shape in ends.items()}
        self.slow = {name: reference.linear_map(*both) for name, both in maps.items()}
        self.objective = SemiCycle(**{name: stub(*both) for name, both in maps.items()}, pool_size=pool_size)
        self.x, self.u = random.normal(size=(2, 2, C, 3, 4))
        self.y = random_masks(random, 2, unannotated)

    def generator_terms(self):
        return self.objective.generator_terms(batch_of(tensor(self.x), tensor(self.y), tensor(self.u)))

    def discriminator_terms(self, made: GeneratorOutputs):
        return self.objective.discriminator_terms(batch_of(tensor(self.x), tensor(self.y), tensor(self.u)), made)


def values(terms) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("seed", range(3))
def test_every_term_equals_its_equation(seed):
    t = Twins(seed)
    G_IS, G_SI, D_S, D_I = t.slow.values()
    terms, made = t.generator_terms()
    s_u, x_y = reference.softmax(G_IS(t.u)), G_SI(t.y)
    equations = {
        "gen_S": reference.L_gen_S(G_IS, t.x, t.y),
        "gen_I": reference.L_gen_I(G_SI, t.x, t.y),
        "cycle_S": reference.L_cycle_S(G_IS, G_SI, t.y),
        "cycle_I": reference.L_cycle_I(G_IS, G_SI, t.u),
        "adv_S": reference.L_adv_S(D_S, G_IS, t.u),
        "adv_I": reference.L_adv_I(D_I, G_SI, t.y),
        "disc_S": reference.L_disc_S(D_S, t.y, s_u),
        "disc_I": reference.L_disc_I(D_I, t.u, x_y),
    }
    assert values(terms | t.discriminator_terms(made)) == pytest.approx(equations, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_weighted_sums_are_equation_8(seed):
    t = Twins(seed)
    terms, made = t.generator_terms()
    generators = reference.L_generators(**t.slow, x=t.x, y=t.y, u=t.u)
    discriminators = reference.L_discriminators(**t.slow, y=t.y, u=t.u)
    assert weigh(terms, WEIGHTS).item() == pytest.approx(generators, rel=1e-4)
    assert weigh(t.discriminator_terms(made), WEIGHTS).item() == pytest.approx(discriminators, rel=1e-4)


def test_terms_have_the_names_of_their_weights():
    t = Twins()
    terms, made = t.generator_terms()
    assert list(terms) == GENERATOR_TERMS
    assert [*terms, *t.discriminator_terms(made)] == list(WEIGHTS)


def test_what_was_made_is_the_segmentations_and_the_painted_image():
    t = Twins()
    _, made = t.generator_terms()
    for name, slow in (
        ("s_x", reference.softmax(t.slow["G_IS"](t.x))),
        ("s_u", reference.softmax(t.slow["G_IS"](t.u))),
        ("x_y", t.slow["G_SI"](t.y)),
    ):
        given = getattr(made, name)
        assert not given.requires_grad
        torch.testing.assert_close(given, tensor(slow))


def test_discriminators_are_shown_the_histories_fakes():
    t = Twins()
    random = np.random.default_rng(5)
    old_masks, old_images = reference.softmax(random.normal(size=(2, K, 3, 4))), random.normal(size=(2, C, 3, 4))
    _, made = t.generator_terms()
    given = {}
    t.objective.pool_S.query = lambda fakes: given.update(S=fakes) or tensor(old_masks)
    t.objective.pool_I.query = lambda fakes: given.update(I=fakes) or tensor(old_images)
    equations = {
        "disc_S": reference.L_disc_S(t.slow["D_S"], t.y, old_masks),
        "disc_I": reference.L_disc_I(t.slow["D_I"], t.u, old_images),
    }
    assert values(t.discriminator_terms(made)) == pytest.approx(equations, rel=1e-4)
    assert torch.equal(given["S"], made.s_u)
    assert torch.equal(given["I"], made.x_y)


def test_masks_and_images_have_histories_of_their_own():
    t = Twins(pool_size=4)
    _, made = t.generator_terms()
    t.discriminator_terms(made)
    assert torch.equal(torch.stack(t.objective.pool_S.pool), made.s_u)
    assert torch.equal(torch.stack(t.objective.pool_I.pool), made.x_y)


def test_the_two_histories_draw_apart_and_by_the_seed():
    def draws(pool: ImagePool) -> list[int]:
        return [int(pool.query(torch.full((1, 1), n))) for n in range(60)]

    def both(seed: int):
        objective = SemiCycle(nn.Identity(), nn.Identity(), nn.Identity(), nn.Identity(), 3, seed)
        return draws(objective.pool_S), draws(objective.pool_I)

    assert both(0)[0] != both(0)[1]
    assert both(0) == both(0) != both(10)


def test_the_histories_are_in_the_state(tmp_path):
    t = Twins(pool_size=3)
    for _ in range(3):
        t.discriminator_terms(t.generator_terms()[1])
    torch.save(t.objective.state_dict(), tmp_path / "objective.pt")

    other = Twins(seed=9, pool_size=3)
    other.objective.load_state_dict(torch.load(tmp_path / "objective.pt", weights_only=True))
    other.x, other.y, other.u = t.x, t.y, t.u
    for _ in range(10):
        t.u, other.u = t.u + 0.1, other.u + 0.1
        expected, given = (twin.discriminator_terms(twin.generator_terms()[1]) for twin in (t, other))
        assert values(given) == values(expected)


NETWORKS = ["G_IS", "G_SI", "D_S", "D_I"]
TAUGHT = {
    "gen_S": {"G_IS"},
    "gen_I": {"G_SI"},
    "cycle_S": {"G_IS", "G_SI"},
    "cycle_I": {"G_IS", "G_SI"},
    "adv_S": {"G_IS"},
    "adv_I": {"G_SI"},
}


def taught(objective: SemiCycle) -> set[str]:
    """The networks with any gradient but zero."""
    return {
        name
        for name in NETWORKS
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(objective, name).parameters())
    }


def tiny_objective() -> SemiCycle:
    torch.manual_seed(0)
    G_IS = ResidualGenerator(1, K, 2, 1)
    G_SI = ResidualGenerator(K, 1, 2, 1, activation=nn.Tanh())
    return SemiCycle(G_IS, G_SI, PixelDiscriminator(K, 4), PixelDiscriminator(1, 4), pool_size=2)


def tiny_batch(height: int = 8, width: int = 12):
    torch.manual_seed(1)
    y = torch.eye(K)[torch.randint(K, (2, height, width))].movedim(-1, 1)
    return torch.randn(2, 1, height, width), y, torch.randn(2, 1, height, width)


@pytest.mark.parametrize(("name", "networks"), TAUGHT.items())
def test_each_generator_term_teaches_the_networks_of_its_equation(name, networks):
    objective = tiny_objective()
    objective.discriminators.requires_grad_(False)  # as in the trainer
    terms, _ = objective.generator_terms(batch_of(*tiny_batch()))
    terms[name].backward()
    assert taught(objective) == networks


def test_the_judgement_of_masks_can_be_differentiated_to_the_segmenter():
    """Whereas the published code gave D_S the argmax, through which no gradient passes."""
    t = Twins()
    terms, _ = t.generator_terms()
    (gradient,) = torch.autograd.grad(terms["adv_S"], [t.objective.G_IS.bias])
    for k in range(K):
        bias = t.objective.G_IS.bias.detach().double().numpy()
        weight = t.objective.G_IS.weight.detach().double().numpy()[..., 0, 0]
        step = 1e-4 * np.eye(K)[k]
        up, down = (
            reference.L_adv_S(t.slow["D_S"], reference.linear_map(weight, bias + way * step), t.u) for way in (1, -1)
        )
        assert gradient[k].item() == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("name", "network"), [("disc_S", "D_S"), ("disc_I", "D_I")])
def test_discriminator_terms_leave_generators_without_gradient(name, network):
    objective, (x, y, u) = tiny_objective(), tiny_batch()
    for _ in range(4):  # the newest fakes and older ones
        _, made = objective.generator_terms(batch_of(x, y, u))
        objective.discriminator_terms(batch_of(x, y, u), made)[name].backward()
        assert all(p.grad is None for p in objective.generators.parameters())
    assert taught(objective) == {network}


def test_unlabelled_images_change_only_the_terms_that_are_about_them():
    objective, (x, y, u) = tiny_objective().eval(), tiny_batch()
    before, made = objective.generator_terms(batch_of(x, y, u))
    after, other = objective.generator_terms(batch_of(x, y, u + torch.randn_like(u)))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"cycle_I", "adv_S"}
    assert torch.equal(made.s_x, other.s_x) and torch.equal(made.x_y, other.x_y)


def test_labelled_images_change_only_the_terms_that_compare_with_them():
    objective, (x, y, u) = tiny_objective().eval(), tiny_batch()
    before, _ = objective.generator_terms(batch_of(x, y, u))
    after, _ = objective.generator_terms(batch_of(x + torch.randn_like(x), y, u))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"gen_S", "gen_I"}


def test_images_do_not_count_where_nobody_annotated_their_mask():
    """What x shows there changes only what G_IS sees of the neighbourhood: the stub sees none."""
    t = Twins(unannotated=3)
    before, _ = t.generator_terms()
    t.x[0, :, 0, :3] += 5
    after, _ = t.generator_terms()
    assert values(after) == values(before)
    t.x[0, :, 0, 3] += 5
    changed, _ = t.generator_terms()
    assert {name for name in before if before[name] != changed[name]} == {"gen_S", "gen_I"}


def test_the_judgement_of_a_mask_does_not_count_where_nobody_annotated_it():
    t = Twins(unannotated=3)
    _, made = t.generator_terms()
    before = t.discriminator_terms(made)
    shift = torch.zeros(2, 1, 3, 4)

    def shifted_if_real(module, given, score):
        return score + shift if torch.equal(given[0], tensor(t.y)) else score

    t.objective.D_S.register_forward_hook(shifted_if_real)
    shift[0, :, 0, :3] = 5
    assert values(t.discriminator_terms(made)) == values(before)
    shift[0, :, 0, 3] = 5
    changed = t.discriminator_terms(made)
    assert {name for name in before if before[name] != changed[name]} == {"disc_S"}


def test_fakes_count_in_every_pixel_where_nobody_annotated_a_mask_too():
    t = Twins(unannotated=3)
    _, made = t.generator_terms()
    scores = []
    t.objective.D_S.register_forward_hook(lambda module, given, score: score.retain_grad() or scores.append(score))
    t.discriminator_terms(made)["disc_S"].backward()
    real, fake = scores
    assert torch.equal(real.grad != 0, tensor(t.y).sum(1, keepdim=True) == 1)
    assert (fake.grad != 0).all()


def test_a_batch_nobody_annotated_teaches_only_by_what_needs_no_mask():
    t = Twins()
    t.y[:] = 0
    terms, made = t.generator_terms()
    assert {name for name, term in terms.items() if term == 0} == {"gen_S", "gen_I", "cycle_S", "adv_I"}
    given = values(t.discriminator_terms(made))
    assert given["disc_S"] == pytest.approx(reference.L_disc_S(t.slow["D_S"], t.y, made.s_u.numpy()), rel=1e-4)


def test_images_as_wide_as_high_or_not_give_scalar_terms():
    for size in ((8, 8), (8, 12), (16, 8)):
        objective, (x, y, u) = tiny_objective(), tiny_batch(*size)
        terms, made = objective.generator_terms(batch_of(x, y, u))
        assert {tuple(t.shape) for t in (terms | objective.discriminator_terms(batch_of(x, y, u), made)).values()} == {
            ()
        }


def test_each_pair_of_networks_is_listed_once_for_its_optimizer():
    objective = tiny_objective()
    listed = [*objective.generators.parameters(), *objective.discriminators.parameters()]
    assert {id(p) for p in listed} == {id(p) for p in objective.parameters()}
    assert len(listed) == len(list(objective.parameters()))
    assert all(p is q for p, q in zip(objective.generators[0].parameters(), objective.G_IS.parameters(), strict=True))


def test_segmentations_of_bf16_logits_are_single_precision_probabilities():
    s = softmax(torch.randn(2, K, 4, 4).bfloat16())
    assert s.dtype == torch.float32
    torch.testing.assert_close(s.sum(1), torch.ones(2, 4, 4))


def test_terms_and_fakes_are_in_single_precision_under_autocast():
    objective, (x, y, u) = tiny_objective(), tiny_batch()
    exact, _ = deepcopy(objective).generator_terms(batch_of(x, y, u))
    with torch.autocast("cpu", torch.bfloat16):
        terms, made = objective.generator_terms(batch_of(x, y, u))
        terms = terms | objective.discriminator_terms(batch_of(x, y, u), made)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert {m.dtype for m in made} == {torch.float32}
    assert {name: terms[name].item() for name in exact} == pytest.approx(values(exact), rel=0.05)


def test_batches_go_through_a_network_together_or_alone():
    torch.manual_seed(0)
    network, (x, u) = ResidualGenerator(1, 4, 2, 1), torch.randn(2, 3, 1, 8, 8)
    one, other = joint_forward(network, x, u[:2])
    torch.testing.assert_close(one, network(x))
    torch.testing.assert_close(other, network(u[:2]))


def test_a_step_takes_three_passes_of_generators():
    twins, calls = Twins(), []
    for network in twins.objective.generators:
        network.register_forward_hook(lambda network, *_: calls.append(network))
    twins.generator_terms()
    assert calls == [twins.objective.G_IS, twins.objective.G_SI, twins.objective.G_IS]


def test_the_papers_objective_learns_with_the_segmenter_of_few(tmp_path, phantom_dir):
    """Its own weights, a U-Net as G_IS, and a painter of windows, which no prediction takes."""
    small = {"objective_def::G_SI::filters": 4, "objective_def::G_SI::blocks": 1}
    small |= {"objective_def::D_S::filters": 4, "objective_def::D_I::filters": 4}
    content = few_runs.workflow(tmp_path, phantom_dir, "semicycle", **small).parser.get_parsed_content
    paper = ConfigParser.load_config_file(few_runs.ROOT / "bundles/semicycle/configs/train.json")["weights"]
    assert content("weights") == paper | {"gen_S": 1.0}
    assert type(content("network")).__name__ == "BasicUNet" and type(content("objective")) is SemiCycle
    few_runs.check_resume(tmp_path, phantom_dir, "semicycle", **small)
    assert not list((tmp_path / "straight").rglob("image_generator.pt"))
