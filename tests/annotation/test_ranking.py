"""The order in which patients are worth annotating."""

import numpy as np
import pytest

from acdc_semicycle.annotation.ranking import TERMS, Patient, choose


def patient(name, dice=0.9, disagreement=0.1, features=(0.0, 0.0)) -> Patient:
    return Patient(name, dice, disagreement, np.array(features, float))


def only(*names) -> dict[str, bool]:
    return {name: name in names for name in TERMS}


def names(choices) -> list[str]:
    return [choice.patient.name for choice in choices]


def test_by_quality_alone_the_worst_come_first():
    patients = [patient("a", dice=0.9), patient("b", dice=0.5), patient("c", dice=0.7)]
    assert names(choose(patients, [], 3, only("quality"))) == ["b", "c", "a"]


def test_by_disagreement_alone_those_on_whom_most_disagree_come_first():
    patients = [patient("a", disagreement=0.1), patient("b", disagreement=0.3), patient("c", disagreement=0.2)]
    assert names(choose(patients, [], 2, only("disagreement"))) == ["b", "c"]


def test_by_diversity_alone_each_is_the_farthest_from_all_before():
    places = {"also far": 8, "near": 3, "far": 9}
    patients = [patient(name, features=(place, 0)) for name, place in places.items()]
    choices = choose(patients, [np.zeros(2)], 3, only("diversity"))
    assert names(choices) == ["far", "near", "also far"]  # 3 is 3 from 0, and 8 is 1 from 9
    assert choices[0].distance > choices[1].distance


def test_a_twin_of_someone_chosen_is_the_last_one():
    patients = [patient("a", features=(9, 9)), patient("its twin", features=(9, 9)), patient("b", features=(2, 1))]
    assert names(choose(patients, [np.zeros(2)], 3, only("diversity"))) == ["a", "b", "its twin"]


def test_where_nobody_is_annotated_the_most_typical_one_is_first():
    patients = [
        patient("left", features=(-5, 0)),
        patient("middle", features=(0, 0)),
        patient("right", features=(5, 0)),
    ]
    choices = choose(patients, [], 2, only("diversity"))
    assert names(choices) == ["middle", "left"] and choices[0].distance is None


def test_no_term_outweighs_another_by_its_scale():
    patients = [patient("a", 0.1, 0.001), patient("b", 0.2, 0.003), patient("c", 0.9, 0.002)]
    choices = choose(patients, [], 3, only("quality", "disagreement"))
    assert names(choices) == ["b", "a", "c"]
    assert choices[0].score == pytest.approx((0.5 + 1) / 2)


def test_a_channel_of_large_numbers_counts_as_much_as_another():
    patients = [patient("a", features=(1000, 0)), patient("b", features=(0, 1)), patient("c", features=(0, 0))]
    first, second, _ = choose(patients, [np.zeros(2)], 3, only("diversity"))
    assert first.distance == pytest.approx(second.distance)


def test_of_equal_patients_the_first_is_taken():
    assert names(choose([patient("a"), patient("b")], [np.zeros(2)], 1, only(*TERMS))) == ["a"]


def test_the_ranks_are_counted_from_one():
    assert [choice.rank for choice in choose([patient("a"), patient("b")], [], 2, only("quality"))] == [1, 2]
