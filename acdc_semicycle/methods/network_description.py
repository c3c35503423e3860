"""A network in plain words: its class, from a short list, and its arguments.

A network on disk is described by data of strangers: no code of it is run, and it can neither fill the memory nor hang.
It is made in four steps, and this file has them in this order. None of the classes reads a file.

    1. bound     the class is in ``NETWORKS``, the arguments are plain, few and small (:func:`check`)
    2. on meta   the class takes the arguments; weights have shapes, and no memory
    3. count     there are not too many weights
    4. make      in memory, the weights drawn at random (:func:`build`)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pydoc import locate
from typing import Any

import torch
from torch import nn

from acdc_semicycle.runtime.errors import InputError

RESIDUAL = "acdc_semicycle.methods.ResidualGenerator"
Arguments = Mapping[str, Any]

NEVER = {  # arguments that are not supported: they would fetch weights from elsewhere, or give several label maps
    "pretrained": False,
    "deep_supervision": False,
}
OF_MEMORY = ("device", "dtype")  # arguments by which torch would take memory for a network on meta, too
OF_THE_MACHINE = ("checkpointing",)  # arguments that change no number
LARGEST, LONGEST, DEEPEST = 1 << 14, 64, 4  # number, list and nesting that arguments may have
MOST_BLOCKS = 256  # more take seconds to make, even without weights
MOST_WEIGHTS = 1 << 29  # 2 GiB in single precision
MOST_PIXELS = 1 << 24  # 4096 x 4096: 4 GiB for the first layer of the paper's network, and 64 for 16384 x 16384


def _strides(arguments: Arguments) -> int:
    """What a U-Net of these ``strides`` divides rows and columns by: of two in one level, the larger counts."""
    return math.prod(stride if isinstance(stride, int) else max(stride) for stride in _levels(arguments, "strides"))


def _halvings(arguments: Arguments) -> int:
    """The same of MONAI's SegResNet, which halves between the groups of ``blocks_down``."""
    return 2 ** (len(_levels({"blocks_down": [1, 2, 2, 4], **arguments}, "blocks_down")) - 1)


def _levels(arguments: Arguments, name: str) -> list[Any]:
    """An argument's sizes in each level of the network; an InputError where they are none."""
    levels = arguments.get(name)
    if not isinstance(levels, list) or not levels or not all(map(_are_sizes, levels)):
        raise InputError(f"the network's argument {name} is {_short(levels)}: give a list of whole numbers above 0")
    return levels


def _are_sizes(level: Any) -> bool:
    """Whether a value is a whole number above 0, or a list of such, one for each axis."""
    axes = level if isinstance(level, list) else [level]
    return bool(axes) and all(type(axis) is int and axis > 0 for axis in axes)


NETWORKS: dict[str, Callable[[Arguments], int]] = {  # each with what rows and columns must be multiples of
    RESIDUAL: lambda arguments: 4,
    "monai.networks.nets.AttentionUnet": _strides,
    "monai.networks.nets.BasicUNet": lambda arguments: 16,
    "monai.networks.nets.DynUNet": _strides,
    "monai.networks.nets.FlexibleUNet": lambda arguments: 32,
    "monai.networks.nets.SegResNet": _halvings,
    "monai.networks.nets.UNet": _strides,
}


def describe(network_class: Any, arguments: Arguments) -> dict[str, Any]:
    """The description of a network of this class, made with these arguments of a configuration, whose code has run.

    Raises:
        InputError: the class is not in ``NETWORKS``, or an argument is not plain.
    """
    for name in NETWORKS:
        if locate(name) is network_class:
            plain = {key: _listed(value) for key, value in arguments.items() if key not in OF_THE_MACHINE}
            description = {"class": name, "arguments": plain}
            check(description)
            return description
    given = f"{network_class.__module__}.{network_class.__qualname__}"
    raise InputError(f"the network {given} is not in the list of those that can be stored and used: give {_names()}")


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON has them, and the activation that configurations of before give as a module."""
    if isinstance(value, nn.Tanh):
        return "tanh"
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return value


def check(description: Any) -> None:
    """Step 1: refuse what is no description of a network in the list, or asks for too many blocks. Trusts nothing.

    Raises:
        InputError: says what was given and what is expected.
    """
    if not isinstance(description, Mapping) or set(description) != {"class", "arguments"}:
        raise InputError(f"a network is described as {_short(description)}: give its class and arguments")
    if not isinstance(description["class"], str) or description["class"] not in NETWORKS:
        raise InputError(f"the network {_short(description['class'])} is not in the list: give {_names()}")
    arguments = description["arguments"]
    if not isinstance(arguments, Mapping):
        raise InputError(f"the arguments of a network are {_short(arguments)}: give names and values")
    for name, value in arguments.items():
        _check_argument(name, value)
    blocks = _blocks(arguments)
    if blocks > MOST_BLOCKS:
        raise InputError(f"the network {description['class']} has {blocks:,} blocks: give at most {MOST_BLOCKS}")


def _check_argument(name: Any, value: Any) -> None:
    """Refuse an argument that is not plain, or not supported."""
    if not _is_plain_key(name):
        raise InputError(f"the network has an argument {_short(name)}: give names of what its class is made of")
    given = f"the network's argument {name} is {_short(value)}"
    if not _is_plain(value):
        raise InputError(f"{given}: give plain numbers, names and lists of them")
    if name in NEVER and value is not NEVER[name]:
        raise InputError(f"{given}, which is not supported: give false")


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is a number, a name, or lists of such, of sizes that no network exceeds."""
    if not isinstance(value, list | Mapping):
        return _is_plain_scalar(value)
    if depth == DEEPEST or len(value) > LONGEST:
        return False
    items: Iterable[Any] = value
    if isinstance(value, Mapping):
        if not all(map(_is_plain_key, value)):
            return False
        items = value.values()
    return all(_is_plain(item, depth + 1) for item in items)


def _is_plain_scalar(value: Any) -> bool:
    """Whether a value is a number or a name, not too large and no expression of MONAI's."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return abs(value) <= LARGEST
    return isinstance(value, str) and len(value) <= LONGEST and not value.startswith(("$", "@", "%"))


def _is_plain_key(key: Any) -> bool:
    """Whether a key is an argument's name, and none that means something to MONAI or that torch takes memory by."""
    return isinstance(key, str) and key.isidentifier() and not key.startswith("_") and key not in OF_MEMORY


def _blocks(arguments: Arguments) -> int:
    """How many blocks of layers the arguments ask for, apart from the at most ``LONGEST`` levels."""
    blocks = sum(_total(arguments.get(name)) for name in ("blocks", "blocks_down", "blocks_up"))
    channels = arguments.get("channels")
    levels = len(channels) if isinstance(channels, list) else 1
    return blocks + levels * _total(arguments.get("num_res_units"))


def _total(value: Any) -> int:
    """The sum of a number's size, or of all in a list; 0 of what is neither."""
    if isinstance(value, list):
        return sum(map(_total, value))
    return abs(int(value)) if isinstance(value, int | float) else 0


def size_multiple(description: Any) -> int:
    """What rows and columns of the input must be multiples of; an InputError as of :func:`check`. Trusts nothing."""
    check(description)
    return NETWORKS[description["class"]](description["arguments"])


def check_shapes(
    description: Any, in_channels: int, out_channels: int, image_size: Any, name: str = "image_size"
) -> None:
    """Refuse a network that does not map [B, in_channels, H, W] to [B, out_channels, H, W]; computes nothing.

    Steps 1 to 3, and a pass on meta where the shapes are not known without one. Trusts that the channels and
    ``image_size`` are whole numbers; not their size.

    Args:
        name: of the setting that ``image_size`` is.

    Raises:
        InputError: names the shapes.
    """
    if math.prod(image_size) > MOST_PIXELS:
        raise InputError(f"{name} is {list(image_size)}: give at most {MOST_PIXELS:,} pixels")
    multiple = size_multiple(description)
    if any(length % multiple for length in image_size):
        raise InputError(f"{name} is {list(image_size)}: this network takes multiples of {multiple}")
    network = _on_meta(description).train()
    if _is_fitting_generator(description, in_channels, out_channels, image_size):
        return
    network_name, given = description["class"], [2, in_channels, *image_size]
    try:
        with torch.no_grad():
            result = network(torch.empty(given, device="meta"))
    except Exception as error:  # each network has its own ways to fail
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network {network_name} does not take images of {given} ({reason}): correct its arguments"
        ) from error
    expected, shape = [2, out_channels, *image_size], list(getattr(result, "shape", ()))
    if shape != expected:
        raise InputError(
            f"the network {network_name} makes {shape} of {given}, expected {expected}: correct its arguments"
        )


def _is_fitting_generator(description: Any, in_channels: int, out_channels: int, image_size: Any) -> bool:
    """Whether it is the paper's generator, whose shapes are known: a pass on meta has torch load its compiler first."""
    arguments = description["arguments"]
    sides = (arguments.get("in_channels"), arguments.get("out_channels"))
    if description["class"] != RESIDUAL or arguments.get("activation") not in (None, "tanh"):
        return False
    return sides == (in_channels, out_channels) and min(image_size) >= 8


def _on_meta(description: Any) -> nn.Module:
    """Steps 1 to 3: the network without memory for its weights, or an InputError. Trusts nothing."""
    check(description)
    with torch.device("meta"):
        network = _made(description)
    weights = sum(weight.numel() for weight in network.parameters())
    if weights > MOST_WEIGHTS:
        raise InputError(f"the network {_short(description)} has {weights:,} weights: give at most {MOST_WEIGHTS:,}")
    return network


def layers_of_classes(description: Any) -> set[str]:
    """The names of the weights whose first axis is the classes: those that one class more would change.

    Raises:
        InputError: as of :func:`build`.
    """
    arguments = description["arguments"]
    more = {"class": description["class"], "arguments": {**arguments, "out_channels": arguments["out_channels"] + 1}}
    shapes, other_shapes = _on_meta(description).state_dict(), _on_meta(more).state_dict()
    return {name for name, weight in shapes.items() if weight.shape != other_shapes[name].shape}


def build(description: Any) -> nn.Module:
    """The network of a description, its weights drawn at random. Trusts nothing: all four steps.

    Raises:
        InputError: it is not in the list, its arguments do not fit it, or it would fill the memory.
    """
    _on_meta(description)
    return _made(description)


def _made(description: Any) -> nn.Module:
    """Step 4, or step 2 on meta: trusts that the description is bounded, not that its class takes the arguments."""
    network_class: Any = locate(description["class"])
    try:
        return network_class(**description["arguments"])
    except Exception as error:  # each network has its own ways to fail
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network {description['class']} cannot be made of {_short(description['arguments'])}"
            f" ({type(error).__name__}: {reason}): correct its arguments"
        ) from error


def _short(value: Any) -> str:
    """A value as Python writes it, cut after 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _names() -> str:
    """The names of all networks in the list."""
    return ", ".join(name.rpartition(".")[2] for name in NETWORKS)
