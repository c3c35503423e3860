"""A network's card, model.json: what it takes to use the network, and which values are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

CARD: dict[str, Any] = {  # the paper's
    "filters": 64,
    "blocks": 9,
    "dropout": 0.0,
    "in_channels": 1,
    "image_size": [200, 200],
    "intensity_range": None,
    "pictures": False,
    "colours": None,
}
CLASSES = ["background", "RV", "MYO", "LV"]


def _is_size(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number that fits in memory; larger ones would fill it, or hang."""
    return type(value) is int and least <= value <= 1 << 14


def _is_number(value: Any) -> bool:
    """Whether a value is a number, and not a truth value."""
    return type(value) in (int, float)


def _is_list_of(value: Any, kind: Callable[[Any], bool], length: int) -> bool:
    """Whether a value is a list of so many items, each of a kind."""
    return isinstance(value, list) and len(value) == length and all(map(kind, value))


def _are_classes(value: Any) -> bool:
    """Whether a value is a list of two names or more."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(name, str) for name in value)


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what each value is, in words, and the check
    "filters": ("a whole number up to 16,384", _is_size),
    "blocks": ("a whole number up to 16,384", lambda value: _is_size(value, 0)),
    "in_channels": ("a whole number up to 16,384", _is_size),
    "dropout": ("a number below 1", lambda value: _is_number(value) and 0 <= value < 1),
    "image_size": ("rows and columns", lambda value: _is_list_of(value, _is_size, 2)),
    "intensity_range": ("two numbers or null", lambda value: value is None or _is_list_of(value, _is_number, 2)),
    "classes": ("a list of names", _are_classes),
}


def code_in(value: Any) -> Iterator[str]:
    """All keys and texts in a JSON value that MONAI's configuration would run or look up."""
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        yield value
    elif isinstance(value, dict):
        yield from (key for key in value if key.startswith(("_", "$", "@", "%")))
        for item in value.values():
            yield from code_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from code_in(item)
