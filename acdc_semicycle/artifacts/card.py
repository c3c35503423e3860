"""A network's card, model.json: what it takes to use the network, and what may stand in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

CARD: dict[str, Any] = {
    "filters": 64,
    "blocks": 9,
    "dropout": 0.0,
    "in_channels": 1,
    "image_size": [200, 200],
}  # the paper's
CARD |= {"intensity_range": None, "pictures": False, "colours": None}
CLASSES = ["background", "RV", "MYO", "LV"]


def _whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= 1 << 14  # more would fill the memory, or hang


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "filters": ("a whole number up to 16,384", lambda v: _whole(v)),
    "blocks": ("a whole number up to 16,384", lambda v: _whole(v, 0)),
    "in_channels": ("a whole number up to 16,384", lambda v: _whole(v)),
    "dropout": ("a number below 1", lambda v: type(v) in (int, float) and 0 <= v < 1),
    "image_size": ("rows and columns", lambda v: isinstance(v, list) and len(v) == 2 and all(map(_whole, v))),
    "intensity_range": (
        "two numbers or null",
        lambda v: v is None or (isinstance(v, list) and len(v) == 2 and all(type(n) in (int, float) for n in v)),
    ),
    "classes": ("a list of names", lambda v: isinstance(v, list) and len(v) > 1 and all(isinstance(n, str) for n in v)),
}


def code_in(value: Any) -> Iterator[str]:
    """All keys and texts in a JSON value that mean something to MONAI's configuration."""
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        yield value
    if isinstance(value, dict):
        yield from (key for key in value if key.startswith(("_", "$", "@", "%")))
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from code_in(item)
