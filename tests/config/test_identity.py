"""What makes a run this run: every key that changes what is learnt, and none that does not."""

import json
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from acdc_semicycle.config import identity as module
from acdc_semicycle.config.identity import MAY_DIFFER, identity
from acdc_semicycle.data.splits import Split

ROOT = Path(__file__).parents[2]
TRAIN = json.loads((ROOT / "bundles" / "semicycle" / "configs" / "train.json").read_text())
OVERLAYS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
OF_THE_PHANTOM = [name for name in OVERLAYS if not name.startswith(("voc", "city", "own_", "official"))]
SPLIT = Split(("a",), ("b",), ("c",), ())


def identity_of(*overlays: str, **override) -> dict:
    parser = ConfigParser()
    parser.read_config([ROOT / "bundles/semicycle/configs/train.json", *(ROOT / f"configs/{o}.yaml" for o in overlays)])
    parser.update(override)
    parser["split"] = SPLIT
    return json.loads(json.dumps(parser.get_parsed_content("checkpoints::settings")))


@pytest.fixture(scope="module")
def plain() -> dict:
    return identity_of()


def test_it_is_plain_and_the_same_each_time(plain):
    assert plain == identity_of()
    assert plain["split"] == {"labelled": ["a"], "unlabelled": ["b"], "validation": ["c"], "test": []}


def test_expressions_count_as_what_they_give(plain):
    assert plain["filters"] == 8 and plain["image_size"] == [96, 96] and plain["weights"]["gen_S"] == 10.0
    assert plain == identity_of(filters=8, image_size=[96, 96])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("filters", 4),
        ("seed", 1),
        ("betas", [0.9, 0.999]),
        ("weights::cycle_I", 0.0),
        ("train::augment::rotate", 0.1),
        ("train::views", {"u": {"_target_": "acdc_semicycle.data.Augment", "gain": 0.1}}),
        ("train::random_transforms", {"flip": {"_target_": "RandFlipd", "keys": "image"}}),
        ("train::deterministic_transforms::resize::mode", ["bilinear", "nearest"]),
        ("optimizer::weight_decay", 0.01),
        ("d_optimizer::lr", 0.1),
        ("steps_per_epoch", 7),
        ("unlabelled_batch_size", 3),
        ("intensity_range", [0, 255]),
        ("objective_def::D_S::norm", "$torch.nn.InstanceNorm2d"),
        ("train::dataloader::sampler", "$print"),
        ("lr_decay", "$lambda epoch: 1"),
        ("decay_by_epoch", False),
        ("selection_metric", "iou"),
        ("network_def::_target_", "acdc_semicycle.methods.PixelDiscriminator"),
    ],
)
def test_what_changes_what_is_learnt_is_another_run(plain, key, value):
    assert identity_of(**{key: value}) != plain


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 500),
        ("constant_epochs", 3),
        ("val_interval", 2),
        ("device", "cpu"),
        ("num_workers", 2),
        ("amp", True),
        ("deterministic", True),
        ("checkpointing", True),
        ("output_dir", "elsewhere"),
        ("cache_dir", "elsewhere"),
        ("train::handler::pictures", None),
        ("labelled", 3),
        ("notes", {"validation": "other words", "test": ""}),
    ],
)
def test_what_does_not_is_the_same_run(plain, key, value):
    assert identity_of(**{key: value}) == plain


def test_a_method_may_follow_from_the_number_of_epochs():
    assert identity_of("hung", epochs=10) == identity_of("hung", epochs=20)
    assert identity_of("hung") != identity_of("hung", **{"objective_def::semi_start": 5})


@pytest.mark.parametrize("overlay", OF_THE_PHANTOM)
def test_every_overlay_but_those_of_the_split_is_another_run(plain, overlay):
    differs = identity_of(overlay) != plain
    keys = yaml.safe_load((ROOT / "configs" / f"{overlay}.yaml").read_text())
    assert differs == bool(set(keys) - {"labelled"})


def test_nothing_is_made_for_it(monkeypatch):
    """Neither networks nor data: it is asked before a folder is claimed."""
    made = []
    monkeypatch.setattr("torch.nn.Module.__init__", lambda *_, **__: made.append(1))
    monkeypatch.setattr("acdc_semicycle.datasets.phantom.write", lambda *_, **__: made.append(1))
    identity_of()
    assert made == []


def test_every_key_that_may_differ_is_one():
    parser = ConfigParser(TRAIN)
    foreign = {"imports", "_meta_", "images", "masks", "patient", "evaluating", "finalize"}
    foreign |= {"data_root"}  # of bundles that were exported before 0.2
    assert [name for name in MAY_DIFFER if name not in foreign and name not in parser] == []


def test_outside_a_configuration_it_says_so():
    with pytest.raises(module.InputError, match="outside a configuration"):
        identity(SPLIT)
