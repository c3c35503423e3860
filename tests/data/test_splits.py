"""Who is labelled, unlabelled, validation and test: never two of them, and the same every time."""

import inspect
import itertools
import random
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from acdc_semicycle.data import folds, splits
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError

PARTS = ("labelled", "unlabelled", "validation", "test")


def patient(number: int, part: str = "training", masks: tuple[bool, bool] = (True, True)) -> list[Record]:
    """End-diastole and end-systole of one patient."""
    name = f"patient{number:03d}"
    return [
        Record(f"{name}_frame{frame:02d}", name, Path("image"), Path("mask") if mask else None, phase, part)
        for frame, phase, mask in zip((1, 12), ("ED", "ES"), masks, strict=True)
    ]


def patients(numbers, **kwargs) -> list[Record]:
    return [record for number in numbers for record in patient(number, **kwargs)]


def names(*numbers: int) -> list[str]:
    return [f"patient{number:03d}" for number in numbers]


def listed(path: Path, *numbers: int) -> Path:
    path.write_text("\n".join(names(*numbers)) + "\n")
    return path


FORTY = patients(range(1, 41))


@pytest.mark.parametrize("labelled", [0.1, 0.5, 1.0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_parts_and_none_is_lost(seed, labelled):
    parts = asdict(splits.split(FORTY, labelled, seed=seed))
    everyone = [name for part in PARTS for name in parts[part]]
    assert sorted(everyone) == names(*range(1, 41))


def test_no_record_is_in_two_parts_and_none_is_lost():
    result = splits.split(FORTY, 0.2)
    assert sorted(r for part in PARTS for r in result.records(part, FORTY)) == sorted(FORTY)


def test_sizes_are_the_fractions_of_the_patients():
    result = splits.split(FORTY, 0.25, validation=0.1, test=0.2)
    assert [len(getattr(result, part)) for part in PARTS] == [7, 21, 4, 8]  # 28 to train on


@pytest.mark.parametrize(("labelled", "count"), [(0.2, 6), (0.19, 5), (0.125, 4), (0.001, 1)])
def test_a_fraction_is_rounded_to_patients_and_one_at_least(labelled, count):
    assert len(splits.split(FORTY, labelled).labelled) == count  # of 28


def test_no_test_patients_where_none_are_wanted():
    result = splits.split(FORTY, 1.0, test=0.0)
    assert result.test == () and len(result.labelled) == 36


@pytest.mark.parametrize("seed", range(3))
def test_fewer_labels_are_a_part_of_more_and_the_rest_stays(seed):
    results = [splits.split(FORTY, fraction, seed=seed) for fraction in (0.1, 0.2, 0.5, 1.0)]
    for fewer, more in itertools.pairwise(results):
        assert set(fewer.labelled) < set(more.labelled)
        assert set(fewer.labelled + fewer.unlabelled) == set(more.labelled + more.unlabelled)
        assert (fewer.validation, fewer.test) == (more.validation, more.test)
    assert results[-1].unlabelled == ()


def test_the_same_seed_gives_the_same_split_and_another_seed_another_one():
    assert splits.split(FORTY, 0.2, seed=3) == splits.split(FORTY, 0.2, seed=3)
    found = [asdict(splits.split(FORTY, 0.2, seed=seed)) for seed in range(6)]
    for part in PARTS:
        assert len({frozenset(parts[part]) for parts in found}) == 6


def test_the_order_of_the_records_does_not_matter():
    shuffled = FORTY.copy()
    random.Random(1).shuffle(shuffled)
    assert splits.split(shuffled, 0.2) == splits.split(FORTY, 0.2)
    assert splits.split(FORTY, 0.2).records("test", shuffled) == splits.split(FORTY, 0.2).records("test", FORTY)


@pytest.mark.parametrize("number", [2, 3, 28])
def test_a_whole_number_is_a_number_of_patients(number):
    assert len(splits.split(FORTY, number).labelled) == number


def test_a_number_is_a_part_of_the_fraction_that_makes_as_many():
    assert splits.split(FORTY, 7) == splits.split(FORTY, 0.25)


def test_one_point_nought_is_everybody_and_one_is_one_patient():
    result = splits.split(FORTY, 1.0)
    assert len(result.labelled) == 28 and result.unlabelled == ()
    assert splits.split(FORTY, 1).labelled == result.labelled[:1]


def test_the_smallest_fraction_still_labels_one_patient():
    assert len(splits.split(FORTY, 0.001).labelled) == 1


@pytest.mark.parametrize("labelled", [0, -1, 29, 0.0, -0.1, 1.5, 7.0, float("nan"), float("inf"), True, False])
def test_a_number_of_labelled_patients_that_cannot_be_is_refused(labelled):
    with pytest.raises(InputError, match=f"^labelled is {labelled}"):
        splits.split(FORTY, labelled)


@pytest.mark.parametrize("labelled", ["0.2", "", None, [3]])
def test_text_for_a_number_is_refused(labelled):
    plain = inspect.unwrap(splits._labelled)  # what a user runs has no type checks around it
    with pytest.raises(InputError, match=re.escape(f"labelled is {labelled!r}: give a fraction in (0, 1] or a whole")):
        plain(names(1, 2, 3), labelled)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_fraction_of_the_patients_that_cannot_be_is_refused(part, fraction):
    with pytest.raises(InputError, match=rf"^{part} is {fraction!r}: give the fraction"):
        splits.split(FORTY, 0.2, **{part: fraction})


@pytest.mark.parametrize("fraction", [1, True, "0.1", None])
def test_what_is_no_fraction_is_refused(fraction):
    plain = inspect.unwrap(splits._count)
    with pytest.raises(InputError, match=rf"^test is {fraction!r}: give the fraction"):
        plain("test", fraction, names(1, 2, 3))


def test_a_training_without_labelled_patients_is_refused():
    with pytest.raises(InputError, match="no labelled patient is left of 40: give more patients"):
        splits.split(FORTY, 0.2, validation=0.5, test=0.5)


def test_a_training_may_leave_nobody_to_validate():
    result = splits.split(FORTY, 1.0, validation=0.0)
    assert result.validation == () and len(result.labelled) == 32


@pytest.mark.parametrize(("count", "counts"), [(1, [1, 3, 0, 0]), (4, [4, 3, 0, 0]), (5, [3, 3, 1, 1])])
def test_of_fewer_patients_than_can_be_spared_all_are_trained_on(count, counts):
    unlabelled = patients(range(10, 13), masks=(False, False))
    result = splits.split(patients(range(count)) + unlabelled, 1.0, spare=5)
    assert [len(getattr(result, part)) for part in PARTS] == counts


@pytest.mark.parametrize(
    ("count", "fractions", "words"),
    [
        (2, {}, "2 patients with masks, 3 are needed (labelled, validation, test): annotate more, or give --test 0"),
        (1, {}, "1 patient with masks, 3 are needed (labelled, validation, test): annotate more"),
        (1, {"test": 0}, "1 patient with masks, 2 are needed (labelled, validation): annotate more"),
        (0, {"test": 0, "validation": 0}, "0 patients with masks, 1 is needed (labelled): annotate more"),
    ],
)
def test_too_few_annotated_patients_are_counted_against_the_parts(count, fractions, words):
    unlabelled = patients(range(10, 20), masks=(False, False))
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        splits.split(patients(range(count)) + unlabelled, 1.0, **fractions)


def test_with_a_test_part_of_the_data_set_two_annotated_patients_are_enough():
    result = splits.split(patients((1, 2)) + patients((3,), part="testing"), 1.0)
    assert [len(getattr(result, part)) for part in PARTS] == [1, 0, 1, 1]
    assert len(splits.split(patients((1, 2)), 1.0, test=0).validation) == 1


def test_of_few_patients_one_is_kept_for_validation_and_one_for_the_test():
    found = splits.split(FORTY[:6], 0.2)  # two frames each
    assert [len(part) for part in (found.labelled, found.unlabelled, found.validation, found.test)] == [1, 0, 1, 1]
    assert not splits.split(FORTY[:6], 0.2, test=0).test


def test_patients_without_masks_are_never_labelled_nor_measured():
    records = FORTY + patients(range(41, 61), masks=(False, False))
    for seed in range(3):
        result = splits.split(records, 1.0, seed=seed)
        assert set(result.unlabelled) == set(names(*range(41, 61)))
        assert not set(result.labelled + result.validation + result.test) & set(result.unlabelled)


def test_a_patient_of_whom_one_phase_has_no_mask_is_unlabelled():
    records = FORTY + patients([41], masks=(True, False)) + patients([42], masks=(False, True))
    assert splits.split(records, 1.0).unlabelled == ("patient041", "patient042")


def test_more_patients_without_masks_change_nobody_elses_place():
    few, many = splits.split(FORTY, 0.2), splits.split(FORTY + patients(range(41, 61), masks=(False, False)), 0.2)
    assert (few.labelled, few.validation, few.test) == (many.labelled, many.validation, many.test)
    assert set(few.unlabelled) < set(many.unlabelled)


def test_the_data_sets_own_testing_patients_are_the_test_patients():
    records = FORTY + patients([101, 102, 103], part="testing")
    result = splits.split(records, 0.2)
    assert result.test == ("patient101", "patient102", "patient103")
    assert len(result.validation) == 4 and len(result.labelled + result.unlabelled) == 36


def test_testing_patients_without_masks_are_nowhere():
    records = FORTY + patients([101], part="testing") + patients([102], part="testing", masks=(False, False))
    result = splits.split(records, 0.2)
    assert result.test == ("patient101",)
    assert "patient102" not in {name for part in asdict(result).values() for name in part}


def test_where_no_testing_patient_has_a_mask_test_patients_are_drawn():
    result = splits.split(FORTY + patients([101], part="testing", masks=(False, False)), 0.2)
    assert len(result.test) == 8 and "patient101" not in result.test


def test_the_order_of_the_list_decides_who_is_labelled(tmp_path):
    train = listed(tmp_path / "train.txt", 9, 2, 30, 4, 17)
    validation, test = listed(tmp_path / "val.txt", 8, 1), listed(tmp_path / "test.txt", 40)
    for seed in (0, 1):
        lists = {"train_list": train, "validation_list": str(validation), "test_list": test, "seed": seed}
        result = splits.split(FORTY, 3, **lists)
        assert result.labelled == ("patient009", "patient002", "patient030")
        assert result.unlabelled == ("patient004", "patient017")
        assert result.validation == ("patient008", "patient001") and result.test == ("patient040",)
        assert splits.split(FORTY, 0.4, **lists).labelled == ("patient009", "patient002")


def test_a_list_may_begin_with_the_mark_that_notepad_writes(tmp_path):
    train, validation = tmp_path / "train.txt", listed(tmp_path / "val.txt", 3)
    train.write_text("patient001\npatient002\n", encoding="utf-8-sig")
    assert splits.split(FORTY, 1, train_list=train, validation_list=validation).labelled == ("patient001",)


def test_a_listed_patient_without_a_mask_is_passed_over_when_labels_are_given_out(tmp_path):
    train, validation = listed(tmp_path / "train.txt", 41, 2, 3), listed(tmp_path / "val.txt", 1)
    records = FORTY + patients([41], masks=(True, False))
    result = splits.split(records, 1.0, train_list=train, validation_list=validation)
    assert (result.labelled, result.unlabelled) == (("patient002", "patient003"), ("patient041",))


def test_the_testing_part_is_tested_on_where_no_list_says_otherwise(tmp_path):
    train, validation = listed(tmp_path / "train.txt", 1, 2), listed(tmp_path / "val.txt", 3)
    records = FORTY + patients([101], part="testing") + patients([102], part="testing", masks=(False, False))
    assert splits.split(records, 1.0, train_list=train, validation_list=validation).test == ("patient101",)


@pytest.mark.parametrize("name", ["train_list", "validation_list", "test_list"])
def test_an_unknown_patient_in_a_list_is_named(tmp_path, name):
    lists = {"train_list": listed(tmp_path / "t", 1, 2), "validation_list": listed(tmp_path / "v", 3)}
    lists[name] = listed(tmp_path / "wrong.txt", 5, 77)
    with pytest.raises(InputError, match=r"wrong\.txt lists patient077, not in the data set: correct"):
        splits.split(FORTY, 1.0, **lists)


def test_of_many_unknown_patients_the_first_are_named_and_the_others_counted(tmp_path):
    train, validation = listed(tmp_path / "t", 1, *range(71, 77)), listed(tmp_path / "v", 3)
    with pytest.raises(InputError, match=r"t lists patient071, .*patient075 and 1 more, not in the data set"):
        splits.split(FORTY, 1.0, train_list=train, validation_list=validation)


@pytest.mark.parametrize("entry", ["../patient004", "/etc/passwd", "patient004/..", "./patient004", "$HOME"])
def test_an_entry_that_is_a_path_is_no_patient(tmp_path, entry):
    lists = {"train_list": listed(tmp_path / "t", 1, 2), "validation_list": listed(tmp_path / "v", 3)}
    (tmp_path / "test.txt").write_text(f"patient005\n{entry}\n")
    with pytest.raises(InputError, match=f"test.txt lists {re.escape(entry)}, not in the data set"):
        splits.split(FORTY, 1.0, **lists, test_list=tmp_path / "test.txt")


@pytest.mark.parametrize("name", ["train_list", "validation_list", "test_list"])
def test_a_missing_list_is_named(tmp_path, name):
    lists = {"train_list": listed(tmp_path / "t", 1, 2), "validation_list": listed(tmp_path / "v", 3)}
    lists[name] = tmp_path / "absent.txt"
    with pytest.raises(InputError, match=r"absent\.txt cannot be read.*give a text file with a patient a line"):
        splits.split(FORTY, 1.0, **lists)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [((1, 2), (2,), (5,)), ((1, 2), (3,), (1,)), ((1, 2), (3,), (3,)), ((1, 1), (2,), ())],
)
def test_a_patient_listed_twice_is_refused(tmp_path, train, validation, test):
    with pytest.raises(InputError, match=r"patient00\d is in \w+ and \w+: each patient belongs to one list, once"):
        splits.split(
            FORTY,
            1.0,
            train_list=listed(tmp_path / "t", *train),
            validation_list=listed(tmp_path / "v", *validation),
            test_list=listed(tmp_path / "e", *test),
        )


def test_a_patient_listed_twice_to_train_on_is_refused_however_few_are_labelled(tmp_path):
    train, validation = listed(tmp_path / "t", 1, 1, 2), listed(tmp_path / "v", 3)
    with pytest.raises(InputError, match="patient001"):
        splits.split(FORTY, 0.34, train_list=train, validation_list=validation)


@pytest.mark.parametrize("blind", ["validation_list", "test_list"])
def test_a_patient_without_a_mask_cannot_be_measured(tmp_path, blind):
    lists = {"train_list": listed(tmp_path / "t", 1, 2), "validation_list": listed(tmp_path / "v", 3)}
    lists[blind] = listed(tmp_path / "blind", 4, 41)
    with pytest.raises(InputError, match=r"patient041 cannot be validation or test: an image has no mask"):
        splits.split(FORTY + patients([41], masks=(True, False)), 1.0, **lists)


def test_without_a_list_of_validation_patients_nobody_is_validated(tmp_path):
    result = splits.split(FORTY, 1, train_list=listed(tmp_path / "t", 2, 1))
    assert result == splits.Split(("patient002",), ("patient001",), (), ())


@pytest.mark.parametrize("name", ["validation_list", "test_list"])
def test_a_list_is_never_passed_over_in_silence(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}|train_list"):
        splits.split(FORTY, 0.2, **{name: listed(tmp_path / "list", 1, 2, 3)})


@pytest.mark.parametrize("name", ["train_list", "validation_list"])
def test_no_model_is_made_nor_selected_on_the_testing_part_even_if_it_is_listed(tmp_path, name):
    records = FORTY + patients([101], part="testing")
    lists = {"train_list": listed(tmp_path / "t", 1), "validation_list": listed(tmp_path / "v", 2)}
    lists[name] = listed(tmp_path / "both", 3, 101)
    with pytest.raises(InputError, match="both lists patient101 of the data set's own testing part: list others"):
        splits.split(records, 1.0, **lists, test_list=listed(tmp_path / "e", 4))


@pytest.mark.parametrize(
    ("n", "words"), [(5, "patient105 (are|cannot)|patient105, not"), (6, r"patient105 and 1 more"), (9, "and 4 more")]
)
def test_a_long_list_of_names_says_that_there_are_more(tmp_path, n, words):
    lists = {"train_list": listed(tmp_path / "t", 1), "validation_list": listed(tmp_path / "v", 2)}
    lists["test_list"] = listed(tmp_path / "e", *range(101, 101 + n))
    with pytest.raises(InputError, match=words):
        splits.split(FORTY, 1.0, **lists)
    with pytest.raises(InputError, match=words):
        splits.split(FORTY + patients(range(101, 101 + n), masks=(True, False)), 1.0, **lists)
    with pytest.raises(InputError, match=words):
        splits.split(FORTY + patients(range(101, 101 + n)), 1.0, **lists).records("test", FORTY)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "t").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="cannot be read"):
        splits.split(FORTY, 1.0, train_list=tmp_path / "t", validation_list=listed(tmp_path / "v", 2))


def test_what_is_saved_is_what_is_loaded(tmp_path):
    result = splits.split(FORTY, 0.2, seed=5)
    result.save(tmp_path / "new" / "split.json")
    assert splits.load(tmp_path / "new" / "split.json") == result
    result.save(str(tmp_path / "new" / "split.json"))  # and again, over it
    assert splits.load(str(tmp_path / "new" / "split.json")) == result


def test_without_test_patients_the_validation_patients_are_evaluated_and_that_is_said(caplog):
    assert splits.scored(splits.split(FORTY, 0.2, test=0.2)) == "test" and not caplog.text
    assert splits.scored(splits.split(FORTY, 0.2, test=0.0)) == "validation"
    assert "has no test patients: its validation patients" in caplog.text


def test_a_split_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"split\.json is not there: train first"):
        splits.load(tmp_path / "split.json")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b"null", b"3", b"\xff\xfe\x81",
        b'{"labelled": ["a"], "unlabelled": [], "validation": ["b"]}',
        b'{"labelled": ["a"], "unlabelled": [], "validation": ["b"], "test": [], "more": []}',
        b'{"labelled": null, "unlabelled": [], "validation": [], "test": []}',
    ],
)  # fmt: skip
def test_a_file_that_holds_no_split_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_bytes(content)
    with pytest.raises(InputError, match=r"split\.json is no saved split .*: train again, or restore it"):
        splits.load(tmp_path / "split.json")


@pytest.mark.parametrize("labelled", ['"patient001"', '["patient001", "patient001"]', '["patient002"]'])
def test_a_saved_split_that_contradicts_itself_is_refused(tmp_path, labelled):
    """Text for a list, a patient twice, one in two parts: each would evaluate on something else."""
    (tmp_path / "split.json").write_text(
        f'{{"labelled": {labelled}, "unlabelled": [], "validation": ["patient002"], "test": []}}'
    )
    with pytest.raises(InputError, match=r"split\.json"):
        splits.load(tmp_path / "split.json")


def test_saving_logs_how_many_patients_each_part_has(tmp_path, caplog):
    caplog.set_level("INFO", "semicycle")
    splits.split(FORTY, 0.25).save(tmp_path / "split.json")
    assert "split: 7 labelled, 21 unlabelled, 4 validation, 8 test" in caplog.messages


def test_the_published_lists_split_the_real_acdc(acdc_dir):
    train, validation = acdc_dir / "splits" / "train.txt", acdc_dir / "splits" / "val.txt"
    if not train.is_file():
        pytest.skip(f"no lists in {acdc_dir / 'splits'}")
    records = acdc.records(acdc_dir)
    result = splits.split(records, 14, train_list=train, validation_list=validation)
    assert [len(getattr(result, part)) for part in PARTS[:3]] == [14, 56, 10]
    assert list(result.labelled) == train.read_text().split()[:14]
    assert splits.split(records, 0.2, train_list=train, validation_list=validation) == result
    assert len(result.records("labelled", records)) == 28


def test_masks_of_a_patient_with_plain_images_too_are_named_as_unused(caplog):
    half = [Record(f"p{n}_{k}", f"p{n}", Path("i"), Path("m") if k or n else None) for n in range(10) for k in range(2)]
    with caplog.at_level("WARNING", "semicycle"):
        assert "p0" in splits.split(half, 1.0).unlabelled
    assert "1 masks are not used" in caplog.text


def test_each_labelled_patient_is_left_out_by_one_fold_and_trained_on_by_the_others():
    whole = splits.split(FORTY, 7, validation=0, seed=3)
    results = [splits.split(FORTY, 7, seed=3, fold=[number, 3]) for number in range(3)]
    assert [len(result.validation) for result in results] == [3, 2, 2]
    left_out = [name for result in results for name in result.validation]
    assert sorted(left_out) == sorted(whole.labelled)
    for number, result in enumerate(results):
        assert result.validation == whole.labelled[number::3]
        assert result.labelled == tuple(name for name in whole.labelled if name not in result.validation)
        assert (result.unlabelled, result.test) == (whole.unlabelled, whole.test)


def test_a_fold_needs_no_more_patients_than_are_labelled_whoever_could_be_spared():
    result = splits.split(patients(range(1, 4)), 1.0, fold=(2, 3), spare=5)
    assert [len(getattr(result, part)) for part in PARTS] == [2, 0, 1, 0]


def test_a_fold_leaves_out_patients_of_a_list_in_its_order(tmp_path):
    train, test = listed(tmp_path / "train", 5, 2, 9, 1), listed(tmp_path / "test", 3)
    result = splits.split(FORTY, 3, train_list=train, test_list=test, fold=[1, 2])
    assert [list(getattr(result, part)) for part in PARTS] == [names(5, 9), names(1), names(2), names(3)]


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ([0, 1], "1 folds of 7 labelled patients: give 2 to 7"),
        ([0, 8], "8 folds of 7 labelled patients: give 2 to 7"),
        ([3, 3], "split::fold is [3, 3]: give a number of 0 to 2"),
        ([-1, 3], "split::fold is [-1, 3]: give a number of 0 to 2"),
        ([1], "split::fold is [1]: give the number of a fold from 0 on, and their count, as [0, 3]"),
        ((3, 3), "split::fold is [3, 3]: give a number of 0 to 2"),
        ([True, 3], "split::fold is [True, 3]: give the number"),
    ],
)
def test_a_fold_that_cannot_be_is_refused(fold, words):
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        splits.split(FORTY, 7, fold=fold)


@pytest.mark.parametrize("fold", [3, "0,3", ["0", "3"], [0, 2.5], None])
def test_what_is_no_fold_is_refused(fold):
    plain = inspect.unwrap(folds.leave_out)  # what a user runs has no type checks around it
    with pytest.raises(InputError, match=f"^split::fold is {re.escape(repr(fold))}: give the number of a fold from 0"):
        plain(names(1, 2, 3), fold)


def test_one_labelled_patient_makes_no_folds():
    with pytest.raises(InputError, match=r"^1 labelled patient, and each fold leaves one out: give 2 or more$"):
        splits.split(FORTY, 1, fold=[0, 2])


def test_a_fold_beside_a_list_of_validation_patients_is_refused(tmp_path):
    lists = {"train_list": listed(tmp_path / "a", 1, 2), "validation_list": listed(tmp_path / "b", 3)}
    with pytest.raises(InputError, match=r"^validation_list is given, and a fold validates labelled patients: remove"):
        splits.split(FORTY, 1.0, fold=[0, 2], **lists)
