"""Small charts in the page, as SVG: volumes over a cine's frames, Dice over slices, bars of the expected Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 300, 96  # of the lines alone, in units of the SVG
Point = tuple[float, float]  # right and down, in the same units


def chart(series: Mapping[int, Sequence[Any]], top: float | None = None) -> dict[str, Any]:
    """Lines for a template: each class's numbers from left to right; a line is interrupted where one is missing.

    Args:
        series: by class index, as many numbers each, None where there is none.
        top: the number at the upper edge; the lower edge is 0. By default a round one above all.
    """
    values = [value for numbers in series.values() for value in numbers if _is_number(value)]
    top = top or _round_up(max(values, default=1.0))
    count = max(map(len, series.values()), default=0)
    positions = [_position(index, count) for index in range(count)]
    lines, points = {}, {}
    for label, numbers in series.items():
        line: list[Point | None] = []
        for x, value in zip(positions, numbers, strict=True):
            line.append((x, round(HEIGHT * (1 - value / top), 1)) if _is_number(value) else None)
        lines[label] = _path(line)
        points[label] = list(filter(None, line))
    return {"top": top, "positions": positions, "lines": lines, "points": points, "width": WIDTH, "height": HEIGHT}


def bars(items: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Bars for a template: the ``dice`` of each item from left to right, with a whisker from ``low`` to ``high``.

    Args:
        items: None where there is no bar.
    """
    drawn = []
    for index, item in enumerate(items):
        if item is None:
            continue
        heights = {key: round(HEIGHT * (1 - float(item[key])), 1) for key in ("dice", "low", "high")}
        drawn.append({"index": index, "x": _position(index, len(items)), **heights})
    positions = [_position(index, len(items)) for index in range(len(items))]
    width = round(0.6 * WIDTH / len(items), 1)
    return {"bars": drawn, "bar_width": width, "positions": positions, "top": 1.0, "width": WIDTH, "height": HEIGHT}


def _position(index: int, count: int) -> float:
    """How far right one of so many numbers is drawn."""
    return round(WIDTH * (index + 0.5) / count, 1)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _round_up(value: float) -> float:
    """The next round number that is not below a positive one: 1, 1.5, 2, 3, 5 or 7.5 times a power of ten."""
    if value <= 0:
        return 1.0
    unit = 10 ** math.floor(math.log10(value))
    for factor in (1, 1.5, 2, 3, 5, 7.5):
        if value <= factor * unit:
            return float(factor * unit)
    return float(10 * unit)


def _path(line: Sequence[Point | None]) -> str:
    """The path through these points, interrupted where one is missing."""
    path, command = [], "M"
    for point in line:
        if point is None:
            command = "M"
            continue
        path.append(f"{command}{point[0]} {point[1]}")
        command = "L"
    return "".join(path)
