"""The bundle as MONAI sees it, and what it says to wrong input."""

import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from processes import run

from acdc_semicycle.config import failures, startup, tasks, validate, values
from acdc_semicycle.config.options import options_of
from acdc_semicycle.datasets import acdc
from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.provenance import provenance

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "semicycle" / "configs"
WINDOWS = {"_target_": "acdc_semicycle.data.Windows", "size": "@window"}
TINY = {"image_size": [32, 32], "filters": 2, "blocks": 1, "d_filters": 2, "epochs": 1, "batch_size": 2}


@pytest.fixture(autouse=True)
def _restore_excepthook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("ACDC_DIR", raising=False)


def workflow(*files, **override):
    return ConfigWorkflow([str(CONFIGS / "train.json"), *map(str, files)], logging_file=False, **override)


def cause(error: BaseException) -> BaseException:
    """The error a user is shown, below MONAI's wrappings."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def refused(capsys, run) -> str:
    """What ``run`` prints when it fails: one line."""
    with pytest.raises((RuntimeError, InputError)) as caught:
        run()
    capsys.readouterr()
    failures.show_error(caught.type, caught.value, caught.tb)
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text


def train(output, **override):
    flow = workflow(output_dir=str(output), **TINY | override)
    flow.initialize()
    flow.run()


@pytest.mark.parametrize(("files", "words"), [([], "training or run"), (["evaluate.json"], "training or evaluating")])
def test_what_the_bundle_does_not_do_is_refused_before_any_work(tmp_path, capsys, files, words):
    flow = workflow(*(CONFIGS / name for name in files), output_dir=str(tmp_path / "run"), run_id="evaluation", **TINY)
    assert f"'evaluation' is no task of this configuration: give {words}" in refused(capsys, flow.initialize)
    assert not (tmp_path / "run").exists()


def test_each_stream_of_a_training_shows_the_patients_of_its_own_part_alone(tmp_path, phantom_dir):
    flow = workflow(dataset_dir=str(phantom_dir), output_dir=str(tmp_path), **TINY)
    flow.initialize()
    content = flow.parser.get_parsed_content
    for part, dataset in (("labelled", "train::dataset"), ("unlabelled", "train::unlabelled_dataset")):
        patients = {file.parent.name for file, *_ in content(dataset).files}
        assert patients == set(getattr(content("split"), part)), part


def without_structures(phantom_dir: Path, root: Path, patient: str) -> Path:
    """The phantom again, one patient's masks without any structure."""
    shutil.copytree(phantom_dir, root)
    for path in root.glob(f"**/{patient}*_gt.nii.gz"):
        mask = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine, mask.header), path)
    return root


def test_a_training_that_could_keep_no_network_is_refused_before_its_first_step(tmp_path, phantom_dir, capsys):
    def refusal(folder: Path, **override) -> str:
        text = refused(capsys, lambda: train(tmp_path / "run", dataset_dir=str(folder), check=[], **override))
        assert not (tmp_path / "run" / "split.json").exists()
        return text

    assert "evaluated is 'test' in a training" in refusal(phantom_dir, evaluated="test", test=0)
    (tmp_path / "train.txt").write_text("".join(f"patient{number:03d}\n" for number in range(1, 8)))
    (tmp_path / "validation.txt").write_text("patient008\n")
    lists = {f"{part}_list": str(tmp_path / f"{part}.txt") for part in ("train", "validation")}
    empty = without_structures(phantom_dir, tmp_path / "phantom", "patient008")
    assert "no mask of a validation image holds any of RV, MYO, LV" in refusal(empty, **lists)
    parts = {"labelled": "$('patient001',)", "unlabelled": "$('patient002',)", "validation": "$()", "test": "$()"}
    split = {"split": {"_target_": "acdc_semicycle.data.splits.Split", **parts}}
    assert "the split has no validation patients" in refusal(phantom_dir, **split)
    assert "no epoch could be chosen, give some, or --keep last" in refusal(phantom_dir, validation=0.0)


def test_a_training_may_validate_nobody_and_then_keeps_its_last_network(tmp_path, phantom_dir, capsys, caplog):
    train(tmp_path / "run", dataset_dir=str(phantom_dir), validation=0.0, keep="last", epochs=2)
    network = tmp_path / "run" / "models" / "model.pt"
    assert capsys.readouterr().out.splitlines()[-1] == str(network)
    assert "no patient was left to validate" in caplog.text
    card = json.loads(network.with_suffix(".json").read_text())
    assert (card["epoch"], card["validation"]) == (2, {})
    assert not (tmp_path / "run" / "validation").exists()
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["validation"] == [] and len(split["test"]) == 2
    train(tmp_path / "run", dataset_dir=str(phantom_dir), validation=0.0, keep="last", epochs=2)  # complete


@pytest.mark.parametrize(("flips", "averaged"), [([0.5, 0.5], True), ([0.5, 0.0], False), ([0.0, 0.0], False)])
def test_a_network_trained_on_mirror_images_averages_over_them(tmp_path, phantom_dir, flips, averaged):
    flow = workflow(dataset_dir=str(phantom_dir), output_dir=str(tmp_path), **TINY, **{"train::augment::flips": flips})
    flow.initialize()
    assert flow.parser.get_parsed_content("card")["flips"] is averaged
    assert flow.parser.get_parsed_content("validate::inferer").flips is averaged


def test_an_evaluation_of_no_patient_is_one_line(tmp_path, phantom_dir, capsys):
    train(tmp_path, dataset_dir=str(phantom_dir), test=0)
    settings = TINY | {"dataset_dir": str(phantom_dir), "test": 0, "evaluated": "test", "output_dir": str(tmp_path)}
    flow = workflow(CONFIGS / "evaluate.json", run_id="evaluating", **settings)
    flow.initialize()
    assert "give a part of the split that has patients" in refused(capsys, flow.run)


def test_probing_prints_what_a_run_is_made_of_as_the_tables_read_it_and_keeps_nothing(tmp_path, phantom_dir, capsys):
    settings = TINY | {"epochs": 6, "steps_per_epoch": 5, "val_interval": 2, "dataset_dir": str(phantom_dir)}
    flow = workflow(output_dir=str(tmp_path / "run"), run_id="probing", **settings)
    flow.initialize()
    flow.run()
    parts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (parts.pop("steps"), parts.pop("validations")) == (30, 3)
    assert (parts.pop("epoch_steps"), parts.pop("val_interval")) == (5, 2)
    assert parts.keys() == {"step_seconds", "validation_seconds", "start_seconds"} and min(parts.values()) > 0
    assert not [*(tmp_path / "run").glob("models/*"), *(tmp_path / "run").glob("**/*.csv")]


def test_monai_finds_every_property_it_asks_of_a_training_bundle(tmp_path, phantom_dir):
    flow = workflow(dataset_dir=str(phantom_dir), output_dir=str(tmp_path), **TINY)
    flow.initialize()
    assert not flow.check_properties()


def test_monai_finds_every_property_it_asks_of_an_inference_bundle(tmp_path, phantom_dir):
    flow = ConfigWorkflow(
        str(CONFIGS / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        input=str(phantom_dir),
        output_dir=str(tmp_path),
    )
    flow.initialize()
    assert not flow.check_properties()


def test_the_network_takes_and_gives_what_the_metadata_says():
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        checkpoint="no/model.pt",
        device="cpu",
    )


def test_the_metadata_has_every_field_of_its_schema():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    required = "schema version monai_version pytorch_version numpy_version required_packages_version task description"
    assert not set(f"{required} authors copyright network_data_format changelog".split()) - set(metadata)
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    for tensors in (metadata["network_data_format"]["inputs"], metadata["network_data_format"]["outputs"]):
        for tensor in tensors.values():
            assert not {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"} - set(tensor)
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()
    assert tuple(names) == acdc.CLASSES


def test_the_paper_preset_is_what_the_paper_says(tmp_path):
    parser = workflow(dataset_dir=str(tmp_path)).parser
    expected = {
        "epochs": 400,
        "constant_epochs": 100,
        "batch_size": 5,
        "learning_rate": 2e-4,
        "image_size": [200, 200],
        "filters": 64,
        "blocks": 9,
        "d_filters": 64,
        "pool_size": 50,
        "amp": False,
    }
    assert {key: parser.get_parsed_content(key) for key in expected} == expected
    weights = parser.get_parsed_content("weights")
    assert weights == {
        "gen_S": 1.0,
        "gen_I": 1.0,
        "cycle_S": 0.05,
        "cycle_I": 1.0,
        "adv_S": 0.5,
        "adv_I": 0.5,
        "disc_S": 0.5,
        "disc_I": 0.5,
    }
    assert parser.get("train::random_transforms") == {}
    assert parser.get("optimizer::betas") == parser.get("d_optimizer::betas") == "@betas"
    assert parser.get("betas") == [0.5, 0.999]
    assert parser.get("dropout") == 0 and parser.get("split_unit") == "patient"
    for judge in ("D_S", "D_I"):
        norms = parser.get_parsed_content(f"objective_def::{judge}").modules()
        assert [type(each) for each in norms if "Norm" in type(each).__name__] == [torch.nn.BatchNorm2d]
    assert type(parser.get_parsed_content("objective_def").pool_S) is ImagePool


@pytest.mark.parametrize("overlay", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_overlay_passes_the_check_and_holds_only_differences(overlay):
    base = json.loads((CONFIGS / "train.json").read_text())
    overlaid = yaml.safe_load(overlay.read_text())
    assert all(key not in base or base[key] != value for key, value in overlaid.items())
    validate.check(workflow(overlay).parser.get())


def test_another_methods_arguments_are_not_those_of_this_one(tmp_path, capsys, phantom_dir):
    hung = ROOT / "configs" / "hung.yaml"
    config = workflow(hung).parser.get()
    config["objective_def"]["pool_size"] = 3
    with pytest.raises(InputError, match="objective_def::pool_size"):
        validate.check(config)


@pytest.mark.parametrize("path", ["$HOME/x", "@images", "%x/y", "a#b", "a/@#y", "a/@::y"])
def test_a_path_that_monai_would_read_as_code_is_refused(path):
    for words in (["--images", path], [f"--output_dir={path}"]):
        with pytest.raises(InputError, match="rename the folder"):
            validate.check_paths(["run", "training", *words])
    validate.check_paths(["run", "training", "--images", "a b/me@work/100%", "--notes", path])


def test_steps_are_refused_as_they_would_set_no_length():
    config = json.loads((CONFIGS / "train.json").read_text())
    with pytest.raises(InputError, match="give --epochs or --steps_per_epoch"):
        validate.check_derived(config | {"epochs": 2, "steps": 3})
    validate.check_derived(config | {"steps_per_epoch": 3})


@pytest.mark.parametrize("option", ["dataset_dir", "output_dir", "cache_dir", "train_list"])
def test_a_path_that_is_code_is_refused_before_it_runs(capsys, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    code = "$__import__('pathlib').Path('planted').touch()"
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "training", f"--{option}", code])
    assert "rename the folder" in refused(capsys, lambda: workflow(**{option: code}).initialize())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["cell", "background"], "cells", [1, 2]])
def test_classes_that_cannot_be_told_apart_are_refused(classes):
    with pytest.raises(InputError, match=r"classes is .*: give"):
        values.check_classes(classes, None)


def test_a_dollar_expression_is_short():
    def strings(item):
        if isinstance(item, dict | list):
            for value in item.values() if isinstance(item, dict) else item:
                yield from strings(value)
        elif isinstance(item, str):
            yield item

    for path in CONFIGS.glob("*.json"):
        assert not [s for s in strings(json.loads(path.read_text())) if s.startswith("$") and len(s) > 80], path


def test_without_data_it_says_where_it_looked_and_takes_the_phantom(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tasks.phantom, "write", lambda root: None)
    assert tasks.data_root(None, tmp_path) == tmp_path / "phantom"
    assert "--dataset_dir" in caplog.text and "ACDC_DIR" in caplog.text and "phantom" in caplog.text


def test_the_small_preset_keeps_the_phantom_out_of_a_real_runs_folder(monkeypatch, tmp_path):
    small = ROOT / "configs" / "small.yaml"
    monkeypatch.setattr(sys, "argv", ["semicycle", "train", "small"])
    assert workflow(small).parser.get_parsed_content("output_dir") == "runs/phantom-small"
    monkeypatch.setenv("ACDC_DIR", str(tmp_path))
    assert workflow(small).parser.get_parsed_content("output_dir") == "runs/acdc-small"


def test_a_recorded_command_has_what_the_environment_told_it(monkeypatch):
    monkeypatch.setenv("ACDC_DIR", "/a b")
    monkeypatch.setenv("SEMICYCLE_GEOMETRY", "sform")
    assert provenance()["command"].startswith("ACDC_DIR='/a b' SEMICYCLE_GEOMETRY=sform ")


@pytest.mark.parametrize("phase", ["training", "evaluating"])
def test_the_phantom_is_not_written_into_a_run_on_other_data(capsys, tmp_path, phantom_dir, phase):
    train(tmp_path, dataset_dir=str(phantom_dir))
    text = refused(capsys, lambda: (train if phase == "training" else evaluate)(tmp_path))
    assert f"{tmp_path} holds a training on other data" in text and "ACDC_DIR" in text
    assert not (tmp_path / "phantom").exists()


@pytest.mark.parametrize(
    ("overlay", "key", "nearest"),
    [
        ("own_scans", "imges", "images"),
        ("own_scans", "image", "images"),
        ("own_scans", "pateint", "patient"),
        ("own_scans", "epohs", "epochs"),
        ("own_scans", "imagesize", "image_size"),
    ],
)
def test_a_misspelt_key_of_an_overlay_is_told_from_the_bundles(tmp_path, capsys, overlay, key, nearest):
    flow = workflow(ROOT / "configs" / f"{overlay}.yaml", output_dir=str(tmp_path / "run"), **TINY, **{key: "x"})
    assert f"unknown key {key!r}: did you mean {nearest!r}?" in refused(capsys, flow.initialize)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("image", "'images', with the overlay own_scans or own_pictures before it, or 'image_size'?"),
        ("images", "'images', with the overlay own_scans or own_pictures before it, or 'image_size'?"),
        ("patient", "'patient', with the overlay own_scans or own_pictures before it?"),
    ],
)
def test_a_key_that_an_overlay_would_bring_is_told_with_it(tmp_path, capsys, key, meant):
    flow = workflow(output_dir=str(tmp_path / "run"), **TINY, **{key: "x"})
    assert f"unknown key {key!r}: did you mean {meant}" in refused(capsys, flow.initialize)


def test_the_environment_names_the_data_set(monkeypatch, tmp_path):
    monkeypatch.setenv("ACDC_DIR", str(tmp_path))
    parser = workflow().parser
    assert parser.get_parsed_content("dataset_dir") == str(tmp_path)
    assert parser.get_parsed_content("demo") is False


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"epohs": 3}, ["'epohs'", "did you mean 'epochs'"]),
        ({"weights::cycle_X": 1.0}, ["weights has cycle_X", "SemiCycle has gen_S"]),
        ({"weights::gen_S": "much"}, ["weights::gen_S", "'much'", "give a number"]),
        ({"learning_rate": "2e-4"}, ["learning_rate", "'2e-4'", "2.0e-4"]),
        ({"batch_size": "5"}, ["batch_size", "'5'", "number"]),
        ({"seed": "many"}, ["seed", "'many'", "number"]),
        ({"xyzzy": 3}, ["'xyzzy'", "remove it"]),
        ({"optimizer::lr": "2e-4"}, ["optimizer::lr", "'2e-4'"]),
        ({"train::trainer::epohs": 3}, ["'train::trainer::epohs'"]),
        ({"network_def::dropot": 0.5}, ["'network_def::dropot'", "did you mean 'network_def::dropout'"]),
        ({"input": "scan.nii.gz"}, ["'input'"]),
        ({"image_size": [30, 32]}, ["image_size", "multiples of 4"]),
        ({"image_size": 96}, ["image_size", "rows and columns"]),
        ({"epochs": "ten"}, ["epochs", "'ten'", "whole number"]),
        ({"batch_size": 0}, ["batch_size", "at least 1"]),
        ({"val_interval": 9}, ["val_interval", "no network would be chosen"]),
        ({"learning_rate": "abc"}, ["learning_rate is 'abc': give a number above 0"]),
        ({"learning_rate": -1}, ["learning_rate is -1: give a number above 0"]),
        ({"learning_rate": float("nan")}, ["learning_rate is nan: give"]),
        ({"filters": 0}, ["filters is 0: give a whole number of at least 1"]),
        ({"filters": 2.5}, ["filters is 2.5: give a whole number of at least 1"]),
        ({"d_filters": None}, ["d_filters is None: give"]),
        ({"blocks": -1}, ["blocks is -1: give a whole number of at least 0"]),
        ({"pool_size": -1}, ["pool_size is -1"]),
        ({"num_workers": -1}, ["num_workers is -1"]),
        ({"seed": -1}, ["seed is -1: give a whole number of 0 to 4294967295"]),
        ({"seed": 2**64}, ["seed is 18446744073709551616: give a whole number of 0 to 4294967295"]),
        ({"pool_seed": "abc"}, ["pool_seed is 'abc': give a whole number"]),
        ({"constant_epochs": "abc"}, ["constant_epochs is 'abc': give a whole number"]),
        ({"constant_epochs": -5}, ["constant_epochs is -5: give a whole number of at least 0"]),
        ({"constant_epochs": 2}, ["constant_epochs is 2: give a whole number of 0 to 1, the epochs"]),
        ({"constant_epochs": "$-1"}, ["constant_epochs is -1: give"]),
        ({"check": "labelled"}, ["check is 'labelled': give a list of the split's parts: ['labelled', 'unlabelled', "]),
        ({"check": ["foo"]}, ["check is ['foo']: give a list"]),
        ({"evaluated": "foo"}, ["evaluated is 'foo': give a part of the split: labelled, unlabelled, "]),
        ({"weights": 3}, ["weights is 3: give a section, such as weights::gen_S"]),
        ({"weights": None}, ["weights is None: give a section"]),
        ({"optimizer": 3}, ["optimizer is 3: give a section, such as optimizer::_target_"]),
        ({"__learning_rate": 1}, ["'__learning_rate'", "did you mean 'learning_rate'"]),
        ({"optimizer::_lr": 1}, ["'optimizer::_lr'", "did you mean 'optimizer::lr'"]),
        ({"steps_per_epoch": 0}, ["steps_per_epoch is 0: give a whole number of at least 1, or null"]),
        ({"dropout": 1}, ["dropout is 1: give a number of at least 0 and below 1"]),
        ({"betas": 3}, ["betas is 3: give two numbers of at least 0 and below 1"]),
        ({"betas": [0.5, 1.0]}, ["betas is [0.5, 1.0]: give two"]),
        ({"intensity_range": 3}, ["intensity_range is 3: give the lowest and the highest intensity, or null"]),
        ({"intensity_range": [255, 0]}, ["intensity_range is [255, 0]: give the lowest"]),
        ({"amp": "yes"}, ["amp is 'yes': give True or False"]),
        ({"window": 128}, ["window is 128: give rows and columns of at least 8, such as [128, 128], or null"]),
        ({"window": []}, ["window is []: give rows and columns"]),
        ({"window": [128, "a"]}, ["window is [128, 'a']: give rows and columns"]),
        ({"window": [30, 32]}, ["window is [30, 32]: this network takes multiples of 4"]),
        ({"train::augment": WINDOWS}, ["window is null, and train::augment draws windows: give rows and columns"]),
        ({"deterministic": 1}, ["deterministic is 1: give True or False"]),
        ({"weights::adv_S": -0.5}, ["weights::adv_S is -0.5: give a number of at least 0"]),
        ({"train::augment::flips": 0.5}, ["flips is 0.5: give two probabilities"]),
        ({"train::augment::flips": [0.5, 2]}, ["flips is [0.5, 2]: give two probabilities"]),
        ({"train::augment::rotate": "much"}, ["rotate is 'much': give a number of at least 0"]),
        ({"train::augment::geometry": 1.5}, ["geometry is 1.5: give a probability"]),
    ],
)
def test_a_wrong_key_or_number_is_refused_by_its_name(capsys, tmp_path, phantom_dir, override, words):
    text = refused(capsys, lambda: train(tmp_path / "out", dataset_dir=str(phantom_dir), **override))
    assert all(word in text for word in words), text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--amp", "true"], {"amp": True}),
        (["--amp=false", "--deterministic", "true"], {"amp": False, "deterministic": True}),
        (["--window", "null"], {"window": None}),
        (["--window", "None"], {"window": None}),
        (["--optimizer::fused", "true"], {"optimizer::fused": True}),
        (["--window", "None", "--window", "[64, 64]"], {"window": [64, 64]}),
        (["--amp", "yes"], {"amp": "yes"}),
        (["--amp", "True"], {"amp": True}),
        (["--output_dir", "true"], {"output_dir": "true"}),
        (["--train_list", "null"], {"train_list": None}),
        (["--nothing", "None"], {}),
    ],
)
def test_true_false_and_null_on_a_command_line_are_what_yaml_reads_them_as(words, expected):
    """The parser has what MONAI made of the words: text of the lower-case ones, and nothing of None."""
    values = {option.key: option.value for option in options_of(words)}
    text = {"[64, 64]": [64, 64], "True": True}
    override = {key: text.get(value, value) for key, value in values.items() if value != "None"}
    parser = ConfigParser({"window": [8, 8], "amp": False, "deterministic": False, "optimizer": {}, "train_list": ""})
    parser.update(override)
    startup.take_words(parser, ["run", "training", *words])
    for key, value in expected.items():
        assert parser.get(key) == value and type(parser.get(key)) is type(value)
    assert "nothing" not in parser


@pytest.mark.slow
def test_lower_case_words_reach_a_training_by_either_command(tmp_path, phantom_dir):
    options = ["--dataset_dir", phantom_dir, "--amp", "true", "--train_list", "null", "--window=null"]
    for key, value in (TINY | {"steps_per_epoch": 1}).items():
        options += [f"--{key}", str(value)]
    monai = ["-m", "monai.bundle", "run", "training", "--config_file", CONFIGS / "train.json"]
    for number, words in enumerate((["-m", "acdc_semicycle", "train"], monai)):
        ran = run(*words, *options, "--output_dir", tmp_path / str(number))
        assert "epoch 1/1" in ran.stderr


def test_yaml_text_for_a_number_is_refused(capsys, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("learning_rate: 2e-4\n")  # PyYAML reads this as text
    assert "'2e-4'" in refused(capsys, lambda: workflow(overlay).initialize())


def test_monais_own_keys_pass():
    override = {"optimizer::_desc_": "Adam", "optimizer::_disabled_": False, "optimizer::_mode_": "default"}
    validate.check(workflow(**override).parser.get())


def test_a_key_of_ones_own_that_is_used_passes(tmp_path):
    validate.check(workflow(my_rate=0.001, learning_rate="@my_rate").parser.get())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"dataset_dir": "nowhere"}, ["nowhere", "dataset_dir"]),
        ({"dataset_dir": ""}, ["dataset_dir is empty"]),
        ({"labelled": 0.0}, ["labelled", "(0, 1]"]),
        ({"labelled": 1.5}, ["labelled", "(0, 1]"]),
        ({"labelled": -3}, ["labelled"]),
        ({"train_list": "absent.txt", "validation_list": "absent.txt"}, ["absent.txt"]),
        ({"train_list": "absent.txt"}, ["absent.txt"]),
        ({"validation_list": "absent.txt"}, ["validation_list or test_list is given without train_list"]),
        ({"batch_size": 1000}, ["batch_size", "number of slices"]),
        ({"dataset_dir": __file__}, ["is not a folder"]),
        ({"device": "cuda:77"}, ["device is 'cuda:77', which this machine does not have", "give cpu"]),
        ({"device": "gpu"}, ["device is 'gpu', which this machine does not have", "give cpu"]),
    ],
)
def test_wrong_input_gets_one_line_and_writes_nothing(capsys, tmp_path, phantom_dir, override, words):
    text = refused(capsys, lambda: train(tmp_path / "out", **{"dataset_dir": str(phantom_dir)} | override))
    assert all(word in text for word in words), text
    assert not list((tmp_path / "out").rglob("*.pt"))


def evaluate(output, **override):
    flow = workflow(CONFIGS / "evaluate.json", run_id="evaluating", output_dir=str(output), **TINY | override)
    flow.initialize()
    flow.run()


def test_evaluating_wants_the_training_runs_data_and_settings(capsys, tmp_path, phantom_dir):
    given = {"dataset_dir": str(phantom_dir)}
    assert "train first" in refused(capsys, lambda: evaluate(tmp_path, **given))
    train(tmp_path, **given)
    text = refused(capsys, lambda: evaluate(tmp_path, **given | {"image_size": [64, 64]}))
    assert "trained with image_size [32, 32], here it is [64, 64]" in text
    text = refused(capsys, lambda: evaluate(tmp_path, **given | {"filters": 4}))
    assert "another architecture" in text
    assert "cuda:77" in refused(capsys, lambda: evaluate(tmp_path, **given | {"device": "cuda:77"}))
    text = refused(capsys, lambda: evaluate(tmp_path, **given, checkpoint=str(tmp_path / "models" / "last.pt")))
    assert "give the model.pt beside it" in text
    (tmp_path / "split.json").write_text(
        '{"labelled": ["patient001"], "unlabelled": [], "validation": ["patient002"], "test": ["patient099"]}'
    )
    assert "patients patient099 are not there" in refused(capsys, lambda: evaluate(tmp_path, **given))
    assert not (tmp_path / "test").exists()


def test_what_a_component_takes_beyond_the_bundle_its_signature_says():
    validate.check(workflow(**{"network_def::dropout": 0.5, "optimizer::weight_decay": 0.01}).parser.get())


def test_a_file_that_cannot_be_written_is_one_line(capsys):
    failures.show_error(OSError, PermissionError(13, "Permission denied", "/there/split.json"), None)
    assert capsys.readouterr().err == "error: /there/split.json: Permission denied\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 2.98 GiB"), " (Unable to allocate 2.98 GiB)"),
        (MemoryError(), ""),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), " (CUDA out of memory.)"),
        (
            RuntimeError("[enforce] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
            " (you tried to allocate 9)",
        ),
    ],
)
def test_too_little_memory_is_one_line_that_says_what_takes_less(capsys, error, words):
    wrapped = RuntimeError("Failed to instantiate component")
    wrapped.__cause__ = error
    failures.show_error(RuntimeError, wrapped, None)
    said = f"error: not enough memory{words}: give a smaller image_size or batch_size\n"
    assert capsys.readouterr().err == said


def test_an_error_that_is_ours_keeps_its_traceback(capsys):
    try:
        raise KeyError("a bug")
    except KeyError as error:
        failures.show_error(type(error), error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


def test_a_report_of_others_is_refused_before_a_training_begins(capsys, tmp_path, phantom_dir):
    foreign = tmp_path / "validation" / "cases.csv"
    foreign.parent.mkdir()
    foreign.write_text("mine\n")
    text = refused(capsys, lambda: train(tmp_path, dataset_dir=str(phantom_dir)))
    assert str(foreign) in text and foreign.read_text() == "mine\n"
    assert not list(tmp_path.rglob("*.pt"))


def test_a_finished_run_is_not_run_again_and_other_settings_are_refused(capsys, tmp_path, phantom_dir):
    train(tmp_path, dataset_dir=str(phantom_dir))
    first = torch.load(tmp_path / "models" / "last.pt", weights_only=True)
    stamp = (tmp_path / "models" / "last.pt").stat().st_mtime_ns
    train(tmp_path, dataset_dir=str(phantom_dir))
    assert (tmp_path / "models" / "last.pt").stat().st_mtime_ns == stamp
    text = refused(capsys, lambda: train(tmp_path, dataset_dir=str(phantom_dir), filters=4))
    assert "another run" in text and "output_dir" in text and "filters: 2, here 4" in text
    assert (tmp_path / "models" / "last.pt").stat().st_mtime_ns == stamp
    train(tmp_path, dataset_dir=str(phantom_dir), epochs=2)
    later = torch.load(tmp_path / "models" / "last.pt", weights_only=True)
    assert (first["progress"]["epoch"], later["progress"]["epoch"]) == (1, 2)
    weights = [state["objective"]["G_IS.layers.1.weight"] for state in (first, later)]
    assert not torch.equal(*weights), "more epochs must train: the rate had decayed to nothing at the old end"
    curve = (tmp_path / "learning_curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["epoch", "1", "2"]


@pytest.mark.parametrize("text", ["@objective.teacher", "@train::dataset[0]", "@weights['gen_S']", "@"])
def test_text_that_only_looks_like_a_reference_is_refused(text):
    with pytest.raises(InputError) as caught:
        validate.check(workflow(**{"validate::evaluator::network": text}).parser.get())
    assert str(caught.value) == (
        f"validate::evaluator::network is the text {text!r}, which MONAI does not look up: write '${text}'"
    )


@pytest.mark.parametrize("text", ["@objective", "@train::dataset", "@train#dataset", "$@objective.teacher", "a@b"])
def test_a_reference_is_none_of_these(text):
    validate.check(workflow(**{"validate::evaluator::network": text}).parser.get())
