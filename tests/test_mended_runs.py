"""The loop on the phantom: a run, drafts that are mended, and a run that takes them in and starts from the first."""

import json
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle.datasets import drafts
from acdc_semicycle.datasets.drafts import Draft
from tests.config.test_bundle import refused
from tests.methods import few_runs

CLASSES = ["background", "RV", "MYO", "LV"]


def draft_of(phantom: Path, patient: str, folder: Path, mended: bool) -> Draft:
    """The draft of a patient's ED frame, here the truth moved by a voxel, and the file in which slice 3 is mended."""
    case = f"{patient}_frame01"
    scan = nibabel.load(phantom / "training" / patient / f"{case}_gt.nii.gz")
    truth = np.asarray(scan.dataobj).astype(np.uint8)
    labels = np.roll(truth, 1, 0)
    shown = labels.copy()
    if mended:
        shown[..., 3] = truth[..., 3]
    nibabel.save(nibabel.Nifti1Image(shown, scan.affine), folder / f"{case}.nii.gz")
    return Draft(case, patient, f"{case}.nii.gz", f"{case}.nii.gz", labels, (2,))


@pytest.fixture
def drafts_dir(phantom_dir, tmp_path) -> Path:
    """Drafts of two patients, of which the first one's is mended."""
    folder = tmp_path / "drafts"
    folder.mkdir()
    known = [draft_of(phantom_dir, name, folder, name == "patient001") for name in ("patient001", "patient003")]
    drafts.save(folder, "runs/first", CLASSES, known)
    return folder


def lists(folder: Path) -> dict[str, str]:
    """Lists of patients by which two are labelled, and one validated."""
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text("".join(f"patient00{number}\n" for number in (5, 6, 1, 3, 7)))
    (folder / "val.txt").write_text("patient002\n")
    return {"train_list": str(folder / "train.txt"), "validation_list": str(folder / "val.txt"), "labelled": 2}


@pytest.mark.slow
@pytest.mark.parametrize("method", [[], ["partial"], ["semicycle"]], ids=["few", "partial", "semicycle"])
def test_mended_slices_are_learned_from_and_the_gain_is_told(phantom_dir, drafts_dir, tmp_path, caplog, method):
    settings = lists(tmp_path / "lists")
    if method == ["semicycle"]:
        settings |= {"filters": 2, "blocks": 1, "d_filters": 2}
    few_runs.train(tmp_path / "first", phantom_dir, *method, **settings)
    with caplog.at_level(logging.INFO, "semicycle"):
        settings |= {"mended": str(drafts_dir), "from": str(tmp_path / "first")}
        few_runs.train(tmp_path / "second", phantom_dir, *method, **settings)
    split = json.loads((tmp_path / "second" / "split.json").read_text())
    assert split["labelled"] == ["patient005", "patient006", "patient001"]
    assert split["unlabelled"] == ["patient003", "patient007", "patient001"]
    assert "1 mended mask from" in caplog.text and "1 mask is no truth, as nobody changed the draft" in caplog.text
    assert "patient001_frame01  2 of 6 slices" in caplog.text
    rows = (tmp_path / "second" / "mended.csv").read_text().splitlines()
    assert [row.split(",")[5] for row in rows[1:]] == CLASSES[1:] and all(
        row.split(",")[4] == "3 4" for row in rows[1:]
    )
    assert "after, on 1 patient that neither training learned from" in caplog.text


@pytest.mark.slow
def test_a_fold_scores_a_mended_patient_on_the_annotated_slices(phantom_dir, drafts_dir, tmp_path):
    settings = lists(tmp_path / "lists")
    del settings["validation_list"]
    for number in range(3):
        folder = tmp_path / f"fold_{number}"
        override = settings | {"mended": str(drafts_dir), "split::fold": [number, 3], "epochs": 1, "steps_per_epoch": 1}
        few_runs.train(folder, phantom_dir, "partial", **override)
        report = json.loads((folder / "validation" / "report.json").read_text())
        if report["cases"][0]["patient"] == "patient001":
            break
    assert [case["case"] for case in report["cases"]] == ["patient001_frame01", "patient001_frame10"]
    with np.load(folder / "validation" / "panel.npz") as panel:
        assert any(255 in panel[name] for name in panel.files)


def test_a_run_that_continues_with_other_mended_slices_is_refused(phantom_dir, drafts_dir, tmp_path, capsys):
    settings = lists(tmp_path / "lists") | {"mended": str(drafts_dir), "epochs": 1, "steps_per_epoch": 1}
    few_runs.train(tmp_path / "run", phantom_dir, "partial", **settings)
    path = drafts_dir / "drafts.json"
    path.write_text(path.read_text().replace("2\n   ]", "4\n   ]"))
    text = refused(capsys, lambda: few_runs.train(tmp_path / "run", phantom_dir, "partial", **settings | {"epochs": 2}))
    assert "1 file changed since the training in" in text and "first the annotated slices of patient001_frame01" in text


def test_a_mask_of_another_geometry_and_other_values_are_named_before_anything_is_written(
    phantom_dir, drafts_dir, tmp_path, capsys
):
    path = drafts_dir / "patient001_frame01.nii.gz"
    scan = nibabel.load(path)
    voxels = np.asarray(scan.dataobj).copy()
    settings = lists(tmp_path / "lists") | {"mended": str(drafts_dir)}
    nibabel.save(nibabel.Nifti1Image(voxels, scan.affine + 3 * np.eye(4, k=3)), path)
    text = refused(capsys, lambda: few_runs.train(tmp_path / "run", phantom_dir, **settings))
    assert "patient001_frame01.nii.gz lies elsewhere in space than its image" in text
    voxels[0, 0, 3] = 9
    nibabel.save(nibabel.Nifti1Image(voxels, scan.affine), path)
    text = refused(capsys, lambda: few_runs.train(tmp_path / "run", phantom_dir, **settings))
    assert "holds the label 9: expected whole numbers 0 to 3, or 255 (not annotated), the classes of the" in text
    assert not (tmp_path / "run" / "split.json").exists()
