"""Networks in plain words: what is made of them, and what is not."""

import json

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, FlexibleUNet, SegResNet, UNet
from torch import nn

from acdc_semicycle.methods.network_description import NETWORKS, build, check, check_shapes, describe, size_multiple
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

SMALL = {
    "ResidualGenerator": (ResidualGenerator, {"in_channels": 1, "out_channels": 4, "filters": 4, "blocks": 1}, 4),
    "BasicUNet": (
        BasicUNet,
        {"spatial_dims": 2, "in_channels": 1, "out_channels": 4, "features": (4, 4, 8, 8, 16, 4)},
        16,
    ),
    "DynUNet": (
        DynUNet,
        {
            "spatial_dims": 2, "in_channels": 1, "out_channels": 4, "filters": [4, 8, 8], "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
        },
        4,
    ),
    "FlexibleUNet": (FlexibleUNet, {"in_channels": 1, "out_channels": 4, "backbone": "resnet10"}, 32),
    "SegResNet": (SegResNet, {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 4}, 8),
    "UNet": (
        UNet,
        {"spatial_dims": 2, "in_channels": 1, "out_channels": 4, "channels": (4, 8, 16), "strides": (2, 2)},
        4,
    ),
}  # fmt: skip
RESIDUAL = {"class": "acdc_semicycle.methods.ResidualGenerator", "arguments": {"in_channels": 1, "out_channels": 4}}


@pytest.mark.parametrize("name", SMALL)
def test_a_network_and_its_description_are_one(name):
    network_class, arguments, multiple = SMALL[name]
    description = json.loads(json.dumps(describe(network_class, arguments)))
    made, expected = build(description), network_class(**arguments)
    assert type(made) is network_class
    made.load_state_dict(expected.state_dict())
    size = (multiple, 2 * multiple) if multiple >= 32 else (32, 48)
    check_shapes(description, 1, 4, size)
    x = torch.randn(2, 1, *size)
    assert torch.equal(made.eval()(x), expected.eval()(x))
    assert size_multiple(description) == multiple


@pytest.mark.parametrize("name", SMALL)
def test_a_size_that_is_no_multiple_is_refused(name):
    network_class, arguments, multiple = SMALL[name]
    with pytest.raises(InputError, match=f"this network takes multiples of {multiple}"):
        check_shapes(describe(network_class, arguments), 1, 4, (multiple * 4, multiple * 4 - 1))


def test_an_activation_of_before_is_a_name_now():
    given = {"in_channels": 4, "out_channels": 1, "filters": 2, "blocks": 1, "activation": nn.Tanh()}
    description = describe(ResidualGenerator, given)
    assert description["arguments"]["activation"] == "tanh"
    assert type(build(description).layers[-1]) is nn.Tanh


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("BasicUNet", "described as 'BasicUNet': give its class and arguments"),
        ({"class": "BasicUNet"}, "give its class and arguments"),
        ({"class": "os.system", "arguments": {}}, "'os.system' is not in the list: give ResidualGenerator, "),
        ({"class": "torch.nn.Linear", "arguments": {}}, "'torch.nn.Linear' is not in the list"),
        ({"class": ["a"], "arguments": {}}, "is not in the list"),
        ({"class": RESIDUAL["class"], "arguments": [1]}, r"arguments of a network are \[1\]"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": "$print(1)"}}, "argument filters is '.print"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": 1 << 20}}, "argument filters is 1048576"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": [[[[[[1]]]]]]}}, "argument filters is"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": [1] * 65}}, "argument filters is"),
        ({"class": RESIDUAL["class"], "arguments": {"activation": {"_target_": "x"}}}, "argument activation is"),
        (
            {"class": "monai.networks.nets.FlexibleUNet", "arguments": {"pretrained": True}},
            "argument pretrained is True, which is not supported: give false",
        ),
        (
            {"class": "monai.networks.nets.DynUNet", "arguments": {"deep_supervision": True}},
            "argument deep_supervision is True, which is not supported: give false",
        ),
    ],
)  # fmt: skip
def test_what_is_no_description_is_refused(description, words):
    for function in (check, build):
        with pytest.raises(InputError, match=words) as caught:
            function(description)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "cannot be made of {} .*TypeError"),
        ({"in_channels": 1, "out_channels": 4, "rows": 3}, "cannot be made of .*rows"),
        ({"in_channels": 1, "out_channels": 4, "filters": 16384}, "weights: give at most 536,870,912"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_memory_is_taken(arguments, words):
    with pytest.raises(InputError, match=words):
        build(RESIDUAL | {"arguments": arguments})


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("BasicUNet", {"spatial_dims": 3}, "does not take images of"),
        ("BasicUNet", {"out_channels": 3}, r"makes \[2, 3, 32, 32\] of \[2, 1, 32, 32\], expected \[2, 4, 32, 32\]"),
        ("BasicUNet", {"in_channels": 3}, "does not take images of"),
        ("DynUNet", {"deep_supervision": True, "deep_supr_num": 1}, "deep_supervision is True, which is not supp"),
    ],
)
def test_a_network_of_other_shapes_is_refused_before_anything_is_computed(name, more, words):
    network_class, arguments, _ = SMALL[name]
    with pytest.raises(InputError, match=words):
        check_shapes(describe(network_class, arguments | more), 1, 4, (32, 32))


def test_a_class_outside_the_list_is_refused_by_name():
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear is not in the list of those that can be"):
        describe(nn.Linear, {"in_features": 1, "out_features": 2})


def test_every_name_in_the_list_is_found_and_none_is_a_function():
    for name in NETWORKS:
        description = {"class": name, "arguments": {"no_such_argument": 1}}
        with pytest.raises(InputError, match="no_such_argument"):
            build(description)
