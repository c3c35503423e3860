"""drafts.json gives back what was written, and nothing else is taken for it."""

import json

import numpy as np
import pytest

from acdc_semicycle.datasets import drafts
from acdc_semicycle.datasets.drafts import Draft
from acdc_semicycle.runtime.errors import InputError


def draft(case: str = "p1_frame01", **more) -> Draft:
    labels = np.random.default_rng([*case.encode()]).integers(0, 4, (6, 5, 4)).astype(np.uint8)
    return Draft(case, "p1", f"/scans/{case}.nii.gz", f"{case}.nii.gz", labels, (1, 3), 1, {"dice": 0.7}, **more)


def test_what_is_written_is_read(tmp_path):
    first, second = draft(more={"spacing": [1, 2]}), draft("p1_frame12")
    path = drafts.save(tmp_path, "runs/a", ["background", "LV"], [first, second], {"seed": 3})
    content = drafts.load(path)
    assert (content.classes, content.model) == (("background", "LV"), "runs/a")
    assert list(content.drafts) == ["p1_frame01", "p1_frame12"]
    read = content.drafts["p1_frame01"]
    np.testing.assert_array_equal(read.labels, first.labels)
    assert (read.slices_to_mend, read.rank, read.reasons, read.more) == ((1, 3), 1, {"dice": 0.7}, {"spacing": [1, 2]})
    stored = json.loads(path.read_text())
    assert stored["format"] == 1 and stored["seed"] == 3
    assert stored["scans"][0]["sha256"] == first.sha256 and stored["scans"][0]["draft"] == "p1_frame01.nii.gz"


def test_the_digest_is_of_the_voxels_whatever_their_type_and_order():
    first = draft()
    other = Draft("b", "b", "b", "b", np.asfortranarray(first.labels.astype(np.int64)))
    assert other.sha256 == first.sha256


def spoilt(content: dict, how: str) -> str:
    """The text of a damaged drafts.json."""
    scan = content["scans"][0]
    if how == "cut":
        return json.dumps(content)[:-40]
    if how == "no scans":
        del content["scans"]
    elif how == "no case":
        del scan["case"]
    elif how == "other voxels":
        scan["voxels"] = content["scans"][1]["voxels"]
    elif how == "no base64":
        scan["voxels"]["zlib"] = "???"
    elif how == "huge":
        scan["voxels"]["shape"] = [10**6, 10**6, 10**6]
    elif how == "slice":
        scan["slices_to_mend"] = [4]
    elif how == "a list":
        return json.dumps(content["scans"])
    return json.dumps(content)


@pytest.mark.parametrize("how", ["cut", "no scans", "no case", "other voxels", "no base64", "huge", "slice", "a list"])
def test_a_damaged_file_is_refused_in_a_line(tmp_path, how):
    path = drafts.save(tmp_path, "runs/a", ["background", "LV"], [draft(), draft("p1_frame12")])
    path.write_text(spoilt(json.loads(path.read_text()), how))
    with pytest.raises(InputError, match=r"drafts\.json is damaged \(.*\): restore it, or ") as caught:
        drafts.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_later_version_and_one_that_is_missing_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"is not a file: give the drafts\.json that semicycle next wrote"):
        drafts.load(tmp_path / "drafts.json")
    path = drafts.save(tmp_path, "runs/a", ["background", "LV"], [])
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="has the format 2, and 1 is read"):
        drafts.load(path)
