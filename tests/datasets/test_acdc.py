"""From the challenge's folder to sorted records, and what is said of a folder that is not one."""

import random
import re
from pathlib import Path

import nibabel as nib
import pytest

from acdc_semicycle.datasets import acdc
from acdc_semicycle.runtime.errors import InputError

CHALLENGE_INFO = "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"


def write_patient(
    parent: Path, number: int, info: str | None = CHALLENGE_INFO, frames=(1, 12), masks=True, end=".nii.gz"
) -> Path:
    """A patient's folder as the challenge packs it; ``records`` opens no image, so the files are empty."""
    folder = parent / f"patient{number:03d}"
    folder.mkdir(parents=True)
    if info is not None:
        (folder / "Info.cfg").write_bytes(info.encode())
    (folder / f"{folder.name}_4d{end}").touch()
    for frame in frames:
        (folder / f"{folder.name}_frame{frame:02d}{end}").touch()
        if masks:
            (folder / f"{folder.name}_frame{frame:02d}_gt{end}").touch()
    return folder


def test_one_patient_gives_two_records_with_every_field(tmp_path):
    folder = write_patient(tmp_path / "training", 7)
    ed, es = acdc.records(tmp_path)
    assert (ed.case, ed.patient, ed.phase, ed.part) == ("patient007_frame01", "patient007", "ED", "training")
    assert (es.case, es.patient, es.phase, es.part) == ("patient007_frame12", "patient007", "ES", "training")
    assert ed.image == folder / "patient007_frame01.nii.gz" and ed.label == folder / "patient007_frame01_gt.nii.gz"
    assert es.image == folder / "patient007_frame12.nii.gz" and es.label == folder / "patient007_frame12_gt.nii.gz"


def test_patients_of_both_parts_are_found_and_told_apart(tmp_path):
    write_patient(tmp_path / "training", 1)
    write_patient(tmp_path / "testing", 101)
    assert [(r.patient, r.part) for r in acdc.records(tmp_path)] == [
        ("patient001", "training"), ("patient001", "training"), ("patient101", "testing"), ("patient101", "testing"),
    ]  # fmt: skip


def test_a_patient_of_both_parts_is_refused_as_by_the_check(tmp_path):
    folders = [write_patient(tmp_path / part, 1) for part in ("training", "testing")]
    with pytest.raises(InputError, match=re.escape(f"{folders[1]} is there twice, also as {folders[0]}: keep one")):
        acdc.records(tmp_path)


def test_patients_may_lie_directly_below_the_root(tmp_path):
    write_patient(tmp_path, 2)
    write_patient(tmp_path, 1)
    records = acdc.records(str(tmp_path))
    assert [r.patient for r in records] == ["patient001"] * 2 + ["patient002"] * 2
    assert {r.part for r in records} == {"training"}


def test_records_are_sorted_whatever_the_order_of_the_file_system(tmp_path, monkeypatch):
    for number in (12, 3, 100, 1, 55):
        write_patient(tmp_path / "training", number, info="ED: 12\nES: 1\n")
    expected = acdc.records(tmp_path)
    assert [r.case for r in expected] == sorted(r.case for r in expected)
    plain = Path.iterdir

    def shuffled(folder):
        found = list(plain(folder))
        random.Random(4).shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", shuffled)
    assert acdc.records(tmp_path) == expected


def test_the_phase_follows_info_and_not_the_order_of_the_frames(tmp_path):
    write_patient(tmp_path, 1, info="ED: 12\nES: 1\n")
    assert {r.case: r.phase for r in acdc.records(tmp_path)} == {"patient001_frame01": "ES", "patient001_frame12": "ED"}


def test_other_files_and_folders_are_left_alone(tmp_path):
    folder = write_patient(tmp_path / "training", 1)
    (folder / "patient001_frame05.nii.gz").touch()
    (tmp_path / "training" / "notes.txt").touch()
    (tmp_path / "training" / "patient009").touch()  # a file, not a folder
    (tmp_path / "training" / "patient002_old").mkdir()
    (tmp_path / "splits").mkdir()
    assert [r.case for r in acdc.records(tmp_path)] == ["patient001_frame01", "patient001_frame12"]


def test_uncompressed_files_are_taken_as_well(tmp_path):
    write_patient(tmp_path, 1, end=".nii")
    ed, es = acdc.records(tmp_path)
    assert [p.name for p in (ed.image, ed.label, es.image, es.label)] == [
        "patient001_frame01.nii", "patient001_frame01_gt.nii", "patient001_frame12.nii", "patient001_frame12_gt.nii",
    ]  # fmt: skip


def test_a_frame_without_a_mask_has_no_label(tmp_path):
    write_patient(tmp_path, 1, masks=False)
    folder = write_patient(tmp_path, 2)
    (folder / "patient002_frame12_gt.nii.gz").unlink()
    assert [r.label is None for r in acdc.records(tmp_path)] == [True, True, False, True]


@pytest.mark.parametrize(
    "info",
    [
        "ED: 1\r\nES: 12\r\nGroup: NOR\r\nNbFrame: 30\r\n",
        "Group: NOR\nES : 12\nHeight: 160.0\n  ED:1  \n",
        "ED: 01\nES: 12",
        "NED: 3\nED: 1\nES: 12\nWeight: ES: 9\n",
    ],
    ids=["windows", "loose", "padded", "alike"],
)
def test_info_is_read_with_any_line_ends_blanks_and_further_fields(tmp_path, info):
    write_patient(tmp_path, 1, info=info)
    assert [(r.case, r.phase) for r in acdc.records(tmp_path)] == [
        ("patient001_frame01", "ED"),
        ("patient001_frame12", "ES"),
    ]


def test_the_phantom_is_read_as_the_challenge_is(phantom_dir):
    records = acdc.records(phantom_dir)
    assert len(records) == 16 and len({r.patient for r in records}) == 8
    assert [r.phase for r in records] == ["ED", "ES"] * 8
    assert all(r.image.is_file() and r.label.is_file() for r in records)


def test_real_acdc_has_an_ed_and_an_es_frame_with_a_mask_for_every_patient(acdc_dir):
    records = [r for r in acdc.records(acdc_dir) if r.part == "training"]
    patients = {r.patient for r in records}
    assert len(patients) in (80, 100)  # shared/data, the challenge
    assert len(records) == 2 * len(patients) == len({r.case for r in records})
    assert {(r.patient, r.phase) for r in records} == {(p, phase) for p in patients for phase in ("ED", "ES")}
    assert all(r.image.is_file() and r.label and r.label.is_file() for r in records)
    first = records[0]
    assert nib.load(first.image).shape == nib.load(first.label).shape


def refused(root: Path, *words: str) -> None:
    """Given, expected, what to do: every word is in the message."""
    with pytest.raises(InputError, match=re.escape(words[0])) as caught:
        acdc.records(root)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_missing_root_is_refused(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path / 'nowhere'} is not a folder", "give the unpacked ACDC folder")


def test_a_file_as_root_is_refused(tmp_path):
    (tmp_path / "acdc.zip").touch()
    refused(tmp_path / "acdc.zip", f"{tmp_path / 'acdc.zip'} is not a folder", "unpacked")


@pytest.mark.parametrize("inside", [[], ["training"], ["training", "testing"], ["patients"]])
def test_a_root_without_patients_is_refused(tmp_path, inside):
    for name in inside:
        (tmp_path / name).mkdir()
    refused(tmp_path, f"{tmp_path} holds no patientNNN folder", "training/patient001", "dataset_dir")


def test_a_patient_without_info_is_refused(tmp_path):
    write_patient(tmp_path, 1)
    folder = write_patient(tmp_path, 2, info=None)
    refused(tmp_path, f"{folder} has no Info.cfg", "restore it")


def test_all_patients_that_lack_something_are_named_at_once(tmp_path):
    folders = [write_patient(tmp_path, 1, info=None), write_patient(tmp_path, 3, frames=(1,))]
    write_patient(tmp_path, 2)
    with pytest.raises(InputError) as caught:
        acdc.records(tmp_path)
    head, *faults = str(caught.value).splitlines()
    assert head == f"2 faults in {tmp_path}:"
    assert [fault.split(" has no ")[0].strip() for fault in faults] == [str(folder) for folder in folders]


@pytest.mark.parametrize(
    ("info", "phase"),
    [
        ("ED: 1\nGroup: NOR\n", "ES"),
        ("ES: 12\n", "ED"),
        ("", "ED"),
        ("ED: one\nES: 12\n", "ED"),
        ("ED: 1\nES:\n", "ES"),
    ],
)
def test_an_info_without_a_phase_is_refused(tmp_path, info, phase):
    folder = write_patient(tmp_path, 1, info=info)
    refused(tmp_path, f"{folder / 'Info.cfg'} has no line '{phase}: N'", "restore it")


def test_a_frame_that_info_names_but_is_not_there_is_refused(tmp_path):
    folder = write_patient(tmp_path, 1, frames=(1,))
    refused(tmp_path, f"{folder} has no patient001_frame12.nii.gz", "Info.cfg names as ES", "restore it")


def test_one_frame_cannot_be_both_phases(tmp_path):
    folder = write_patient(tmp_path, 1, info="ED: 1\nES: 1\n")
    refused(tmp_path, f"{folder / 'Info.cfg'}")
