"""Networks in plain words: what is made of them, and what is not."""

import json

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, FlexibleUNet, SegResNet, UNet
from torch import nn

from acdc_semicycle.methods import network_description
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


def test_the_papers_generator_is_found_to_fit_without_a_pass(monkeypatch):
    """Torch would load its compiler, in every command that opens a network."""
    monkeypatch.setattr(ResidualGenerator, "forward", lambda *_: pytest.fail("a pass on meta"))
    monkeypatch.setattr(torch.nn.init, "normal_", lambda *_: pytest.fail("weights were drawn"))
    check_shapes(RESIDUAL, 1, 4, (8, 12))
    check_shapes(describe(ResidualGenerator, {"in_channels": 4, "out_channels": 1, "activation": "tanh"}), 4, 1, (8, 8))


@pytest.mark.parametrize(
    ("more", "size", "words"),
    [
        ({"in_channels": 3}, (32, 32), r"does not take images of \[2, 1, 32, 32\]"),
        ({"out_channels": 3}, (32, 32), r"makes \[2, 3, 32, 32\] of \[2, 1, 32, 32\], expected \[2, 4, 32, 32\]"),
        ({"activation": "geglu"}, (32, 64), r"images of \[2, 1, 32, 64\] .*f32\[2,4,32,32\]"),  # it halves the columns
        ({}, (4, 32), r"does not take images of \[2, 1, 4, 32\] .*at least 8 x 8"),
    ],
)
def test_a_generator_that_does_not_fit_is_refused(more, size, words):
    description = describe(ResidualGenerator, RESIDUAL["arguments"] | {"filters": 2, "blocks": 1} | more)
    with pytest.raises(InputError, match=words):
        check_shapes(description, 1, 4, size)


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
        ({"class": RESIDUAL["class"], "arguments": {"filters": -(1 << 15)}}, "argument filters is -32768"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": (1 << 14) + 1}}, "argument filters is 16385"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": [2, -16384.5]}}, r"argument filters is \[2, -16384\.5"),
        ({"class": RESIDUAL["class"], "arguments": {"dropout": float("nan")}}, "argument dropout is nan"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": [[[[[[1]]]]]]}}, "argument filters is"),
        ({"class": RESIDUAL["class"], "arguments": {"filters": [1] * 65}}, "argument filters is"),
        ({"class": RESIDUAL["class"], "arguments": {"activation": {"_target_": "x"}}}, "argument activation is"),
        ({"class": RESIDUAL["class"], "arguments": {"device": "cpu"}}, "an argument 'device': give"),
        ({"class": RESIDUAL["class"], "arguments": {"dtype": None}}, "an argument 'dtype': give"),
        ({"class": RESIDUAL["class"], "arguments": {"_filters": 2}}, "an argument '_filters': give"),
        ({"class": RESIDUAL["class"], "arguments": {"a\nb": 2}}, r"an argument 'a.nb': give"),
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


def test_a_network_of_the_most_weights_is_made_and_one_of_a_weight_more_is_not(monkeypatch):
    description = describe(*SMALL["ResidualGenerator"][:2])
    weights = sum(weight.numel() for weight in build(description).parameters())
    assert network_description.MOST_WEIGHTS == 2**29
    monkeypatch.setattr(network_description, "MOST_WEIGHTS", weights)
    build(description)
    monkeypatch.setattr(network_description, "MOST_WEIGHTS", weights - 1)
    for function in (build, lambda given: check_shapes(given, 1, 4, (32, 32))):
        with pytest.raises(InputError, match=f"has {weights:,} weights: give at most {weights - 1:,}"):
            function(description)


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("UNet", {"strides": 2}, r"argument strides is 2: give a list of whole numbers above 0"),
        ("UNet", {"strides": None}, "argument strides is None: give a list"),
        ("UNet", {"strides": []}, r"argument strides is \[\]: give a list"),
        ("UNet", {"strides": ["a", 2]}, r"argument strides is \['a', 2\]: give a list"),
        ("UNet", {"strides": [0, 2]}, r"argument strides is \[0, 2\]: give a list"),
        ("UNet", {"strides": [[], 2]}, r"argument strides is \[\[\], 2\]: give a list"),
        ("UNet", {"strides": [[1, "a"], 2]}, r"argument strides is .*: give a list"),
        ("UNet", {"strides": [{"a": 1}, 2]}, r"argument strides is .*: give a list"),
        ("DynUNet", {"strides": "22"}, "argument strides is '22': give a list"),
        ("SegResNet", {"blocks_down": 3}, "argument blocks_down is 3: give a list"),
        ("SegResNet", {"blocks_down": []}, r"argument blocks_down is \[\]: give a list"),
        ("SegResNet", {"blocks_down": ["a", 1, 1]}, "argument blocks_down is .*: give a list"),
    ],
)
def test_arguments_that_say_no_size_multiple_are_refused(name, more, words):
    network_class, arguments, _ = SMALL[name]
    with pytest.raises(InputError, match=words) as caught:
        check_shapes(describe(network_class, arguments | more), 1, 4, (32, 32))
    assert "\n" not in str(caught.value)


def test_a_network_without_its_strides_is_refused():
    description = describe(*SMALL["UNet"][:2])
    del description["arguments"]["strides"]
    with pytest.raises(InputError, match="argument strides is None: give a list"):
        check_shapes(description, 1, 4, (32, 32))


def test_of_a_stride_for_each_axis_the_larger_counts():
    arguments = SMALL["UNet"][1] | {"strides": [[2, 4], 2]}
    assert size_multiple(describe(UNet, arguments)) == 8


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


@pytest.mark.parametrize(
    ("name", "more", "layers"),
    [
        ("ResidualGenerator", {"blocks": 257}, 257),
        ("SegResNet", {"blocks_down": [200, 50, 1, 1], "blocks_up": [4, 1, 0]}, 257),
        ("SegResNet", {"blocks_down": [300, -100, 1, 1]}, 402),
        ("SegResNet", {"blocks_up": [[257]]}, 257),
        ("UNet", {"num_res_units": 86}, 258),
        ("UNet", {"num_res_units": [300]}, 900),
    ],
)
def test_more_layers_than_the_budget_are_refused_before_any_is_made(monkeypatch, name, more, layers):
    arguments = SMALL[name][1]
    description = {"class": next(key for key in NETWORKS if key.endswith(f".{name}")), "arguments": arguments | more}
    description = json.loads(json.dumps(description))
    monkeypatch.setattr(network_description, "_made", lambda description: pytest.fail("it is made"))
    for function in (check, build, lambda given: check_shapes(given, 1, 4, (32, 32))):
        with pytest.raises(InputError, match=rf"has {layers} blocks: give at most 256"):
            function(description)


@pytest.mark.parametrize(
    ("name", "more"), [("ResidualGenerator", {"blocks": 256}), ("UNet", {"num_res_units": 85}), ("UNet", {})]
)
def test_as_many_layers_as_the_budget_are_no_fault(name, more):
    network_class, arguments, _ = SMALL[name]
    check(describe(network_class, arguments | more))


@pytest.mark.parametrize("key", ["device", "dtype"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_no_depth_of_the_arguments_says_where_memory_is_taken(monkeypatch, key, depth):
    norm = {"normalized_shape": [4096, 4096], key: "cpu"}
    for _ in range(depth):
        norm = ["layer", norm]
    name, arguments = "monai.networks.nets.UNet", SMALL["UNet"][1]
    description = json.loads(json.dumps({"class": name, "arguments": arguments | {"norm": norm}}))
    monkeypatch.setattr(network_description, "_made", lambda description: pytest.fail("it is made"))
    for function in (check, build, lambda given: check_shapes(given, 1, 4, (32, 32))):
        with pytest.raises(InputError, match=r"argument norm is .*: give plain numbers, names and lists of them"):
            function(description)


@pytest.mark.parametrize("size", [(4096, 4100), (16384, 16384)])
def test_more_pixels_than_fit_are_refused(size):
    description = describe(*SMALL["UNet"][:2])
    with pytest.raises(InputError, match=rf"image_size is \[{size[0]}, {size[1]}\]: give at most 16,777,216 pixels"):
        check_shapes(description, 1, 4, size)
    check_shapes(description, 1, 4, (4096, 4096))


def test_a_class_outside_the_list_is_refused_by_name():
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear is not in the list of those that can be"):
        describe(nn.Linear, {"in_features": 1, "out_features": 2})


def test_every_name_in_the_list_is_found_and_none_is_a_function():
    for name in NETWORKS:
        description = {"class": name, "arguments": {"no_such_argument": 1}}
        with pytest.raises(InputError, match="no_such_argument"):
            build(description)
