"""A network's card, model.json: what it takes to use the network, and which values are allowed.

    network          class and arguments of G_IS (:mod:`acdc_semicycle.methods.network_description`)
    image_generator  the same of G_SI, or null
    in_channels      of an image: 1 grey, 3 colours
    image_size       rows and columns of a prepared slice
    window           rows and columns of the windows of it that the network sees, or null for whole slices
    flips            whether it was trained on mirror images, of rows and of columns; null where that is not known
    intensity_range  what becomes -1 and 1, or null for each volume's percentiles
    classes, colours names and RGB of the classes, background first
    pictures         whether it was trained on pictures instead of scans
    epoch            of which the network is, and ``epochs``, ``steps`` of the whole training: a short one is a trial
    keep             which network that was, the ``best`` on validation or the ``last``
    validation       its scores on validation by name, or null

Cards of versions before 0.2 have ``filters``, ``blocks`` and ``dropout`` of a residual generator instead of the first
two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from acdc_semicycle.methods.network_description import MOST_BLOCKS, RESIDUAL, check, check_shapes
from acdc_semicycle.runtime.errors import InputError

CARD: dict[str, Any] = {  # the paper's
    "in_channels": 1,
    "image_size": [200, 200],
    "window": None,
    "flips": None,
    "intensity_range": None,
    "pictures": False,
    "colours": None,
}
CLASSES = ["background", "RV", "MYO", "LV"]
RESIDUAL_ARGUMENTS: dict[str, Any] = {"filters": 64, "blocks": 9, "dropout": 0.0}  # of cards before 0.2, the paper's


def _is_size(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number that fits in memory; larger ones would fill it, or hang."""
    return type(value) is int and least <= value <= 1 << 14


def _is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on."""
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    """Whether a value is a number in single precision, and neither a truth value nor NaN."""
    return type(value) in (int, float) and abs(value) < 1e38


def _is_range(value: Any) -> bool:
    """Whether a value is the lowest and the highest intensity."""
    return _is_list_of(value, _is_number, 2) and value[0] < value[1]


def _is_colour(value: Any) -> bool:
    """Whether a value is red, green and blue in 8 bits."""
    return _is_list_of(value, lambda part: type(part) is int and 0 <= part <= 255, 3)


def _is_list_of(value: Any, kind: Callable[[Any], bool], length: int) -> bool:
    """Whether a value is a list of so many items, each of a kind."""
    return isinstance(value, list) and len(value) == length and all(map(kind, value))


def _are_classes(value: Any) -> bool:
    """Whether a value is a list of two names or more."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(name, str) for name in value)


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what each value is, in words, and the check
    "filters": ("a whole number up to 16,384", _is_size),
    "blocks": (f"a whole number up to {MOST_BLOCKS}", lambda value: _is_size(value, 0) and value <= MOST_BLOCKS),
    "in_channels": ("a whole number up to 16,384", _is_size),
    "dropout": ("a number below 1", lambda value: _is_number(value) and 0 <= value < 1),
    "image_size": ("rows and columns", lambda value: _is_list_of(value, _is_size, 2)),
    "window": ("rows and columns or null", lambda value: value is None or _is_list_of(value, _is_size, 2)),
    "flips": ("true, false or null", lambda value: value is None or isinstance(value, bool)),
    "intensity_range": ("a lowest and a highest number, or null", lambda value: value is None or _is_range(value)),
    "classes": ("a list of names", _are_classes),
    "pictures": ("true or false", lambda value: isinstance(value, bool)),
    "epochs": ("a whole number", _is_count),
    "steps": ("a whole number", _is_count),
    "keep": ("best or last", lambda value: value in ("best", "last")),
    "validation": ("scores by name, or null", lambda value: value is None or isinstance(value, dict)),
}


def unfinished(card: Mapping[str, Any]) -> list[str]:
    """How far the training had come that keeps its last network; nothing where it ended, or where that is unknown."""
    epoch, epochs = card.get("epoch"), card.get("epochs")
    if card.get("keep") != "last" or not isinstance(epoch, int) or not isinstance(epochs, int) or epoch >= epochs:
        return []
    return [f"epoch {epoch} of {epochs}: the training has not ended"]


def complete(stored: dict[str, Any]) -> dict[str, Any]:
    """A card with every value; those that model.json does not have are the paper's.

    Raises:
        InputError: names the value that is not allowed, and what is.
    """
    card = CARD | {"classes": CLASSES} | stored
    card.pop("members", None)  # of a folder of folds, counted there: a stranger's number could fill the memory
    former = "network" not in stored
    if former:
        card = RESIDUAL_ARGUMENTS | card
    _check_values(card)
    if former:
        card |= _residual(card)
    card.setdefault("image_generator", None)
    _check_networks(card)
    return card


def _check_values(card: dict[str, Any]) -> None:
    """Refuse a value that ``RULES`` does not allow, and colours that are not one for each class."""
    for name, (words, allowed) in RULES.items():
        if name in card and not allowed(card[name]):
            raise InputError(f"has {name} {card[name]!r}, not {words}")
    colours = card["colours"]
    if colours is not None and not _is_list_of(colours, _is_colour, len(card["classes"])):
        raise InputError(f"has colours {colours!r}, not red, green and blue (0 to 255) of each class, or null")


def _check_networks(card: dict[str, Any]) -> None:
    """Refuse generators that do not fit the images and the classes."""
    structures, channels = len(card["classes"]), card["in_channels"]
    try:
        size = card["window"] or card["image_size"]
        _check_shapes(card["network"], channels, structures, size)
        if card["image_generator"] is not None:
            _check_shapes(card["image_generator"], structures, channels, size)
    except InputError as error:
        raise InputError(f"describes a network that cannot be used ({error})") from error


def _check_shapes(description: Any, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
    """Refuse a network that does not fit, once: hundreds of runs may have the same, and each check makes a network."""
    check(description)  # what is left is plain and small
    _check_shapes_of_text(json.dumps(description), in_channels, out_channels, tuple(size))


@lru_cache
def _check_shapes_of_text(description: str, in_channels: int, out_channels: int, size: tuple[int, ...]) -> None:
    """The same of a description as JSON."""
    check_shapes(json.loads(description), in_channels, out_channels, size)


def _residual(card: dict[str, Any]) -> dict[str, Any]:
    """The descriptions of both generators that a card before 0.2 gives."""
    arguments = {name: card.pop(name) for name in RESIDUAL_ARGUMENTS}
    sides = {"in_channels": card["in_channels"], "out_channels": len(card["classes"])}
    swapped = {"in_channels": sides["out_channels"], "out_channels": sides["in_channels"], "activation": "tanh"}
    return {
        "network": {"class": RESIDUAL, "arguments": sides | arguments},
        "image_generator": {"class": RESIDUAL, "arguments": swapped | arguments},
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
