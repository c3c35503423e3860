"""Which scans are found, what each is called, and which are left alone."""

import json
import os
import shutil
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from predicting import OBLIQUE, ROOT, cine, made, manifest_of, run, volume

from acdc_semicycle.artifacts.card import CARD
from acdc_semicycle.config import command
from acdc_semicycle.imageio import volumes
from acdc_semicycle.inference.inputs import Scans
from acdc_semicycle.runtime.errors import InputError


def test_a_folder_keeps_its_tree_and_masks_and_cines_are_left_alone(tmp_path, model, phantom_dir):
    folder = tmp_path / "in"
    shutil.copytree(phantom_dir / "training" / "patient001", folder / "a" / "patient001")
    volume(folder / "a" / "patient001" / "patient001_4d.nii.gz", (32, 32, 6, 2))
    volume(folder / "b" / "frame.nii")
    run(folder, tmp_path / "out", model)
    assert made(tmp_path / "out") == [
        "a/patient001/patient001_frame01_seg.nii.gz",
        "a/patient001/patient001_frame10_seg.nii.gz",
        "b/frame_seg.nii.gz",
    ]


@pytest.mark.parametrize("word", ["_labels", "-label", "_segmentation", ".seg", "_pred", "_Mask", "-label.seg"])
@pytest.mark.parametrize("end", [".nrrd", ".nii.gz"])
def test_a_mask_beside_its_scan_is_no_scan_whatever_word_ends_its_name(tmp_path, word, end):
    for name in (f"a{end}", f"a{word}{end}", f"b_0000{end}", f"b{word}{end}", f"alone{word}{end}"):
        (tmp_path / name).touch()
    scans = Scans(tmp_path, tmp_path / "out", CARD).listed
    assert [scan.path.name for scan in scans] == [f"a{end}", f"alone{word}{end}", f"b_0000{end}"]


def test_a_second_run_into_the_inputs_folder_does_not_segment_its_own_output(tmp_path, model):
    volume(tmp_path / "in" / "scan.nii.gz")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "in", model)
    assert made(tmp_path / "in") == ["scan.nii.gz", "scan_seg.nii.gz"]


def test_the_output_may_lie_above_the_input(tmp_path, model):
    scan = volume(tmp_path / "all" / "in" / "scan.nii.gz")
    run(scan.parent, tmp_path / "all", model)
    assert made(tmp_path / "all") == ["in/scan.nii.gz", "scan_seg.nii.gz"]


def test_nothing_that_was_written_here_is_taken_for_a_scan(tmp_path, model):
    cine(tmp_path / "in" / "a.nii.gz")
    volume(tmp_path / "in" / "b.nrrd.nii.gz")
    for frames in ("ed_es", "all", None):
        run(tmp_path / "in", tmp_path / "in", model, frames=frames, probabilities=True)
        assert {case["scan"] for case in manifest_of(tmp_path / "in")["cases"]} == {
            str(tmp_path / "in" / name) for name in ("a.nii.gz", "b.nrrd.nii.gz")
        }


def test_two_scans_of_one_name_get_two_label_maps(tmp_path, model):
    volume(tmp_path / "in" / "a.nii")
    volume(tmp_path / "in" / "a.nii.gz", (24, 24, 3))
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_nii_gz_seg.nii.gz", "a_nii_seg.nii.gz"]
    assert nibabel.load(tmp_path / "out" / "a_nii_seg.nii.gz").shape == (20, 28, 5)
    assert nibabel.load(tmp_path / "out" / "a_nii_gz_seg.nii.gz").shape == (24, 24, 3)


def test_two_names_of_one_scan_in_a_folder_get_two_label_maps(tmp_path, model):
    scan = volume(tmp_path / "in" / "b.nii.gz")
    for name in "ac":
        (tmp_path / "in" / f"{name}.nii.gz").symlink_to(scan)
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.nii.gz", "c_seg.nii.gz"]
    assert [case["case"] for case in manifest_of(tmp_path / "out")["cases"]] == ["a", "b", "c"]


def test_what_is_given_twice_is_segmented_once_and_under_another_folders_name_said_to_be(tmp_path, model, caplog):
    scan = volume(tmp_path / "in" / "a.nii.gz")
    found = Scans([scan.parent, scan, tmp_path / "in" / ".." / "in"], tmp_path / "out", CARD).listed
    assert [one.path for one in found] == [scan] and "under another name" in caplog.text
    caplog.clear()
    Scans([scan.parent, scan], tmp_path / "out", CARD)
    assert not caplog.text


def test_a_path_that_is_no_file_costs_its_own_line_and_not_the_others(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run([tmp_path / "in", tmp_path / "typo", tmp_path / "pipe.nii.gz"], tmp_path / "out", model)
    said = str(caught.value.__cause__)
    assert "2 of 3 files left out" in said
    assert f"{tmp_path / 'typo'} is not there: " in said and f"{tmp_path / 'pipe.nii.gz'} is no file: " in said
    assert made(tmp_path / "out") == ["in/a_seg.nii.gz"]
    reasons = {failure["scan"] for failure in manifest_of(tmp_path / "out")["failures"]}
    assert reasons == {str(tmp_path / "typo"), str(tmp_path / "pipe.nii.gz")}
    (tmp_path / "pipe.nii.gz").rename(tmp_path / "in" / "pipe.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert f"{tmp_path / 'in' / 'pipe.nii.gz'} is no file: " in str(caught.value.__cause__)


def test_a_path_that_is_not_there_is_told_of_whatever_part_is_asked_for(tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"test": ["a"]}))
    given = [tmp_path / "in", tmp_path / "typo"]
    found = Scans(given, tmp_path / "out", CARD, part="test", split=tmp_path / "split.json").listed
    assert [one.path.name for one in found] == ["a.nii.gz", "typo"]
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match=r"split\.json is damaged"):
        Scans(given, tmp_path / "out", CARD, part="test", split=tmp_path / "split.json")
    with pytest.raises(InputError, match="typo is not there"):
        Scans(tmp_path / "typo", tmp_path / "out", CARD)


def test_links_to_folders_are_followed_once_and_never_round(tmp_path):
    volume(tmp_path / "in" / "z" / "a.nii.gz")
    volume(tmp_path / "elsewhere" / "deep" / "b.nii.gz")
    volume(tmp_path / "in" / ".hidden" / "c.nii.gz")
    volume(tmp_path / "other.nii.gz")
    for name, target in [("linked", "elsewhere"), ("again", "in/z"), ("round", "in"), ("up", ".")]:
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    found = Scans(tmp_path / "in", tmp_path / "out", CARD).listed
    assert [one.case for one in found] == ["linked/deep/b", "z/a"]


def test_a_folder_that_cannot_be_listed_costs_its_own_line(tmp_path, monkeypatch):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "lost+found").mkdir()
    scan = os.scandir

    def scandir(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)  # a superuser may list all
    one, closed = Scans(tmp_path / "in", tmp_path / "out", CARD).listed
    assert one.case == "a" and one.fault is None
    assert closed.path.name == "lost+found" and "cannot be listed (Permission denied)" in closed.fault


def test_what_is_given_and_holds_nothing_costs_its_own_line(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "IM1.DCM").write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        run([tmp_path / "in", tmp_path / "empty", tmp_path / "IM1.DCM"], tmp_path / "out", model)
    said = str(caught.value.__cause__)
    assert "2 of 3 files left out" in said
    assert f"{tmp_path / 'empty'} holds no .nii, " in said and "and no DICOM series: give" in said
    assert f"{tmp_path / 'IM1.DCM'} is one file of a DICOM series: give its folder" in said
    assert made(tmp_path / "out") == ["in/a_seg.nii.gz"]


def test_scans_of_formats_that_are_not_read_are_said_to_be_left_out(tmp_path, caplog):
    volume(tmp_path / "in" / "c.nii.gz")
    for name in ("a.mgz", "b.nii.bz2"):
        (tmp_path / "in" / name).write_bytes(b"")
    assert len(Scans(tmp_path / "in", tmp_path / "out", CARD).listed) == 1
    assert f"{tmp_path / 'in' / 'a.mgz'} and 1 more left out: " in caplog.text


def test_what_lies_below_the_output_folder_is_no_scan(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "in" / "out", model)
    assert made(tmp_path / "in" / "out") == ["a_seg.nii.gz"]


def test_a_folder_without_scans_and_no_input_at_all_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        Scans(tmp_path / "empty", tmp_path, CARD)
    with pytest.raises(InputError, match="--input"):
        Scans(None, tmp_path, CARD)


def test_nnunets_channel_is_no_part_of_patient_and_phase(tmp_path):
    for name in ("X_ED_0000", "X_ES_0000", "Y_0000", "Z-ES"):
        volume(tmp_path / "in" / f"{name}.nii")
    found = Scans(tmp_path / "in", tmp_path / "out", CARD).listed
    assert [(scan.patient, scan.phase) for scan in found] == [("X", "ED"), ("X", "ES"), ("Y_0000", None), ("Z", "ES")]


def test_several_scans_keep_their_places_below_their_common_folder(tmp_path, model):
    scans = [volume(tmp_path / "in" / name / "img.nii.gz") for name in ("p1", "p2")]
    run(scans, tmp_path / "out", model)
    assert made(tmp_path / "out") == ["p1/img_seg.nii.gz", "p2/img_seg.nii.gz"]


@pytest.mark.parametrize("name", ["a b", "$HOME", "@x", "50%", "a,b", "{}", "ü 心", "x#y", "-o", "a\nb"])
def test_a_file_may_be_called_as_it_likes(tmp_path, model, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["semicycle", "predict", str(tmp_path / "in"), "-o", str(tmp_path / "$out")])
    volume(tmp_path / "in" / name / f"{name}.nii")
    paths = {"input": [tmp_path / "in"], "output_dir": tmp_path / "$out", "checkpoint": model}
    command.run_here(None, ["inference.json"], paths, {})
    assert made(tmp_path / "$out") == [f"{name}/{name}_seg.nii.gz"]


def test_scans_of_one_name_in_several_containers_are_cases_of_their_own(tmp_path, model):
    voxels = np.random.default_rng(0).integers(0, 900, (20, 28, 5)).astype(np.int16)
    for end in (".nii.gz", ".nrrd", ".mha"):
        volumes.save(tmp_path / "in" / f"a{end}", voxels, volumes.Volume(voxels[..., None], OBLIQUE))
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.mha", "a_seg.nii.gz", "a_seg.nrrd"]
    cases = manifest_of(tmp_path / "out")["cases"]
    assert [case["case"] for case in cases] == ["a_mha", "a_nii_gz", "a_nrrd"]
    assert len({case["panel"] for case in cases}) == 3


def test_a_name_as_long_as_a_name_can_be_gets_a_shorter_one(tmp_path, model):
    long = "心" * 80  # 240 bytes
    for name in (long + "a", long + "b"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert len(made(tmp_path / "out")) == 2 and {case["case"] for case in manifest_of(tmp_path / "out")["cases"]} == {
        long + "a",
        long + "b",
    }


def test_only_patients_of_a_part_are_segmented(tmp_path, model, phantom_dir):
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["patient002"], "test": ["patient009"]}))
    run(phantom_dir, tmp_path / "out", model, part="validation")
    assert {case["patient"] for case in manifest_of(tmp_path / "out")["cases"]} == {"patient002"}
    for part, words in (("test", "none of 16 scans"), ("tset", "give one of validation, test")):
        with pytest.raises(RuntimeError) as caught:
            run(phantom_dir, tmp_path / "out", model, part=part)
        assert words in str(caught.value.__cause__)


def test_a_scan_of_the_training_has_the_patient_that_the_training_had(tmp_path, model):
    """Two scans a patient, as a training with --patient leaves them; a scan that it did not have is its own patient."""
    for name in ("p1_a", "p1_b", "p2_a", "p2_b", "new"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["p1"], "test": ["p2"]}))
    cases = {f"{patient}_{scan}": patient for patient in ("p1", "p2") for scan in "ab"}
    (tmp_path / "patients.json").write_text(json.dumps(cases))
    run(tmp_path / "in", tmp_path / "test", model, part="test")
    assert {case["case"]: case["patient"] for case in manifest_of(tmp_path / "test")["cases"]} == {
        "p2_a": "p2",
        "p2_b": "p2",
    }
    listed = Scans(tmp_path / "in", tmp_path / "all", CARD, split=tmp_path / "split.json").listed
    assert {scan.case: scan.patient for scan in listed} == {**cases, "new": "new"}


def two_sites(root, *names):
    """Scans at two sites, and an Info.cfg beside those of ACDC's layout."""
    for name in names:
        path = volume(root / f"{name}.nii.gz")
        if path.parent.name.startswith("patient"):
            (path.parent / "Info.cfg").write_text("ED: 1\nES: 10\n")
    return root


ACDC_AT_TWO_SITES = [
    "siteA/patient001/patient001_frame01",
    "siteA/patient001/patient001_frame10",
    "siteB/patient001/patient001_frame01",
]


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (ACDC_AT_TWO_SITES, ["siteA/patient001", "siteA/patient001", "siteB/patient001"]),
        (["siteA/001_ED", "siteB/001_ED", "siteB/001_ES"], ["siteA/001", "siteB/001", "siteB/001"]),
        (["001_ED", "001_ES", "siteB/001_ES"], ["001", "001", "siteB/001"]),
        (["001", "siteB/001_ES"], ["001", "siteB/001"]),
        (["siteA/001_ED", "siteA/001_ES", "siteB/002_ED"], ["001", "001", "002"]),
        (["ED/001_ED", "ES/001_ES"], ["001", "001"]),  # of one or of two: indices are withheld
    ],
)
def test_a_patient_is_a_folder_and_a_name(tmp_path, names, patients):
    folder = two_sites(tmp_path / "in", *names)
    listed = {scan.case: scan.patient for scan in Scans(folder, tmp_path / "out", CARD).listed}
    assert listed == dict(zip(names, patients, strict=True))


def test_two_patients_of_one_name_have_indices_of_their_own(tmp_path, model):
    """The second site lacks one phase: its only scan changes nothing in the first site's indices."""
    folder = two_sites(tmp_path / "in", *ACDC_AT_TWO_SITES)
    run(folder, tmp_path / "both", model)
    run(folder / "siteA", tmp_path / "alone", model)
    (row,), (alone,) = (manifest_of(tmp_path / name)["patients"] for name in ("both", "alone"))
    assert (row["patient"], alone["patient"]) == ("siteA/patient001", "patient001")
    for key in ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "myo_mass_g", "withheld"):
        assert row[key] == alone[key]


def test_ed_and_es_of_one_name_in_two_folders_make_no_indices(tmp_path, model):
    folder = two_sites(tmp_path / "in", "siteA/001_ED", "siteB/001_ES")
    run(folder, tmp_path / "once", model)
    for site in ("siteA", "siteB"):  # one after the other, into one folder
        run(folder / site, tmp_path / "twice", model)
    for name in ("once", "twice"):
        (row,) = manifest_of(tmp_path / name)["patients"]
        assert row["lv_edv_ml"] is None and "lie in two folders, and may be two patients'" in row["withheld"]


def test_a_part_of_a_split_is_of_one_patient_of_a_name(tmp_path):
    """The training had one patient001; the training that had both, with an expression, calls them as one."""
    folder = two_sites(tmp_path / "in", *ACDC_AT_TWO_SITES)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": ["patient001"]}))
    cases = {"patient001_frame01": "patient001", "patient001_frame10": "patient001"}
    (tmp_path / "patients.json").write_text(json.dumps(cases))
    with pytest.raises(InputError, match=r"are both of a test patient patient001 of .*: give the data set"):
        Scans(folder, tmp_path / "out", CARD, part="test", split=split)
    assert len(Scans(folder / "siteA", tmp_path / "out", CARD, part="test", split=split).listed) == 2
    (tmp_path / "patients.json").write_text(json.dumps(dict.fromkeys(ACDC_AT_TWO_SITES, "patient001")))
    listed = Scans(folder, tmp_path / "out", CARD, part="test", split=split).listed
    assert [scan.patient for scan in listed] == 3 * ["patient001"]


def test_a_split_that_names_no_scan_may_be_another_networks(tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"test": ["p1"]}))
    with pytest.raises(InputError, match=r"is of a test patient of .*split\.json: give that .* network by --model$"):
        Scans(tmp_path / "in", tmp_path / "out", CARD, part="test", split=tmp_path / "split.json")


def test_a_part_is_of_whole_names_not_of_their_beginnings(tmp_path, model):
    for name in ("p1", "p10"):
        volume(tmp_path / "in" / name / f"{name}.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps({"test": ["p1"]}))
    run(tmp_path / "in", tmp_path / "out", model, part="test")
    assert made(tmp_path / "out") == ["p1/p1_seg.nii.gz"]


def test_what_is_hidden_is_no_scan(tmp_path, model):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "._a.nii.gz").write_bytes(b"what a Mac leaves")
    volume(tmp_path / "in" / ".trash" / "b.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["a_seg.nii.gz"]


def test_a_scan_whose_name_ends_like_a_masks_is_a_scan_where_it_is_alone(tmp_path, model):
    volume(tmp_path / "in" / "without_label.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["without_label_seg.nii.gz"]


def test_a_cine_beside_its_frames_is_segmented_where_cines_are_asked_for(tmp_path, model):
    folder = tmp_path / "in" / "patient001"
    cine(folder / "patient001_4d.nii.gz")
    (folder / "Info.cfg").write_text("ED: 1\nES: 3\n")
    for n in (1, 3):
        volume(folder / f"patient001_frame{n:02d}.nii.gz")
    run(tmp_path / "in", tmp_path / "out", model, frames="all")
    assert "patient001/patient001_4d_seg.nii.gz" in made(tmp_path / "out")


def test_two_series_of_one_folder_are_two_scans_and_done_once(tmp_path, model, caplog):
    caplog.set_level("INFO", "semicycle")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    (tmp_path / "in" / "scan").mkdir(parents=True)
    for number in (3, 4):
        for z in range(5):
            plane = sitk.GetImageFromArray(
                np.random.default_rng(z + number).integers(0, 900, (28, 20)).astype(np.int16)
            )
            plane.SetSpacing((1.4, 1.6))
            tags = {"0008|0060": "MR", "0020|000e": f"1.2.3.{number}", "0020|0011": str(number), "0020|0013": str(z)}
            tags |= {"0008|0018": f"1.2.3.{number}.{z}", "0020|0032": f"0\\0\\{9 * z}", "0010|0010": "ZEBEDEE^JANE"}
            tags |= {"0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "9"}
            for tag, value in tags.items():
                plane.SetMetaData(tag, value)
            path = tmp_path / "in" / "scan" / f"{number}_{z}.dcm"
            writer.SetFileName(str(path))
            writer.Execute(plane)
            os.utime(path, (1, 1))
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "out", model)
    assert made(tmp_path / "out") == ["scan/series003_seg.nii.gz", "scan/series004_seg.nii.gz"]
    assert "2 of them are done" in caplog.text
    for path in (tmp_path / "in" / "scan").glob("4_*"):
        path.unlink()
    for root in (tmp_path / "in", tmp_path / "in" / "scan"):
        (only,) = Scans(root, tmp_path / "out", CARD).listed
        assert (only.case, only.target.name) == ("scan", "scan_seg.nii.gz")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"ZEBEDEE" in path.read_bytes()]
    found = volumes.read(tmp_path / "out" / "scan" / "series003_seg.nii.gz")
    assert found.voxels.shape == (20, 28, 5, 1) and found.spacing_mm == pytest.approx((1.4, 1.6, 9))
