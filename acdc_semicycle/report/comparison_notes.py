"""What a reader of a comparison of runs must know: why scores are not what they seem, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from acdc_semicycle.experiments.run_record import RunRecord
from acdc_semicycle.experiments.run_scores import Scores
from acdc_semicycle.runtime.errors import many, some

PHANTOM = "phantom"


Scored = tuple[RunRecord, Scores]


def are_comparable(first: Scored, other: Scored) -> bool:
    """Whether two runs are scored on the same cases and structures; cases of one name may be of other data."""
    (run, scores), (other_run, other_scores) = first, other
    if scores.cases != other_scores.cases or scores.patients.keys() != other_scores.patients.keys():
        return False
    for case in scores.cases:
        digest = run.images.get(case)
        if digest is not None and other_run.images.get(case, digest) != digest:
            return False
    return run.dataset == other_run.dataset and scores.structures == other_scores.structures


def warnings(runs: Sequence[RunRecord], scores_of: Sequence[Scores | None]) -> list[str]:
    """Why the scores are not what they seem to be."""
    lines = []
    datasets = sorted({run.dataset for run in runs if run.dataset})
    classes = {tuple(run.classes) for run in runs if run.classes}
    if len(datasets) > 1:
        lines.append(f"the runs are of different data sets ({', '.join(datasets)}): their scores are not comparable")
    if len(classes) > 1:
        listed = sorted(some(names[1:], 4) for names in classes)
        lines.append(f"the runs have different classes ({'; '.join(listed)}): their scores are not comparable")
    by_epoch = [run.name for run, scores in zip(runs, scores_of, strict=True) if scores and scores.chose_the_epoch]
    if by_epoch:
        lines.append(
            f"the epoch of {_named(by_epoch, runs)} was chosen on the very patients that are scored: these scores are"
            " too good, run semicycle evaluate --model RUN to score test patients"
        )
    for protocol in sorted({scores.protocol for scores in scores_of if scores and scores.protocol}):
        lines.append(protocol)
    return lines


def _named(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    """Some of the runs by their names; all of several are ``all runs``."""
    return "all runs" if 1 < len(names) == len(runs) else some(names)


def notes(runs: Sequence[RunRecord], scores_of: Sequence[Scores | None]) -> list[str]:
    """What a reader must know beside the warnings."""
    lines = []
    former = [run.name for run in runs if not run.config]
    if former:
        lines.append(
            f"no config.yaml, which trainings leave since 0.2: of {_named(former, runs)} the settings are those that"
            " model.json and report.json tell"
        )
    unfinished = []
    for run in runs:
        if _is_unfinished(run):
            unfinished.append(f"{run.name} (epoch {run.epochs or 0} of {run.planned_epochs})")
    if unfinished:
        lines.append(f"the training has not ended: {some(unfinished)}")
    unscored = [run.name for run in runs if not run.scores]
    if unscored:
        lines.append(f"no report of scores: {some(unscored)}")
    lines += _notes_on_patients(runs, scores_of)
    if any(run.dataset == PHANTOM for run in runs):
        lines.append("scores of the embedded phantom are a demonstration, no result")
    return lines


def _is_unfinished(run: RunRecord) -> bool:
    """Whether a training has epochs to come."""
    return run.planned_epochs is not None and (run.epochs or 0) < run.planned_epochs


def _notes_on_patients(runs: Sequence[RunRecord], scores_of: Sequence[Scores | None]) -> list[str]:
    """Over whom the means are, and which runs have no difference to the first."""
    scored = [(run, scores) for run, scores in zip(runs, scores_of, strict=True) if scores]
    if len(scored) < 2 or scored[0][0] is not runs[0]:
        return []
    first, *others = scored
    name, patients = first[0].name, many(len(first[1].patients), "patient")
    apart = [other[0].name for other in others if not are_comparable(first, other)]
    lines = []
    if len(apart) < len(others):
        interval = "95 % confidence interval (Student's t)"
        lines.append(f"difference: to {name}, the mean over the same {patients} with its {interval}")
    if apart:
        lines.append(f"scored on other cases or structures than {name}, so without a difference: {some(apart)}")
    return lines
