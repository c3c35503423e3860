"""What any method may ask of a step: its views, its own number of unlabelled images, a teacher after the step."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim import SGD

from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.methods.losses import cross_entropy
from acdc_semicycle.methods.networks import InstanceNorm
from acdc_semicycle.methods.objective import Batch, Objective, Terms, joint_forward, softmax
from acdc_semicycle.methods.supervised import SegmenterOutputs
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.trainer import SemiCycleTrainer
from tests.training.test_trainer import K, slices


class Averaged(Objective):
    """A segmenter, and a teacher that is the mean of all the weights it has had; two views must look alike."""

    terms = ("gen_S", "alike")
    views = ("weak", "strong")

    def __init__(self, G_IS: nn.Module) -> None:
        super().__init__()
        self.G_IS, self.teacher, self.steps = G_IS, deepcopy(G_IS), 1
        self.seen: list[Batch] = []

    @property
    def segmenter(self) -> nn.Module:
        return self.teacher

    def generator_terms(self, batch: Batch) -> tuple[Terms, SegmenterOutputs]:
        self.seen.append(batch)
        logits = self.G_IS(batch.x)
        alike = (self.G_IS(batch.views["strong"]) - self.G_IS(batch.views["weak"]).detach()).square().mean()
        return {"gen_S": cross_entropy(logits, batch.y), "alike": alike}, SegmenterOutputs(softmax(logits.detach()))

    @torch.no_grad()
    def after_step(self) -> None:
        self.steps += 1
        for mean, weight in zip(self.teacher.parameters(), self.G_IS.parameters(), strict=True):
            mean.lerp_(weight, 1 / self.steps)


VIEWS = {"weak": Augment(shift=2, geometry=1.0), "strong": Augment(shift=2, geometry=1.0, gain=0.5, intensity=1.0)}


def trainer_of(objective: Objective, pairs: Pairs) -> SemiCycleTrainer:
    return SemiCycleTrainer(
        device="cpu", max_epochs=1, train_data_loader=pairs, objective=objective, classes=K, decollate=False,
        weights=dict.fromkeys(objective.terms, 1.0), scaler=torch.amp.GradScaler("cpu", enabled=False),
        optimizer=SGD(objective.generators.parameters(), 0.1), d_optimizer=SGD([nn.Parameter(torch.zeros(1))], 0.1),
    )  # fmt: skip


def segmenter() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, K, 3, padding=1)


def test_after_step_sees_the_weights_that_this_step_left():
    objective = Averaged(segmenter())
    history = [deepcopy(objective.G_IS.weight.detach())]
    step = objective.after_step
    objective.after_step = lambda: (history.append(objective.G_IS.weight.detach().clone()), step())
    trainer_of(objective, Pairs(slices(1), slices(2, 3, keys=["image"]), 2, views=VIEWS)).run()
    assert len(history) == 4
    torch.testing.assert_close(objective.teacher.weight, torch.stack(history).mean(0))
    assert not torch.equal(objective.teacher.weight, objective.G_IS.weight)


def test_views_show_the_same_pixels_in_other_intensities():
    objective = Averaged(segmenter())
    trainer_of(objective, Pairs(slices(1), slices(2, 3, keys=["image"]), 2, views=VIEWS)).run()
    for batch in objective.seen:
        weak, strong = batch.views["weak"], batch.views["strong"]
        ratio = strong / weak
        assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-3)  # a gain of the whole image
        assert (ratio[:, 0, 0, 0] - 1).abs().max() > 0.01


def test_a_view_draws_intensities_of_its_own():
    strong = Augment(gain=0.5, offset=0.2, intensity=1.0)
    pairs = Pairs(slices(1), slices(2, 3, keys=["image"]), 2, views={"one": strong, "two": strong})
    batch = next(iter(pairs))["unlabelled"]
    assert not torch.allclose(batch["one"], batch["two"], atol=0.01)


def test_the_first_view_is_what_one_view_alone_would_be():
    strong = Augment(shift=2, gain=0.5, intensity=1.0)
    both = Pairs(slices(1), slices(2, keys=["image"]), 2, views={"u": strong, "two": strong})
    alone = Pairs(slices(1), slices(2, keys=["image"], augment=strong), 2)
    assert torch.equal(next(iter(both))["unlabelled"]["u"], next(iter(alone))["unlabelled"]["u"])


def test_views_that_move_pixels_differently_are_refused():
    views = {"weak": Augment(shift=2), "strong": Augment(shift=3)}
    with pytest.raises(InputError, match="the views weak and strong move pixels differently"):
        Pairs(slices(1), slices(2, keys=["image"]), 2, views=views)


def test_a_view_that_is_not_configured_is_named():
    with pytest.raises(InputError, match="asks for the view 'weak', and train::views has u: add it there"):
        trainer_of(Averaged(segmenter()), Pairs(slices(1), slices(2, keys=["image"]), 2))


def test_a_method_without_views_is_given_no_unlabelled_image():
    pairs = Pairs(slices(1), slices(2, keys=["image"]), 2)
    pairs.select(())
    batch = next(iter(pairs))
    assert batch["unlabelled"] == {} and pairs.where(batch) == [name for name in pairs.where(batch) if name[0] == "1"]


def test_an_unlabelled_batch_has_its_own_size_and_an_epoch_shows_each_slice_once():
    pairs = Pairs(slices(1), slices(2, 3, 4, 5, keys=["image"]), 2, unlabelled_batch_size=4)
    batches = list(pairs)
    assert len(batches) == 3 == len(pairs)
    assert {len(batch["labelled"]["image"]) for batch in batches} == {2}
    indices = torch.cat([batch["unlabelled"]["index"] for batch in batches])
    assert sorted(indices.tolist()) == list(range(12))


def test_going_on_within_an_epoch_skips_as_many_batches_of_either_size():
    pairs = Pairs(slices(1), slices(2, 3, 4, 5, keys=["image"]), 2, unlabelled_batch_size=4)
    whole = [(batch["labelled"]["index"], batch["unlabelled"]["index"]) for batch in pairs]
    pairs.skip(2)
    (rest,) = [(batch["labelled"]["index"], batch["unlabelled"]["index"]) for batch in pairs]
    assert torch.equal(rest[0], whole[2][0]) and torch.equal(rest[1], whole[2][1])


def test_an_unlabelled_batch_larger_than_the_set_is_refused():
    with pytest.raises(InputError, match="unlabelled_batch_size is 9: give 1 to 6, the number of slices"):
        Pairs(slices(1), slices(2, 3, keys=["image"]), 2, unlabelled_batch_size=9)


def test_a_network_with_batch_norm_gets_each_batch_by_itself():
    network = nn.Sequential(nn.Conv2d(1, K, 1), nn.BatchNorm2d(K))
    x, u = torch.randn(2, 1, 4, 4), 5 + 3 * torch.randn(3, 1, 4, 4)
    logits, logits_u = joint_forward(network, x, u)
    torch.testing.assert_close(logits, network(x))
    torch.testing.assert_close(logits_u, network(u))
    mixed = network(torch.cat([x, u]))
    assert not torch.allclose(logits, mixed[:2], atol=0.1)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (nn.BatchNorm1d(K), 1), (nn.BatchNorm2d(K), 2), (nn.BatchNorm3d(K), 3), (nn.SyncBatchNorm(K), 2),
        (nn.InstanceNorm1d(K, track_running_stats=True), 1), (nn.InstanceNorm2d(K, track_running_stats=True), 2),
        (nn.InstanceNorm3d(K, track_running_stats=True), 3),
    ],
)  # fmt: skip
def test_each_kind_of_norm_with_running_means_gets_each_batch_by_itself(layer, axes):
    joint, apart = nn.Sequential(deepcopy(layer)), nn.Sequential(deepcopy(layer))
    x, u = torch.randn(2, K, *[4] * axes), 5 + 3 * torch.randn(3, K, *[4] * axes)
    for output, batch in zip(joint_forward(joint, x, u), (x, u), strict=True):
        torch.testing.assert_close(output, apart(batch))
    assert len(list(joint.buffers())) == 3
    for name, value in apart.named_buffers():
        torch.testing.assert_close(joint.get_buffer(name), value)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.InstanceNorm2d(K), nn.GroupNorm(1, K), InstanceNorm(K)])
def test_a_network_that_treats_each_image_alone_makes_one_pass(norm):
    network, calls = nn.Sequential(segmenter(), norm), []
    network.register_forward_hook(lambda *_: calls.append(1))
    joint_forward(network, torch.randn(2, 1, 4, 4), torch.randn(3, 1, 4, 4))
    assert calls == [1]


def test_by_default_the_segmenter_is_G_IS_and_a_teacher_where_the_method_has_one():
    objective = Objective()
    objective.G_IS = segmenter()
    assert objective.segmenter is objective.G_IS
    averaged = Averaged(segmenter())
    assert averaged.segmenter is averaged.teacher
