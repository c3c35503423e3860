"""The other methods: every term is its equation, and the trainer runs them as it runs the paper's."""

import math
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.handlers import LrScheduleHandler
from tiny import batch_of
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from acdc_semicycle.methods.hung import FullyConvolutionalDiscriminator, Hung, judged
from acdc_semicycle.methods.losses import weigh
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.methods.objective import Objective, softmax
from acdc_semicycle.methods.schedules import poly_decay
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.trainer import SemiCycleTrainer, prepare_pairs
from tests.methods.test_semicycle import C, K, random_masks, stub, tensor, tiny_batch, values
from tests.training.test_trainer import CPU, adam, same, tiny_objective, tiny_pairs, weights_of

ROOT = Path(__file__).parents[2]
GENERATOR_TERMS = ["gen_S", "adv_x", "adv_u", "semi_u"]
WEIGHTS = {"gen_S": 1.0, "adv_x": 0.01, "adv_u": 0.001, "semi_u": 0.1, "disc_S": 0.5}
THRESHOLD = 0.5  # of the stubs: some pixels are above it, some below


class Twins:
    """The same segmenter, judge and batch, once for the package and once for the slow twin."""

    def __init__(self, seed: int = 0, unannotated: int = 3, semi_start: int = 0, threshold: float = THRESHOLD) -> None:
        self.random = np.random.default_rng(seed)
        G_IS = self.random.normal(size=(K, C)), self.random.normal(size=K)
        D_S = self.random.normal(size=(1, K)) * 3, np.zeros(1)
        self.unannotated, self.threshold = unannotated, threshold
        self.next_batch()
        self.G_IS, self.D_S = reference.linear_map(*G_IS), reference.linear_map(*D_S)
        D_S[1][:] -= np.median(self.D_S(reference.softmax(self.G_IS(self.u))))  # half of u is above the threshold
        self.objective = Hung(stub(*G_IS), stub(*D_S), semi_start, threshold)

    def next_batch(self) -> None:
        self.x, self.u = self.random.normal(size=(2, 2, C, 3, 4))
        self.y = random_masks(self.random, 2, self.unannotated)

    def generator_terms(self):
        return self.objective.generator_terms(batch_of(tensor(self.x), tensor(self.y), tensor(self.u)))

    def step(self):
        terms, made = self.generator_terms()
        return terms | self.objective.discriminator_terms(
            batch_of(tensor(self.x), tensor(self.y), tensor(self.u)), made
        )

    def equations(self, real: np.ndarray) -> dict[str, float]:
        s_x, s_u = (reference.softmax(self.G_IS(image)) for image in (self.x, self.u))
        return {
            "gen_S": reference.L_ce(self.G_IS, self.x, self.y),
            "adv_x": reference.L_adv_x(self.D_S, self.G_IS, self.x, self.y),
            "adv_u": reference.L_adv_u(self.D_S, self.G_IS, self.u),
            "semi_u": reference.L_semi(self.D_S, self.G_IS, self.u, self.threshold),
            "disc_S": reference.L_D(self.D_S, s_x, self.y, s_u, real),
        }

    def trusted(self) -> list[tuple[int, int, int]]:
        return reference.trusted(self.D_S, reference.softmax(self.G_IS(self.u)), self.threshold)


def unsure_judge(logit: float) -> nn.Conv2d:
    """Gives every pixel of every mask this logit."""
    return stub(np.zeros((1, K)), np.array([logit]))


def hung(D_S: nn.Module | None = None, semi_start: int = 0, threshold: float = 0.0) -> Hung:
    """A real segmenter, and a judge of single pixels; by default every pixel is trusted."""
    torch.manual_seed(0)
    return Hung(ResidualGenerator(1, K, 2, 1), D_S or nn.Conv2d(K, 1, 1), semi_start, threshold)


def supervised() -> Supervised:
    return Supervised(hung().G_IS)


# Hung et al.: the terms


@pytest.mark.parametrize("unannotated", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_term_of_hung_equals_its_equation(seed, unannotated):
    t = Twins(seed, unannotated)
    assert 0 < len(t.trusted()) < t.u[:, 0].size, "the batch would not tell trusted pixels from others"
    assert values(t.step()) == pytest.approx(t.equations(real=t.y), rel=1e-4)


def test_a_batch_nobody_annotated_leaves_the_terms_of_the_unlabelled_images():
    t = Twins()
    t.y[:] = 0
    terms = t.step()
    assert values(terms) == pytest.approx(t.equations(real=t.y), rel=1e-4)
    assert {name for name, term in terms.items() if term == 0} == {"gen_S", "adv_x"}


def test_hungs_weighted_sum_is_his_objective():
    t = Twins()
    terms, _ = t.generator_terms()
    slow = t.equations(real=t.y)
    by_hand = slow["gen_S"] + 0.01 * slow["adv_x"] + 0.001 * slow["adv_u"] + 0.1 * slow["semi_u"]
    assert weigh(terms, WEIGHTS).item() == pytest.approx(by_hand, rel=1e-4)


def test_unannotated_pixels_get_no_gradient_in_any_term_of_the_labelled_image_and_others_do():
    """By the gradient with respect to the judge's answers: first those on s_x and s_u, then on fakes and true masks."""
    t = Twins(unannotated=3)
    answers = []
    t.objective.D_S.register_forward_hook(lambda module, given, score: score.retain_grad() or answers.append(score))
    terms, made = t.generator_terms()
    (terms["adv_x"] + terms["adv_u"]).backward()
    annotated = tensor(t.y).sum(1, keepdim=True) == 1
    everywhere = torch.ones_like(annotated)
    on = {id(answer): answer.grad != 0 for answer in answers}.values()
    assert sorted(int(pixels.sum()) for pixels in on) == [annotated.sum(), everywhere.sum()]
    assert any(torch.equal(pixels, annotated) for pixels in on)

    answers.clear()
    t.objective.discriminator_terms(batch_of(tensor(t.x), tensor(t.y), tensor(t.u)), made)["disc_S"].backward()
    fakes, real = answers
    assert torch.equal(fakes.grad != 0, torch.cat([annotated, everywhere]))
    assert torch.equal(real.grad != 0, annotated)


def test_images_do_not_count_for_hung_where_nobody_annotated_their_mask():
    t = Twins(unannotated=3)
    before = values(t.step())
    t.x[0, :, 0, :3] += 5
    assert values(t.step()) == before
    t.x[0, :, 0, 3] += 5
    after = values(t.step())
    assert {name for name in before if before[name] != after[name]} == {"gen_S", "adv_x", "disc_S"}


def test_unlabelled_images_count_for_hung_where_nobody_annotated_the_mask_of_another():
    t = Twins(unannotated=3)
    t.objective.threshold = t.threshold = 0.0
    before = values(t.step())
    t.u[0, :, 0, :3] += 1
    after = values(t.step())
    assert {name for name in before if before[name] != after[name]} == {"adv_u", "semi_u", "disc_S"}


def test_what_hung_made_is_the_segmentations_and_where_x_is_annotated():
    t = Twins()
    _, made = t.generator_terms()
    assert not any(given.requires_grad for given in made)
    torch.testing.assert_close(made.s_x, tensor(reference.softmax(t.G_IS(t.x))))
    torch.testing.assert_close(made.s_u, tensor(reference.softmax(t.G_IS(t.u))))
    assert torch.equal(made.known[:, 0], tensor(t.y.sum(1)))


# Hung et al.: learning from one's own segmentations


def test_the_segmenter_learns_from_itself_from_step_semi_start_on():
    t = Twins(semi_start=2)
    given, slow = [], []
    for _ in range(4):
        given.append(t.step()["semi_u"].item())
        slow.append(t.equations(real=t.y)["semi_u"])
        t.next_batch()
    assert all(slow)
    assert given == pytest.approx([0, 0, *slow[2:]], rel=1e-4)


@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.8])
def test_a_pixel_is_trusted_from_the_threshold_on(threshold):
    logit = math.log(threshold / (1 - threshold))  # whose sigmoid is the threshold
    x, y, u = tiny_batch()
    learned = {}
    for way in (-1, 1):
        objective = hung(unsure_judge(logit + way * 1e-4), threshold=threshold)
        terms, _ = objective.generator_terms(batch_of(x, y, u))
        learned[way] = terms["semi_u"].item()
    assert learned[-1] == 0
    s_u = softmax(objective.G_IS(u))
    assert learned[1] == pytest.approx(-s_u.amax(1).log().mean().item(), rel=1e-5)


def test_a_pixel_of_exactly_the_threshold_is_trusted():
    """The sigmoid of 0 is 0.5 to the last bit."""
    for threshold, trusted in ((0.5, True), (0.50001, False)):
        terms, _ = hung(unsure_judge(0.0), threshold=threshold).generator_terms(batch_of(*tiny_batch()))
        assert (terms["semi_u"] > 0) == trusted


def test_hungs_threshold_is_a_fifth_where_none_is_given():
    assert Hung(nn.Identity(), nn.Identity(), 0).threshold == 0.2


def test_with_no_pixel_trusted_nothing_is_learned_and_nothing_breaks():
    objective = hung(unsure_judge(-20.0), threshold=0.2)
    terms, _ = objective.generator_terms(batch_of(*tiny_batch()))
    terms["semi_u"].backward()
    assert terms["semi_u"] == 0
    assert all((p.grad == 0).all() for p in objective.G_IS.parameters())


def test_the_trusted_mask_is_a_fixed_target():
    """The gradient is that of torch's cross-entropy with class indices; none reaches the judge, free or not."""
    t = Twins()
    terms, _ = t.generator_terms()
    terms["semi_u"].backward()
    assert all(p.grad is None for p in t.objective.D_S.parameters())

    G_IS = deepcopy(t.objective.G_IS)
    G_IS.zero_grad()
    logits = G_IS(tensor(t.u))
    target = torch.full((2, 3, 4), -100)
    for pixel in t.trusted():
        target[pixel] = logits.argmax(1)[pixel]
    nn.functional.cross_entropy(logits, target).backward()
    for given, expected in zip(t.objective.G_IS.parameters(), G_IS.parameters(), strict=True):
        torch.testing.assert_close(given.grad, expected.grad)


# Hung et al.: who learns from what


@pytest.mark.parametrize("name", GENERATOR_TERMS)
def test_each_of_hungs_generator_terms_teaches_the_segmenter_alone(name):
    objective = hung()
    objective.discriminators.requires_grad_(False)  # as in the trainer
    terms, _ = objective.generator_terms(batch_of(*tiny_batch()))
    terms[name].backward()
    assert all(p.grad is None for p in objective.D_S.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.G_IS.parameters())


def test_hungs_discriminator_term_teaches_the_judge_alone():
    objective, (x, y, u) = hung(), tiny_batch()
    for _ in range(2):  # own masks, then those of the step before
        _, made = objective.generator_terms(batch_of(x, y, u))
        objective.zero_grad()
        objective.discriminator_terms(batch_of(x, y, u), made)["disc_S"].backward()
        assert all(p.grad is None for p in objective.G_IS.parameters())
        assert all(p.grad.abs().sum() > 0 for p in objective.D_S.parameters())


@pytest.mark.parametrize(("name", "image"), [("adv_x", "x"), ("adv_u", "u")])
def test_hungs_judgement_can_be_differentiated_to_the_segmenter(name, image):
    t = Twins()
    terms, _ = t.generator_terms()
    (gradient,) = torch.autograd.grad(terms[name], [t.objective.G_IS.bias])
    weight = t.objective.G_IS.weight.detach().double().numpy()[..., 0, 0]
    bias = t.objective.G_IS.bias.detach().double().numpy()
    for k in range(K):
        ends = []
        for way in (1, -1):
            t.G_IS = reference.linear_map(weight, bias + way * 1e-4 * np.eye(K)[k])
            ends.append(t.equations(real=t.y)[name])
        assert gradient[k].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-5)


def test_the_judge_is_shown_the_masks_of_the_step_before_and_in_the_first_step_its_own():
    t = Twins()
    masks = [t.y]
    for _ in range(4):
        shown = []
        handle = t.objective.D_S.register_forward_hook(lambda module, given, score, shown=shown: shown.append(given[0]))
        terms = t.step()
        handle.remove()
        assert terms["disc_S"].item() == pytest.approx(t.equations(real=masks[-1])["disc_S"], rel=1e-4)
        assert torch.equal(shown[-1], tensor(masks[-1]))
        masks.append(t.y)
        t.next_batch()


def test_earlier_masks_count_where_they_were_annotated_not_where_the_new_ones_are():
    t = Twins(unannotated=3)
    earlier = t.y
    t.step()
    t.unannotated = 0
    t.next_batch()
    assert t.step()["disc_S"].item() == pytest.approx(t.equations(real=earlier)["disc_S"], rel=1e-4)


# Hung et al.: the state


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_resumed_hung_goes_on_with_its_step_number_and_the_earlier_masks(tmp_path, before):
    """The segmenter starts to learn from itself two steps after the resume."""
    t = Twins(semi_start=before + 2)
    for _ in range(before):
        t.step()
        t.next_batch()
    torch.save(t.objective.state_dict(), tmp_path / "objective.pt")

    other = Twins(seed=9, semi_start=before + 2)
    other.step()  # what it has done is forgotten
    other.objective.load_state_dict(torch.load(tmp_path / "objective.pt", weights_only=True))
    assert other.objective.steps == before
    learned = []
    for _ in range(4):
        other.x, other.y, other.u = t.x, t.y, t.u
        expected, given = t.step(), other.step()
        assert values(given) == values(expected)
        learned.append(given["semi_u"] > 0)
        t.next_batch()
    assert learned == [False, False, True, True]


def test_earlier_masks_of_a_resume_go_where_the_new_ones_are():
    """A checkpoint is loaded on the CPU; torch's meta device stands in for a GPU."""
    t = Twins()
    t.step()
    objective, device = t.objective.to("meta"), torch.device("meta")
    x, y, u = (tensor(array).to(device) for array in (t.x, t.y, t.u))
    assert objective.earlier.device == CPU
    _, made = objective.generator_terms(batch_of(x, y, u))
    shown = []
    objective.D_S.register_forward_hook(lambda module, given, score: shown.append(given[0].device))
    objective.discriminator_terms(batch_of(x, y, u), made)
    assert shown == [device, device]
    assert objective.earlier.device == device


def test_hungs_weights_stand_in_the_state_once():
    objective = hung()
    names = {f"{net}.{name}" for net in ("G_IS", "D_S") for name in getattr(objective, net).state_dict()}
    assert set(objective.state_dict()) == names | {"_extra_state"}


# Hung et al.: the discriminator


def test_the_discriminator_is_five_strided_convolutions_without_norm():
    layers = list(FullyConvolutionalDiscriminator(K).layers)
    convolutions = layers[::2]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.LeakyReLU] * 4 + [nn.Conv2d]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (K, 64),
        (64, 128),
        (128, 256),
        (256, 512),
        (512, 1),
    ]
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {((4, 4), (2, 2), (1, 1))}
    assert {layer.negative_slope for layer in layers[1::2]} == {0.2}


def test_the_discriminators_widths_follow_the_first():
    assert [layer.out_channels for layer in FullyConvolutionalDiscriminator(K, 4).layers[::2]] == [4, 8, 16, 32, 1]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (40, 56), (96, 64), (56, 40)])
def test_the_discriminator_gives_one_logit_for_each_pixel_of_a_mask(size):
    assert FullyConvolutionalDiscriminator(K, 2)(torch.randn(2, K, *size)).shape == (2, 1, *size)


def test_the_discriminators_logits_are_brought_to_the_masks_size_bilinearly():
    """Two logits for 64 columns, each at the middle of its 32: level outside of them, linear in between."""
    D_S, mask = FullyConvolutionalDiscriminator(K, 2), torch.randn(1, K, 32, 64)
    a, b = D_S.layers(mask).flatten().tolist()
    share = np.clip((np.arange(64) - 15.5) / 32, 0, 1)
    row = tensor(a + (b - a) * share)
    torch.testing.assert_close(D_S(mask)[0, 0], row.expand(32, 64))


def test_hung_takes_a_discriminator_of_neighbourhoods_and_images_of_any_size_from_32_on():
    objective = hung(FullyConvolutionalDiscriminator(K, 2))
    x, y, u = tiny_batch(40, 56)
    terms, made = objective.generator_terms(batch_of(x, y, u))
    terms |= objective.discriminator_terms(batch_of(x, y, u), made)
    assert all(term.isfinite() and term.shape == () for term in terms.values())


@pytest.mark.parametrize("known", [None, torch.ones(2, 1, 8, 8)])
def test_bf16_logits_of_the_judge_are_judged_in_single_precision(known):
    score = torch.randn(2, 1, 8, 8).bfloat16()
    for truth in (0.0, 1.0):
        assert judged(score, truth, known).dtype == torch.float32
        assert judged(score, truth, known) == judged(score.float(), truth, known)


def test_the_judges_huge_logits_cost_a_finite_amount():
    assert judged(torch.full((1, 1, 2, 2), 1000.0), 0.0) == 1000
    assert judged(torch.full((1, 1, 2, 2), -1000.0), 1.0) == 1000


def test_hungs_terms_are_in_single_precision_under_autocast():
    objective, (x, y, u) = hung(), tiny_batch()
    exact, _ = deepcopy(objective).generator_terms(batch_of(x, y, u))
    with torch.autocast("cpu", torch.bfloat16):
        terms, made = objective.generator_terms(batch_of(x, y, u))
        terms = terms | objective.discriminator_terms(batch_of(x, y, u), made)
    assert {term.dtype for term in terms.values()} == {made.s_x.dtype, made.s_u.dtype} == {torch.float32}
    assert {name: terms[name].item() for name in exact} == pytest.approx(values(exact), rel=0.05)


# supervised training


class Watched(nn.Conv2d):
    """A 1x1 segmenter that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(1, K, 1)
        self.given: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.given.append(x)
        return super().forward(x)


@pytest.mark.parametrize("unannotated", [0, 3])
@pytest.mark.parametrize("seed", range(2))
def test_supervised_training_is_equation_1_and_no_more(seed, unannotated):
    t = Twins(seed, unannotated)
    terms, made = Supervised(t.objective.G_IS).generator_terms(batch_of(tensor(t.x), tensor(t.y), tensor(t.u)))
    assert values(terms) == pytest.approx({"gen_S": reference.L_gen_S(t.G_IS, t.x, t.y)}, rel=1e-4)
    torch.testing.assert_close(made.s_x, tensor(reference.softmax(t.G_IS(t.x))))
    assert not made.s_x.requires_grad


def test_supervised_training_sees_no_unlabelled_image():
    G_IS, (x, y, u) = Watched(), tiny_batch()
    objective = Supervised(G_IS)
    terms, made = objective.generator_terms(batch_of(x, y, u))
    terms["gen_S"].backward()
    assert objective.discriminator_terms(batch_of(x, y, u), made) == {}
    assert len(G_IS.given) == 1 and G_IS.given[0] is x
    assert all(p.grad.abs().sum() > 0 for p in G_IS.parameters())


def test_supervised_training_has_no_discriminators():
    objective = Supervised(Watched())
    assert not list(objective.discriminators.parameters())
    assert len(objective.discriminators) == 0
    assert set(objective.state_dict()) == {"G_IS.weight", "G_IS.bias"}


# every method


@pytest.mark.parametrize("method", [tiny_objective, hung, supervised])
def test_a_methods_terms_are_those_it_gives(method):
    objective, (x, y, u) = method(), tiny_batch()
    terms, made = objective.generator_terms(batch_of(x, y, u))
    d_terms = objective.discriminator_terms(batch_of(x, y, u), made)
    assert not set(terms) & set(d_terms)
    assert (*terms, *d_terms) == objective.terms
    assert made.s_x.shape == y.shape


@pytest.mark.parametrize("method", [tiny_objective, hung, supervised])
def test_each_of_a_methods_networks_is_in_one_of_the_two_lists(method):
    objective = method()
    listed = [*objective.generators.parameters(), *objective.discriminators.parameters()]
    assert {id(p) for p in listed} == {id(p) for p in objective.parameters()}
    assert len(listed) == len(list(objective.parameters()))
    assert objective.generators[0] is objective.G_IS


# the learning rate


def test_hungs_rate_by_hand():
    factor = poly_decay(20_000)
    assert factor(0) == 1
    assert factor(10_000) == pytest.approx(0.5**0.9)
    assert factor(15_000) == pytest.approx(0.28717, rel=1e-4)  # exp(0.9 log(1/4))
    assert factor(19_999) == pytest.approx(0.00013459, rel=1e-3)
    assert factor(20_000) == 0


def test_hungs_rate_stays_0_beyond_the_last_step():
    """Where a power of a negative number would be complex."""
    for step in (20_001, 30_000):
        beyond = poly_decay(20_000)(step)
        assert isinstance(beyond, float) and beyond == 0


def test_another_power_of_hungs_rate_by_hand():
    assert [poly_decay(4, power=2.0)(step) for step in range(6)] == [1, 0.5625, 0.25, 0.0625, 0, 0]


# the trainer


def d_adam(objective: Objective) -> Adam:
    """Of the discriminators, as the bundle makes it: for a method without them too."""
    return Adam([{"params": list(objective.discriminators.parameters())}], lr=0.01, betas=(0.5, 0.999))


def trainer_of(objective: Objective, weights: dict[str, float] | None = None, **kwargs) -> SemiCycleTrainer:
    given = {"optimizer": adam(objective.generators), "d_optimizer": d_adam(objective), "max_epochs": 1} | kwargs
    given = {"scaler": torch.amp.GradScaler("cpu", enabled=False), "decollate": False} | given
    return SemiCycleTrainer(
        device="cpu",
        train_data_loader=tiny_pairs(),
        objective=objective,
        weights=weights or {name: WEIGHTS[name] for name in objective.terms},
        classes=K,
        **given,
    )


def test_the_trainer_on_the_supervised_method_is_a_plain_loop():
    """To the last bit, and with the two batch streams of the semi-supervised runs."""
    objective = supervised()
    network = deepcopy(objective.G_IS)
    fresh = weights_of(network)
    trainer = trainer_of(objective, max_epochs=2)
    trainer.run()

    optimizer, pairs = adam(network), tiny_pairs()
    for epoch in (1, 2):
        pairs.set_epoch(epoch)
        for batch in pairs:
            pair = prepare_pairs(batch, CPU, False, K)
            x, y = pair.x, pair.y
            optimizer.zero_grad()
            loss = -(y * torch.log_softmax(network(x), dim=1)).sum() / y.sum()
            torch.testing.assert_close(loss, nn.functional.cross_entropy(network(x), y.argmax(1)))
            loss.backward()
            optimizer.step()
    assert not same(weights_of(network), fresh)
    assert same(weights_of(objective.G_IS), weights_of(network))
    assert trainer.state.output["loss"] == trainer.state.output["gen_S"] == loss
    assert set(trainer.state.output) == {"image", "label", "pred", "loss", "gen_S"}


def test_the_trainers_two_steps_with_hung_by_hand():
    """Adam on the weighted generator terms, then Adam on the weighted discriminator term, to the last bit."""
    objective = hung(semi_start=2, threshold=0.2)
    by_hand = deepcopy(objective)
    trainer_of(objective, max_epochs=2).run()

    optimizer, d_optimizer, pairs = adam(by_hand.G_IS), adam(by_hand.D_S), tiny_pairs()
    for epoch in (1, 2):
        pairs.set_epoch(epoch)
        for batch in pairs:
            pair = prepare_pairs(batch, CPU, False, K)
            by_hand.zero_grad()
            terms, made = by_hand.generator_terms(pair)
            weigh(terms, WEIGHTS).backward()
            optimizer.step()
            by_hand.zero_grad()  # of what the judge got from it
            weigh(by_hand.discriminator_terms(pair, made), WEIGHTS).backward()
            d_optimizer.step()
    assert same(weights_of(objective), weights_of(by_hand))
    assert objective.steps == 6 and torch.equal(objective.earlier, pair.y)


def test_both_optimisers_move_the_networks_of_hung():
    objective = hung(threshold=0.2)
    start = deepcopy(objective)
    trainer = trainer_of(objective, epoch_length=1)
    trainer.run()
    for name in ("G_IS", "D_S"):
        assert not same(weights_of(getattr(objective, name)), weights_of(getattr(start, name)))
    assert set(trainer.state.output) == {"image", "label", "pred", "loss", *WEIGHTS}
    assert all(p.requires_grad for p in objective.parameters())


def test_hungs_weight_of_0_takes_a_term_out():
    """Without the three terms that judge, the segmenter's training is the supervised one."""
    reduced, plain = hung(threshold=0.2), supervised()
    judge = weights_of(reduced.D_S)
    trainer_of(reduced, weights=dict.fromkeys(WEIGHTS, 0.0) | {"gen_S": 1.0}, max_epochs=2).run()
    trainer_of(plain, max_epochs=2).run()
    assert same(weights_of(reduced.G_IS), weights_of(plain.G_IS))
    assert same(weights_of(reduced.D_S), judge)


@pytest.mark.parametrize("method", [hung, supervised])
def test_the_schedules_of_both_optimisers_move_at_each_step(method):
    """Of the method without discriminators too, and without torch's warning of a schedule before its optimiser."""
    objective = method()
    optimizer, d_optimizer = adam(objective.generators), d_adam(objective)
    schedules = [LambdaLR(each, poly_decay(6)) for each in (optimizer, d_optimizer)]
    handlers = [LrScheduleHandler(schedule, print_lr=False, epoch_level=False) for schedule in schedules]
    trainer = trainer_of(objective, optimizer=optimizer, d_optimizer=d_optimizer, train_handlers=handlers, max_epochs=2)
    rates = []

    @trainer.on(Events.ITERATION_STARTED)
    def keep(engine):
        rates.append([each.param_groups[0]["lr"] for each in (optimizer, d_optimizer)])

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.step.*")
        trainer.run()
    expected = [0.01 * (1 - step / 6) ** 0.9 for step in range(6)]
    assert [g for g, _ in rates] == pytest.approx(expected)
    assert [d for _, d in rates] == pytest.approx(expected)


def test_fp16_trains_the_method_without_discriminators():
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2, enabled=True)
    objective = supervised()
    start = weights_of(objective)
    trainer_of(objective, scaler=scaler, max_epochs=2, amp=True, amp_kwargs={"dtype": torch.float16}).run()
    assert not same(weights_of(objective), start)
    assert scaler.state_dict()["scale"] == 64 * 2**3


def test_one_methods_weights_are_refused_by_another():
    with pytest.raises(InputError, match=r"weights are for gen_S: Hung has gen_S, adv_x, adv_u, semi_u, disc_S"):
        trainer_of(hung(), weights={"gen_S": 1.0})
    with pytest.raises(InputError, match=r"weights are for .*semi_u.*: Supervised has gen_S$"):
        trainer_of(supervised(), weights=WEIGHTS)


def test_a_method_must_say_what_its_generators_minimise():
    with pytest.raises(NotImplementedError):
        Objective().generator_terms(batch_of(*tiny_batch()))


# the overlays


def parser(*overlays: str, **override) -> ConfigParser:
    files = [ROOT / "bundles/semicycle/configs/train.json", *(ROOT / "configs" / f"{name}.yaml" for name in overlays)]
    config = ConfigParser.load_config_files([str(path) for path in files])
    return ConfigParser(config | {"demo": False, "filters": 2, "blocks": 1, "d_filters": 2} | override)


ABLATIONS = {
    "cycle_S": {"cycle_S"},
    "cycle_I": {"cycle_I"},
    "disc_S": {"adv_S", "disc_S"},
    "disc_I": {"adv_I", "disc_I"},
}


def test_there_is_an_ablation_of_each_row_of_table_2():
    assert {path.stem for path in (ROOT / "configs").glob("ablation_*.yaml")} == {f"ablation_no_{n}" for n in ABLATIONS}


@pytest.mark.parametrize(("name", "terms"), ABLATIONS.items())
def test_an_ablation_takes_out_its_terms_and_no_other(name, terms):
    whole = parser().get_parsed_content("weights")
    ablated = parser(f"ablation_no_{name}").get_parsed_content("weights")
    assert all(whole.values())
    assert {term for term, weight in ablated.items() if weight == 0} == terms
    assert ablated == whole | dict.fromkeys(terms, 0.0)
    assert set(ablated) == set(SemiCycle.terms)


@pytest.mark.parametrize("percent", [10, 20, 30, 50, 100])
def test_an_overlay_of_labels_labels_the_fraction_of_its_name(percent):
    assert parser(f"labels_{percent}").get_parsed_content("labelled") == percent / 100


def test_there_is_an_overlay_of_labels_for_each_column_of_table_1():
    stems = {path.stem for path in (ROOT / "configs").glob("labels_*.yaml")}
    assert stems == {f"labels_{n}" for n in (10, 20, 30, 50, 100)}


@pytest.mark.parametrize(("name", "method"), [("partial", Supervised), ("hung", Hung)])
def test_an_overlay_of_a_method_weighs_its_terms(name, method):
    config = parser("labels_20", name, steps=400)
    assert tuple(config.get_parsed_content("weights")) == method.terms
    objective = config.get_parsed_content("objective_def")
    assert type(objective) is method
    assert objective.G_IS is config.get_parsed_content("network")


def test_the_overlay_of_hung_is_his_recipe():
    config = parser("hung", steps=20_000)
    assert config.get_parsed_content("weights") == WEIGHTS
    objective = config.get_parsed_content("objective_def")
    assert (objective.semi_start, objective.threshold) == (5_000, 0.2)
    assert [c.out_channels for c in objective.D_S.layers[::2]] == [2, 4, 8, 16, 1]
    assert objective.D_S.layers[0].in_channels == len(config.get_parsed_content("classes"))
    factor = config.get_parsed_content("lr_decay")
    assert [factor(step) for step in (0, 10_000, 20_000)] == pytest.approx([1, 0.5**0.9, 0])
    (group,) = config.get_parsed_content("d_optimizer").param_groups
    assert (group["lr"], tuple(group["betas"])) == (0.0001, (0.9, 0.99))
    assert {id(p) for p in group["params"]} == {id(p) for p in objective.D_S.parameters()}


def test_the_overlay_of_hung_moves_both_schedules_each_step_and_the_bundle_each_epoch():
    for config, by_epoch in ((parser("hung"), False), (parser(), True)):
        handlers = config.get("train")["handler"].values()
        schedules = [each for each in handlers if each["_target_"] == "LrScheduleHandler"]
        assert [each["lr_scheduler"] for each in schedules] == ["@lr_scheduler", "@d_lr_scheduler"]
        assert [each["epoch_level"] for each in schedules] == ["@decay_by_epoch"] * 2
        assert config.get_parsed_content("decay_by_epoch") is by_epoch


def test_the_overlay_of_partial_gives_the_second_optimiser_nothing():
    config = parser("partial")
    assert [group["params"] for group in config.get_parsed_content("d_optimizer").param_groups] == [[]]
    generators = config.get_parsed_content("optimizer").param_groups[0]["params"]
    assert len(generators) == len(list(config.get_parsed_content("network").parameters()))


def test_the_discriminator_refuses_masks_too_small_for_its_strides():
    with pytest.raises(InputError, match="at least 32 x 32"):
        FullyConvolutionalDiscriminator(4, 4)(torch.zeros(1, 4, 24, 40))
