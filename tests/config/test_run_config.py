"""A run's folder tells what the run was, and is enough to score its network."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from acdc_semicycle.config import run_config
from acdc_semicycle.config.command import paths_and_settings
from acdc_semicycle.config.run_config import images_of, options_for, run_folder
from acdc_semicycle.runtime.errors import InputError
from tests.config.test_bundle import CONFIGS, ROOT, refused, train, workflow


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("ACDC_DIR", raising=False)


def scored(folder: Path, *files, **settings) -> dict:
    flow = workflow(*files, CONFIGS / "evaluate.json", run_id="evaluating", **settings)
    flow.initialize()
    flow.run()
    return json.loads((folder / "test" / "report.json").read_text())


def test_a_runs_folder_is_enough_to_score_its_network_wherever_it_lies(tmp_path, phantom_dir, monkeypatch):
    tiny = {"image_size": [32, 32], "filters": 2, "blocks": 1, "epochs": 1, "batch_size": 2, "steps_per_epoch": 2}
    given = tiny | {"dataset_dir": str(phantom_dir), "seed": 3, "labelled": 2}
    files = [ROOT / "configs" / "partial.yaml"]
    flow = workflow(*files, output_dir=str(tmp_path / "a"), **given)
    flow.initialize()
    flow.run()
    expected = scored(tmp_path / "a", *files, output_dir=str(tmp_path / "a"), **given)
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.setenv("ACDC_DIR", str(tmp_path / "elsewhere"))
    paths, settings = paths_and_settings(options_for(tmp_path / "b"))
    report = scored(tmp_path / "b", tmp_path / "b" / "config.yaml", **paths, **settings)
    for part in ("summary", "cases", "split", "method", "seed", "weights", "dataset"):
        assert report[part] == expected[part], part


def test_the_configuration_is_written_as_it_began_below_its_command(tmp_path, phantom_dir):
    flow = workflow(ROOT / "configs" / "small.yaml", output_dir=str(tmp_path / "run"), dataset_dir=str(phantom_dir))
    flow.parser["imports"] += ["$import acdc_semicycle.config.run_config as run_config", "$import pathlib"]
    flow.parser["training"] = ["$run_config.save(pathlib.Path(@output_dir))"]
    flow.initialize()
    flow.run()
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert text.startswith(run_config.TITLE) and "# The same run again:\n#   python" in text
    config = yaml.safe_load(text)
    values = {
        "dataset": "acdc",
        "demo": False,
        "labelled": 0.2,
        "epochs": 8,
        "image_size": [128, 128],
    }
    assert values.items() <= config.items() and config["dataset_dir"] == str(phantom_dir)
    assert config["optimizer"]["lr"] == "@learning_rate" and config["learning_rate"] == 0.0005
    assert config["cache_dir"].startswith("$") and config["device"].startswith("$")


def test_the_same_training_continues_from_its_configuration_as_from_its_command(tmp_path, phantom_dir, caplog):
    caplog.set_level("INFO", "semicycle")
    train(tmp_path / "run", dataset_dir=str(phantom_dir), steps_per_epoch=2)
    before = (tmp_path / "run" / "config.yaml").read_text()
    network = (tmp_path / "run" / "models" / "model.pt").read_bytes()
    flow = workflow(tmp_path / "run" / "config.yaml")
    flow.initialize()
    flow.run()
    assert "complete: nothing to do" in caplog.text
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    assert (tmp_path / "run" / "models" / "model.pt").read_bytes() == network
    train(tmp_path / "run", dataset_dir=str(phantom_dir), steps_per_epoch=2, epochs=2)
    assert "continuing after epoch 1" in caplog.text
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["epochs"] == 2


def test_a_config_yaml_of_a_users_own_is_left_alone(tmp_path, phantom_dir, capsys):
    mine = tmp_path / "run" / "config.yaml"
    mine.parent.mkdir()
    mine.write_text("epochs: 3\n")
    text = refused(capsys, lambda: train(tmp_path / "run", dataset_dir=str(phantom_dir)))
    assert f"{mine} is there and is not of this program" in text
    assert mine.read_text() == "epochs: 3\n" and not (tmp_path / "run" / "split.json").exists()


@pytest.mark.parametrize("name", ["$(touch planted)", "@a", "%b", "c#d", "e\nfake: 1", "g\udcfch", "i: 'j\"", "\x07"])
def test_a_path_of_any_name_is_read_as_the_path_it_was(tmp_path, name, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["semicycle", "train", "--images", name])
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser({"images": Path(name), "output_dir": Path(name), "seed": "$1 + 1", "folder": tmp_path})
    parser["imports"], parser["save"] = ["$import acdc_semicycle.config.run_config as s"], "$s.save(@folder)"
    parser.get_parsed_content("save")
    paths, settings = paths_and_settings(options_for(tmp_path))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert Path(str((paths | settings).get("images", config["images"]))) == Path(name)
    assert not config["images"].startswith(("$", "@", "%")) and config["seed"] == 2
    assert "fake" not in config


def test_a_run_is_named_by_its_folder_or_by_its_network(tmp_path, monkeypatch):
    (tmp_path / "run" / "models").mkdir(parents=True)
    network = tmp_path / "run" / "models" / "model.pt"
    for path in (tmp_path, network):
        with pytest.raises(InputError, match=rf"{path} has no config.yaml, which every .*: give a run's folder, or"):
            run_folder(path)
    (tmp_path / "run" / "config.yaml").touch()
    assert {run_folder(path) for path in (tmp_path / "run", network.parent, network)} == {tmp_path / "run"}
    monkeypatch.chdir(network.parent)
    assert run_folder("model.pt").samefile(tmp_path / "run") and run_folder("../models").samefile(tmp_path / "run")


def test_a_moved_run_is_scored_where_it_lies_whatever_it_was_called(tmp_path):
    (tmp_path / "config.yaml").write_text("output_dir: 'runs/a#1'\nimages: 'my#images'\n")
    assert options_for(tmp_path) == [f"--output_dir={tmp_path}", "--images=my#images"]


def test_the_images_of_a_run_are_those_that_it_was_trained_on(tmp_path):
    def images(**config) -> Path:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return images_of(tmp_path)

    assert images(dataset="phantom", dataset_dir=None) == tmp_path / "phantom"
    assert images(dataset="acdc", dataset_dir="/data/acdc") == Path("/data/acdc")
    assert images(dataset="own_scans", dataset_dir=None, images="my/images") == Path("my/images")
    for masks in (None, "my/images", "my/masks", "$print(1)"):
        assert images(dataset="own_scans", images="my/images", masks=masks) == Path("my/images")
    for config in (
        {"dataset": "voc", "dataset_dir": "VOC"},
        {"dataset": "cityscapes", "dataset_dir": "CITYSCAPES"},
        {"dataset": "mine"},
        {"dataset_dir": "$print(1)"},
        {"dataset": "own_scans", "images": "my", "masks": "my/masks"},
    ):
        with pytest.raises(InputError, match="cannot be told from its masks: give SCANS"):
            images(**config)
