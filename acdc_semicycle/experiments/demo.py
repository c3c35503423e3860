"""``semicycle demo``: from three annotated patients to segmented scans, on drawn hearts, a command for each step."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Image

from acdc_semicycle.datasets import drafts, phantom
from acdc_semicycle.runtime import signals
from acdc_semicycle.runtime.console import shell_line
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text
from acdc_semicycle.runtime.staged_folder import staged_folder

PATIENTS, ANNOTATED, NEW = 12, 3, 6  # of the hospital, of them with masks, and those who come afterwards
ASKED = 2  # patients to annotate next
EPOCHS = ("--epochs", "3")
RECIPE = ("few", "plan.yaml")
RECORD = "demo.json"  # the steps that are done

Run = Callable[[Sequence[str], Path], int]


@dataclass(frozen=True)
class Step:
    """A step of the story.

    Attributes:
        title: what it does, for people.
        words: of the ``semicycle`` command that does it; empty where the demo itself does it.
    """

    title: str
    words: tuple[str, ...] = ()


def steps(options: Sequence[str] = ()) -> list[Step]:
    """The steps in their order; ``options`` go to both trainings."""
    training = (*RECIPE, *(options or EPOCHS))
    mended = ("--mended", "drafts", "--from", "runs/first")
    return [
        Step(f"Segment {NEW} new patients with the pretrained network", _predict("before", "pretrained")),
        Step("Look at the hospital's data, and plan a training", ("plan", "hospital")),
        Step(
            f"Learn from {ANNOTATED} annotated patients, then from the others as segmented so far, too",
            ("train", *training, "--name", "first"),
        ),
        Step("Segment the new patients with that", _predict("first", "runs/first")),
        Step(
            "Ask whom to annotate next, and which slices",
            ("next", "runs/first", "hospital", "--patients", str(ASKED), "-o", "drafts"),
        ),
        Step("Mend the slices that were named: here the true masks stand in for a person"),
        Step("Learn from the mended masks, too", ("train", *training, *mended, "--name", "second")),
        Step("Segment the new patients again", _predict("second", "runs/second")),
        *[
            Step(f"Compare {folder} with the truth", ("evaluate", "--pred", folder, "--truth", "truth/training"))
            for folder in ("before", "first", "second")
        ],
        Step("Make a page to look at", ("report", "second")),
    ]


def _predict(folder: str, model: str) -> tuple[str, ...]:
    """The words that segment the new patients into a folder."""
    return ("predict", "new", "-o", folder, "--model", model)


def tell(folder: Path, options: Sequence[str] = (), run: Run | None = None) -> Iterator[str]:
    """The lines of the story, each step's before it runs; a step that was done before is left out.

    Args:
        folder: where all of it is written; it is made if need be.
        options: ``--KEY VALUE`` of both trainings, instead of their number of epochs.
        run: runs a ``semicycle`` command in the folder, and gives its exit code; by default in a process of its own.

    Raises:
        InputError: the folder holds something else, or a step failed.
    """
    run = run or _run
    started = time.monotonic()
    record = folder / RECORD
    done = _begun(folder, list(options))
    story = steps(options)
    yield f"{folder}: drawn hearts, {PATIENTS} patients of whom {ANNOTATED} are annotated, and {NEW} new ones"
    for number, step in enumerate(story):
        if number < done:
            continue
        yield f"\n{number + 1}/{len(story)} {step.title}"
        if step.words:
            yield shell_line(["semicycle", *step.words])
            _check_code(run(step.words, folder), number + 1)
        else:
            yield from mend(folder / "drafts", folder / "truth" / "training")
        write_text(record, json.dumps({"options": list(options), "done": number + 1}) + "\n")
    yield "\n" + _summary(folder)
    yield f"{(time.monotonic() - started) / 60:.1f} minutes; a page to open in a browser:"
    yield str(folder / "second" / "report.html")


def _begun(folder: Path, options: list[str]) -> int:
    """The number of steps that are done; where none is, the drawn patients are written.

    Raises:
        InputError: the folder holds something else, or a demo with other options.
    """
    record = folder / RECORD
    if record.is_file():
        content = read_json(record)
        if content.get("options") != options:
            raise InputError(
                f"{folder} holds a demo with the options {shell_line(content.get('options') or [])!r}, given are"
                f" {shell_line(options)!r}: give the same, or another folder with -o"
            )
        return int(content["done"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there, and is no demo: give another folder with -o")
    if folder.is_dir():
        folder.rmdir()  # empty: its staged twin takes its place
    with staged_folder(folder, record.is_file) as staging:
        _write_patients(staging)
        (staging / RECORD).write_text(json.dumps({"options": options, "done": 0}) + "\n", encoding="utf-8")
    return 0


def _write_patients(folder: Path) -> None:
    """Draw all patients with masks into ``truth``; copy them to ``hospital`` and ``new``, with masks for the first."""
    phantom.write(folder / "truth", PATIENTS + NEW)
    patients = sorted(path for path in (folder / "truth" / "training").iterdir() if path.is_dir())
    for number, patient in enumerate(patients):
        target = folder / ("hospital/training" if number < PATIENTS else "new") / patient.name
        hidden = shutil.ignore_patterns() if number < ANNOTATED else shutil.ignore_patterns("*_gt.nii.gz")
        shutil.copytree(patient, target, ignore=hidden)


def mend(folder: Path, truth: Path) -> Iterator[str]:
    """Save the true mask of each slice that is to be mended over the draft; a line for each scan."""
    for draft in drafts.load(folder / drafts.FILE).drafts.values():
        path = folder / draft.file
        image = Nifti1Image.from_filename(path)
        true_labels = np.asarray(Nifti1Image.from_filename(truth / draft.patient / f"{draft.case}_gt.nii.gz").dataobj)
        labels = np.asarray(image.dataobj).copy()
        chosen = list(draft.slices_to_mend)
        changed = int((labels[..., chosen] != true_labels[..., chosen]).sum())
        labels[..., chosen] = true_labels[..., chosen]
        nibabel.save(Nifti1Image(labels, image.affine, image.header), path)
        yield f"{draft.file}: {len(chosen)} of {labels.shape[2]} slices, {changed} voxels changed"


def _run(words: Sequence[str], folder: Path) -> int:
    """Run a ``semicycle`` command in a folder; its exit code.

    It is a session of its own, so that a signal reaches it once: handed on from here, as a request to save and stop.
    """
    command = [sys.executable, "-m", "acdc_semicycle", *words]
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in signals.CODES}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_code(code: int, number: int) -> None:
    """End as a step ended: stopped by a signal, or failed."""
    if code == signals.CODES[signal.SIGINT]:
        raise KeyboardInterrupt
    if code in signals.CODES.values():
        raise SystemExit(code)
    if code:
        raise InputError(
            f"step {number} of the demo ended with exit code {code}: see above; semicycle demo continues with this step"
        )


def _summary(folder: Path) -> str:
    """The mean Dice of the new patients after each stage."""
    lines = [f"mean Dice of the {NEW} new patients, which took no part in training"]
    stages = {
        "before": "the pretrained network, nothing annotated",
        "first": f"{ANNOTATED} patients annotated",
        "second": f"and some slices of {ASKED} more mended",
    }
    for name, words in stages.items():
        dice = read_json(folder / name / "evaluation.json")["summary"][name]["dice"]["mean"]
        lines.append(f"  {dice:.3f}  {words}")
    return "\n".join(lines)
