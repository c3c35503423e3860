"""A training that starts from another one's network: what is taken over, by name, and what is refused."""

import json
import logging

import pytest
import torch

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.known_patients import KnownPatients
from acdc_semicycle.artifacts.warm_start import remember_source, start_from
from acdc_semicycle.data.splits import Split
from acdc_semicycle.methods.configured import configured
from acdc_semicycle.methods.network_description import NETWORKS, build, layers_of_classes
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.runtime.errors import InputError
from tests.methods import few_runs

NAMES = ["background", "RV", "MYO", "LV"]
SPLIT = Split(("p1",), ("p2",), ("p3",), ("p4",))
NONE = "no states yet"


def description(classes: int = 4, **more) -> dict:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": classes, "features": [4, 4, 4, 8, 8, 4]}
    return {"class": "monai.networks.nets.BasicUNet", "arguments": arguments | more}


def card_of(names: list[str] = NAMES, **more) -> dict:
    network = description(len(names), **more)
    images = {"image_size": [64, 64], "window": None, "in_channels": 1, "dataset": "acdc"}
    return {"classes": names, "network": network} | images


def objective_of(card: dict, seed: int = 1):
    torch.manual_seed(seed)
    return configured(Supervised(build(card["network"])), "cross_entropy", 0.9)


def run_of(folder, card: dict, seed: int = 0, split: Split = SPLIT):
    """What a training leaves; its folder and the weights."""
    torch.manual_seed(seed)
    state = build(card["network"]).state_dict()
    (folder / "models").mkdir(parents=True)
    weights.save(folder / "models" / "model.pt", state)
    (folder / "models" / "model.json").write_text(json.dumps(card | {"image_generator": None}))
    split.save(folder / "split.json")
    return folder, state


def test_the_segmenter_and_its_teacher_start_with_the_weights_of_the_run(tmp_path, caplog):
    source, state = run_of(tmp_path / "run", card_of())
    objective = objective_of(card_of())
    with caplog.at_level(logging.INFO, "semicycle"):
        start_from(source, objective, card_of(), Split(("p3",), (), ("p2",), ()), tmp_path / NONE)
    for network in (objective.G_IS, objective.T.network):
        torch.testing.assert_close(dict(network.state_dict()), dict(state), rtol=0, atol=0)
    assert caplog.messages[-1] == f"starts from {source / 'models' / 'model.pt'}"


@pytest.mark.parametrize("source", [None, "none"])
def test_without_a_source_the_weights_stay_as_they_are(tmp_path, source):
    objective, twin = objective_of(card_of()), objective_of(card_of())
    start_from(source, objective, card_of(), SPLIT, tmp_path)
    torch.testing.assert_close(objective.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_a_training_that_was_killed_before_its_first_state_starts_from_its_source_again(tmp_path):
    source, state = run_of(tmp_path / "run", card_of())
    objective = objective_of(card_of())
    weights.save(tmp_path / "models" / "model.pt", objective.G_IS.state_dict())
    start_from(source, objective, card_of(), SPLIT, tmp_path / "models")
    torch.testing.assert_close(dict(objective.G_IS.state_dict()), dict(state), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["last.pt", "previous.pt"])
def test_a_training_that_continues_does_not_read_its_source(tmp_path, name):
    (tmp_path / name).touch()
    start_from(tmp_path / "gone", objective_of(card_of()), card_of(), SPLIT, tmp_path)


def test_the_last_layer_is_taken_by_the_name_of_the_class(tmp_path, caplog):
    source, state = run_of(tmp_path / "run", card_of())
    card = card_of(["background", "LV", "scar", "RV", "aorta"])
    objective = objective_of(card)
    own = {name: weight.clone() for name, weight in objective.G_IS.state_dict().items()}
    with caplog.at_level(logging.INFO, "semicycle"):
        start_from(source, objective, card, SPLIT, tmp_path / NONE)
    result = objective.G_IS.state_dict()
    for name in ("final_conv.weight", "final_conv.bias"):
        assert torch.equal(result[name][[0, 1, 3]], state[name][[0, 3, 1]])
        assert torch.equal(result[name][[2, 4]], own[name][[2, 4]])
    others = [name for name in state if not name.startswith("final_conv")]
    assert len(others) > 10 and all(torch.equal(result[name], state[name]) for name in others)
    assert "the classes scar, aorta start anew" in caplog.text


def test_as_many_classes_in_another_order_are_put_in_order(tmp_path):
    source, state = run_of(tmp_path / "run", card_of())
    card = card_of(["background", "LV", "MYO", "RV"])
    objective = objective_of(card)
    start_from(source, objective, card, SPLIT, tmp_path / NONE)
    assert torch.equal(objective.G_IS.state_dict()["final_conv.bias"], state["final_conv.bias"][[0, 3, 2, 1]])


@pytest.mark.parametrize(
    "changed", [{"features": [4, 4, 4, 8, 8, 8]}, {"in_channels": 3}, {"norm": "batch"}], ids=lambda c: next(iter(c))
)
def test_a_network_that_differs_in_more_than_classes_is_refused(tmp_path, changed):
    source, _ = run_of(tmp_path / "run", card_of())
    card = card_of(**changed)
    objective, twin = objective_of(card), objective_of(card)
    with pytest.raises(
        InputError, match=r"is another network, BasicUNet\(.*\), than this training's, BasicUNet\(.*same"
    ):
        start_from(source, objective, card, SPLIT, tmp_path / NONE)
    torch.testing.assert_close(objective.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_what_holds_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="gone"):
        start_from(tmp_path / "gone", objective_of(card_of()), card_of(), SPLIT, tmp_path / NONE)
    source, state = run_of(tmp_path / "run", card_of())
    state["final_conv.bias"][1] = float("nan")
    weights.save(source / "models" / "model.pt", state)
    with pytest.raises(InputError, match=r"NaN or infinite weights \(final_conv.bias\): give another --from"):
        start_from(source, objective_of(card_of()), card_of(), SPLIT, tmp_path / NONE)


def test_of_a_folder_of_folds_one_is_to_be_chosen(tmp_path):
    for number in (1, 2):
        run_of(tmp_path / "folds" / f"fold_{number}", card_of())
    with pytest.raises(InputError, match=r"is a folder of folds: give one of its networks, such as .*fold_1"):
        start_from(tmp_path / "folds", objective_of(card_of()), card_of(), SPLIT, tmp_path / NONE)


@pytest.mark.parametrize(("dataset", "warned"), [("acdc", True), ("phantom", False)])
def test_patients_to_be_scored_that_were_trained_on_are_named(tmp_path, caplog, dataset, warned):
    source, _ = run_of(tmp_path / "run", card_of() | {"dataset": dataset}, split=Split(("p3", "p9"), ("p4",), (), ()))
    start_from(source, objective_of(card_of()), card_of(), SPLIT, tmp_path / NONE)
    assert ("trained on there: 1 patient to be scored, p3." in caplog.text) == warned


def test_images_of_another_kind_are_said(tmp_path, caplog):
    source, _ = run_of(tmp_path / "run", card_of() | {"window": [32, 32]})
    start_from(source, objective_of(card_of()), card_of(), SPLIT, tmp_path / NONE)
    assert "it was trained with window [32, 32], and this training has None" in caplog.text


LAYERS = {  # the last layer of each network in the list
    "ResidualGenerator": ({"filters": 2, "blocks": 1}, 2),
    "AttentionUnet": ({"channels": [4, 8], "strides": [2]}, 2),
    "BasicUNet": ({"features": [4, 4, 4, 8, 8, 4]}, 2),
    "DynUNet": ({"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4] * 3}, 2),
    "FlexibleUNet": ({"backbone": "efficientnet-b0"}, 2),
    "SegResNet": ({"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}, 2),
    "UNet": ({"channels": [4, 8], "strides": [2]}, None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_of_every_network_few_weights_depend_on_the_classes(name):
    short = name.rpartition(".")[2]
    more, count = LAYERS[short]
    shape = {} if short in ("ResidualGenerator", "FlexibleUNet") else {"spatial_dims": 2}
    layers = layers_of_classes({"class": name, "arguments": {"in_channels": 1, "out_channels": 3} | shape | more})
    assert layers and (count is None or len(layers) == count), layers


def test_a_training_starts_from_another_one(tmp_path, phantom_dir):
    """With a rate of next to nothing it ends where the other one did."""
    few_runs.train(tmp_path / "first", phantom_dir, "partial")
    settings = {"from": str(tmp_path / "first"), "learning_rate": 1e-12, "optimizer::weight_decay": 0.0}
    few_runs.train(tmp_path / "second", phantom_dir, "partial", **settings)
    first, second = (weights.load(tmp_path / name / "models" / "model.pt") for name in ("first", "second"))
    torch.testing.assert_close(second, first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dataset", "parts"), [("acdc", ["labelled", "test"]), ("phantom", ["test", "test"])])
def test_patients_of_the_network_that_a_training_started_from_are_known(tmp_path, dataset, parts):
    """Also of the one that this one started from; and an image of another data set by its contents."""
    oldest, _ = run_of(tmp_path / "oldest", card_of() | {"dataset": dataset}, split=Split(("t1",), (), (), ("t2",)))
    (oldest / "patients.json").write_text(json.dumps({"t1_scan": "t1"}))
    (oldest / "images.json").write_text(json.dumps({"t1_scan": "ff"}))
    older, _ = run_of(tmp_path / "older", card_of() | {"dataset": dataset})
    remember_source(oldest, card_of() | {"dataset": dataset}, older / NONE, older)
    newest, _ = run_of(tmp_path / "newest", card_of(), split=Split(("p9",), (), (), ("t1", "t2")))
    remember_source(older, card_of(), newest / NONE, newest)
    known = KnownPatients([newest / "split.json"])
    assert [known.part_of({name}) for name in ("t1", "t2")] == parts
    assert known.part_of({"stranger"}, "ff") == "labelled"


def test_what_was_known_stays_in_a_training_that_continues_alone(tmp_path):
    source, _ = run_of(tmp_path / "source", card_of())
    run, _ = run_of(tmp_path / "run", card_of(), split=Split(("p4",), (), (), ("p1",)))
    remember_source(source, card_of(), run / "models", run)
    (run / "models" / "last.pt").touch()
    remember_source(None, card_of(), run / "models", run)
    assert KnownPatients([run / "split.json"]).part_of({"p1"}) == "labelled"
    (run / "models" / "last.pt").unlink()
    remember_source("none", card_of(), run / "models", run)
    assert KnownPatients([run / "split.json"]).part_of({"p1"}) == "test"
