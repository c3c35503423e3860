"""Predictions against truth: distances by a slow twin, pairing, grids, sums, on files as tools write them."""

import csv
import itertools
import json
import math
import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import compare, surface_distance
from acdc_semicycle.evaluation.compare import table, write
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime import files
from acdc_semicycle.runtime.errors import InputError

SPACING = (1.5, 1.25, 8.0)
AFFINE = np.array([[-1.5, 0, 0, 40], [0, -1.25, 0, 30], [0, 0, 8, -20], [0, 0, 0, 1]], float)
SHAPE = (12, 10, 5)
rng = np.random.default_rng


def box(start=(3, 3, 1), size=(4, 3, 2), label: int = 1, shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = label
    return labels


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A label map or an image, in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(labels, affine), path)
    else:
        volumes.save(path, labels, volumes.Volume(labels[..., None], affine))
    return path


def scored(prediction: np.ndarray, truth: np.ndarray, folder: Path, affine: np.ndarray = AFFINE, classes=("b", "x")):
    """The only case of two label maps."""
    save(folder / "tool" / "X.nii.gz", prediction, affine)
    save(folder / "truth" / "X_gt.nii.gz", truth, affine)
    found = compare.compare([folder / "tool"], folder / "truth", classes)
    assert not found["failures"]
    return found["cases"][0]


# ---- distances


def twin(prediction: np.ndarray, truth: np.ndarray, spacing) -> tuple[float, float]:
    """HD95 and ASSD of two masks by their definition, voxel by voxel."""

    def surface(mask) -> np.ndarray:
        inside = {tuple(place) for place in np.argwhere(mask).tolist()}
        steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if sum(map(abs, step)) == 1]
        places = [p for p in inside if any(tuple(np.add(p, step)) not in inside for step in steps)]
        return np.array(places) * spacing

    one, other = surface(prediction), surface(truth)
    apart = np.linalg.norm(one[:, None] - other[None], axis=2)
    there, back = apart.min(1), apart.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, float(np.concatenate([there, back]).mean())


def blobs(seed: int, shape=(13, 11, 6)) -> np.ndarray:
    """Ragged label maps of two structures; they touch the border."""
    noise = rng(seed).random(shape)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis)
    return np.digitize(noise, np.quantile(noise, (0.6, 0.8))).astype(np.uint8)


def check_distances(prediction, truth, spacing, twin_axes: int = 3) -> None:
    hd95, assd = surface_distance.distances(prediction, truth, 3, spacing)
    for k in (1, 2):
        one, other = prediction == k, truth == k
        if twin_axes == 2:
            one, other = one[..., 0], other[..., 0]
        assert (hd95[k - 1], assd[k - 1]) == pytest.approx(twin(one, other, spacing[:twin_axes]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING, (0.7, 3.1, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_distances_of_ragged_structures_are_those_of_the_definition(seed, spacing):
    check_distances(blobs(seed), blobs(seed + 100), spacing)


def test_distances_of_single_voxels_and_of_all_voxels_are_those_of_the_definition():
    shape = (6, 5, 4)
    corner, far = box((0, 0, 0), (1, 1, 1), 1, shape), box((5, 4, 3), (1, 1, 1), 1, shape)
    everything = np.full(shape, 1, np.uint8)
    for one, other in ((corner, far), (corner, everything), (everything, far), (everything, everything)):
        one, other = one.copy(), other.copy()
        one[2, 2, 1], other[3, 2, 1] = 2, 2
        check_distances(one, other, SPACING)
    assert surface_distance.distances(corner, far, 2, SPACING)[0] == pytest.approx([math.hypot(7.5, 5, 24)])


def test_a_volume_of_one_slice_has_outlines():
    one, other = blobs(0, (13, 11, 1)), blobs(1, (13, 11, 1))
    check_distances(one, other, SPACING, twin_axes=2)
    full = box((2, 2, 0), (8, 7, 1), 1, (12, 12, 1))
    hollow = full.copy()
    hollow[3, 3] = 0  # next to the outline: as a slab of surface voxels this would be no distance at all
    assert surface_distance.distances(hollow, full, 2, SPACING)[1][0] > 0


@pytest.mark.parametrize("seed", range(3))
def test_background_around_the_structures_changes_no_distance(seed):
    one, other = blobs(seed), blobs(seed + 100)
    alone = surface_distance.distances(one, other, 3, SPACING)
    around = [np.pad(labels, [(7, 0), (2, 5), (1, 3)]) for labels in (one, other)]
    assert surface_distance.distances(*around, 3, SPACING) == alone


def test_a_structure_in_one_map_only_is_as_far_as_the_volume_is_long_and_in_none_it_has_no_distance():
    hd95, assd = surface_distance.distances(box(label=1), box(label=2), 4, SPACING)
    diagonal = math.hypot(12 * 1.5, 10 * 1.25, 5 * 8)
    assert hd95[:2] == assd[:2] == pytest.approx([diagonal, diagonal])
    assert math.isnan(hd95[2]) and math.isnan(assd[2])


# ---- scores of one case


def test_scores_of_a_box_shifted_by_one_voxel_by_hand(tmp_path):
    row = scored(box((4, 3, 1)), box((3, 3, 1)), tmp_path)
    assert row["dice"]["x"] == pytest.approx(2 * 18 / 48)
    assert row["iou"]["x"] == pytest.approx(18 / 30)
    # of the 24 voxels of each, all of them surface, six lie one voxel (1.5 mm) off the other's
    assert (row["unit"], row["hd95"]["x"]) == ("mm", pytest.approx(1.5))
    assert row["assd"]["x"] == pytest.approx(1.5 * 6 / 24)
    assert row["volumes_ml"] == {side: {"x": pytest.approx(24 * 0.015)} for side in ("truth", "prediction")}


def test_the_truth_against_itself_is_perfect(tmp_path):
    row = scored(blobs(0), blobs(0), tmp_path, classes=("b", "x", "y"))
    assert set(row["dice"].values()) == set(row["iou"].values()) == {1}
    assert set(row["hd95"].values()) == set(row["assd"].values()) == {0}


def test_empty_structures_follow_nnunet(tmp_path):
    row = scored(box(label=1), box(label=2), tmp_path, classes=("b", "x", "y", "z"))
    assert row["dice"] == row["iou"] == {"mean": 0, "x": 0, "y": 0, "z": None}
    assert row["hd95"]["z"] is row["assd"]["z"] is None
    assert row["hd95"]["x"] == row["assd"]["y"] == pytest.approx(math.hypot(18, 12.5, 40))


def test_without_spacing_distances_are_in_voxels_and_volumes_are_withheld(tmp_path):
    save(tmp_path / "truth" / "a_ED_gt.nii.gz", box(), np.eye(4))
    save(tmp_path / "tool" / "a_ED.nii.gz", box((3, 4, 1)), np.eye(4))
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    (row,) = found["cases"]
    assert (row["unit"], row["hd95"]["LV"], row["volumes_ml"], found["patients"]) == ("voxels", 1, None, [])
    assert found["notes"][0] == (
        "1 of 1 comparison is in voxels, without volumes or clinical indices, because the truth's spacing is"
        " 1 x 1 x 1 mm, as of files that have lost theirs"
    )
    assert "HD95, voxels" in table(found)


def test_a_sheared_grid_has_no_millimetres_either(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 0.4
    row = scored(box((4, 3, 1)), box(), tmp_path, affine)
    assert (row["unit"], row["withheld"]) == ("voxels", "its axes are not at right angles")


def test_what_nobody_annotated_does_not_count(tmp_path):
    truth, prediction = box(), box((3, 3, 1), (5, 3, 2))
    truth[7] = 255  # the prediction's surplus lies there
    row = scored(prediction, truth, tmp_path)
    assert (row["dice"]["x"], row["hd95"]["x"], row["assd"]["x"]) == (1, 0, 0)
    volume_ml = pytest.approx(4 * 3 * 2 * 1.5 * 1.25 * 8 / 1000)
    assert row["volumes_ml"] == {"truth": {"x": volume_ml}, "prediction": {"x": volume_ml}}


def test_48_storage_orders_of_the_prediction_have_the_same_scores(tmp_path):
    (tmp_path / "tool").mkdir()
    orders = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for n, (order, signs) in enumerate(orders):
        image = nibabel.Nifti1Image(blobs(1), AFFINE).as_reoriented(np.array(list(zip(order, signs, strict=True))))
        nibabel.save(image, tmp_path / "tool" / f"X{n:02d}.nii.gz")
        save(tmp_path / "truth" / f"X{n:02d}_gt.nii.gz", blobs(0))
    rows = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    scores = {json.dumps([row[score] for score in (*compare.SCORES, "volumes_ml")]) for row in rows}
    assert len(rows) == 48 and len(scores) == 1 and 0 < rows[0]["dice"]["mean"] < 1


def test_a_label_map_is_the_same_in_every_container_and_type(tmp_path):
    for end, kind in itertools.product((".nii", ".nii.gz", ".nrrd", ".mha"), (np.uint8, np.int16, np.float32)):
        name = f"{end[1:].replace('.', '')}-{kind.__name__}"
        save(tmp_path / "tool" / f"{name}{end}", blobs(1).astype(kind))
        save(tmp_path / "truth" / f"{name}.nii.gz", blobs(0))
    rows = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    assert len(rows) == 12 and len({json.dumps([row[score] for score in compare.SCORES]) for row in rows}) == 1


def test_a_scaled_file_is_read_as_the_labels_it_means(tmp_path):
    image = nibabel.Nifti1Image(blobs(0).astype(np.float32), AFFINE)
    image.set_data_dtype(np.int16)  # nibabel chooses a slope, and labels come back as 0.99999
    (tmp_path / "tool").mkdir()
    nibabel.save(image, tmp_path / "tool" / "X.nii.gz")
    save(tmp_path / "truth" / "X.nii.gz", blobs(0))
    assert not np.isin(nibabel.load(tmp_path / "tool" / "X.nii.gz").get_fdata(), (0, 1, 2)).all()
    (row,) = compare.compare([tmp_path / "tool"], tmp_path / "truth")["cases"]
    assert row["dice"]["mean"] == 1


# ---- what is refused, a line each, while the others are scored


def shifted(affine: np.ndarray, *mm: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += mm
    return moved


TURN = np.diag([0.0, 0, 1, 1])
TURN[:2, :2] = [[math.cos(0.1), -math.sin(0.1)], [math.sin(0.1), math.cos(0.1)]]
FAULTS = {
    "shape": (box(shape=(12, 10, 6)), AFFINE, r"12 x 10 x 6 voxels.*12 x 10 x 5 voxels"),
    "spacing": (box(), AFFINE @ np.diag([2, 1, 1, 1]), r"of 3 x 1.25 x 8 mm.*of 1.5 x 1.25 x 8 mm"),
    "lost": (box(), np.eye(4), r"of 1 x 1 x 1 mm.*of 1.5 x 1.25 x 8 mm"),
    "origin": (box(), shifted(AFFINE, 3, 4, 0), r"up to 5 mm off .*origin"),
    "turned": (box(), TURN @ AFFINE, r"up to 4\.\d+ mm off .*directions"),
    "slightly off": (box(), shifted(AFFINE, 0.3, 0, 0), r"up to 0\.3 mm off .*origin"),
    "hardly whole": (box() * 1.002, AFFINE, "not whole"),
    "half": (box() * 0.5, AFFINE, "not whole"),
    "negative": (-box().astype(np.int16), AFFINE, "label -1"),
    "strange": (box(label=7), AFFINE, "label 7: give names for more than 2"),
    "ignored": (box(label=255), AFFINE, "label 255"),
    "nan": (np.where(box() > 0, np.nan, 0).astype(np.float32), AFFINE, "NaN"),
    "cine": (np.stack([box()] * 3, 3), AFFINE, "3 frames"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_case_that_cannot_be_compared_is_one_line_and_the_others_are_scored(tmp_path, fault):
    labels, affine, words = FAULTS[fault]
    save(tmp_path / "tool" / "bad_seg.nii.gz", labels, affine)
    save(tmp_path / "tool" / "good_seg.nii.gz", box())
    for name in ("bad", "good"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])
    assert [row["case"] for row in found["cases"]] == ["good"]
    ((tool, case, reason),) = [tuple(one.values()) for one in found["failures"]]
    assert (tool, case) == ("tool", "bad") and "\n" not in reason
    assert re.search(words, reason), reason
    assert "failures: 1" in table(found)


@pytest.mark.parametrize("side", ["tool", "truth"])
def test_a_label_map_is_never_repaired(tmp_path, monkeypatch, side):
    monkeypatch.setenv("SEMICYCLE_REPAIR", "1")
    for folder in ("tool", "truth"):
        for name in "ab":
            save(tmp_path / folder / f"{name}.nii.gz", box())
    save(tmp_path / side / "a.nii.gz", np.where(box() > 0, 1, np.nan).astype(np.float32))
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in found["cases"]] == ["b"] and found["classes"] == ["0", "1"]
    assert re.search(
        "holds 576 NaN or infinite voxels: repair it, or leave the case out$", found["failures"][0]["reason"]
    )


def test_rounding_of_a_header_is_no_other_grid(tmp_path):
    save(tmp_path / "truth" / "X.nii.gz", box())
    save(tmp_path / "tool" / "X.nii.gz", box(), shifted(AFFINE, 0.05, -0.05, 0.05))
    assert compare.compare([tmp_path / "tool"], tmp_path / "truth")["failures"] == []


def test_a_slice_of_another_thickness_is_another_grid(tmp_path):
    save(tmp_path / "truth" / "X.nii.gz", box(size=(4, 3, 1))[..., 1:2])
    save(tmp_path / "tool" / "X.nii.gz", box(size=(4, 3, 1))[..., 1:2], AFFINE @ np.diag([1, 1, 1.1, 1]))
    with pytest.raises(InputError, match=r"of 1\.5 x 1\.25 x 8\.8 mm, but .* of 1\.5 x 1\.25 x 8 mm"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])


def test_truncated_files_are_failures(tmp_path):
    for folder in ("tool", "truth"):
        for name in "abc":
            save(tmp_path / folder / f"{name}.nii.gz", box())
    for path in (tmp_path / "tool" / "a.nii.gz", tmp_path / "truth" / "b.nii.gz"):
        path.write_bytes(path.read_bytes()[:-20])
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [one["case"] for one in found["failures"]] == ["a", "b"]
    assert [row["case"] for row in found["cases"]] == ["c"]


# ---- which belong together


def cases(tool: Path, truth: Path) -> dict[str, tuple[str, str]]:
    found = compare.compare([tool], truth)
    assert found["failures"] == [] and found["missing"] == []
    relative = {row["case"]: (Path(row["prediction"]), Path(row["truth"])) for row in found["cases"]}
    return {case: (str(p.relative_to(tool)), str(t.relative_to(truth))) for case, (p, t) in relative.items()}


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        ("a_seg.nii.gz", "a_gt.nii.gz"),
        ("a.nii", "a_mask.nrrd"),
        ("a_pred.mha", "a.nii.gz"),
        ("a_prediction.nii.gz", "a_label.nii.gz"),
        ("a_0000_seg.nii.gz", "a.nii.gz"),
        ("a_0000.nii.gz", "a_GT.nii.gz"),
        ("a_segmentation.NII.GZ", "sub/folder/a_labels.nii.gz"),
        ("x/a_mask.nii.gz", "y/a_gt.nii.gz"),
    ],
)
def test_names_belong_together_whoever_made_them(tmp_path, prediction, truth):
    for name in "ab":
        here, there = (Path(path).with_name(Path(path).name.replace("a", name, 1)) for path in (prediction, truth))
        save(tmp_path / "tool" / here, box())
        save(tmp_path / "truth" / there, box())
        if "gt" in truth.lower():
            save(tmp_path / "truth" / there.with_name(f"{name}.nii.gz"), box() * 100)  # the image
    found = cases(tmp_path / "tool", tmp_path / "truth")
    assert ((prediction, truth) in found.values()) and len(found) == 2


def test_images_beside_predictions_and_other_sorts_of_masks_are_left_alone(tmp_path):
    for name in "ab":
        for folder in ("tool", "truth"):
            for kind in ("", "_gt", "_seg", "_pred"):
                save(tmp_path / folder / f"{name}{kind}.nii.gz", box() * (100 if kind == "" else 1))
    assert cases(tmp_path / "tool", tmp_path / "truth") == {n: (f"{n}_pred.nii.gz", f"{n}_gt.nii.gz") for n in "ab"}
    assert cases(tmp_path / "tool", tmp_path / "tool") == {n: (f"{n}_pred.nii.gz", f"{n}_gt.nii.gz") for n in "ab"}


def test_second_label_maps_of_a_case_are_named(tmp_path):
    for name in ("X_pred", "X_seg", "Y_seg", "X_1_prob"):
        save(tmp_path / "tool" / f"{name}.nii.gz", box())
    for name in ("X_gt", "Y_gt", "Y_mask", "Y_seg"):
        save(tmp_path / "truth" / f"{name}.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    assert [Path(row["prediction"]).name for row in found["cases"]] == ["X_pred.nii.gz", "Y_seg.nii.gz"]
    assert [note for note in found["notes"] if note.startswith("not compared")] == [
        f"not compared: 1 label map of {tmp_path}/{name}: another of its name is"
        for name in (f"tool, e.g. {tmp_path}/tool/X_seg.nii.gz", f"truth, e.g. {tmp_path}/truth/Y_mask.nii.gz")
    ]
    sheet(tmp_path / "tool", [{"case": "Y", "mask": "Y_seg.nii.gz"}])
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    assert [row["case"] for row in found["cases"]] == ["Y"]
    words = f"2 label maps of {tmp_path}/tool, e.g. {tmp_path}/tool/X_pred.nii.gz: predictions.json does not list it"
    assert f"not compared: {words}" in table(found)


def test_nnunets_dataset_is_understood_by_its_root_and_by_its_labels(tmp_path):
    for n in range(2):
        save(tmp_path / "set" / "imagesTr" / f"c{n}_0000.nii.gz", box() * 100)
        save(tmp_path / "set" / "labelsTr" / f"c{n}.nii.gz", box())
        save(tmp_path / "tool" / f"c{n}.nii.gz", box())
    for truth in (tmp_path / "set", tmp_path / "set" / "labelsTr"):
        rows = compare.compare([tmp_path / "tool"], truth)["cases"]
        assert [(row["case"], Path(row["image"]).name) for row in rows] == [
            ("c0", "c0_0000.nii.gz"),
            ("c1", "c1_0000.nii.gz"),
        ]


def test_names_that_are_there_twice_are_told_apart_by_their_folders(tmp_path):
    for patient in ("p1", "p2"):
        for phase in ("ED", "ES"):
            save(tmp_path / "truth" / "training" / patient / f"{phase}_gt.nii.gz", box())
            save(tmp_path / "tool" / patient / f"{phase}_seg.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    assert [(row["case"], row["phase"]) for row in found["cases"]] == [
        ("p1/ED", "ED"), ("p1/ES", "ES"), ("p2/ED", "ED"), ("p2/ES", "ES"),
    ]  # fmt: skip
    assert all(Path(row["prediction"]).parent.name == Path(row["truth"]).parent.name for row in found["cases"])
    assert len(found["patients"]) == 2 and not found["missing"]


def test_what_could_belong_to_two_is_refused_by_name(tmp_path):
    for patient in ("p1", "p2"):
        save(tmp_path / "truth" / patient / "frame01_gt.nii.gz", box())
    save(tmp_path / "truth" / "clear_gt.nii.gz", box())
    save(tmp_path / "tool" / "frame01.nii.gz", box())
    save(tmp_path / "tool" / "clear.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in found["cases"]] == ["clear"]
    (failure,) = found["failures"]
    assert failure["case"] == "frame01" and "p1" in failure["reason"] and "p2" in failure["reason"]


def test_another_patients_file_of_the_same_name_is_no_partner(tmp_path):
    for patient in ("p1", "p2"):
        save(tmp_path / "tool" / patient / "ED.nii.gz", box())
    save(tmp_path / "truth" / "p1" / "ED_gt.nii.gz", box())
    save(tmp_path / "truth" / "p3" / "ED_gt.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["case"] for row in found["cases"]] == ["p1/ED"]
    assert sorted(one["case"] for one in found["missing"]) == ["p2/ED", "p3/ED"]


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("X_gt.nii.gz", "X_gt.nrrd"):
        save(tmp_path / "truth" / name, box())
    save(tmp_path / "tool" / "X.nii.gz", box())
    with pytest.raises(InputError, match=r"X_gt.nii.gz and .*X_gt.nrrd have one name"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_what_is_missing_is_listed_on_both_sides_and_summed_up_in_the_table(tmp_path):
    for name in "abxyz":
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
    for name in "bc":
        save(tmp_path / "tool" / f"{name}.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    said = {one["case"]: one["reason"] for one in found["missing"]}
    assert said.keys() == set("acxyz")
    assert said["a"].endswith("has no prediction") and said["c"].endswith("has no truth")
    assert table(found).splitlines()[-3:-1] == [
        f"1 prediction without a truth, e.g. {tmp_path / 'tool' / 'c.nii.gz'}",
        f"4 truths without a prediction, e.g. {tmp_path / 'truth' / 'a_gt.nii.gz'}",
    ]


def test_a_path_that_is_not_there_is_named_before_predictions_are_counted(tmp_path):
    save(tmp_path / "A" / "a.nii.gz", box())
    for predictions, truth in (([tmp_path / "B"], None), ([tmp_path / "A"], tmp_path / "B")):
        with pytest.raises(InputError, match=rf"{tmp_path}/B is not there"):
            compare.compare(predictions, truth)


def test_one_folder_is_not_two_tools(tmp_path):
    save(tmp_path / "A" / "a.nii.gz", box())
    with pytest.raises(InputError, match=r"A is given as both tools"):
        compare.compare([tmp_path / "A", tmp_path / "A" / ".." / "A"], None)


def test_no_pair_at_all_is_an_error_that_shows_one_of_each(tmp_path):
    save(tmp_path / "truth" / "heart_1_gt.nii.gz", box())
    save(tmp_path / "tool" / "case1_seg.nii.gz", box())
    with pytest.raises(InputError, match=r"case1_seg.nii.gz and heart_1_gt.nii.gz: .* case1 and heart_1"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_two_files_belong_together_whatever_their_names(tmp_path):
    one, other = save(tmp_path / "mine.nii.gz", box()), save(tmp_path / "doctor_seg.nrrd", box())
    (row,) = compare.compare([one], other)["cases"]
    assert row["dice"]["mean"] == 1


def test_folders_without_label_maps_say_so(tmp_path):
    save(tmp_path / "truth" / "a.nii.gz", box())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for folder, words in (("pictures", "holds pictures, e.g. a.png"), ("empty", "no label map"), ("no", "not there")):
        with pytest.raises(InputError, match=words):
            compare.compare([tmp_path / folder], tmp_path / "truth")
        with pytest.raises(InputError, match=words):
            compare.compare([tmp_path / "truth"], tmp_path / folder)


def test_predictions_inside_the_folder_of_truths_are_no_truths(tmp_path):
    for name in "ab":
        save(tmp_path / "data" / f"{name}.nii.gz", box())
        save(tmp_path / "data" / "out" / f"{name}.nii.gz", box())
    assert cases(tmp_path / "data" / "out", tmp_path / "data").keys() == {"a", "b"}


# ---- phases, patients, indices


def test_the_phantoms_truth_against_itself_in_acdcs_layout(phantom_dir):
    found = compare.compare([phantom_dir], phantom_dir)
    assert found["structures"] == ["RV", "MYO", "LV"] and len(found["cases"]) == 16
    summary = found["summary"]["phantom"]
    assert {summary[score]["mean"] for score in compare.SCORES} == {0, 1}
    assert {phase: part["volumes"] for phase, part in summary["by_phase"].items()} == {"ED": 8, "ES": 8}
    assert summary["dice_n"] == {"mean": 16, "RV": 16, "MYO": 16, "LV": 16}
    assert len(found["patients"]) == 8 and not (found["missing"] or found["failures"] or found["notes"])
    assert all(Path(row["image"]).name == Path(row["truth"]).name.replace("_gt", "") for row in found["cases"])
    assert {(row["case"].split("_")[-1], row["phase"]) for row in found["cases"]} == {
        ("frame01", "ED"),
        ("frame10", "ES"),
    }
    for row in found["patients"]:
        assert row["truth"] == row["prediction"] and 20 < row["truth"]["lv_ef_percent"] < 85


def test_indices_of_a_prediction_are_its_own(tmp_path):
    ed = box((2, 2, 1), (6, 4, 2), 3) + box((2, 7, 1), (2, 2, 2), 2)
    es = box((2, 2, 1), (3, 4, 2), 3)
    ml = 0.015
    for side, systole in (("truth", es), ("tool", ed)):
        save(tmp_path / side / "p_frame01.nii.gz", ed)
        save(tmp_path / side / "p_frame07.nii.gz", systole)
        (tmp_path / side / "Info.cfg").write_text("ED: 1\nES: 7\n")
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    (row,) = found["patients"]
    assert row["patient"] == "p"
    assert row["truth"]["lv_edv_ml"] == pytest.approx(48 * ml) and row["truth"]["lv_ef_percent"] == pytest.approx(50)
    assert row["prediction"]["lv_ef_percent"] == 0 and row["truth"]["rv_ef_percent"] is None
    assert row["truth"]["myo_mass_g"] == pytest.approx(8 * ml * 1.05)


def test_a_patient_without_both_phases_has_no_indices_and_a_note_says_so(tmp_path):
    for side in ("truth", "tool"):
        save(tmp_path / side / "p1_ED.nii.gz", box())
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "LV"])
    assert found["patients"] == [] and any("e.g. p1" in note for note in found["notes"])


def test_frames_of_a_predicted_cine_are_held_against_their_truths(tmp_path):
    cine = np.stack([box((n, 3, 1)) for n in range(4)], 3)
    save(tmp_path / "tool" / "p1_4d_seg.nii.gz", cine)
    for n in (1, 3):
        save(tmp_path / "truth" / "p1" / f"p1_frame{n:02d}_gt.nii.gz", cine[..., n - 1])
    (tmp_path / "truth" / "p1" / "Info.cfg").write_text("ED: 1\nES: 3\n")
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x"])
    assert [(row["case"], row["phase"], row["dice"]["x"]) for row in found["cases"]] == [
        ("p1_frame01", "ED", 1),
        ("p1_frame03", "ES", 1),
    ]
    assert found["missing"] == found["failures"] == []


def sheet(folder: Path, cases: list[dict], classes=("background", "LV")) -> None:
    (folder / "predictions.json").write_text(json.dumps({"classes": classes, "cases": cases}))


def test_predictions_json_gives_names_phases_patients_and_classes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
        save(tmp_path / "tool" / "in" / f"{name}_seg.nii.gz", box())
    save(tmp_path / "tool" / "in" / "old_seg.nii.gz", box())  # of an earlier run
    scan = save(tmp_path / "scans" / "a.nii.gz", box())
    entry = {"patient": "anna", "scan": str(scan)}
    entries = [
        entry | {"case": f"in/{name}", "mask": f"in/{name}_seg.nii.gz", "phase": phase}
        for name, phase in (("a", "ED"), ("b", "ES"))
    ]
    sheet(tmp_path / "tool", entries)
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert found["classes"] == ["background", "LV"] and found["missing"] == []
    assert [(row["case"], row["patient"], row["phase"]) for row in found["cases"]] == [
        ("in/a", "anna", "ED"),
        ("in/b", "anna", "ES"),
    ]
    assert found["cases"][0]["image"] == str(scan)
    assert found["patients"][0]["truth"]["lv_ef_percent"] == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": [{}]}', '{"cases": [], "classes": []}'])
def test_a_broken_predictions_json_is_named(tmp_path, text):
    save(tmp_path / "truth" / "a_gt.nii.gz", box())
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "predictions.json").write_text(text)
    with pytest.raises(InputError, match=r"predictions.json"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


def test_a_predicted_picture_is_refused(tmp_path):
    save(tmp_path / "truth" / "a_gt.nii.gz", box())
    (tmp_path / "tool").mkdir()
    sheet(tmp_path / "tool", [{"case": "a", "mask": "a_seg.png"}])
    with pytest.raises(InputError, match=r"a_seg.png is no volume"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth")


# ---- sums


def test_means_leave_out_only_what_neither_has_and_say_how_many_they_are_of(tmp_path):
    truths = {"a": box(label=1), "b": box(label=1), "c": box(label=1)}
    predictions = {"a": box(label=1), "b": box((4, 3, 1)), "c": box(label=2)}
    for name in truths:
        save(tmp_path / "truth" / f"{name}.nii.gz", truths[name])
        save(tmp_path / "tool" / f"{name}.nii.gz", predictions[name])
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x", "y", "z"])["summary"]["tool"]
    assert found["dice"]["x"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert found["dice_std"]["x"] == pytest.approx(np.std([1, 0.75, 0], ddof=1))
    assert (found["dice"]["y"], found["dice"]["z"]) == (0, None)
    assert found["dice"]["mean"] == pytest.approx((1.75 / 3 + 0) / 2)
    assert found["dice_n"] == found["hd95_n"] == {"mean": 3, "x": 3, "y": 1, "z": 0}
    assert found["hd95"]["x"] == pytest.approx((0 + 1.5 + math.hypot(18, 12.5, 40)) / 3)


def test_millimetres_and_voxels_are_not_mixed_in_a_mean(tmp_path):
    for name, affine in (("a", AFFINE), ("b", np.eye(4))):
        save(tmp_path / "truth" / f"{name}.nii.gz", box(), affine)
        save(tmp_path / "tool" / f"{name}.nii.gz", box((4, 3, 1)), affine)
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    summary = found["summary"]["tool"]
    assert (summary["unit"], summary["hd95"]["1"], summary["hd95_n"]["1"], summary["dice_n"]["1"]) == ("mm", 1.5, 1, 2)
    assert "means of distances are over the cases in mm only" in found["notes"]


def test_two_tools_are_scored_and_held_against_each_other(tmp_path):
    for name in ("a_ED", "b_ED"):
        save(tmp_path / "truth" / f"{name}_gt.nii.gz", box())
        save(tmp_path / "A" / "deep" / f"{name}_seg.nii.gz", box((4, 3, 1)))
    save(tmp_path / "B" / "a_ED.nii.gz", box((5, 3, 1)))
    found = compare.compare([tmp_path / "A", tmp_path / "B"], tmp_path / "truth", ["b", "x"])
    assert [(row["tool"], row["case"]) for row in found["cases"]] == [
        ("A", "deep/a_ED"), ("A", "deep/b_ED"), ("B", "deep/a_ED"),
    ]  # fmt: skip
    assert found["summary"]["A"]["dice"]["x"] == pytest.approx(0.75)
    assert found["summary"]["B"]["dice"]["x"] == pytest.approx(0.5)
    assert (found["agreement"]["dice"]["x"], found["agreement"]["volumes"]) == (pytest.approx(0.75), 1)
    assert [(one["tool"], one["case"]) for one in found["missing"]] == [("B", "b_ED")]
    assert "B against A: 1 volume\n" in table(found) and "B: 1 truth without a prediction, e.g. " in table(found)


def test_two_tools_need_no_truth(tmp_path):
    for name in ("a_ED", "b_ES"):
        save(tmp_path / "A" / f"{name}_seg.nii.gz", box())
        save(tmp_path / "B" / f"{name}.nii.gz", box((4, 3, 1)))
    found = compare.compare([tmp_path / "A", tmp_path / "B"], None, ["b", "x"])
    assert (found["truth"], found["cases"], found["summary"], found["patients"]) == (None, [], {}, [])
    assert found["agreement"]["dice"]["x"] == pytest.approx(0.75)
    assert [(row["tool"], row["case"], row["phase"]) for row in found["agreement_cases"]] == [
        ("B against A", "a_ED", "ED"),
        ("B against A", "b_ES", "ES"),
    ]
    with pytest.raises(InputError, match="is given without --truth"):
        compare.compare([tmp_path / "A"], None)


def test_tools_of_other_classes_are_not_compared_by_their_labels(tmp_path):
    for tool, classes in (("A", ["b", "LV"]), ("B", ["b", "RV"])):
        save(tmp_path / tool / "a.nii.gz", box())
        sheet(tmp_path / tool, [{"case": "a", "mask": "a.nii.gz"}], classes)
    with pytest.raises(InputError, match=r"LV.*RV"):
        compare.compare([tmp_path / "A", tmp_path / "B"], None)


def test_names_that_are_not_utf8_are_written_as_they_are(tmp_path):
    name = os.fsdecode(b"caf\xe9.nii.gz")
    for folder in ("tool", "truth"):
        save(tmp_path / "plain.nii.gz", box())
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "plain.nii.gz", tmp_path / folder / name)
    path = write(compare.compare([tmp_path / "tool"], tmp_path / "truth"), tmp_path / "out")
    assert b"\ntool,caf\xe9," in path.with_name("cases.csv").read_bytes()
    assert json.loads(path.read_text())["cases"][0]["case"] == os.fsdecode(b"caf\xe9")


def test_structures_without_names_are_called_by_their_labels(tmp_path):
    save(tmp_path / "truth" / "a.nii.gz", box(label=4))
    save(tmp_path / "tool" / "a.nii.gz", box(label=4))
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert found["structures"] == ["1", "2", "3", "4"] and found["cases"][0]["dice"]["4"] == 1
    assert any("no class names" in note for note in found["notes"])


def test_what_nobody_annotated_is_no_structure(tmp_path):
    truth = box(label=2)
    truth[0] = 255
    save(tmp_path / "truth" / "a.nii.gz", truth)
    save(tmp_path / "tool" / "a.nii.gz", box(label=2))
    assert compare.compare([tmp_path / "tool"], tmp_path / "truth")["structures"] == ["1", "2"]


# ---- files


def test_what_is_written_is_what_was_found(tmp_path, phantom_dir):
    shutil.copytree(phantom_dir / "training" / "patient001", tmp_path / "tool" / "patient001")
    wrong = tmp_path / "tool" / "patient001" / "patient001_frame10_gt.nii.gz"
    wrong.write_bytes(wrong.with_name("patient001_frame01_gt.nii.gz").read_bytes())
    found = compare.compare([tmp_path / "tool"], phantom_dir)
    path = write(found, tmp_path / "out")
    assert json.loads(path.read_text()) == found and path.name == "evaluation.json"
    rows = {
        name: list(csv.DictReader((path.parent / f"{name}.csv").open())) for name in ("cases", "summary", "patients")
    }
    assert [row["phase"] for row in rows["cases"]] == ["ED", "ES"]
    assert float(rows["cases"][1]["dice_LV"]) == pytest.approx(found["cases"][1]["dice"]["LV"], abs=1e-6)
    assert float(rows["cases"][1]["truth_LV_ml"]) < float(rows["cases"][1]["prediction_LV_ml"])
    (line,) = [row for row in rows["summary"] if (row["phase"], row["score"], row["structure"]) == ("ES", "hd95", "RV")]
    assert float(line["mean"]) == pytest.approx(found["cases"][1]["hd95"]["RV"], abs=1e-6)
    assert (line["unit"], line["n"]) == ("mm", "1")
    assert float(rows["patients"][0]["prediction_lv_ef_percent"]) == 0
    assert {one.name for one in path.parent.iterdir()} == {
        "evaluation.json",
        "cases.csv",
        "summary.csv",
        "patients.csv",
    }


def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "out" / "summary.csv"
    files.write_text(path, "old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    for fault in ("write", "flush"):
        with monkeypatch.context() as patched:
            if fault == "write":
                patched.setattr(Path, "write_bytes", full_disk)
            else:
                patched.setattr(os, "fsync", full_disk)
            with pytest.raises(InputError, match=r"summary\.csv cannot be written \(No space left on device\): make"):
                files.write_text(path, "new")
        assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("summary.csv", "old")]
    with pytest.raises(InputError, match=r"summary\.csv.x cannot be written"):
        files.write_text(path / "x", "below a file")


def test_the_table_shows_what_the_summary_says(tmp_path):
    for name, start in (("a_ED", (3, 3, 1)), ("b_ES", (4, 3, 1))):
        save(tmp_path / "truth" / f"{name}.nii.gz", box())
        save(tmp_path / "tool" / f"{name}.nii.gz", box(start))
    lines = table(compare.compare([tmp_path / "tool"], tmp_path / "truth", ["b", "x", "y"])).splitlines()
    said = {line[:22].strip(): line[22:].split() for line in lines[1:7]}
    assert said == {
        "": ["mean", "x", "y", "n"],
        "Dice": ["0.875", "0.875", "-", "2"],
        "Dice, ED": ["1.000", "1.000", "-", "1"],
        "Dice, ES": ["0.750", "0.750", "-", "1"],
        "IoU": ["0.800", "0.800", "-", "2"],
        "HD95, mm": ["0.75", "0.75", "-", "2"],
    }


# ---- real hearts


@pytest.mark.slow
def test_real_masks_against_themselves_and_shifted_by_a_voxel(acdc_dir, tmp_path):
    folders = sorted(path.parent for path in acdc_dir.glob("**/patient*/Info.cfg"))[:2]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "truth" / folder.name)
        for path in folder.glob("*_gt.nii*"):
            volume = volumes.read(path)
            shifted = np.roll(volume.voxels[..., 0], 1, axis=0).astype(np.uint8)
            target = tmp_path / "tool" / path.name.replace("_gt", "").removesuffix(".gz")
            volumes.save(target.with_suffix(".nii.gz"), shifted, volume)
    itself = compare.compare([tmp_path / "truth"], tmp_path / "truth")["summary"]["truth"]
    assert itself["volumes"] == 4 and {itself[score]["mean"] for score in compare.SCORES} == {0, 1}
    moved = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert moved["structures"] == list(acdc.CLASSES[1:]) and moved["failures"] == []
    for row in moved["cases"]:
        mask = volumes.read(row["truth"])
        step = 1 if row["unit"] == "voxels" else mask.spacing_mm[0]
        assert 0.7 < row["dice"]["MYO"] < row["dice"]["LV"] < 1
        assert row["hd95"]["LV"] == pytest.approx(step, rel=1e-5) and 0 < row["assd"]["LV"] < step
        truth = mask.voxels[..., 0] == 3
        expected = 2 * (truth & np.roll(truth, 1, axis=0)).sum() / (2 * truth.sum())
        assert row["dice"]["LV"] == pytest.approx(expected)


def test_label_maps_that_changed_since_are_no_longer_those_that_were_evaluated(tmp_path):
    save(tmp_path / "tool" / "X.nii.gz", box())
    save(tmp_path / "truth" / "X_gt.nii.gz", box((4, 3, 1)))
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    compare.check_current(tmp_path / "tool", content)
    save(tmp_path / "tool" / "X.nii.gz", box(size=(4, 3, 1)))
    with pytest.raises(InputError, match=r"X\.nii\.gz is another than was evaluated"):
        compare.check_current(tmp_path / "tool", content)


def test_nothing_is_made_of_pairs_none_of_which_can_be_compared(tmp_path):
    save(tmp_path / "tool" / "X.nii.gz", box())
    save(tmp_path / "truth" / "X_gt.nii.gz", box(shape=(12, 10, 6)))
    with pytest.raises(InputError, match=r"nothing could be compared: .*10 x 6 voxels"):
        compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))


def test_predictions_json_says_which_frame_of_a_cine_is_which_phase(tmp_path):
    cine = np.stack([box((n, 3, 1)) for n in range(4)], 3)
    save(tmp_path / "tool" / "p1_seg.nii.gz", cine)
    for n in (1, 2, 3):  # without an Info.cfg
        save(tmp_path / "truth" / f"p1_frame{n:02d}_gt.nii.gz", cine[..., n - 1])
    entry = {"case": "p1", "mask": "p1_seg.nii.gz", "patient": "p1", "phase": None, "phases": {"ED": 0, "ES": 2}}
    sheet(tmp_path / "tool", [entry])
    found = compare.compare([tmp_path / "tool"], tmp_path / "truth")
    assert [row["phase"] for row in found["cases"]] == ["ED", None, "ES"]


def test_results_go_neither_among_the_truths_nor_over_a_users_file(tmp_path):
    save(tmp_path / "truth" / "X_gt.nii.gz", box())
    save(tmp_path / "tool" / "X.nii.gz", box())
    content = compare.compare([tmp_path / "tool"], tmp_path / "truth", ("b", "x"))
    for truth in (tmp_path / "truth", tmp_path / "tool" / ".." / "truth"):
        with pytest.raises(InputError, match="is the folder of the truth: say with -o"):
            write(content, truth)
    for name in ("evaluation.json", "cases.csv", "summary.csv", "patients.csv"):
        path = tmp_path / name / name
        path.parent.mkdir()
        path.write_text('{"cases": ["mine"]}')
        with pytest.raises(
            InputError, match=f"{name} is there and is not of this program, or damaged: give another folder"
        ):
            write(content, path.parent)
        assert [path.read_text()] == [each.read_text() for each in path.parent.iterdir()] == ['{"cases": ["mine"]}']
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["X_gt.nii.gz"]
    write(content, tmp_path / "new")
    write(content, tmp_path / "new")  # its own it may replace
