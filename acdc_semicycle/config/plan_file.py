"""The file that ``semicycle plan`` writes: an overlay to be edited, which is never overwritten once it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import write_text

SEAL = "# as it was written: "  # begins the last line: a digest of what stands before it
DATA = "# data: "  # begins the line that names the data set


def check_target(path: Path) -> None:
    """Refuse a name that is no overlay's, and a file that is there and was edited, or is none of ours.

    Raises:
        InputError: names the file, and what to do.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"--output is {path}: give the name of a .yaml file")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give --output FILE.yaml")
    if path.exists() and not is_as_written(path):
        raise InputError(f"{path} was edited, or is no plan: it is left as it is, give another --output")


def is_as_written(path: Path) -> bool:
    """Whether a file is a plan that was not edited."""
    body, _, seal = path.read_text(encoding="utf-8", errors="replace").rpartition(SEAL)
    return bool(body) and seal.strip() == _digest(body)


def check_data(path: Path, data: str) -> None:
    """Refuse to replace the plan of other data.

    Raises:
        InputError: names the file, and the data that it is for.
    """
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(DATA) and line != DATA + data:
            raise InputError(f"{path} is a plan of {line.removeprefix(DATA)}: give another --output for {data}")


def write(path: Path, data: str, command: str, content: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Write an overlay.

    Args:
        data: the folder that it is for.
        command: that takes it.
        content: keys and values.
        reasons: why some have their value: a comment before the key.
    """
    lines = ["# A plan of semicycle. Edit it as you like: an edited plan is never overwritten.", f"#   {command}"]
    lines.append(DATA + data)
    for key, value in content.items():
        if key in reasons:
            lines.append(f"# {reasons[key]}")
        lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    body = "\n".join(lines) + "\n"
    write_text(path, f"{body}{SEAL}{_digest(body)}\n")


def _digest(body: str) -> str:
    """A short digest of a plan's text."""
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
