"""What is no scan, no network or cannot be written costs one line, and nothing of the user's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from predicting import OBLIQUE, cine, made, manifest_of, run, volume

from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.artifacts.checkpoint import check_network
from acdc_semicycle.evaluation import quality
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError, causes


def test_a_mask_is_no_scan(tmp_path, model, phantom_dir):
    folder = phantom_dir / "training" / "patient001"
    with pytest.raises(RuntimeError) as caught:
        run(folder / "patient001_frame01_gt.nii.gz", tmp_path / "out", model)
    assert "nothing but the labels 0 to 3: give a scan, no mask" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


@pytest.mark.parametrize("value", [0, -1024])
def test_a_scan_of_one_number_in_all_voxels_is_left_out(value, tmp_path, model):
    voxels = np.full((20, 28, 5), value, np.float64)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), tmp_path / "scan.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "scan.nii.gz", tmp_path / "out", model)
    assert "scan.nii.gz is constant" in str(caught.value.__cause__) and made(tmp_path / "out") == []


def test_a_scan_of_one_number_in_all_but_a_few_voxels_is_left_out(tmp_path, model):
    voxels = np.zeros((32, 32, 5), np.int16)
    voxels[5, 5, 2] = 30000
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), tmp_path / "scan.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "scan.nii.gz", tmp_path / "out", model)
    assert "scan.nii.gz is constant but for one voxel (0 in all others): nothing" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


def test_an_empty_frame_of_a_cine_is_named(tmp_path, model):
    path = cine(tmp_path / "scan.nii.gz")
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[..., 2] = 0
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    with pytest.raises(RuntimeError) as caught:
        run(path, tmp_path / "out", model)
    assert "scan.nii.gz frame 3 is constant (0 in every voxel)" in str(caught.value.__cause__)


def test_mirror_images_are_refused_for_a_network_that_was_not_trained_on_them(tmp_path, model):
    card = json.loads(model.with_suffix(".json").read_text())
    for flips, words in ((False, "was not trained on mirror images"), (None, None), (True, None)):
        model.with_suffix(".json").write_text(json.dumps(card | {"flips": flips}))
        if words:
            with pytest.raises(RuntimeError) as caught:
                run(volume(tmp_path / "scan.nii.gz"), tmp_path / "out", model, flips=True)
            assert any(words in str(cause) for cause in causes(caught.value))
            assert not (tmp_path / "out").exists()
        else:
            run(volume(tmp_path / "scan.nii.gz"), tmp_path / str(flips), model, flips=True)
    run(volume(tmp_path / "scan.nii.gz"), tmp_path / "default", model)
    assert json.loads((tmp_path / "default" / "predictions.json").read_text())["settings"]["flips"] is True


def test_a_device_that_is_not_there_is_named_before_any_work(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model, device="cuda:77")
    said = next(str(cause) for cause in causes(caught.value) if isinstance(cause, InputError))
    assert "device is 'cuda:77', which this machine does not have" in said and "give cpu" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named_before_any_work(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model)
    assert "out is a file: give a folder" in str(caught.value.__cause__) and (tmp_path / "out").read_text() == "mine"


HOLD = """
import sys
from pathlib import Path
from acdc_semicycle.runtime.locks import claimed
print(claimed(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_writes_is_refused_as_long_as_it_does(tmp_path, model):
    scan, command = volume(tmp_path / "scan.nii.gz"), [sys.executable, "-c", HOLD, tmp_path / "out" / ".panels"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(RuntimeError) as caught:
            run(scan, tmp_path / "out", model)
        assert "out is being written by another process" in str(caught.value.__cause__)
        assert not (tmp_path / "out" / "predictions.json").exists()
        other.stdin.close()
        other.wait()
    run(scan, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["scan_seg.nii.gz"]


def test_one_bad_scan_costs_one_line_and_not_the_others(tmp_path, model):
    good = volume(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "cut.nii.gz").write_bytes(good.read_bytes()[:300])
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    message = str(caught.value.__cause__)
    assert "1 of 2 files" in message and "cut.nii.gz" in message and "truncated" in message
    assert made(tmp_path / "out") == ["good_seg.nii.gz"]
    assert [each["scan"] for each in manifest_of(tmp_path / "out")["failures"]] == [str(tmp_path / "in" / "cut.nii.gz")]


def test_a_users_own_file_is_not_overwritten(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    mine = volume(tmp_path / "in" / "a_seg.nii.gz")
    before = mine.read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "in", model)
    assert "was not written by this program" in str(caught.value.__cause__)
    assert mine.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_an_input_that_is_none_is_refused(tmp_path, model, content):
    path = tmp_path / "scan.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeError) as caught:
        run(path, tmp_path / "out", model)
    assert "scan.nii.gz" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


def test_a_checkpoint_of_another_architecture_is_refused_and_nothing_written(tmp_path, model):
    scan = volume(tmp_path / "scan.nii.gz")
    model.with_suffix(".json").write_text(json.dumps({"filters": 4, "blocks": 1, "image_size": [24, 32]}))
    with pytest.raises(RuntimeError) as caught:
        run(scan, tmp_path / "out", model)
    assert "another architecture" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_a_network_that_is_not_there_is_named_before_all_else(tmp_path, model):
    run_folder = tmp_path / "run"
    (run_folder / "models").mkdir(parents=True)
    (run_folder / "models" / "model.pt").write_bytes(b"")
    for path, words in ((run_folder, r"did you mean .*models/model.pt\?"), (tmp_path / "no.pt", "train first")):
        with pytest.raises(InputError, match=words):
            check_network(path)
    check_network(model)


def test_a_network_that_gives_no_numbers_makes_no_mask(tmp_path, model):
    weights = torch.load(model, weights_only=True)
    weight_files.save(model, {name: torch.full_like(value, 3e38) for name, value in weights.items()})
    with pytest.raises(RuntimeError) as caught:
        run(volume(tmp_path / "scan.nii.gz"), tmp_path / "out", model)
    assert "NaN" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == []


def test_a_users_own_file_is_not_overwritten_by_probabilities(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    mine = volume(tmp_path / "out" / "a_prob.nii.gz")
    before = mine.read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model, probabilities=True)
    assert "was not written by this program" in str(caught.value.__cause__)
    assert mine.read_bytes() == before


def test_what_fails_in_reading_segmenting_or_writing_costs_its_own_scan_and_no_other(tmp_path, model, monkeypatch):
    """Each in another thread, while other scans are on their way."""
    for name in "abcde":
        volume(tmp_path / "in" / f"{name}.nii.gz", (20, 28, 3 if name == "c" else 5))
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"damaged")
    save, judge = volumes.save, quality.judge

    def full_disk(target, *given):
        if target.name.startswith("d"):
            raise OSError(28, "No space left on device", str(target))
        save(target, *given)

    def no_memory(x, *given):
        if x.shape[-1] == 3:
            raise MemoryError
        return judge(x, *given)

    monkeypatch.setattr(volumes, "save", full_disk)
    monkeypatch.setattr(quality, "judge", no_memory)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    found = manifest_of(tmp_path / "out")
    assert [case["case"] for case in found["cases"]] == ["a", "e"]
    assert [Path(failure["scan"]).name for failure in found["failures"]] == ["b.nii.gz", "c.nii.gz", "d.nii.gz"]
    for failure, words in zip(found["failures"], ("damaged", "fit in memory", "No space left"), strict=True):
        assert f"/{Path(failure['scan']).name[0]}" in failure["reason"] and words in failure["reason"]
    assert "3 of 5 files" in str(caught.value.__cause__)
    assert made(tmp_path / "out") == ["a_seg.nii.gz", "e_seg.nii.gz"]


def a_file(path: Path) -> None:
    path.write_text('{"cases": [{"case": "mine"}]}')


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [a_file, a_link_to_nothing, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["predictions.json", "a_seg.nii.gz"])
def test_what_is_not_of_this_program_is_not_written_over_nor_waited_for(tmp_path, model, make, name):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / name)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert re.search(
        f"{name} is there and (is not of|was not written by) this program(, or damaged)?: give",
        str(caught.value.__cause__),
    )
    assert name == "a_seg.nii.gz" or not list((tmp_path / "out").glob("*_seg*"))
    if make is a_file:
        assert "mine" in (tmp_path / "out" / name).read_text()


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(tmp_path, model, monkeypatch):
    volume(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "b.nii.gz")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    said = next(str(cause) for cause in causes(caught.value) if isinstance(cause, InputError))
    assert said.startswith(f"{tmp_path / 'out' / 'predictions.json'} cannot be written (No space left on device): ")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]


def itks_full_disk(*_):
    raise RuntimeError("Exception thrown in SimpleITK:\nReason: No space left on device")


@pytest.mark.parametrize("fault", [full_disk, itks_full_disk])
def test_a_label_map_that_cannot_be_written_is_the_one_that_is_named(tmp_path, model, monkeypatch, fault):
    volume(tmp_path / "in" / "a.nii.gz")
    monkeypatch.setattr(volumes, "save", fault)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    target = tmp_path / "out" / "a_seg.nii.gz"
    assert re.search(f"{target} cannot be written .*No space left on device", str(caught.value.__cause__))
