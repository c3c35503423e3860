"""Processes that are ended from outside, ours and stock MONAI's: while they save, and in the middle of a training."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from acdc_semicycle.artifacts import weights
from acdc_semicycle.datasets import phantom
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.training import checkpoints

CALLS = ("replace", "rename", "link", "unlink", "remove", "fsync")  # by which a file gets or loses its name
STOP_SECONDS, STOP_CODE = 10.0, 75  # within which a process ends at SIGTERM, and its exit code then: EX_TEMPFAIL
TINY = "--image_size [32,32] --filters 2 --blocks 1 --d_filters 2 --epochs 3 --steps_per_epoch 100 --num_workers 0"

NO_LINKS = "without hard links"  # as on exFAT, many network file systems and cloud drives

UNLINKED = """
import errno, fcntl, os
from acdc_semicycle.cli import main
def fail(*_, **__): raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
os.link = fcntl.flock = fcntl.lockf = fail
raise SystemExit(main())
"""

Saved = Callable[[int], None]  # is told each epoch whose save has returned


def killed_savers(folder: Path, each: int) -> Iterator[tuple[str, str, str, str]]:
    """Tool, kind of checkpoint, name of the case, and what was lost.

    Of each kind as many processes are killed at random times as within a save: of these every second one is ended by
    the kernel at a random byte of some file, the others end themselves before or after a call that changes names.
    """
    draw = random.Random(0)
    objective = SemiCycle(
        *(ResidualGenerator(1, 4, 12, 2), ResidualGenerator(4, 1, 12, 2, activation=nn.Tanh())),
        *(PixelDiscriminator(4, 12), PixelDiscriminator(1, 12)),
        pool_size=4,
    )
    optimizers = [Adam(part.parameters()) for part in (objective.generators, objective.discriminators)]
    sum(p.sum() for p in objective.parameters()).backward()
    for optimizer in optimizers:
        optimizer.step()
    objects: dict[str, Any] = {"objective": objective, "optimizer": optimizers[0], "d_optimizer": optimizers[1]}
    newest, best = (
        {"save_interval": 1, "n_saved": 1},
        {"save_key_metric": True, "key_metric_filename": "best.pt", "key_metric_save_state": True},
    )
    savers: list[tuple[str, str, Callable[..., None], Callable[..., str]]] = [
        ("MONAI", "n_saved=1", partial(_monai, options=newest), _lost_monai),
        ("MONAI", "key metric", partial(_monai, options=best), _lost_monai),
        ("ours", "last and best", _ours, _lost_ours),
        ("ours", NO_LINKS, _ours_without_links, _lost_ours),
    ]
    for tool, kind, save, lost in savers:
        for n in range(2 * each):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if n < each:
                name, trap, wait = f"random time {n}", None, draw.random()
            elif n % 2:
                name, trap, wait = f"random byte {n}", _at_byte(folder, draw.random()), None
            else:
                name, trap, wait = f"file call {n}", at_call(draw.randrange(10), draw.random() < 0.5), None
            done = _killed(lambda tell, save=save: save(folder, objects, tell), trap, wait)
            yield tool, kind, name, lost(folder, objects, done)


def _killed(save: Callable[[Saved], None], trap: Callable[[], None] | None, wait: float | None) -> int:
    """The last epoch that was saved by a process that was killed after the first one.

    Args:
        trap: is set after the first save, and kills.
        wait: or when the process is killed, in the time of four saves.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        quiet()

        def tell(epoch: int) -> None:
            os.write(write, b".")
            if epoch == 1 and trap is not None:
                trap()

        try:
            save(tell)
        finally:
            os._exit(1)
    os.close(write)
    told, since = os.read(read, 1), time.monotonic()
    if wait is not None and told:
        told += os.read(read, 1)
        time.sleep(wait * 4 * (time.monotonic() - since))
    else:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and select.select([read], [], [], 30)[0] and (more := os.read(read, 1)):
            told += more
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(read, 1 << 16):
        told += more
    os.close(read)
    assert told and os.WIFSIGNALED(status), f"ended by itself, {status}"
    return len(told)


def quiet() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _at_byte(folder: Path, part: float) -> Callable[[], None]:
    """The kernel ends a process at once that writes beyond the limit; Python has to be told not to prevent it."""

    def trap() -> None:
        largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 + int(part * (largest - 1)),) * 2)

    return trap


def at_call(count: int, before: bool) -> Callable[[], None]:
    """The process ends itself at the next but ``count`` of CALLS."""
    left = itertools.count(count, -1)

    def trapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            last = next(left) <= 0
            if last and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **more)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    def trap() -> None:
        for name in CALLS:
            setattr(os, name, trapped(getattr(os, name)))

    return trap


def _checkpoints(folder: Path, objects: dict[str, Any]) -> checkpoints.Checkpoints:
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics, evaluator.state.key_metric_name, evaluator.state.epoch = {}, "dice", 0  # type: ignore
    network, image_generator = objects["objective"].G_IS, objects["objective"].G_SI
    return checkpoints.Checkpoints(folder, objects, evaluator, network, {"seed": 0}, {}, image_generator)


def _ours(folder: Path, objects: dict[str, Any], tell: Saved) -> None:
    """Save for ever; each epoch is the best."""
    keeper, engine = _checkpoints(folder, objects), Engine(lambda *_: None)
    for epoch in itertools.count(1):
        engine.state.epoch = engine.state.iteration = keeper.evaluator.state.epoch = epoch
        keeper.evaluator.state.metrics = {"dice": float(epoch)}
        keeper.save(engine)
        tell(epoch)


def _ours_without_links(folder: Path, objects: dict[str, Any], tell: Saved) -> None:
    """The same where the file system has no hard links."""

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    os.link = refuse  # type: ignore[assignment]
    _ours(folder, objects, tell)


def _lost_ours(folder: Path, objects: dict[str, Any], done: int) -> str:
    try:
        state = _checkpoints(folder, objects).check()
        weights.load(folder / "model.pt")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if state is None:
        return "none"
    epoch = state["progress"]["epoch"]
    return "" if epoch >= done else f"that of epoch {epoch}, but {done} were saved"


def _monai(folder: Path, objects: dict[str, Any], tell: Saved, options: dict[str, Any]) -> None:
    """Its CheckpointSaver, of the newest or of the best."""
    engine = Engine(lambda *_: None)
    engine.state.key_metric_name = "dice"  # type: ignore[attr-defined]

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        engine.state.metrics = {"dice": float(engine.state.epoch)}

    CheckpointSaver(str(folder), objects, **options).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: tell(engine.state.epoch))
    engine.run([0], max_epochs=1 << 30)


def _lost_monai(folder: Path, objects: dict[str, Any], done: int) -> str:
    for path in folder.glob("*.pt"):
        with contextlib.suppress(Exception):
            torch.load(path, weights_only=True)
            return ""
    return "none that can be loaded"


# trainings


def stopped_trainings(folder: Path, root: Path) -> Iterator[tuple[str, str, str, bool, str]]:
    """Row, tool, case, whether it went well, and how."""
    phantom.write(folder / "phantom", patients=8, size=(32, 32, 6))
    trainings: list[tuple[str, str, Any]] = [
        ("MONAI", "", _train_monai),
        ("ours", "", _train_ours),
        ("ours", ", where neither links nor locks are", _train_unlinked),
    ]
    for tool, where, train in trainings:
        home = folder / f"{tool}{where}"
        home.mkdir()

        def start(name: str, train: Any = train, home: Path = home) -> Any:
            return train(home / name, folder / "phantom", root)

        whole = start("whole")
        whole.wait()
        stopped = start("stopped")
        stopped.begun()
        time.sleep(0.3)
        assert not stopped.states(), "the first epoch was over before the signal: make it longer"
        stopped.process_signal(signal.SIGTERM)
        since = time.monotonic()
        code, seconds = stopped.wait(), time.monotonic() - since
        row = f"SIGTERM in the first epoch{where}"
        yield row, tool, f"ends within {STOP_SECONDS:g} s", seconds < STOP_SECONDS, f"{seconds:.1f} s"
        yield row, tool, "its documented exit code", code == STOP_CODE, f"exit code {code}"
        yield row, tool, "a checkpoint is there", bool(stopped.states()), ""
        yield row, tool, "the rerun ends as if uninterrupted", *_same(whole, start("stopped"))
        broken = start("killed")
        while not broken.states() and broken.running():
            time.sleep(0.005)
        time.sleep(0.3)
        broken.process_signal(signal.SIGKILL)
        code = broken.wait()
        row = f"SIGKILL after the first epoch{where}"
        yield row, tool, "in the middle", code == -signal.SIGKILL, ""
        yield row, tool, "the rerun ends as if uninterrupted", *_same(whole, start("killed"))


def _same(whole: Any, again: Any) -> tuple[bool, str]:
    code = again.wait()
    if code or not again.states():
        return False, f"exit code {code}"
    other = again.final()
    differing = [name for name, value in whole.final().items() if not torch.equal(value, other[name])]
    return not differing, f"{len(differing)} of {len(other)} tensors differ" if differing else ""


class _train_ours:
    """``semicycle train`` on the phantom, in a process of its own."""

    program = ("-m", "acdc_semicycle")

    def __init__(self, home: Path, data: Path, root: Path) -> None:
        self.home, self.log = home, home.with_suffix(".log")
        command = [sys.executable, *self.program, "train", *TINY.split()]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--dataset_dir", str(data), "--output_dir", str(home)],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            )

    def begun(self) -> None:
        while b"training on" not in self.log.read_bytes() and self.running():
            time.sleep(0.01)

    def running(self) -> bool:
        return self.process.poll() is None

    def process_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(300)

    def states(self) -> list[Path]:
        return list((self.home / "models").glob("last*.pt"))

    def final(self) -> dict[str, torch.Tensor]:
        state = weights.load(self.home / "models" / "last.pt")["objective"]
        best = weights.load(self.home / "models" / "model.pt")
        tensors = state | {f"model.pt, {name}": value for name, value in best.items()}
        return {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}


class _train_unlinked(_train_ours):
    """The same where the file system has neither hard links nor locks."""

    program = ("-c", UNLINKED)


class _train_monai(_train_ours):
    """Stock MONAI's SupervisedTrainer, CheckpointSaver and, where there is a file, CheckpointLoader."""

    def __init__(self, home: Path, data: Path, root: Path) -> None:
        self.home, self.status = home, None
        home.mkdir(exist_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            quiet()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                self._train()
                os._exit(0)
            finally:
                os._exit(1)

    def _train(self) -> None:
        torch.manual_seed(0)
        network = ResidualGenerator(1, 4, 2, 1, dropout=0.5)
        optimizer = Adam(network.parameters(), 1e-3)
        draw = torch.Generator().manual_seed(0)
        items = [
            {"image": torch.rand(1, 32, 32, generator=draw), "label": torch.randint(4, (32, 32), generator=draw)}
            for _ in range(500)
        ]
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=3,
            train_data_loader=DataLoader(Dataset(items), batch_size=2, shuffle=True),
            network=network,
            optimizer=optimizer,
            loss_function=cross_entropy,
            decollate=False,
        )
        objects = {"network": network, "optimizer": optimizer, "trainer": trainer}
        states = sorted(self.states(), key=lambda path: path.stat().st_mtime)
        if states:
            CheckpointLoader(str(states[-1]), objects).attach(trainer)
        trainer.add_event_handler(Events.STARTED, lambda: (self.home / "begun").touch())
        CheckpointSaver(str(self.home), objects, save_interval=1, n_saved=1, save_final=True).attach(trainer)
        trainer.run()

    def begun(self) -> None:
        while not (self.home / "begun").exists() and self.running():
            time.sleep(0.01)

    def running(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is None

    def process_signal(self, number: int) -> None:
        if self.running():
            os.kill(self.pid, number)

    def wait(self) -> int:
        while self.running():
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(self.status)  # type: ignore[arg-type]

    def states(self) -> list[Path]:
        return list(self.home.glob("*.pt"))

    def final(self) -> dict[str, torch.Tensor]:
        newest = max(self.states(), key=lambda path: path.stat().st_mtime)
        return dict(torch.load(newest, weights_only=True)["network"])
