"""The networks of the configuration that is being run, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acdc_semicycle.config.parser import calling_parser
from acdc_semicycle.config.validate import CODE, target_of
from acdc_semicycle.methods.network_description import NETWORKS, check_shapes, describe
from acdc_semicycle.runtime.errors import InputError


def network_card(name: str) -> dict[str, Any] | None:
    """The class and the arguments of the network at a key of the configuration; None where nothing is there.

    Raises:
        InputError: it is not in the list of networks that can be stored and used.
    """
    parser = calling_parser()
    assert parser is not None, "it is called in an expression of a configuration"
    component = parser.get(name, None)
    if component is None:
        return None
    if not isinstance(component, dict) or "_target_" not in component:
        raise InputError(f"{name} is {component!r}: give a network, its _target_ and its arguments")
    arguments = {}
    for key in component:
        if not key.startswith("_"):
            arguments[key] = parser.get_parsed_content(f"{name}::{key}")
    return describe(target_of(component), arguments)


def check_classes(config: Mapping[str, Any]) -> None:
    """Refuse networks of a class that is not in the list, before their arguments are looked at.

    Raises:
        InputError: names the class, and those in the list.
    """
    objective = config.get("objective_def")
    image_generator = objective.get("G_SI") if isinstance(objective, dict) else None
    for name, component in (("network_def", config.get("network_def")), ("objective_def::G_SI", image_generator)):
        if not isinstance(component, dict):
            continue  # is refused later where it must not be
        target = component.get("_target_")
        if not isinstance(target, str) or target.startswith(CODE):
            continue
        network_class = target_of(component)
        if network_class is None:
            names = ", ".join(path.rpartition(".")[2] for path in NETWORKS)
            raise InputError(f"{name} is {target}, which is not in the list of networks: give {names}")
        describe(network_class, {})


def check_networks() -> None:
    """Refuse networks that cannot be stored and used, or that do not fit the images, before anything is read.

    Raises:
        InputError: names the network, and what does not fit.
    """
    parser = calling_parser()
    assert parser is not None, "it is called in an expression of a configuration"
    channels, classes, image_size, window = (
        parser.get_parsed_content(name) for name in ("channels", "class_count", "image_size", "window")
    )
    if window is None and parser.get("train::augment::size", None) == "@window":
        raise InputError("window is null, and train::augment draws windows: give rows and columns, such as [128, 128]")
    size, name = (image_size, "image_size") if window is None else (window, "window")
    segmenter, image_generator = network_card("network_def"), network_card("objective_def::G_SI")
    if segmenter is None:
        raise InputError("network_def is not given: give a network, its _target_ and its arguments")
    check_shapes(segmenter, channels, classes, size, name)
    if image_generator is not None:
        check_shapes(image_generator, classes, channels, size, name)
