"""What a user sees while it trains: each term and metric, in the log, in learning_curve.csv and in TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.files import replacing, write_text
from acdc_semicycle.training.time_left import TimeLeft

log = logging.getLogger("semicycle")

FIRST_LINE = 30.0  # seconds until a line within an epoch, which may take hours
DAY = 24 * 3600.0
OF_IMAGES = "_I"  # ends the terms of the paper's image generator and of the judge of its images


def terms_of(engine: Engine, names: Sequence[str]) -> torch.Tensor:
    """The named terms of the last iteration, as one tensor on the device they are on."""
    output: Any = engine.state.output
    if isinstance(output, list):  # decollated: each item has the batch's terms
        output = output[0]
    return torch.stack([torch.as_tensor(output[name]) for name in names])


class TermsLog:
    """The mean of each term over an epoch: one short log line with the time left, learning_curve.csv, TensorBoard.

    The line has the terms of the segmenter, and the metric that chooses the epoch. The other terms and metrics are in
    learning_curve.csv and TensorBoard alone. On a terminal a bar moves within the epoch and within its validation.
    Elsewhere a line within a long epoch, ever more rarely, gives the time left. Sums stay on the device: no step waits
    for them. With several processes the mean is over all, and the first one writes.

    Attributes:
        of_one_process: its state is no other process's.

    Args:
        terms: names of the terms in the trainer's output.
        evaluator: whose metrics are added, when it ran in that epoch.
        folder: where learning_curve.csv goes, and learning_curve.png at the end.
        writer: a ``SummaryWriter``.
        interval: epochs between validations.
    """

    of_one_process = True

    def __init__(
        self, terms: Iterable[str], evaluator: Engine, folder: str | Path, writer: Any, interval: int = 1
    ) -> None:
        self.terms, self.evaluator, self.writer = list(terms), evaluator, writer
        self.curve = Path(str(folder)) / "learning_curve.csv"
        self.rows: list[dict[str, str]] = []
        self.means: dict[str, float] = {}  # of the last whole epoch
        self.sum: torch.Tensor | None = None
        self.steps = 0  # of the epoch that is not over
        self.time_left, self.next_line, self.advised = TimeLeft(evaluator, interval), FIRST_LINE, False
        self.bar: tqdm | None = None
        self.began = False  # whether an epoch has begun in this process

    def attach(self, engine: Engine) -> None:
        """Log after each epoch."""
        self.time_left.attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        engine.add_event_handler(Events.COMPLETED, self._draw)
        validation = [
            self.evaluator.add_event_handler(Events.STARTED, self._open_validation),
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._move),
            self.evaluator.add_event_handler(Events.COMPLETED, self._close),
        ]
        for handle in validation:  # the report, which comes after, has a bar of its own
            engine.add_event_handler(Events.COMPLETED, handle.remove)

    def _open(self, engine: Engine) -> None:
        """Begin an epoch, or continue within it."""
        if not self.began:  # only now a resumed run knows which epoch it is in
            self.began = True
            self.rows = [row for row in read_curve(self.curve) if int(row["epoch"]) < engine.state.epoch]
        steps_of_epoch = engine.state.iteration - (engine.state.epoch - 1) * (engine.state.epoch_length or 0)
        if self.steps != steps_of_epoch:  # the sums are of another epoch than the one that a resumed run is in
            self.sum, self.steps = None, 0
        self._show(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", engine.state.epoch_length, self.steps)

    def _show(self, name: str, total: int | None, done: int = 0) -> None:
        """Show a bar on a terminal, in the first process."""
        hidden = bool(distributed.rank()) or None  # None: hidden where there is no terminal
        self.bar = tqdm(total=total, initial=done, desc=name, leave=False, disable=hidden)

    def _open_validation(self) -> None:
        """Show a validation."""
        self._close()
        self._show("validating", self.evaluator.state.epoch_length)

    def _move(self) -> None:
        """A step, or a validation image, is done."""
        if self.bar is not None:
            self.bar.update()

    def _close(self) -> None:
        """Show no bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None

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
        self.steps += 1
        if distributed.rank():
            return
        if self.bar is not None and not self.bar.disable:
            words = self.time_left.words(engine)
            self.bar.set_postfix_str(f"{words} in all" if words else "", refresh=False)
        self._move()
        self._log_time_left(engine)

    def _log_time_left(self, engine: Engine) -> None:
        """Log the time left if a line is due; the next is due after twice the time."""
        spent, seconds = self.time_left.spent(), self.time_left.seconds(engine)
        if spent <= self.next_line or seconds is None:
            return
        self.next_line = 2 * spent
        if self.bar is None or self.bar.disable:  # a bar shows it already
            step = f"epoch {engine.state.epoch}, step {self.steps}/{engine.state.epoch_length}"
            log.info("%s: %s", step, self.time_left.words(engine))
        self._advise(engine, seconds)

    def _advise(self, engine: Engine, left: float) -> None:
        """Name, once, the recipe that is made for a CPU, where this training would take days on one."""
        state: Any = engine.state
        if left > DAY and not self.advised and torch.device(state.device or "cpu").type == "cpu":
            self.advised = True
            if self.bar is not None:
                self.bar.clear()
            log.warning(
                "%.0f days left: this is too much for a CPU, semicycle train few ... takes an evening", left / DAY
            )

    def _report(self, engine: Engine) -> None:
        """Log, plot and store the means of an epoch, with the metrics if it was validated."""
        self._close()
        epoch = engine.state.epoch
        assert self.sum is not None
        means = distributed.mean(self.sum / self.steps).tolist()
        self.means = dict(zip(self.terms, means, strict=True))
        if distributed.rank():
            return
        metrics = self.evaluator.state.metrics if self.evaluator.state.epoch == epoch else {}
        self._log_epoch(engine, metrics)
        self._plot("train", self.means, epoch)
        self._plot("validation", metrics, epoch)
        self.writer.flush()
        self._save({"epoch": float(epoch)} | self.means | metrics)

    def _log_epoch(self, engine: Engine, metrics: Mapping[str, float]) -> None:
        """Log the line of an epoch."""
        shown = {name: value for name, value in self.means.items() if not name.endswith(OF_IMAGES)}
        key_metric = str(getattr(self.evaluator.state, "key_metric_name", ""))
        if key_metric in metrics:
            shown[key_metric] = metrics[key_metric]
        values = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        left = self.time_left.words(engine)
        log.info("epoch %d/%d%s: %s", engine.state.epoch, engine.state.max_epochs, f", {left}" if left else "", values)

    def _plot(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        """Add the values of an epoch to TensorBoard."""
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, epoch)

    def _save(self, row: dict[str, float]) -> None:
        """Add a row to learning_curve.csv; its columns are those of any row."""
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        columns: dict[str, None] = {}
        for former_row in self.rows:
            columns |= dict.fromkeys(former_row)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
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
