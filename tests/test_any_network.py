"""Any network of the list as either generator: it trains, is kept with its card, segments and is exported.

With few.yaml, too, where it sees windows.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from acdc_semicycle.artifacts import export
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.imageio import volumes
from acdc_semicycle.methods.network_description import build
from tests.config.test_bundle import refused, train, workflow
from tests.methods import few_runs

CONFIGS = Path(__file__).parents[1] / "bundles" / "semicycle" / "configs"
SIDES = {"in_channels": "@channels", "out_channels": "@class_count"}
SWAPPED = {"in_channels": "@class_count", "out_channels": "@channels"}
NETWORKS = {
    "BasicUNet": {"_target_": "BasicUNet", "spatial_dims": 2, **SIDES, "features": [4, 4, 4, 8, 8, 4]},
    "DynUNet": {
        "_target_": "monai.networks.nets.DynUNet", "spatial_dims": 2, **SIDES, "filters": [4, 8, 8],
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
    },
    "FlexibleUNet": {"_target_": "FlexibleUNet", **SIDES, "backbone": "resnet10", "decoder_channels": [16, 8, 8, 4, 4]},
    "SegResNet": {"_target_": "SegResNet", "spatial_dims": 2, **SIDES, "init_filters": 8},
}  # fmt: skip
RESIDUAL = {"_target_": "acdc_semicycle.methods.ResidualGenerator", **SIDES, "filters": 4, "blocks": 1}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, tmp_path_factory, phantom_dir):
    """A run that was stopped after the first of its two epochs, and the network's name. Read only."""
    folder = tmp_path_factory.mktemp("run")
    train(folder, **settings(request.param, phantom_dir), **{"train::trainer::max_epochs": 1})
    return folder, request.param


def settings(name: str, phantom_dir: Path) -> dict:
    """Of a run of two epochs with this network."""
    tiny = {"steps_per_epoch": 2, "epochs": 2, "constant_epochs": 0}
    networks = {"network_def": NETWORKS[name], "objective_def::G_SI": NETWORKS[name] | SWAPPED}
    return tiny | {"dataset_dir": str(phantom_dir)} | networks


def test_its_card_makes_the_network_again(trained):
    folder, name = trained
    model = open_model(folder)
    assert model.card["network"]["class"] == f"monai.networks.nets.{name}"
    kept = torch.load(folder / "models" / "last.pt", weights_only=True)["objective"]
    generators = {"G_IS": ("network", model.weights()), "G_SI": ("image_generator", model.image_generator())}
    for letters, (key, weights) in generators.items():
        network = build(model.card[key])
        load_network(network, weights, model.path)
        assert all(torch.equal(value, kept[f"{letters}.{name}"]) for name, value in network.state_dict().items())


def test_it_segments_a_scan_on_the_scans_grid(trained, tmp_path, phantom_dir):
    scan = next(phantom_dir.rglob("*frame01.nii.gz"))
    flow = ConfigWorkflow(
        str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False, input=scan, output_dir=tmp_path,
        checkpoint=trained[0], device="cpu",
    )  # fmt: skip
    flow.initialize()
    flow.run()
    flow.finalize()
    (segmented,) = tmp_path.glob("*_seg.nii.gz")
    labels, image = volumes.read(segmented), volumes.read(scan)
    assert labels.voxels.shape == image.voxels.shape and np.allclose(labels.affine, image.affine)


def test_it_goes_on_to_the_same_weights(trained, tmp_path, phantom_dir):
    folder, name = trained
    shutil.copytree(folder, tmp_path / "resumed")
    for run in ("straight", "resumed"):
        train(tmp_path / run, **settings(name, phantom_dir))
    straight, resumed = (
        torch.load(tmp_path / run / "models" / "last.pt", weights_only=True)["objective"]
        for run in ("straight", "resumed")
    )
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight if key != "_extra_state")


@pytest.mark.parametrize("name", [*NETWORKS, "ResidualGenerator"])
def test_with_few_it_learns_windows_and_its_card_makes_the_teacher_again(tmp_path, phantom_dir, name):
    network = NETWORKS.get(name, RESIDUAL)
    few_runs.train(tmp_path / "run", phantom_dir, network_def=network, epochs=1, **{"objective_def::start": 1})
    model = open_model(tmp_path / "run")
    assert (model.card["network"]["class"].rpartition(".")[2], model.card["window"]) == (name, [32, 32])
    segmenter = build(model.card["network"])
    load_network(segmenter, model.weights(), model.path)
    kept = few_runs.state(tmp_path / "run")
    assert all(torch.equal(value, kept[f"T.network.{key}"]) for key, value in segmenter.state_dict().items())
    assert any(not torch.equal(value, kept[f"G_IS.{key}"]) for key, value in segmenter.state_dict().items())


@pytest.mark.slow
def test_its_exports_are_the_network(trained, tmp_path):
    made = export.main(trained[0], tmp_path / "out", [])
    assert "0.000% of the labels differ" in made
    assert open_model(next((tmp_path / "out").glob("*.zip"))).card == open_model(trained[0]).card


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            NETWORKS["BasicUNet"] | {"out_channels": 3},
            "makes [2, 3, 32, 32] of [2, 1, 32, 32], expected",
        ),
        (NETWORKS["BasicUNet"] | {"spatial_dims": 3}, "does not take images of [2, 1, 32, 32]"),
        ({"_target_": "torch.nn.Conv2d", **SIDES, "kernel_size": 1}, "is not in the list of those that can be stored"),
        ({"_target_": "UNETR", **SIDES, "img_size": 32}, "is not in the list of those that can be stored and used"),
        (
            {"_target_": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "input_channels": 1},
            "PlainConvUNet, which is not in the list of networks: give ResidualGenerator, AttentionUnet",
        ),
        ({"_target_": "torch.nn.Conv2d", "input_channels": 1}, "Conv2d is not in the list of those that can be"),
        (NETWORKS["DynUNet"] | {"deep_supervision": True}, "deep_supervision is True, which is not supported: give"),
        (None, "network_def is not given"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_read(tmp_path, capsys, phantom_dir, network, words):
    flow = workflow(
        dataset_dir=str(phantom_dir), output_dir=str(tmp_path / "run"), image_size=[32, 32], network_def=network
    )
    assert words in refused(capsys, flow.initialize)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ({"in_channels": 3}, "does not take images of [2, 4, 32, 32]"),
        ({"out_channels": 2}, "makes [2, 2, 32, 32] of [2, 4, 32, 32], expected [2, 1, 32, 32]"),
    ],
)
def test_an_image_generator_of_other_channels_is_refused_before_anything_is_read(tmp_path, capsys, sides, words):
    given = {f"objective_def::G_SI::{name}": value for name, value in sides.items()}
    (tmp_path / "no_data").mkdir()  # to read it would be another error
    flow = workflow(
        dataset_dir=str(tmp_path / "no_data"), output_dir=str(tmp_path / "run"), image_size=[32, 32], **given
    )
    assert words in refused(capsys, flow.initialize)
    assert not (tmp_path / "run").exists()


def test_a_size_that_is_no_multiple_is_refused(tmp_path, capsys, phantom_dir):
    flow = workflow(dataset_dir=str(phantom_dir), image_size=[36, 32], network_def=NETWORKS["BasicUNet"])
    assert "image_size is [36, 32]: this network takes multiples of 16" in refused(capsys, flow.initialize)
