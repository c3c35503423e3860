"""``semicycle next``: who is a candidate, what is written, and what is refused in one line."""

import csv
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

from acdc_semicycle import cli
from acdc_semicycle.annotation import candidates, next_patients
from acdc_semicycle.annotation.assessment import Assessor, turned
from acdc_semicycle.annotation.next_patients import Wishes
from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.datasets import acdc, drafts
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

CARD = {"filters": 2, "blocks": 1, "image_size": [32, 32]}
SPLIT = {
    "labelled": ["patient001", "patient002"],
    "unlabelled": [f"patient00{number}" for number in range(3, 8)],
    "validation": ["patient008"],
    "test": [],
}


def network_in(folder: Path, split=None, seed=0, network=None, **card) -> Path:
    """A run's folder with a small network that was not trained."""
    torch.manual_seed(seed)
    path = folder / "models" / "model.pt"
    weights.save(path, (network or ResidualGenerator(1, 4, filters=2, blocks=1)).state_dict())
    path.with_suffix(".json").write_text(json.dumps(CARD | card))
    if split:
        (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that was trained on masks of two of the phantom's eight patients."""
    return network_in(tmp_path_factory.mktemp("runs") / "few", SPLIT)


@pytest.fixture
def data(phantom_dir, tmp_path) -> Path:
    """The first four patients of the phantom, of whom two have masks."""
    root = tmp_path / "data"
    for number in range(1, 5):
        shutil.copytree(phantom_dir / "training" / f"patient00{number}", root / f"patient00{number}")
    for number in (3, 4):
        for mask in (root / f"patient00{number}").glob("*_gt.nii.gz"):
            mask.unlink()
    return root


def next_lines(run, data, output, **wishes) -> list[str]:
    return list(next_patients.lines(run, data, output, Wishes(**wishes)))


# --- who is a candidate


def test_patients_whose_masks_the_training_did_not_see_are_candidates(run, phantom_dir):
    people = candidates.find(phantom_dir, None, None, open_model(run))
    assert list(people.scans) == SPLIT["unlabelled"] and list(people.annotated) == SPLIT["labelled"]
    assert people.patients == 8 and people.has_split  # the validation patient has masks, and is neither


def test_scans_without_a_mask_are_candidates_also_of_a_patient_whom_the_run_does_not_know(run, data):
    (data / "patient003").rename(data / "patient077")
    for path in (data / "patient077").iterdir():
        path.rename(path.with_name(path.name.replace("patient003", "patient077")))
    people = candidates.find(data, None, None, open_model(run))
    assert list(people.scans) == ["patient004", "patient077"]


def test_an_image_of_the_training_under_another_name_is_annotated(tmp_path, data):
    run = network_in(tmp_path / "run", SPLIT)
    image = data / "patient001" / "patient001_frame01.nii.gz"
    (run / "patients.json").write_text(json.dumps({"patient001_frame01": "patient001"}))
    (run / "images.json").write_text(json.dumps({"patient001_frame01": candidates.image_digest(image)}))
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(image, scans / "copy.nii.gz")
    shutil.copy(data / "patient003" / "patient003_frame01.nii.gz", scans / "new.nii.gz")
    people = candidates.find(scans, None, None, open_model(run))
    assert list(people.scans) == ["new"] and list(people.annotated) == ["copy"]


def test_of_a_network_without_a_split_those_with_masks_are_annotated(tmp_path, data):
    people = candidates.find(data, None, None, open_model(network_in(tmp_path / "run")))
    assert list(people.scans) == ["patient003", "patient004"]
    assert list(people.annotated) == ["patient001", "patient002"] and not people.has_split


def in_layout(root: Path, data: Path, images: str, masks: str | None, ending: str = "") -> Path:
    """The scans of four patients in a folder of their own, and the masks of two of them in another."""
    for record in acdc.records(data):
        (root / images).mkdir(parents=True, exist_ok=True)
        shutil.copy(record.image, root / images / f"{record.case}{ending}.nii.gz")
        if masks and record.label:
            (root / masks).mkdir(parents=True, exist_ok=True)
            shutil.copy(record.label, root / masks / f"{record.case}.nii.gz")
    return root


@pytest.mark.parametrize(
    ("images", "masks", "ending", "count"),
    [("images", "masks", "", 2), ("imagesTr", "labelsTr", "_0000", 2), ("", None, "", 4)],
)
def test_folders_of_any_layout_are_read(tmp_path, data, images, masks, ending, count):
    root = in_layout(tmp_path / "own", data, images, masks, ending)
    if ending:
        (root / "dataset.json").write_text(
            json.dumps({"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}, "channel_names": {"0": "MR"}})
        )
    people = candidates.find(root, None, r"^(patient\d+)_", open_model(network_in(tmp_path / "run")))
    assert len(people.scans) == count and all(len(scans) == 2 for scans in people.scans.values())


def test_a_folder_of_masks_may_be_named(tmp_path, data):
    root = in_layout(tmp_path / "own", data, "scans", "truths")
    people = candidates.find(
        root / "scans", root / "truths", r"^(patient\d+)_", open_model(network_in(tmp_path / "run"))
    )
    assert list(people.scans) == ["patient003", "patient004"]


# --- what is written


def test_drafts_are_what_predict_writes_with_a_list_and_a_picture(run, data, tmp_path, capsys):
    output = tmp_path / "drafts"
    shown = next_lines(run, data, output, patients=1, slices=2)
    written = drafts.load(output / drafts.FILE)
    assert {path.name for path in output.iterdir()} == {"drafts.json", "drafts.csv", "overview.png"} | {
        draft.file for draft in written.drafts.values()
    }
    assert written.classes == ("background", "RV", "MYO", "LV") and len(written.drafts) == 2
    for case, draft in written.drafts.items():
        image = nibabel.load(draft.image)
        stored = nibabel.load(output / draft.file)
        assert draft.file == f"{case}.nii.gz" and draft.patient == case.split("_")[0]
        assert np.array_equal(np.asarray(stored.dataobj), draft.labels)
        assert stored.shape == image.shape and np.allclose(stored.affine, image.affine)
        assert len(draft.slices_to_mend) == 2 and len(draft.reasons["expected_gain"]) == 2
    with (output / "drafts.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        numbers = [int(number) - 1 for number in row["slices_to_mend"].split()]
        assert numbers == list(written.drafts[row["case"]].slices_to_mend)
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert f"--mended {output} --from {run}" in shown[-1] and "3D Slicer or ITK-SNAP" in shown[-1]


def test_nothing_is_copied_and_nothing_in_the_data_changes(run, data, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    next_lines(run, data, tmp_path / "drafts", patients=1)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_the_same_command_chooses_the_same(run, data, tmp_path):
    chosen = []
    for name in ("a", "b"):
        next_lines(run, data, tmp_path / name, patients=2)
        chosen.append(json.loads((tmp_path / name / "drafts.json").read_text()) | {"made": None})
    assert chosen[0] == chosen[1]


def test_duplicates_by_content_are_named_and_count_once(run, data, tmp_path):
    shutil.rmtree(data / "patient004")
    shutil.copytree(data / "patient003", data / "patient004")
    for path in (data / "patient004").iterdir():
        path.rename(path.with_name(path.name.replace("patient003", "patient004")))
    shown = next_lines(run, data, tmp_path / "drafts", patients=1)
    assert "note: patient004 and patient003 have the same scan: it counts once" in shown
    with pytest.raises(InputError, match=r"--patients is 2, and 1 of .* can be annotated"):
        next_lines(run, data, tmp_path / "more", patients=2)


def test_a_scan_stored_backwards_has_its_slices_counted_as_stored(run, data, tmp_path):
    image = data / "patient003" / "patient003_frame01.nii.gz"
    whole = nibabel.load(image)
    voxels, affine = np.asarray(whole.dataobj), whole.affine.copy()
    assess = Assessor(run)
    forwards = [gain.slice_index for gain in assess(image)[0].gains]
    affine[:, 3] += affine[:, 2] * (voxels.shape[2] - 1)
    affine[:, 2] *= -1
    backwards = tmp_path / "backwards.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels[:, :, ::-1], affine), backwards)
    last = voxels.shape[2] - 1
    assert [last - gain.slice_index for gain in assess(backwards)[0].gains] == forwards


def test_slices_along_another_axis_are_not_numbered(run, data, tmp_path):
    whole = nibabel.load(data / "patient003" / "patient003_frame01.nii.gz")
    voxels = np.moveaxis(np.asarray(whole.dataobj), 2, 0)
    sagittal = tmp_path / "sagittal.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, whole.affine[:, [2, 0, 1, 3]]), sagittal)
    assert Assessor(run)(sagittal)[0].gains == ()


def test_one_slice_scans_are_taken(run, data, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    whole = nibabel.load(data / "patient003" / "patient003_frame01.nii.gz")
    voxels = np.asarray(whole.dataobj)[:, :, 2:3]
    nibabel.save(nibabel.Nifti1Image(voxels, whole.affine), scans / "one.nii.gz")
    next_lines(run, scans, tmp_path / "drafts", patients=1)
    (draft,) = drafts.load(tmp_path / "drafts" / drafts.FILE).drafts.values()
    assert draft.slices_to_mend == (0,) and draft.labels.shape == (32, 32, 1)


def test_folds_disagree_where_their_networks_do(tmp_path, data):
    for number in range(2):
        network_in(tmp_path / "folds" / f"fold_{number}", SPLIT, seed=number)
        network_in(tmp_path / "same" / f"fold_{number}", SPLIT, seed=0)
    image = data / "patient003" / "patient003_frame01.nii.gz"
    assert Assessor(tmp_path / "folds")(image)[0].disagreement > 0.05
    assert Assessor(tmp_path / "same")(image)[0].disagreement == pytest.approx(0, abs=1e-6)
    shown = next_lines(tmp_path / "folds", data, tmp_path / "drafts", patients=1)
    assert f"--from {tmp_path / 'folds' / 'fold_0'}" in shown[-1]


def test_a_turned_image_is_turned_back(run):
    grid = torch.linspace(-1, 1, 40)
    blob = torch.exp(-4 * (grid[:, None] ** 2 + (grid[None, :] * 1.5 - 0.3) ** 2))[None, ..., None]
    there_and_back = turned(turned(blob, 10.0), -10.0)
    assert (there_and_back - blob).abs().max() < 0.02 < (turned(blob, 10.0) - blob).abs().max()


def test_a_square_in_a_wide_image_stays_square_when_it_is_turned():
    image = torch.zeros(1, 30, 60, 1)
    image[0, 10:20, 25:35] = 1
    quarter = turned(image, 90.0)
    assert (quarter - image).abs().max() < 1e-3


def test_a_network_of_windows_is_assessed(tmp_path, data):
    network = BasicUNet(2, 1, 4, features=(4, 4, 4, 4, 8, 4))
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 4, "features": [4, 4, 4, 4, 8, 4]}
    description = {"class": "monai.networks.nets.BasicUNet", "arguments": arguments}
    run = tmp_path / "windows"
    path = run / "models" / "model.pt"
    weights.save(path, network.state_dict())
    card = {"network": description, "image_size": [64, 64], "window": [32, 32]}
    path.with_suffix(".json").write_text(json.dumps(card))
    result = Assessor(run)(data / "patient003" / "patient003_frame01.nii.gz")[0]
    assert result.features.shape == (8,) and len(result.gains) == 6


def test_pictures_have_drafts_in_the_colours_of_the_classes(tmp_path):
    from PIL import Image

    network = ResidualGenerator(3, 3, filters=2, blocks=1)
    card = {"in_channels": 3, "intensity_range": [0, 255], "pictures": True, "classes": ["background", "cat", "dog"]}
    run = network_in(tmp_path / "run", network=network, **card)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photographs / f"{number}.png")
    next_lines(run, photographs, tmp_path / "drafts", patients=2)
    written = drafts.load(tmp_path / "drafts" / drafts.FILE).drafts
    assert sorted(draft.file for draft in written.values()) == ["0.png", "1.png"]
    assert written["0"].labels.shape == (24, 40, 1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "drafts" / "0.png")), written["0"].labels[..., 0])


def test_an_expected_dice_that_was_fitted_is_used_and_one_that_was_not_is_called_a_rank(run, data, tmp_path):
    fitted = network_in(tmp_path / "fitted", SPLIT)
    (fitted / "models" / "quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    image = data / "patient003" / "patient003_frame01.nii.gz"
    own, by_fit = Assessor(run)(image)[0], Assessor(fitted)(image)[0]
    assert by_fit.dice == pytest.approx(0.5 * own.dice + 0.1) and by_fit.is_fitted and not own.is_fitted
    for model, meaning, ranks in ((run, "rank", True), (fitted, "fitted", False)):
        shown = next_lines(model, data, tmp_path / f"drafts_{meaning}", patients=1)
        assert json.loads((tmp_path / f"drafts_{meaning}" / "drafts.json").read_text())["expected_dice"] == meaning
        assert any("it ranks, and is too high" in line for line in shown) is ranks


def test_the_verb_writes_drafts(monkeypatch, run, data, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["semicycle", "next", str(run), str(data), "-o", "out", "--patients", "1", "--no-diversity"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.main() == 0
    content = json.loads((tmp_path / "out" / "drafts.json").read_text())
    assert content["terms"]["diversity"] is False and content["scans"][0]["reasons"]["score"] is not None
    assert "1. patient00" in capsys.readouterr().out


# --- what is refused, and that nothing is lost


def test_mended_drafts_are_never_overwritten(run, data, tmp_path):
    output = tmp_path / "drafts"
    next_lines(run, data, output, patients=1)
    first = next(output.glob("*.nii.gz"))
    image = nibabel.load(first)
    mended = np.asarray(image.dataobj).copy()
    mended[0, 0, 0] = 3 - mended[0, 0, 0]
    nibabel.save(nibabel.Nifti1Image(mended, image.affine), first)
    before = {path: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(InputError, match="holds 2 drafts, of which 1 was changed: it is left as it is"):
        next_lines(run, data, output, patients=1)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_a_folder_with_other_files_is_left_as_it_is(run, data, tmp_path):
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files: it is left as it is, give another output folder"):
        next_lines(run, data, tmp_path / "drafts")


def test_an_empty_folder_is_taken(run, data, tmp_path):
    (tmp_path / "drafts").mkdir()
    next_lines(run, data, tmp_path / "drafts", patients=1)
    assert (tmp_path / "drafts" / "drafts.json").is_file()


def test_what_is_interrupted_leaves_nothing(monkeypatch, run, data, tmp_path):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(next_patients.drafts_folder, "write_overview", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next_lines(run, data, tmp_path / "out" / "drafts", patients=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_appears_meanwhile_is_left_as_it_is(monkeypatch, run, data, tmp_path):
    output = tmp_path / "drafts"

    def another_process(*arguments):
        output.mkdir()
        (output / "mine.txt").write_text("mine")

    monkeypatch.setattr(next_patients.drafts_folder, "write_overview", another_process)
    with pytest.raises(InputError, match="holds other files"):
        next_lines(run, data, output, patients=1)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_drafts_within_the_data_are_refused(run, data):
    with pytest.raises(InputError, match="where drafts would count as masks: give an output folder elsewhere"):
        next_lines(run, data, data / "drafts")
    assert not (data / "drafts").exists()


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"patients": 0}, "--patients is 0: give a whole number from 1 on"),
        ({"slices": 0}, "--slices is 0: give a whole number from 1 on"),
        ({"patients": 3}, "--patients is 3, and 2 of .* can be annotated: give at most --patients 2"),
        ({"terms": dict.fromkeys(next_patients.TERMS, False)}, "nothing is left to rank patients by"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(run, data, tmp_path, wishes, words):
    with pytest.raises(InputError, match=words):
        next_lines(run, data, tmp_path / "drafts", **wishes)
    assert not (tmp_path / "drafts").exists()


def test_nobody_to_annotate_is_refused(run, data, tmp_path):
    for number in (3, 4):
        shutil.rmtree(data / f"patient00{number}")
    with pytest.raises(InputError, match="holds nobody to annotate: all of 2 patients have masks"):
        next_lines(run, data, tmp_path / "drafts")


def test_empty_data_are_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image"):
        next_lines(run, tmp_path / "empty", tmp_path / "drafts")
    with pytest.raises(InputError, match="nowhere is not a folder"):
        next_lines(run, tmp_path / "nowhere", tmp_path / "drafts")


def test_pictures_for_a_network_of_scans_are_refused(run, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "pictures" / "a.png")
    with pytest.raises(InputError, match=r"was trained on scans, and .*pictures holds pictures: give a run"):
        next_lines(run, tmp_path / "pictures", tmp_path / "drafts")


def test_a_network_of_other_classes_is_refused(data, tmp_path):
    network = ResidualGenerator(1, 2, filters=2, blocks=1)
    run = network_in(tmp_path / "run", network=network, classes=["background", "tumour"])
    with pytest.raises(InputError, match=r"has the classes background, RV, MYO, LV, and .* has background, tumour"):
        next_lines(run, data, tmp_path / "drafts")


def test_cines_are_left_out_with_a_line(run, data, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    whole = nibabel.load(data / "patient003" / "patient003_frame01.nii.gz")
    voxels = np.asarray(whole.dataobj)
    nibabel.save(nibabel.Nifti1Image(np.stack([voxels, voxels + 1], -1), whole.affine), scans / "cine.nii.gz")
    with pytest.raises(InputError, match=r"nothing to annotate but 1 cine \(cine.nii.gz\): give the frames"):
        next_lines(run, scans, tmp_path / "drafts")
    nibabel.save(whole, scans / "still.nii.gz")
    shown = next_lines(run, scans, tmp_path / "drafts", patients=1)
    assert "note: 1 cine left out: give the frames to annotate as files of their own" in shown


def test_a_damaged_scan_costs_its_patient_and_a_line(run, data, tmp_path, caplog):
    (data / "patient003" / "patient003_frame01.nii.gz").write_bytes(b"damaged")
    shown = next_lines(run, data, tmp_path / "drafts", patients=1)
    assert any("patient004" in line for line in shown)
    assert "patient003 is left out: " in caplog.text and "patient003_frame01.nii.gz" in caplog.text


def test_a_network_that_knows_nobody_here_says_so(data, tmp_path):
    (tmp_path / "scans").mkdir()
    shutil.copy(data / "patient003" / "patient003_frame01.nii.gz", tmp_path / "scans" / "x.nii.gz")
    shown = next_lines(network_in(tmp_path / "run"), tmp_path / "scans", tmp_path / "a", patients=1)
    assert "note: whom the network was trained on is not known: patients with masks count as annotated" in shown
    run = network_in(tmp_path / "other", SPLIT)
    shown = next_lines(run, tmp_path / "scans", tmp_path / "b", patients=1)
    assert any("diversity is among the chosen alone" in line for line in shown)
