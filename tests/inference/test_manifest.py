"""What is kept of a prediction, and what a second run makes again."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from predicting import cine, made, manifest_of, run, segmented, volume

from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.imageio import volumes
from acdc_semicycle.inference.manifest import Journal, Manifest
from acdc_semicycle.inference.scan import Scan
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime import leftovers
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import part_file


def test_another_format_is_another_label_map(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    for format in (None, "mha"):
        run(scan, tmp_path / "out", model, format=format)
    assert made(tmp_path / "out") == ["scan_seg.mha", "scan_seg.nii.gz"]


def test_a_label_map_of_which_a_journal_tells_is_its_scans(tmp_path, model):
    """Two scans of one label map, the first of them noted by a process that was killed."""
    network, mine, other = (
        model_files.open_model(model),
        *(volume(tmp_path / name / "a.nii.gz") for name in ("in", "new")),
    )
    target = volume(tmp_path / "out" / "a_seg.nii.gz")
    case = {"case": "a", "mask": target.name, "files": [target.name], "parts": 1, "stamp": [str(mine), 1, 1]}
    case |= {"frame_scores": [], "patient": "a", "phase": None, "phases": None, "remarks": []}
    Journal(tmp_path / "out", network, {}, 1).add([case])
    manifest = Manifest(tmp_path / "out", network, {})
    manifest.enter_journals(failures=False)
    manifest.check(Scan(mine, "a", target, "a"), claim=False)
    with pytest.raises(
        InputError, match=r"a_seg\.nii\.gz is the label map of .*in/a\.nii\.gz, not of .*new/a\.nii\.gz"
    ):
        manifest.check(Scan(other, "a", target, "a"))


def test_the_manifest_says_what_was_made_of_what(tmp_path, model, phantom_dir):
    run(phantom_dir / "training" / "patient001", tmp_path / "out", model)
    found = manifest_of(tmp_path / "out")
    assert [case["phase"] for case in found["cases"]] == ["ED", "ES"]
    case = found["cases"][0]
    labels = np.asarray(nibabel.load(tmp_path / "out" / case["mask"]).dataobj)
    spacing = np.array(case["spacing_mm"])
    for k, name in enumerate(("RV", "MYO", "LV"), start=1):
        assert case["volumes_ml"][name] == [pytest.approx((labels == k).sum() * spacing.prod() / 1000, rel=1e-4)]
    assert found["patients"][0]["ed"] == case["case"]
    assert set(case["seconds"]) == {"read", "prepare", "network", "back", "judge", "write"}
    assert found["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        assert panel["image_0"].shape == panel["prediction_0"].shape == (32, 32)


def test_without_spacing_volumes_are_withheld_and_the_manifest_says_why(tmp_path, model):
    scan = volume(tmp_path / "scan.nii", affine=np.eye(4))
    case = segmented(scan, tmp_path / "out", model)
    assert case["volumes_ml"] is None and "1 x 1 x 1 mm" in case["withheld"]


def test_given_again_only_what_is_new_or_changed_is_segmented(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    folder = tmp_path / "in"
    for name in ("a", "b"):
        volume(folder / f"{name}.nii.gz")
    run(folder, tmp_path / "out", model)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    volume(folder / "b.nii.gz", (24, 24, 3))
    volume(folder / "c.nii.gz")
    (tmp_path / "out" / "a_seg.nii.gz").touch()
    run(folder, tmp_path / "out", model)
    assert "1 of them are done" in caplog.text
    assert nibabel.load(tmp_path / "out" / "b_seg.nii.gz").shape == (24, 24, 3)
    assert [case["case"] for case in manifest_of(tmp_path / "out")["cases"]] == ["a", "b", "c"]
    assert before.keys() == {"a_seg.nii.gz", "b_seg.nii.gz"}
    run(folder, tmp_path / "out", model, largest=True)  # other settings: all of them again
    assert manifest_of(tmp_path / "out")["settings"]["largest"] and len(manifest_of(tmp_path / "out")["cases"]) == 3


def test_a_label_map_that_is_gone_is_made_again(tmp_path, model):
    scan = volume(tmp_path / "in" / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    (tmp_path / "out" / "a_seg.nii.gz").unlink()
    run(scan, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz"]


def test_the_cycle_is_there_where_the_run_left_its_image_generator(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    assert set(segmented(scan, tmp_path / "without", model)["frame_scores"][0]) <= {"soft_dice", "entropy"}
    image_generator = ResidualGenerator(4, 1, filters=2, blocks=1, activation=torch.nn.Tanh())
    weight_files.save(model.with_name("image_generator.pt"), image_generator.state_dict())
    case = segmented(scan, tmp_path / "with", model, flips=True)
    assert {"cycle", "cycle_correlation", "cycle_dice", "flips"} <= set(case["frame_scores"][0]) and len(
        case["slices"]["cycle"]
    ) == 5
    with np.load(tmp_path / "with" / case["panel"]) as panel:
        assert {"painted_0", "difference_0"} <= set(panel.files)


def test_a_scan_that_changes_while_it_is_segmented_is_done_again(tmp_path, model, monkeypatch):
    scan = volume(tmp_path / "a.nii.gz")
    read = volumes.read

    def read_and_change(*given, **more):
        found = read(*given, **more)
        volume(scan, (24, 24, 3))
        return found

    monkeypatch.setattr(volumes, "read", read_and_change)
    run(scan, tmp_path / "out", model)
    monkeypatch.setattr(volumes, "read", read)
    run(scan, tmp_path / "out", model)
    assert nibabel.load(tmp_path / "out" / "a_seg.nii.gz").shape == (24, 24, 3)


def labels(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nibabel.load(folder / name).dataobj)


@pytest.mark.parametrize("more", [{}, {"largest": True}, {"probabilities": True}])
def test_a_renamed_scan_is_in_the_folder_under_its_new_name_alone(tmp_path, model, more, caplog):
    for name in ("a", "b"):
        volume(tmp_path / "in" / f"{name}.nii.gz", (20, 28, 3 + (name == "b")))
    run(tmp_path / "in", tmp_path / "out", model, probabilities=True)
    before = labels(tmp_path / "out", "a_seg.nii.gz")
    (tmp_path / "in" / "a.nii.gz").rename(tmp_path / "in" / "c.nii.gz")
    caplog.set_level("INFO", "semicycle")
    run(tmp_path / "in", tmp_path / "out", model, **more)
    assert [name for name in made(tmp_path / "out") if "_seg" in name] == ["b_seg.nii.gz", "c_seg.nii.gz"]
    assert "a_prob.nii.gz" not in made(tmp_path / "out")
    cases = manifest_of(tmp_path / "out")["cases"]
    assert [case["case"] for case in cases] == ["b", "c"]
    assert len(list((tmp_path / "out" / ".panels").glob("*.npz"))) == 2
    assert f"a_seg.nii.gz removed: {tmp_path / 'in' / 'a.nii.gz'} was renamed" in caplog.text
    if not more.get("largest"):
        np.testing.assert_array_equal(labels(tmp_path / "out", "c_seg.nii.gz"), before)


def test_a_moved_folder_of_scans_is_segmented_into_the_same_label_maps(tmp_path, model):
    volume(tmp_path / "in" / "p1" / "a.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    (tmp_path / "in").rename(tmp_path / "moved")
    run(tmp_path / "moved", tmp_path / "out", model)
    (tmp_path / "moved" / "p1").rename(tmp_path / "moved" / "p2")
    run(tmp_path / "moved", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["p2/a_seg.nii.gz"]
    assert [case["case"] for case in manifest_of(tmp_path / "out")["cases"]] == ["p2/a"]


def test_a_scan_that_is_gone_or_copied_keeps_its_label_map(tmp_path, model):
    """Of another scan's content, even at the same time and of the same size, it is not renamed."""
    first = volume(tmp_path / "in" / "a.nii")
    run(tmp_path / "in", tmp_path / "out", model)
    content, times = bytearray(first.read_bytes()), (1e9, 1e9)
    first.unlink()
    content[-1] ^= 1
    (tmp_path / "in" / "b.nii").write_bytes(content)
    os.utime(tmp_path / "in" / "b.nii", times)
    (tmp_path / "in" / "c.nii").write_bytes(content)
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == [f"{name}_seg.nii.gz" for name in "abc"]
    assert [case["case"] for case in manifest_of(tmp_path / "out")["cases"]] == ["a", "b", "c"]


def test_a_renamed_scan_whose_old_label_map_is_a_users_own_by_now_leaves_it(tmp_path, model):
    scan = volume(tmp_path / "in" / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    mine = volume(tmp_path / "out" / "a_seg.nii.gz").read_bytes()
    scan.rename(tmp_path / "in" / "b.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.nii.gz"]
    assert (tmp_path / "out" / "a_seg.nii.gz").read_bytes() == mine


def header_and_voxels(folder: Path, first: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(np.arange(first, first + 60, dtype=np.int16).reshape(3, 4, 5))
    SimpleITK.WriteImage(image, str(folder / "scan.mhd"))


def test_a_header_of_the_same_words_beside_other_voxels_is_another_scan(tmp_path, model):
    for number in (1, 2):
        header_and_voxels(tmp_path / "in" / f"p{number}", 60 * number)
        run(tmp_path / "in", tmp_path / "out", model)
        shutil.rmtree(tmp_path / "in" / f"p{number}")
    assert made(tmp_path / "out") == ["p1/scan_seg.mha", "p2/scan_seg.mha"]


def test_voxels_that_change_beside_their_header_are_segmented_again(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    for first, done in ((0, False), (60, False), (60, True)):
        if not done:
            header_and_voxels(tmp_path / "in", first)
        run(tmp_path / "in", tmp_path / "out", model)
        assert ("1 of them are done" in caplog.text) == done


def test_what_a_killed_prediction_left_is_removed_by_the_next_one_wherever_it_lies(tmp_path, model):
    scan = volume(tmp_path / "in" / "p1" / "a.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    for name in ("p1/a_seg.nii.gz", "gone/b_seg.nii.gz", "predictions.json", ".panels/a.npz"):
        child = os.fork()
        if child == 0:
            with part_file(tmp_path / "out" / name) as part:
                part.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    living = tmp_path / "out" / f".part-{leftovers.MACHINE}-{os.getppid()}-evaluation.json"
    living.touch()
    assert len(list((tmp_path / "out").rglob(".part-*"))) == 5
    run(scan, tmp_path / "out" / "p1", model)
    run(tmp_path / "in", tmp_path / "out", model)
    assert list((tmp_path / "out").rglob(".part-*")) == [living]


@pytest.mark.parametrize("setting", ["largest", "flips"])
def test_with_another_setting_a_scan_is_segmented_again(tmp_path, model, setting):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model, **{setting: True})
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)
    found, expected = (manifest_of(tmp_path / name)["cases"][0]["frame_scores"][0] for name in ("out", "new"))
    assert found == pytest.approx(expected)


def test_with_another_network_a_scan_is_segmented_again(tmp_path, model, caplog):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    copy = shutil.copytree(model.parent, tmp_path / "copy") / model.name
    run(scan, tmp_path / "out", copy)
    assert "holds label maps of" not in caplog.text, "the same weights elsewhere"
    weight_files.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    run(scan, tmp_path / "out", model)
    words = "this network makes them again, and those of other scans stay"
    assert f"{tmp_path / 'out'} so far holds label maps of {copy}: {words}" in caplog.text
    weight_files.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    run(scan, tmp_path / "out", model)
    assert f"{tmp_path / 'out'} so far holds label maps of earlier weights of it: {words}" in caplog.text
    run(scan, tmp_path / "new", model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_a_quality_that_was_fitted_since_is_given_to_what_was_segmented_before(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    assert segmented(scan, tmp_path / "out", model)["quality"] is None
    model.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    case = segmented(scan, tmp_path / "out", model)
    assert case["quality"] == pytest.approx(0.1 + 0.5 * case["frame_scores"][0]["soft_dice"])


def test_a_manifest_of_an_earlier_version_is_made_anew(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    path = tmp_path / "out" / "predictions.json"
    path.write_text(path.read_text().replace('"frame_scores"', '"scores"'))
    assert len(segmented(scan, tmp_path / "out", model)["frame_scores"]) == 1
    network = model_files.open_model(model)
    (tmp_path / "new").mkdir()
    Journal(tmp_path / "new", network, {}, 1).add([{"case": "a", "mask": "a", "scores": {}}])
    manifest = Manifest(tmp_path / "new", network, {})
    manifest.enter_journals(failures=False)
    assert manifest.content["cases"] == []


def test_a_quality_is_a_dice_between_0_and_1(tmp_path, model):
    for bias, expected in ((7.0, 1.0), (-7.0, 0.0)):
        model.with_name("quality.json").write_text(json.dumps({"weights": {"soft_dice": 0.5}, "bias": bias}))
        assert segmented(volume(tmp_path / "a.nii.gz"), tmp_path / "out", model)["quality"] == expected


def test_a_scan_that_was_changed_and_kept_its_size_is_segmented_again(tmp_path, model):
    scan = volume(tmp_path / "a.nii")
    run(scan, tmp_path / "out", model)
    image = nibabel.load(scan)
    voxels = np.asarray(image.dataobj)[::-1].copy()
    size = scan.stat().st_size
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), scan)
    assert scan.stat().st_size == size
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_another_scan_of_one_name_is_neither_taken_for_done_nor_written_over_the_first(tmp_path, model):
    scans = [volume(tmp_path / "in" / name / "img.nii") for name in ("p1", "p2")]
    for scan in scans:
        os.utime(scan, (1, 1))
    run(scans[0].parent, tmp_path / "out", model)
    before = (tmp_path / "out" / "img_seg.nii.gz").read_bytes()
    for settings in ({}, {"flips": True}):  # whose it is does not depend on how it was made
        with pytest.raises(RuntimeError) as caught:
            run(scans[1].parent, tmp_path / "out", model, **settings)
        assert f"is the label map of {scans[0]}, not of {scans[1]}" in str(caught.value.__cause__)
    assert (tmp_path / "out" / "img_seg.nii.gz").read_bytes() == before


def test_what_is_painted_back_lies_over_its_image_in_the_panel(tmp_path, model):
    image_generator = ResidualGenerator(4, 1, filters=2, blocks=1, activation=torch.nn.Tanh())
    weight_files.save(model.with_name("image_generator.pt"), image_generator.state_dict())
    scan = volume(tmp_path / "scan.nii.gz", (24, 32, 4))  # as large as the network's images: nothing is resampled
    case = segmented(scan, tmp_path / "out", model)
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        shapes = {panel[f"{name}_0"].shape for name in ("image", "prediction", "painted", "difference")}
        assert len(shapes) == 1
        painted, image = (panel[f"{name}_0"].astype(float) for name in ("painted", "image"))
        gap = np.abs(painted - image) / 255 * 2  # both from [-1, 1]
        np.testing.assert_allclose(np.clip(gap, 0, 1), panel["difference_0"] / 255, atol=0.02)


@pytest.mark.parametrize(("gone", "more"), [("a_ES_seg.nii.gz", {"frames": "ed_es"}), ("a_frame02_prob.nii.gz", {})])
def test_any_file_that_is_gone_is_made_again(tmp_path, model, gone, more):
    scan = cine(tmp_path / "a.nii.gz")
    more = more | {"probabilities": True}
    run(scan, tmp_path / "out", model, **more)
    before = made(tmp_path / "out")
    (tmp_path / "out" / gone).unlink()
    run(scan, tmp_path / "out", model, **more)
    assert made(tmp_path / "out") == before


def test_a_changed_card_is_another_network(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "out", model)
    model.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [48, 64]}))
    for folder in ("out", "new"):
        run(scan, tmp_path / folder, model)
    found, expected = (np.asarray(nibabel.load(tmp_path / name / "a_seg.nii.gz").dataobj) for name in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_what_fails_now_is_no_longer_a_case(tmp_path, model):
    scan = volume(tmp_path / "a.nii")
    run(scan, tmp_path / "out", model)
    scan.write_bytes(b"damaged")
    with pytest.raises(RuntimeError):
        run(scan, tmp_path / "out", model)
    assert manifest_of(tmp_path / "out")["cases"] == [] and len(manifest_of(tmp_path / "out")["failures"]) == 1


def test_a_quality_of_other_weights_is_none(tmp_path, model, caplog):
    fitted = {"weights": {"soft_dice": 1.0}, "bias": 0.0, "model_sha256": "another"}
    model.with_name("quality.json").write_text(json.dumps(fitted))
    assert segmented(volume(tmp_path / "a.nii"), tmp_path / "out", model)["quality"] is None
    assert "fitted on other weights" in caplog.text


def test_scans_of_a_version_with_other_names_of_scores_are_not_segmented_again(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    before = segmented(scan, tmp_path / "out", model)
    path = tmp_path / "out" / "predictions.json"
    path.write_text(path.read_text().replace('"soft_dice"', '"sure"'))
    model.with_name("quality.json").write_text('{"weights": {"sure": 0.5}, "bias": 0.1}')
    after = segmented(scan, tmp_path / "out", model)
    assert after["quality"] == pytest.approx(0.1 + 0.5 * before["frame_scores"][0]["soft_dice"])
    assert {key: after[key] for key in before if key != "quality"} == {k: before[k] for k in before if k != "quality"}
    path.rename(path.with_name("before.json"))
    network = model_files.open_model(model)
    old = after | {"frame_scores": [{"sure": 0.9}], "slices": {"sure": [0.9]}}
    Journal(tmp_path / "out", network, {}, 1).add([old])  # of a process that was killed
    manifest = Manifest(tmp_path / "out", network, {})
    manifest.enter_journals(failures=False)
    (case,) = manifest.content["cases"]
    assert (case["frame_scores"], case["slices"]) == ([{"soft_dice": 0.9}], {"soft_dice": [0.9]})
