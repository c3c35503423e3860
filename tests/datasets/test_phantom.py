"""The phantom is what users without data train on: its files must be ACDC's and its volumes must be true."""

import csv
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from acdc_semicycle.datasets import phantom, phantom_patient
from acdc_semicycle.runtime.errors import InputError

COARSE = (48, 48, 8)


def picture(root: Path, truth: phantom.PhantomTruth, gt: str = "") -> nib.Nifti1Image:
    stem = f"{truth.patient}_frame{phantom.FRAMES[truth.phase]:02d}{gt}"
    return nib.load(root / "training" / truth.patient / f"{stem}.nii.gz")


def voxels(root: Path, truth: phantom.PhantomTruth, gt: str = "") -> np.ndarray:
    return np.asarray(picture(root, truth, gt).dataobj)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Six patients at the default size."""
    root = tmp_path_factory.mktemp("data") / "phantom"
    return root, phantom.write(root, patients=6)


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """Two patients in slices so thin (2 mm) that counting voxels is integrating."""
    root = tmp_path_factory.mktemp("data") / "fine"
    return root, phantom.write(root, patients=2, size=(96, 96, 40))


def test_the_folder_is_laid_out_as_the_challenge_does(written):
    root, _ = written
    names = {path.name for path in (root / "training" / "patient006").iterdir()}
    frames = {f"patient006_frame{frame}{gt}.nii.gz" for frame in ("01", "10") for gt in ("", "_gt")}
    assert names == {"Info.cfg"} | frames
    info = (root / "training" / "patient006" / "Info.cfg").read_text().splitlines()
    assert info[:3] == ["ED: 1", "ES: 10", "Group: NOR"]


def test_headers_say_millimetres_and_the_same_oblique_frame_twice(written):
    root, truths = written
    for truth in truths:
        image, mask = picture(root, truth), picture(root, truth, "_gt")
        assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
        assert image.shape == mask.shape == (96, 96, 8)
        assert image.header.get_xyzt_units() == ("mm", "sec")
        (qform, qcode), (sform, scode) = image.get_qform(coded=True), image.get_sform(coded=True)
        assert qcode == scode == 1
        np.testing.assert_allclose(qform, sform, atol=1e-4)
        np.testing.assert_array_equal(image.affine, mask.affine)
        spacing_mm = image.header.get_zooms()
        np.testing.assert_allclose(spacing_mm, [1.6, 1.6, 10.4], rtol=0.06)
        assert (np.abs(image.affine[:3, :3] / spacing_mm) < 0.999).all()  # oblique: no axis is the scanner's


def test_no_two_patients_lie_alike(written):
    root, truths = written
    frames = [picture(root, truth).affine for truth in truths[::2]]
    assert len({frame.round(3).tobytes() for frame in frames}) == len(frames)


def test_a_patient_lies_in_the_same_place_whatever_the_size(written, fine):
    middles, extents = [], []
    for image in (picture(root, truths[0]) for root, truths in (written, fine)):
        middles.append(nib.affines.apply_affine(image.affine, (np.array(image.shape) - 1) / 2))
        extents.append(np.multiply(image.header.get_zooms(), image.shape))
    np.testing.assert_allclose(*middles, atol=1e-2)
    np.testing.assert_allclose(*extents, rtol=1e-5)


def test_both_phases_show_every_structure_and_nothing_else(written):
    root, truths = written
    for truth in truths:
        assert np.unique(voxels(root, truth, "_gt")).tolist() == [0, 1, 2, 3]


def test_the_heart_lies_inside_the_picture_and_away_from_its_first_and_last_slice(written):
    root, truths = written
    for truth in truths:
        heart = voxels(root, truth, "_gt") > 0
        assert not heart[:, :, [0, -1]].any()
        assert not heart[[0, -1]].any()
        assert not heart[:, [0, -1]].any()


def test_blood_is_brighter_than_muscle_and_muscle_than_lung(written):
    root, truths = written
    for truth in truths:
        image, mask = voxels(root, truth), voxels(root, truth, "_gt")
        rv, myo, lv = (image[mask == label].mean() for label in (1, 2, 3))
        assert min(rv, lv) > 1.4 * myo
        assert myo > 1.5 * np.percentile(image, 10)


def test_papillary_muscles_are_dark_and_belong_to_the_cavity(written):
    root, truths = written
    image, cavity = voxels(root, truths[0]), voxels(root, truths[0], "_gt") == 3
    middle = image[:, :, 3][cavity[:, :, 3]]
    assert 0.02 < (middle < 0.7 * np.median(middle)).mean() < 0.3


def test_counted_volumes_are_the_constructed_ones(fine):
    root, truths = fine
    for truth in truths:
        mask = picture(root, truth, "_gt")
        voxel_ml = np.prod(mask.header.get_zooms()) / 1000
        counted = np.bincount(np.asarray(mask.dataobj).ravel())[1:] * voxel_ml
        np.testing.assert_allclose(counted, [truth.rv_ml, truth.myo_ml, truth.lv_ml], rtol=0.025)


def test_counted_ejection_fractions_are_the_constructed_ones(fine):
    root, (ed, es, *_) = fine
    for label, before, after in ((1, ed.rv_ml, es.rv_ml), (3, ed.lv_ml, es.lv_ml)):
        counted = 1 - (voxels(root, es, "_gt") == label).sum() / (voxels(root, ed, "_gt") == label).sum()
        assert counted == pytest.approx(1 - after / before, abs=0.01)


def test_hearts_contract_within_the_drawn_range(tmp_path):
    truths = phantom.write(tmp_path / "many", patients=8, size=(32, 32, 6))
    fractions = []
    for ed, es in zip(truths[::2], truths[1::2], strict=True):
        assert (ed.patient, ed.phase, es.phase) == (es.patient, "ED", "ES")
        assert es.lv_ml < ed.lv_ml and es.rv_ml < ed.rv_ml
        assert es.myo_ml == pytest.approx(ed.myo_ml, rel=0.05)  # muscle does not compress
        fractions.append(1 - es.lv_ml / ed.lv_ml)
    assert 0.35 <= min(fractions) < 0.45 and 0.55 < max(fractions) <= 0.70


def test_each_ventricle_ejects_its_own_drawn_fraction():
    for number in range(8):
        patient = phantom_patient.draw("patient", 0, number)
        ed, es = (heart.truth for heart in patient.hearts)
        fractions = [1 - es.lv_ml / ed.lv_ml, 1 - es.rv_ml / ed.rv_ml]
        gain = patient.traits["rv_ef_gain"]
        assert fractions == pytest.approx([patient.traits["lv_ef"], patient.traits["lv_ef"] + gain])


def test_the_cavity_shrinks_and_the_wall_thickens_in_systole(written):
    root, truths = written
    for ed, es in zip(truths[::2], truths[1::2], strict=True):
        before, after = voxels(root, ed, "_gt"), voxels(root, es, "_gt")
        assert (after == 3).sum() < (before == 3).sum()
        cut = [((m[:, :, 3] == 2).sum(), (m[:, :, 3] == 3).sum()) for m in (before, after)]
        thickness = [np.sqrt(myo + lv) - np.sqrt(lv) for myo, lv in cut]
        assert thickness[1] > thickness[0]


def test_the_table_of_truths_says_what_write_returned(written):
    root, truths = written
    with (root / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == [truth.patient for truth in truths[::2]]
    ed, es, row = truths[0], truths[1], rows[0]
    assert float(row["lv_ed_ml"]) == pytest.approx(ed.lv_ml, abs=1e-3)
    assert float(row["myo_es_ml"]) == pytest.approx(es.myo_ml, abs=1e-3)
    assert float(row["lv_ef_percent"]) == pytest.approx(100 * (1 - es.lv_ml / ed.lv_ml), abs=1e-3)
    assert float(row["rv_ef_percent"]) == pytest.approx(100 * (1 - es.rv_ml / ed.rv_ml), abs=1e-3)


def test_a_patient_depends_on_the_seed_and_its_number_only(tmp_path):
    one = phantom.write(tmp_path / "one", patients=1, seed=7, size=COARSE)
    two = phantom.write(tmp_path / "two", patients=2, seed=7, size=COARSE)
    other = phantom.write(tmp_path / "other", patients=1, seed=8, size=COARSE)
    assert one == two[:2] and one != other
    files, more = tree(tmp_path / "one" / "training"), tree(tmp_path / "two" / "training")
    assert files == {name: more[name] for name in files}
    assert files != tree(tmp_path / "other" / "training")


def test_writing_twice_writes_once(tmp_path):
    first = phantom.write(tmp_path / "phantom", patients=1, size=COARSE)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "phantom").rglob("*")}
    assert phantom.write(tmp_path / "phantom", patients=1, size=COARSE) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "phantom").rglob("*")} == times


def test_an_empty_folder_is_filled(tmp_path):
    phantom.write(tmp_path, patients=1, size=COARSE)
    assert json.loads((tmp_path / "phantom.json").read_text())["patients"] == 1


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(InputError, match=r"without a phantom\.json.*choose another folder"):
        phantom.write(tmp_path, patients=1, size=COARSE)
    assert tree(tmp_path) == {"thesis.txt": b"ten years of work"}


def test_another_phantom_is_refused_and_left_alone(tmp_path):
    root = tmp_path / "phantom"
    phantom.write(root, patients=1, size=COARSE)
    before = tree(root)
    with pytest.raises(InputError, match=r"'patients': 1.*expected.*'patients': 2"):
        phantom.write(root, patients=2, size=COARSE)
    assert tree(root) == before


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "_write_truths", interrupt)
    with pytest.raises(KeyboardInterrupt):
        phantom.write(tmp_path / "phantom", patients=1, size=COARSE)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_taken_away_by_the_next_one_and_nothing_else(tmp_path, monkeypatch):
    program = f"""
import os, signal
from pathlib import Path
from acdc_semicycle.datasets import phantom, phantom_patient
phantom._write_truths = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
phantom.write(Path({str(tmp_path / "phantom")!r}), patients=1, size={COARSE})
"""
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    (left,) = tmp_path.iterdir()
    host, me = platform.node(), os.getpid()
    others = {
        tmp_path / name for name in (f".phantom-{host}-{me}-x", ".phantom-elsewhere-1-x", f".phantom-{host}-mine")
    }
    for folder in others:
        folder.mkdir()
    phantom.write(tmp_path / "phantom", patients=1, size=COARSE)
    assert {*tmp_path.iterdir()} == {tmp_path / "phantom", *others} and not left.exists()


def test_unlabelled_patients_have_no_masks_and_the_same_images(tmp_path):
    phantom.write(tmp_path / "all", patients=2, size=COARSE)
    truths = phantom.write(tmp_path / "some", patients=2, size=COARSE, unlabelled=["patient002"])
    every, some = tree(tmp_path / "all" / "training"), tree(tmp_path / "some" / "training")
    missing = {f"patient002/patient002_frame{frame}_gt.nii.gz" for frame in ("01", "10")}
    assert every.keys() - some.keys() == missing
    assert all(every[name] == some[name] for name in some)
    assert [truth.patient for truth in truths] == ["patient001"] * 2 + ["patient002"] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 0}, "0 patients"),
        ({"size": (96, 96, 2)}, "too coarse"),
        ({"patients": 2, "unlabelled": ["patient003"]}, "patient003.*patient001 to patient002"),
    ],
)
def test_arguments_that_make_no_phantom_are_refused(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        phantom.write(tmp_path / "phantom", **wrong)
    assert list(tmp_path.iterdir()) == []
