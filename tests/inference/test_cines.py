"""Cines: every frame as if it were alone, end-diastole and end-systole."""

import itertools
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from predicting import OBLIQUE, cine, made, manifest_of, run, segmented, volume

from acdc_semicycle.evaluation import clinical, compare
from acdc_semicycle.imageio import volumes
from acdc_semicycle.inference.entries import patients_of
from acdc_semicycle.report import page as report
from tests.imageio.dicom_files import COLUMNS, ROWS, slice_file


def test_a_cine_keeps_the_time_between_its_frames(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    image = nibabel.load(path)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 30
    nibabel.save(image, path)
    run(path, tmp_path / "out", model, probabilities=True)
    made_of = nibabel.load(tmp_path / "out" / "a_seg.nii.gz").header
    assert made_of.get_zooms()[3] == 30 and made_of.get_xyzt_units() == ("mm", "msec")


def test_every_frame_of_a_cine_is_segmented_as_if_it_were_alone(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    case = segmented(path, tmp_path / "out", model)
    assert case["frames"] == 4 and len(case["volumes_ml"]["LV"]) == 4
    whole = np.asarray(nibabel.load(tmp_path / "out" / "a_seg.nii.gz").dataobj)
    assert whole.shape == (20, 28, 5, 4)
    for n in range(4):
        alone = nibabel.load(path).slicer[..., n]
        nibabel.save(alone, tmp_path / f"frame{n}.nii.gz")
        run(tmp_path / f"frame{n}.nii.gz", tmp_path / "alone", model)
        found = np.asarray(nibabel.load(tmp_path / "alone" / f"frame{n}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(found, whole[..., n])


def test_a_cine_whose_frames_are_stored_first_is_segmented_as_any_other(tmp_path, model):
    """3D Slicer's NRRD."""
    given = volumes.read(cine(tmp_path / "a.nii.gz"), frames=True)
    steps = [f"({','.join(map(repr, step.tolist()))})" for step in given.affine[:3, :3].T]
    head = ["NRRD0004", "type: short", "dimension: 4", "space: RAS", "sizes: 4 20 28 5", "endian: little"]
    head += [f"space directions: none {' '.join(steps)}", "kinds: list domain domain domain", "encoding: raw"]
    head += [f"space origin: ({','.join(map(repr, given.affine[:3, 3].tolist()))})", "", ""]
    voxels = np.moveaxis(given.voxels, -1, 0).tobytes("F")
    (tmp_path / "b.nrrd").write_bytes("\n".join(head).encode() + voxels)
    for name in ("a.nii.gz", "b.nrrd"):
        run(tmp_path / name, tmp_path / "out", model)
    one, other = (volumes.read(tmp_path / "out" / name, frames=True) for name in ("a_seg.nii.gz", "b_seg.nrrd"))
    np.testing.assert_array_equal(one.voxels, other.voxels)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_ed_and_es_are_the_largest_and_the_smallest_lv_of_the_segmentation(tmp_path, model, monkeypatch):
    monkeypatch.setattr(clinical, "LEAST_EDV_ML", 0)  # these hearts have less than 1 ml
    path = cine(tmp_path / "a.nii.gz")
    run(path, tmp_path / "all", model)
    whole = np.asarray(nibabel.load(tmp_path / "all" / "a_seg.nii.gz").dataobj)
    sizes = (whole == 3).sum((0, 1, 2))
    assert len(set(sizes)) > 2
    assert manifest_of(tmp_path / "all")["cases"][0]["phases"] == {"ED": sizes.argmax(), "ES": sizes.argmin()}
    run(path, tmp_path / "two", model, frames="ed_es")
    assert made(tmp_path / "two") == ["a_ED_seg.nii.gz", "a_ES_seg.nii.gz"]
    for phase, n in (("ED", sizes.argmax()), ("ES", sizes.argmin())):
        found = np.asarray(nibabel.load(tmp_path / "two" / f"a_{phase}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(found, whole[..., n])
    for folder in ("all", "two"):
        (patient,) = manifest_of(tmp_path / folder)["patients"]
        voxel_ml = abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000
        assert patient["lv_edv_ml"] == pytest.approx(sizes.max() * voxel_ml, rel=1e-4)
        assert patient["lv_ef_percent"] == pytest.approx(100 * (1 - sizes.min() / sizes.max()), rel=1e-6)


def test_info_cfg_names_the_phases_where_it_is(tmp_path, model):
    folder = tmp_path / "in" / "patient001"
    cine(folder / "patient001_4d.nii.gz")
    (folder / "Info.cfg").write_text("ED: 2\nES: 4\n")
    run(tmp_path / "in", tmp_path / "out", model, frames="ed_es")
    assert made(tmp_path / "out") == [f"patient001/patient001_4d_{phase}_seg.nii.gz" for phase in ("ED", "ES")]
    run(folder / "patient001_4d.nii.gz", tmp_path / "all", model)
    assert manifest_of(tmp_path / "all")["cases"][0]["phases"] == {"ED": 1, "ES": 3}
    whole = np.asarray(nibabel.load(tmp_path / "all" / "patient001_4d_seg.nii.gz").dataobj)
    es = np.asarray(nibabel.load(tmp_path / "out" / "patient001" / "patient001_4d_ES_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(es, whole[..., 3])


@pytest.mark.parametrize("es", [5, 12])
def test_an_info_cfg_that_names_no_frame_of_the_cine_is_refused(tmp_path, model, es):
    cine(tmp_path / "in" / "patient001" / "patient001_4d.nii.gz")
    (tmp_path / "in" / "patient001" / "Info.cfg").write_text(f"ED: 1\nES: {es}\n")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert f"has 4 frames, and its Info.cfg names ED 1, ES {es}: restore" in str(caught.value.__cause__)


def test_a_patients_indices_are_of_single_frames_where_there_is_a_cine_too():
    about = {"patient": "p", "phases": None, "withheld": None}
    cine = about | {"case": "p_sax", "phase": None, "phases": {"ED": 0, "ES": 1}}
    cases = [cine | {"volumes_ml": {"LV": [100.0, 50.0], "RV": [1.0, 1.0], "MYO": [1.0, 1.0]}}]
    for phase, ml in (("ED", 150.0), ("ES", 60.0)):
        cases.append(about | {"case": phase, "phase": phase, "volumes_ml": {"LV": [ml], "RV": [1.0], "MYO": [1.0]}})
    for order in itertools.permutations(cases):
        (row,) = patients_of(order)
        assert (row["ed"], row["es"], row["lv_edv_ml"], row["lv_esv_ml"]) == ("ED", "ES", 150, 60)


def test_two_examinations_of_a_patient_are_not_mixed_into_indices():
    cases = []
    for name in ("first_ED", "first_ES", "second_ED"):
        about = {"patient": "p", "phases": None, "withheld": None, "volumes_ml": {"LV": [100.0]}}
        cases.append(about | {"case": name, "phase": name[-2:]})
    for order in itertools.permutations(cases):
        (row,) = patients_of(order)
        assert row["withheld"] == "first_ED and second_ED are both ED of this patient"
        assert row["lv_edv_ml"] is None
    (row,) = patients_of(cases[:2])
    assert (row["withheld"], row["lv_edv_ml"]) == (None, 100)
    cines = [cases[0] | {"case": name, "phase": None, "phases": {"ED": 0, "ES": 0}} for name in "ab"]
    (row,) = patients_of(cines)
    assert row["withheld"] == "a and b are both ED of this patient"


def test_a_cine_of_a_single_slice_has_no_volumes_and_no_indices(tmp_path, model):
    path = cine(tmp_path / "a.nii.gz")
    nibabel.save(nibabel.load(path).slicer[:, :, 2:3], path)
    case = segmented(path, tmp_path / "out", model)
    assert (case["withheld"], case["volumes_ml"]) == (clinical.SINGLE_SLICE, None) and case["spacing_mm"]
    (row,) = manifest_of(tmp_path / "out")["patients"]
    assert row["withheld"] == clinical.SINGLE_SLICE
    assert row["lv_edv_ml"] is None and row["lv_ef_percent"] is None and row["myo_mass_g"] is None


def test_series_of_one_slice_each_are_one_cine_and_the_manifest_says_so(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    random = np.random.default_rng(0)
    for z in range(6):
        for frame in (0, 1):
            pixels = random.integers(0, 900, ROWS * COLUMNS).astype("<i2").tobytes()
            about = {"g0020_000d": ("UI", b"1.2\0"), "g0020_000e": ("UI", f"1.2.{z + 1}\0".encode())}
            about |= {"g0018_1060": ("DS", str(frame).encode()), "g0008_0018": ("UI", f"1.3.{z}.{frame}\0".encode())}
            path = tmp_path / "in" / f"{z}{frame}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(slice_file(8 * z, pixels=pixels, **about))
    case = segmented(tmp_path / "in", tmp_path / "out", model)
    assert (case["case"], case["shape"], case["frames"]) == ("in", [COLUMNS, ROWS, 6], 2)
    assert case["remarks"][0].startswith("6 series of one slice each lie one behind the other")
    assert case["remarks"][0] in caplog.text and case["withheld"] is None


def test_a_label_map_without_a_structure_is_named(tmp_path, model, caplog):
    """In the log, the manifest and the report, of a cine with its frames."""
    weights = torch.load(model, weights_only=True)
    last = [name for name in weights if name.endswith("bias")][-1]
    weights[last][0] = 1e4  # all is background
    torch.save(weights, model)
    scan = volume(tmp_path / "in" / "a.nii.gz")
    cine(tmp_path / "in" / "b.nii.gz")
    run(scan.parent, tmp_path / "out", model)
    cases = {case["case"]: case["nothing_found"] for case in manifest_of(tmp_path / "out")["cases"]}
    assert cases == {"a": "no structure found", "b": "no structure found in frame 1, 2, 3, 4 of 4"}
    assert f"{scan}: no structure found: see whether" in caplog.text
    page = report.write(tmp_path / "out").read_text()
    assert "In 2 of 2 cases no structure was found" in page and ">no structure found in frame 1, 2, 3, 4 of 4<" in page


def test_every_frame_of_a_cine_has_its_own_probabilities(tmp_path, model):
    run(cine(tmp_path / "a.nii.gz"), tmp_path / "out", model, probabilities=True)
    labels = np.asarray(nibabel.load(tmp_path / "out" / "a_seg.nii.gz").dataobj)
    for n in range(4):
        found = volumes.read(tmp_path / "out" / f"a_frame{n + 1:02d}_prob.nii.gz", frames=True).voxels
        np.testing.assert_array_equal(found.argmax(-1), labels[..., n])


def test_a_cines_quality_is_that_of_its_worst_frame_whenever_it_was_fitted(tmp_path, model):
    scan = cine(tmp_path / "a.nii.gz")
    run(scan, tmp_path / "before", model)
    scores = [frame["soft_dice"] for frame in manifest_of(tmp_path / "before")["cases"][0]["frame_scores"]]
    assert len(scores) == 4 and min(scores) < scores[0]
    model.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    for folder in ("before", "after"):
        case = segmented(scan, tmp_path / folder, model)
        assert case["quality"] == pytest.approx(0.1 + 0.5 * min(scores))


def test_a_panel_of_a_cine_shows_the_frame_that_is_segmented_in_it(tmp_path, model):
    """Frames that get brighter: the panel's greys are those of its frame alone."""
    folder = tmp_path / "in" / "patient001"
    path = cine(folder / "patient001_4d.nii.gz")
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).astype(np.int16) + 2000 * np.arange(4, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    (folder / "Info.cfg").write_text("ED: 2\nES: 4\n")
    case = segmented(path, tmp_path / "out", model)
    frame = volumes.Volume(voxels[..., 3:], image.affine)
    grey = frame.layout.apply(frame.voxels[..., 0]).astype(float)
    low, high = np.percentile(grey, (0.5, 99.5))
    with np.load(tmp_path / "out" / case["panel"]) as panel:
        assert panel["frame"] == 3
        for n, z in enumerate(panel["places"]):
            expected = frame.shown(np.clip((grey[..., z] - low) / (high - low), 0, 1) * 255)
            np.testing.assert_allclose(panel[f"image_{n}"], expected, atol=1)


def test_ed_and_es_of_a_cine_are_held_against_the_frames_of_the_challenge(tmp_path, model, phantom_dir):
    folder = tmp_path / "in" / "patient001"
    shutil.copytree(phantom_dir / "training" / "patient001", folder)
    frames = {n: nibabel.load(folder / f"patient001_frame{n:02d}.nii.gz") for n in (1, 10)}
    whole = np.stack([np.asarray(frames[10 if n == 10 else 1].dataobj) for n in range(1, 11)], -1)
    nibabel.save(nibabel.Nifti1Image(whole, frames[1].affine, frames[1].header), folder / "patient001_4d.nii.gz")
    run(folder / "patient001_4d.nii.gz", tmp_path / "out", model, frames="ed_es")
    content = compare.compare([tmp_path / "out"], folder)
    assert [(row["phase"], Path(row["truth"]).name) for row in content["cases"]] == [
        ("ED", "patient001_frame01_gt.nii.gz"), ("ES", "patient001_frame10_gt.nii.gz"),
    ]  # fmt: skip


def test_a_phase_of_a_cine_and_a_scan_of_its_name_do_not_write_over_each_other(tmp_path, model):
    """The scan is looked at before the cine's phases are written."""
    cine(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "a_ED.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model, frames="ed_es")
    assert f"is the label map of {tmp_path / 'in' / 'a.nii.gz'}, not of" in str(caught.value.__cause__)
    assert nibabel.load(tmp_path / "out" / "a_ED_seg.nii.gz").shape == (20, 28, 5)
    assert {case["scan"] for case in manifest_of(tmp_path / "out")["cases"]} == {str(tmp_path / "in" / "a.nii.gz")}
