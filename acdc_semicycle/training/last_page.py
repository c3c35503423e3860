"""How a training ends: with the page of its scores, and the command that comes next."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from acdc_semicycle.config import tasks
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")


def train(trainer: Any, checkpoints: Any, report: Any) -> None:
    """Train and report as :func:`acdc_semicycle.config.tasks.train`, then write the page and name the next command."""
    tasks.train(trainer, checkpoints, report)
    if distributed.rank() != 0:
        return
    if (report.folder / "report.json").is_file():
        write_page(report.folder)
    run = shlex.quote(str(report.output_dir))
    kind = "pictures" if report.card.get("pictures") else "scans"
    log.info("next, on your own %s: semicycle predict %s -o OUT --model %s", kind, kind.upper(), run)


def write_page(folder: Path) -> None:
    """Write the page of a network's report, and log its path; a page that cannot be written costs a warning."""
    from acdc_semicycle.report import page  # matplotlib: only where something is drawn

    try:
        log.info("the page of these scores: %s", page.write(folder))
    except InputError as error:
        log.warning("no page of these scores: %s", error)
