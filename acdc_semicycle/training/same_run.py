"""Whether a stored state is of the run that wants to continue: its settings and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acdc_semicycle.data.digests import FRAMES_OF
from acdc_semicycle.runtime.errors import InputError, many

LONGEST = 60  # characters of a value in a message


def check_settings(path: Path, stored: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse to continue a run of other settings, or of a version that kept other ones.

    Args:
        path: the file of the state, for the message.
        stored: the settings it was saved with.
        settings: those of this run.

    Raises:
        InputError: names the first setting that differs, with both values.
    """
    if "steps_an_epoch" in stored:
        raise InputError(
            f"{path} was written before version 0.2, which compares all settings: finish that run with its version, or"
            " give another output_dir"
        )
    for name in stored | settings:
        if stored.get(name) != settings.get(name):
            difference = difference_of(name, stored.get(name), settings.get(name))
            raise InputError(
                f"{path} is of another run ({difference}): give another output_dir for a new run, or the old settings"
                " to continue that one"
            )


def check_data(folder: Path, stored: dict[str, str] | None, contents: dict[str, str] | None) -> None:
    """Refuse to continue on other files than the run began with.

    Args:
        folder: of the training, for the message.
        stored: a digest of each file's content at that time, and each cine's frames; None of a state from before they
            were kept.
        contents: of the files that are there now.

    Raises:
        InputError: counts the files that changed, and names the first; of an unlabelled cine it names the frames.
    """
    if stored is None or contents is None:
        return
    changed = [name for name in stored | contents if stored.get(name) != contents.get(name)]
    if not changed:
        return
    files = [name for name in changed if not name.startswith(FRAMES_OF)]
    when, way_out = f"changed since the training in {folder} began", "give another output_dir to train anew, or restore"
    if files:
        raise InputError(f"{many(len(files), 'file')} {when}, first the {files[0]}: {way_out} the data to continue")
    raise InputError(f"the {changed[0]} that its mask chooses {when}: {way_out} the mask to continue")


def difference_of(name: str, stored: Any, current: Any) -> str:
    """The first place where two settings differ, in words."""
    while isinstance(stored, dict) and isinstance(current, dict):
        key = _first_difference(stored, current)
        name, stored, current = f"{name}::{key}", stored.get(key), current.get(key)
    return f"{name}: {_short(stored)}, here {_short(current)}"


def _first_difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first key whose values differ in two dicts that are not equal; null is another value than none."""
    return next(key for key in one | other if (key in one, one.get(key)) != (key in other, other.get(key)))


def _short(value: Any) -> str:
    """A value as text that fits in a message; a long list with its length before it."""
    text = str(value)
    if isinstance(value, list) and len(text) > LONGEST:
        text = f"{len(value)}, {text}"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
