"""Overlays of version 0.1 that name handlers and transforms by their position: refused in a line, never misread."""

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from acdc_semicycle.config.positions import check_positions
from acdc_semicycle.config.validate import check
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
SCHEDULE = {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": True}
VALIDATION = {"_target_": "ValidationHandler", "validator": "@validate::evaluator", "interval": 1, "epoch_level": True}
HANDLERS = {"_target_": "acdc_semicycle.training.Handlers", "handlers": "@train::handler"}
RESIZED = {"_target_": "Resized", "keys": ["image", "label"], "spatial_size": "$[*@image_size, -1]"}
NAMES = "handlers and transforms have names instead of numbers since 0.2: give "


def config_of(**override) -> dict:
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles/semicycle/configs/train.json")
    parser.update(override)
    return parser.get()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train::handlers::1", SCHEDULE, "train::handlers holds no acdc_semicycle.training.Handlers"),
        ("train::handlers", [VALIDATION, SCHEDULE], "train::handlers holds no acdc_semicycle.training.Handlers"),
        ("train::handlers", [], "train::handlers holds no acdc_semicycle.training.Handlers"),
        ("train::handlers", None, "train::handlers holds no acdc_semicycle.training.Handlers"),
        ("train::handlers::1::print_lr", True, "has 'print_lr' in train::handlers"),
        ("train::deterministic_transforms::4", RESIZED, "has train::deterministic_transforms::4"),
        ("train::random_transforms::0", RESIZED, "has train::random_transforms::0"),
        ("train::views", {"0": "@train::augment"}, "has train::views::0"),
        ("train::handler::4", SCHEDULE, "has train::handler::4"),
    ],
)
def test_a_part_by_its_position_is_refused_in_a_line(key, value, words):
    with pytest.raises(InputError) as caught:
        check(config_of(**{key: value}))
    text = str(caught.value)
    assert words in text and NAMES in text and "\n" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train::handlers", "@own_handlers"),
        ("train::handlers", [VALIDATION, HANDLERS, SCHEDULE]),
        ("train::handlers::1::_disabled_", False),
        ("train::random_transforms", [RESIZED]),
        ("train::handler::of_2", SCHEDULE),
    ],
)
def test_parts_by_their_names_and_whole_lists_pass(key, value):
    check_positions(config_of(**{key: value}))


def test_a_configuration_without_training_passes():
    check_positions({"scans": None})
