"""Handlers by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine


class Handlers:
    """Several handlers by their names, attached in the order in which they stand; None leaves one out."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self.handlers = handlers

    def attach(self, engine: Engine) -> None:
        """Attach each of them."""
        for handler in self.handlers.values():
            if handler is not None:
                handler.attach(engine)
