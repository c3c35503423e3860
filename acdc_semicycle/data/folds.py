"""A fold of the labelled patients: those whom a training leaves out, to be scored by a network that never saw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acdc_semicycle.runtime.errors import InputError, many


def leave_out(patients: Sequence[str], fold: Sequence[int]) -> tuple[list[str], list[str]]:
    """The labelled patients that a fold trains on, and those that it leaves out.

    Of all folds together each patient is left out once.

    Args:
        fold: its number from 0 on, and the count of folds: every count-th patient, from the number on, is left out.

    Raises:
        InputError: no such pair, fewer than two folds, more folds than patients, or a number that no fold has.
    """
    if not _is_pair(fold):
        raise InputError(f"split::fold is {fold!r}: give the number of a fold from 0 on, and their count, as [0, 3]")
    number, count = fold
    check_count(count, len(patients))
    if not 0 <= number < count:
        raise InputError(f"split::fold is {list(fold)}: give a number of 0 to {count - 1}")
    left_out = list(patients[number::count])
    return [patient for patient in patients if patient not in left_out], left_out


def check_count(count: int, patients: int) -> None:
    """Refuse a count of folds that so many labelled patients do not make.

    Raises:
        InputError: names the counts that they do make.
    """
    if patients < 2:
        raise InputError(f"{many(patients, 'labelled patient')}, and each fold leaves one out: give 2 or more")
    if not 2 <= count <= patients:
        raise InputError(f"{count} folds of {patients} labelled patients: give 2 to {patients}")


def _is_pair(value: Any) -> bool:
    """Whether a value is a list of two whole numbers."""
    return isinstance(value, list | tuple) and [type(item) for item in value] == [int, int]
