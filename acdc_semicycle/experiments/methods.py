"""The methods that a table can run: each is an overlay that says what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from acdc_semicycle.config import overlays
from acdc_semicycle.config.locations import folder
from acdc_semicycle.experiments.paper import ABLATIONS, METHODS

FULL = "full"  # the paper's name for the supervised method with all labels
BASE = "semicycle"  # what the bundle trains without an overlay


def defines_a_method(file: str | Path) -> bool:
    """Whether an overlay says what is trained."""
    return "objective_def" in overlays.read(file)


def shipped_methods() -> dict[str, str]:
    """The names of the shipped overlays that say what is trained, each by itself."""
    names = [path.stem for path in sorted(folder("configs").glob("*.yaml")) if defines_a_method(path)]
    return dict(zip(names, names, strict=True))


def overlay_of_each(given: Iterable[str | Path] = ()) -> dict[str, str | None]:
    """The overlay of each method by its name: the shipped ones, the paper's ablations, and those that are given.

    Args:
        given: overlays of a user's own methods, which are called as their files.

    Returns:
        For each name the overlay's file, or the name of a shipped one; None for the paper's method.
    """
    files: dict[str, str | None] = {**shipped_methods(), BASE: None}  # its overlay is for after few
    files[FULL] = files["partial"]
    for name in ABLATIONS:
        files[name] = f"ablation_{name}"
    for file in given:
        files[Path(file).stem] = str(file)
    return files


def in_order(names: Iterable[str]) -> list[str]:
    """Methods as tables show them: the paper's first, its ablations last, the others by name between them."""
    names = list(names)
    others = sorted(set(names) - {*METHODS, *ABLATIONS})
    return [name for name in (*METHODS, *others, *ABLATIONS) if name in names]


def order_of(name: str, names: Sequence[str]) -> int:
    """Where a method stands among those of a table."""
    return in_order(names).index(name)
