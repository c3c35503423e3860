"""The words of a grid such as ``"acdc labels=10,20 method=partial,semicycle"``."""

from __future__ import annotations

from collections.abc import Collection

from acdc_semicycle.runtime.errors import InputError


def taken_apart(spec: str, example: str) -> tuple[str, dict[str, str]]:
    """The data sets of a grid, and its labels and methods by name, each as one text.

    Args:
        example: of words that are understood, for the error.

    Raises:
        InputError: names the word that is not understood.
    """
    first, *rest = spec.split() or [""]
    texts = {"labels": "", "method": ""}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in texts or not value:
            raise InputError(f"--only {spec!r} has {word!r}: give {example}")
        texts[key] = value
    return first, texts


def listed(text: str) -> list[str]:
    """The words between a text's commas."""
    return list(filter(None, text.split(",")))


def one_of(name: str, names: Collection[str], kind: str) -> str:
    """A name, if it is one of those known.

    Raises:
        InputError: it is none, and names those that are known.
    """
    if name not in names:
        raise InputError(f"{name!r} is no {kind}: give one of {', '.join(names)}")
    return name
