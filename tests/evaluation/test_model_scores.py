"""The scores of a network over images, against counting by hand."""

import numpy as np
import pytest
from evaluated_images import CASES, CLASSES, NAMES, case

from acdc_semicycle.evaluation import model_scores
from acdc_semicycle.runtime.errors import InputError


def test_the_summary_by_hand():
    summary = model_scores.summary(CASES, CLASSES, NAMES)
    assert summary["dice"]["RV"] == pytest.approx((2 / 3 + 0) / 2)
    assert summary["dice"]["MYO"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert summary["dice"]["LV"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert summary["dice"]["mean"] == pytest.approx(np.mean([summary["dice"][name] for name in NAMES]))
    assert summary["iou"]["LV"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert summary["dice_n"] == {"RV": 2, "MYO": 3, "LV": 3}
    assert summary["dice_std"]["MYO"] == pytest.approx(np.std([1, 2 / 3, 1], ddof=1))
    assert summary["volumes"] == 3


def test_no_case_at_all_is_refused_in_a_line():
    with pytest.raises(InputError, match=r"^no image was evaluated: give a part of the split that has patients$"):
        model_scores.summary([], CLASSES, NAMES)


def test_the_papers_miou_pools_all_voxels_and_counts_background():
    p = np.concatenate([case.prediction for case in CASES])
    t = np.concatenate([case.truth for case in CASES])
    expected = np.mean([((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in range(4)])
    assert model_scores.summary(CASES, CLASSES, NAMES)["paper_miou"] == pytest.approx(expected)


def test_the_miou_of_the_data_set_is_by_class_too():
    summary = model_scores.summary(CASES, CLASSES, NAMES)
    p = np.concatenate([case.prediction for case in CASES])
    t = np.concatenate([case.truth for case in CASES])
    expected = {name: ((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c, name in enumerate(CLASSES)}
    assert summary["miou_by_class"] == pytest.approx(expected)
    assert summary["miou"] == pytest.approx(np.mean(list(expected.values())))


def test_without_a_background_every_class_is_a_structure():
    summary = model_scores.summary(CASES, ["road", *NAMES], ["road", *NAMES])
    assert summary["dice"]["road"] == pytest.approx((1 / 2 + 1 + 6 / 7) / 3)
    assert summary["dice"]["MYO"] == pytest.approx((1 + 2 / 3 + 1) / 3)


def test_the_floor_is_the_score_of_background_everywhere():
    floor = model_scores.summary([model_scores.trivial(case) for case in CASES], CLASSES, NAMES)
    plain = [case(c.case, [0] * 6, c.truth.tolist()) for c in CASES]
    assert floor["dice"]["LV"] == 0 and floor["dice_n"]["RV"] == 1
    assert floor["paper_miou"] == pytest.approx(model_scores.summary(plain, CLASSES, NAMES)["paper_miou"])
