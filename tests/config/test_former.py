"""Names that have changed: the former ones do what they did, and say so."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from acdc_semicycle import quirks
from acdc_semicycle.artifacts import weights
from acdc_semicycle.config import former
from acdc_semicycle.config.former_keys import KEYS
from acdc_semicycle.config.overlays import check_sections
from acdc_semicycle.config.validate import check
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]


def parser_of(**override) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles/semicycle/configs/train.json")
    parser.update(override)
    former.understand(parser)
    check(parser.get())
    return parser


@pytest.mark.parametrize(
    ("key", "value", "now"),
    [
        ("by", "slice", "split_unit"),
        ("chosen_by", "iou", "selection_metric"),
        ("steps_an_epoch", 7, "steps_per_epoch"),
        ("history_size", 3, "pool_size"),
        ("history_seed", 5, "pool_seed"),
    ],
)
def test_a_former_key_sets_the_present_one_and_says_so(key, value, now, caplog):
    assert parser_of(**{key: value}).get_parsed_content(now) == value
    assert caplog.messages == [f"{key} is now called {now}: the former name is understood until 0.3"]


def test_what_became_arguments_of_networks_still_reaches_them():
    parser = parser_of(
        d_norm="$torch.nn.InstanceNorm2d", history="$quirks.BatchPool", sampler="$quirks.RepeatedSampler",
        imports=["$import acdc_semicycle.bundle as bundle", "$import acdc_semicycle.quirks as quirks"],
    )  # fmt: skip
    for judge in ("D_S", "D_I"):
        modules = list(parser.get_parsed_content(f"objective_def::{judge}").modules())
        assert any(isinstance(module, torch.nn.InstanceNorm2d) for module in modules)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in modules)
    assert type(parser.get_parsed_content("objective_def").pool_S) is quirks.BatchPool
    assert parser.get_parsed_content("train::dataloader::sampler") is quirks.RepeatedSampler


def test_a_norm_of_discriminators_means_nothing_to_a_method_without_them():
    parser = parser_of(
        d_norm="$torch.nn.InstanceNorm2d",
        objective_def={"_target_": "acdc_semicycle.methods.Supervised"},
        weights={"gen_S": 1.0},
    )
    assert parser.get("objective_def") == {"_target_": "acdc_semicycle.methods.Supervised"}


@pytest.mark.parametrize(
    ("key", "value", "now", "other"),
    [("by", "patient", "split_unit", "slice"), ("history_size", 3, "pool_size", 7),
     ("steps_an_epoch", 7, "steps_per_epoch", 200)],
)  # fmt: skip
def test_a_former_key_beside_another_value_of_the_present_one_is_refused(key, value, now, other):
    with pytest.raises(InputError) as caught:
        parser_of(**{key: value, now: other})
    assert str(caught.value) == f"{key} is {value!r} and {now} {other!r}: {key} is the former name, remove it"
    assert parser_of(**{key: other, now: other}).get_parsed_content(now) == other


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_command_that_gives_a_former_key_and_the_present_one_is_refused(tmp_path, key):
    train, mine = ROOT / "bundles/semicycle/configs/train.json", tmp_path / "mine.yaml"
    now = KEYS[key][-1]
    check_sections([train], [f"--{key}", "$1"])
    words = f"both {key} and {now} are given, and {key} is the former name: remove {key}"
    with pytest.raises(InputError, match=words):
        check_sections([train], [f"--{key}", "$1", f"--{now}=$1"])
    mine.write_text(f"{key}: $1\n")
    with pytest.raises(InputError, match=words):
        check_sections([train, mine], [f"--{now}=$1"])
    mine.write_text(f"{key}: $1\n{now}: $1\n")
    with pytest.raises(InputError, match=words):
        check_sections([train, mine], [])


@pytest.mark.parametrize(
    ("key", "target", "method"),
    [
        ("history", "objective_def::image_pool", {"_target_": "acdc_semicycle.methods.Supervised"}),
        ("d_norm", "objective_def::D_S::norm",
         {"_target_": "acdc_semicycle.methods.Hung",
          "D_S": {"_target_": "acdc_semicycle.methods.FullyConvolutionalDiscriminator"}}),
    ],
)  # fmt: skip
def test_a_former_key_that_the_method_does_not_take_is_refused_by_that_key(key, target, method):
    name = (method.get("D_S") or method)["_target_"].rpartition(".")[2]
    with pytest.raises(InputError) as caught:
        parser_of(**{key: "$print", "objective_def": method})
    assert str(caught.value) == f"{key} is now {target}, which {name} does not take: remove {key}"


CALLED = {  # by expressions of version 0.1, which an overlay may have copied
    "acdc": "CLASSES COLOURS", "cache": "contents", "check": "read_acdc", "dataclasses": "asdict",
    "distributed": "begin check_device device end rank", "from_engine": "__call__", "history": "History",
    "models": "card newest_model open_model", "os": "environ", "pairs": "EpochSampler", "places": "folder",
    "records": "BY_SLICE", "settings": "check_classes check_numbers check_schedule",
    "splits": "cut load scored", "trainer": "linear_decay poly_decay", "transforms": "is_picture",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(former.IMPORTS))
def test_what_version_0_1_called_is_there(name):
    scope: dict = {}
    exec(former.IMPORTS[name].removeprefix("$"), scope)
    for attribute in CALLED[name].split():
        assert hasattr(scope[name], attribute), attribute


def test_quirks_that_the_official_overlay_of_version_0_1_named_are_there():
    names = "BatchHistory RepeatedSampler NOTE VOC_VALUES CITYSCAPES_CLASSES CITYSCAPES_COLOURS CITYSCAPES_VALUES"
    assert [name for name in f"{names} betas decay split".split() if not hasattr(quirks, name)] == []


def test_a_section_that_looks_a_former_key_up_gets_it_there_alone():
    own = {
        "_target_": "acdc_semicycle.quirks.IndexJudge",
        "judge": {"_target_": "acdc_semicycle.networks.PixelDiscriminator", "in_channels": 1, "norm": "@d_norm"},
    }
    parser = parser_of(d_norm="$torch.nn.InstanceNorm2d", **{"objective_def::D_S": own})
    for judge in ("D_S", "D_I"):
        modules = list(parser.get_parsed_content(f"objective_def::{judge}").modules())
        assert any(isinstance(module, torch.nn.InstanceNorm2d) for module in modules), judge
    assert "norm" not in parser.get("objective_def::D_S")


def test_expressions_may_call_the_modules_they_could_call():
    parser = parser_of(
        lr_decay="$trainer.poly_decay(@epochs)", dataset_dir="$os.environ.get('ZZZ')",
        seed="$len(dataclasses.fields(splits.Split))",
    )  # fmt: skip
    assert parser.get_parsed_content("lr_decay")(10) == 0
    assert parser.get_parsed_content("dataset_dir") is None
    assert parser.get_parsed_content("seed") == 4


def test_a_name_that_is_imported_is_left_alone():
    imports = ["$import acdc_semicycle.bundle as bundle", "$import math as trainer"]
    parser = parser_of(imports=list(imports), seed="$trainer.floor(2.5)")
    assert parser.get("imports") == imports
    assert parser.get_parsed_content("seed") == 2


def test_a_component_under_its_former_name_may_have_what_the_bundle_gives_it():
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles/semicycle/configs/inference.json")
    parser["inferer::_target_"] = "acdc_semicycle.refine.FlipInferer"  # takes what SliceInferer takes, by ** alone
    check(parser.get())


def test_the_bundle_of_an_old_zip_builds_the_networks_that_its_card_describes(tmp_path):
    def generator(**arguments) -> dict:
        return {"_target_": "acdc_semicycle.networks.ResidualGenerator", "filters": "$@card['filters']", **arguments}

    (tmp_path / "model.json").write_text('{"filters": 2, "blocks": 1}')
    weights.save(tmp_path / "model.pt", ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    weights.save(tmp_path / "painter.pt", ResidualGenerator(4, 1, filters=2, blocks=1).state_dict())
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles/semicycle/configs/inference.json")
    parser.update(
        {
            "checkpoint": str(tmp_path / "model.pt"),
            "network_def": generator(in_channels=1, out_channels=4),
            "painter_def": generator(in_channels=4, out_channels=1, activation={"_target_": "torch.nn.Tanh"}),
            "painter": "$@painter_def.to(@device) if @cycle and @model.painter() else None",
            "run": ["$bundle.predict(@evaluator, @network, @painter, @model, @scans, @settings)"],
        }
    )
    del parser.get()["G_SI"]
    former.understand(parser)
    check(parser.get())
    image = torch.zeros(1, 1, 8, 8)
    for name in ("network", "painter"):
        network = parser.get_parsed_content(name)
        assert sum(weight.numel() for weight in network.parameters()) < 10_000, name
        image = network.eval()(image)
    assert image.shape == (1, 1, 8, 8)
    assert parser.get_parsed_content("painter")(torch.full((1, 4, 8, 8), 9.0)).abs().max() <= 1


def test_nothing_former_changes_nothing(caplog):
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles/semicycle/configs/train.json")
    before = str(parser.get())
    former.understand(parser)
    assert str(parser.get()) == before and caplog.messages == []


def test_an_overlay_of_before_trains_what_it_trained(tmp_path):
    """As shipped with version 0.1, but for indices into lists of handlers, which no document named."""
    overlay = tmp_path / "old.yaml"
    overlay.write_text(
        "objective_def:\n"
        "  _target_: acdc_semicycle.baselines.hung.Hung\n"
        '  G_IS: "@network"\n'
        "  D_S:\n"
        "    _target_: acdc_semicycle.baselines.hung.FullyConvolutionalDiscriminator\n"
        '    classes: "$len(@classes)"\n'
        '    filters: "@d_filters"\n'
        "  semi_start: 10\n"
        "weights: {gen_S: 1.0, adv_x: 0.01, adv_u: 0.001, semi_u: 0.1, disc_S: 0.5}\n"
        'lr_decay: "$trainer.poly_decay(100)"\n'
        "steps_an_epoch: 200\n"
        "by: slice\n"
        "train::random_transforms:\n"
        "- _target_: RandAffined\n"
        "  keys: [image, label]\n"
    )
    parser = ConfigParser()
    parser.read_config([ROOT / "bundles/semicycle/configs/train.json", overlay])
    former.understand(parser)
    check(parser.get())
    assert type(parser.get_parsed_content("objective_def")).__name__ == "Hung"
    assert parser.get_parsed_content("lr_decay")(100) == 0
    assert parser.get_parsed_content("steps_per_epoch") == 200
    assert [type(each).__name__ for each in parser.get_parsed_content("train::random_transforms")] == ["RandAffined"]
