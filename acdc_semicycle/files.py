"""Text files that are there whole or not at all."""

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write beside, then replace: a process that dies meanwhile leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    beside.replace(path)
