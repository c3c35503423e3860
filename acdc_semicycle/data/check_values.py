"""Masks whose values are no classes: one line where they are many, with the setting to give."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from acdc_semicycle.data.labels import UnknownValues, in_full
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import some

SHOWN = 3  # names of masks
MOST = 12  # values in a line


def texts(
    masks: Mapping[Path, UnknownValues], known_values: Collection[int], classes: int | None
) -> Iterator[tuple[Path, str]]:
    """What is wrong with masks that expect the same values: of a few a line each, of many one line for all.

    Args:
        masks: each with what is wrong with it, at least one.
        known_values: of the other masks of the data set.
        classes: their number; None where mask_values are given already, or no classes.
    """
    values = {value for fault in masks.values() for value in fault.values}
    setting = None if classes is None else suggested({*values, *known_values}, classes)
    advice = f". Give {setting}" if setting else ""
    if len(masks) <= SHOWN:
        for path, fault in masks.items():
            yield path, f"{fault}{advice}"
        return
    first, *_ = masks
    unknown = {value for fault in masks.values() for value in fault.unknown}
    labels = f"label{'s' * (len(unknown) > 1)} {_in_words(unknown)}"
    yield (
        first,
        f"{len(masks)} masks hold the {labels} (all values: {_in_words(values)}), e.g. {some(list(masks), SHOWN)}:"
        f" expected {masks[first].expected}{advice}",
    )


def _in_words(values: Collection[float | int]) -> str:
    """The lowest of several values, and how many more there are."""
    return some([in_full(value) for value in sorted(values)], MOST)


def suggested(values: Collection[float | int], classes: int) -> str | None:
    """The option that makes classes of these values; None where they do not tell which."""
    whole = sorted(int(value) for value in values)
    if whole != sorted(values):
        return None
    if len(whole) == classes:
        return f"{_option(whole, range(classes))} if that is their order"
    others = [value for value in whole if value != IGNORED]
    if others != whole and set(others) <= set(range(classes)):
        return f"{_option([*range(classes), IGNORED], [*range(classes), IGNORED])} if {IGNORED} means not annotated"
    return None


def _option(values: Sequence[int], classes: Sequence[int]) -> str:
    """``--mask_values`` as it is pasted into a command."""
    pairs = [f"'{value}':{index}" for value, index in zip(values, classes, strict=True)]
    return f'--mask_values "{{{",".join(pairs)}}}"'
