"""What makes a run this run: every key that changes what is learnt, and none that does not."""

import json
import sys
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer

from acdc_semicycle.config import identity as module
from acdc_semicycle.config import validate
from acdc_semicycle.config.identity import MAY_DIFFER, identity
from acdc_semicycle.data.splits import Split
from acdc_semicycle.training.same_run import check_settings

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
        ("train::handler::decay", None),
        ("train::handler::d_decay::lr_scheduler", "@lr_scheduler"),
        ("train::handler::clip", {"_target_": "mine.ClipGradients"}),
        ("train::handlers", [{"_target_": "acdc_semicycle.training.Handlers", "handlers": "@train::handler"}]),
        ("train::trainer::weights", {"gen_S": 1.0}),
        ("train::trainer::epoch_length", 3),
        ("train::trainer::_target_", "monai.engines.SupervisedTrainer"),
        ("train::inferer", {"_target_": "SlidingWindowInferer", "roi_size": [8, 8]}),
        ("evaluated", "test"),
        ("validate::evaluator::network", "@network"),
        ("validate::evaluator::key_val_metric", "$bundle.chosen(@validate::metrics, 'iou')"),
        ("validate::inferer::roi_size", [32, 32]),
        ("validate::metrics::paper_miou_without", 1),
        ("validate::dataset::data::records", "$@split.records('test', @records)"),
        ("checkpoints::network", "@network"),
        ("checkpoints::evaluator", "@mine"),
        ("optimizer::_disabled_", True),
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
        ("labelled", 3),
        ("notes", {"validation": "other words", "test": ""}),
        *((f"train::handler::{name}", None) for name in ("finite", "log", "balance", "pictures")),
        ("train::handler::decay::print_lr", True),
        ("train::trainer::max_epochs", 500),
        ("train::handlers::0::interval", 2),
        ("validate::inferer::sw_batch_size", 1),
        ("validate::evaluator::additional_metrics", None),
        ("validate::dataset::data::_target_", "acdc_semicycle.evaluation.model_report.read_share"),
        ("checkpoints::objects::log", None),
        ("train::dataset::cache_dir", None),
        ("train::unlabelled_dataset::cache_dir", "elsewhere"),
        ("train::dataloader::num_workers", 2),
        ("optimizer::_disabled_", False),
        ("optimizer::_desc_", "Adam"),
        ("optimizer::fused", True),
        ("optimizer::_target_", "torch.optim.adam.Adam"),
        ("network_def::_target_", "acdc_semicycle.networks.ResidualGenerator"),
        ("train::deterministic_transforms::resize::_target_", "monai.transforms.Resized"),
    ],
)
def test_what_does_not_is_the_same_run(plain, key, value):
    assert identity_of(**{key: value}) == plain


@pytest.mark.parametrize("key", sorted(set(TRAIN) - MAY_DIFFER))
def test_every_key_of_the_bundle_that_may_not_differ_counts(plain, key):
    """Each in turn gets a value that it has nowhere; of a section, one of its parts."""
    others = {"channels": 3, "class_count": 9, "colours": [[9, 9, 9]] * 4, "mask_values": {"7": 1}}
    others |= {"image_size": [8, 16], "intensity_range": [0, 9], "objective": "$str(@objective_def)"}
    value = TRAIN[key]
    parts = [part for part in value if f"{key}::{part}" not in MAY_DIFFER] if isinstance(value, dict) else []
    changed = {f"{key}::{parts[-1]}": "another"} if parts else {key: others.get(key, "another")}
    assert identity_of(**changed) != plain


def test_two_classes_of_one_name_in_two_modules_are_two_runs(monkeypatch):
    for name in ("first_module", "second_module"):
        module = ModuleType(name)
        exec("class Schedule: pass", module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    expressions, targets = [], []
    for name in ("first_module", "second_module"):
        imports = [*TRAIN["imports"], f"$import {name}"]
        expressions.append(identity_of(imports=imports, lr_decay=f"${name}.Schedule"))
        targets.append(identity_of(**{"lr_scheduler::_target_": f"{name}.Schedule"}))
    assert expressions[0] != expressions[1] and targets[0] != targets[1]
    assert expressions[0]["lr_decay"] == targets[0]["lr_scheduler"]["_target_"] == "first_module.Schedule"


@pytest.mark.parametrize("key", ["learning_rate", "optimizer::weight_decay"])
@pytest.mark.parametrize("source", ["presets", "notes"])
def test_a_reference_counts_as_the_value_that_it_leads_to(key, source):
    rates = [identity_of(**{f"{source}::mine": {"rate": rate}, key: f"@{source}::mine::rate"}) for rate in (0.5, 0.1)]
    assert rates[0] == identity_of(**{key: 0.5}) and rates[1] == identity_of(**{key: 0.1})


def test_a_reference_to_what_may_differ_may_differ():
    for key, values in (("epochs", (2, 3)), ("num_workers", (0, 1)), ("labelled", (1, 2))):
        one, other = (identity_of(**{key: value, "optimizer::weight_decay": f"@{key}"}) for value in values)
        assert one == other, key


@pytest.mark.parametrize(("name", "value"), [("SEMICYCLE_GEOMETRY", "qform"), ("SEMICYCLE_REPAIR", "1")])
def test_what_changes_how_files_are_read_is_another_run(plain, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert identity_of() != plain
    monkeypatch.setenv(name, "")
    assert identity_of() == plain


def test_several_processes_continue_what_one_began(plain):
    parser = ConfigParser()
    parser.read_config([ROOT / f"bundles/semicycle/configs/{name}train.json" for name in ("", "multi_gpu_")])
    parser["split"] = SPLIT
    assert json.loads(json.dumps(parser.get_parsed_content("checkpoints::settings"))) == plain


def test_how_large_an_image_may_be_is_no_other_run(plain, monkeypatch):
    monkeypatch.setenv("SEMICYCLE_MAX_VOXELS", "123")
    monkeypatch.setenv("SEMICYCLE_REPAIR", "0")
    assert identity_of() == plain


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
    foreign |= {"schedule"}  # what minutes led to, put there when the run begins
    foreign |= {"data_root"}  # of bundles that were exported before 0.2
    foreign |= {f"validate::inferer::{name}" for name in signature(SlidingWindowInferer).parameters}
    unknown = []
    for name in MAY_DIFFER - foreign:
        section, _, argument = name.rpartition("::")
        if name not in parser and argument not in validate._arguments(parser.get(section, {"_target_": ""})):
            unknown.append(name)
    assert unknown == []


def test_a_state_names_no_module_to_import():
    stored = {"optimizer": {"_target_": "this.Adam"}}
    with pytest.raises(module.InputError, match=r"this\.Adam, here torch\.optim\.adam\.Adam"):
        check_settings(Path("last.pt"), stored, {"optimizer": {"_target_": "torch.optim.adam.Adam"}})
    assert "this" not in sys.modules


def test_null_in_the_place_of_nothing_is_a_difference_like_any_other():
    with pytest.raises(module.InputError, match=r"another run \(train::mine: None, here None\)"):
        check_settings(Path("last.pt"), {"train": {}}, {"train": {"mine": None}})


def test_outside_a_configuration_it_says_so():
    with pytest.raises(module.InputError, match="outside a configuration"):
        identity(SPLIT)
