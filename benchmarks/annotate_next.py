#!/usr/bin/env python
"""Annotating by ``semicycle next`` beside annotating at random: Dice on patients who never take part, round by round.

    python benchmarks/annotate_next.py DATA --train_list FILE --validation_list FILE [--start RUN] [--out FOLDER]
        [--labelled 3] [--rounds 4] [--patients 2] [--epochs 20] [--scratch] [--jobs 1] [--arms ARM ...] [--KEY VALUE]
    python benchmarks/annotate_next.py --short

All masks are there, and hidden but for those of the first patients of the training list. Each round adds patients, and
a training through the product follows: ``semicycle train few partial``, from the network of the round before, or with
``--scratch`` from the start. An arm is a way to choose:

    next        the default of semicycle next
    quality     the worst expected Dice alone
    random_0    at random; random_1 and random_2 are other draws

All arms share the first round: a training here, or ``--start``, a run that is there. Every training is a folder that
continues, and chosen patients are kept, so the same command goes on after a stop; ``--epochs`` and the like must stay.
Each finished round is in results.json, in a table (annotate_next.md) and a picture (annotate_next.png). Other words go
to each training. ``--short`` is a phantom with two arms and two rounds, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from measure import machine, table

from acdc_semicycle.datasets import phantom
from acdc_semicycle.runtime.files import replacing, write_text

ARMS: dict[str, list[str] | int] = {  # the words for semicycle next, or the seed of random draws
    "next": [],
    "quality": ["--no-disagreement", "--no-diversity"],
    "random_0": 0,
    "random_1": 1,
    "random_2": 2,
}
TINY = ["--steps_per_epoch", "2", "--batch_size", "2", "--image_size", "[32,32]", "--window", "[32,32]"]


@dataclass
class Simulation:
    """What the arms share."""

    data: Path
    train: list[str]
    validation_list: Path
    out: Path
    labelled: int
    rounds: int
    patients: int
    epochs: int
    scratch: bool
    start: Path | None
    threads: int
    more: list[str]
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    former: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def run(self, arms: Sequence[str], jobs: int) -> bool:
        """Run all arms; whether every one came to its end."""
        self.out.mkdir(parents=True, exist_ok=True)
        if (self.out / "results.json").exists():
            self.former = json.loads((self.out / "results.json").read_text())["arms"]
        first = self._first_round()
        with ThreadPoolExecutor(jobs) as pool:
            futures = {arm: pool.submit(self._arm, arm, first) for arm in arms}
        failed = False
        for arm, future in futures.items():
            error = future.exception()
            if error is not None:
                failed = True
                print(f"{arm}: {error}", file=sys.stderr, flush=True)
        return not failed

    def _first_round(self) -> Path:
        """The run that all arms start from."""
        if self.start is not None:
            return self.start
        folder = self.out / "round_0"
        self._train(folder, self.train[: self.labelled], None)
        return folder

    def _arm(self, arm: str, first: Path) -> None:
        """All rounds of one arm."""
        known, run = list(self.train[: self.labelled]), first
        self._enter(arm, 0, known, [], run, None)
        for number in range(1, self.rounds + 1):
            folder = self.out / arm / f"round_{number}"
            chosen = self._chosen(arm, number, run, folder)
            known += chosen
            minutes = self._train(folder, known, None if self.scratch else run)
            self._enter(arm, number, known, chosen, folder, minutes)
            run = folder

    def _chosen(self, arm: str, number: int, run: Path, folder: Path) -> list[str]:
        """The patients of a round; chosen once."""
        path = folder.with_name(f"{folder.name}.chosen.json")
        if path.exists():
            return json.loads(path.read_text())
        words = ARMS[arm]
        if isinstance(words, int):
            unlabelled = json.loads((run / "split.json").read_text())["unlabelled"]
            generator = np.random.default_rng([words, number])
            chosen = [str(name) for name in generator.choice(sorted(unlabelled), self.patients, replace=False)]
        else:
            chosen = self._chosen_by_next(run, folder.with_name(f"{folder.name}.drafts"), words)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(chosen) + "\n")
        return chosen

    def _chosen_by_next(self, run: Path, drafts: Path, words: Sequence[str]) -> list[str]:
        """The patients that semicycle next names, from its own file."""
        if not drafts.exists():
            more = ["--patients", str(self.patients), "-o", str(drafts), *words]
            self._semicycle(["next", str(run), str(self.data), *more], drafts.with_suffix(".log"))
        scans = json.loads((drafts / "drafts.json").read_text())["scans"]
        return list(dict.fromkeys(scan["patient"] for scan in scans))

    def _train(self, folder: Path, labelled: Sequence[str], source: Path | None) -> float | None:
        """Train on the masks of some patients, unless that is done; the minutes it took now."""
        if (folder / "validation" / "report.json").exists():
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        names = folder.with_name(f"{folder.name}.train.txt")
        others = [name for name in self.train if name not in labelled]
        write_text(names, "\n".join([*labelled, *others]) + "\n")
        words = ["train", "few", "partial", "--dataset_dir", str(self.data), "--train_list", str(names)]
        words += ["--validation_list", str(self.validation_list), "--labelled", str(len(labelled))]
        words += ["--epochs", str(self.epochs), "--output_dir", str(folder), *self.more]
        if source is not None:
            words += ["--from", str(source)]
        started = time.monotonic()
        self._semicycle(words, folder.with_name(f"{folder.name}.log"))
        return (time.monotonic() - started) / 60

    def _semicycle(self, words: Sequence[str], log: Path) -> None:
        """Run a verb; an error names the file with what it printed."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "acdc_semicycle", *words]
        with log.open("a") as stream:
            stream.write(" ".join(command) + "\n")
            stream.flush()
            environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"semicycle {words[0]} ended with {done.returncode}: see {log}")

    def _enter(
        self, arm: str, number: int, known: Sequence[str], chosen: Sequence[str], run: Path, minutes: float | None
    ) -> None:
        """Enter a finished round, and write all results anew."""
        summary = json.loads((run / "validation" / "report.json").read_text())["summary"]["dice"]
        minutes = self._former_minutes(arm, number) if minutes is None else minutes
        entry = {"round": number, "labelled": len(known), "chosen": list(chosen), "run": str(run), "minutes": minutes}
        entry["dice"] = summary
        with self.lock:
            self.results.setdefault(arm, []).append(entry)
            self._write()
            print(f"{arm}, {len(known)} patients: Dice {entry['dice']['mean']:.3f} {' '.join(chosen)}", flush=True)

    def _former_minutes(self, arm: str, number: int) -> float | None:
        """The minutes of a round that an earlier call has finished."""
        for entry in self.former.get(arm, []):
            if entry["round"] == number:
                return entry["minutes"]
        return None

    def _write(self) -> None:
        """Write results.json, the table and the picture."""
        about = f"{machine('cpu')}; {self.epochs} epochs a round, {'from scratch' if self.scratch else 'warm start'}"
        write_text(self.out / "results.json", json.dumps({"about": about, "arms": self.results}, indent=1) + "\n")
        write_text(self.out / "annotate_next.md", f"{about}\n\n{self.table()}\n")
        figure = _figure(self.results)
        with replacing(self.out / "annotate_next.png") as part:
            figure.savefig(part, format="png", dpi=110)

    def table(self) -> str:
        """One row an arm, one column a number of annotated patients, then the mean of all rounds but the first."""
        counts = [self.labelled + self.patients * number for number in range(self.rounds + 1)]
        rows = []
        for arm in [name for name in ARMS if name in self.results]:
            scores = {entry["labelled"]: entry["dice"]["mean"] for entry in self.results[arm]}
            rows.append(_row("ours" if arm == "next" else arm, [scores.get(count) for count in counts]))
        draws = [_scores(self.results[arm]) for arm in self.results if arm.startswith("random")]
        whole = [scores for scores in draws if len(scores) == len(counts)]
        if len(whole) > 1:
            rows.append(_row("random, mean", np.mean(whole, axis=0).tolist()))
        return table(["validation Dice, patients annotated:", *map(str, counts), "mean of the rounds"], rows)


def _scores(entries: Sequence[dict[str, Any]]) -> list[float]:
    return [entry["dice"]["mean"] for entry in entries]


def _row(name: str, scores: Sequence[float | None]) -> list[str]:
    added = [score for score in scores[1:] if score is not None]
    mean = f"{np.mean(added):.3f}" if added else "—"
    return [name, *("—" if score is None else f"{score:.3f}" for score in scores), mean]


def _figure(results: dict[str, list[dict[str, Any]]]) -> Figure:
    """The curve of each arm; random draws are grey."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for arm in [name for name in ARMS if name in results]:
        entries = results[arm]
        colour = {"next": "#c0392b", "quality": "#2471a3"}.get(arm, "#999999")
        counts = [entry["labelled"] for entry in entries]
        axis.plot(counts, _scores(entries), marker="o", markersize=3, color=colour, label=arm)
    axis.set_xlabel("annotated patients")
    axis.set_ylabel("Dice on the validation patients")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _short(folder: Path) -> Simulation:
    """The simulation on a phantom."""
    phantom.write(folder / "phantom", patients=7, size=(32, 32, 6))
    names = [f"patient00{number}" for number in range(1, 8)]
    (folder / "validation.txt").write_text(names[6] + "\n")
    return Simulation(
        data=folder / "phantom",
        train=names[:6],
        validation_list=folder / "validation.txt",
        out=folder / "out",
        labelled=2,
        rounds=2,
        patients=1,
        epochs=1,
        scratch=False,
        start=None,
        threads=1,
        more=TINY,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="ACDC, with all masks")
    parser.add_argument("--train_list", type=Path, help="a patient a line; the first ones are annotated")
    parser.add_argument("--validation_list", type=Path, help="the patients who are scored, and never take part")
    parser.add_argument("--start", type=Path, help="a run that was trained on the first patients: the first round")
    parser.add_argument("--out", type=Path, default=Path("runs/annotate_next"))
    parser.add_argument("--labelled", type=int, default=3, help="patients of the first round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--patients", type=int, default=2, help="added in each round")
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--scratch", action="store_true", help="trainings do not start from the round before")
    parser.add_argument("--jobs", type=int, default=1, help="arms side by side, which share the cores")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--short", action="store_true", help="on a phantom")
    given, more = parser.parse_known_args()
    if given.short:
        with tempfile.TemporaryDirectory(prefix="annotate_next") as name:
            simulation = _short(Path(name))
            good = simulation.run(["next", "random_0"], 1)
            print(simulation.table())
            sys.exit(0 if good else 1)
    if not (given.data and given.train_list and given.validation_list):
        parser.error("give DATA, --train_list and --validation_list, or --short")
    simulation = Simulation(
        data=given.data,
        train=given.train_list.read_text().split(),
        validation_list=given.validation_list,
        out=given.out,
        labelled=given.labelled,
        rounds=given.rounds,
        patients=given.patients,
        epochs=given.epochs,
        scratch=given.scratch,
        start=given.start,
        threads=max(1, (os.cpu_count() or 1) // given.jobs),
        more=more,
    )
    good = simulation.run(given.arms, given.jobs)
    print(simulation.table())
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
