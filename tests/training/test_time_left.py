"""The time left that a training shows, against the time that it then takes by a clock of the test's own."""

import functools
import io
import itertools
import re
import time
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.training import terms_log
from acdc_semicycle.training.terms_log import TermsLog
from acdc_semicycle.training.time_left import TimeLeft, clock

STEP, SLOW_STEP, IMAGE, SAVING, STEPS = 20.0, 48.0, 6.0, 5.0, 10  # seconds, and steps of an epoch
CLOCK = r"(?:(\d+) d )?(\d+):(\d\d):(\d\d) left"


class Run:
    """A training whose parts take known seconds: its log's lines, and when each was written."""

    def __init__(self, monkeypatch, folder, epochs: int, interval: int, images: int, start: int | None = None) -> None:
        self.now, self.lines, self.epochs = 1000.0, [], epochs
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.trainer, self.evaluator = Engine(self._step), Engine(self._validate)
        self.trainer.objective = SimpleNamespace(start=start)
        self.evaluator.state.epoch_length = images
        writer = SimpleNamespace(add_scalar=lambda *_: None, flush=lambda: None)
        if images:
            self.trainer.add_event_handler(Events.EPOCH_COMPLETED(every=interval), self._run_validation)
        terms = ["gen_S", "gen_I"]
        TermsLog(terms, self.evaluator, folder, writer, interval).attach(self.trainer)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self._pass(SAVING))
        monkeypatch.setattr(terms_log.log, "info", lambda text, *words: self.lines.append((self.now, text % words)))
        monkeypatch.setattr(terms_log, "write_text", lambda *_: None)
        monkeypatch.setattr(TermsLog, "_draw", lambda *_: None)

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def _step(self, engine, _):
        start = engine.objective.start
        self._pass(STEP if start is None or engine.state.iteration <= start else SLOW_STEP)
        return {"gen_S": torch.tensor(1.0), "gen_I": torch.tensor(2.0)}

    def _validate(self, *_):
        self._pass(IMAGE)

    def _run_validation(self, engine) -> None:
        self.evaluator.run(range(self.evaluator.state.epoch_length))
        self.evaluator.state.epoch = engine.state.epoch

    def run(self, after: int = 0) -> float:
        """Run to the end, from after so many steps, with the report, which is one more validation; when it ended."""

        def resume(engine):
            engine.state.iteration, engine.state.epoch = after, after // STEPS

        self.trainer.add_event_handler(Events.STARTED, resume)
        self.trainer.run(itertools.repeat(0), max_epochs=self.epochs, epoch_length=STEPS)
        if self.evaluator.state.epoch_length:
            self.evaluator.run(range(self.evaluator.state.epoch_length))
        return self.now

    def predictions(self) -> list[tuple[float, float, str]]:
        """Of each line the time left that it shows, the actual one, and the line."""
        shown = []
        for moment, line in self.lines:
            if words := re.search(CLOCK, line):
                days, hours, minutes, seconds = (int(word or 0) for word in words.groups())
                left = ((24 * days + hours) * 60 + minutes) * 60 + seconds
                shown.append((left, self.now - moment, line))
        return shown


def assert_right(predictions: list[tuple[float, float, str]], within: float) -> None:
    """Every time left is right, by a part of itself, unless it is the least; before an epoch is saved, without that."""
    epochs_shown = 0
    for shown, actual, line in predictions:
        slack = 2 * SAVING if epochs_shown else 7 * SAVING
        print(f"{shown:6.0f} s shown, {actual:6.0f} s actual: {line}")
        if "at least" in line:
            assert shown <= actual, line
        else:
            assert shown == pytest.approx(actual, rel=within, abs=slack), line
        epochs_shown += bool(re.match(r"epoch \d+/", line))


@pytest.mark.parametrize(("interval", "images"), [(1, 5), (2, 8), (3, 40), (1, 0)])
@pytest.mark.parametrize("after", [0, 3, 9, 10, 17])
def test_the_time_left_is_what_it_takes_also_after_a_resume(monkeypatch, tmp_path, interval, images, after):
    run = Run(monkeypatch, tmp_path, epochs=6, interval=interval, images=images)
    run.run(after)
    predictions = run.predictions()
    assert len(predictions) >= 6 - after // STEPS
    assert_right(predictions, 0.02)
    sure = [line for *_, line in predictions if "at least" not in line]
    assert sure and (images or len(sure) == len(predictions))


def test_before_the_first_validation_the_time_left_is_the_least(monkeypatch, tmp_path):
    """Half of this run is one validation at its end, and the report."""
    run = Run(monkeypatch, tmp_path, epochs=2, interval=2, images=50)
    run.run()
    *earlier, last = run.predictions()
    assert all("at least" in line for *_, line in earlier)
    assert last[2].startswith("epoch 2/2, 0:05:00 left: ") and last[0] == 300, "the report is still to come"


def test_a_step_that_takes_longer_later_is_told_as_the_least_before_and_is_right_after(monkeypatch, tmp_path):
    run = Run(monkeypatch, tmp_path, epochs=9, interval=9, images=0, start=30)
    run.run()
    predictions = run.predictions()
    assert_right(predictions, 0.02)
    assert ["at least" in line for *_, line in predictions] == [
        bool(re.search(r"epoch [123]\b", line)) for *_, line in predictions
    ]
    resumed = Run(monkeypatch, tmp_path, epochs=9, interval=9, images=0, start=30)
    resumed.run(after=45)
    assert_right(resumed.predictions(), 0.02)
    assert not any("at least" in line for _, line in resumed.lines)


def test_an_epoch_whose_steps_are_all_done_has_no_time_left_to_show(monkeypatch, tmp_path):
    """After a stop during a validation: it ends before any step is timed."""
    trainer = Engine(lambda *_: None)
    evaluator = Engine(lambda *_: None)
    left = TimeLeft(evaluator, 1)
    left.attach(trainer)
    trainer.state.epoch, trainer.state.iteration, trainer.state.epoch_length, trainer.state.max_epochs = 2, 20, 10, 5
    trainer.fire_event(Events.EPOCH_STARTED)
    trainer.fire_event(Events.EPOCH_COMPLETED)
    assert left.seconds(trainer) is None and left.words(trainer) == ""


def test_a_line_is_short_and_has_the_terms_and_the_metric_that_matter(monkeypatch, tmp_path):
    run = Run(monkeypatch, tmp_path, epochs=400, interval=1, images=1)
    log = TermsLog(SemiCycle.terms, run.evaluator, tmp_path, None)
    log.means = dict.fromkeys(SemiCycle.terms, 1.2345)
    run.evaluator.state.key_metric_name, metrics = "dice", {"dice": 0.5, "iou": 0.4, "miou": 0.3}
    run.trainer.state.epoch, run.trainer.state.max_epochs = 123, 400
    monkeypatch.setattr(log.time_left, "words", lambda _: "at least 12 d 10:00:00 left")
    log._log_epoch(run.trainer, metrics)
    values = "gen_S 1.234, cycle_S 1.234, adv_S 1.234, disc_S 1.234, dice 0.500"
    [(_, line)] = run.lines
    assert line == f"epoch 123/400, at least 12 d 10:00:00 left: {values}"
    assert len(f"12:00:00 {line}") <= 120


def test_on_a_terminal_a_bar_shows_the_rate_and_the_time_left_in_place_of_lines(monkeypatch, tmp_path):
    run = Run(monkeypatch, tmp_path, epochs=2, interval=1, images=3)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    shown = functools.partial(tqdm, file=terminal, mininterval=0, ncols=100)
    monkeypatch.setattr(terms_log, "tqdm", shown)
    run.run()
    frames = [frame for frame in terminal.getvalue().split("\r") if frame.strip()]
    print(*frames, sep="\n")
    assert any(re.match(r"epoch 2/2: .* 5/10 .*(s/it|it/s), 0:02:2\d left in all", frame) for frame in frames)
    assert any(frame.startswith("validating: ") for frame in frames)
    assert [line.split(",")[0] for _, line in run.lines] == ["epoch 1/2", "epoch 2/2"]


def test_a_time_is_days_hours_minutes_and_seconds():
    assert [clock(seconds) for seconds in (0.4, 59.6, 3599.0, 86399.0)] == ["0:00:00", "0:01:00", "0:59:59", "23:59:59"]
    assert clock(86400.0) == "1 d 0:00:00" and clock(2 * 86400 + 3 * 3600 + 62.0) == "2 d 3:01:02"


def test_the_next_line_within_an_epoch_comes_after_twice_the_time(caplog):
    caplog.set_level("INFO", "semicycle")
    seconds = [0.0]
    left = SimpleNamespace(spent=lambda: seconds[0], seconds=lambda _: 9.0, words=lambda _: "0:00:09 left")
    log = SimpleNamespace(time_left=left, next_line=terms_log.FIRST_LINE, bar=None, steps=1, _advise=lambda *_: None)
    times = []
    for second in range(300):
        seconds[0] = float(second)
        before = len(caplog.messages)
        TermsLog._log_time_left(log, Engine(lambda *_: None))
        times += [second] * (len(caplog.messages) - before)
    assert times == [31, 63, 127, 255]
