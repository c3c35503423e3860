"""The pages' templates, and how they write numbers."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

GENERATOR = '<meta name="generator" content="semicycle">'  # in every page, by which it is known for this program's


@cache
def environment() -> Environment:
    """Every value is escaped: names of cases come from the names of files."""
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    environment.filters["signed"] = signed
    return environment


def encoded(text: str) -> bytes:
    """A text in UTF-8, with ? for what is no Unicode: a file system may hold such names."""
    return text.encode("utf-8", "replace")


def number(value: Any, digits: int = 3) -> str:
    """A number, or several, as the page writes it; a dash where there is none."""
    if isinstance(value, list | tuple):
        return " → ".join(number(item, digits) for item in value) or "–"
    if not isinstance(value, int | float) or not math.isfinite(value):  # None, and what a template does not find
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, as the page writes it."""
    return f"{value:+.{digits}f}".replace("-", "−")
