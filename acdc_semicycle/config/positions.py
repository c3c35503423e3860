"""References by position, which version 0.1 had: where parts have names now, they would land in another place."""

from __future__ import annotations

from typing import Any

from acdc_semicycle.runtime.errors import InputError

NAMES_SINCE = "handlers and transforms have names instead of numbers since 0.2"
NAMED = ("deterministic_transforms", "random_transforms", "views", "handler")  # sections of ``train``


def check_positions(config: dict[str, Any]) -> None:
    """Refuse numbers in the place of names, and handlers that were written over by position.

    Raises:
        InputError: names the key.
    """
    train = config.get("train")
    if not isinstance(train, dict):
        return
    for section in NAMED:
        parts = train.get(section)
        for key in parts if isinstance(parts, dict) else ():
            if key.isdecimal():
                raise InputError(
                    f"the configuration has train::{section}::{key}: {NAMES_SINCE}: give one, such as"
                    f" train::{section}::{_example(section)}"
                )
    if "handlers" in train:
        _check_handlers(train["handlers"])


def _example(section: str) -> str:
    """A name that a part of a section can have."""
    return {"handler": "decay", "deterministic_transforms": "resize", "views": "u"}.get(section, "affine")


def _check_handlers(handlers: Any) -> None:
    """Refuse a list of handlers without the named ones, and arguments that were meant for one of these."""
    if isinstance(handlers, str):  # an expression, or a reference
        return
    for handler in handlers if isinstance(handlers, list) else ():
        if not isinstance(handler, dict) or str(handler.get("_target_")).rpartition(".")[2] != "Handlers":
            continue
        foreign = [key for key in handler if not key.startswith("_") and key != "handlers"]
        if foreign:
            raise InputError(
                f"the configuration has {foreign[0]!r} in train::handlers, where the named handlers are: {NAMES_SINCE}:"
                f" give train::handler::NAME::{foreign[0]}, such as train::handler::decay::{foreign[0]}"
            )
        return
    raise InputError(
        f"train::handlers holds no acdc_semicycle.training.Handlers with @train::handler: {NAMES_SINCE}: give"
        " train::handler::NAME, such as train::handler::decay, instead of train::handlers"
    )
