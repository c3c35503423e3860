"""What a user sees while it trains: each term and metric, in the log, in learning_curve.csv and in TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.files import replacing, write_text

log = logging.getLogger("semicycle")

FIRST_LINE = 30.0  # seconds until a line within an epoch, which may take hours
DAY = 24 * 3600.0


def terms_of(engine: Engine, names: Sequence[str]) -> torch.Tensor:
    """The named terms of the last iteration, as one tensor on the device they are on."""
    output: Any = engine.state.output
    if isinstance(output, list):  # decollated: each item has the batch's terms
        output = output[0]
    return torch.stack([torch.as_tensor(output[name]) for name in names])


class TermsLog:
    """The mean of each term over an epoch: one log line with the time left, learning_curve.csv, TensorBoard.

    On a terminal a bar moves within the epoch; within a long epoch a line, ever more rarely, gives the time left. Sums
    stay on the device: no step waits for them. With several processes the mean is over all, and the first one writes.

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
        self.steps = 0  # of the epoch that is not over
        self.started, self.epochs_since, self.steps_since = 0.0, 0, 0  # of this process
        self.next_line, self.advised = FIRST_LINE, False
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Log after each epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _open(self, engine: Engine) -> None:
        """Begin an epoch, or continue within it."""
        if not self.epochs_since:  # only now a resumed run knows which epoch it is in
            self.started = time.monotonic()
            self.rows = [row for row in read_curve(self.curve) if int(row["epoch"]) < engine.state.epoch]
        steps_of_epoch = engine.state.iteration - (engine.state.epoch - 1) * (engine.state.epoch_length or 0)
        if self.steps != steps_of_epoch:  # the sums are of another epoch than the one that a resumed run is in
            self.sum, self.steps = None, 0
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
        """Continue within the epoch that these sums are of."""
        self.sum, self.steps = state["sum"], state["steps"]

    def _add(self, engine: Engine) -> None:
        """Add a step's terms."""
        values = terms_of(engine, self.terms)
        self.sum = values if self.sum is None else self.sum.to(values.device) + values
        self.steps, self.steps_since = self.steps + 1, self.steps_since + 1
        if self.bar is not None:
            self.bar.update()
        if not distributed.rank():
            self._log_time_left(engine)

    def _log_time_left(self, engine: Engine) -> None:
        """Log the time left if a line is due; the next is due after twice the time."""
        spent, length = time.monotonic() - self.started, engine.state.epoch_length or 0
        if spent > self.next_line:
            self.next_line = 2 * spent
            left = spent / self.steps_since * (length * (engine.state.max_epochs or 0) - engine.state.iteration)
            log.info("epoch %d, step %d/%d: %s left", engine.state.epoch, self.steps, length, clock(left))
            self._advise(engine, left)

    def _advise(self, engine: Engine, left: float) -> None:
        """Name, once, the recipe that is made for a CPU, where this training would take days on one."""
        state: Any = engine.state
        if left > DAY and not self.advised and torch.device(state.device or "cpu").type == "cpu":
            self.advised = True
            log.warning(
                "%.0f days left: this is too much for a CPU, semicycle train few ... takes an evening", left / DAY
            )

    def _report(self, engine: Engine) -> None:
        """Log, plot and store the means of an epoch, with the metrics if it was validated."""
        if self.bar is not None:
            self.bar.close()
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 0
        self.epochs_since += 1
        assert self.sum is not None
        means = distributed.mean(self.sum / self.steps).tolist()
        self.means = dict(zip(self.terms, means, strict=True))
        if distributed.rank():
            return
        metrics = self.evaluator.state.metrics if self.evaluator.state.epoch == epoch else {}
        left = (time.monotonic() - self.started) / self.epochs_since * (epochs - epoch)
        words = [f"{name} {value:.3f}" for name, value in (self.means | metrics).items()]
        log.info("epoch %d/%d, %s left: %s", epoch, epochs, clock(left), ", ".join(words))
        self._plot("train", self.means, epoch)
        self._plot("validation", metrics, epoch)
        self.writer.flush()
        self._save({"epoch": float(epoch)} | self.means | metrics)

    def _plot(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        """Add the values of an epoch to TensorBoard."""
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, epoch)

    def _save(self, row: dict[str, float]) -> None:
        """Add a row to learning_curve.csv; its columns are those of any row."""
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        heads: dict[str, None] = {}
        for each in self.rows:
            heads |= dict.fromkeys(each)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, heads, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.curve, text.getvalue())

    def _draw(self, engine: Engine) -> None:
        """Draw learning_curve.png: the metrics of the epochs that were validated."""
        from acdc_semicycle.evaluation.figures import learning_curve  # matplotlib: only where something is drawn

        names = self.evaluator.state.metrics
        validated = [row for row in self.rows if any(row.get(name) for name in names)]
        if not validated or distributed.rank():
            return
        curves = {}
        for name in names:
            curves[name] = [float(row.get(name) or "nan") for row in validated]
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
    """Seconds as h:mm:ss, with the days before it where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{days} d {hours_of_day}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}"
