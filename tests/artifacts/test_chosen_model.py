"""Without ``--model`` a network is taken only where no other can be meant."""

import json
import os
from pathlib import Path

import pytest
import torch

from acdc_semicycle import bundle
from acdc_semicycle.artifacts import card as artifacts_card
from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.chosen_model import model_for
from acdc_semicycle.runtime.errors import InputError

HEART = ["background", "RV", "MYO", "LV"]
LIVER = ["background", "liver"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(name: str, age: int = 0, **card) -> Path:
    """A run below runs/ with a network whose card says this; the oldest has the lowest age."""
    path = Path("runs", name, "models", "model.pt")
    weights.save(path, {"weight": torch.zeros(1)})
    path.with_suffix(".json").write_text(json.dumps(card))
    os.utime(path, (age, age))
    return path


def touched(name: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def chosen(*source, output_dir="OUT") -> Path:
    return model_for("bundle", list(source), output_dir)


def test_without_a_run_the_bundles_own_network_is_named():
    assert chosen("scan.nii") == Path("bundle/models/model.pt")


def test_pictures_without_a_run_do_not_get_the_packages_own_network_of_scans(caplog):
    caplog.set_level("INFO", "semicycle")
    own = touched("bundle/models/model.pt")
    with pytest.raises(InputError, match="runs holds no network of pictures: the package's own is one of scans"):
        chosen(touched("cat.png"))
    assert caplog.messages == []
    assert chosen(touched("mixed/cat.png").parent, touched("mixed/scan.nii")) == own


def test_the_only_run_is_taken_for_any_scan_also_one_of_the_phantom():
    network = trained("phantom", dataset="phantom", classes=HEART)
    assert chosen(touched("scan.nii.gz")) == network
    assert chosen(touched("p/patient001/Info.cfg").parent) == network


def test_the_packages_own_network_goes_before_the_demonstration_and_after_every_other(caplog):
    caplog.set_level("INFO", "semicycle")
    own, scan = touched("bundle/models/model.pt"), touched("scan.nii.gz")
    assert chosen(scan) == own
    assert caplog.messages[0] == f"no network of yours fits: the pretrained one of this package is used, {own}"
    assert caplog.messages[1].startswith("it learnt from phantoms")
    demonstration = trained("phantom", dataset="phantom", classes=HEART)
    assert chosen(scan) == own
    assert model_for("bundle") == demonstration, "of no scans at all"
    touched("runs/phantom/phantom/phantom.json")
    assert chosen("runs/phantom/phantom") == demonstration
    trained("trial", dataset="acdc", classes=HEART, steps=2)
    assert chosen(scan) == own
    network = trained("acdc", dataset="acdc", classes=HEART)
    assert chosen(scan) == network


def test_the_packages_own_network_is_not_taken_where_scans_may_be_of_another_organ():
    own, scan = touched("bundle/models/model.pt"), touched("scan.nii.gz")
    trained("trial", dataset="own_scans", classes=LIVER, steps=2)
    with pytest.raises(InputError, match="0 of 1 network"):
        chosen(scan)
    touched("data/Info.cfg")
    assert chosen(touched("data/scan.nii.gz")) == own
    picture = touched("pictures/x.png")
    with pytest.raises(InputError, match="0 of 1 network"):
        chosen(picture)


def test_the_only_run_may_lie_in_a_linked_folder(tmp_path):
    Path("runs").mkdir()
    network = trained("../store/linked")
    Path("runs/linked").symlink_to(tmp_path / "store" / "linked")
    assert chosen("scan.nii").samefile(network)


def test_one_of_the_phantom_comes_after_all_others_but_for_the_phantom_itself(caplog):
    caplog.set_level("INFO", "semicycle")
    phantom, real = trained("phantom", 2, dataset="phantom"), trained("acdc", 1, dataset="acdc")
    assert chosen(touched("scan.nii.gz")) == real
    assert caplog.messages == ["the one that fits of 2 networks: runs/acdc"]
    touched("runs/phantom/phantom/phantom.json")
    scan = touched("runs/phantom/phantom/training/patient001/patient001_frame01.nii.gz")
    assert chosen("runs/phantom/phantom") == chosen(scan) == phantom


def test_a_trial_is_never_taken_and_told_as_one():
    trained("trial", dataset="own_scans", classes=LIVER, epoch=1, epochs=1, steps=2, validation={"dice": 0.0123})
    with pytest.raises(InputError) as caught:
        chosen(touched("HEART.nii.gz"))
    assert str(caught.value) == (
        "no --model is given, and 0 of 1 network below runs fit: runs/trial (a trial of 2 steps; own_scans: liver;"
        " validation dice 0.012): give one, such as --model runs/trial"
    )
    network = trained("acdc", dataset="acdc", epoch=8, epochs=8, steps=4000)
    assert chosen("HEART.nii.gz") == network


def test_runs_of_which_several_fit_are_told_in_one_line_the_newest_first():
    trained("acdc", 1, dataset="acdc", classes=HEART, epoch=37, epochs=400, steps=12000, validation={"dice": 0.8612})
    trained("old", 2)
    with pytest.raises(InputError) as caught:
        chosen("scan.nii.gz")
    assert str(caught.value) == (
        "no --model is given, and 2 of 2 networks below runs fit: runs/old (unknown data: RV, MYO, LV), runs/acdc"
        " (acdc: RV, MYO, LV; 12,000 steps; validation dice 0.861): give one, such as --model runs/old"
    )
    for number in range(20):
        trained(f"more{number:02d}", 3 + number)
    with pytest.raises(InputError, match=r"22 of 22 networks .*runs/more10 \(.*\) and 12 more: give one"):
        chosen("scan.nii.gz")


def test_pictures_take_a_network_of_pictures_and_scans_one_of_scans():
    cells = trained("cells", 1, dataset="own_pictures", pictures=True, in_channels=3, classes=["background", "cell"])
    liver = trained("liver", 2, dataset="own_scans", classes=LIVER)
    for name, network in {"a/x.PNG": cells, "b/x.nrrd": liver, "c/x.dcm": liver}.items():
        file = touched(name)
        assert chosen(file) == chosen(file.parent) == network
    for source in (["a", "b"], [], ["nowhere"]):
        with pytest.raises(InputError, match="2 of 2 networks"):
            chosen(*source)
    touched("b/OUT/x_seg.png")
    assert chosen("b", output_dir="b/OUT") == liver, "label maps of earlier predictions are no input"
    assert chosen("a", output_dir="a") == cells


@pytest.mark.parametrize("structure", ["liver", "pulmonary artery", "tumor", "labrum"])
def test_a_structure_that_has_the_letters_of_a_heart_is_none(structure):
    trained("other", dataset="own_scans", classes=["background", structure])
    touched("data/Info.cfg")
    with pytest.raises(InputError, match="0 of 1 network"):
        chosen(touched("data/scan.nii.gz"))


@pytest.mark.parametrize("structure", ["LV", "left ventricle", "Myocardium", "heart", "lv_myo", "left-atrium"])
def test_scans_of_acdc_take_a_network_of_hearts_alone(structure):
    trained("liver", 2, dataset="own_scans", classes=LIVER)
    scan = touched("data/patient001/patient001_frame01.nii.gz")
    touched("data/patient001/Info.cfg")
    with pytest.raises(InputError, match="0 of 1 network"):
        chosen("data")
    network = trained("heart", 1, dataset="own_scans", classes=["background", structure])
    assert chosen("data") == chosen(scan) == network


def test_a_run_whose_card_is_damaged_stops_no_other():
    damaged = trained("damaged", 2)
    damaged.with_suffix(".json").write_text("{")
    network = trained("acdc", 1, dataset="acdc")
    assert chosen("scan.nii") == network
    trained("acdc2", 3, dataset="acdc")
    with pytest.raises(InputError, match=r"2 of 3 networks .*runs/damaged \(damaged model.json\)"):
        chosen("scan.nii")


@pytest.mark.parametrize("validation", [[1], "0.9", 0.9])
def test_scores_that_are_none_damage_a_card(validation):
    trained("odd", validation=validation)
    with pytest.raises(InputError, match=r"0 of 1 network .*runs/odd \(damaged model.json\)"):
        chosen("scan.nii")


def test_folds_are_one_network_once_all_are_trained():
    first, _ = trained("acdc/fold_0", 1, dataset="acdc"), trained("acdc/fold_1", 2, dataset="acdc")
    with pytest.raises(InputError, match="2 of 2 networks"):
        chosen("scan.nii")
    touched("runs/acdc/folds.json")
    assert chosen("scan.nii") == first.parents[2] == Path("runs/acdc")


def test_hundreds_of_runs_of_one_network_are_checked_by_making_it_once(monkeypatch):
    checked = []
    monkeypatch.setattr(artifacts_card, "check_shapes", lambda *arguments: checked.append(arguments))
    artifacts_card._check_shapes_of_text.cache_clear()
    for number in range(9):
        trained(f"run{number}", dataset="acdc")
    with pytest.raises(InputError, match="9 of 9 networks"):
        chosen("scan.nii")
    artifacts_card._check_shapes_of_text.cache_clear()
    assert len(checked) == 2, "the segmenter and the image generator"


def test_an_output_folder_keeps_its_network(caplog):
    caplog.set_level("INFO", "semicycle")
    network, _ = trained("acdc", 1), trained("other", 2)
    Path("OUT").mkdir()
    Path("OUT/predictions.json").write_text(json.dumps({"model": {"path": str(network)}}))
    assert chosen("scan.nii") == network
    assert caplog.messages == [f"{network} is the network of OUT so far: --model gives another"]
    network.unlink()
    with pytest.raises(InputError, match=f"OUT holds label maps of {network}, which is not there: give --model, or"):
        chosen("scan.nii")


@pytest.mark.parametrize("content", ["{", "[" * 9999, "[]", "{}", '{"model": {"path": 3}}', '{"model": null}'])
def test_a_manifest_that_names_no_network_is_no_memory(content):
    network = trained("acdc")
    Path("OUT").mkdir()
    Path("OUT/predictions.json").write_text(content)
    assert chosen("scan.nii") == network


def test_configurations_of_version_0_1_find_the_network_by_the_former_name():
    network = trained("acdc")
    assert bundle.newest_model("bundle") == network
