"""What a run leaves behind: whole files, the best network, and all it takes to go on as if never stopped."""

import copy
import functools
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler
from monai.transforms import RandFlipd
from processes import start
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

import acdc_semicycle.training.checkpoints
from acdc_semicycle.artifacts.weights import load, load_network, save
from acdc_semicycle.data.pairs import Pairs, Slices
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.schedules import linear_decay
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.runtime import signals
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.checkpoints import Checkpoints
from acdc_semicycle.training.trainer import SemiCycleTrainer

# files


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "new" / "a.pt", {"weights": torch.arange(3), "names": ["x", 1, 2.5, None]})
    state = load(tmp_path / "new" / "a.pt")
    assert torch.equal(state["weights"], torch.arange(3))
    assert state["names"] == ["x", 1, 2.5, None]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.pt"]


def full_disk(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", ["unpicklable", "disk full while writing", "disk full while flushing"])
def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch, fault):
    path = tmp_path / "last.pt"
    save(path, {"epoch": 1})
    before = path.read_bytes()
    state = {"epoch": 2, "weights": torch.zeros(10)}
    if fault == "unpicklable":
        state["function"] = lambda: None
    elif fault == "disk full while writing":
        monkeypatch.setattr(torch, "save", lambda _, stream: stream.write(b"PK") and full_disk())
    else:
        monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises((OSError, AttributeError, TypeError, RuntimeError, ValueError)):
        save(path, state)
    assert path.read_bytes() == before
    assert fault == "unpicklable" or list(tmp_path.iterdir()) == [path], "no room is taken by a part of a file"
    monkeypatch.undo()
    save(path, {"epoch": 3})
    assert load(path) == {"epoch": 3}


def test_all_is_on_the_disk_before_the_old_file_goes(tmp_path, monkeypatch):
    path, flushed = tmp_path / "last.pt", []
    save(path, {"epoch": 1})

    def fsync(number: int) -> None:
        flushed.append([load(path), *map(load, set(tmp_path.iterdir()) - {path})])

    monkeypatch.setattr(os, "fsync", fsync)
    save(path, {"epoch": 2})
    assert flushed == [[{"epoch": 1}, {"epoch": 2}], [{"epoch": 2}]]  # the file, then the folder
    assert load(path) == {"epoch": 2}


def test_a_state_is_saved_where_a_killed_process_left_a_part_of_the_one_before(tmp_path):
    path, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    save(path, {"epoch": 1}, previous)
    for left in ("last.pt.part", "previous.pt.part"):
        (tmp_path / left).write_bytes(b"left")
    save(path, {"epoch": 2}, previous)
    assert (load(path), load(previous)) == ({"epoch": 2}, {"epoch": 1})
    assert {*tmp_path.iterdir()} == {path, previous}


def written(state) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


WHOLE = written({"weights": torch.randn(50)})
DAMAGED = {
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "truncated in its last bytes": WHOLE[:-3],
    "one bit of its pickle flipped": WHOLE.replace(b"weights", b"\xf7eights"),
    "a table": b"epoch,dice\n1,0.5\n",
    "a word": b"hello",
    "a page": b"<html><body>404</body></html>",
    "a program": written({"weights": torch.zeros(1), "path": Path("x")}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} is no readable checkpoint") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(": give another, or train again")


def test_random_bytes_are_refused_whatever_they_happen_to_mean(tmp_path):
    """To the unpickler each byte is an instruction: some fail in it as a KeyError, an IndexError and so on."""
    path, unexpected = tmp_path / "model.pt", {}
    for seed in range(200):
        path.write_bytes(random.Random(seed).randbytes(64))
        try:
            load(path)
        except InputError as error:
            assert "\n" not in str(error)
        except Exception as error:
            unexpected.setdefault(type(error).__name__, []).append(seed)
    assert unexpected == {}


@pytest.mark.parametrize("name", ["nothing.pt", "."])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="is not there: train first, or give the checkpoint of a training run"):
        load(tmp_path / name)


# networks


def generator(filters: int = 2, blocks: int = 1, classes: int = 3) -> ResidualGenerator:
    return ResidualGenerator(1, classes, filters, blocks)


def test_a_network_of_the_same_architecture_takes_the_weights(tmp_path):
    one, other = generator(), generator()
    save(tmp_path / "model.pt", one.state_dict())
    load_network(other, tmp_path / "model.pt")
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({"filters": 4}, r"layers\.1\.weight: given \(4, 1, 7, 7\), expected \(2, 1, 7, 7\)"),
        ({"classes": 5}, r"layers\.18\.weight: given \(5, 2, 7, 7\), expected \(3, 2, 7, 7\)"),
        ({"blocks": 2}, r"layers\.11\.weight: given nothing, expected \(8, 4, 3, 3\)"),
        ({"blocks": 0}, r"layers\.10\.f\.1\.weight: given nothing, expected \(8, 8, 3, 3\)"),
    ],
)
def test_another_architecture_is_refused_with_the_parameter_that_differs(tmp_path, given, difference):
    save(tmp_path / "model.pt", generator(**given).state_dict())
    network = generator()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(
        InputError, match=rf"\({difference}\): model\.json, which describes it, is missing beside it: copy"
    ):
        load_network(network, tmp_path / "model.pt")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match=rf"is of another architecture \({difference}\): give the settings"):
        load_network(network, tmp_path / "model.pt")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {}, {"epoch": 3}])
def test_what_is_no_state_dict_of_the_network_is_refused(tmp_path, content):
    save(tmp_path / "model.pt", content)
    with pytest.raises(InputError, match="is of another architecture"):
        load_network(generator(), tmp_path / "model.pt")


@pytest.mark.parametrize("more", [torch.zeros(2), 3])
def test_weights_with_something_else_among_them_are_refused(tmp_path, more):
    network = generator()
    save(tmp_path / "model.pt", network.state_dict() | {"more": more})
    with pytest.raises(InputError, match=r"is of another architecture \(more: given .*, expected nothing\)"):
        load_network(network, tmp_path / "model.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    state = generator().state_dict()
    name = list(state)[-1]
    state[name][0] = value
    save(tmp_path / "model.pt", state)
    with pytest.raises(
        InputError, match=rf"model\.pt holds NaN or infinite weights \({name}\): give another checkpoint"
    ):
        load_network(generator(), tmp_path / "model.pt")


# the best network


def evaluator_stub() -> Engine:
    """As much of a MONAI evaluator as is asked for its key metric."""
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics, evaluator.state.key_metric_name, evaluator.state.epoch = {}, "dice", 0
    return evaluator


def bare_run(folder: Path, metrics: dict[int, float], epochs: int, **settings) -> Checkpoints:
    """Epochs that only set the network's one weight to their number; ``metrics`` of those that are validated."""
    network, evaluator, engine = nn.Linear(1, 1, bias=False), evaluator_stub(), Engine(lambda *_: None)
    engine.state.max_epochs = epochs

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        nn.init.constant_(network.weight, engine.state.epoch)
        if engine.state.epoch in metrics:
            evaluator.state.metrics = {"loss": 99.0, "dice": metrics[engine.state.epoch]}
            evaluator.state.epoch = engine.state.epoch

    checkpoints = Checkpoints(folder, {"network": network}, evaluator, network, settings, {"classes": ["a", "b"]})
    checkpoints.attach(engine)
    engine.run([0, 0], max_epochs=epochs)
    return checkpoints


def best_epoch(folder: Path) -> int:
    return int(load(folder / "model.pt")["weight"])


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ({1: 0.2, 2: 0.9, 3: 0.3}, 2),
        ({1: 0.1, 2: 0.2, 3: 0.3}, 3),
        ({1: 0.5, 2: 0.5, 3: 0.5}, 1),
        ({1: 0.0, 2: 0.0}, 1),
        ({1: -3.0, 2: -2.0, 3: -4.0}, 2),
        ({1: float("nan"), 2: 0.1, 3: float("nan")}, 2),
        ({2: 0.4}, 2),
    ],
)
def test_the_best_network_is_the_first_of_the_highest_metric(tmp_path, metrics, best):
    checkpoints = bare_run(tmp_path, metrics, 3)
    assert best_epoch(tmp_path) == checkpoints.best.epoch == best
    assert checkpoints.best.metric == metrics[best]
    assert int(load(tmp_path / "last.pt")["network"]["weight"]) == 3


def test_a_metric_that_is_nan_is_never_best(tmp_path):
    bare_run(tmp_path, {1: float("nan"), 2: float("nan")}, 2)
    assert not (tmp_path / "model.pt").exists()
    assert (tmp_path / "last.pt").is_file()


def test_a_metric_of_another_epoch_says_nothing_about_this_network(tmp_path):
    evaluator, engine, network = evaluator_stub(), Engine(lambda *_: None), nn.Linear(1, 1)
    evaluator.state.metrics, evaluator.state.epoch = {"dice": 0.9}, 1
    engine.state.epoch = 2
    Checkpoints(tmp_path, {"network": network}, evaluator, network, {}, {}).save(engine)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_run_without_validation_still_keeps_its_last_state(tmp_path):
    bare_run(tmp_path, {}, 2)
    assert not (tmp_path / "model.pt").exists()
    assert load(tmp_path / "last.pt")["progress"] == {"iteration": 4, "epoch": 2, "steps": 0, "epoch_length": 2}


def test_beside_the_best_network_is_what_it_takes_to_use_it(tmp_path):
    bare_run(tmp_path, {1: 0.2, 2: 0.9, 3: 0.3}, 3)
    card = {"classes": ["a", "b"], "epoch": 2, "epochs": 3, "steps": 3 * 2, "keep": "best", "validation": {"dice": 0.9}}
    assert json.loads((tmp_path / "model.json").read_text()) == card


def test_the_best_metric_survives_a_resume(tmp_path):
    bare_run(tmp_path, {1: 0.9}, 1)
    checkpoints = bare_run(tmp_path, {2: 0.3}, 2)
    assert best_epoch(tmp_path) == checkpoints.best.epoch == 1
    assert checkpoints.best.metric == 0.9
    bare_run(tmp_path, {3: 0.95}, 3)
    assert best_epoch(tmp_path) == 3


# continuing


def test_a_new_folder_starts_from_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", {}, evaluator_stub(), nn.Linear(1, 1), {}, {})
    assert checkpoints.check() is None
    engine = Engine(lambda *_: None)
    checkpoints.resume(engine)
    assert engine.state.epoch == 0
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_done_does_nothing_more(tmp_path):
    bare_run(tmp_path, {1: 0.5, 2: 0.6}, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bare_run(tmp_path, {1: 0.9, 2: 0.9}, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, r"\(seed: 0, here 1\)"),
        ({"weights": {"gen_S": 2.0}}, r"\(weights::gen_S: 1\.0, here 2\.0\)"),
        ({"size": (8, 16)}, r"\(size: \[8, 8\], here \[8, 16\]\)"),
        ({"new": 7}, r"\(new: None, here 7\)"),
    ],
)
def test_other_settings_are_refused_by_name_and_nothing_is_written(tmp_path, changed, message):
    settings = {"seed": 0, "weights": {"gen_S": 1.0}, "size": (8, 8)}
    bare_run(tmp_path, {1: 0.5}, 1, **settings)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=f"is of another run {message}: give another output_dir"):
        bare_run(tmp_path, {2: 0.9}, 2, **settings | changed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_data_are_refused_by_name_and_nothing_is_written(tmp_path):
    data = {"image of a": "1", "mask of a": "2", "image of b": "3"}

    def run(data: dict[str, str] | None, epochs: int) -> None:
        network, engine = nn.Linear(1, 1), Engine(lambda *_: None)
        engine.state.max_epochs = epochs
        Checkpoints(tmp_path, {"network": network}, evaluator_stub(), network, {}, {}, data=data).attach(engine)
        engine.run([0], max_epochs=epochs)

    run(None, 1)
    run(data, 2)  # what an earlier version saved goes on
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(InputError, match=r"^2 files changed since the training in .* began, first the mask of a: give"):
        run({"image of a": "1", "mask of a": "5", "image of c": "3"} | {"image of b": "3"}, 3)
    with pytest.raises(InputError, match=r"^1 file changed .* first the image of b"):
        run({"image of a": "1", "mask of a": "2"}, 3)
    assert (tmp_path / "last.pt").read_bytes() == before
    run(dict(reversed(data.items())), 3)


def test_a_setting_that_is_long_is_told_in_short(tmp_path):
    bare_run(tmp_path, {}, 1, cases=["patient001"] * 100)
    with pytest.raises(InputError, match="another run") as error:
        bare_run(tmp_path, {}, 2, cases=["patient002"] * 100)
    assert len(str(error.value)) < len(str(tmp_path)) + 300


def test_the_same_settings_as_tuples_or_lists_are_the_same(tmp_path):
    bare_run(tmp_path, {1: 0.5}, 1, size=(8, 8))
    assert bare_run(tmp_path, {2: 0.6}, 2, size=[8, 8]).best.epoch == 2


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    bare_run(tmp_path, {1: 0.5}, 3)
    with pytest.raises(InputError, match="is after 3 epochs, more than the 2 asked for: give more epochs"):
        bare_run(tmp_path, {1: 0.5}, 2)


@pytest.mark.parametrize("content", [WHOLE[:500], written([1, 2]), WHOLE])
def test_a_last_pt_that_is_none_is_refused_and_kept(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt is no"):
        bare_run(tmp_path, {}, 1)
    assert (tmp_path / "last.pt").read_bytes() == content


def draws() -> list:
    """The next of each global random state, among them a cached half of a normal pair."""
    numbers = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]
    return [*numbers, torch.randn(()).item()]


def test_a_resume_restores_every_global_random_state(tmp_path):
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    draws()
    bare_run(tmp_path, {}, 1)
    # nothing is drawn between the end of the epoch and here, so this is what the second epoch would have drawn
    expected = [draws(), draws()]
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(6)

    given: list = []
    engine = Engine(lambda *_: given.append(draws()))
    engine.state.max_epochs = 2
    network = nn.Linear(1, 1, bias=False)
    Checkpoints(tmp_path, {"network": network}, evaluator_stub(), network, {}, {}).attach(engine)
    engine.run([0, 0], max_epochs=2)
    assert given == expected


# the whole training


def volume(item: dict[str, str]) -> dict[str, torch.Tensor]:
    """Three random slices of 8x8 pixels, named by their case."""
    draw = torch.Generator().manual_seed(int(item["case"]))
    label = torch.randint(3, (1, 8, 8, 3), generator=draw).to(torch.uint8)
    return {"image": torch.rand(1, 8, 8, 3, generator=draw) * 2 - 1, "label": label}


class Power(Exception):
    """It went out."""


def train(folder: Path, seed: int, outage: int | None = None, asked: tuple[int, int] | None = None) -> None:
    """Four epochs of three iterations with everything random switched on; from what is in the folder, if anything.

    A real run starts from the same seed each time; another seed here shows that nothing of it is left. ``asked`` is a
    signal and the step in which it comes, or, below 0, the epoch in whose validation.
    """
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    flip = [RandFlipd(["image"], prob=0.5, spatial_axis=1)]

    def slices(*cases: int) -> Slices:
        return Slices([Record(str(c), str(c), Path(str(c))) for c in cases], volume, flip)

    G_IS, G_SI = (
        ResidualGenerator(1, 3, 2, 1, dropout=0.5),
        ResidualGenerator(3, 1, 2, 1, dropout=0.5, activation=nn.Tanh()),
    )
    objective = SemiCycle(G_IS, G_SI, PixelDiscriminator(3, 2), PixelDiscriminator(1, 2), pool_size=4, seed=seed)
    optimizers = [Adam(part.parameters(), 0.01) for part in (objective.generators, objective.discriminators)]
    schedules = [LambdaLR(optimizer, linear_decay(1, 4)) for optimizer in optimizers]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=4, enabled=True)
    weights = dict.fromkeys(["gen_S", "gen_I", "cycle_S", "cycle_I", "adv_S", "adv_I", "disc_S", "disc_I"], 0.5)
    trainer = SemiCycleTrainer(
        device="cpu",
        max_epochs=4,
        train_data_loader=Pairs(slices(1), slices(2, 3), batch_size=2),
        objective=objective,
        weights=weights,
        classes=3,
        optimizer=optimizers[0],
        d_optimizer=optimizers[1],
        scaler=scaler,
        decollate=False,
        train_handlers=[LrScheduleHandler(schedule, print_lr=False) for schedule in schedules],
    )
    evaluator = evaluator_stub()

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        if asked and asked[1] == -engine.state.epoch:
            os.kill(os.getpid(), asked[0])
            evaluator.fire_event(Events.ITERATION_COMPLETED)
        evaluator.state.metrics = {"dice": [0.5, 0.8, 0.7, 0.6][engine.state.epoch - 1]}
        evaluator.state.epoch = engine.state.epoch
        G_IS.eval()

    @trainer.on(Events.ITERATION_COMPLETED)
    def fail(engine):
        if engine.state.iteration == outage:
            raise Power

    @trainer.on(Events.ITERATION_STARTED)
    def ask(engine):
        if asked and engine.state.iteration == asked[1]:
            os.kill(os.getpid(), asked[0])

    objects = {
        "objective": objective,
        "optimizer": optimizers[0],
        "d_optimizer": optimizers[1],
        "lr_scheduler": schedules[0],
        "d_lr_scheduler": schedules[1],
        "scaler": scaler,
    }
    Checkpoints(folder, objects, evaluator, G_IS, {"weights": weights}, {}).attach(trainer)
    trainer.run()


def differences(one, other, name: str = "") -> list[str]:
    """Where two states differ, to the last bit.

    Python's random numbers are left out: beartype, which checks annotations in tests, draws from them at each call.
    """
    if name == "/random/python":
        return []
    if isinstance(one, dict):
        assert list(one) == list(other)
        return [d for key in one for d in differences(one[key], other[key], f"{name}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        return [
            d for place, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{name}/{place}")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [name]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(folder, seed=0)
    return folder


@pytest.mark.parametrize("outages", [[7], [5, 8], [1, 4, 11]])
def test_resume_equals_uninterrupted(tmp_path, uninterrupted, outages):
    """Power went out in these iterations, of three an epoch; each time a new process goes on.

    Where no epoch was whole, the run starts from its own seed again, as it would.
    """
    for outage in outages:
        with pytest.raises(Power):
            train(tmp_path, seed=0 if not (tmp_path / "last.pt").is_file() else outage, outage=outage)
    train(tmp_path, seed=0 if not (tmp_path / "last.pt").is_file() else 99)
    for name in ("last.pt", "model.pt"):
        assert differences(load(uninterrupted / name), load(tmp_path / name)) == []
    assert (tmp_path / "model.json").read_text() == (uninterrupted / "model.json").read_text()


@pytest.fixture
def listening():
    """The signals' handlers as they were, afterwards."""
    before = {number: signal.getsignal(number) for number in signals.CODES}
    signals.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("steps", [[1], [3], [7], [12], [-1], [-4], [2, 3, 5], [6, 8]])
def test_a_run_that_was_asked_to_stop_goes_on_from_that_very_step(tmp_path, uninterrupted, listening, steps):
    """Three steps an epoch: within one, behind its last step, and so before its validation, in that, or several."""
    for place, step in enumerate(steps):
        number = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT][place]
        with pytest.raises(SystemExit) as end:
            train(tmp_path, seed=place, asked=(number, step))
        assert end.value.code == (130 if number == signal.SIGINT else 75)
        progress = load(tmp_path / "last.pt")["progress"]
        assert progress["iteration"] == (step if step > 0 else -3 * step) == 3 * progress["epoch"] + progress["steps"]
    train(tmp_path, seed=99)
    for name in ("last.pt", "model.pt"):
        assert differences(load(uninterrupted / name), load(tmp_path / name)) == []
    assert (tmp_path / "model.json").read_text() == (uninterrupted / "model.json").read_text()


def test_a_run_that_is_asked_to_stop_while_it_saves_stops_when_it_has(tmp_path, monkeypatch, listening):
    def kept(*arguments) -> None:
        save(*arguments)
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(acdc_semicycle.training.checkpoints, "save", kept)
    with pytest.raises(SystemExit) as end:
        bare_run(tmp_path, {}, 3)
    assert end.value.code == 75
    progress = load(tmp_path / "last.pt")["progress"]
    assert (progress["epoch"], progress["steps"]) == (1, 0), "not a step later"


def test_once_a_run_is_over_a_signal_ends_the_process_at_once(tmp_path, listening):
    bare_run(tmp_path, {1: 0.5}, 1)
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 75


def test_more_epochs_go_on_at_the_rate_that_so_many_ask_for(tmp_path):
    """Of two epochs the second one's rate is half the first's; of four it is three quarters."""

    def rates(epochs: int) -> list[float]:
        network, evaluator, engine, seen = nn.Linear(1, 1), evaluator_stub(), Engine(lambda *_: None), []
        optimizer = Adam(network.parameters(), 0.01)
        schedule = LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs)
        engine.state.max_epochs = epochs
        objects = {"network": network, "optimizer": optimizer, "lr_scheduler": schedule}
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append(optimizer.param_groups[0]["lr"]))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: (optimizer.step(), schedule.step()))
        Checkpoints(tmp_path, objects, evaluator, network, {}, {}).attach(engine)
        engine.run([0], max_epochs=epochs)
        return seen

    assert rates(2) == pytest.approx([0.01, 0.005])
    assert rates(4) == pytest.approx([0.005, 0.0025])


def test_where_the_last_state_is_damaged_the_one_before_is_taken_and_said(tmp_path, uninterrupted, caplog):
    for step in (5, 8):
        with pytest.raises(Power):
            train(tmp_path, seed=0, outage=step)
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[content.index(b"progress")] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    with caplog.at_level("INFO"):
        train(tmp_path, seed=99)
    assert f"{tmp_path / 'last.pt'} is no readable checkpoint" in caplog.text
    assert f"continuing from {tmp_path / 'previous.pt'}" in caplog.text and "continuing after epoch 1" in caplog.text
    assert differences(load(uninterrupted / "last.pt"), load(tmp_path / "last.pt")) == []


def test_where_both_are_damaged_nothing_is_overwritten(tmp_path):
    bare_run(tmp_path, {1: 0.5, 2: 0.6}, 2)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"PK damaged")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        InputError, match=r"last\.pt is no .*previous\.pt is no .*: neither can be continued from"
    ) as error:
        bare_run(tmp_path, {3: 0.5}, 3)
    assert "\n" not in str(error.value) and "train again" not in str(error.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_flipped_bit_of_a_checkpoint_is_noticed_or_harmless(tmp_path):
    path, state = tmp_path / "last.pt", {"weights": torch.arange(400.0), "epoch": 3}
    save(path, state)
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 16
        path.write_bytes(flipped)
        try:
            assert differences(load(path), state) == [], f"byte {at} changed the numbers"
        except InputError:
            refused += 1
    assert refused > len(whole) / 7 * 0.6  # the rest is padding


@pytest.mark.parametrize("compressed", ["all members", "one member"])
def test_weights_that_unpack_without_bound_are_refused(tmp_path, compressed):
    packed = zipfile.ZipFile(tmp_path / "a.pt", "w")
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as given, packed:
        for number, entry in enumerate(given.infolist()):
            method = zipfile.ZIP_STORED if compressed == "one member" and number else zipfile.ZIP_DEFLATED
            packed.writestr(entry.filename, given.read(entry), method)
    with pytest.raises(InputError, match="no readable checkpoint"):
        load(tmp_path / "a.pt")


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    bare_run(tmp_path, {1: 0.5}, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    network, evaluator, engine = nn.Linear(1, 1, bias=False), evaluator_stub(), Engine(lambda *_: None)
    evaluator.state.metrics, evaluator.state.epoch, engine.state.epoch = {"dice": 0.9}, 2, 2
    nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(FloatingPointError, match=r"network\.weight is not finite"):
        Checkpoints(tmp_path, {"network": network}, evaluator, network, {}, {}).save(engine)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_without_room_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    save(tmp_path / "last.pt", {"epoch": 1, "weights": torch.zeros(1000)})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3000))
    with pytest.raises(InputError, match=r"cannot be written \(0 MiB are free, 0 needed\).*make room"):
        save(tmp_path / "last.pt", {"epoch": 2})
    assert load(tmp_path / "last.pt")["epoch"] == 1 and len(list(tmp_path.iterdir())) == 1


def test_the_best_model_outlives_a_state_that_does_not_know_of_it(tmp_path):
    """last.pt, which knew of epoch 2, is damaged; the state before it knows only of epoch 1."""
    bare_run(tmp_path, {1: 0.3, 2: 0.9}, 2)
    (tmp_path / "last.pt").write_bytes(b"damaged")
    bare_run(tmp_path, {2: 0.5, 3: 0.6}, 3)
    assert best_epoch(tmp_path) == 2


def test_a_network_without_a_state_is_not_written_over(tmp_path):
    bare_run(tmp_path, {1: 0.9, 2: 0.5}, 2)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        InputError, match=r"model\.pt is there without a state to continue from: give another output_dir"
    ):
        bare_run(tmp_path, {1: 0.9}, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_is_killed_between_its_first_network_and_its_first_state_begins_anew(tmp_path, monkeypatch):
    def killed(path: Path, *arguments) -> None:
        if path.name == "last.pt":
            raise Power
        save(path, *arguments)

    monkeypatch.setattr(acdc_semicycle.training.checkpoints, "save", killed)
    with pytest.raises(Power):
        bare_run(tmp_path, {1: 0.9}, 1)
    monkeypatch.undo()
    bare_run(tmp_path, {1: 0.9}, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "model.pt", "model.json"}


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_damaged_best_model_is_named_before_anything_else_is_done(tmp_path, epochs):
    bare_run(tmp_path, {1: 0.9, 2: 0.5}, 2)
    content = bytearray((tmp_path / "model.pt").read_bytes())
    content[content.index(b"weight")] ^= 1
    (tmp_path / "model.pt").write_bytes(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"model\.pt is no readable checkpoint.*: give a copy of it, or remove it"):
        bare_run(tmp_path, {3: 0.5}, epochs)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_image_generator_of_the_best_model_is_named_before_anything_else_is_done(tmp_path):
    bare_run(tmp_path, {1: 0.9}, 1)
    (tmp_path / "image_generator.pt").write_bytes(b"PK damaged")
    words = r"image_generator\.pt is no readable checkpoint.*: give a copy of it, or remove it"
    with pytest.raises(InputError, match=words):
        bare_run(tmp_path, {2: 0.5}, 2)
    assert load(tmp_path / "last.pt")["progress"]["epoch"] == 1


def test_a_run_with_the_old_name_of_its_image_generator_goes_on_and_replaces_the_file(tmp_path, monkeypatch):
    image_generator = nn.Linear(1, 2)
    monkeypatch.setattr(f"{__name__}.Checkpoints", functools.partial(Checkpoints, image_generator=image_generator))
    bare_run(tmp_path, {1: 0.5}, 1)
    (tmp_path / "image_generator.pt").rename(tmp_path / "painter.pt")
    bare_run(tmp_path, {2: 0.4}, 2)
    assert (tmp_path / "painter.pt").is_file(), "no better network yet"
    assert not (tmp_path / "image_generator.pt").exists()
    bare_run(tmp_path, {3: 0.6}, 3)
    assert not (tmp_path / "painter.pt").exists()
    assert differences(load(tmp_path / "image_generator.pt"), image_generator.state_dict()) == []
    (tmp_path / "painter.pt").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"painter\.pt is no readable checkpoint.*: give a copy of it, or remove it"):
        bare_run(tmp_path, {4: 0.7}, 4)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_card_of_the_best_model_is_named_before_anything_else_is_done(tmp_path, content):
    bare_run(tmp_path, {1: 0.9}, 1)
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json is damaged"):
        bare_run(tmp_path, {2: 0.5}, 2)
    assert load(tmp_path / "last.pt")["progress"]["epoch"] == 1


@pytest.mark.parametrize("card", [None, "{", "[]", '{"validation": {"dice": 0.99}, "epoch": 1}'])
def test_where_the_best_model_is_gone_the_best_that_comes_is_kept_and_that_is_said(tmp_path, caplog, card):
    """Also where the card that stayed speaks of a better one."""
    bare_run(tmp_path, {1: 0.9}, 1)
    (tmp_path / "model.pt").unlink()
    (tmp_path / "model.json").unlink() if card is None else (tmp_path / "model.json").write_text(card)
    assert bare_run(tmp_path, {2: 0.3, 3: 0.2}, 3).best.epoch == best_epoch(tmp_path) == 2
    assert f"{tmp_path / 'model.pt'} of epoch 1 is gone" in caplog.text


@pytest.mark.parametrize(("metric", "best"), [(0.7, 7), (0.55, 2), (math.inf, 2), (math.nan, 2)])
def test_a_network_that_is_newer_than_the_state_stays_the_best_if_its_metric_is_a_finite_one(tmp_path, metric, best):
    """The process may end after it has written model.pt and before last.pt."""
    bare_run(tmp_path, {1: 0.5}, 1)
    card = json.loads((tmp_path / "model.json").read_text()) | {"validation": {"dice": metric}, "epoch": 7}
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert bare_run(tmp_path, {2: 0.6}, 2).best.epoch == best


CLAIM = """
import sys, time
from pathlib import Path
from torch import nn
from ignite.engine import Engine
from acdc_semicycle.training.checkpoints import Checkpoints
Checkpoints(Path(sys.argv[1]), {}, Engine(lambda *_: None), nn.Linear(1, 1), {}, {}).claim()
print("claimed", flush=True)
time.sleep(60)
"""


def test_of_two_trainings_in_one_folder_the_second_is_refused(tmp_path):
    """And the folder is free again once the first is gone, however it ended."""

    def claimed(number: int) -> BaseProcess:
        output = tmp_path / str(number)
        output.mkdir()
        process = start("-c", CLAIM, tmp_path / "run", output=output)
        deadline = time.monotonic() + 60
        while process.is_alive() and not (output / "stdout").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        while process.is_alive() and not (output / "stdout").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        return process

    first = claimed(1)
    assert (tmp_path / "1" / "stdout").read_text() == "claimed\n"
    second = claimed(2)
    assert second.exitcode == 1 and not (tmp_path / "2" / "stdout").read_text()
    last = (tmp_path / "2" / "stderr").read_text().splitlines()[-1]
    assert f"{tmp_path / 'run'} is trained in by another process" in last
    first.kill()
    first.join()
    third = claimed(3)
    assert (tmp_path / "3" / "stdout").read_text() == "claimed\n"
    third.kill()
    third.join()


def test_that_training_has_everything_random_in_it(uninterrupted):
    """Else the test above would prove less than it says."""
    state = load(uninterrupted / "last.pt")
    assert state["progress"] == {"iteration": 12, "epoch": 4, "steps": 0, "epoch_length": 3}
    assert state["best"] == {"metric": 0.8, "epoch": 2}
    assert state["lr_scheduler"]["last_epoch"] == 4
    assert state["scaler"]["scale"] == 64
    histories = next(value for name, value in state["objective"].items() if "extra_state" in name)
    assert len(histories["pool_S"]["pool"]) == len(histories["pool_I"]["pool"]) == 4
    assert not torch.equal(histories["pool_S"]["random"], torch.Generator().manual_seed(0).get_state())
    assert not torch.equal(state["random"]["torch"], torch.Generator().manual_seed(0).get_state())


def test_a_second_signal_ends_a_run_at_once(listening):
    signals.look_after_them(True)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.asked() == 75
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert end.value.code == 75
    signals.look_after_them(True)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    signals.look_after_them(False)
    with pytest.raises(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_was_asked_while_nobody_could_look_is_done_once_nobody_will(listening):
    """Behind the last step, while a curve is drawn, say: the report comes with the same command."""
    for number, end in ((signal.SIGTERM, SystemExit), (signal.SIGUSR1, SystemExit), (signal.SIGINT, KeyboardInterrupt)):
        signals.look_after_them(True)
        os.kill(os.getpid(), number)
        with pytest.raises(end) as caught:
            signals.look_after_them(False)
        assert end is KeyboardInterrupt or caught.value.code == 75
        signals.look_after_them(False)  # once
    signals.look_after_them(True)
    os.kill(os.getpid(), signal.SIGTERM)
    signals.look_after_them(True)  # a new run has not been asked
    assert signals.asked() == 0
    signals.look_after_them(False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_when_all_is_done_changes_no_exit_code(number):
    program = f"""
import os, sys
from acdc_semicycle.runtime import signals

class Late:
    def __del__(self, kill=os.kill, process=os.getpid()):  # Python has let its own handlers go by then
        kill(process, {int(number)})

signals.listen()
late = Late()
sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 3
