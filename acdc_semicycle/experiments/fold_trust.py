"""The expected Dice of folds: fitted on the label maps of all left-out patients, each by the network of its fold."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from acdc_semicycle.artifacts.folds import fold_folder
from acdc_semicycle.experiments.execution import logged, named_error
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.experiments.runs import LOG
from acdc_semicycle.experiments.stopping import handing_on
from acdc_semicycle.runtime.errors import InputError

LABEL_MAPS = "label_maps"  # in a fold's folder: those of the patients whom it left out


def fitted_in_words(output_dir: Path, count: int, data: str | None, truth: str | None) -> str:
    """Segment and score what each fold left out, fit the expected Dice, and write trust.json into the folder of folds.

    Args:
        data: the folder of the scans.
        truth: the folder of their masks, which hold class indices.

    Returns:
        How good the expected Dice is, or why there is none, in a line.
    """
    if data is None or truth is None:
        return "no expected Dice is fitted: that takes folders of scans and of masks that hold class indices"
    with handing_on() as asked:  # which lets processes start again, after those of the trainings
        for number in range(count):
            error = _scored(fold_folder(output_dir, number), data, truth)
            if asked():
                error = "stopped; the same command does it"
            if error:
                return f"no expected Dice is fitted: {error}"
    from acdc_semicycle.evaluation import calibrate  # slow

    try:
        return calibrate.calibrate_folds(output_dir, [fold_folder(output_dir, n) / LABEL_MAPS for n in range(count)])
    except InputError as error:
        return f"no expected Dice is fitted: {error}"


def _scored(fold: Path, data: str, truth: str) -> str:
    """Predict and evaluate the patients whom a fold left out; the error in a line, or an empty text."""
    label_maps = str(fold / LABEL_MAPS)
    steps: list[Sequence[str]] = [
        ("predict", data, "-o", label_maps, "--model", str(fold), "--part", "validation"),
        ("evaluate", "--pred", label_maps, "--truth", truth),
    ]
    with run_lock(fold) as lock:
        if lock is None:
            return f"{fold} is trained in by another command"
        for words in steps:
            command = [sys.executable, "-m", "acdc_semicycle", *words]
            code, lines = logged(command, shlex.join(command), fold / LOG, {}, lock)
            if code:
                return f"{named_error(lines, code)} ({fold / LOG})"
    return ""
