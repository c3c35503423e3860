"""What is wrong with the values of a configuration once its expressions are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acdc_semicycle.runtime.errors import InputError


def check_values(value_of: Callable[[str], Any]) -> None:
    """Refuse values that only show themselves once expressions are evaluated.

    Args:
        value_of: gives the value of a key.

    Raises:
        InputError: names the setting, the value and what is expected.
    """
    check_classes(value_of("classes"), value_of("colours"))
    check_numbers(value_of("image_size"), value_of("epochs"), value_of("val_interval"), value_of("batch_size"))
    check_window(value_of("window"))
    check_schedule(value_of("constant_epochs"), value_of("epochs"))


def check_output_dir(output_dir: Any) -> None:
    """Refuse a folder for a training whose name is not UTF-8: TensorBoard cannot write in it.

    Raises:
        InputError: names the folder.
    """
    name = str(output_dir)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"output_dir is {name!r}, which is not UTF-8: TensorBoard needs it, give another") from error


def check_numbers(image_size: Any, epochs: Any, val_interval: Any, batch_size: Any) -> None:
    """Refuse sizes and counts that would fail only after all data have been read.

    Raises:
        InputError: names the setting, what was given and what is expected.
    """
    counts = {"epochs": epochs, "val_interval": val_interval, "batch_size": batch_size}
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}: give a whole number of at least 1")
    if val_interval > epochs:
        raise InputError(f"val_interval is {val_interval}, more than the {epochs} epochs: no network would be chosen")
    if not _is_size(image_size):
        raise InputError(f"image_size is {image_size}: give rows and columns of at least 8, such as [200, 200]")


def check_window(window: Any) -> None:
    """Refuse a window of no size, or too small for a network.

    Raises:
        InputError: says what was given and what is expected.
    """
    if window is not None and not _is_size(window):
        raise InputError(f"window is {window}: give rows and columns of at least 8, such as [128, 128], or null")


def _is_size(value: Any) -> bool:
    """Whether a value is two whole numbers, large enough for a network."""
    lengths = value if isinstance(value, list | tuple) else [value]
    fitting = [length for length in lengths if type(length) is int and length >= 8]
    return len(lengths) == len(fitting) == 2


def check_schedule(constant_epochs: Any, epochs: int) -> None:
    """Refuse a constant learning rate for more epochs than there are, or for none that can be counted.

    Raises:
        InputError: says what was given and what is expected.
    """
    if type(constant_epochs) is not int or not 0 <= constant_epochs <= epochs:
        raise InputError(f"constant_epochs is {constant_epochs!r}: give a whole number of 0 to {epochs}, the epochs")


def check_classes(classes: Any, colours: Any) -> None:
    """Refuse class names that are no names, and colours that are not one for each.

    Raises:
        InputError: says what was given.
    """
    if not _are_names(classes) or len(classes) < 2:
        raise InputError(f"classes is {classes!r}: give two names or more, the background first")
    if len(set(classes)) < len(classes) or "background" in map(str.lower, classes[1:]):
        raise InputError(f"classes is {list(classes)}: give each its own name, and background, if there is one, first")
    check_colours(colours)
    if colours is not None and len(colours) != len(classes):
        raise InputError(
            f"colours has {len(colours)} entries for {len(classes)} classes: give one RGB for each, or null"
        )


def _are_names(classes: Any) -> bool:
    """Whether a value is a list of names."""
    return isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)


def check_colours(colours: Any) -> None:
    """Refuse what is no list of colours, and not null.

    Raises:
        InputError: says what was given.
    """
    if colours is None:
        return
    if not isinstance(colours, list | tuple) or not all(map(_is_colour, colours)):
        raise InputError(f"colours is {colours!r}: give [red, green, blue] of each class, from 0 to 255, or null")


def _is_colour(colour: Any) -> bool:
    """Whether a value is red, green and blue in 8 bits."""
    if not isinstance(colour, list | tuple) or len(colour) != 3:
        return False
    return all(type(part) is int and 0 <= part <= 255 for part in colour)
