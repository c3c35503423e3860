"""As many epochs as fit into the minutes that a user gives: measured on this machine, and kept for the next start."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_semicycle.config.parser import calling_parser
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text

if TYPE_CHECKING:  # slow
    from monai.bundle import ConfigParser

log = logging.getLogger("semicycle")

FILE = "schedule.json"  # in output_dir: what was measured, and the epochs that followed


def fit_to_minutes(parser: ConfigParser) -> None:
    """Set ``epochs`` so that the training takes ``minutes``, if these are given.

    A training that continues keeps the epochs of its first start.

    Raises:
        InputError: not even an epoch fits, or the run cannot be measured, as one of several processes cannot.
    """
    minutes = parser.get_parsed_content("minutes")
    if minutes is None:
        return
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError(f"minutes is {minutes:g}, and torchrun started several processes: give epochs")
    path = Path(str(parser.get_parsed_content("output_dir"))) / FILE
    stored = read_json(path) if path.is_file() else {}
    if stored.get("minutes") == minutes and isinstance(stored.get("epochs"), int):
        log.info("--minutes %g: %d epochs, as when this training began", minutes, stored["epochs"])
        parser["epochs"] = stored["epochs"]
        return
    started = time.monotonic()
    log.info("measuring how many epochs fit into --minutes %g here", minutes)
    measured = _measured()
    left = 60 * minutes - (time.monotonic() - started)
    epochs = epochs_within(left, measured, minutes)
    step = measured["step_seconds"]
    log.info("--minutes %g: %d epochs of %d steps, %.2f s a step", minutes, epochs, measured["epoch_steps"], step)
    parser["schedule"] = {"minutes": minutes, "epochs": epochs, "measured": measured}
    parser["epochs"] = epochs


def save(folder: Path) -> None:
    """Write what was measured for the configuration that is being run, if it was, for its next start."""
    parser = calling_parser()
    schedule = parser.get("schedule") if parser else None
    if schedule:
        write_text(folder / FILE, json.dumps(schedule, indent=1) + "\n")


def epochs_within(seconds: float | int, measured: dict[str, Any], minutes: float | int) -> int:
    """The whole epochs that fit into so many seconds, with their validations and the report at the end.

    Raises:
        InputError: none does.
    """
    validation = measured["validation_seconds"]
    epoch = measured["epoch_steps"] * measured["step_seconds"] + validation / measured["val_interval"]
    around = measured["start_seconds"] + validation
    epochs = int((seconds - around) / epoch)
    if epochs < 1:
        least = (60 * minutes - seconds + around + epoch) / 60
        raise InputError(f"minutes is {minutes:g}: give at least {least:.1f}, what one epoch takes here")
    return epochs


def _measured() -> dict[str, Any]:
    """What the bundle's ``probing`` prints, run with this command's own words in a process of its own."""
    words = sys.argv[1:]
    if words[:2] != ["run", "training"]:
        raise InputError("minutes needs a path that MONAI takes as text: rename the folder, or give epochs")
    command = [sys.executable, "-m", "monai.bundle", "run", "probing", *words[2:], "--minutes", "None"]
    parser = calling_parser()
    with tempfile.TemporaryDirectory(prefix="semicycle") as folder:
        if parser is not None and "writer::log_dir" in parser:
            command += ["--writer::log_dir", folder]  # what is refused for too few minutes leaves no folder behind
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise InputError("the training could not be measured, see above: correct that, or give epochs") from error
