"""Whom mended masks add to the labelled patients, and that they change nothing else."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from acdc_semicycle.data.splits import Split, load, split, units
from acdc_semicycle.datasets.records import Mended, Record
from acdc_semicycle.runtime.errors import InputError


def mended_record(record: Record, annotated: tuple[int, ...] | None = None) -> Record:
    """The record with a mask that came back."""
    return replace(record, label=Path(f"mended/{record.case}"), mended=Mended(annotated, record.label))


def two_frames(patients: str, masked: str) -> list[Record]:
    """ED and ES of each patient, by a letter, with masks of some."""
    records = []
    for patient, frame in product(patients, ("ED", "ES")):
        label = Path(f"{patient}_{frame}_gt") if patient in masked else None
        records.append(Record(f"{patient}_{frame}", patient, Path(f"{patient}_{frame}"), label, frame))
    return records


@pytest.mark.parametrize("labelled", [1, 2, 1.0])
def test_mended_patients_are_labelled_beside_those_that_are_drawn(labelled):
    records = two_frames("abcdefghij", "abcdef")
    before = split(records, labelled, 0.2, 0.2)
    mended = [mended_record(record) if record.patient in "hj" else record for record in records]
    after = split(mended, labelled, 0.2, 0.2)
    assert after.labelled == (*before.labelled, "h", "j")
    assert (after.validation, after.test) == (before.validation, before.test)
    assert after.unlabelled == tuple(patient for patient in before.unlabelled if patient not in "hj")


def test_where_all_have_masks_the_mended_ones_are_labelled_too():
    records = two_frames("abcdefghij", "abcdefghij")
    before = split(records, 3, 0, 0.2)
    [first, second, *_] = before.unlabelled
    mended = [mended_record(record) if record.patient == second else record for record in records]
    mended = [mended_record(record) if record.patient == before.labelled[0] else record for record in mended]
    after = split(mended, 3, 0, 0.2)
    assert after.labelled == (*before.labelled, second)
    assert first in after.unlabelled and second not in after.unlabelled


def test_masks_that_labelled_leaves_out_stay_unseen_beside_a_mended_one():
    records = two_frames("abcde", "abcde")
    patient = split(records, 2, 0, 0).unlabelled[0]
    mended = [mended_record(record, (1,)) if record.case == f"{patient}_ED" else record for record in records]
    result = split(mended, 2, 0, 0)
    assert patient in result.labelled and patient in result.unlabelled
    labelled = [record.case for record in result.records("labelled", mended)]
    unlabelled = [record.case for record in result.records("unlabelled", mended)]
    assert f"{patient}_ED" in labelled and f"{patient}_ES" not in labelled and len(labelled) == 5
    assert f"{patient}_ED" in unlabelled and f"{patient}_ES" in unlabelled and len(unlabelled) == 6


def test_a_mended_mask_makes_the_data_set_s_own_mask_of_the_patient_count():
    records = [record for record in two_frames("abc", "abc") if record.case != "c_ES"]
    records.append(Record("c_ES", "c", Path("c_ES"), None, "ES"))
    assert "c" not in split(records, 1.0, 0, 0).labelled
    records[-1] = mended_record(records[-1])
    result = split(records, 1.0, 0, 0)
    assert "c" in result.labelled and result.unlabelled == ()
    assert [record.case for record in result.records("labelled", records)][-2:] == ["c_ED", "c_ES"]


def test_a_labelled_patient_with_a_corrected_slice_stays_labelled_alone():
    records = two_frames("ab", "ab")
    mended = [mended_record(record, (1,)) if record.case == "a_ED" else record for record in records]
    result = split(mended, 1.0, 0, 0)
    assert sorted(result.labelled) == ["a", "b"] and result.unlabelled == ()
    assert len(result.records("labelled", mended)) == 4


def test_mended_patients_to_be_scored_stay_there_and_are_named(caplog):
    records = two_frames("abcdefghij", "abcdefghij")
    before = split(records, 3, 0.2, 0.2)
    scored = (before.test[0], before.validation[1])
    mended = [mended_record(record) if record.patient in scored else record for record in records]
    assert split(mended, 3, 0.2, 0.2) == before
    assert f"mended masks of patients to be scored, or in no part: {', '.join(sorted(scored))}. They" in caplog.text


def test_an_image_without_a_mask_of_a_mended_patient_is_unlabelled_and_so_is_one_annotated_in_part():
    records = two_frames("abcde", "ab")
    records = [mended_record(record) if record.case == "c_ED" else record for record in records]
    records = [mended_record(record, (1, 2)) if record.case in ("d_ED", "d_ES") else record for record in records]
    result = split(records, 1.0, 0, 0)
    assert sorted(result.labelled) == ["a", "b", "c", "d"] and sorted(result.unlabelled) == ["c", "d", "e"]
    labelled = [record.case for record in result.records("labelled", records)]
    assert labelled == ["a_ED", "a_ES", "b_ED", "b_ES", "c_ED", "d_ED", "d_ES"]
    unlabelled = [record.case for record in result.records("unlabelled", records)]
    assert unlabelled == ["c_ES", "d_ED", "d_ES", "e_ED", "e_ES"]


def test_a_fold_scores_the_annotated_images_of_a_mended_patient_and_sees_nothing_of_the_others():
    records = two_frames("abc", "ab")
    records = [mended_record(record, (0,)) if record.case == "c_ED" else record for record in records]
    parts = [split(records, 1.0, 0, 0, fold=[number, 3]) for number in range(3)]
    [fold] = [part for part in parts if part.validation == ("c",)]
    assert [record.case for record in fold.records("validation", records)] == ["c_ED"]
    assert fold.unlabelled == ()
    assert all(part.unlabelled == ("c",) for part in parts if part is not fold)


def test_mended_masks_alone_are_all_trained_on():
    records = [mended_record(record) if record.patient in "bd" else record for record in two_frames("abcd", "")]
    assert split(records, 1.0) == Split(("b", "d"), ("a", "c"), (), ())


def test_a_split_with_partly_annotated_patients_is_read_as_it_was_saved(tmp_path):
    result = Split(("a", "b"), ("c", "b"), ("d",), ())
    result.save(tmp_path / "split.json")
    assert load(tmp_path / "split.json") == result


def test_mended_masks_of_single_slices_are_refused():
    records = [mended_record(record) for record in two_frames("ab", "")]
    with pytest.raises(InputError, match="split_unit is 'slice', and mended masks are given: remove one of the two"):
        units(records, "slice")
