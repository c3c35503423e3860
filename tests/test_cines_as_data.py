"""A data set of cines, 4D images with 4D masks, as M&Ms and 3D Slicer's sequences are: from files to a comparison."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from acdc_semicycle.artifacts.known_patients import KnownPatients
from acdc_semicycle.data import digests, splits
from acdc_semicycle.data.check import before_training, check
from acdc_semicycle.data.digests import image_digest
from acdc_semicycle.data.slices import Slices, as_dicts, read
from acdc_semicycle.data.splits import Split
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets import folder
from acdc_semicycle.datasets.cines import annotated_frames
from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.same_run import check_data
from tests.config.test_bundle import TINY, workflow

AFFINE = np.diag([1.4, 1.4, 8.0, 1.0])
ANNOTATED = (1, 3)  # frames of four
ROOT = Path(__file__).parents[1]


def write(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def cine(root: Path, patient: str, seed: int, annotated: bool = True) -> None:
    """Four frames of 32 x 28 x 3 voxels, a square that grows from frame to frame, drawn in two of them."""
    random = np.random.default_rng(seed)
    image = random.normal(size=(32, 28, 3, 4)) * 20 + 100
    mask = np.zeros(image.shape, np.uint8)
    for frame in range(4):
        inside = np.s_[8 : 14 + 2 * frame, 8 : 14 + frame, :, frame]
        image[inside] += 200
        mask[inside] = 1 if frame in ANNOTATED else 0
    write(root / "images" / f"{patient}_sa.nii.gz", image.astype(np.int16))
    if annotated:
        write(root / "masks" / f"{patient}_sa_gt.nii.gz", mask)


@pytest.fixture
def cines(tmp_path) -> Path:
    """Six annotated patients and one without a mask."""
    for number in range(6):
        cine(tmp_path, f"p{number}", number)
    cine(tmp_path, "p6", 6, annotated=False)
    return tmp_path


def records_of(root: Path) -> list:
    return folder.records(root / "images", root / "masks", "^(p[0-9])")


def test_each_annotated_frame_is_a_record_and_of_a_cine_without_a_mask_every_frame(cines):
    records = records_of(cines)
    assert [record.case for record in records if record.patient == "p0"] == ["p0_sa_frame02", "p0_sa_frame04"]
    assert [record.frame for record in records if record.patient == "p0"] == list(ANNOTATED)
    assert [record.frame for record in records if record.patient == "p6"] == [0, 1, 2, 3]
    assert all(record.label is None for record in records if record.patient == "p6")


def test_a_frames_voxels_are_read_of_image_and_mask(cines):
    first, second, *_ = records_of(cines)
    load = LoadCheckedd(["image", "label"])
    for record in (first, second):
        item = load(as_dicts([record])[0])
        image, mask = (volumes.read(path, frames=True, mask=True) for path in (record.image, record.label))
        expected = [each.layout.apply(each.voxels[..., record.frame]) for each in (image, mask)]
        np.testing.assert_array_equal(item["image"][0], expected[0])
        np.testing.assert_array_equal(item["label"][0], expected[1])


@pytest.mark.parametrize("frame", [4, -1])
@pytest.mark.parametrize("keys", [["image"], ["image", "label"]])
def test_a_frame_that_the_cine_does_not_have_is_refused(cines, frame, keys):
    record = replace(records_of(cines)[0], frame=frame)
    message = rf"p0_sa\.nii\.gz has 4 frames, and the frame of the record is {frame}: give one from 0 to 3$"
    with pytest.raises(InputError, match=message):
        read([record], LoadCheckedd(keys, allow_missing_keys=True))


def test_a_frame_that_its_mask_does_not_have_is_refused(cines):
    record = records_of(cines)[1]
    write(record.label, np.ones((32, 28, 3, 2), np.uint8))
    with pytest.raises(InputError, match=r"p0_sa_gt\.nii\.gz has 2 frames, and the frame of the record is 3: give one"):
        read([record], LoadCheckedd(["image", "label"]))


def test_two_frames_of_one_file_are_two_in_the_cache(cines, tmp_path):
    records = records_of(cines)[:2]
    transform = LoadCheckedd(["image", "label"])
    alone = [digests.digest_of([record], transform, ["image"]) for record in records]
    assert alone[0] and alone[0] != alone[1]
    slices = [Slices([record], transform, cache_dir=tmp_path / "cache") for record in records]
    assert not np.array_equal(slices[0].stored["image"], slices[1].stored["image"])
    assert len(list((tmp_path / "cache").glob("slices-*.npy"))) == 2
    assert slices[1].where(torch.tensor([2])) == [f"{records[1].image} frame 4 slice 3"]


def test_a_split_by_slice_keeps_the_frame(cines):
    pieces = splits.units(records_of(cines)[:2], "slice")
    assert [(piece.frame, piece.slice) for piece in pieces] == [(f, s) for f in ANNOTATED for s in range(3)]
    (item,) = read(pieces[-1:], LoadCheckedd(["image", "label"]))
    whole = volumes.read(pieces[-1].image, frames=True)
    np.testing.assert_array_equal(item["image"][0, ..., 0], whole.layout.apply(whole.voxels[..., 3])[..., 2])


def test_a_split_never_separates_the_frames_of_a_patient(cines):
    records = records_of(cines)
    split = splits.split(records, 2, 0.2, 0.2)
    for part in ("labelled", "unlabelled", "validation", "test"):
        for record in split.records(part, records):
            assert record.patient in getattr(split, part)
    assert "p6" in split.unlabelled


def draw(root: Path, patient: str, *frames: int) -> None:
    """A mask in which these frames hold the square."""
    mask = np.zeros((32, 28, 3, 4), np.uint8)
    mask[8:14, 8:14, :, frames] = 1
    write(root / "masks" / f"{patient}_sa_gt.nii.gz", mask)


def test_the_frames_that_an_unlabelled_mask_chooses_are_part_of_what_a_training_sees(cines, tmp_path):
    """Its mask is not hashed, and with a frame more the training would see other slices."""
    split = Split(("p0", "p1"), ("p2", "p6"), ("p3",), ("p4",))
    before = digests.contents(split, records_of(cines))
    assert {name: value for name, value in before.items() if name.startswith("frames")} == {
        "frames of p0_sa": "2, 4", "frames of p1_sa": "2, 4", "frames of p2_sa": "2, 4", "frames of p3_sa": "2, 4",
        "frames of p6_sa": "1, 2, 3, 4",
    }  # fmt: skip
    draw(cines, "p2", *ANNOTATED)
    assert digests.contents(split, records_of(cines)) == before, "the same frames"
    for frames in ((1, 2, 3), (0, 1, 3)):
        draw(cines, "p2", *frames)
        after = digests.contents(split, records_of(cines))
        assert [name for name in before | after if before.get(name) != after.get(name)] == ["frames of p2_sa"]
        message = r"^the frames of p2_sa that its mask chooses changed since the training in .* began: give another out"
        with pytest.raises(InputError, match=message):
            check_data(tmp_path, before, after)
    draw(cines, "p0", 1, 2, 3)
    with pytest.raises(InputError, match=r"^1 file changed since the training in .*, first the mask of p0_sa: give"):
        check_data(tmp_path, before, digests.contents(split, records_of(cines)))


@pytest.mark.parametrize("frame", ANNOTATED)
def test_the_check_finds_nothing_wrong_with_them_and_a_bad_frame_by_its_file(cines, tmp_path, frame):
    assert [finding.text for finding in check(cines / "images", cines / "masks") if finding.severity == "fault"] == []
    rules = {"classes": ["background", "square"], "colours": None, "values": None, "intensity_range": None}
    before_training(records_of(cines), tmp_path / "kept", **rules)
    mask = cines / "masks" / "p1_sa_gt.nii.gz"
    voxels = np.asarray(nibabel.load(mask).dataobj).copy()
    voxels[0, 0, 0, frame] = 9
    write(mask, voxels)
    with pytest.raises(InputError, match=r"p1_sa_gt\.nii\.gz holds the label 9"):
        before_training(records_of(cines), tmp_path / "kept", **rules)


def texts(root: Path) -> list[str]:
    """What the check says of the images and the masks, without their folder."""
    return [finding.text.replace(f"{root}/", "") for finding in check(root / "images", root / "masks")]


def test_frames_of_the_same_voxels_are_named(cines):
    """Of one cine the second frame is there twice, with two masks, or with one, and in another patient's cine, too."""
    path = cines / "images" / "p0_sa.nii.gz"
    image = np.asarray(nibabel.load(path).dataobj).copy()
    image[..., 3] = image[..., 1]
    write(path, image)
    twice = "images/p0_sa.nii.gz frame 4 has the same voxels as images/p0_sa.nii.gz frame 2 of the same patient"
    assert f"{twice}: one may be a copy by mistake" in texts(cines)
    other = np.asarray(nibabel.load(cines / "images" / "p1_sa.nii.gz").dataobj).copy()
    other[..., 3] = image[..., 1]
    write(cines / "images" / "p1_sa.nii.gz", other)
    assert any(
        text.startswith("images/p1_sa.nii.gz frame 4 has the same voxels as images/p0_sa.nii.gz frame 2 of another")
        for text in texts(cines)
    )


def test_masks_of_the_same_voxels_are_named_by_frame(cines):
    draw(cines, "p0", 1, 3)
    copied = "masks/p0_sa_gt.nii.gz frame 4 has the same voxels as masks/p0_sa_gt.nii.gz frame 2: make sure"
    assert any(text.startswith(copied) for text in texts(cines))


def test_a_frame_that_is_its_own_mask_or_constant_is_named(cines):
    path, mask = cines / "images" / "p0_sa.nii.gz", cines / "masks" / "p0_sa_gt.nii.gz"
    image = np.asarray(nibabel.load(path).dataobj).copy()
    image[..., 1] = np.asarray(nibabel.load(mask).dataobj)[..., 1]
    image[..., 3] = 5
    write(path, image)
    found = texts(cines)
    assert "images/p0_sa.nii.gz frame 2 has its own mask's voxels: restore the image" in found
    assert "images/p0_sa.nii.gz frame 4 is constant (5 in every voxel): it shows nothing" in found


def test_a_mask_of_another_number_of_frames_is_refused(cines):
    mask = cines / "masks" / "p2_sa_gt.nii.gz"
    write(mask, np.asarray(nibabel.load(mask).dataobj)[..., :3])
    said = r"p2_sa_gt\.nii\.gz has 3 frames, its image p2_sa\.nii\.gz 4: give a mask of as"
    with pytest.raises(InputError, match=said):
        records_of(cines)
    (fault,) = (finding for finding in check(cines / "images", cines / "masks") if finding.severity == "fault")
    assert "p2_sa_gt.nii.gz has 3 frames" in fault.text, "nothing is wrong with the other cines"


@pytest.mark.parametrize("values", [(0, 0, 0, 0), (255, 255, 255, 255), (0, 255, 255, 0)])
def test_a_mask_that_annotates_no_frame_is_refused(cines, values):
    mask = cines / "masks" / "p3_sa_gt.nii.gz"
    write(mask, np.broadcast_to(np.array(values, np.uint8), (32, 28, 3, 4)).copy())
    message = (
        r"p3_sa_gt\.nii\.gz has a structure in none of its 4 frames \(0 is background, 255 is not annotated\): draw"
        r" one, or remove the mask to have an unlabelled cine$"
    )
    with pytest.raises(InputError, match=message):
        records_of(cines)
    (fault,) = (finding for finding in check(cines / "images", cines / "masks") if finding.severity == "fault")
    assert "p3_sa_gt.nii.gz has a structure in none of its 4 frames" in fault.text


def test_a_frame_that_is_not_annotated_is_no_labelled_one(cines):
    """Frames of 255, and of 255 and background; in a frame that is annotated some voxels may be 255."""
    path = cines / "masks" / "p3_sa_gt.nii.gz"
    mask = np.full((32, 28, 3, 4), 255, np.uint8)
    mask[8:14, 8:14, :, 1] = 1
    mask[:16, ..., 2] = 0
    write(path, mask)
    assert [record.frame for record in records_of(cines) if record.patient == "p3"] == [1]
    assert annotated_frames(path) == [1]


def test_a_3d_scan_among_them_is_one_record(cines):
    image = np.asarray(nibabel.load(cines / "images" / "p0_sa.nii.gz").dataobj)[..., 0]
    write(cines / "images" / "p7.nii.gz", image)
    (record,) = (record for record in records_of(cines) if record.patient == "p7")
    assert (record.case, record.frame) == ("p7", None)


def test_the_bundle_trains_on_them_and_reports_each_frame(cines, tmp_path):
    settings = TINY | {
        "images": str(cines / "images"), "masks": str(cines / "masks"), "patient": "^(p[0-9])",
        "classes": ["background", "square"], "output_dir": str(tmp_path / "run"), "steps_per_epoch": 2,
    }  # fmt: skip
    flow = workflow(ROOT / "configs" / "own_scans.yaml", **settings)
    flow.initialize()
    flow.run()
    report = json.loads((tmp_path / "run" / "validation" / "report.json").read_text())
    (patient,) = json.loads((tmp_path / "run" / "split.json").read_text())["validation"]
    assert [case["case"] for case in report["cases"]] == [f"{patient}_sa_frame02", f"{patient}_sa_frame04"]
    assert {case["patient"] for case in report["cases"]} == {patient}
    cases = json.loads((tmp_path / "run" / "patients.json").read_text())
    assert cases == {f"p{number}_sa": f"p{number}" for number in range(7)}
    assert report["postprocessing"] == "the network's label maps as they are"
    assert report["cases"][0]["part"] == "validation"
    known = KnownPatients([tmp_path / "run" / "split.json"])
    for number in range(7):
        part = known.parts[f"p{number}"]
        digest = image_digest(cines / "images" / f"p{number}_sa.nii.gz")
        assert known.part_of_image.get(digest) == (None if part == "test" else part)
    check_panel(tmp_path / "run" / "validation" / "panel.npz", cines, patient)


def check_panel(path: Path, root: Path, patient: str) -> None:
    """Image and truth of each frame are that frame's own, in the first slice: all slices have as much foreground."""
    image = volumes.read(root / "images" / f"{patient}_sa.nii.gz", frames=True)
    mask = volumes.read(root / "masks" / f"{patient}_sa_gt.nii.gz", frames=True, mask=True)
    with np.load(path) as panel:
        assert panel["names"].tolist() == [f"{patient}_sa_frame02", f"{patient}_sa_frame04"]
        for number, frame in enumerate(ANNOTATED):
            plane = image.layout.apply(image.voxels[..., frame])[..., 0].astype(np.float32)
            np.testing.assert_array_equal(panel[f"image_{number}"], image.shown(to_grey(plane, window_of(plane))))
            truth = mask.layout.apply(mask.voxels[..., frame])[..., 0]
            np.testing.assert_array_equal(panel[f"truth_{number}"], image.shown(truth))


def test_a_segmented_cine_is_compared_with_the_annotated_frames_of_a_cine(cines, tmp_path):
    """The prediction is the truth in frame 2, and half of it in frame 4; elsewhere nobody has drawn anything."""
    truth = np.asarray(nibabel.load(cines / "masks" / "p0_sa_gt.nii.gz").dataobj).copy()
    predicted = truth.copy()
    columns = np.flatnonzero(truth[..., ANNOTATED[1]].any((0, 2)))
    predicted[:, columns[: len(columns) // 2], :, ANNOTATED[1]] = 0
    predicted[:3, :3, :, 0] = 1
    for root, voxels, name in ((tmp_path / "pred", predicted, "p0_sa_seg"), (tmp_path / "truth", truth, "p0_sa_gt")):
        write(root / f"{name}.nii.gz", voxels)
    content = compare([tmp_path / "pred"], tmp_path / "truth", ["background", "square"])
    scores = {case["case"]: case["dice"]["square"] for case in content["cases"]}
    kept = predicted[..., ANNOTATED[1]].sum()
    half = 2 * kept / (kept + truth[..., ANNOTATED[1]].sum())
    assert scores == {"p0_sa_frame02": 1.0, "p0_sa_frame04": pytest.approx(half)}
    assert not content["missing"] and not content["failures"]
