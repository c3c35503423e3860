"""Searches folders for files: each folder once, whatever links lead to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def folders_below(root: Path, skipped: Callable[[Path], bool]) -> tuple[list[Path], list[OSError]]:
    """A folder and all below it, links followed last; and the errors of those that cannot be listed.

    A folder is searched once, by whatever names it is reached. Left out are hidden folders, those above ``root`` that a
    link leads to, and those that are ``skipped``; what lies below a folder that is left out is not searched.
    """
    folders: list[Path] = []
    errors: list[OSError] = []
    seen: set[Path] = set()
    tops = [root]
    for top in tops:  # the list grows by the links
        for name, below, _ in os.walk(top, onerror=errors.append):
            folder, real = Path(name), Path(os.path.realpath(name))
            leads_up = folder != root and root.resolve().is_relative_to(real)
            if real in seen or leads_up or skipped(folder):
                below.clear()
                continue
            seen.add(real)
            folders.append(folder)
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in below:
                if (folder / name).is_symlink():
                    tops.append(folder / name)
    return folders, errors


def visible(folders: Iterable[Path]) -> Iterator[Path]:
    """All in the folders that is not hidden."""
    for folder in folders:
        for path in folder.iterdir():
            if not path.name.startswith("."):
                yield path
