"""A network in plain words: its class, from a short list, and its arguments.

A network on disk is described by data of strangers, so nothing is made but what stands in ``NETWORKS``, of plain
arguments. No code of a description is ever run, and none of these classes reads a file or the network's weights.
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


def _strides(arguments: Arguments) -> int:
    """What a U-Net of these ``strides`` divides rows and columns by."""
    return math.prod(stride if isinstance(stride, int) else max(stride) for stride in arguments["strides"])


def _levels(arguments: Arguments) -> int:
    """The same of MONAI's SegResNet, which halves between the groups of ``blocks_down``."""
    return 2 ** (len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1)


NETWORKS: dict[str, Callable[[Arguments], int]] = {  # each with what rows and columns must be multiples of
    RESIDUAL: lambda arguments: 4,
    "monai.networks.nets.AttentionUnet": _strides,
    "monai.networks.nets.BasicUNet": lambda arguments: 16,
    "monai.networks.nets.DynUNet": _strides,
    "monai.networks.nets.FlexibleUNet": lambda arguments: 32,
    "monai.networks.nets.SegResNet": _levels,
    "monai.networks.nets.UNet": _strides,
}
NEVER = {  # arguments that are not supported: they would fetch weights from elsewhere, or give several label maps
    "pretrained": False,
    "deep_supervision": False,
}
OF_THE_MACHINE = ("checkpointing",)  # arguments that change no number
LARGEST, LONGEST, DEEPEST = 1 << 14, 64, 4  # number, list and nesting that arguments may have
MOST_WEIGHTS = 1 << 29  # 2 GiB in single precision


def describe(network_class: Any, arguments: Arguments) -> dict[str, Any]:
    """The description of a network of this class, made with these arguments.

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


def check(description: Any) -> None:
    """Refuse what is no description of a network in the list.

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


def _check_argument(name: Any, value: Any) -> None:
    """Refuse an argument that is not plain, or not supported."""
    if not _is_plain(value):
        raise InputError(
            f"the network's argument {name} is {_short(value)}: give plain numbers, names and lists of them"
        )
    if name in NEVER and value is not NEVER[name]:
        raise InputError(f"the network's argument {name} is {_short(value)}, which is not supported: give false")


def build(description: Any) -> nn.Module:
    """The network of a description, its weights drawn at random.

    Raises:
        InputError: it is not in the list, its arguments do not fit it, or it would fill the memory.
    """
    _on_meta(description)
    return _made(description)


def size_multiple(description: Any) -> int:
    """What rows and columns of the network's input must be multiples of."""
    check(description)
    return NETWORKS[description["class"]](description["arguments"])


def check_shapes(description: Any, in_channels: int, out_channels: int, image_size: Any) -> None:
    """Refuse a network that does not map [B, in_channels, H, W] to [B, out_channels, H, W]; computes nothing.

    Raises:
        InputError: names the shapes.
    """
    multiple = size_multiple(description)
    if any(length % multiple for length in image_size):
        raise InputError(f"image_size is {list(image_size)}: this network takes multiples of {multiple}")
    network = _on_meta(description).train()
    given = torch.empty(2, in_channels, *image_size, device="meta")
    try:
        with torch.no_grad():
            result = network(given)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network {description['class']} does not take images of {list(given.shape)} ({reason}): correct its"
            " arguments"
        ) from error
    expected, shape = [2, out_channels, *image_size], list(getattr(result, "shape", ()))
    if shape != expected:
        raise InputError(
            f"the network {description['class']} makes {shape} of {list(given.shape)}, expected {expected}: correct its"
            " arguments"
        )


def _on_meta(description: Any) -> nn.Module:
    """The network without memory for its weights.

    Raises:
        InputError: it would have more of them than ``MOST_WEIGHTS``.
    """
    with torch.device("meta"):
        network = _made(description)
    weights = sum(weight.numel() for weight in network.parameters())
    if weights > MOST_WEIGHTS:
        raise InputError(f"the network {_short(description)} has {weights:,} weights: give at most {MOST_WEIGHTS:,}")
    return network


def _made(description: Any) -> nn.Module:
    """The network of a description that has been checked."""
    check(description)
    network_class: Any = locate(description["class"])
    try:
        return network_class(**description["arguments"])
    except Exception as error:  # each network has its own ways to fail
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the network {description['class']} cannot be made of {_short(description['arguments'])}"
            f" ({type(error).__name__}: {reason}): correct its arguments"
        ) from error


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON has them, and the activation that configurations of before give as a module."""
    if isinstance(value, nn.Tanh):
        return "tanh"
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return value


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
    """Whether a key is a name, and none that means something to MONAI."""
    return isinstance(key, str) and not key.startswith(("$", "@", "%", "_"))


def _short(value: Any) -> str:
    """A value as Python writes it, cut after 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _names() -> str:
    """The names of all networks in the list."""
    return ", ".join(name.rpartition(".")[2] for name in NETWORKS)
