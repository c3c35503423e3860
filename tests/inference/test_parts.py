"""What a prediction writes of the parts of its network's split: of each case, and of what it was asked for."""

import json
import shutil

import pytest
from predicting import manifest_of, run, volume

from acdc_semicycle.data.digests import image_digest
from acdc_semicycle.inference.postprocessing import Refined

SPLIT = {"labelled": ["p1"], "unlabelled": ["p2"], "validation": ["p3"], "test": ["p4"]}


@pytest.fixture
def scans(tmp_path, model):
    """Scans of five patients, the first four of them those of the network's split; each of other voxels."""
    (tmp_path / "split.json").write_text(json.dumps(SPLIT))
    (tmp_path / "patients.json").write_text(json.dumps({f"p{n}_scan": f"p{n}" for n in range(1, 5)}))
    for n in range(1, 6):
        volume(tmp_path / "in" / f"p{n}_scan.nii.gz", (20, 20 + n, 5))
    seen = {f"p{n}_scan": image_digest(tmp_path / "in" / f"p{n}_scan.nii.gz") for n in range(1, 4)}
    (tmp_path / "images.json").write_text(json.dumps(seen))
    return tmp_path / "in"


def parts_in(folder) -> dict:
    return {case["case"]: case["part"] for case in manifest_of(folder)["cases"]}


def test_each_case_has_the_part_of_its_patient(tmp_path, model, scans, caplog):
    caplog.set_level("INFO", "semicycle")
    run(scans, tmp_path / "out", model, cycle=False)
    assert list(parts_in(tmp_path / "out").values()) == ["labelled", "unlabelled", "validation", "test", "new"]
    assert manifest_of(tmp_path / "out")["asked_for"] is None
    words = "1 labelled (trained on with masks), 1 unlabelled (trained on without masks), 1 validation (may have chosen"
    assert f"3 of 5 cases are of patients whom the network knows: {words} its epoch)" in caplog.messages


def test_one_case_is_told_in_the_singular(tmp_path, model, scans, caplog):
    caplog.set_level("INFO", "semicycle")
    run(scans / "p1_scan.nii.gz", tmp_path / "out", model, cycle=False)
    assert "1 of 1 case is of patients whom the network knows: 1 labelled (trained on with masks)" in caplog.messages


def test_a_scan_of_the_training_is_known_under_another_name(tmp_path, model, scans, caplog):
    caplog.set_level("INFO", "semicycle")
    (tmp_path / "others").mkdir()
    shutil.copy(scans / "p1_scan.nii.gz", tmp_path / "others" / "anonymous.nii.gz")
    volume(tmp_path / "others" / "p2_scan.nii.gz", (20, 29, 5))  # of another patient, perhaps
    run(tmp_path / "others", tmp_path / "out", model, cycle=False)
    assert parts_in(tmp_path / "out") == {"anonymous": "labelled", "p2_scan": "unlabelled"}
    copy, namesake = manifest_of(tmp_path / "out")["cases"]
    assert "its name is" not in " ".join(copy["remarks"])
    remark = namesake["remarks"][-1]
    assert remark.startswith(
        "its name is that of the training's p2_scan, its contents are not: it counts as unlabelled"
    )
    assert remark in caplog.text


def test_a_network_without_a_split_knows_nothing(tmp_path, model):
    run(volume(tmp_path / "a.nii.gz"), tmp_path / "out", model, cycle=False)
    assert parts_in(tmp_path / "out") == {"a": None}


def test_the_parts_that_were_asked_for_are_kept_together(tmp_path, model, scans):
    for part in ("test", "validation"):
        run(scans, tmp_path / "out", model, cycle=False, part=part)
    assert manifest_of(tmp_path / "out")["asked_for"] == {
        "parts": ["test", "validation"], "patients": ["p3", "p4"], "cases": ["p3_scan", "p4_scan"],
    }  # fmt: skip
    run(scans, tmp_path / "out", model, cycle=False)
    run(scans, tmp_path / "out", model, cycle=False, part="test")
    assert manifest_of(tmp_path / "out")["asked_for"] is None, "all were asked for once, and are still there"
    run(scans, tmp_path / "out", model, cycle=False, part="test", holes=True)
    assert manifest_of(tmp_path / "out")["asked_for"]["parts"] == ["test"], "with other settings all begins anew"


def test_what_was_asked_for_is_forgotten_with_its_label_maps(tmp_path, model, scans):
    run(scans, tmp_path / "out", model, cycle=False, part="test")
    (tmp_path / "out" / "p4_scan_seg.nii.gz").unlink()
    run(scans, tmp_path / "out", model, cycle=False, part="validation")
    assert manifest_of(tmp_path / "out")["asked_for"]["parts"] == ["validation"]


@pytest.mark.parametrize("asked_for", [{"parts": ["test"]}, {"parts": 5, "patients": [], "cases": []}, ["test"]])
def test_of_a_damaged_manifest_it_is_not_known_what_was_asked_for(tmp_path, model, scans, asked_for):
    run(scans, tmp_path / "out", model, cycle=False, part="test")
    content = manifest_of(tmp_path / "out") | {"asked_for": asked_for}
    (tmp_path / "out" / "predictions.json").write_text(json.dumps(content))
    run(scans, tmp_path / "out", model, cycle=False, part="validation")
    assert manifest_of(tmp_path / "out")["asked_for"] is None


def test_a_case_of_an_earlier_version_gets_its_part(tmp_path, model, scans):
    run(scans, tmp_path / "out", model, cycle=False)
    content = manifest_of(tmp_path / "out")
    for case in content["cases"]:
        del case["part"]
    del content["asked_for"], content["postprocessing"]
    (tmp_path / "out" / "predictions.json").write_text(json.dumps(content))
    run(scans, tmp_path / "out", model, cycle=False)
    assert list(parts_in(tmp_path / "out").values()) == ["labelled", "unlabelled", "validation", "test", "new"]


def test_the_manifest_names_the_post_processing(tmp_path, model, scans):
    run(scans / "p5_scan.nii.gz", tmp_path / "out", model, cycle=False, largest=True, holes=True)
    words = "the network's label maps with largest component of each structure (largest), holes filled (holes)"
    assert manifest_of(tmp_path / "out")["postprocessing"] == words


def test_refinement_tells_its_settings():
    assert Refined("pred", largest=True).settings == {"largest": True, "holes": False}
    assert Refined("pred").settings == {"largest": False, "holes": False}
