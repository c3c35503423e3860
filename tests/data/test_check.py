"""Every fault that is planted in a data set is named with its file, all at once, and nothing else is."""

import codecs
import contextlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from acdc_semicycle.data import check, check_cases, check_findings, check_report
from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from tests.data.spoil import (
    FAULT,
    WARNING,
    a_slice_less,
    both,
    both_parts,
    cut,
    file,
    files_of,
    flip_a_bit,
    gone,
    image,
    in_unit,
    info,
    late,
    mask,
    moved,
    patch,
    put,
    rewrite,
    rgb,
    same_voxels,
    stray_mask,
    swapped,
    text_in,
    turned,
    two_geometries,
    without,
    without_masks,
)


@pytest.fixture
def root(phantom_dir, tmp_path) -> Path:
    """Two of the phantom's patients, to be spoilt."""
    for patient in ("patient001", "patient002"):
        shutil.copytree(phantom_dir / "training" / patient, tmp_path / "data" / "training" / patient)
    return tmp_path / "data"


# what is planted in patient n of a root, with another patient at hand; severity and words of the one finding
PLANTED = {
    "truncated": (lambda r, n, _: cut(image(r, n)), FAULT, "truncated"),
    "bit": (lambda r, n, _: flip_a_bit(image(r, n)), FAULT, "CRC"),
    "bit in a mask": (lambda r, n, _: flip_a_bit(mask(r, n)), FAULT, "CRC"),
    "no NIfTI": (lambda r, n, _: text_in(image(r, n), "a letter"), FAULT, "not in NIfTI format"),
    "zero bytes": (lambda r, n, _: text_in(image(r, n), ""), FAULT, "damaged"),
    "frame missing": (lambda r, n, _: gone(image(r, n)), FAULT, "_frame01.nii.gz, which its Info.cfg names as ED"),
    "NaN": (lambda r, n, _: put(image(r, n), (3, 4, 2), np.nan), FAULT, "NaN"),
    "infinite": (lambda r, n, _: put(image(r, n), (3, 4, 2), np.inf), FAULT, "infinite"),
    "NaN label": (lambda r, n, _: put(mask(r, n), (3, 4, 2), np.nan), FAULT, "NaN"),
    "half a label": (lambda r, n, _: put(mask(r, n), (3, 4, 2), 0.5), FAULT, "label 0.5: expected whole"),
    "label 7": (lambda r, n, _: put(mask(r, n), (3, 4, 2), 7), FAULT, "label 7"),
    "label -1": (lambda r, n, _: put(mask(r, n), (3, 4, 2), -1), FAULT, "label -1"),
    "other shape": (lambda r, n, _: rewrite(mask(r, n), lambda v: v[:-2]), FAULT, "its image (32, 32, 6)"),
    "moved": (lambda r, n, _: rewrite(mask(r, n), affine=moved), FAULT, "elsewhere in space"),
    "flipped header": (lambda r, n, _: rewrite(mask(r, n), affine=turned), FAULT, "elsewhere in space"),
    "transposed": (lambda r, n, _: rewrite(mask(r, n), swapped, turned), FAULT, "elsewhere in space"),
    "cine": (lambda r, n, _: rewrite(image(r, n), lambda v: np.stack([v, v], -1)), FAULT, "3D volume"),
    "cine mask": (lambda r, n, _: rewrite(mask(r, n), lambda v: np.stack([v, v], -1)), FAULT, "3D volume"),
    "colours": (lambda r, n, _: rewrite(image(r, n), rgb), FAULT, "one real number a voxel"),
    "no Info": (lambda r, n, _: gone(info(r, n)), FAULT, "has no Info.cfg"),
    "no ED": (lambda r, n, _: text_in(info(r, n), "ES: 10\n"), FAULT, "no line 'ED: N'"),
    "ED is ES": (lambda r, n, _: text_in(info(r, n), "ED: 10\nES: 10\n"), FAULT, "names frame 10 as ED and as ES"),
    "both parts": (lambda r, n, _: both_parts(r, n), FAULT, "is there twice, also as"),
    "mask missing": (lambda r, n, _: gone(mask(r, n)), WARNING, "is missing, but another frame has a mask"),
    "stray mask": (lambda r, n, _: stray_mask(r, n), WARNING, "a mask without an image"),
    "constant": (lambda r, n, _: rewrite(image(r, n), lambda v: v * 0 + 3), WARNING, "constant (3 in every voxel)"),
    "empty mask": (lambda r, n, _: rewrite(mask(r, n), lambda v: v * 0), WARNING, "is empty"),
    "no LV": (lambda r, n, _: rewrite(mask(r, n), without(3)), WARNING, "has no LV"),
    "no MYO": (lambda r, n, _: rewrite(mask(r, n), without(2)), WARNING, "has no MYO"),
    "ED is the ES file": (lambda r, n, _: same_voxels(image(r, n), late(image(r, n))), WARNING, "the same patient"),
    "two patients": (lambda r, n, m: same_voxels(image(r, m), image(r, n)), WARNING, "on both sides"),
    "stored again": (lambda r, n, m: same_voxels(image(r, m), image(r, n), np.float64), WARNING, "and another mask"),
    "scan without its mask": (lambda r, n, m: without_masks(r, m, n), FAULT, "of another patient: keep one"),
    "files of another": (lambda r, n, m: files_of(r, m, n), FAULT, "of another patient"),
    "another's mask": (lambda r, n, m: same_voxels(mask(r, m), mask(r, n)), WARNING, "the same voxels"),
    "spacing 0": (lambda r, n, _: patch(image(r, n), 80, struct.pack("<f", 0)), FAULT, "spacing of 0 x"),
    "spacing -1": (lambda r, n, _: patch(image(r, n), 84, struct.pack("<f", -1)), FAULT, "x -1 x"),
    "spacing NaN": (lambda r, n, _: patch(mask(r, n), 88, struct.pack("<f", np.nan)), FAULT, "x nan in its header"),
    "spacing infinite": (lambda r, n, _: patch(image(r, n), 80, struct.pack("<f", np.inf)), FAULT, "spacing of inf x"),
    "metres": (lambda r, n, _: in_unit(image(r, n), 0.001, 1), WARNING, "spacing is in metres"),
    "microns": (lambda r, n, _: in_unit(image(r, n), 1000, 3), WARNING, "spacing is in microns"),
    "q and s": (lambda r, n, _: two_geometries(image(r, n)), FAULT, "qform and an sform that disagree by 15"),
    "qform": (lambda r, n, _: patch(image(r, n), 256, struct.pack("<3f", 9, 9, 9)), FAULT, "is no rotation"),
    "a slice less": (lambda r, n, _: late(both(image(r, n), a_slice_less)), WARNING, "frames of one cine"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named_with_its_file_and_nothing_else_is(root, name):
    plant, severity, words = PLANTED[name]
    path = plant(root, 2, 1)
    [found] = check.check(root, progress=iter)
    assert (found.severity, found.path) == (severity, path)
    assert words in found.text and str(path.parent) in found.text


def many(phantom_dir: Path, root: Path, count: int) -> Path:
    """As many patients as are wanted: the phantom's eight, moved along by a voxel, and by two, ..."""
    for n in range(1, count + 1):
        info(root, n).parent.mkdir(parents=True)
        shutil.copy(info(phantom_dir, 1 + n % 8), info(root, n))
        for end in ("frame01.nii.gz", "frame01_gt.nii.gz", "frame10.nii.gz", "frame10_gt.nii.gz"):
            old = nib.load(file(phantom_dir, 1 + n % 8, end))
            nib.save(nib.Nifti1Image(np.roll(old.dataobj, n // 8, 0), None, old.header), file(root, n, end))
    return root


@pytest.mark.slow
def test_all_of_them_are_found_at_once(phantom_dir, tmp_path):
    root = many(phantom_dir, tmp_path / "data", len(PLANTED) + 1)
    assert check.check(root, progress=iter) == []
    expected = {
        (plant(root, n, 1), severity): words for n, (plant, severity, words) in enumerate(PLANTED.values(), start=2)
    }
    found = check.check(root, progress=iter)
    assert len(found) == len(expected) == len(PLANTED) > 40
    for finding in found:
        assert expected[finding.path, finding.severity] in finding.text


def test_two_faults_of_one_mask_are_both_found_and_so_are_those_of_a_pair(root):
    put(rewrite(mask(root, 1), affine=moved), (3, 4, 2), 9)
    cut(image(root, 2)), put(mask(root, 2), (3, 4, 2), 9)
    found = [
        (finding.path, finding.text.split(": ")[0].split(" ", 1)[1]) for finding in check.check(root, progress=iter)
    ]
    assert sorted(found)[:2] == [
        (mask(root, 1), "holds the label 9"), (mask(root, 1), "lies elsewhere in space than its image"),
    ]  # fmt: skip
    assert {path for path, _ in found[2:]} == {image(root, 2), mask(root, 2)} and len(found) == 4


def test_a_patient_without_a_usable_info_is_looked_through_all_the_same(root):
    gone(info(root, 1)), cut(image(root, 1))
    assert {finding.path for finding in check.check(root, progress=iter)} == {info(root, 1), image(root, 1)}


def test_a_patient_drawn_twice_is_one_warning_for_all_frames_and_under_one_mask_a_fault_each(root):
    for frame in (lambda path: path, late):
        same_voxels(frame(image(root, 1)), frame(image(root, 2)))
    [found] = check.check(root, progress=iter)
    assert (found.severity, found.path, check_report.status([found])) == (WARNING, image(root, 2), 0)
    assert str(image(root, 1)) in found.text and "a split can put them on both sides, keep one" in found.text
    same_voxels(late(mask(root, 1)), late(mask(root, 2)))
    found = check.check(root, progress=iter)
    assert [(one.severity, one.path) for one in found] == [(FAULT, late(image(root, 2))), (WARNING, image(root, 2))]


def test_a_folder_of_a_patient_may_be_empty(root):
    (root / "training" / "patient009").mkdir()
    [found] = check.check(root, progress=iter)
    assert found.path == info(root, 9) and "has no Info.cfg" in found.text


def test_a_transposed_square_mask_under_its_images_own_affine_cannot_be_told(root):
    rewrite(mask(root, 1), swapped)
    assert check.check(root, progress=iter) == []


def test_patients_without_any_mask_are_unlabelled_unless_nobody_has_one(root):
    for path in (mask(root, 2), late(mask(root, 2))):
        path.unlink()
    assert check.check(root, progress=iter) == []
    for path in (mask(root, 1), late(mask(root, 1))):
        path.unlink()
    [found] = check.check(root, progress=iter)
    assert (found.severity, found.path) == (FAULT, root) and "nothing to learn from" in found.text


@contextlib.contextmanager
def nobody() -> Iterator[Path]:
    """A folder that everybody may enter, and inside this block no rights beyond everybody's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        user = os.geteuid()
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def give_up_rights() -> None:
    if os.geteuid() == 0:
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("root without the right to be somebody else")


@pytest.mark.parametrize("what", ["image", "Info.cfg", "folder"])
def test_what_may_not_be_read_is_named(root, what):
    with nobody() as folder:
        copy = Path(shutil.copytree(root, folder / "data"))
        path = {"image": image(copy, 2), "Info.cfg": info(copy, 2), "folder": info(copy, 2).parent}[what]
        path.chmod(0)
        codecs.lookup("utf-8-sig")  # whose module nobody need be allowed to import
        give_up_rights()
        [found] = check.check(copy, progress=iter)
        os.seteuid(os.getuid())
        path.chmod(0o755)
        assert (found.severity, found.path) == (FAULT, path) and "Permission denied" in found.text


def test_a_phantom_has_nothing_wrong_and_every_case_goes_through_the_progress(phantom_dir):
    counts, seen = check_findings.Counts(), []

    def progress(cases):
        for case in cases:
            yield case
            seen.append(case)

    assert check.check(phantom_dir, progress=progress, counts=counts) == []
    assert seen == acdc.records(phantom_dir)
    assert check_report.report([], counts).splitlines() == ["ACDC: 8 patients, 16 images, 16 masks", "nothing found"]


def test_lost_spacing_is_said_once_and_is_no_finding(root):
    for end in ("frame01.nii.gz", "frame01_gt.nii.gz", "frame10.nii.gz", "frame10_gt.nii.gz"):
        rewrite(file(root, 1, end), affine=lambda _: np.eye(4))
    counts = check_findings.Counts()
    assert check.check(root, progress=iter, counts=counts) == []
    assert check_report.report([], counts).count("note: 2 of 4 images have a spacing of 1 x 1 x 1 mm") == 1


def test_an_absurd_spacing_is_a_warning_and_so_is_that_the_other_frame_has_another(root):
    both(image(root, 1), lambda path: rewrite(path, affine=lambda affine: affine * [[20] * 3 + [1]]))
    absurd, other = check.check(root, progress=iter)
    assert absurd.path == image(root, 1) and "not between 0.1 and 50: check its unit" in absurd.text
    assert other.path == late(image(root, 1)) and {absurd.severity, other.severity} == {WARNING}


def test_a_report_gives_each_finding_a_line_and_the_status_follows_the_faults(root):
    cut(image(root, 1)), gone(mask(root, 2))
    counts = check_findings.Counts()
    found = check.check(root, progress=iter, counts=counts)
    lines = check_report.report(found, counts).splitlines()
    assert lines[1].startswith(f"fault: {image(root, 1)} is truncated") and lines[2].startswith("warning: ")
    assert lines[-1] == "1 fault, 1 warning" and len(lines) == 4
    assert (check_report.status(found), check_report.status(found[1:]), check_report.status([])) == (1, 0, 0)


def test_an_image_that_is_its_own_mask_is_named(tmp_path):
    phantom.write(tmp_path / "p", patients=3, size=(32, 32, 6))
    folder = tmp_path / "p" / "training" / "patient002"
    (folder / "patient002_frame01.nii.gz").write_bytes((folder / "patient002_frame01_gt.nii.gz").read_bytes())
    faults = [one for one in check.check(tmp_path / "p") if one.severity == "fault"]
    assert [one.path.name for one in faults] == ["patient002_frame01.nii.gz"] and "own mask" in faults[0].text


@pytest.mark.parametrize(("change", "said"), [
    (lambda mask: np.array([0, 3, 2, 1], np.uint8)[mask], "expected 1 RV, 2 MYO, 3 LV"),
    (lambda mask: np.roll(mask, 40, axis=0), "may be mirrored"),
])  # fmt: skip
def test_a_mask_that_no_heart_has_is_a_warning(tmp_path, change, said):
    phantom.write(tmp_path / "p", patients=3)
    assert check.check(tmp_path / "p") == []
    path = tmp_path / "p" / "training" / "patient002" / "patient002_frame10_gt.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine, image.header), path)
    (found,) = check.check(tmp_path / "p")
    assert (found.severity, found.path.name) == ("warning", path.name) and said in found.text


def test_a_structure_lies_in_the_myocardium_slice_by_slice():
    labels = np.zeros((14, 14, 3), np.uint8)
    labels[2:10, 7:11] = 2  # above and below the RV
    labels[..., 1] = 0
    labels[3:9, 2:8, 1], labels[4:8, 3:7, 1], labels[3:9, 8:10, 1] = 2, 3, 1
    assert acdc.oddities(labels) == []
    assert "1 RV, 2 MYO, 3 LV" in acdc.oddities(np.choose(labels, [0, 3, 2, 1]))[0]


@pytest.mark.parametrize(("shift", "lies_elsewhere"), [(13, False), (15, True)])
def test_the_cavities_of_two_frames_share_three_tenths_of_the_smaller(shift, lies_elsewhere):
    """Of 20 rows the cavities share 20 less the shift: 7, or 5."""
    frames = [np.zeros((40, 20, 2), np.uint8) for _ in range(2)]
    frames[0][:20], frames[1][shift : shift + 20] = 3, 3
    assert ["LV lies elsewhere" in text for text in acdc.oddities(*frames)] == [True] * lies_elsewhere


def test_a_layout_that_makes_no_records_is_named_with_all_other_faults(root, tmp_path):
    info(root, 2).unlink()
    put(mask(root, 1), (0, 0, 0), 9)
    cut(image(root, 2))
    with pytest.raises(InputError) as caught:
        check.read_acdc(root)
    head, *faults = str(caught.value).splitlines()
    assert head == f"3 faults in {root}:"
    assert all(str(path) in "\n".join(faults) for path in (info(root, 2).parent, mask(root, 1), image(root, 2)))
    with pytest.raises(InputError, match="holds no patientNNN folder"):
        check.read_acdc(tmp_path)


def test_folders_that_look_like_patients_are_told_when_they_are_passed_over(root, caplog):
    home = image(root, 1).parent.parent
    for name in ("Patient777", "patient_003", "pat4"):
        (home / name).mkdir()
        (home / name / "Info.cfg").touch()
    (home / "notes").mkdir()
    [found] = check.check(root)
    assert (found.severity, found.path) == ("warning", home / "Patient777")
    assert "3 folders of scans by another name than patientNNN: Patient777, pat4, patient_003;" in found.text
    acdc.records(root)
    assert found.text in caplog.text


@pytest.mark.parametrize("linked", [False, True])
def test_patients_a_folder_too_deep_are_told_when_they_are_passed_over(root, tmp_path, caplog, linked):
    """``predict`` takes them, so a training that silently had fewer patients would surprise."""
    home = image(root, 1).parent.parent
    store = tmp_path / "store" if linked else home
    for name in ("siteA", "siteB"):
        shutil.copytree(image(root, 1).parent, store / name / "patient091")
        if linked:
            (home / name).symlink_to(store / name)
    (home / "notes" / "patients").mkdir(parents=True)
    [found] = check.check(root)
    assert (found.severity, found.path) == ("warning", home / "siteA")
    assert "2 folders with patientNNN folders in them: siteA, siteB; they are not used, move" in found.text
    acdc.records(root)
    assert found.text in caplog.text


def test_a_training_refuses_all_faults_at_once_and_reads_faultless_files_once(root, tmp_path, caplog):
    records, kept = acdc.records(root), tmp_path / "kept"
    rules = {"classes": acdc.CLASSES, "colours": acdc.COLOURS, "values": None, "intensity_range": None}
    check.before_training(records, kept, "acdc", **rules)
    [stamp] = kept.iterdir()
    found = stamp.read_text()
    assert json.loads(found)["warnings"] == []
    reads, whole = [], check_cases.LoadCheckedd.__call__
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            check_cases.LoadCheckedd, "__call__", lambda self, item: reads.append(item) or whole(self, item)
        )
        check.before_training(records, kept, "acdc", **rules)
        assert not reads
        stamp.write_text("[")  # damaged: as if it were not there
        check.before_training(records, kept, "acdc", **rules)
        assert reads and stamp.read_text() == found
        reads.clear()
        put(mask(root, 1), (0, 0, 0), 9)
        cut(image(root, 2))
        with pytest.raises(InputError) as caught:
            check.before_training(records, kept, "acdc", **rules)
        assert reads
    head, *faults = str(caught.value).splitlines()
    assert head == "2 faults in the data set:" and [stamp] == list(kept.iterdir())
    assert str(mask(root, 1)) in faults[0] and "label 9" in faults[0]
    assert str(image(root, 2)) in faults[1] and "truncated" in faults[1]
    with pytest.raises(InputError) as caught:
        check.before_training([r for r in records if r.patient == "patient001"], kept, "acdc", **rules)
    assert "\n" not in str(caught.value)


def test_before_a_training_a_warning_of_many_files_is_not_said_of_each(root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(check, "SHOWN", 2)
    records = acdc.records(root)
    for record in records:
        stored = nib.load(record.label)
        nib.save(nib.Nifti1Image(np.zeros(stored.shape, np.uint8), stored.affine), record.label)
    rules = {"classes": acdc.CLASSES, "colours": acdc.COLOURS, "values": None, "intensity_range": None}
    check.before_training(records, tmp_path / "kept", "folder", **rules)
    said = [text for text in caplog.messages if "nothing is drawn" in text]
    assert len(records) > 3 and len(said) == 3
    assert said[2] == (
        f"{len(records) - 2} more files of which the same holds:"
        " is empty: nothing is drawn in it, check that this is meant"
    )


@pytest.mark.parametrize("content", ["{", "7", ""])
def test_where_what_was_found_is_damaged_or_of_other_rules_the_data_are_read_again(root, tmp_path, content):
    records, kept = acdc.records(root), tmp_path / "kept"
    rules = {"classes": acdc.CLASSES, "colours": acdc.COLOURS, "values": None, "intensity_range": None}
    check.before_training(records, kept, "acdc", **rules)
    with pytest.raises(InputError, match="label 3"):
        check.before_training(records, kept, "acdc", **rules | {"classes": acdc.CLASSES[:3]})
    [stamp] = kept.iterdir()
    whole = stamp.read_text()
    stamp.write_text(content)
    check.before_training(records, kept, "acdc", **rules)
    assert stamp.read_text() == whole


def test_a_mask_that_predict_made_is_told_from_a_truth(root):
    path = mask(root, 1)
    volume = volumes.read(path, mask=True)
    volumes.save(path.with_name("made.nii.gz"), np.asarray(volume.voxels), volume)
    path.with_name("made.nii.gz").replace(path)
    assert [f"{path} was made by semicycle predict: it is not a ground truth"] == [
        found.text for found in check.check(root)
    ]


def test_warnings_of_a_data_set_do_not_stop_a_training(root, tmp_path, caplog):
    both(image(root, 1), lambda each: patch(each, 123, bytes([3])))  # microns
    rules = {"classes": acdc.CLASSES, "colours": None, "values": None, "intensity_range": None}
    check.before_training(acdc.records(root), tmp_path / "kept", "phantom", **rules)
    assert "spacing is in microns" in caplog.text
    caplog.clear()
    check.before_training(acdc.records(root), tmp_path / "kept", "phantom", **rules)
    assert "spacing is in microns" in caplog.text, "it bears on the result of each run"


RULES = {"classes": acdc.CLASSES, "colours": None, "values": None, "intensity_range": None}


def test_every_mask_of_an_image_that_is_there_twice_is_checked(root, tmp_path):
    record = next(record for record in acdc.records(root) if record.image == image(root, 1))
    other = Path(shutil.copy(mask(root, 1), tmp_path / "other.nii.gz"))
    put(other, (0, 0, 0), 9)
    for records in ([record, replace(record, label=other)], [replace(record, label=other), record]):
        with pytest.raises(InputError, match="label 9"):
            check.before_training(records, tmp_path / "kept", "acdc", **RULES)


def test_a_phantom_is_checked_as_the_hearts_it_shows(root, tmp_path, caplog):
    rewrite(mask(root, 1), lambda voxels: voxels * (voxels != 1))
    check.before_training(acdc.records(root), tmp_path / "kept", "phantom", **RULES)
    assert f"{mask(root, 1)} has no RV in any slice" in caplog.text


def test_what_has_no_digest_is_checked_each_time(root, tmp_path, monkeypatch):
    monkeypatch.setattr(check.digests, "digest_of", lambda *_: None)
    rules = {"classes": acdc.CLASSES, "colours": None, "values": None, "intensity_range": None}
    check.before_training(acdc.records(root), tmp_path / "kept", "acdc", **rules)
    put(mask(root, 1), (0, 0, 0), 9)
    with pytest.raises(InputError, match="label 9"):
        check.before_training(acdc.records(root), tmp_path / "kept", "acdc", **rules)
