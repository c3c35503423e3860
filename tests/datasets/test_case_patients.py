"""The patient of each case of a training, written and found again by the names of files."""

import json
from pathlib import Path

import pytest

from acdc_semicycle.datasets import case_patients
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError

IMAGE = Path("images/x.nii.gz")
RECORDS = [Record("a/p1_x", "p1", IMAGE), Record("a/p1_y", "p1", IMAGE), Record("p2_x", "p2", IMAGE)]


def saved(folder: Path, records=RECORDS) -> dict[str, str]:
    case_patients.save(records, folder / "patients.json")
    return case_patients.load(folder / "split.json")


def test_what_was_saved_is_loaded_by_the_name_of_the_split(tmp_path):
    assert saved(tmp_path) == {"a/p1_x": "p1", "a/p1_y": "p1", "p2_x": "p2"}


def test_the_frames_of_a_cine_are_one_case(tmp_path):
    frames = [Record(f"p3_frame{n + 1:02d}", "p3", IMAGE, frame=n) for n in (0, 99)]
    assert saved(tmp_path, [*frames, Record("q_frame01", "q", IMAGE)]) == {"p3": "p3", "q_frame01": "q"}


def test_a_run_or_a_zip_without_the_file_knows_no_patient(tmp_path):
    assert case_patients.load(tmp_path / "split.json") == {} == case_patients.load(None)


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', '{"a": ""}', '{"a": ["p"]}'])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "patients.json").write_text(content)
    with pytest.raises(InputError, match=r"^.*patients\.json is damaged [^\n]*$"):
        case_patients.load(tmp_path / "split.json")


@pytest.mark.parametrize(
    ("folder", "name", "patient"),
    [
        ("/data/images/a", "p1_x", "p1"),  # whatever folder above it is the input
        ("/data/images/../images/a", "p1_y", "p1"),
        ("/elsewhere", "p2_x", "p2"),
        ("/elsewhere", "p1_x", None),
        ("/data/images/b", "p1_x", None),
        ("/data/images", "p2", None),
    ],
)
def test_a_case_is_the_end_of_a_path(folder, name, patient):
    patients = {"a/p1_x": "p1", "a/p1_y": "p1", "p2_x": "p2"}
    case = case_patients.case_of(patients, Path(folder), name)
    assert (None if case is None else patients[case]) == patient


def test_the_longest_end_counts():
    patients = {"x": "short", "a/x": "long"}
    assert case_patients.case_of(patients, Path("/images/a"), "x") == "a/x"


def test_the_file_is_plain_json(tmp_path):
    saved(tmp_path)
    assert json.loads((tmp_path / "patients.json").read_text())["p2_x"] == "p2"
