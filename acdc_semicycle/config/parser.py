"""The parser and the workflow of the configuration that is being run.

MONAI hands an expression everything but the configuration it stands in: both are up the stack of calls.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow

from acdc_semicycle.runtime.errors import mistakes_alone

T = TypeVar("T")


def calling_parser() -> ConfigParser | None:
    """The parser that evaluates the expression from which this is called; None outside one."""
    return _calling(ConfigParser)


def calling_workflow() -> ConfigWorkflow | None:
    """The workflow that runs the configuration from which this is called; None outside one."""
    return _calling(ConfigWorkflow)


def _calling(kind: type[T]) -> T | None:
    """The nearest ``self`` of this kind among those whose methods are being called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, kind):
            return caller
        frame = frame.f_back
    return None


def value_of(parser: ConfigParser, key: str) -> Any:
    """The value of a key.

    Raises:
        InputError: a user's mistake, without what MONAI says about it.
    """
    with mistakes_alone():
        return parser.get_parsed_content(key)
