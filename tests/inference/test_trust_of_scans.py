"""The expected Dice of a scan and of its slices, from a trust.json beside the network to the manifest and Python."""

import json

import numpy as np
import pytest
from predicting import cine, manifest_of, segmented, volume

from acdc_semicycle import Segmenter
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.evaluation import trust
from acdc_semicycle.runtime.errors import InputError

LINE = {"shift": -0.6, "slope": 0.2, "middle": -1.5, "spread": 0.3, "freedom": 4.0}
FIT = {"format": 1, "temperature": 1.5, "scan": LINE, "slices": LINE | {"spread": 0.4}, "threshold": 0.5}
FIT |= {"volumes": [{"spread": 1.0, "freedom": 4.0}, None, {"spread": 1.0, "freedom": 4.0}]}


def with_fit(model, **more) -> None:
    model.with_name("trust.json").write_text(json.dumps(FIT | more))


def test_a_case_has_the_expected_dice_of_its_evidence_also_where_it_was_segmented_before(tmp_path, model):
    scan = volume(tmp_path / "a.nii.gz")
    before = segmented(scan, tmp_path / "out", model)
    assert before["trust"] is None and before["quality"] is None
    with_fit(model)
    case = segmented(scan, tmp_path / "out", model)
    expected = trust.trust(FIT, case["frame_evidence"][0])
    assert {key: case["trust"][key] for key in expected} == expected and case["quality"] == expected["dice"]
    assert case["trust"]["low"] < case["trust"]["dice"] < case["trust"]["high"]
    assert len(case["trust"]["slices"]) == case["shape"][2]
    assert manifest_of(tmp_path / "out")["trust"]["temperature"] == 1.5
    names = list(case["volumes_ml"])
    (low, high), ml = case["trust"]["volumes_ml"][names[0]][0], case["volumes_ml"][names[0]][0]
    assert low < ml < high and case["trust"]["volumes_ml"][names[1]] == [None]


def test_predict_names_the_case_to_look_at_first(tmp_path, model, caplog):
    caplog.set_level("INFO", logger="semicycle")
    with_fit(model)
    case = segmented(volume(tmp_path / "a.nii.gz"), tmp_path / "out", model)
    dice, low, high = (f"{case['trust'][key]:.2f}" for key in ("dice", "low", "high"))
    assert f"expected Dice of 1 case: {dice} in the mean, least {dice} ({low} to {high}) of a" in caplog.text


def test_a_cine_is_as_good_as_its_worst_frame(tmp_path, model):
    with_fit(model)
    case = segmented(cine(tmp_path / "a.nii.gz"), tmp_path / "out", model)
    by_frame = [trust.trust(FIT, evidence)["dice"] for evidence in case["frame_evidence"]]
    assert len(by_frame) == 4 and case["quality"] == case["trust"]["dice"] == min(by_frame)
    assert by_frame[case["trust"]["frame"]] == min(by_frame)


def test_python_gives_what_predict_writes_and_slices_in_the_order_of_storage(tmp_path, model):
    with_fit(model)
    scan = volume(tmp_path / "a.nii.gz")
    case = segmented(scan, tmp_path / "out", model)["trust"]
    segment = Segmenter(model)
    result = segment(scan)
    assert (result.trust, *result.trust_interval) == pytest.approx((case["dice"], case["low"], case["high"]), abs=1e-6)
    assert f"trust {case['dice']:.2f} ({case['low']:.2f} to {case['high']:.2f})" in repr(result)
    flipped = result._layout.flipped[2]
    assert [item and item["dice"] for item in result.trust_by_slice] == pytest.approx(
        [item and item["dice"] for item in case["slices"][:: -1 if flipped else 1]]
    )
    voxels, affine = result.to_nibabel(), result.to_nibabel().affine
    image = np.random.default_rng(0).integers(0, 900, voxels.shape)
    turned = affine.copy()
    turned[:3, 3] += turned[:3, 2] * (image.shape[2] - 1)
    turned[:3, 2] *= -1
    both = segment(image, affine=affine), segment(image[:, :, ::-1], affine=turned)
    values = [[item and item["dice"] for item in one.trust_by_slice] for one in both]
    assert values[0] == pytest.approx(values[1][::-1]) and len(set(values[0])) > 1
    assert result.volume_intervals_ml.keys() == result.volumes_ml.keys()


def test_a_fit_of_other_weights_is_none_and_a_damaged_one_is_refused(model, caplog):
    with_fit(model, model_sha256="other")
    assert open_model(model).trust is None and "trust.json was fitted on other weights" in caplog.text
    model.with_name("trust.json").write_text('{"temperature": 2.0}')
    with pytest.raises(InputError, match=r"trust\.json lacks parts: run semicycle calibrate again, or remove it"):
        open_model(model)


def test_a_trust_comes_before_the_quality_of_an_earlier_version(model):
    model.with_name("quality.json").write_text('{"weights": {"soft_dice": 0.5}, "bias": 0.1}')
    assert open_model(model).quality is not None
    with_fit(model)
    assert open_model(model).quality is None and open_model(model).trust["temperature"] == 1.5
