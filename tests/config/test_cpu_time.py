"""Days that a training would take on a CPU are told in its first lines, before its data are read."""

import json
import re

import pytest
import torch
from monai.bundle import ConfigParser

from acdc_semicycle.config import cpu_time
from acdc_semicycle.config.locations import folder
from acdc_semicycle.data.pairs import Pairs

TRAIN = folder("bundles/semicycle") / "configs" / "train.json"
TINY = {"image_size": [32, 32], "filters": 2, "blocks": 1, "d_filters": 2}


def parser_of(tmp_path, phantom_dir, *overlays: str, **settings) -> ConfigParser:
    """A training on the phantom as if it were real data."""
    parser = ConfigParser()
    parser.read_config([str(TRAIN), *(str(folder("configs") / f"{name}.yaml") for name in overlays)])
    parser.update({"dataset_dir": str(phantom_dir), "output_dir": str(tmp_path / "run"), "device": "cpu"} | settings)
    return parser


@pytest.fixture
def slow(monkeypatch):
    """A machine on which an image takes the segmenter 4 seconds and 0.2 GiB; fails where nothing is to be timed."""
    monkeypatch.setattr(cpu_time, "_pass", lambda parser: cpu_time.Pass(4.0, 0.2 * cpu_time.GIB))


def test_the_papers_preset_is_told_in_days_and_memory_with_what_to_do_instead(tmp_path, phantom_dir, caplog, slow):
    cpu_time.warn_of_days(parser_of(tmp_path, phantom_dir))
    first, second = caplog.messages
    shown = re.fullmatch(
        r"on this CPU the training takes about (\d+) days and 7\.\d GiB of memory \((\d+) steps of 100 s\): it is made"
        " for a GPU",
        first,
    )
    assert shown, first
    days, steps = int(shown[1]), int(shown[2])
    assert days == round(steps * 100 / 86400) and steps % 400 == 0
    assert "train few ... takes an evening" in second and "small ... an hour" in second and "--minutes" in second


@pytest.mark.parametrize(
    ("overlays", "settings"),
    [
        (["few"], {"steps_per_epoch": 2}),
        ([], {"minutes": 90}),
        ([], {"demo": True}),
        ([], {"device": "cuda"}),
        ([], {"dataset_dir": "nowhere"}),
    ],
)
def test_nothing_is_told_of_what_takes_less_than_a_day_or_is_measured_or_cannot_be_read(
    tmp_path, phantom_dir, caplog, slow, overlays, settings
):
    cpu_time.warn_of_days(parser_of(tmp_path, phantom_dir, *overlays, **settings))
    assert not caplog.messages


def test_nothing_is_told_of_a_run_that_continues_or_of_several_processes(
    tmp_path, phantom_dir, caplog, slow, monkeypatch
):
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "models" / "last.pt").touch()
    cpu_time.warn_of_days(parser_of(tmp_path, phantom_dir))
    monkeypatch.setenv("WORLD_SIZE", "2")
    cpu_time.warn_of_days(parser_of(tmp_path / "other", phantom_dir))
    assert not caplog.messages


@pytest.mark.parametrize("overlay", [None, "partial"])
def test_the_steps_are_those_that_the_training_then_takes(tmp_path, phantom_dir, overlay):
    overlays = [overlay] if overlay else []
    parser = parser_of(tmp_path, phantom_dir, *overlays, **TINY, epochs=3, batch_size=2, labelled=2)
    steps = cpu_time._steps(parser)
    pairs: Pairs = parser.get_parsed_content("train::dataloader")
    assert steps == pytest.approx(3 * len(pairs), rel=0.1)


def test_a_pass_is_timed_and_its_memory_counted_on_a_network_of_its_own(tmp_path, phantom_dir):
    parser = parser_of(tmp_path, phantom_dir, **TINY)
    before = torch.random.get_rng_state()
    small = cpu_time._pass(parser)
    large = cpu_time._pass(parser_of(tmp_path, phantom_dir, **TINY | {"image_size": [64, 64]}))
    assert small.seconds > 0 and 3.5 < large.kept / small.kept < 4.5
    assert "network_def" not in json.dumps([str(key) for key in parser.ref_resolver.resolved_content])
    torch.random.set_rng_state(before)


@pytest.mark.parametrize(
    ("overlays", "images"), [([], 3 * 5 + 2 * 5), (["partial"], 5), (["few"], 4 + 4), (["few", "unimatch"], 4 + 3 * 4)]
)
def test_a_step_is_as_many_images_as_the_method_computes(tmp_path, phantom_dir, overlays, images):
    parser = parser_of(tmp_path, phantom_dir, *overlays, labelled=2)
    step = cpu_time._step(parser, cpu_time.Pass(1.0, 10.0))
    assert step == (images, 10 * images)


def test_without_unlabelled_patients_a_step_has_labelled_images_alone(tmp_path, phantom_dir):
    parser = parser_of(tmp_path, phantom_dir, labelled=1.0)
    assert not cpu_time.value_of(parser, "split").unlabelled
    assert cpu_time._step(parser, cpu_time.Pass(1.0, 10.0)) == (3 * 5, 10 * 3 * 5)
