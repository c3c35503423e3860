"""One iteration, in the order it promises; and training that reduces to what it must reduce to."""

import logging
import time
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.handlers import LrScheduleHandler
from monai.transforms import RandFlipd, RandGaussianNoised
from monai.utils.enums import AdversarialIterationEvents as AdversarialEvents
from tiny import batch_of
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from acdc_semicycle.data.pairs import Pairs, Slices
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.losses import cross_entropy, l2, weigh
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.objective import Objective, joint_forward
from acdc_semicycle.methods.schedules import linear_decay
from acdc_semicycle.methods.semicycle import SemiCycle, softmax
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.terms_log import TermsLog, read_curve, terms_of
from acdc_semicycle.training.trainer import SemiCycleTrainer, prepare_pairs
from acdc_semicycle.training.watching import Balance, StopAtNonFinite

K = 3
WEIGHTS = {
    "gen_S": 1.0,
    "gen_I": 1.0,
    "cycle_S": 0.05,
    "cycle_I": 1.0,
    "adv_S": 0.5,
    "adv_I": 0.5,
    "disc_S": 0.5,
    "disc_I": 0.5,
}
NOTHING = dict.fromkeys(WEIGHTS, 0.0)
CPU = torch.device("cpu")


def volume(item: dict[str, str]) -> dict[str, torch.Tensor]:
    """Three random slices of 8x8 pixels, named by their case."""
    random = torch.Generator().manual_seed(int(item["case"]))
    label = torch.randint(K, (1, 8, 8, 3), generator=random).to(torch.uint8)
    return {"image": torch.rand(1, 8, 8, 3, generator=random) * 2 - 1, "label": label}


def slices(*cases: int, **kwargs) -> Slices:
    return Slices([Record(str(case), str(case), Path(str(case))) for case in cases], volume, **kwargs)


def tiny_pairs(**kwargs) -> Pairs:
    """Three iterations an epoch, two slices of each kind in each."""
    return Pairs(slices(1, **kwargs), slices(2, 3, keys=["image"], **kwargs), batch_size=2)


def tiny_objective(pool_size: int = 2) -> SemiCycle:
    torch.manual_seed(0)
    G_IS = ResidualGenerator(1, K, 2, 1)
    G_SI = ResidualGenerator(K, 1, 2, 1, activation=nn.Tanh())
    return SemiCycle(G_IS, G_SI, PixelDiscriminator(K, 4), PixelDiscriminator(1, 4), pool_size)


def adam(module: nn.Module) -> Adam:
    return Adam(module.parameters(), lr=0.01, betas=(0.5, 0.999))


def tiny_trainer(objective: SemiCycle | None = None, pairs: Pairs | None = None, **kwargs) -> SemiCycleTrainer:
    objective = objective or tiny_objective()
    given = {
        "max_epochs": 1,
        "weights": WEIGHTS,
        "scaler": torch.amp.GradScaler("cpu", enabled=False),
        "decollate": False,
        "optimizer": adam(objective.generators),
        "d_optimizer": adam(objective.discriminators),
    } | kwargs
    return SemiCycleTrainer(
        device="cpu", train_data_loader=pairs or tiny_pairs(), objective=objective, classes=K, **given
    )


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


# data on the way in


def test_one_hot_by_hand():
    labels = torch.tensor([[[[0, 2], [1, 255]]]])
    expected = torch.tensor([[[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 0]]]])
    assert torch.equal(one_hot(labels, 3), expected.float())


def test_a_label_that_is_no_class_is_zero_in_every_class():
    assert one_hot(torch.full((2, 1, 4, 4), 255), 4).sum() == 0
    assert one_hot(torch.full((2, 1, 4, 4), -1), 4).sum() == 0
    assert one_hot(torch.full((2, 1, 4, 4), 4), 4).sum() == 0


def test_a_batch_becomes_plain_float_tensors():
    pairs = tiny_pairs(random_transform=[RandFlipd("image", prob=0.5)])
    batch = next(iter(pairs))
    given = prepare_pairs(batch, CPU, False, K)
    x, y, u = given.x, given.y, given.u
    assert {(t.dtype, type(t)) for t in (x, y, u)} == {(torch.float32, torch.Tensor)}
    assert torch.equal(x, batch["labelled"]["image"])
    assert torch.equal(u, batch["unlabelled"]["u"])
    assert torch.equal(y.argmax(1, keepdim=True), batch["labelled"]["label"])


# the learning rate


def test_the_papers_rate_is_constant_to_epoch_100_then_linear_to_0_at_400():
    factor = linear_decay(100, 400)
    assert [factor(epoch) for epoch in (0, 1, 99, 100)] == [1, 1, 1, 1]
    assert factor(101) == pytest.approx(299 / 300)
    assert factor(250) == pytest.approx(0.5)
    assert factor(399) == pytest.approx(1 / 300)
    assert factor(400) == 0


def test_a_rate_that_never_falls_and_one_that_falls_at_once():
    assert [linear_decay(4, 4)(epoch) for epoch in range(5)] == [1, 1, 1, 1, 1]
    assert [linear_decay(0, 4)(epoch) for epoch in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_the_rate_of_each_epoch_by_hand():
    objective = tiny_objective()
    optimizer, rates = adam(objective.generators), []
    schedule = LambdaLR(optimizer, linear_decay(1, 4))
    trainer = tiny_trainer(objective, optimizer=optimizer, max_epochs=4)
    LrScheduleHandler(schedule, print_lr=False).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.run()
    assert rates == pytest.approx([0.01, 0.01, 0.01 * 2 / 3, 0.01 / 3])


# one iteration


class Recorder:
    """What is so whenever an event fires."""

    def __init__(self, trainer: SemiCycleTrainer) -> None:
        self.trainer, self.seen = trainer, {}
        for event in (*IterationEvents, *AdversarialEvents):
            trainer.add_event_handler(event, self, event)

    def __call__(self, engine: Engine, event) -> None:
        objective = self.trainer.objective
        self.seen.setdefault(
            event,
            {
                "output": set(engine.state.output),
                "generators": weights_of(objective.generators),
                "discriminators": weights_of(objective.discriminators),
                "judged": any(p.grad is not None for p in objective.discriminators.parameters()),
                "training": all(module.training for module in objective.modules()),
            },
        )


@pytest.fixture
def recorded():
    """A trainer after one iteration on evaluating networks, what was so at each event, and how it had been."""
    objective = tiny_objective().eval()
    before = deepcopy(objective)
    trainer = tiny_trainer(objective, epoch_length=1)
    recorder = Recorder(trainer)
    trainer.run()
    return trainer, recorder.seen, before


def test_events_fire_in_the_documented_order(recorded):
    _, seen, _ = recorded
    assert list(seen) == [
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        AdversarialEvents.DISCRIMINATOR_LOSS_COMPLETED,
        AdversarialEvents.DISCRIMINATOR_BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]


def test_each_event_finds_in_the_output_what_its_name_says(recorded):
    _, seen, _ = recorded
    assert seen[IterationEvents.FORWARD_COMPLETED]["output"] == {"image", "label", "pred"}
    assert seen[IterationEvents.LOSS_COMPLETED]["output"] == {"image", "label", "pred", "loss"}
    assert seen[IterationEvents.MODEL_COMPLETED]["output"] == {"image", "label", "pred", "loss", *WEIGHTS}


def test_the_generators_step_leaves_discriminators_alone_and_the_other_way_round(recorded):
    _, seen, before = recorded
    generators_done = seen[IterationEvents.BACKWARD_COMPLETED]
    all_done = seen[AdversarialEvents.DISCRIMINATOR_BACKWARD_COMPLETED]

    assert same(seen[IterationEvents.LOSS_COMPLETED]["generators"], weights_of(before.generators))
    assert not same(generators_done["generators"], weights_of(before.generators))
    assert same(generators_done["discriminators"], weights_of(before.discriminators))
    assert not generators_done["judged"], "judging is not learning"

    assert same(all_done["generators"], generators_done["generators"])
    assert not same(all_done["discriminators"], generators_done["discriminators"])


def test_every_network_changes_in_one_iteration(recorded):
    trainer, _, before = recorded
    for name in ("G_IS", "G_SI", "D_S", "D_I"):
        assert not same(weights_of(getattr(trainer.objective, name)), weights_of(getattr(before, name)))


def test_networks_left_evaluating_train_again(recorded):
    """The validation before it sets G_IS to eval."""
    _, seen, _ = recorded
    assert all(found["training"] for found in seen.values())


def test_discriminators_take_gradients_again_after_each_iteration(recorded):
    trainer, _, _ = recorded
    assert all(p.requires_grad for p in trainer.objective.parameters())


def first_batch():
    pairs = tiny_pairs()
    pairs.set_epoch(1)
    batch = prepare_pairs(next(iter(pairs)), CPU, False, K)
    return batch.x, batch.y, batch.u


def test_the_output_is_what_the_networks_gave_before_they_changed(recorded):
    trainer, _, before = recorded
    x, y, u = first_batch()
    before.train()
    terms, made = before.generator_terms(batch_of(x, y, u))
    expected = terms | before.discriminator_terms(batch_of(x, y, u), made)

    output = trainer.state.output
    assert {name: output[name].item() for name in WEIGHTS} == {name: t.item() for name, t in expected.items()}
    assert output["loss"] == weigh(terms, WEIGHTS)
    assert torch.equal(output["pred"], softmax(before.G_IS(x)))
    assert torch.equal(output["image"], x)
    assert torch.equal(output["label"], y)
    assert not any(value.requires_grad for value in output.values())


def test_the_two_steps_by_hand():
    """Adam on the weighted generator terms, then Adam on the weighted discriminator terms, to the last bit."""
    objective = tiny_objective()
    by_hand = deepcopy(objective)
    tiny_trainer(objective, max_epochs=2).run()

    optimizer, d_optimizer, pairs = adam(by_hand.generators), adam(by_hand.discriminators), tiny_pairs()
    for epoch in (1, 2):
        pairs.set_epoch(epoch)
        for batch in pairs:
            pair = prepare_pairs(batch, CPU, False, K)
            by_hand.zero_grad()
            terms, made = by_hand.generator_terms(pair)
            weigh(terms, WEIGHTS).backward()
            optimizer.step()
            by_hand.zero_grad()  # of what the judges got from it
            weigh(by_hand.discriminator_terms(pair, made), WEIGHTS).backward()
            d_optimizer.step()

    assert same(weights_of(objective), weights_of(by_hand))
    assert same(objective.pool_I.pool, by_hand.pool_I.pool)


# equivalence


def supervised(network: nn.Module, loss_of, epochs: int) -> None:
    """A plain supervised loop over the same batches."""
    optimizer, pairs = adam(network), tiny_pairs()
    for epoch in range(1, epochs + 1):
        pairs.set_epoch(epoch)
        for batch in pairs:
            pair = prepare_pairs(batch, CPU, False, K)
            optimizer.zero_grad()
            loss_of(network, pair.x, pair.y).backward()
            optimizer.step()


@pytest.mark.parametrize(
    ("term", "trained", "untouched", "loss_of"),
    [
        # with as many images in the pass as the trainer has, since rounding depends on that
        ("gen_S", "G_IS", "G_SI", lambda G_IS, x, y: cross_entropy(joint_forward(G_IS, x, x)[0], y)),
        ("gen_I", "G_SI", "G_IS", lambda G_SI, x, y: l2(joint_forward(G_SI, y, y)[0], x)),
    ],
)
def test_zero_weights_reduce_to_supervised_training(term, trained, untouched, loss_of):
    objective = tiny_objective()
    start = deepcopy(objective)
    tiny_trainer(objective, weights=NOTHING | {term: 1.0}, max_epochs=2).run()

    twin = getattr(start, trained)
    fresh = weights_of(twin)
    supervised(twin, loss_of, epochs=2)
    assert not same(weights_of(twin), fresh)
    assert same(weights_of(getattr(objective, trained)), weights_of(twin))
    assert same(weights_of(getattr(objective, untouched)), weights_of(getattr(start, untouched)))
    assert same(weights_of(objective.discriminators), weights_of(start.discriminators))


def test_the_same_seed_trains_the_same_networks_twice():
    objectives = [tiny_objective(), tiny_objective()]
    for objective in objectives:
        tiny_trainer(objective, max_epochs=2).run()
    assert same(weights_of(objectives[0]), weights_of(objectives[1]))


def test_workers_that_draw_at_random_change_no_bit_of_the_training():
    def trained(workers):
        flip = [RandFlipd("image", prob=0.5, spatial_axis=0), RandGaussianNoised("image", prob=0.5)]
        labelled, unlabelled = (slices(*cases, random_transform=flip) for cases in ((1,), (2, 3)))
        objective = tiny_objective()
        tiny_trainer(objective, Pairs(labelled, unlabelled, batch_size=2, num_workers=workers), max_epochs=2).run()
        return weights_of(objective)

    alone = trained(0)
    assert same(alone, trained(2)) and not same(alone, weights_of(tiny_objective()))


def test_each_epoch_has_its_own_order_and_its_own_random_transforms():
    pairs, shown = tiny_pairs(random_transform=[RandFlipd("image", prob=0.5, spatial_axis=0)]), {}
    trainer = tiny_trainer(pairs=pairs, max_epochs=3)

    @trainer.on(Events.ITERATION_STARTED)
    def keep(engine):
        shown.setdefault(engine.state.epoch, []).append(engine.state.batch["unlabelled"]["u"].clone())

    trainer.run()
    for epoch, batches in shown.items():
        pairs.set_epoch(epoch)
        assert same(batches, [batch["unlabelled"]["u"] for batch in pairs])
    assert not same(shown[1], shown[2]) and not same(shown[2], shown[3])


# half precision


def test_bf16_losses_are_close_to_single_precision():
    losses = {}
    for amp in (False, True):
        trainer = tiny_trainer(epoch_length=1, amp=amp, amp_kwargs={"dtype": torch.bfloat16})
        trainer.run()
        output = trainer.state.output
        losses[amp] = {name: output[name].item() for name in (*WEIGHTS, "loss")}
        assert {output[name].dtype for name in (*WEIGHTS, "pred", "loss")} == {torch.float32}
    assert losses[True] == pytest.approx(losses[False], rel=0.05)
    assert losses[True] != losses[False]


def test_fp16_trains_with_its_scale_in_the_state():
    """The scale doubles after each two iterations without overflow: the scaler is updated once in each."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2, enabled=True)
    objective = tiny_objective()
    start = weights_of(objective)
    tiny_trainer(objective, scaler=scaler, max_epochs=2, amp=True, amp_kwargs={"dtype": torch.float16}).run()
    assert not same(weights_of(objective), start)
    assert all(p.isfinite().all() for p in objective.parameters())
    assert scaler.state_dict()["scale"] == 64 * 2**3
    assert scaler.state_dict()["_growth_tracker"] == 0


def test_a_scale_of_the_gradients_changes_nothing_in_single_precision():
    """A power of two is exact; what is left of it in a gradient would show."""
    objectives = []
    for enabled in (False, True):
        objectives.append(tiny_objective())
        tiny_trainer(objectives[-1], scaler=torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)).run()
    assert same(weights_of(objectives[0]), weights_of(objectives[1]))


def test_an_overflow_skips_the_step_of_its_optimizer_only():
    """Infinite gradients in the discriminators: generators step, discriminators do not, the scale is halved."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=True)
    objective = tiny_objective()
    start = deepcopy(objective)
    objective.D_S.layers[0].bias.register_hook(lambda gradient: gradient * float("inf"))
    tiny_trainer(objective, scaler=scaler, epoch_length=1).run()
    assert not same(weights_of(objective.generators), weights_of(start.generators))
    assert same(weights_of(objective.discriminators), weights_of(start.discriminators))
    assert scaler.get_scale() == 32


# what it refuses, and its handlers


def test_compile_and_accumulation_are_refused():
    for unknown in ({"accumulation_steps": 2}, {"compile": True}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            tiny_trainer(**unknown)


def test_a_term_without_weight_is_refused():
    with pytest.raises(InputError, match=r"SemiCycle has .*disc_I"):
        tiny_trainer(weights={name: w for name, w in WEIGHTS.items() if name != "disc_I"})


def test_a_weight_of_no_term_is_refused():
    with pytest.raises(InputError, match=r"weights are for .*cycle_X"):
        tiny_trainer(weights=WEIGHTS | {"cycle_X": 1.0})


class Writer:
    """What TensorBoard would have got."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, value: float, epoch: int) -> None:
        self.scalars.append((tag, value, epoch))

    def flush(self) -> None: ...


@pytest.mark.parametrize("decollate", [False, True])
def test_the_terms_log_holds_each_epochs_means_decollated_or_not(tmp_path, decollate):
    writer, values = Writer(), {}
    names = list(WEIGHTS)
    trainer = tiny_trainer(
        max_epochs=2,
        decollate=decollate,
        train_handlers=[TermsLog(names, Engine(lambda *_: None), tmp_path, writer), StopAtNonFinite(names)],
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        output = engine.state.output[0] if decollate else engine.state.output
        for name in names:
            values.setdefault((f"train/{name}", engine.state.epoch), []).append(float(output[name]))

    trainer.run()
    assert isinstance(trainer.state.output, list) == decollate
    means = {key: sum(v) / len(v) for key, v in values.items()}
    assert {(tag, epoch): value for tag, value, epoch in writer.scalars} == pytest.approx(means)
    rows = read_curve(tmp_path / "learning_curve.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        for name in names:
            assert float(row[name]) == pytest.approx(means[f"train/{name}", int(row["epoch"])], rel=1e-4)


@pytest.mark.parametrize("decollate", [False, True])
@pytest.mark.parametrize(("stream", "term"), [("labelled", "gen_S"), ("unlabelled", "cycle_I")])
def test_an_image_of_nan_stops_training_with_the_terms_name(stream, term, decollate):
    pairs = tiny_pairs()
    pairs.datasets[stream].stored["offset"] = float("nan")
    trainer = tiny_trainer(pairs=pairs, decollate=decollate, train_handlers=[StopAtNonFinite(list(WEIGHTS))])
    epochs = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: epochs.append(1))
    with pytest.raises(
        FloatingPointError, match=f"^{term} is nan in step 1, with .* slice .*: lower the learning rate"
    ):
        trainer.run()
    assert not epochs, "nothing is saved of such an epoch"


class Delayed(StopAtNonFinite):
    """As on CUDA: a step's terms are looked at while the next one runs."""

    def __call__(self, engine):
        self.check()
        self.last = engine, engine.state.iteration, engine.state.batch, terms_of(engine, self.terms), None


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_term_looked_at_a_step_later_still_ends_the_run_before_the_epoch_is_saved(step):
    trainer = tiny_trainer(train_handlers=[Delayed(list(WEIGHTS))])
    saved, steps = [], []

    def spoil(engine):
        steps.append(1)
        if len(steps) == step:
            engine.state.output["gen_I"] = torch.tensor(float("inf"))

    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, spoil)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: saved.append(1))
    with pytest.raises(FloatingPointError, match=f"gen_I is inf in step {step}, with"):
        trainer.run()
    assert not saved and len(steps) <= step + 1


class Judging(Objective):
    chance_level = {"disc_S": 0.5}


def judged_epochs(*values: float, weight: float = 0.5, steps: int = 200) -> list[str]:
    """What is said after each epoch, of so many steps, of a discriminator's term."""
    engine, said = Engine(lambda *_: None), []
    log = TermsLog(["disc_S"], engine, "nowhere", None)
    balance = Balance(log, Judging(), {"disc_S": weight, "gen_S": 1.0})
    handler = logging.Handler()
    handler.emit = lambda record: said.append(f"{engine.state.epoch}: {record.getMessage()}")
    logger = logging.getLogger("semicycle")
    logger.addHandler(handler)
    try:
        for epoch, value in enumerate(values, start=1):
            engine.state.epoch, log.means["disc_S"] = epoch, value
            engine.state.epoch_length = steps
            balance(engine)
    finally:
        logger.removeHandler(handler)
    return said


def test_a_discriminator_that_has_won_or_died_is_said_once_it_has_lasted_and_when_it_is_over(caplog):
    caplog.set_level("INFO", "semicycle")
    assert judged_epochs(0.3, 0.499, 0.499, 0.2, 0.499, 0.499) == []
    [died] = judged_epochs(0.3, 0.495, 0.495, 0.495, 0.495, 0.495)
    assert died == (
        "4: D_S does not tell fakes from the real since epoch 2 (disc_S 0.495, 0.5 is chance): the generators learn"
        " nothing from it"
    )
    [won, over] = judged_epochs(0.001, 0.001, 0.001, 0.001, 0.3)
    assert won.startswith("3: D_S tells every fake from the real since epoch 1 (disc_S 0.001")
    assert over.startswith("5: D_S is in the game")
    assert judged_epochs(0.001, 0.001, 0.001, 0.001, weight=0.0) == []
    assert judged_epochs(0.015, 0.015, 0.015, 0.015) == [], "two hundredths of chance, not of 1"


def test_short_epochs_must_last_for_as_many_steps():
    assert judged_epochs(*[0.001] * 33, steps=15) == []
    [won] = judged_epochs(*[0.001] * 40, steps=15)
    assert won.startswith("34: D_S tells every fake from the real since epoch 1")
    assert judged_epochs(*[0.001] * 33, 0.3, steps=15) == [], "what was not said is not over"


@pytest.fixture
def slow_trainer(tmp_path, caplog, monkeypatch) -> Engine:
    """Logs its terms; each of its steps takes 20 seconds by the clock."""
    caplog.set_level("INFO", "semicycle")
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def step(*_):
        now[0] += 20.0
        return {"disc_S": torch.tensor(1.0)}

    writer = SimpleNamespace(add_scalar=lambda *_: None, flush=lambda: None)
    trainer = Engine(step)
    TermsLog(["disc_S"], Engine(lambda *_: None), tmp_path, writer).attach(trainer)
    return trainer


def test_a_long_epoch_says_ever_more_rarely_how_long_it_all_takes(slow_trainer, caplog):
    slow_trainer.run(range(10), max_epochs=2)
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["epoch 1, step 2/10: 0:06:00 left", "epoch 1, step 5/10: 0:05:00 left"]
    assert [line.split(":")[0] for line in said[2:]] == ["epoch 1/2, 0", "epoch 2, step 1/10", "epoch 2/2, 0"]


@pytest.mark.parametrize(("device", "advice"), [("cpu", 1), ("cuda", 0)])
def test_a_training_of_days_on_a_cpu_names_the_recipe_for_it(slow_trainer, caplog, device, advice):
    slow_trainer.state.device = torch.device(device)
    slow_trainer.add_event_handler(Events.ITERATION_COMPLETED(once=9), slow_trainer.terminate)
    slow_trainer.run(range(10), max_epochs=1000)
    assert caplog.messages[0] == "epoch 1, step 2/10: 2 d 7:32:40 left"
    words = "2 days left: this is too much for a CPU, semicycle train few ... takes an evening"
    assert caplog.messages.count(words) == advice


def test_damaged_rows_of_a_learning_curve_are_left_out(tmp_path):
    curve = tmp_path / "learning_curve.csv"
    curve.write_bytes(b"epoch,gen_S\n1,0.5\n\xff\x00,7\n2,0.4\n")
    assert [row["epoch"] for row in read_curve(curve)] == ["1", "2"]
    curve.write_bytes(b"a,b\n1,2\n")
    assert read_curve(curve) == []
