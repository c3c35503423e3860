"""Volumes and indices by hand, and against a heart whose volumes are known by construction."""

import numpy as np
import pytest

from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.evaluation import clinical
from acdc_semicycle.imageio import volumes


def counted(root, patient: str) -> dict[str, dict[str, float]]:
    """Volumes of both phases from the true masks."""
    result = {}
    for phase, frame in phantom.FRAMES.items():
        mask = volumes.read(root / "training" / patient / f"{patient}_frame{frame:02d}_gt.nii.gz")
        result[phase] = clinical.volumes_ml(mask.voxels, mask.voxel_ml, acdc.CLASSES)
    return result


def constructed(truths) -> dict[tuple[str, str], dict[str, float]]:
    return {(t.patient, t.phase): {"LV": t.lv_ml, "RV": t.rv_ml, "MYO": t.myo_ml} for t in truths}


def test_volumes_are_voxels_times_their_size():
    labels = np.zeros((5, 4, 3), np.int16)
    labels[0], labels[1, 0] = 1, 2  # 12 and 3 voxels
    assert clinical.volumes_ml(labels, 0.5, ("background", "a", "b", "c")) == {"a": 6.0, "b": 1.5, "c": 0.0}


def test_indices_by_hand():
    ed, es = {"LV": 120.0, "RV": 100.0, "MYO": 80.0}, {"LV": 48.0, "RV": 55.0, "MYO": 78.0}
    assert clinical.indices(ed, es) == {
        "lv_edv_ml": 120, "lv_esv_ml": 48, "lv_sv_ml": 72, "lv_ef_percent": pytest.approx(60),
        "rv_edv_ml": 100, "rv_esv_ml": 55, "rv_sv_ml": 45, "rv_ef_percent": pytest.approx(45),
        "myo_mass_g": pytest.approx(84), "ef_withheld": None,
    }  # fmt: skip


def test_nothing_is_ejected_of_nothing():
    result = clinical.indices({"LV": 0.0, "RV": 50.0}, {"LV": 0.0, "RV": 0.0})
    assert (result["lv_ef_percent"], result["lv_sv_ml"]) == (None, 0)
    assert result["rv_ef_percent"] == 100


@pytest.mark.parametrize(
    ("edv", "esv", "reason"),
    [
        (0.03, 0.0, "LV: end-diastole of 0.03 ml is below 10 ml"),
        (0.03, 0.06, "LV: end-diastole of 0.03 ml is below 10 ml"),
        (9.99, 4.0, "LV: end-diastole of 9.99 ml is below 10 ml"),
        (60.0, 90.0, "LV: end-systole of 90.0 ml is larger than end-diastole of 60.0 ml"),
    ],
)
def test_an_ejection_fraction_of_implausible_volumes_is_withheld_with_a_reason(edv, esv, reason):
    result = clinical.indices({"LV": edv, "RV": 100.0}, {"LV": esv, "RV": 50.0})
    assert (result["lv_ef_percent"], result["ef_withheld"]) == (None, reason)
    assert (result["lv_edv_ml"], result["lv_esv_ml"], result["rv_ef_percent"]) == (edv, esv, 50)


def test_the_limits_themselves_are_no_fault_and_two_faults_are_both_told():
    assert clinical.indices({"LV": 10.0}, {"LV": 10.0})["lv_ef_percent"] == 0
    both = clinical.indices({"LV": 1.0, "RV": 20.0}, {"LV": 1.0, "RV": 30.0})["ef_withheld"]
    assert both.startswith("LV: ") and "; RV: end-systole" in both


def test_other_structures_have_no_indices():
    assert set(clinical.indices({"liver": 3.0}, {"liver": 3.0}).values()) == {None}
    assert clinical.indices({"LV": 3.0}, {})["lv_ef_percent"] is None


def test_ed_is_the_frame_of_the_largest_left_ventricle_and_es_of_the_smallest():
    assert clinical.extremes([90.0, 120.0, 60.0, 41.0, 41.0, 120.0]) == (1, 3)
    assert clinical.extremes([7.0]) == (0, 0)


@pytest.mark.parametrize("size", [(96, 96, 8), (128, 128, 16)])
@pytest.mark.parametrize("seed", [0, 1])
def test_indices_of_true_masks_are_the_constructed_ones_within_two_per_cent(tmp_path, seed, size):
    truths = phantom.write(tmp_path / "phantom", patients=3, seed=seed, size=size)
    true = constructed(truths)
    for patient in {t.patient for t in truths}:
        result = counted(tmp_path / "phantom", patient)
        for phase, ml in result.items():
            assert ml == pytest.approx(true[patient, phase], rel=0.02)
        expected = clinical.indices(true[patient, "ED"], true[patient, "ES"])
        found = clinical.indices(result["ED"], result["ES"])
        assert found.pop("ef_withheld") is expected.pop("ef_withheld") is None
        assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        ([0, 10, 10, 0], None),
        ([7, 10, 10, 5], None),
        ([8, 10, 10, 0], "at full size: x in the first slice: the stack may not reach over it"),
        ([9, 9, 9, 9], "at full size: x in the first and the last slice:"),
        ([0, 0, 0, 0], None),
        ([9, 9], None),  # of too few slices nothing is known
    ],
)
def test_a_structure_of_full_size_in_a_stacks_end_may_be_cut_off(areas, words):
    labels = np.zeros((4, 4, len(areas)), np.uint8)
    for z, area in enumerate(areas):
        labels[..., z].flat[:area] = 1
    found = clinical.cut_off(labels, ["background", "x", "y"])
    assert (found is None) if words is None else found.startswith(words)
