"""nnU-Net's raw layout and the Decathlon's: what their ``dataset.json`` says of classes and channels."""

import json

import pytest

from acdc_semicycle.datasets import folder, nnunet
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError


def layout(root, **content):
    for name in (nnunet.IMAGES, nnunet.MASKS):
        (root / name).mkdir(parents=True)
    if content:
        (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_both_directions_of_the_labels_give_the_same_classes(tmp_path):
    second = layout(tmp_path / "2", labels={"background": 0, "LV": 2, "RV": 1}, channel_names={"0": "MR"})
    first = layout(tmp_path / "1", labels={"0": "background", "2": "LV", "1": "RV"}, modality={"0": "MRI"})
    expected = nnunet.Meaning(["background", "RV", "LV"], None)
    assert nnunet.meaning(first) == nnunet.meaning(second) == expected


def test_the_label_ignore_is_255_and_gaps_between_values_are_closed(tmp_path):
    root = layout(tmp_path, labels={"background": 0, "LV": 3, "ignore": 4})
    meaning = nnunet.meaning(root)
    assert meaning == nnunet.Meaning(["background", "LV"], {"0": 0, "3": 1, "4": 255})
    assert json.loads(meaning.words["mask_values"]) == {"0": 0, "3": 1, "4": 255}


def test_without_the_file_nothing_is_known_of_the_classes(tmp_path):
    assert nnunet.is_raw(layout(tmp_path)) and nnunet.meaning(tmp_path) is None
    assert not nnunet.is_raw(tmp_path / nnunet.IMAGES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "b"}}, r"names 2 channels \(T1, T2\): one is read"),
        ({"channel_names": {"0": "CT", "1": "PET"}, "labels": {"b": 0}}, "names 2 channels"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, r"the label 'whole' is \[1, 2\].*give --classes"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "two labels have one value"),
        ({"name": "x"}, "has no labels: give --classes"),
    ],
)
def test_what_cannot_be_read_is_named_in_a_line(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        nnunet.meaning(layout(tmp_path, **content))
    assert "\n" not in str(caught.value)


def test_a_second_channel_and_missing_masks_are_refused(tmp_path):
    root = layout(tmp_path / "a", labels={"background": 0, "LV": 1})
    (root / "imagesTr/x_0001.nii.gz").touch()
    with pytest.raises(InputError, match=r"x_0001\.nii\.gz is a second channel: one is read"):
        nnunet.meaning(root)
    (tmp_path / "b/imagesTr").mkdir(parents=True)
    with pytest.raises(InputError, match="holds imagesTr/ and no labelsTr/"):
        nnunet.meaning(tmp_path / "b")


def test_two_frames_of_nnunets_names_may_be_one_patients(tmp_path):
    records = [Record(f"p1_frame{n:02d}_0000", f"p1_frame{n:02d}_0000", tmp_path / "x.nii.gz") for n in (1, 12)]
    (doubt,) = folder.patient_doubts(records, None)
    assert "may be one patient's" in doubt and folder.SAME_PATIENT in doubt
    pattern = folder._pattern(folder.SAME_PATIENT)
    assert [folder._patient(record.case, pattern) for record in records] == ["p1", "p1"]
    assert folder._patient("q_7_0000", pattern) == "q_7"
