"""Searches folders for files: each folder once, whatever links lead to it.

One rule for all that read data: a linked folder is searched like any other, and hidden files and folders are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from acdc_semicycle.runtime.errors import InputError


def folders_below(root: Path, skipped: Callable[[Path], bool] | None = None) -> tuple[list[Path], list[OSError]]:
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
            if real in seen or leads_up or (skipped is not None and skipped(folder)):
                below.clear()
                continue
            seen.add(real)
            folders.append(folder)
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in below:
                if (folder / name).is_symlink():
                    tops.append(folder / name)
    return folders, errors


def files_below(root: Path, skipped: Callable[[Path], bool] | None = None) -> list[Path]:
    """All files in a folder and below it, sorted; links are followed, hidden ones left out.

    Args:
        skipped: says which folders are left out, with all below them.

    Raises:
        InputError: a folder cannot be listed.
    """
    folders, errors = folders_below(root, skipped)
    for error in errors:
        raise InputError(f"{error.filename} cannot be listed ({error.strerror}): give a folder that can be read")
    return sorted(filter(Path.is_file, visible(folders)))


def visible(folders: Iterable[Path]) -> Iterator[Path]:
    """All in the folders that is not hidden."""
    for folder in folders:
        for path in folder.iterdir():
            if not path.name.startswith("."):
                yield path
