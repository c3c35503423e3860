"""What a user sees while it trains: progress with the time left, TensorBoard scalars and pictures."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.data.pairs import Slices
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.objective import Objective, softmax
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.files import replacing, write_text

log = logging.getLogger("semicycle")

FIRST_WORD = 30.0  # seconds; an epoch may take hours
WON, DEAD = 0.02, 0.98  # of the term at the level of chance


def terms_of(engine: Engine, names: Sequence[str]) -> torch.Tensor:
    """The named terms of the last iteration, as one tensor on the device they are on."""
    output: Any = engine.state.output
    output = output[0] if isinstance(output, list) else output  # decollated: each item has the batch's terms
    return torch.stack([torch.as_tensor(output[name]) for name in names])


class Handlers:
    """Several handlers by their names, attached in the order in which they stand; None leaves one out."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self.handlers = handlers

    def attach(self, engine: Engine) -> None:
        for handler in self.handlers.values():
            if handler is not None:
                handler.attach(engine)


class TermsLog:
    """The mean of each term over an epoch: one log line with the time left, learning_curve.csv, TensorBoard.

    On a terminal a bar moves within the epoch; within a long one a line says, ever more rarely, how long it all takes.
    Sums stay on the device: no step waits for them. Of several processes the mean is over all, and the first one
    writes.

    Attributes:
        of_one_process: its state is no other process's.

    Args:
        terms: names of the terms in the trainer's output.
        evaluator: whose metrics are added, when it ran in that epoch.
        folder: where learning_curve.csv goes, and learning_curve.png at the end.
        writer: a ``SummaryWriter``.
    """

    of_one_process = True

    def __init__(self, terms: Iterable[str], evaluator: Engine, folder: str | Path, writer: Any) -> None:
        self.terms, self.evaluator, self.writer = list(terms), evaluator, writer
        self.curve = Path(str(folder)) / "learning_curve.csv"
        self.rows: list[dict[str, str]] = []
        self.means: dict[str, float] = {}  # of the last whole epoch
        self.sum: torch.Tensor | None = None
        self.steps, self.done, self.started = 0, 0, 0.0
        self.taken, self.due = 0, FIRST_WORD
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _open(self, engine: Engine) -> None:
        if not self.done:  # only now a resumed run knows which epoch it is in
            self.started = time.monotonic()
            self.rows = [row for row in read_curve(self.curve) if int(row["epoch"]) < engine.state.epoch]
        if self.steps != engine.state.iteration - (engine.state.epoch - 1) * (engine.state.epoch_length or 0):
            self.sum, self.steps = None, 0  # not of this epoch, which a resumed run may be in the middle of
        self.bar = tqdm(
            total=engine.state.epoch_length,
            initial=self.steps,
            desc=f"epoch {engine.state.epoch}",
            leave=False,
            disable=bool(distributed.rank()) or None,
        )

    def state_dict(self) -> dict[str, Any]:
        """The sums of the epoch that is not over."""
        return {"sum": self.sum, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within the epoch that these sums are of."""
        self.sum, self.steps = state["sum"], state["steps"]

    def _add(self, engine: Engine) -> None:
        values = terms_of(engine, self.terms)
        self.sum = values if self.sum is None else self.sum.to(values.device) + values
        self.steps, self.taken = self.steps + 1, self.taken + 1
        if self.bar is not None:
            self.bar.update()
        spent, length = time.monotonic() - self.started, engine.state.epoch_length or 0
        if spent > self.due and not distributed.rank():
            self.due = 2 * spent
            left = spent / self.taken * (length * (engine.state.max_epochs or 0) - engine.state.iteration)
            log.info("epoch %d, step %d/%d: %s left", engine.state.epoch, self.steps, length, clock(left))

    def _report(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 0
        self.done += 1
        assert self.sum is not None
        means = self.means = dict(zip(self.terms, distributed.mean(self.sum / self.steps).tolist(), strict=True))
        if distributed.rank():
            return
        metrics = self.evaluator.state.metrics if self.evaluator.state.epoch == epoch else {}
        left = (time.monotonic() - self.started) / self.done * (epochs - epoch)
        words = [f"{name} {value:.3f}" for name, value in (means | metrics).items()]
        log.info("epoch %d/%d, %s left: %s", epoch, epochs, clock(left), ", ".join(words))
        for group, values in (("train", means), ("validation", metrics)):
            for name, value in values.items():
                self.writer.add_scalar(f"{group}/{name}", value, epoch)
        self.writer.flush()
        self._save({"epoch": float(epoch)} | means | metrics)

    def _save(self, row: dict[str, float]) -> None:
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        heads = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, heads, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.curve, text.getvalue())

    def _draw(self, engine: Engine) -> None:
        from acdc_semicycle.evaluation.figures import learning_curve  # matplotlib: only where something is drawn

        validated = [row for row in self.rows if any(row.get(name) for name in self.evaluator.state.metrics)]
        names = self.evaluator.state.metrics
        curves = {name: [float(row.get(name) or "nan") for row in validated] for name in names}
        if validated and distributed.rank() == 0:
            figure = learning_curve([int(row["epoch"]) for row in validated], curves)
            with replacing(self.curve.with_suffix(".png")) as beside:
                figure.savefig(beside, dpi=110)


def read_curve(path: Path) -> list[dict[str, str]]:
    """The rows of a learning_curve.csv, but for damaged ones; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return [row for row in csv.DictReader(stream) if (row.get("epoch") or "").isdecimal()]


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class Balance:
    """Warn when a discriminator has won or has died: its opponent then learns nothing from it.

    The term of a discriminator that recognises every fake is close to 0. That of one that gives one answer to all is at
    the level of chance. Each is logged once it has lasted some epochs, and again when it is over.

    Args:
        log: has the terms' means of the epoch.
        objective: says the level of chance of each term.
        weights: of the terms; a discriminator that does not learn is not judged.
        epochs: that it must last.
    """

    def __init__(self, log: TermsLog, objective: Objective, weights: Mapping[str, float], epochs: int = 3) -> None:
        self.log, self.epochs = log, epochs
        self.chance_level = {name: value for name, value in objective.chance_level.items() if weights[name]}
        self.lasted = dict.fromkeys(self.chance_level, ("", 0))

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for name, chance in self.chance_level.items():
            value, (before, lasted) = self.log.means[name], self.lasted[name]
            now = "won" if value < WON * chance else "died" if value > DEAD * chance else ""
            epochs = lasted + 1 if now == before else 1
            self.lasted[name] = now, epochs
            judge, term = f"D_{name.removeprefix('disc_')}", f"{name} {value:.3f}, {chance:.3g} is chance"
            if now and epochs == self.epochs:
                what = {"won": "tells every fake from the real", "died": "does not tell fakes from the real"}[now]
                log.warning(
                    "%s %s since epoch %d (%s): the generators learn nothing from it",
                    *(judge, what, engine.state.epoch - epochs + 1, term),
                )
            elif not now and before and lasted >= self.epochs:
                log.info("%s is in the game (%s)", judge, term)


class StopAtNonFinite:
    """End the run when a term is NaN or infinite, before a checkpoint takes up its weights; says what was in the batch.

    On CUDA a step's terms are looked at while the next one runs, so that no step waits for them.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self.terms = list(terms)
        self.last: tuple[Engine, int, Any, torch.Tensor, torch.cuda.Event | None] | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def __call__(self, engine: Engine) -> None:
        values, copied = terms_of(engine, self.terms), None
        if values.is_cuda:
            self.check()
            stream, copied = torch.cuda.current_stream(values.device), torch.cuda.Event()
            values = values.to("cpu", non_blocking=True)
            copied.record(stream)
        self.last = engine, engine.state.iteration, engine.state.batch, values, copied
        if copied is None:
            self.check()

    def check(self) -> None:
        """Raise a FloatingPointError if the terms that were kept are not finite."""
        if self.last is None:
            return
        engine, iteration, batch, values, copied = self.last
        if copied is not None:
            copied.synchronize()
        for name, value in zip(self.terms, values.tolist(), strict=True):
            if not math.isfinite(value):
                loader: Any = engine.state.dataloader
                raise FloatingPointError(
                    f"{name} is {value} in step {iteration}, with {', '.join(loader.where(batch))}: lower the learning"
                    " rate, or switch amp off; what was saved before is untouched"
                )


class Pictures:
    """One slice to TensorBoard each epoch: image, truth, prediction, and the image painted back from each.

    A method that paints no images shows three pictures instead of five.

    Args:
        objective: its generators.
        dataset: slices ``{"image": [C, H, W], "label": [1, H, W]}``; the one with the most foreground is shown.
        classes: number of classes K.
        writer: a ``SummaryWriter``.
        interval: epochs between pictures.
        colours: RGB of each class.
    """

    def __init__(
        self,
        objective: Objective,
        dataset: Slices,
        classes: int,
        writer: Any,
        interval: int = 1,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.objective, self.classes, self.colours = objective, classes, colours
        shown = max(range(len(dataset)), key=lambda index: _foreground(dataset.stored[index]["label"], classes))
        self.sample = dataset.plain(shown)
        self.writer, self.interval = writer, interval

    def attach(self, engine: Engine) -> None:
        if distributed.rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        from acdc_semicycle.evaluation.figures import (  # matplotlib: only where something is drawn
            colours_of,
            cycle_figure,
        )

        device = next(self.objective.parameters()).device
        x = torch.as_tensor(self.sample["image"])[None].float().to(device)
        y = one_hot(torch.as_tensor(self.sample["label"])[None].long().to(device), self.classes)
        self.objective.eval()
        s_x = softmax(self.objective.G_IS(x))
        paint = getattr(self.objective, "G_SI", None)
        images = [t[0].float().cpu() for t in (x, *((paint(y), paint(s_x)) if paint else ()))]
        table = colours_of(self.classes, self.colours)
        figure = cycle_figure(images, y[0].argmax(0).cpu(), s_x[0].argmax(0).cpu(), table)
        self.writer.add_figure("cycle", figure, engine.state.epoch)


def _foreground(label: NDArray, classes: int) -> int:
    """Pixels of a mask that are of any class but the first."""
    return int(((label > 0) & (label < classes)).sum())
