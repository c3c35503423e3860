"""The network that the package holds: small, whole, described, and taken by name."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import load

from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts import pretrained, warm_start, weights
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.data import training_ranges
from acdc_semicycle.data.splits import Split
from acdc_semicycle.methods.configured import configured
from acdc_semicycle.methods.network_description import build
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.runtime.errors import InputError

CARD = {
    "classes": ["background", "RV", "MYO", "LV"],
    "network": {
        "class": "monai.networks.nets.BasicUNet",
        "arguments": {"spatial_dims": 2, "in_channels": 1, "out_channels": 4, "features": [4, 4, 4, 4, 4, 4]},
    },
    "image_size": [64, 64],
    "window": [32, 32],
    "in_channels": 1,
    "dataset": "phantoms_and_sunnybrook",
    "image_generator": None,
}


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    weights.save(tmp_path / "run" / "models" / "model.pt", build(CARD["network"]).state_dict())
    (tmp_path / "run" / "models" / "model.json").write_text(json.dumps(CARD))
    return tmp_path / "run"


def test_what_is_packaged_is_the_run_in_half_precision(run, tmp_path):
    path = pretrained.package(run, tmp_path / "package" / "model.pt")
    before, after = open_model(run), open_model(path)
    assert after.card == before.card
    for name, values in before.weights().items():
        assert after.weights()[name].dtype == torch.float16
        torch.testing.assert_close(after.weights()[name].float(), values, rtol=1e-3, atol=1e-4)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.with_suffix(".sha256").read_text() == f"{digest}  model.pt\n"
    assert after.ranges is None, "as of the run"


def test_of_the_training_only_that_no_intensity_was_negative_is_kept(run, tmp_path):
    facts = training_ranges.Facts((256, 256, 1), None, (0, 0, 9, 99, 100))
    training_ranges.remember_ranges(training_ranges.ranges_of([facts]), run / "models")
    ranges = open_model(pretrained.package(run, tmp_path / "package" / "model.pt")).ranges
    assert training_ranges.outside(ranges, training_ranges.Facts((64, 900, 3), (4, 4, 50), (0, 0, 9, 99, 100))) == []
    assert training_ranges.outside(ranges, facts._replace(intensities=(-1000, -900, 9, 99, 100)))


def test_a_network_that_is_too_large_is_not_packaged(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "LARGEST_MB", 0.001)
    with pytest.raises(InputError, match=r"MB of weights, at most 0.001 are shipped"):
        pretrained.package(run, tmp_path / "package" / "model.pt")
    assert not (tmp_path / "package").exists()


def test_a_training_starts_from_it_by_its_name(run, tmp_path, monkeypatch, caplog):
    path = pretrained.package(run, tmp_path / "package" / "model.pt")
    monkeypatch.setattr(model_files, "pretrained", lambda: path)
    objective = configured(Supervised(build(CARD["network"])), "cross_entropy", 0.9)
    with caplog.at_level("INFO", "semicycle"):
        warm_start.start_from("pretrained", objective, CARD, Split(("p",), (), (), ()), tmp_path / "models")
    assert f"starts from {path}" in caplog.text
    expected = {name: values.float() for name, values in open_model(path).weights().items()}
    torch.testing.assert_close(dict(objective.T.network.state_dict()), expected, rtol=0, atol=0)


def test_the_one_that_is_shipped_is_whole_small_and_for_hearts():
    path = model_files.pretrained()
    digest, _, name = path.with_suffix(".sha256").read_text().strip().partition("  ")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest and name == "model.pt"
    assert path.stat().st_size < 8e6
    model = open_model(path)
    assert model.card["classes"] == ["background", "RV", "MYO", "LV"]
    assert model.card["dataset"] == "phantoms_and_sunnybrook"
    assert model.ranges["negative"] is False
    weights.load_network(build(model.card["network"]), model.weights(), path)


def test_monai_loads_it_from_the_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = model_files.pretrained().resolve().parents[1]
    network = load("semicycle", bundle_dir=bundle.parent, workflow_type="inference")
    expected = {name: values.float() for name, values in open_model(bundle).weights().items()}
    torch.testing.assert_close(dict(network.state_dict()), expected, rtol=0, atol=0)


def test_a_run_of_that_name_goes_before_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_model("pretrained").path == model_files.pretrained()
    run.rename("pretrained")
    assert open_model("pretrained").path == Path("pretrained/models/model.pt")


def test_a_package_without_its_network_is_to_be_installed_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_files, "pretrained", lambda: tmp_path / "package" / "model.pt")
    with pytest.raises(InputError, match=r"package/model.pt, the network of this package, is missing: install"):
        open_model("pretrained")
