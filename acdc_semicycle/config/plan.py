"""``semicycle plan``: what was found in a data set, what will be done with it, and how long that takes here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from acdc_semicycle.config import locations, overlays, plan_data, plan_file, plan_time
from acdc_semicycle.config.command import value_of_text
from acdc_semicycle.config.command_parser import parser_of
from acdc_semicycle.config.data_keys import KEYS
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.config.plan_data import PlanData
from acdc_semicycle.config.plan_sizes import sizes
from acdc_semicycle.config.settings import RULES
from acdc_semicycle.data import fingerprint_table
from acdc_semicycle.data.check_layout import KINDS
from acdc_semicycle.data.splits import Split
from acdc_semicycle.runtime.console import shell_line
from acdc_semicycle.runtime.errors import InputError, many

RECIPE = "few"
FEW, SOME = 5, 20  # patients with masks: fewer than these are trained on all, or are scored by folds
LEFT_OUT = ("labelled",)  # of the data sets' overlays: the recipe has it


class Choice(NamedTuple):
    """One line of a plan: what is chosen, and why."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class Wishes:
    """What the user asks for.

    Attributes:
        minutes: that the training may take; None for the recipe's epochs.
        labelled: patients with masks that are used, or a fraction of them; None for all.
    """

    minutes: float | int | None = None
    labelled: float | int | None = None


def lines(root: str | None, path: Path, options: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a plan, each as soon as it is known; the overlay is written before the last one.

    Args:
        root: the data set's folder, unless an option names it.
        path: the overlay to write.
        options: as text: keys of ``data_keys.KEYS``, and of Wishes.

    Raises:
        InputError: what must be told is not, the data have faults or cannot be split, a plan that was edited or is of
            other data is there, or the minutes are too few.
    """
    plan_file.check_target(path)
    wishes = _wishes(options)
    started = time.monotonic()
    data = plan_data.read(root, {key: text for key, text in options.items() if key in KEYS})
    reading_seconds = time.monotonic() - started
    plan_file.check_data(path, data.root)
    yield from _found(data)
    recipe = locations.overlay(RECIPE)
    content, reasons, choices = _settings(data, wishes, overlays.read(recipe))
    command = shell_line(["semicycle", "train", RECIPE, str(path)])
    with TemporaryDirectory(prefix="semicycle") as folder:
        part = Path(folder) / "plan.yaml"
        plan_file.write(part, data.root, command, content, reasons)
        files = [recipe, str(part)]
        split = _split(files, data)
        yield "what will be done"
        for choice in [*choices, *_choices_of(split, command)]:
            yield fingerprint_table.line(choice.name, f"{choice.value}: {choice.why}")
        yield "how long it takes here"
        yield fingerprint_table.line("machine", plan_time.machine())
        timed = plan_time.time_of(files, data.fingerprint.cases, split, reading_seconds)
        yield fingerprint_table.line("minutes", _minutes(timed, wishes.minutes))
    plan_file.check_target(path)  # may have been edited meanwhile
    plan_file.write(path, data.root, command, content, reasons)
    yield f"{path} can be edited; then\n{command}"


def _wishes(options: Mapping[str, Any]) -> Wishes:
    """What is asked for beside the data.

    Raises:
        InputError: the minutes are no number above 0; labelled is refused by the split.
    """
    values = {key: value_of_text(options[key]) for key in ("minutes", "labelled") if key in options}
    rule = RULES["minutes"]
    if not rule.holds(values.get("minutes")):
        raise InputError(f"--minutes is {values['minutes']!r}: give {rule.words}")
    return Wishes(**values)


def _found(data: PlanData) -> Iterator[str]:
    """What was found: a table, then what is odd."""
    yield f"{data.title}: {data.root}"
    for name, text in fingerprint_table.rows(data.fingerprint, _classes(data)):
        yield fingerprint_table.line(name, text)
    for finding in data.findings:
        yield f"{finding.severity}: {finding.text}"
    for note in [*data.notes, *_rare_classes(data)]:
        yield f"note: {note}"


def _classes(data: PlanData) -> Sequence[str]:
    """The names of the classes."""
    return data.settings.get("classes") or KINDS[data.counts.kind].classes or ()


def _rare_classes(data: PlanData) -> Iterator[str]:
    """A line for each class that only one of several patients with masks has."""
    labelled = {case.record.patient for case in data.fingerprint.distinct if case.labelled}
    for label, name in enumerate(_classes(data)):
        patients = {case.record.patient for case in data.fingerprint.distinct if label in case.extents}
        if len(patients) == 1 and len(labelled) > 1:
            yield (
                f"{name} is drawn in {patients.pop()} alone: it is learned and scored by nobody else, annotate another"
                " patient who has it"
            )


def _settings(
    data: PlanData, wishes: Wishes, recipe: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str], list[Choice]]:
    """The keys of the overlay, why they have their values, and the lines that say so."""
    content: dict[str, Any] = {}
    if data.overlay is not None:
        content |= overlays.read(locations.overlay(data.overlay))
        content = {key: value for key, value in content.items() if key not in LEFT_OUT}
    content |= data.settings
    image_size, window = (tuple(recipe[key]) for key in ("image_size", "window"))
    chosen = sizes(data.fingerprint.distinct, image_size, window)
    choices = [Choice("overlays", RECIPE, _why_the_recipe(data))]
    reasons: dict[str, str] = {}
    for key, value, few, why in (
        ("image_size", chosen.image_size, image_size, chosen.reasons[0]),
        ("window", chosen.window, window, chosen.reasons[1]),
    ):
        choices.append(Choice(key, f"{value[0]} x {value[1]}", why))
        if value != few or key in content:
            content[key], reasons[key] = list(value), why
    for key in ("labelled", "minutes"):
        if getattr(wishes, key) is not None:
            content[key] = getattr(wishes, key)
    return content, reasons, choices


def _why_the_recipe(data: PlanData) -> str:
    """Why the recipe for few annotations is taken."""
    patients = len({case.record.patient for case in data.fingerprint.distinct if case.labelled})
    unlabelled = any(not case.labelled for case in data.fingerprint.distinct)
    learns = "; it learns from images without a mask, too" if unlabelled else ""
    return f"the recipe for a CPU and few annotated patients, here {patients}{learns}"


def _split(files: Sequence[str], data: PlanData) -> Split:
    """Who is trained on, validated and tested, as the training will draw them."""
    parser = parser_of(files, [])
    parser["data"] = tuple(case.record for case in data.fingerprint.cases)
    return value_of(parser, "split")


def _choices_of(split: Split, command: str) -> list[Choice]:
    """What follows from who has a mask: the parts, folds and batches."""
    parts = f"{len(split.labelled)} labelled, {len(split.unlabelled)} unlabelled"
    rest = f"{len(split.validation)} validated, {len(split.test)} tested"
    drawn = "fewer than five with masks, so all are trained on" if not split.validation else "by patient, drawn by seed"
    choices = [Choice("patients", f"{parts}, {rest}", drawn)]
    masks = len(split.labelled) + len(split.validation)
    if masks < FEW:
        how = f"none can be spared to be scored; {command} --folds leave-one-out scores each"
        choices.append(Choice("folds", "none", how if masks > 1 else "one patient with masks cannot be scored"))
    elif masks < SOME:
        choices.append(Choice("folds", "none", f"{command} --folds 3 scores every labelled patient"))
    else:
        choices.append(Choice("folds", "none", "enough patients are left to validate and to test"))
    batch = overlays.read(locations.overlay(RECIPE))["batch_size"]
    text = f"{batch} labelled and {batch} unlabelled" if split.unlabelled else f"{batch} labelled"
    choices.append(Choice("batch", text, "as few has"))
    return choices


def _minutes(timed: plan_time.Time, wished: float | int | None) -> str:
    """How long the training takes."""
    step = f"{timed.step:.2f} s a step"
    if wished is None:
        return (
            f"about {timed.minutes:.0f}: {timed.epochs} epochs of {timed.steps} steps, {step}; for less or more give"
            " --minutes to the training"
        )
    epochs = int((60 * wished - timed.around) / (timed.step * timed.steps))
    if epochs < 1:
        least = (timed.around + timed.step * timed.steps) / 60
        raise InputError(f"--minutes is {wished:g}: give at least {least:.1f}, what one epoch takes here")
    return f"{wished:g}: about {many(epochs, 'epoch')} of {timed.steps} steps, {step}; the training measures again"
